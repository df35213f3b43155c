"""Shared by the benchmarks: alternating timing, one table format, pictures of a photo's size.

Every figure is a ratio of two measurements from the same run, since machines differ and are shared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from retrieval import load_model

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
PROGRAM = str(Path(sys.executable).with_name("latent"))


def processor_s() -> float:
    """Seconds of processors that this process and those that it waited for have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclass(frozen=True)
class Line:
    """One line of a table: the ``ratio`` of ours to its baseline, and its target."""

    what: str
    ours: str
    beside: str
    ratio: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return "" if self.at_most is None else f"<= {self.at_most:g}"

    @property
    def verdict(self) -> str:
        if not self.target:
            return ""
        met = self.ratio >= self.at_least if self.at_least is not None else self.ratio <= (self.at_most or 0)
        return "met" if met else "missed"

    def cells(self) -> list[str]:
        return [self.what, self.ours, self.beside, f"{self.ratio:.3g}", self.target, self.verdict]


HEADINGS = ["what", "ours", "beside it", "ratio", "target", ""]


def arguments_of(about: str | None, **options: tuple[int | str, str]) -> argparse.Namespace:
    """Parse the command line: ``options`` by name, each with its default and help, and where the table goes."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (default, text) in options.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{text} [{default}]")
    parser.add_argument("-o", "--output", type=Path, help="write the lines as JSON too")
    parser.add_argument("--page", action="store_true", help=f"put the table into {PAGE.parent.name}/{PAGE.name}")
    return parser.parse_args()


def tell(subject: str, lines: Sequence[Line], arguments: argparse.Namespace) -> None:
    """Print the table; on request, write it as JSON and into the page, between the subject's marks."""
    rows = [HEADINGS, *(line.cells() for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if arguments.output:
        facts = {"machine": machine(), "lines": [asdict(line) for line in lines]}
        arguments.output.write_text(json.dumps(facts, indent=2) + "\n")
    if arguments.page:
        table = ["| " + " | ".join(row) + " |" for row in rows]
        table.insert(1, "|---" * len(HEADINGS) + "|")
        words = " ".join(word for word in sys.argv[1:] if word != "--page")
        command = f"`python benchmarks/{Path(sys.argv[0]).name}{' ' * bool(words)}{words}`, {machine()}:"
        block = "\n".join([f"<!-- {subject} -->", command, "", *table, f"<!-- end of {subject} -->"])
        marks = re.compile(rf"<!-- {subject} -->.*?<!-- end of {subject} -->", re.DOTALL)
        PAGE.write_text(marks.sub(lambda _: block, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def machine() -> str:
    """Processor and cores, in words."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        name = found[1] if found else name
    return f"{os.cpu_count()} cores of {name}, Python {platform.python_version()}"


def photographs(folder: str, count: int) -> Iterator[Image.Image]:
    """The first ``count`` files below a folder, as pictures."""
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file())[:count]:
        yield Image.open(path).convert("RGB")


def alternately(rounds: int, **sides: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each side. The sides alternate, and each goes first equally often."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            sides[name]()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def cpu_seconds(work: Callable[[], object], rounds: int = 3) -> float:
    """Median CPU seconds of ``work`` in this process."""
    found = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found)


def latent(*words: str) -> None:
    subprocess.run([PROGRAM, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def peak_mb(*words: str) -> float:
    """Peak resident size of a command or of one of its processes, whichever is largest."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, text=True)
    return int(done.stdout) / 1024


SIZES = {"0.1 MP": (400, 300), "2 MP": (1732, 1155), "12 MP": (4032, 3024)}


def make_photos(folder: Path, count: int, size: tuple[int, int], suffix: str = ".jpg") -> list[Path]:
    """Write pictures with a photo's size and detail: enlarged samples of a model with fine noise added."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 4, (size[1], size[0], 1)).astype(np.int16)
    paths = []
    for number, pixels in enumerate(load_model("faces-64").sample(count)):
        large = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), np.int16)
        grained = np.clip(large + np.roll(grain, number * 37, axis=1), 0, 255).astype(np.uint8)
        path = folder / f"{number:05d}{suffix}"
        Image.fromarray(grained).save(path, quality=85)
        paths.append(path)
    return paths


def make_tiny(folder: Path, count: int) -> None:
    """Write distinct pictures of a few pixels, a thousand in each folder: many files at little cost."""
    rng = np.random.default_rng(0)
    for number in range(count):
        inner = folder / f"{number // 1000:03d}"
        if number % 1000 == 0:
            inner.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(inner / f"{number:06d}.png")
