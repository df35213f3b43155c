"""The second look at a pair: bring two pictures into one frame, in the ways in which copies are made, and compare them.

Whole frames are tried first, then frames without borders and bars, then points that both have (with OpenCV): crops,
turns, screenshots. The first way in which they are copies counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from retrieval.copies.look import LOOK_PX
from retrieval.copies.proposals import Proposal
from retrieval.copies.registration import can_register, registered
from retrieval.copies.seen import Seen, seen_in
from retrieval.copies.verdict import OTHER, UNSURE, Map, Verdict, glance, stretched, trimmed, verdict
from retrieval.pictures.workers import DecoderPool, Task

SEEMS = 0.65  # share of tiles that agree at a glance; of copies in the same frame .9 and more, if no part is hidden
AT_ONCE, HELD = 128, 384  # pairs that are judged at once, and looks that are held in memory
GLIMPSED = 0.7  # the same under a map that is a guess; of copies .83 and more
TURNS = ("", "turned by 270 degrees", "turned by 180 degrees", "turned by 90 degrees")  # by quarters against the clock
STRAIGHT = math.radians(1.0)
NEARLY = 0.85  # share of tiles that agree in pictures that may only lie a little beside each other
SAME_PX = 1.0  # between the corners of a picture under two maps that are the same way


def name_of(turn: int) -> str:
    """What was done to a picture that looks right once it is ``turned``."""
    return " and ".join(filter(None, ("mirrored" if turn >= 4 else "", TURNS[turn % 4])))


def judge(a: Seen, b: Seen, there: Map | None = None) -> Verdict:
    """Whether two pictures are copies, and what differs. ``there``: a first guess of where the points of the first
    picture are in the second, in shares of the longest sides.

    Faint pictures are never copies: what they hold cannot be seen.
    """
    if a.look.is_faint or b.look.is_faint:
        return OTHER
    best, tried = OTHER, list[Map]()
    for way, differs in _ways(a, b, there):
        if any(_are_the_same(way, other, a) for other in tried):
            continue
        tried.append(way)
        found = verdict(a.look, b.look, way)
        if found.answer == "copy":
            return replace(found, differs=(*differs, *found.differs))
        best = max(best, found, key=lambda one: (one.answer == "unsure", one.alike))
    if there is not None and best.answer == "unsure" and best.alike >= NEARLY:
        return judge(a, b)  # the other points may place them more closely
    return best


def _are_the_same(way: Map, other: Map, a: Seen) -> bool:
    """Whether two maps place the corners of a picture within a pixel: another resampling must not hide a difference."""
    wide, high = a.look.size
    corners = np.array([[0, 0, 1], [wide, 0, 1], [0, high, 1], [wide, high, 1]], np.float64).T
    with np.errstate(divide="ignore", invalid="ignore"):  # a homography may have a corner at infinity
        one, two = (places[:2] / places[2] for places in (way @ corners, other @ corners))
        return bool(np.abs(one - two).max() < SAME_PX)


def _ways(a: Seen, b: Seen, guess: Map | None) -> Iterator[tuple[Map, tuple[str, ...]]]:
    """Maps from the first picture to the second, and what each says of how they differ."""
    whole = stretched(a.look, b.look)
    if glance(a.look, b.look, whole) >= SEEMS:
        yield whole, ()
    if a.has_borders or b.has_borders:
        inner = trimmed(a.look, b.look)
        if glance(a.look, b.look, inner) >= SEEMS:
            yield inner, ("frame",)
    if can_register() and (guess is None or glance(a.look, b.look, _in_pixels(guess, a, b)) >= GLIMPSED):
        for points in ("corners", "blobs"):
            there = registered(getattr(a, points), getattr(b, points))
            if there is not None and glance(a.look, b.look, there) >= SEEMS:
                yield there, _moved(there)
                if guess is not None:
                    return


def _in_pixels(there: Map, a: Seen, b: Seen) -> Map:
    """A map in pixels, of one in shares of the longest sides."""
    here, other = max(a.look.size), max(b.look.size)
    return np.asarray(np.diag([other, other, 1]) @ there @ np.diag([1 / here, 1 / here, 1]))


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
        self._seen: dict[int, Seen | None] = {}

    def of(self, proposals: Sequence[Proposal]) -> Iterator[tuple[Verdict, bool]]:
        """For each pair the verdict, and whether a file holds more than what is seen. Of a picture that cannot be read
        now nobody can tell."""
        with ThreadPoolExecutor(self._pool.workers) as threads:
            for start in range(0, len(proposals), AT_ONCE):
                part = proposals[start : start + AT_ONCE]
                self._see({row for one in part for row in (one.a, one.b)})
                yield from threads.map(self._judged, part)

    def _see(self, rows: set[int]) -> None:
        """Decode what was not seen lately."""
        new = sorted(rows - self._seen.keys())
        for row in [row for row in self._seen if row not in rows][: max(0, len(self._seen) + len(new) - HELD)]:
            del self._seen[row]
        tasks = [Task(self._paths[row], frame="look") for row in new]
        self._seen.update(zip(new, map(seen_in, self._pool.map(tasks, LOOK_PX)), strict=True))

    def _judged(self, one: Proposal) -> tuple[Verdict, bool]:
        a, b = self._seen[one.a], self._seen[one.b]
        if a is None or b is None:
            return UNSURE, False
        return judge(a.turned(one.turn), b, one.there), a.holds_more or b.holds_more
