"""Small pictures for a page that holds all of them: as JPEG, so that a page of many groups stays small."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.pages.raster import jpeg
from retrieval.pictures.shared import decode_all
from retrieval.pictures.thumbnail import UNREADABLE
from retrieval.pictures.workers import Decoded, Task

QUALITY = 80
SIDES = ((300, 360), (1500, 200))  # up to so many pictures: their longest side; together some 15 MB
SMALLEST_PX = 128  # if there are more
CHUNK = 64  # pictures whose pixels are in memory at once


@dataclass(frozen=True)
class Embedded:
    """A JPEG as a data URI, ``wide`` x ``high``; ``width_px`` x ``height_px`` of its file, 0 if it cannot be read."""

    uri: str
    wide: int
    high: int
    width_px: int = 0
    height_px: int = 0


def side_px(count: int) -> int:
    """The longest side of each of ``count`` pictures on one page."""
    return next((side for most, side in SIDES if count <= most), SMALLEST_PX)


def embedded(paths: Sequence[str]) -> dict[str, Embedded]:
    """The whole picture of each file, by path; plain grey if it cannot be read any more. Worker processes decode."""
    side = side_px(len(paths))
    shown: dict[str, Embedded] = {}
    for start in range(0, len(paths), CHUNK):
        tasks = [Task(path, frame="look") for path in paths[start : start + CHUNK]]
        shown |= {one.task.path: _embedded(one, side) for one in decode_all(tasks, side)}
    return shown


def _embedded(decoded: Decoded, side: int) -> Embedded:
    pixels = decoded.pixels
    if pixels is None:
        pixels = np.full((side, side, 3), UNREADABLE, np.uint8)
    high, wide = pixels.shape[:2]
    uri = "data:image/jpeg;base64," + base64.b64encode(jpeg(pixels, QUALITY)).decode("ascii")
    return Embedded(uri, wide, high, decoded.width_px, decoded.height_px)
