"""What the second look sees of a picture: its colours at up to 512 px, and what kind of picture it is.

Codes say what a picture shows. Whether two pictures are copies is decided by their pixels: in colour, at a size at
which print can be read. How much may differ depends on the kind of picture. A photograph has texture nearly everywhere,
which no second photograph repeats. A drawing, a flag, a form, a slide or a page of text consists of a few colours, and
a small difference is all that tells two of them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from retrieval.arrays import Pixels

LOOK_PX = 512  # the longest side
BLUR_PX = 1.0  # against noise, compression and shifts of part of a pixel
GLANCE_PX, MIDDLE_PX = 96, 320  # for a first comparison, which sorts out most pairs, and for photographs
FAINT = 24  # grey levels between nearly the darkest and nearly the brightest value: too few to tell anything
ENDS = (0.005, 0.995)  # quantiles that are nearly the darkest and the brightest
GREY = 4.0  # mean difference of channels below which a picture is grey
FEW_COLOURS, COLOUR_BITS, DRAWN = 8, 3, 0.9  # so many colours, without so many low bits, fill so much of a drawing
BORDER_LEVELS = 8.0  # by which the values of a row or column of a border may differ from their median
ONE_COLOUR = 0.98  # share of the values of a row or column of a border that are near the median
SAMPLED = 4  # of the values of a row or column every fourth is looked at
LEAST_CONTENT = 0.3  # of a side, that is left without its borders

Values = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels."""


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
    def blurred(self) -> Image.Image:
        return blurred(self.image)

    @cached_property
    def grey(self) -> Image.Image:
        return self.image.convert("L")

    @cached_property
    def glance(self) -> Look:
        """The picture at ``GLANCE_PX``."""
        return self._scaled(GLANCE_PX)

    @cached_property
    def middle(self) -> Look:
        """The picture at ``MIDDLE_PX``."""
        return self._scaled(MIDDLE_PX)

    def _scaled(self, side_px: int) -> Look:
        scale = side_px / max(self.size)
        if scale >= 1:
            return self
        small = tuple(max(1, round(length * scale)) for length in self.size)
        image = self.image.resize((small[0], small[1]), Image.Resampling.BOX)
        return Look(np.asarray(image), self.width_px, self.height_px)

    @cached_property
    def is_faint(self) -> bool:
        """Whether hardly anything can be seen: nothing can be told from this but by the stored samples."""
        counts = np.array(self.image.histogram()).reshape(3, 256).cumsum(1)
        ends = np.array(ENDS)[:, None] * counts[:, -1]
        low, high = ((counts <= end[:, None]).sum(1) for end in ends)
        return bool((high - low).max() < FAINT)

    @cached_property
    def is_grey(self) -> bool:
        values = self.pixels.astype(np.int16)
        return bool((values.max(2) - values.min(2)).mean() < GREY)

    @cached_property
    def has_few_colours(self) -> bool:
        """Whether it is drawn: a page, a flag, an icon."""
        return are_few_colours(self.pixels.reshape(-1, 3))

    @cached_property
    def content(self) -> Box:
        """The box without borders and bars: the longest run of rows, and of columns, that are not of one colour. All of
        the picture, if little is left."""
        top, bottom = _without_borders(self.pixels[:, ::SAMPLED].astype(np.int16))
        left, right = _without_borders(self.pixels[top:bottom:SAMPLED].swapaxes(0, 1).astype(np.int16))
        wide, high = self.size
        is_enough = right - left >= LEAST_CONTENT * wide and bottom - top >= LEAST_CONTENT * high
        return (left, top, right, bottom) if is_enough else (0, 0, wide, high)

    def turned(self, turn: int) -> Look:
        """The picture mirrored (``turn`` >= 4) and then turned by quarters: the eight symmetries of a rectangle."""
        if not turn:
            return self
        pixels = self.pixels[:, ::-1] if turn >= 4 else self.pixels
        pixels = np.ascontiguousarray(np.rot90(pixels, turn % 4))
        size = (self.width_px, self.height_px)
        return Look(pixels, *(size[::-1] if turn % 2 else size))


def blurred(image: Image.Image) -> Image.Image:
    """A picture as it is compared."""
    return image.filter(ImageFilter.GaussianBlur(BLUR_PX))


def are_few_colours(pixels: npt.NDArray[np.uint8]) -> bool:
    """Whether pixels (n, 3) have few colours, as those of drawings, pages, flags and icons."""
    red, green, blue = (pixels >> COLOUR_BITS).astype(np.uint16).T
    counts = np.bincount((red << 10) | (green << 5) | blue)
    counts = counts[counts > 0]  # among tens of thousands of zeros a partition takes ten times as long
    few = np.partition(counts, -FEW_COLOURS)[-FEW_COLOURS:] if len(counts) > FEW_COLOURS else counts
    return bool(few.sum() >= DRAWN * len(pixels))


def _without_borders(values: npt.NDArray[np.int16]) -> tuple[int, int]:
    """The longest run of rows of (h, w, 3) that are not of one colour: its first row, and the one after its last."""
    even = (np.abs(values - np.median(values, axis=1, keepdims=True)) <= BORDER_LEVELS).all(2).mean(1) > ONE_COLOUR
    ends = np.flatnonzero(np.diff(np.concatenate([[True], even, [True]])))
    if not len(ends):
        return 0, len(values)
    starts, stops = ends[::2], ends[1::2]
    longest = int((stops - starts).argmax())
    return int(starts[longest]), int(stops[longest])
