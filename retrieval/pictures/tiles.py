"""Tiles of a picture: overlapping squares, so that what is small in a large picture is found by a close-up of it.

The sides of the squares are shares of the picture's shorter side. Neighbours overlap by half or a little more, so what
is up to half as large as a tile lies whole in one. Which tiles there are follows from the size of the picture alone:
not from what a model sees, since an index may change its model, and its pictures keep their addresses.
"""

from __future__ import annotations

import math
from itertools import product

from retrieval.pictures.regions import EVERYTHING, Box, rounded

SIDES = (1.0, 1 / 2, 1 / 4)  # of tiles, as shares of the picture's shorter side; 1/3 in place of 1/4 finds half
LEAST_PX = 256  # of a tile's side: twice what the largest shipped model sees
MOST_TILES = 128  # of a picture with sides of at most 16:9 there are fewer


def tiles_of(width_px: int, height_px: int) -> list[Box]:
    """The whole picture, which is upright, and its tiles: from large to small, in rows.

    Smaller squares are left out where they are of few pixels, or too many: panoramas have the largest alone.
    """
    boxes = [EVERYTHING]
    shorter = min(width_px, height_px)
    for share in SIDES:
        grid = _grid(width_px, height_px, share * shorter) if share * shorter >= LEAST_PX else []
        if not grid or len(boxes) + len(grid) > MOST_TILES:
            break
        boxes += [box for box in grid if box != EVERYTHING]
    return boxes


def _grid(width_px: int, height_px: int, side: float) -> list[Box]:
    wide, high = side / width_px, side / height_px
    places = product(_starts(high), _starts(wide))
    return [rounded((left, top, left + wide, top + high)) for top, left in places]


def _starts(share: float) -> list[float]:
    """Where squares of a share of a side begin, evenly from end to end."""
    steps = math.ceil(2 * (1 - share) / share - 1e-9)
    return [(1 - share) * step / steps for step in range(steps + 1)] if steps else [0.0]
