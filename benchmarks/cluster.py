"""What a build on a cluster costs beside one without: the same pictures on the same cores of this machine.

A cluster has a fixed cost, its start and that of its actors, and one for each picture. So both builds are measured of
all pictures and of a quarter of them; the difference is of pictures alone. Processor seconds are those of all processes
that a build starts, Ray's among them, and depend less than wall time on what else the machine does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from beside import SIZES, Line, arguments_of, make_photos, tell

DRAWN, TICK_S = 100, 0.05
MARK = "LATENT_BENCHMARK"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """Seconds of all processors, and by the clock."""

    processor_s: float
    wall_s: float


def make_many(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Pictures of different bytes: some drawn ones, each with its number behind its end."""
    drawn = [path.read_bytes() for path in make_photos(folder / "drawn", DRAWN, size)]
    shutil.rmtree(folder / "drawn")
    for number in range(count):
        inner = folder / f"{number // 1000:03d}"
        inner.mkdir(exist_ok=True)
        (inner / f"{number:06d}.jpg").write_bytes(drawn[number % DRAWN] + number.to_bytes(4, "little"))


class Meter:
    """Counts the processor seconds of all processes that carry a mark in their environment, whoever reaps them."""

    def __init__(self, mark: str) -> None:
        self._mark, self._ticks, self._done = f"{MARK}={mark}".encode(), dict[str, int](), threading.Event()
        self._foreign = set[str]()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        return sum(self._ticks.values()) / TICKS_PER_S

    def _watch(self) -> None:
        while not self._done.wait(TICK_S):
            for folder in Path("/proc").glob("[0-9]*"):
                if folder.name not in self._foreign:
                    with suppress(OSError):  # it has ended
                        self._look_at(folder)

    def _look_at(self, folder: Path) -> None:
        name = folder.name
        if name not in self._ticks and self._mark not in (folder / "environ").read_bytes():
            if time.clock_gettime(time.CLOCK_BOOTTIME) - self._started_s(folder) > 1:  # it has its last environment
                self._foreign.add(name)
            return
        self._ticks[name] = sum(map(int, self._fields(folder)[11:13]))

    def _started_s(self, folder: Path) -> float:
        return int(self._fields(folder)[19]) / TICKS_PER_S

    @staticmethod
    def _fields(folder: Path) -> list[str]:
        return (folder / "stat").read_text().rpartition(")")[2].split()


STAGES = """
import sys
from retrieval import Library
from retrieval.ingest.joining import joined
on, index, *folders = sys.argv[1:]
def stages():
    print("started", flush=True)
    for number, folder in enumerate(folders):
        Library.build(folder, f"{index}-{number}", on=on or None).close()
        print("built", flush=True)
if on:
    with joined(on):
        stages()
else:
    stages()
"""


def costs_of(on: str, index: Path, folders: list[Path]) -> list[Cost]:
    """Of starting with a build of the first folder, and of a build of each other one."""
    for old in index.parent.glob(f"{index.name}-*"):
        shutil.rmtree(old)
    mark, costs = str(time.monotonic_ns()), list[Cost]()
    words = [sys.executable, "-c", STAGES, on, str(index), *map(str, folders)]
    with (
        Meter(mark) as meter,
        subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, MARK: mark}, text=True) as stages,
    ):
        before, start = 0.0, time.perf_counter()
        for _ in stages.stdout or ():
            time.sleep(2 * TICK_S)  # for the meter to see what was used
            now, end = meter.seconds, time.perf_counter()
            costs.append(Cost(now - before, end - start - 2 * TICK_S))
            before, start = now, end
    if len(costs) <= len(folders):
        raise SystemExit("a build failed")
    return [Cost(*map(sum, zip(*costs[:2], strict=True))), *costs[2:]]


def median(costs: list[Cost]) -> Cost:
    middle = len(costs) // 2
    return Cost(sorted(one.processor_s for one in costs)[middle], sorted(one.wall_s for one in costs)[middle])


def lines_of(local: list[Cost], ray: list[Cost], count: int) -> list[Line]:
    """Of the costs of starting, of a quarter of the pictures, and of all."""
    lines = []
    for name, text in (("processor_s", "processor"), ("wall_s", "wall")):
        here, there = ([getattr(one, name) for one in costs] for costs in (local, ray))
        whole = f"{text}, {count:,} pictures, Ray's start among it"
        lines.append(_line(whole, there[0] + there[2], here[0] + here[2]))
        lines.append(_line(f"{text}, {count:,} pictures, once it is started", there[2], here[2]))
        lines.append(_line(f"{text}, three quarters of them", there[2] - there[1], here[2] - here[1], 1.15))
    return lines


def _line(what: str, ray_s: float, local_s: float, at_most: float | None = None) -> Line:
    return Line(what, f"{ray_s:.1f} s", f"local {local_s:.1f} s", ray_s / local_s, at_most=at_most)


def main() -> None:
    arguments = arguments_of(
        __doc__, pictures=(10_000, "pictures"), size=("0.1 MP", f"one of {', '.join(SIZES)}"), rounds=(3, "rounds")
    )
    rounds: dict[str, list[list[Cost]]] = {"": [], "ray": []}
    with tempfile.TemporaryDirectory() as folder:
        first, few, many = (Path(folder, name) for name in ("first", "few", "many"))
        make_many(first, DRAWN, SIZES[arguments.size])  # Ray's first work takes longer
        make_many(few, arguments.pictures // 4, SIZES[arguments.size])
        make_many(many, arguments.pictures, SIZES[arguments.size])
        for _ in range(arguments.rounds):
            for on, known in rounds.items():
                known.append(costs_of(on, Path(folder, "index"), [first, few, many]))
                print(
                    on or "local", *(f"{one.processor_s:.1f} s of processors, {one.wall_s:.1f} s" for one in known[-1])
                )
    local, ray = ([median(list(stage)) for stage in zip(*known, strict=True)] for known in rounds.values())
    tell("cluster", lines_of(local, ray, arguments.pictures), arguments)


if __name__ == "__main__":
    main()
