"""The second look: are two pictures that were brought into one frame copies, and what differs?

Both are compared tile by tile, at the coarser of their two scales. A tile with texture agrees if its grey values
correlate, whatever tone and contrast; an even one by its colour. In photographs some tiles may disagree: text, a
sticker and a watermark hide a part. Of pictures that are drawn (``retrieval.copies.look``) every tile must agree in
colour and in structure, and print must be large enough to be read; else nobody can tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from retrieval.copies.look import COLOUR_STEP, DRAWN, EVEN, FEW_COLOURS, TILE, Look, Values

Affine = npt.NDArray[np.float64]
"""(2, 3): from points of one picture as seen to points of another."""
Answer = Literal["copy", "other", "unsure"]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as shares of the first picture."""

SMALLEST_TILE = 6
BLUR_PX = 1.0  # against noise, compression and shifts of part of a pixel
TEXTURED = 5.0  # standard deviation of grey values in a tile, from which on its structure is compared
CORRELATES = 0.6  # of a tile
AGREES = 0.75  # share of the textured tiles of photographs that correlate
DISAGREES = 0.35  # the share below which they show other things
FEWEST = 12  # textured tiles of a photograph that can tell anything
SHARED, LEAST_SHARED = 0.8, 0.1  # of the one picture, and of the other
GAINS = (0.3, 3.0)  # of a tone curve, for each channel
OTHER_COLOUR, COLOURED = 18.0, 0.08  # difference of colour, in levels; share of tiles that may have it
DRAWN_TILE, DRAWN_TEXTURED, DRAWN_CORRELATES = 8, 10.0, 0.75
DRAWN_COLOUR = 12.0  # levels by which an even tile of a drawing may differ
READABLE_PX = 256  # longest side at which print is compared, unless the larger picture has no more
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Verdict:
    """``alike`` is the share of textured tiles that agree; ``differs`` says what does not, at ``places``."""

    answer: Answer
    alike: float
    differs: tuple[str, ...] = ()
    places: tuple[Box, ...] = ()


OTHER, UNSURE = Verdict("other", 0.0), Verdict("unsure", 0.0)


def verdict(a: Look, b: Look, affine: Affine) -> Verdict:
    """Compare two pictures under an ``affine`` map from the first to the second."""
    if a.is_faint or b.is_faint:
        return OTHER
    shown = _in_one_frame(a, b, affine)
    if shown is None:
        return OTHER
    one, other, inside = shown
    if _are_drawn(one, other, inside):
        return _of_drawings(one, other, inside, a, b)
    return _of_photographs(one, other, inside, a.is_grey or b.is_grey)


def whole_frame(a: Look, b: Look) -> Affine:
    """The map that stretches the first picture onto the second."""
    (aw, ah), (bw, bh) = a.size, b.size
    across, down = bw / aw, bh / ah
    return np.array([[across, 0, 0], [0, down, 0]], float)


def _in_one_frame(a: Look, b: Look, affine: Affine) -> tuple[Values, Values, npt.NDArray[np.bool_]] | None:
    """Both pictures as float32 (h, w, 3) in the frame of the first, at the coarser scale, and where both are.

    None if too little is in both.
    """
    zoom = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))  # pixels of the second for one of the first
    if not 0.05 < zoom < 20:
        return None
    scale = min(1.0, zoom)
    wide, high = (max(1, round(length * scale)) for length in a.size)
    one = a.image.resize((wide, high), Image.Resampling.BICUBIC, reducing_gap=3.0)
    to_a = np.array([[a.size[0] / wide, 0], [0, a.size[1] / high]])
    matrix, shift = affine[:, :2] @ to_a, affine[:, 2]
    step = max(1.0, zoom / scale)  # pixels of the second for one of the frame
    small = (max(1, round(b.size[0] / step)), max(1, round(b.size[1] / step)))
    picture = b.image if small == b.size else b.image.resize(small, Image.Resampling.BICUBIC, reducing_gap=3.0)
    shrink = np.array([small[0] / b.size[0], small[1] / b.size[1]])
    matrix, shift = matrix * shrink[:, None], shift * shrink
    data = (*matrix[0], shift[0], *matrix[1], shift[1])
    other = picture.transform((wide, high), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
    x, y = np.meshgrid(np.arange(wide) + 0.5, np.arange(high) + 0.5)
    u, v = (matrix[row, 0] * x + matrix[row, 1] * y + shift[row] for row in (0, 1))
    inside = (u >= 0.5) & (v >= 0.5) & (u <= small[0] - 0.5) & (v <= small[1] - 0.5)
    of_a = float(inside.mean())
    of_b = float(inside.sum()) * abs(float(np.linalg.det(matrix))) / (small[0] * small[1])
    if max(of_a, of_b) < SHARED or min(of_a, of_b) < LEAST_SHARED:
        return None
    return _blurred(one), _blurred(other), inside


def _blurred(image: Image.Image) -> Values:
    return np.asarray(image.filter(ImageFilter.GaussianBlur(BLUR_PX)), np.float32)


def _side_of(values: Values) -> int:
    """The side of tiles: smaller ones for small pictures."""
    return max(SMALLEST_TILE, min(TILE, max(values.shape[:2]) // 24))


def _tiles(values: Values, side: int) -> Values:
    """Values (h, w, c) as (rows, columns, pixels, c) of whole tiles."""
    side = min(side, *values.shape[:2])
    high, wide = (length // side for length in values.shape[:2])
    cut = values[: high * side, : wide * side].reshape(high, side, wide, side, -1)
    return cut.swapaxes(1, 2).reshape(high, wide, side * side, -1)


@dataclass(frozen=True)
class _Tiles:
    """Means (r, c, 3) of both pictures, deviations of grey (r, c), their correlation, and whether a tile counts."""

    means: tuple[Values, Values]
    deviations: tuple[Values, Values]
    correlation: Values
    counts: npt.NDArray[np.bool_]


def _compared(one: Values, other: Values, inside: npt.NDArray[np.bool_], side: int) -> _Tiles:
    colours = [_tiles(values, side) for values in (one, other)]
    grey = [tiles @ LUMA for tiles in colours]
    grey = [values - values.mean(-1, keepdims=True) for values in grey]
    deviations = [np.sqrt((values**2).mean(-1)) for values in grey]
    correlation = (grey[0] * grey[1]).mean(-1) / np.maximum(deviations[0] * deviations[1], 1e-3)
    counts = _all_inside(inside, side)
    means = [tiles.mean(2) for tiles in colours]
    return _Tiles((means[0], means[1]), (deviations[0], deviations[1]), correlation, counts)


def _all_inside(inside: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.bool_]:
    """Which tiles (r, c) are inside with all their pixels."""
    return np.asarray(_tiles(inside[..., None].astype(np.float32), side).all((2, 3)))


def _are_drawn(one: Values, other: Values, inside: npt.NDArray[np.bool_]) -> bool:
    return any(_is_drawn(values, inside) for values in (one, other))


def _is_drawn(values: Values, inside: npt.NDArray[np.bool_]) -> bool:
    """Whether the part that is inside consists of a few even colours."""
    side = _side_of(values)
    tiles = _tiles(values, side)
    counts = _all_inside(inside, side)
    even = (tiles.std(2) < EVEN).all(-1) & counts
    if not even.any():
        return False
    colours = np.rint(tiles.mean(2)[even] / COLOUR_STEP)
    _, common = np.unique(colours, axis=0, return_counts=True)
    return bool(np.sort(common)[-FEW_COLOURS:].sum() >= DRAWN * counts.sum())


def _of_photographs(one: Values, other: Values, inside: npt.NDArray[np.bool_], is_grey: bool) -> Verdict:
    tiles = _compared(one, other, inside, _side_of(one))
    textured = (np.maximum(*tiles.deviations) > TEXTURED) & tiles.counts
    if textured.sum() < FEWEST:
        return UNSURE
    sign = -1.0 if np.median(tiles.correlation[textured]) < -CORRELATES else 1.0
    agree = sign * tiles.correlation >= CORRELATES
    alike = float(agree[textured].mean())
    if alike < DISAGREES:
        return Verdict("other", alike)
    bad = textured & ~agree
    places = _places(bad, one.shape)
    if alike < AGREES:
        return Verdict("unsure", alike, ("part",), places)
    differs = ["negative"] if sign < 0 else []
    gains, strange = _tone(tiles, agree | ~textured)
    if not is_grey and sign > 0 and strange[tiles.counts].mean() > COLOURED:
        return Verdict("other", alike, ("colour",), _places(strange & tiles.counts, one.shape))
    if sign > 0 and np.abs(gains - 1).max() > 0.15:
        differs.append("tone")
    if bad.sum() > 0.02 * textured.sum():
        differs.append("part")
    return Verdict("copy", alike, tuple(differs), places)


def _tone(tiles: _Tiles, use: npt.NDArray[np.bool_]) -> tuple[Values, npt.NDArray[np.bool_]]:
    """The gain of each channel from the second picture to the first, and tiles whose colour no tone curve explains."""
    use = use & tiles.counts
    one, other = tiles.means
    gains, fitted = np.ones(3, np.float32), np.empty_like(one)
    for channel in range(3):
        x, y = other[..., channel][use], one[..., channel][use]
        spread = float(x.var())
        gain = float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread > 1 else 1.0
        gains[channel] = gain = float(np.clip(gain, *GAINS))
        fitted[..., channel] = gain * (other[..., channel] - x.mean()) + y.mean()
    grey = [np.maximum(values @ LUMA, 1.0)[..., None] for values in (one, fitted)]
    chroma = one - grey[0], (fitted - grey[1]) * np.clip(grey[0] / grey[1], 0.5, 2.0)
    return gains, np.abs(chroma[0] - chroma[1]).max(-1) > OTHER_COLOUR


def _of_drawings(one: Values, other: Values, inside: npt.NDArray[np.bool_], a: Look, b: Look) -> Verdict:
    larger, seen = max(a.width_px, a.height_px, b.width_px, b.height_px), max(one.shape[:2])
    if a.is_grey != b.is_grey:
        one, other = (np.repeat((values @ LUMA)[..., None], 3, 2) for values in (one, other))
    tiles = _compared(one, other, inside, DRAWN_TILE)
    off = np.abs(tiles.means[0] - tiles.means[1]).max(-1) > DRAWN_COLOUR
    textured = np.maximum(*tiles.deviations) > DRAWN_TEXTURED
    torn = textured & (tiles.correlation < DRAWN_CORRELATES)
    bad = (off | torn) & tiles.counts
    alike = 1.0 - float(bad.sum()) / max(1, int(tiles.counts.sum()))
    if bad.any():
        return Verdict(
            "other",
            alike,
            ("colour" if (off & ~textured & tiles.counts).any() else "text or shape",),
            _places(bad, one.shape),
        )
    if seen < READABLE_PX and larger > 2 * seen:
        return Verdict("unsure", alike, ("too small to read",))
    return Verdict("copy", alike)


def _places(bad: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> tuple[Box, ...]:
    """The box around all tiles that disagree."""
    if not bad.any():
        return ()
    rows, columns = np.nonzero(bad)
    high, wide = bad.shape
    return ((columns.min() / wide, rows.min() / high, (columns.max() + 1) / wide, (rows.max() + 1) / high),)
