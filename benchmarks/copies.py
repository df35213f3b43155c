"""Which copies are found, and which pictures are wrongly called copies, beside perceptual hashes of the same files.

* Copies: every kind of alteration of `alterations.py`, planted one kind at a time among originals. The share of them
  that `latent dedup find` pairs with their original (of any kind, and of the kinds that it proposes to remove),
  and that `latent query` finds first and among ten.
* No copies: every kind of `negatives.py`, one at a time among the same originals. The number of pairs that are called
  copies, and that are proposed; the promise is one wrong pair in expectation.

The originals are those of --photos, or drawn: samples of a shipped model with detail added at every scale.

--only measures some kinds alone. What is measured with --page replaces these kinds in docs/reports/copies.json, where
each has the command that measured it, and the tables of docs/copies.md are written from all that is there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
REPORT = Path(__file__).parents[1] / "docs" / "reports" / "copies.json"
MISSING = "-"  # of a program that is not installed


@dataclass
class Score:
    """For one kind: copies planted, or pictures drawn, and what each program says."""

    planted: int
    pairs: dict[str, int] = field(default_factory=dict)  # by program: copies found, or wrong pairs
    first: float = 0.0
    in_ten: float = 0.0


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
        save(alterations.KINDS[kind](Image.open(path).convert("RGB"), rng), copy)
        truth[frozenset((str(path), str(copy)))] = copy
    return truth


def draw(folder: Path, kind: str, count: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(11)
    for number in range(count):
        image = negatives.KINDS[kind](number, rng)
        save(image, folder / f"{number:04d}{'.tif' if image.mode == 'F' else '.png'}")


def save(image: Image.Image, path: Path) -> None:
    """Write a picture with its EXIF."""
    image.save(path, **({"exif": exif} if (exif := image.getexif()) else {}))


def inside(pairs: Pairs, folder: Path) -> Pairs:
    """Pairs of which both are in ``folder``: originals may hold copies of their own."""
    return {pair for pair in pairs if all(path.startswith(f"{folder}/") for path in pair)}


class Collection:
    """Originals with an index, to which one folder at a time is added."""

    def __init__(self, work: Path, pictures: Iterable[Image.Image]) -> None:
        self.folder = work / "photos"
        self.originals = save_originals(self.folder / "originals", pictures)
        self.retriever = Retriever.build(self.folder, work / "index", model=MODEL)
        self.hashes = [name for name in FAMILIES.values() if installed(name)]

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
        only=("", "the kinds to measure, between commas"),
    )
    only = set(filter(None, arguments.only.split(",")))
    if unknown := only - alterations.KINDS.keys() - negatives.KINDS.keys():
        raise SystemExit(f"no kinds: {', '.join(sorted(unknown))}")
    measured: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        pictures = originals_of(arguments.photos, arguments.pictures, np.random.default_rng(3))
        collection = Collection(Path(scratch), pictures)
        for kind in (kind for kind in (*alterations.KINDS, *negatives.KINDS) if kind in only or not only):
            if kind in alterations.KINDS:
                score, line = collection.copies(kind, arguments.each), _line_of_copies
            else:
                score, line = collection.no_copies(kind, arguments.negatives), _line_of_no_copies
            measured[kind] = {**asdict(score), "command": _command(arguments)}
            print(line(kind, measured[kind]), flush=True)
            if arguments.page:
                _note(measured)


def _note(measured: dict[str, dict[str, Any]]) -> None:
    """Put what was measured into the report, and the tables of the whole report into the page."""
    rows = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    rows |= measured
    REPORT.write_text(json.dumps(rows, indent=1) + "\n")
    text = PAGE.read_text()
    start, end = (text.index(mark) for mark in ("<!-- copies -->", "<!-- end of copies -->"))
    PAGE.write_text(text[:start] + "\n".join(["<!-- copies -->", *_tables(rows), ""]) + text[end:])


def _command(arguments: argparse.Namespace) -> str:
    """What measured a row, but for the kinds that were measured beside it."""
    counts = f"--pictures {arguments.pictures} --each {arguments.each} --negatives {arguments.negatives}"
    originals = "photographs" if arguments.photos else "drawn originals"
    return f"`python benchmarks/copies.py {counts}`, {originals}, {machine()}"


def _tables(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Both tables, from all rows that were measured; and what measured them."""
    commands: dict[str, list[str]] = {}
    for kind in (kind for kind in (*alterations.KINDS, *negatives.KINDS) if kind in rows):
        commands.setdefault(rows[kind]["command"], []).append(kind)
    most = max(commands.values(), key=len)
    told = [f"{command}{'' if kinds is most else ': ' + ', '.join(kinds)}" for command, kinds in commands.items()]
    peers = " | ".join(FAMILIES)
    return [
        ";\n".join(told) + ":",
        "",
        f"| alteration | found | proposed | query: first | in ten | {peers} |",
        "|---|" + "---|" * (4 + len(FAMILIES)),
        *(_line_of_copies(kind, rows[kind]) for kind in alterations.KINDS if kind in rows),
        "",
        f"| no copies | called copies | proposed | {peers} |",
        "|---|" + "---|" * (2 + len(FAMILIES)),
        *(_line_of_no_copies(kind, rows[kind]) for kind in negatives.KINDS if kind in rows),
        "",
        f"| all together | latent | {peers} |",
        "|---|" + "---|" * (1 + len(FAMILIES)),
        *_lines_of_all(rows),
    ]


def _lines_of_all(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Both tables in three numbers: what is found of all that was planted, wrong pairs where there are none, and F1."""
    planted = sum(row["planted"] for kind, row in rows.items() if kind in alterations.KINDS)
    cells: list[tuple[str, str, str]] = []
    for name in (OURS[0], *FAMILIES.values()):
        if all(name in row["pairs"] for row in rows.values()):
            right, wrong = (
                sum(row["pairs"][name] for kind, row in rows.items() if kind in kinds)
                for kinds in (alterations.KINDS, negatives.KINDS)
            )
            cells.append((f"{right:,}", f"{wrong:,}", f"{2 * right / (right + wrong + planted):.3f}"))
        else:
            cells.append((MISSING,) * 3)
    heads = (f"copies found, of {planted:,}", "pairs of no copies called copies", "F1")
    return [f"| {head} | {' | '.join(line)} |" for head, line in zip(heads, zip(*cells, strict=True), strict=True)]


def _line_of_copies(kind: str, row: dict[str, Any]) -> str:
    pairs, planted = row["pairs"], row["planted"]
    found, proposed = (pairs[name] / planted for name in OURS)
    others = [MISSING if count is None else f"{count / planted:.2f}" for count in _peers(pairs)]
    cells = [kind, f"**{found:.2f}**", f"{proposed:.2f}", f"{row['first']:.2f}", f"{row['in_ten']:.2f}", *others]
    return f"| {' | '.join(cells)} |"


def _line_of_no_copies(kind: str, row: dict[str, Any]) -> str:
    others = [MISSING if count is None else f"{count:,}" for count in _peers(row["pairs"])]
    return f"| {' | '.join([kind, *(format(row['pairs'][name], ',') for name in OURS), *others])} |"


def _peers(pairs: dict[str, int]) -> list[int | None]:
    """What each family of hashes finds with the limit that its documentation names first; None if it has no answer."""
    return [pairs.get(name) for name in FAMILIES.values()]


if __name__ == "__main__":
    main()
