"""What is kept of every picture of a collection while copies are sought: a small grey picture, and its points.

A code knows the central square of a picture. A copy that was cropped, framed, turned or pasted into another picture has
another one, but most of its points are those of the original: corners, described by what is around them, at any scale
and turn (ORB: Rublee et al., ICCV 2011). Pictures that have many points in common are candidates, wherever these are.
OpenCV finds the points; without it there are none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import numpy.typing as npt
from PIL import Image

from retrieval.arrays import Floats, Pixels
from retrieval.copies.look import Look
from retrieval.copies.registration import can_register, similarity
from retrieval.copies.verdict import Map
from retrieval.pictures.workers import Decoded, DecoderPool, Task
from retrieval.scratch import scratch_array

FEATURE_PX, ENLARGED = 320, 4.0  # longest side in which points are looked for; smaller pictures are enlarged, so much
GREY_PX = 64
MOST, BUDGET = 150, 40_000_000  # points of a picture, and of a collection
BYTES = 32  # of a descriptor
LEVELS, STEP, EDGE_PX, FAINTEST = 6, 1.25, 15, 8  # octaves and their ratio; margin; contrast of a point
SAME_BITS = 64  # in which descriptors of one point may differ, of 256
TOLERANCE = 0.015  # of the longest side: how far matches may be off
FEWEST = 4  # matches that agree
AT_ONCE = 256  # pictures in memory


@dataclass(frozen=True)
class Features:
    """Of n pictures: ``greys`` uint8 (n, 64, 64), squeezed; ``shapes`` (n, 2), width and height as shares of the
    longest side; which are ``faint`` or unreadable; ``descriptors`` uint8 (n, m, 32) and ``places`` (n, m, 2), as
    shares of the longest side, of ``counts`` (n,) points."""

    greys: Pixels
    shapes: Floats
    faint: npt.NDArray[np.bool_]
    descriptors: Pixels
    places: npt.NDArray[np.float16]
    counts: npt.NDArray[np.int32]

    @classmethod
    def room_for(cls, count: int) -> Features:
        """Room for so many pictures. What is large is in files without names, of which the system keeps in memory what
        it has room for."""
        most = max(1, min(MOST, BUDGET // max(count, 1))) if can_register() else 0
        return cls(
            scratch_array((count, GREY_PX, GREY_PX), np.uint8),
            np.ones((count, 2), np.float32),
            np.ones(count, bool),
            scratch_array((count, most, BYTES), np.uint8),
            scratch_array((count, most, 2), np.float16),
            np.zeros(count, np.int32),
        )

    def survey(self, paths: Sequence[str], pool: DecoderPool, turn: int = 0) -> Iterator[int]:
        """Decode all pictures once, and turn them (``Look.turned``). Yields how many are done."""
        pictures = pool.map((Task(path, frame="look") for path in paths), FEATURE_PX)
        done = 0
        with ThreadPoolExecutor(pool.workers) as threads:
            while part := list(islice(pictures, AT_ONCE)):
                list(threads.map(partial(self._note, turn), range(done, done + len(part)), part))
                done += len(part)
                yield done

    def _note(self, turn: int, row: int, decoded: Decoded) -> None:
        if decoded.pixels is None:
            return
        look = Look(decoded.pixels, 0, 0).turned(turn)
        self.shapes[row] = np.divide(look.size, max(look.size))
        self.faint[row] = look.is_faint
        grey = look.image.convert("L")
        self.greys[row] = np.asarray(grey.resize((GREY_PX, GREY_PX), Image.Resampling.BOX))
        if self.descriptors.shape[1] and not look.is_faint:
            places, descriptors = points_in(np.asarray(grey), self.descriptors.shape[1])
            self.counts[row] = len(places)
            self.places[row, : len(places)], self.descriptors[row, : len(places)] = places, descriptors

    def points(self, row: int) -> tuple[Floats, Pixels]:
        """Places (m, 2) and descriptors (m, 32) of a picture."""
        count = self.counts[row]
        return self.places[row, :count].astype(np.float32), np.ascontiguousarray(self.descriptors[row, :count])


def points_in(grey: Pixels, most: int) -> tuple[Floats, Pixels]:
    """The strongest points of a grey picture (h, w), the strongest first: places (m, 2) as shares of its longest side,
    and descriptors (m, 32)."""
    import cv2

    scale = min(ENLARGED, FEATURE_PX / max(grey.shape))
    if scale != 1:
        high, wide = (max(1, round(length * scale)) for length in grey.shape)
        grey = np.asarray(cv2.resize(grey, (wide, high), interpolation=cv2.INTER_CUBIC), np.uint8)
    finder = cv2.ORB_create(  # type: ignore[attr-defined]
        most, scaleFactor=STEP, nlevels=LEVELS, edgeThreshold=EDGE_PX, fastThreshold=FAINTEST
    )
    found, descriptors = finder.detectAndCompute(grey, None)
    if descriptors is None:
        return np.empty((0, 2), np.float32), np.empty((0, BYTES), np.uint8)
    strongest = np.argsort([-one.response for one in found], kind="stable")[:most]
    places = np.array([found[number].pt for number in strongest], np.float32)
    places = np.asarray((places + 0.5) / max(grey.shape), np.float32)
    return places, np.asarray(descriptors[strongest], np.uint8)


def match(places: Floats, descriptors: Pixels, others: Floats, other_descriptors: Pixels) -> tuple[Map | None, int]:
    """The similarity that most matches of points agree on (RANSAC: Fischler and Bolles, CACM 1981), in shares of the
    longest sides, and how many agree; None if these are too few."""
    if min(len(places), len(others)) < FEWEST:
        return None, 0
    import cv2

    pairs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(descriptors, other_descriptors)
    good = [(one.queryIdx, one.trainIdx) for one in pairs if one.distance <= SAME_BITS]
    if len(good) < FEWEST:
        return None, 0
    here, there = places[[a for a, _ in good]], others[[b for _, b in good]]
    found, agree = similarity(here, there, TOLERANCE)
    return (found, agree) if agree >= FEWEST else (None, agree)
