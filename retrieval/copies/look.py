"""What the second look sees of a picture: its colours at up to 512 px, and what kind of picture it is.

Codes say what a picture shows. Whether two pictures are copies is decided by their pixels: in colour, at a size at
which print can be read. How much may differ depends on the kind of picture. A photograph has texture nearly everywhere, which
no second photograph repeats. A drawing, a flag, a form, a slide or a page of text consists of a few even colours, and a
small difference is all that tells two of them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image

from retrieval.arrays import Pixels

LOOK_PX = 512  # the longest side
TILE = 16  # pixels of a side
FAINT = 24  # grey levels between nearly the darkest and nearly the brightest value: too few to tell anything
ENDS = (0.5, 99.5)  # percentiles that are nearly the darkest and the brightest
EVEN = 2.0  # standard deviation of an even tile, in grey levels
FEW_COLOURS = 4  # that the even tiles of a drawing share
COLOUR_STEP = 8  # levels of a colour that count as one
DRAWN = 0.3  # share of tiles that are even and of the few colours, from which on a picture is drawn, not photographed
GREY = 4.0  # mean difference of channels below which a picture is grey

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """A picture for comparison: uint8 (h, w, 3), upright, at most ``LOOK_PX`` wide and high; and its own size."""

    pixels: Pixels
    width_px: int
    height_px: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as seen."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @cached_property
    def image(self) -> Image.Image:
        return Image.fromarray(self.pixels)

    @cached_property
    def is_faint(self) -> bool:
        """Whether hardly anything can be seen: nothing can be told from this but by the stored samples."""
        low, high = np.percentile(self.pixels.reshape(-1, 3), ENDS, axis=0)
        return bool((high - low).max() < FAINT)

    @cached_property
    def is_grey(self) -> bool:
        values = self.pixels.astype(np.int16)
        return bool((values.max(2) - values.min(2)).mean() < GREY)

    @cached_property
    def is_drawn(self) -> bool:
        """Whether it consists of a few even colours, as drawings, pages and product pictures do."""
        means, deviations = tile_statistics(self.pixels.astype(np.float32))
        even = (deviations < EVEN).all(-1).ravel()
        if not even.any():
            return False
        colours = np.rint(means.reshape(-1, 3)[even] / COLOUR_STEP)
        _, counts = np.unique(colours, axis=0, return_counts=True)
        return bool(np.sort(counts)[-FEW_COLOURS:].sum() >= DRAWN * even.size)

    def turned(self, turn: int) -> Look:
        """The picture mirrored (``turn`` >= 4) and then turned by quarters: the eight symmetries of a rectangle."""
        if not turn:
            return self
        pixels = self.pixels[:, ::-1] if turn >= 4 else self.pixels
        pixels = np.ascontiguousarray(np.rot90(pixels, turn % 4))
        size = (self.width_px, self.height_px)
        return Look(pixels, *(size[::-1] if turn % 2 else size))


def tile_statistics(values: Values) -> tuple[Values, Values]:
    """Mean and standard deviation of each channel in tiles of ``TILE`` pixels: (rows, columns, channels) both.

    What is left of a tile at the right and at the bottom is not counted; a side below ``TILE`` is one tile.
    """
    high, wide = (max(1, length // TILE) for length in values.shape[:2])
    down, across = values.shape[0] // high, values.shape[1] // wide
    tiles = values[: high * down, : wide * across].reshape(high, down, wide, across, -1)
    return tiles.mean((1, 3)), tiles.std((1, 3))
