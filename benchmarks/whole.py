"""Plans for whole collections, from the index to the plan: time, memory, and how both grow.

One folder grows from the first of --sizes to the last. At each size `latent index update` brings the index up to date,
and `latent dedup find` plans the whole, each in its own process. Every hundredth picture is there a second time, saved
again, so that there is something to find. The pictures are small and drawn: mixtures of a model's samples with detail
of their own at every scale. Small pictures stand for large ones in all but decoding: whatever is kept of a picture
while copies are sought has the same size for both, which is its code, its small grey picture and its points.

--names gives each file so many names (hard links), which stand for files of equal bytes.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from beside import PROGRAM, Line, arguments_of, tell
from PIL import Image

from retrieval import load_model

MODEL = "photos-64"
SAMPLES, MIXED = 500, 3
SHAPES = ((1.0, 0.75), (0.75, 1.0), (1.0, 1.0))
TWICE = 100  # every so-manieth picture is there a second time
IN_A_FOLDER = 1000
EVERY_S = 0.5


@dataclass(frozen=True)
class Used:
    """What a command used: seconds, processor seconds of all its processes, and the peak of its own memory without
    pages of files, which the system can take back at any time; and with them."""

    seconds: float
    cpu_seconds: float
    own_mb: float
    resident_mb: float


def drawn(count: int, first: int, side_px: int) -> Iterator[Image.Image]:
    """Pictures number ``first`` and on, of ``side_px`` at the longest side: each is a function of its number."""
    samples = load_model(MODEL).sample(SAMPLES, seed=1).astype(np.float32)
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        weights = rng.dirichlet([1.0] * MIXED)
        form = np.tensordot(weights, samples[rng.integers(0, SAMPLES, MIXED)], 1)
        form += _detail(form.shape[0], rng)[..., None]
        wide, high = (round(side_px * share) for share in SHAPES[number % len(SHAPES)])
        yield Image.fromarray(form.clip(0, 255).astype(np.uint8)).resize((wide, high), Image.Resampling.BICUBIC)


def _detail(side: int, rng: np.random.Generator) -> np.ndarray:
    detail = np.zeros((side, side), np.float32)
    for octave in range(2, side.bit_length()):
        coarse = Image.fromarray(rng.normal(0, 1, (2**octave, 2**octave)).astype(np.float32))
        detail += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) * 60 / 2 ** (octave - 2)
    return detail


def fill(folder: Path, have: int, want: int, side_px: int, names: int) -> None:
    """Write the pictures number ``have`` to ``want``, each with ``names`` names."""
    for number, image in enumerate(drawn(want - have, have, side_px), have):
        inner = folder / f"{number // IN_A_FOLDER:04d}"
        inner.mkdir(parents=True, exist_ok=True)
        path = inner / f"{number:07d}.jpg"
        image.save(path, quality=90)
        if number % TWICE == 0:
            image.save(inner / f"{number:07d}-again.jpg", quality=60)
        for name in range(1, names):
            os.link(path, inner / f"{number:07d}-name-{name}.jpg")


def used_by(*words: str) -> Used:
    """Run a command and watch it.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    start, before = time.perf_counter(), os.times()
    with subprocess.Popen([PROGRAM, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        own = resident = 0.0
        while process.poll() is None:
            own = max(own, _status_mb(process.pid, "RssAnon"))
            resident = max(resident, _status_mb(process.pid, "VmHWM"))
            time.sleep(EVERY_S)
    after = os.times()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Used(time.perf_counter() - start, cpu, own, resident)


def _status_mb(process: int, name: str) -> float:
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name}:")]
    return int(found[0]) / 1024 if found else 0.0


def growth(counts: Sequence[int], values: Sequence[float]) -> float:
    """The power with which values grow from the first of two counts to the second."""
    return math.log(values[1] / values[0]) / math.log(counts[1] / counts[0])


def lines_of(count: int, built: Used, found: Used, pairs: str, before: tuple[int, Used] | None) -> list[Line]:
    what = f"{count:,} files: {found.seconds:,.0f} s ({found.cpu_seconds:,.0f} s of processor time), {pairs}"
    if before is None:
        return [Line(what, f"{found.own_mb:,.0f} MB of its own", f"index build {built.seconds:,.0f} s", 1.0)]
    counts = before[0], count
    cpu = growth(counts, (before[1].cpu_seconds, found.cpu_seconds))
    memory = growth(counts, (before[1].own_mb, found.own_mb))
    smaller, ratio = f"{before[1].own_mb:,.0f} MB", found.own_mb / before[1].own_mb
    return [
        Line(what, f"{found.own_mb:,.0f} MB of its own", smaller, ratio),
        Line("the same: processor time grows with the files to the power", f"{cpu:.2f}", "1", cpu, at_most=1.15),
        Line("the same: memory grows with the files to the power", f"{memory:.2f}", "1", memory, at_most=1.1),
    ]


def main() -> None:
    arguments = arguments_of(
        __doc__,
        sizes=("20000,50000", "pictures, rising"),
        side=(32, "pixels of the longest side"),
        names=(1, "names of each file"),
    )
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder, index, plan = Path(scratch) / "photos", str(Path(scratch) / "index"), Path(scratch) / "plan.json"
        have, before = 0, None
        for want in map(int, arguments.sizes.split(",")):
            fill(folder, have, want, arguments.side, arguments.names)
            built = used_by("index", "build", str(folder), "--index", index, "--model", MODEL)
            found = used_by("dedup", "find", "--index", index, "-o", str(plan))
            count = sum(len(files) for _, _, files in os.walk(folder))
            new = lines_of(count, built, found, _told(plan), before)
            print(*(f"{one.what}: {one.ours}" for one in new), sep="\n", file=sys.stderr, flush=True)
            lines += new
            have, before = want, (count, found)
    tell("whole", lines, arguments)


def _told(path: Path) -> str:
    from retrieval.copies.plan import load_plan

    plan = load_plan(path)
    removed = [(group.keep, one) for group in plan.groups for one in group.remove]
    wrong = sum(_number(kept) != _number(gone) for kept, gone in removed)
    return f"{len(removed):,} to remove in {len(plan.groups):,} groups, {wrong:,} of them of another picture"


def _number(path: str) -> str:
    """The number of the picture of a file."""
    return os.path.basename(path)[:7]


if __name__ == "__main__":
    main()
