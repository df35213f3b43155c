"""A glance at the pairs that may be copies: which are worth a second look?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.copies.features import GREY_PX, Features, match
from retrieval.copies.likeness import likeness, spectrum
from retrieval.copies.verdict import Map

LIKE = 0.7  # correlation of the structure of two whole pictures, from which on they are worth a second look
LIKE_THERE = {4: 0.85, 6: 0.75, 40: 0.6}  # the same where both are, under a map that so many points agree on
MIRRORED = 4  # of ``Look.turned``
CENTRES = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # of pixels, from the numbers of their columns and rows
INSIDE = 200  # pixels of the small grey pictures that both must have
FINE, COARSE = 1.0, 4.0  # blurs, in pixels of a small grey picture, between which is its structure


class Proposal(NamedTuple):
    """A pair that is worth a second look: by points in common if there is a map in shares of the longest sides, else as
    whole pictures; the first one turned (``Look.turned``)."""

    a: int
    b: int
    there: Map | None = None
    turn: int = 0


def proposed(these: Features, those: Features, pair: tuple[int, int], turn: int = 0) -> Proposal | None:
    """A pair of one of ``these``, which were turned, and one of ``those`` pictures, if it is worth a second look."""
    a, b = pair
    there, agree = match(*these.points(a), *those.points(b))
    if there is not None and structure_in_common(these, those, pair, there) >= _least(agree):
        return Proposal(a, b, there, turn)
    return Proposal(a, b, None, turn) if likeness(spectrum(these.greys[a]), spectrum(those.greys[b])) >= LIKE else None


def _least(agree: int) -> float:
    """The structure that must be in common under a map: a few points may agree by accident, and many hardly do so. Of
    copies it is .8 and more, but for large stickers."""
    return next(like for points, like in reversed(LIKE_THERE.items()) if agree >= points)


def structure_in_common(these: Features, those: Features, pair: tuple[int, int], there: Map) -> float:
    """The correlation of the structure of both small grey pictures where both are, under a map. The one that shows less
    detail there is enlarged: the other, made smaller, would show false detail."""
    import cv2

    (a, b), (one, other) = pair, (these.greys[pair[0]].astype(np.float32), those.greys[pair[1]].astype(np.float32))
    to_a = np.diag([*(these.shapes[a] / GREY_PX), 1]) @ CENTRES
    to_b = np.diag([*(those.shapes[b] / GREY_PX), 1]) @ CENTRES
    matrix = np.linalg.inv(to_b) @ there @ to_a
    if np.linalg.det(matrix) > 1:
        one, other, matrix = other, one, np.linalg.inv(matrix)
    flags, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (GREY_PX, GREY_PX)
    other = np.asarray(cv2.warpAffine(other, matrix[:2], size, flags=flags, borderValue=(-1.0,)), np.float32)
    inside = cv2.erode((other >= 0).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    if inside.sum() < INSIDE:
        return 0.0
    other[other < 0] = other[inside].mean()
    x, y = (_structure(values)[inside] for values in (one, other))
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum() + 1e-6))


def _structure(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    import cv2

    fine, coarse = (cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (FINE, COARSE))
    return np.asarray(fine - coarse, np.float32)
