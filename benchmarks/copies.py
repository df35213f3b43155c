"""Which copies are found, and which pictures are wrongly called copies, beside perceptual hashes of the same files.

* Copies: every kind of alteration of `alterations.py`, planted one kind at a time among originals. The share of them
  that `latent dedup find` pairs with their original, and that `latent query` finds first and among ten.
* No copies: every kind of `negatives.py`, one at a time among the same originals. The number of pairs that are called
  copies; the promise is one wrong pair in expectation.

The originals are those of --photos, or drawn: samples of a shipped model with detail added at every scale.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import alterations
import negatives
import numpy as np
from beside import Line, arguments_of, photographs, tell
from dedup import pairs_of
from hashes import HASHES, Pairs, installed
from PIL import Image

from retrieval import Retriever, find_copies, load_model

MODEL = "photos-64"


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
        """The pairs that each program finds now."""
        self.retriever.update()
        answers = {"latent": pairs_of(find_copies(self.retriever))}
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
    with tempfile.TemporaryDirectory() as scratch:
        collection = Collection(
            Path(scratch), originals_of(arguments.photos, arguments.pictures, np.random.default_rng(3))
        )
        lines = []
        for kind in alterations.KINDS:
            if kind.startswith(arguments.only):
                lines.append(_line_of_copies(kind, collection.copies(kind, arguments.each)))
                print(lines[-1].cells(), flush=True)
        for kind in negatives.KINDS:
            if kind.startswith(arguments.only):
                lines.append(_line_of_no_copies(kind, collection.no_copies(kind, arguments.negatives)))
                print(lines[-1].cells(), flush=True)
    tell("copies", lines, arguments)


def _line_of_copies(kind: str, score: Score) -> Line:
    others = {name: count for name, count in score.pairs.items() if name != "latent"}
    best = max(others, key=lambda name: others[name], default="")
    beside = f"{best}: {others[best] / score.planted:.2f}" if best else ""
    share = score.pairs["latent"] / score.planted
    return Line(f"found: {kind}", f"{share:.2f}, R@1 {score.first:.2f}, R@10 {score.in_ten:.2f}", beside, share)


def _line_of_no_copies(kind: str, score: Score) -> Line:
    others = ", ".join(f"{name}: {count:,}" for name, count in score.pairs.items() if name != "latent")
    wrong = score.pairs["latent"]
    return Line(f"wrong pairs: {kind}", f"{wrong:,} of {score.planted} pictures", others, wrong, at_most=1)


if __name__ == "__main__":
    main()
