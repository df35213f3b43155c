"""Bring two pictures into one frame: how the points of one lie in the other.

SIFT finds points that are the same at any scale and turn (Lowe, IJCV 2004), RANSAC the similarity, or the homography
where very many agree, that most of their matches fit (Fischler and Bolles, CACM 1981). Both are OpenCV's.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from retrieval.copies.look import Look
from retrieval.copies.verdict import Map

SEEN_PX = 256  # longest side in which points are looked for
POINTS = 300
FAINTEST = 0.02  # contrast of a point
RATIO = 0.8  # of the distances of the best and the second-best match
FEWEST = 8  # matches that agree; of pictures that share nothing, hardly ever so many do
MANY = 24  # that can tell eight numbers of a homography
TOLERANCE_PX = 4.0

Points = tuple[np.ndarray, np.ndarray | None]
"""Places (n, 2) in pixels as seen, and descriptors (n, 128)."""


def can_register() -> bool:
    """Whether OpenCV is installed."""
    return find_spec("cv2") is not None


def points_of(look: Look) -> Points:
    """The points of a picture that can be found again."""
    import cv2

    wide, high = look.size
    scale = SEEN_PX / max(wide, high)
    small = (max(1, round(wide * scale)), max(1, round(high * scale)))
    grey = np.asarray(look.image.convert("L").resize(small, Image.Resampling.BICUBIC, reducing_gap=3.0))
    found, descriptors = cv2.SIFT_create(POINTS, contrastThreshold=FAINTEST).detectAndCompute(grey, None)  # type: ignore[attr-defined]
    places = np.array([one.pt for one in found], np.float64).reshape(-1, 2)
    return (places + 0.5) * (wide / small[0], high / small[1]), descriptors


def registered(a: Points, b: Points) -> Map | None:
    """The map from the points of ``a`` to those of ``b``; None if they have no points in common."""
    import cv2

    if a[1] is None or b[1] is None or min(len(a[0]), len(b[0])) < FEWEST:
        return None
    pairs: list[Any] = cv2.BFMatcher(cv2.NORM_L2).knnMatch(a[1], b[1], k=2)  # type: ignore[assignment]
    good = [first for first, second in pairs if first.distance < RATIO * second.distance]
    if len(good) < FEWEST:
        return None
    here = a[0][[one.queryIdx for one in good]]
    there = b[0][[one.trainIdx for one in good]]
    cv2.setRNGSeed(0)
    affine, agree = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=TOLERANCE_PX)
    if affine is None or int(agree.sum()) < FEWEST:
        return None
    found = np.vstack([affine, [0, 0, 1]])
    if len(good) >= MANY:
        whole, fit = cv2.findHomography(here, there, cv2.RANSAC, TOLERANCE_PX)
        if whole is not None and int(fit.sum()) > 1.1 * int(agree.sum()):
            found = whole
    return np.asarray(found, np.float64)
