"""Thumbnails: the whole picture, in a white square."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from retrieval.arrays import Pixels
from retrieval.errors import PictureRefused
from retrieval.pictures.decode import read_image

SIDE_PX = 128
THUMB_PX = 64  # on a map
UNREADABLE = 200  # grey level of the thumbnail of a picture that cannot be read any more


def thumbnail(path: str | os.PathLike[str], side_px: int = SIDE_PX) -> Pixels:
    """The thumbnail of the picture at ``path``, uint8 (side_px, side_px, 3); plain grey if it cannot be read."""
    try:
        pixels = read_image(path, cover_px=side_px).pixels
    except (PictureRefused, OSError):
        return np.full((side_px, side_px, 3), UNREADABLE, np.uint8)
    return letterbox(pixels, side_px)


def letterbox(pixels: Pixels, side_px: int = SIDE_PX) -> Pixels:
    """Scale uint8 (h, w, 3) to fit into (side_px, side_px, 3), and centre it on white."""
    image = Image.fromarray(pixels)
    scale = side_px / max(image.size)
    size = tuple(max(1, round(length * scale)) for length in image.size)
    inner = image.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", (side_px, side_px), "white")
    canvas.paste(inner, ((side_px - size[0]) // 2, (side_px - size[1]) // 2))
    return np.asarray(canvas)
