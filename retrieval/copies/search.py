"""The search for pairs: what codes propose, what a glance leaves of it, and what the second look says of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.arrays import Floats
from retrieval.copies.candidates import LIKE, Pairs, Surroundings, likenesses, most_outstanding
from retrieval.copies.judging import Judges, name_of
from retrieval.copies.kinds import Kind, kind_of
from retrieval.copies.members import Picture
from retrieval.copies.promise import Promise, measured
from retrieval.copies.verdict import Verdict
from retrieval.copies.views import Survey, View
from retrieval.models.model import Model
from retrieval.pictures.facts import Facts
from retrieval.pictures.workers import DecoderPool, Task
from retrieval.progress import OnProgress


@dataclass(frozen=True)
class Edge:
    """Two pictures, by row, that have something to do with each other; the first one was ``turned``."""

    a: int
    b: int
    kind: Kind
    distance: float
    verdict: Verdict
    turned: str = ""


class Search:
    """A search among ``pictures`` with codes (n, d), a row each."""

    def __init__(
        self, model: Model, pictures: Sequence[Picture], codes: Floats, views: Sequence[View], pool: DecoderPool
    ) -> None:
        self._model, self._codes, self._views, self._pool = model, codes, views, pool
        self._paths = [picture[0][0].path for picture in pictures]
        self._judges = Judges(self._paths, pool)
        self._facts: dict[int, Facts] = {}
        self._allowed = 0.0

    def edges(
        self, false_matches: float, threshold: float | None, report: OnProgress | None = None
    ) -> tuple[list[Edge], Promise]:
        """All pairs that are found, each once, ordered by rows; and what is promised of them."""
        survey, surroundings = Survey.of(len(self._paths)), Surroundings(self._codes)
        pairs = self._outstanding(survey, surroundings, threshold, report)
        promise = measured(surroundings, survey, self._judges, len(pairs), false_matches)
        self._allowed = promise.allowed
        return self._judged(self._like(pairs, survey)), promise

    def between(self, pairs: Sequence[tuple[int, int]]) -> list[Edge]:
        """The pairs of rows among ``pairs`` that have something to do with each other, unturned."""
        distances = [float(np.linalg.norm(self._codes[a].astype(np.float64) - self._codes[b])) for a, b in pairs]
        return self._judged([(a, b, 0, far) for (a, b), far in zip(pairs, distances, strict=True)])

    def _outstanding(
        self, survey: Survey, surroundings: Surroundings, threshold: float | None, report: OnProgress | None
    ) -> Pairs:
        parts, done = [surroundings.standing_out()], 0
        for view, rows, codes in survey.look_through(self._paths, self._model, self._views, self._pool):
            parts.append(surroundings.near_views(rows, codes, self._views.index(view)))
            if report and rows[-1] >= done:
                done = int(rows[-1]) + 1
                report(done, len(self._paths))
        pairs = Pairs.joined(parts)
        pairs = pairs[~survey.faint[pairs.a] & ~survey.faint[pairs.b]]
        if threshold is not None:
            pairs = pairs[pairs.distance <= threshold]
        return most_outstanding(pairs, len(self._paths))

    def _like(self, pairs: Pairs, survey: Survey) -> list[tuple[int, int, int, float]]:
        """Rows, turn and distance of the pairs that are like at a glance, in the view in which they are most alike."""
        best: dict[tuple[int, int, int], tuple[float, tuple[int, int, int, float]]] = {}
        for (a, b), view, distance, like in zip(
            pairs.rows(),
            pairs.view.tolist(),
            pairs.distance.tolist(),
            likenesses(pairs, survey, self._views),
            strict=True,
        ):
            turn = 0 if view < 0 else self._views[view].turn
            key = (min(a, b), max(a, b), turn)
            if like >= LIKE and like > best.get(key, (0.0,))[0]:
                best[key] = like, (*((a, b) if turn else key[:2]), turn, distance)
        return [best[key][1] for key in sorted(best)]

    def _judged(self, pairs: Sequence[tuple[int, int, int, float]]) -> list[Edge]:
        found = self._judges.of([(a, b) for a, b, _, _ in pairs], [turn for _, _, turn, _ in pairs])
        seen = [(pair, verdict, more) for pair, (verdict, more) in zip(pairs, found, strict=True) if verdict.alike > 0]
        self._learn(row for (a, b, _, _), verdict, _ in seen if verdict.answer != "other" for row in (a, b))
        edges: dict[tuple[int, int], Edge] = {}
        for (a, b, turn, distance), verdict, more in seen:
            kind = kind_of(self._held_to(verdict), more, *(self._facts.get(row, Facts()) for row in (a, b)))
            if kind and (a, b) not in edges and (b, a) not in edges:
                edges[a, b] = Edge(a, b, kind, distance, verdict, name_of(turn))
        return self._with_equal_samples(list(edges.values()))

    def _held_to(self, verdict: Verdict) -> Verdict:
        """The verdict, if it disagrees in no more than is allowed; else nobody can tell."""
        is_copy = verdict.answer == "copy" and 1 - verdict.alike > self._allowed
        return Verdict("unsure", verdict.alike, verdict.differs, verdict.places) if is_copy else verdict

    def _learn(self, rows: Iterable[int]) -> None:
        new = sorted({row for row in rows if row not in self._facts})
        tasks = [Task(self._paths[row], frame="original", want="facts") for row in new]
        for row, decoded in zip(new, self._pool.map(tasks), strict=True):
            self._facts[row] = decoded.facts or Facts()

    def _with_equal_samples(self, edges: list[Edge]) -> list[Edge]:
        """Pairs that only seem to be saved again may hold the same samples."""
        rows = sorted({row for edge in edges if edge.kind == "scaled" and not edge.turned for row in (edge.a, edge.b)})
        digests = dict(zip(rows, digests_of([self._paths[row] for row in rows], self._pool), strict=True))
        return [
            Edge(edge.a, edge.b, "pixels", edge.distance, edge.verdict)
            if edge.a in digests and edge.kind == "scaled" and digests[edge.a] == digests[edge.b] is not None
            else edge
            for edge in edges
        ]


def digests_of(paths: Sequence[str], pool: DecoderPool) -> list[bytes | None]:
    """Hashes of all stored samples of files; None for what cannot be read."""
    return [decoded.digest for decoded in pool.map(Task(path, frame="original", want="samples") for path in paths)]
