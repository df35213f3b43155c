"""How well `latent dedup find` finds planted copies of many kinds, compared with perceptual hashes of the same files.

The pictures are samples of `faces-64`, which all show a face in the middle and so are hard to tell apart by a hash; or
those of --photos. Some of them get copies, each with one kind of alteration; all other pairs are wrong.

* ours: `latent index build` and `latent dedup find`, with its own threshold, with and without --mirrored;
* imagehash, imagededup, czkawka (its Python package), where installed: perceptual hashes with the distances that their
  documentation names.

Each runs in its own process, so each has its own memory peak; latent's decoders are further processes.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from beside import Line, arguments_of, photographs, tell
from hashes import HASHES, Pairs, installed
from PIL import Image

from retrieval import Plan, Retriever, find_copies, load_model
from retrieval.copies.kinds import COPIES
from train.copies import ALTERATIONS

MODEL = "photos-64"


@dataclass(frozen=True)
class Result:
    found: Pairs
    seconds: float
    memory_mb: float


def plant(folder: Path, originals: list[Image.Image], each: int) -> dict[frozenset[str], str]:
    """Write originals and ``each`` copies of every kind; return the true pairs with their kinds."""
    folder.mkdir(parents=True)
    for number, image in enumerate(originals):
        image.save(folder / f"{number:05d}.jpg", quality=95)
    truth = {}
    for number, (kind, _) in enumerate(itertools.product(ALTERATIONS, range(each))):
        copy = folder / f"copy-{number:05d}.jpg"
        ALTERATIONS[kind](originals[number]).convert("RGB").save(copy, quality=90)
        truth[frozenset((str(folder / f"{number:05d}.jpg"), str(copy)))] = kind
    return truth


def pairs_of(plan: Plan, kinds: Sequence[str] | None = None) -> Pairs:
    """All pairs within each group: of the kept picture and its copies of these kinds, by default of all."""
    groups = (
        (group.keep, *(one.path for one in group.evidence if kinds is None or one.kind in kinds))
        for group in plan.groups
    )
    return {frozenset(pair) for group in groups for pair in itertools.combinations(group, 2)}


def latent(folder: Path, mirrored: bool) -> Pairs:
    """Index and plan, both from scratch."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        Retriever.build(folder, Path(scratch) / "index", model=MODEL) as retriever,
    ):
        return pairs_of(find_copies(retriever, kinds=COPIES, mirrored=mirrored))


PROGRAMS: dict[str, tuple[str, Callable[..., Pairs], tuple[Any, ...]]] = {
    "latent": ("retrieval", latent, (False,)),
    "latent, mirror": ("retrieval", latent, (True,)),
    **HASHES,
}


def own_peak_mb() -> float:
    """Peak memory of this process. ``resource.getrusage`` would give the parent's peak where that is higher."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def run(name: str, folder: Path) -> Result | None:
    """Run one program in its own process; None if it is not installed."""
    _, find, settings = PROGRAMS[name]
    if name in HASHES and not installed(name):
        return None
    start = time.perf_counter()
    found = find(folder, *settings)
    return Result(found, time.perf_counter() - start, own_peak_mb())


def scored(found: Pairs, truth: Iterable[frozenset[str]]) -> tuple[float, float, float]:
    """Precision, recall, F1."""
    true = set(truth)
    hits = len(found & true)
    precision, recall = hits / max(1, len(found)), hits / len(true)
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


def main() -> None:
    arguments = arguments_of(
        __doc__,
        pictures=(2000, "originals"),
        each=(40, "copies of each kind"),
        side=(1024, "pixels of an original's side"),
        photos=("", "a folder of originals"),
    )
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.photos:
            originals = list(photographs(arguments.photos, arguments.pictures))
        else:
            samples = load_model("faces-64").sample(arguments.pictures, seed=21)
            originals = [
                Image.fromarray(one).resize((arguments.side,) * 2, Image.Resampling.BICUBIC) for one in samples
            ]
        folder = Path(scratch) / "photos"
        truth = plant(folder, originals, arguments.each)
        results: dict[str, Result] = {}
        for name in PROGRAMS:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                if (result := process.submit(run, name, folder).result()) is not None:
                    results[name] = result
    best = max((scored(one.found, truth)[2] for name, one in results.items() if "latent" not in name), default=0.0)
    lines = []
    for name, one in results.items():
        precision, recall, f1 = scored(one.found, truth)
        wrong = len(one.found - set(truth))
        quality = f"{name}: precision {precision:.3f}, recall {recall:.3f}, {wrong:,} wrong"
        lines.append(
            Line(
                f"{quality}, {one.seconds:.1f} s, {one.memory_mb:.0f} MB",
                f"F1 {f1:.3f}",
                f"best hash {best:.3f}",
                f1 / max(best, 1e-9),
                1.0 if "latent" in name else None,
            )
        )
    found = results["latent, mirror"].found
    for kind in ALTERATIONS:
        its = [pair for pair, its_kind in truth.items() if its_kind == kind]
        share = sum(pair in found for pair in its) / len(its)
        lines.append(Line(f"latent, mirror: {kind}", f"{share:.3f}", "all", share))
    tell("dedup", lines, arguments)


if __name__ == "__main__":
    main()
