"""Bring two pictures into one frame: how the points of one lie in the other.

ORB and SIFT find points that are the same at any scale and turn (Rublee et al., ICCV 2011; Lowe, IJCV 2004), RANSAC the
similarity, or the homography where very many agree, that most of their matches fit (Fischler and Bolles, CACM 1981).
All are OpenCV's. SIFT finds more, in four times the time.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from PIL import Image

from retrieval.copies.look import Look
from retrieval.copies.verdict import Map

SEEN_PX = {"orb": 512, "sift": 256}  # longest side in which points are looked for; smaller pictures are enlarged
POINTS = {"orb": 500, "sift": 300}
LEVELS, STEP, EDGE_PX, FAINTEST_CORNER = 6, 1.3, 15, 8  # of ORB: octaves and their ratio, margin, contrast
FAINTEST = 0.02  # of SIFT: contrast
RATIO = 0.8  # of the distances of the best and the second-best match
FEWEST = 8  # matches that agree; of pictures that share nothing, hardly ever so many do
MANY = 24  # that can tell eight numbers of a homography
TOLERANCE_PX = 4.0

Detector = Literal["orb", "sift"]
Points = tuple[np.ndarray, np.ndarray | None]
"""Places (n, 2) in pixels as seen, and descriptors (n, 32) or (n, 128)."""


def can_register() -> bool:
    """Whether OpenCV is installed."""
    return find_spec("cv2") is not None


def points_of(look: Look, detector: Detector) -> Points:
    """The points of a picture that can be found again."""
    import cv2

    wide, high = look.size
    scale = SEEN_PX[detector] / max(wide, high)
    small = (max(1, round(wide * scale)), max(1, round(high * scale)))
    grey = np.asarray(look.image.convert("L").resize(small, Image.Resampling.BICUBIC, reducing_gap=3.0))
    finder: Any = (
        cv2.ORB_create(POINTS["orb"], STEP, LEVELS, EDGE_PX, fastThreshold=FAINTEST_CORNER)  # type: ignore[attr-defined]
        if detector == "orb"
        else cv2.SIFT_create(POINTS["sift"], contrastThreshold=FAINTEST)  # type: ignore[attr-defined]
    )
    found, descriptors = finder.detectAndCompute(grey, None)
    places = np.array([one.pt for one in found], np.float64).reshape(-1, 2)
    return (places + 0.5) * (wide / small[0], high / small[1]), descriptors


def registered(a: Points, b: Points) -> Map | None:
    """The map from the points of ``a`` to those of ``b``; None if they have no points in common."""
    import cv2

    if a[1] is None or b[1] is None or min(len(a[0]), len(b[0])) < FEWEST:
        return None
    norm = cv2.NORM_HAMMING if a[1].dtype == np.uint8 else cv2.NORM_L2
    pairs: list[Any] = cv2.BFMatcher(norm).knnMatch(a[1], b[1], k=2)  # type: ignore[assignment]
    good = [one[0] for one in pairs if len(one) == 2 and one[0].distance < RATIO * one[1].distance]
    if len(good) < FEWEST:
        return None
    here = a[0][[one.queryIdx for one in good]]
    there = b[0][[one.trainIdx for one in good]]
    found, agree = similarity(here, there, TOLERANCE_PX)
    if found is None or agree < FEWEST:
        return None
    if len(good) >= MANY:
        whole, fit = cv2.findHomography(here, there, cv2.RANSAC, TOLERANCE_PX)
        if whole is not None and int(fit.sum()) > 1.1 * agree:
            found = np.asarray(whole, np.float64)
    return found


def similarity(here: np.ndarray, there: np.ndarray, tolerance: float) -> tuple[Map | None, int]:
    """The similarity that maps most of the points ``here`` (n, 2) to those ``there``, and how many; always the same."""
    import cv2

    cv2.setRNGSeed(0)
    affine, agree = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=tolerance)
    if affine is None:
        return None, 0
    return np.vstack([affine, [0, 0, 1]]).astype(np.float64), int(agree.sum())
