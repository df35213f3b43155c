"""What relevance feedback and query expansion gain: precision among ten hits, on a folder with a folder for each class.

A picture is asked for. In each round its ten hits are marked, those of its class as liked and the others as not, and
the moved query asks for ten pictures that nobody has seen yet. Beside it stand the next ten hits of the plain query, of
which those that were seen are left out as well. Expansion moves a query to its own first hits, unasked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from beside import Line, arguments_of, tell

from retrieval import Retriever
from retrieval.explore.sums import weighted_sum
from retrieval.questions import LIKED, UNLIKED

ROUNDS, K = 3, 10
WEIGHTS = ((0.5, 0.0), (0.5, 0.25), (LIKED, UNLIKED), (1.0, 0.25), (2.0, 0.5))
EXPANSIONS = (1, 3, 5, 10)


class Labelled:
    """All pictures of an index, with the folder of each as its class."""

    def __init__(self, searcher: Retriever) -> None:
        paths, codes, ids = [], [], []
        for found, batch in searcher.found():
            paths += [one.path for one in found]
            ids += [one.id for one in found]
            codes.append(batch)
        self.searcher, self.codes, self.ids = searcher, np.concatenate(codes), ids
        self.place = {number: place for place, number in enumerate(ids)}
        self.classes = np.unique([Path(path).parent.name for path in paths], return_inverse=True)[1]

    def hits(self, code: np.ndarray, seen: Sequence[int], k: int = K) -> list[int]:
        """Places of the nearest pictures that were not seen."""
        (found,) = self.searcher.query_codes(code[None], k, left_out=[[self.ids[one] for one in seen]])
        return [self.place[hit.id] for hit in found]

    def summed(self, places: Sequence[Sequence[int]], weights: Sequence[float], code: np.ndarray) -> np.ndarray:
        """A code, moved by the averages of some pictures."""
        vectors, factors = [code], [1.0]
        for some, weight in zip(places, weights, strict=True):
            vectors += [self.codes[one] for one in some]
            factors += [weight / max(1, len(some))] * len(some)
        return weighted_sum(np.stack(vectors), factors, True)


def precisions(of: Labelled, query: int, liked: float, unliked: float) -> list[float]:
    """Precision of each round; the first is that of the plain query."""
    code, seen, precision = of.codes[query], [query], []
    for _ in range(ROUNDS + 1):
        found = of.hits(code, seen)
        good = [one for one in found if of.classes[one] == of.classes[query]]
        bad = [one for one in found if of.classes[one] != of.classes[query]]
        precision.append(len(good) / K)
        seen += found
        code = of.summed([good, bad], [liked, -unliked], code) if liked or unliked else code
    return precision


def expanded(of: Labelled, query: int, count: int) -> float:
    """Precision of the ten nearest to a query that is moved to its own first hits."""
    code = of.codes[query]
    moved = of.summed([of.hits(code, [query], count)], [LIKED], code) if count else code
    return float(np.mean([of.classes[one] == of.classes[query] for one in of.hits(moved, [query])]))


def main() -> None:
    arguments = arguments_of(
        __doc__,
        photos=("", "a folder with a folder for each class"),
        model=("photos-64", "a model"),
        queries=(400, "pictures that are asked for"),
    )
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        of = Labelled(Retriever.build(arguments.photos, Path(scratch) / "i", model=arguments.model))
        queries = np.random.default_rng(0).permutation(len(of.ids))[: arguments.queries].tolist()
        plain = np.array([precisions(of, query, 0, 0) for query in queries])
        for liked, unliked in WEIGHTS:
            moved = np.array([precisions(of, query, liked, unliked) for query in queries])
            for number in range(1, ROUNDS + 1):
                ours, beside = moved[:, number].mean(), plain[:, number].mean()
                error = (moved[:, number] - plain[:, number]).std() / np.sqrt(len(queries))
                what = f"feedback, weights 1, {liked:g}, {unliked:g}, round {number} (+- {error:.3f})"
                lines.append(Line(what, f"{ours:.3f}", f"plain {beside:.3f}", ours / beside))
        first = plain[:, 0].mean()
        for count in EXPANSIONS:
            found = np.array([expanded(of, query, count) for query in queries])
            error = (found - plain[:, 0]).std() / np.sqrt(len(queries))
            what = f"expansion by {count} (+- {error:.3f})"
            lines.append(Line(what, f"{found.mean():.3f}", f"plain {first:.3f}", found.mean() / first))
    tell("feedback", lines, arguments)


if __name__ == "__main__":
    main()
