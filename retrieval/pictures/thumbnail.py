"""Thumbnails: the whole picture, in a white square."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from retrieval.arrays import Pixels
from retrieval.pictures.decode import SIDE_PX, letterbox
from retrieval.pictures.shared import decode_all
from retrieval.pictures.workers import Task

__all__ = ["SIDE_PX", "THUMB_PX", "UNREADABLE", "letterbox", "thumbnail", "thumbnails"]

THUMB_PX = 64  # on a map
UNREADABLE = 200  # grey level of the thumbnail of a picture that cannot be read any more


def thumbnail(path: str | os.PathLike[str], side_px: int = SIDE_PX) -> Pixels:
    """The thumbnail of the picture at ``path``, uint8 (side_px, side_px, 3); plain grey if it cannot be read."""
    return thumbnails([path], side_px)[0]


def thumbnails(paths: Sequence[str | os.PathLike[str]], side_px: int = SIDE_PX) -> list[Pixels]:
    """The thumbnail of each picture, as ``thumbnail``. Worker processes decode them."""
    decoded = decode_all([Task(os.fspath(path), frame="thumbnail") for path in paths], side_px)
    grey = np.full((side_px, side_px, 3), UNREADABLE, np.uint8)
    return [grey if one.pixels is None else one.pixels for one in decoded]
