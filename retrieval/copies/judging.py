"""The second look at a pair: bring two pictures into one frame, in the ways in which copies are made, and compare them.

Whole frames are tried first, then frames without borders and bars, then points that both have (with OpenCV): crops,
turns, screenshots. The first way in which they are copies counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from retrieval.copies.look import LOOK_PX, Look
from retrieval.copies.registration import Points, can_register, points_of, registered
from retrieval.copies.verdict import OTHER, UNSURE, Map, Verdict, glance, stretched, trimmed, verdict
from retrieval.pictures.workers import Decoded, DecoderPool, Task

SEEMS = 0.2  # share of tiles that agree at a glance; of copies in the same frame more do
AT_ONCE = 128  # pairs whose looks are held in memory
TURNS = ("", "turned by 270 degrees", "turned by 180 degrees", "turned by 90 degrees")  # by quarters against the clock
STRAIGHT = math.radians(1.0)


@dataclass(frozen=True)
class Seen:
    """A look, and what is computed of it once."""

    look: Look
    holds_more: bool = False  # other frames, pages, layers, or raw values

    @cached_property
    def points(self) -> Points:
        return points_of(self.look)

    @cached_property
    def has_borders(self) -> bool:
        return self.look.content != (0, 0, *self.look.size)

    def turned(self, turn: int) -> Seen:
        """As ``Look.turned``."""
        return Seen(self.look.turned(turn), self.holds_more) if turn else self


def seen_in(decoded: Decoded) -> Seen | None:
    """What is seen of a file; None if it cannot be read."""
    if decoded.pixels is None:
        return None
    return Seen(Look(decoded.pixels, decoded.width_px, decoded.height_px), decoded.holds_more)


def name_of(turn: int) -> str:
    """What was done to a picture that looks right once it is ``turned``."""
    return " and ".join(filter(None, ("mirrored" if turn >= 4 else "", TURNS[turn % 4])))


def judge(a: Seen, b: Seen) -> Verdict:
    """Whether two pictures are copies, and what differs.

    Faint pictures are never copies: what they hold cannot be seen.
    """
    if a.look.is_faint or b.look.is_faint:
        return OTHER
    best = OTHER
    for there, differs in _ways(a, b):
        found = verdict(a.look, b.look, there)
        if found.answer == "copy":
            return replace(found, differs=(*differs, *found.differs))
        best = max(best, found, key=lambda one: (one.answer == "unsure", one.alike))
    return best


def _ways(a: Seen, b: Seen) -> Iterator[tuple[Map, tuple[str, ...]]]:
    """Maps from the first picture to the second, and what each says of how they differ."""
    if glance(a.look, b.look) >= SEEMS:
        yield stretched(a.look, b.look), ()
    if a.has_borders or b.has_borders:
        yield trimmed(a.look, b.look), ("frame",)
    if can_register() and (there := registered(a.points, b.points)) is not None:
        yield there, _moved(there)


def _moved(there: Map) -> tuple[str, ...]:
    """What a map does to a picture."""
    if np.linalg.det(there[:2, :2]) < 0:
        return ("mirrored",)
    angle = math.atan2(there[1, 0] - there[0, 1], there[0, 0] + there[1, 1])
    quarters = round(angle / (math.pi / 2))
    rest = abs(angle - quarters * math.pi / 2)
    return tuple(filter(None, ("frame", TURNS[-quarters % 4], "turned a little" if rest > STRAIGHT else "")))


class Judges:
    """Judge pairs of files by their rows. Pictures are decoded by worker processes, and compared in threads."""

    def __init__(self, paths: Sequence[str], pool: DecoderPool) -> None:
        self._paths, self._pool = paths, pool

    def of(self, pairs: Sequence[tuple[int, int]], turns: Sequence[int]) -> Iterator[tuple[Verdict, bool]]:
        """For each pair of rows the verdict on the first picture, turned, and the second; and whether a file holds
        more than what is seen. A picture that cannot be read now is no copy, nor is one that changed."""
        with ThreadPoolExecutor(self._pool.workers) as threads:
            for start in range(0, len(pairs), AT_ONCE):
                part = slice(start, start + AT_ONCE)
                rows = sorted({row for pair in pairs[part] for row in pair})
                tasks = [Task(self._paths[row], frame="look") for row in rows]
                seen = dict(zip(rows, map(seen_in, self._pool.map(tasks, LOOK_PX)), strict=True))
                yield from threads.map(
                    lambda pair, turn, seen=seen: _judged(seen[pair[0]], seen[pair[1]], turn), pairs[part], turns[part]
                )


def _judged(a: Seen | None, b: Seen | None, turn: int) -> tuple[Verdict, bool]:
    if a is None or b is None:
        return UNSURE, False
    return judge(a.turned(turn), b), a.holds_more or b.holds_more
