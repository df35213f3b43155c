"""What a build on a cluster costs beside one without: the same pictures on the same cores of this machine.

A cluster has a fixed cost, its start, and one for each picture. So both builds are measured of all pictures and of a
quarter of them; the difference is of pictures alone. Processor seconds are those of all processes that a build starts,
Ray's among them, and depend less than wall time on what else the machine does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from beside import PROGRAM, SIZES, Line, arguments_of, make_photos, tell

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


def cost(photos: Path, index: Path, *more: str) -> Cost:
    """A build from nothing."""
    shutil.rmtree(index, ignore_errors=True)
    words, mark = [PROGRAM, "index", "build", str(photos), "--index", str(index), *more], str(time.monotonic_ns())
    with Meter(mark) as meter:
        start = time.perf_counter()
        done = subprocess.run(words, check=False, capture_output=True, text=True, env={**os.environ, MARK: mark})
        wall_s = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    return Cost(meter.seconds, wall_s)


def median(costs: list[Cost]) -> Cost:
    middle = len(costs) // 2
    return Cost(sorted(one.processor_s for one in costs)[middle], sorted(one.wall_s for one in costs)[middle])


def lines_of(few: dict[str, Cost], many: dict[str, Cost], count: int) -> list[Line]:
    lines = []
    for name, text in (("processor_s", "processor"), ("wall_s", "wall")):
        local, ray = (getattr(many[side], name) for side in ("local", "ray"))
        lines.append(Line(f"{text}, {count:,} pictures", f"{ray:.1f} s", f"local {local:.1f} s", ray / local))
        here, there = (getattr(many[side], name) - getattr(few[side], name) for side in ("local", "ray"))
        what = f"{text}, three quarters of them"
        lines.append(Line(what, f"{there:.1f} s", f"local {here:.1f} s", there / here, at_most=1.15))
    return lines


def main() -> None:
    arguments = arguments_of(
        __doc__, pictures=(10_000, "pictures"), size=("0.1 MP", f"one of {', '.join(SIZES)}"), rounds=(3, "rounds")
    )
    costs: dict[tuple[str, str], list[Cost]] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        parts = {"few": arguments.pictures // 4, "many": arguments.pictures}
        for part, count in parts.items():
            make_many(scratch / part, count, SIZES[arguments.size])
        for _ in range(arguments.rounds):
            for part in parts:
                for side, more in (("local", ()), ("ray", ("--on", "ray"))):
                    found = cost(scratch / part, scratch / "index", *more)
                    print(part, side, f"{found.processor_s:.1f} s of processors, {found.wall_s:.1f} s", flush=True)
                    costs.setdefault((part, side), []).append(found)
    few, many = ({side: median(costs[part, side]) for side in ("local", "ray")} for part in parts)
    tell("cluster", lines_of(few, many, arguments.pictures), arguments)


if __name__ == "__main__":
    main()
