"""Faces in a picture, each as the square in which models of faces are taught to see one.

dlib finds frontal faces by histograms of gradients (Dalal and Triggs, CVPR 2005; King, Max-Margin Object Detection,
arXiv 1502.00046), from 80 pixels of a side on. The package ``dlib-bin`` holds it, and the detector is in the library.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

from PIL import Image

from retrieval.errors import MissingExtra, PictureRefused, pip_line
from retrieval.pictures.regions import MOST, Box, rounded

SEEN_PX = 1200  # the longest side in which faces are looked for; larger pictures are scaled down
ENLARGED_PX, ENLARGED_MOST = 600, 4.0  # smaller pictures are scaled up to that, by no more than this
SQUARE = 0.96  # side of the square around a face, of that of the found box: by which faces-128 tells persons best

LINE = f"faces are found with the package dlib-bin: {pip_line('faces')}"


def check_faces() -> None:
    """Check that faces can be found.

    Raises:
        MissingExtra: the package is not installed.
    """
    if find_spec("dlib") is None:
        raise MissingExtra(LINE)


@cache
def _detector() -> Any:
    try:
        import dlib
    except ImportError as error:
        raise PictureRefused(LINE, passing=True) from error
    return dlib.get_frontal_face_detector()


def faces_in(picture: Image.Image) -> list[Box]:
    """The squares around faces of an upright picture in RGB, from left to right."""
    import numpy as np

    longest = max(picture.size)
    scale = min(max(min(1.0, SEEN_PX / longest), ENLARGED_PX / longest), ENLARGED_MOST)
    size = tuple(max(1, round(length * scale)) for length in picture.size)
    seen = picture if scale == 1 else picture.resize((size[0], size[1]), Image.Resampling.BICUBIC, reducing_gap=3.0)
    found = sorted(_detector()(np.asarray(seen), 0), key=lambda one: -one.area())[:MOST]
    squares = [_square(one, seen.size) for one in found]
    return sorted(rounded(square) for square in squares)


def _square(found: Any, size: tuple[int, int]) -> Box:
    """The square around a found box, inside the picture."""
    wide, high = size
    side = min(SQUARE * found.width(), wide, high)
    left = min(max(0.0, (found.left() + found.right() + 1 - side) / 2), wide - side)
    top = min(max(0.0, (found.top() + found.bottom() + 1 - side) / 2), high - side)
    return left / wide, top / high, (left + side) / wide, (top + side) / high
