"""Which copies are found, and which pictures are wrongly called copies, beside perceptual hashes of the same files.

* Copies: every kind of alteration of `alterations.py`, planted one kind at a time among originals. The share of them
  that `latent dedup find` pairs with their original (of any kind, and of the kinds that it proposes to remove),
  and that `latent query` finds first and among ten.
* No copies: every kind of `negatives.py`, one at a time among the same originals. The number of pairs that are called
  copies, and that are proposed; the promise is one wrong pair in expectation.

The originals are those of --photos, or drawn: samples of a shipped model with detail added at every scale.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import alterations
import negatives
import numpy as np
from beside import arguments_of, machine, photographs
from dedup import pairs_of
from hashes import FAMILIES, HASHES, Pairs, installed
from PIL import Image

from retrieval import Retriever, find_copies, load_model
from retrieval.copies.kinds import COPIES
from retrieval.defaults import PROPOSED

MODEL = "photos-64"
OURS = ("latent", "proposed")
PAGE = Path(__file__).parents[1] / "docs" / "copies.md"


@dataclass
class Score:
    """For one kind: copies planted, or pictures drawn, and what each program says."""

    planted: int
    pairs: dict[str, int] = field(default_factory=dict)  # by program: copies found, or wrong pairs
    first: float = float("nan")
    in_ten: float = float("nan")


def drawn(count: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """Pictures of 640 x 480 with large forms of a model's samples, and detail like that of photographs."""
    samples = load_model(MODEL).sample(count, seed=int(rng.integers(1 << 30)))
    for pixels in samples:
        form = np.asarray(Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC), np.float32)
        detail = np.zeros((480, 640), np.float32)
        for octave in range(3, 9):
            coarse = Image.fromarray(rng.normal(0, 1, (2**octave * 3 // 4, 2**octave)).astype(np.float32))
            detail += np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC)) * 60 / 2 ** (octave - 1)
        yield Image.fromarray((form + detail[..., None]).clip(0, 255).astype(np.uint8))


def originals_of(photos: str, count: int, rng: np.random.Generator) -> Iterable[Image.Image]:
    return photographs(photos, count) if photos else drawn(count, rng)


def save_originals(folder: Path, pictures: Iterable[Image.Image]) -> list[Path]:
    folder.mkdir(parents=True)
    paths = []
    for number, image in enumerate(pictures):
        paths.append(folder / f"original-{number:05d}.jpg")
        image.save(paths[-1], quality=95)
    return paths


def plant(folder: Path, kind: str, originals: list[Path], each: int) -> dict[frozenset[str], Path]:
    """Write copies of one kind; the true pairs, and the copy of each."""
    rng, truth = np.random.default_rng(7), {}
    folder.mkdir()
    for path in originals[:each]:
        copy = folder / f"{path.stem}-copy.png"
        alterations.KINDS[kind](Image.open(path).convert("RGB"), rng).save(copy)
        truth[frozenset((str(path), str(copy)))] = copy
    return truth


def draw(folder: Path, kind: str, count: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(11)
    for number in range(count):
        image = negatives.KINDS[kind](number, rng)
        image.save(folder / f"{number:04d}{'.tif' if image.mode == 'F' else '.png'}")


def inside(pairs: Pairs, folder: Path) -> Pairs:
    """Pairs of which both are in ``folder``: originals may hold copies of their own."""
    return {pair for pair in pairs if all(path.startswith(f"{folder}/") for path in pair)}


class Collection:
    """Originals with an index, to which one folder at a time is added."""

    def __init__(self, work: Path, pictures: Iterable[Image.Image]) -> None:
        self.folder = work / "photos"
        self.originals = save_originals(self.folder / "originals", pictures)
        self.retriever = Retriever.build(self.folder, work / "index", model=MODEL)
        self.hashes = [name for name in HASHES if installed(name)]

    def found(self) -> dict[str, Pairs]:
        """The pairs that each program finds now; those that this one proposes to remove are "proposed"."""
        self.retriever.update()
        plan = find_copies(self.retriever, kinds=COPIES, mirrored=True)
        answers = {"latent": pairs_of(plan), "proposed": pairs_of(plan, PROPOSED)}
        for name in self.hashes:
            _, find, settings = HASHES[name]
            with contextlib.suppress(ValueError, OSError):  # a mode of pixels that it does not know: it has no answer
                answers[name] = find(self.folder, *settings)
        return answers

    def copies(self, kind: str, each: int) -> Score:
        place = self.folder / "kind"
        truth = plant(place, kind, self.originals, each)
        score = Score(len(truth))
        hits = self.retriever.query_batch([str(copy) for copy in truth.values()], k=10)
        ranks = [_rank(its, pair) for its, pair in zip(hits, truth, strict=True)]
        score.first, score.in_ten = (
            float(np.mean([one == 0 for one in ranks])),
            float(np.mean([one < 10 for one in ranks])),
        )
        score.pairs = {name: len(pairs & set(truth)) for name, pairs in self.found().items()}
        shutil.rmtree(place)
        return score

    def no_copies(self, kind: str, count: int) -> Score:
        place = self.folder / "kind"
        draw(place, kind, count)
        score = Score(len(list(place.iterdir())))
        score.pairs = {name: len(inside(pairs, place)) for name, pairs in self.found().items()}
        shutil.rmtree(place)
        return score


def _rank(hits: list, pair: frozenset[str]) -> int:  # type: ignore[type-arg]
    return next((place for place, hit in enumerate(hits) if hit.path in pair), 1000)


def main() -> None:
    arguments = arguments_of(
        __doc__,
        pictures=(1000, "originals"),
        each=(40, "copies of each kind"),
        negatives=(40, "pictures of each kind that has no copies"),
        photos=("", "a folder of originals"),
        only=("", "kinds whose name begins so"),
    )
    peers = " | ".join(FAMILIES)
    lines = [
        f"| alteration | found | proposed | query: first | in ten | {peers} |",
        "|---|" + "---|" * (4 + len(FAMILIES)),
    ]
    with tempfile.TemporaryDirectory() as scratch:
        pictures = originals_of(arguments.photos, arguments.pictures, np.random.default_rng(3))
        collection = Collection(Path(scratch), pictures)
        for kind in alterations.KINDS:
            if kind.startswith(arguments.only):
                lines.append(_line_of_copies(kind, collection.copies(kind, arguments.each)))
                print(lines[-1], flush=True)
        lines += ["", f"| no copies | called copies | proposed | {peers} |", "|---|" + "---|" * (2 + len(FAMILIES))]
        for kind in negatives.KINDS:
            if kind.startswith(arguments.only):
                lines.append(_line_of_no_copies(kind, collection.no_copies(kind, arguments.negatives)))
                print(lines[-1], flush=True)
    if arguments.page:
        _write(lines, arguments)


def _write(lines: list[str], arguments: argparse.Namespace) -> None:
    """Put the tables between the marks of the page."""
    what = f"`python benchmarks/copies.py --pictures {arguments.pictures} --each {arguments.each} "
    what += (
        f"--negatives {arguments.negatives}`, {'photographs' if arguments.photos else 'drawn originals'}, {machine()}:"
    )
    text = PAGE.read_text()
    start, end = (text.index(mark) for mark in ("<!-- copies -->", "<!-- end of copies -->"))
    PAGE.write_text(text[:start] + "\n".join(["<!-- copies -->", what, "", *lines, ""]) + text[end:])


def _line_of_copies(kind: str, score: Score) -> str:
    found, proposed = (score.pairs[name] / score.planted for name in OURS)
    others = [f"{_most(score.pairs, family) / score.planted:.2f}" for family in FAMILIES]
    cells = [kind, f"**{found:.2f}**", f"{proposed:.2f}", f"{score.first:.2f}", f"{score.in_ten:.2f}", *others]
    return f"| {' | '.join(cells)} |"


def _line_of_no_copies(kind: str, score: Score) -> str:
    others = [f"{_most(score.pairs, family):,}" for family in FAMILIES]
    return f"| {' | '.join([kind, *(f'{score.pairs[name]:,}' for name in OURS), *others])} |"


def _most(pairs: dict[str, int], family: str) -> int:
    """What a family of hashes finds with the limit that its documentation names first."""
    return pairs.get(FAMILIES[family], 0)


if __name__ == "__main__":
    main()
