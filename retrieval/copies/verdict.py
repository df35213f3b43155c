"""The verdict on two pictures that were brought into one frame: are they copies, and what differs?

Both are compared tile by tile, at the coarser of their two scales. A tile with texture agrees if its grey values
correlate, whatever tone and contrast; an even one by its colour. In photographs some tiles may disagree: text, a
sticker and a watermark hide a part. Of pictures that have few colours (``retrieval.copies.look``) every tile must agree
in colour and in structure, and print must be large enough to be read; else nobody can tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from retrieval.copies.look import MIDDLE_PX, Look, Values, are_few_colours, blurred

Map = npt.NDArray[np.float64]
"""(3, 3): from points of one picture as seen to points of another, in homogeneous coordinates."""
Flags = npt.NDArray[np.bool_]
Answer = Literal["copy", "other", "unsure"]
Place = tuple[float, float, float, float]
"""Left, top, right and bottom, as shares of the first picture."""

TILE, SMALLEST_TILE, TILES_ACROSS = 16, 4, 24  # pixels of a side; smaller pictures have smaller tiles
TEXTURED = 5.0  # standard deviation of grey values in a tile, from which on its structure is compared
CORRELATES = 0.6  # of a tile
NO_MORE = 5.0  # root mean square of grey levels: a difference that compression makes in faint texture
DISAGREES = 0.55  # share of the textured tiles of photographs that agree, below which they show other things
AGREES = 0.6  # the share of copies
FITS = ((0.95, 0.85), (0.75, 0.965), (AGREES, 0.985))  # share of tiles that agree, and median correlation of these
MOSTLY, BOTH = 0.8, 0.7  # if fewer tiles agree, share of the others that may have texture in both pictures: what hides
# a part, or what it hides, is mostly plain, and two persons in one uniform have two faces
PLAIN = 0.25  # share of tiles with texture, below which a picture is compared as a drawing
FEWEST = 12  # textured tiles of a photograph that can tell anything
SHARED, LEAST_SHARED = 0.8, 0.1  # of the one picture, and of the other
ZOOM_MOST = 20.0
GAINS, FITTED = (0.2, 5.0), 4  # of a tone curve, for each channel, which is fitted so often to what it fits best
OTHER_COLOUR, COLOURED = 20.0, 0.1  # difference of colour, in levels; share of tiles that may have it
CLIPPED = (8.0, 247.0)  # levels beyond which a tone curve may have cut values off
WRITTEN, WRITTEN_MORE = 12.0, 6.0  # levels by which tiles differ that were written on; times the median of all tiles
WRITTEN_TILES = 2
OTHER_TONE = 8.0  # levels between the means of tiles, in the median
CHANGED = 12.0  # levels of grey in a tile that disagrees: a part was changed
DRAWN_TILE, DRAWN_TEXTURED, DRAWN_CORRELATES = 8, 10.0, 0.75
DRAWN_COLOUR = 12.0  # levels by which a tile of a drawing may differ
EVEN, EVEN_COLOUR, EVEN_TO_NOISE = 2.0, 6.0, 4.0  # deviation of an even tile; levels by which it may differ; and noise
FAINT_DETAIL, DETAIL_TO_NOISE = 4.5, 2.0  # difference of untextured tiles, without that of the means; and noise
NOISIEST = 0.9  # quantile of what is noise in the textured tiles
READABLE_PX = 256  # longest side at which print is compared, unless the larger picture has no more
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Verdict:
    """``alike`` is the share of tiles that agree; ``differs`` says what does not, at ``places``."""

    answer: Answer
    alike: float = 0.0
    differs: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()


OTHER, UNSURE = Verdict("other"), Verdict("unsure")


def verdict(a: Look, b: Look, there: Map) -> Verdict:
    """Compare two pictures under a map from the first to the second."""
    shown = _in_one_frame(a.middle, b.middle, _between_sizes(there, a, a.middle, b, b.middle))
    if shown is None:
        return OTHER
    if not (shown.is_drawn or a.middle.has_few_colours or b.middle.has_few_colours):
        return _of_photographs(shown, a.glance.is_grey or b.glance.is_grey)
    shown = _in_one_frame(a, b, there)
    return _of_drawings(shown, a, b) if shown else OTHER


def glance(a: Look, b: Look, there: Map) -> float:
    """The share of tiles that agree under a map from the first picture to the second, both seen at ``GLANCE_PX``."""
    shown = _in_one_frame(a.glance, b.glance, _between_sizes(there, a, a.glance, b, b.glance), in_grey=True)
    if shown is None:
        return 0.0
    tiles = shown.tiles
    return float((np.abs(tiles.correlation) >= CORRELATES)[tiles.textured].mean()) if tiles.textured.any() else 1.0


def _between_sizes(there: Map, a: Look, small: Look, b: Look, other: Look) -> Map:
    """The map from ``small`` to ``other``, of that from ``a`` to ``b``, which are the same pictures at other sizes."""
    to_a = np.diag([a.size[0] / small.size[0], a.size[1] / small.size[1], 1])
    to_other = np.diag([other.size[0] / b.size[0], other.size[1] / b.size[1], 1])
    return np.asarray(to_other @ there @ to_a)


def stretched(a: Look, b: Look) -> Map:
    """The map that stretches the whole first picture onto the second."""
    return _between((0, 0, *a.size), (0, 0, *b.size))


def trimmed(a: Look, b: Look) -> Map:
    """The map that stretches the first picture without its borders onto the second without its own."""
    return _between(a.content, b.content)


def _between(here: tuple[int, int, int, int], there: tuple[int, int, int, int]) -> Map:
    across = (there[2] - there[0]) / max(1, here[2] - here[0])
    down = (there[3] - there[1]) / max(1, here[3] - here[1])
    return np.array([[across, 0, there[0] - across * here[0]], [0, down, there[1] - down * here[1]], [0, 0, 1]])


@dataclass(frozen=True)
class _Shown:
    """Two pictures in one frame, float32 (h, w, 3), or (h, w, 1) in grey; and where both are, (h, w)."""

    one: Values
    other: Values
    inside: Flags

    @property
    def side(self) -> int:
        """The side of tiles."""
        return int(max(SMALLEST_TILE, min(TILE, max(self.one.shape[:2]) // TILES_ACROSS)))

    @cached_property
    def tiles(self) -> _Tiles:
        """Both compared, tile by tile."""
        return _compared(self, self.side)

    @property
    def is_drawn(self) -> bool:
        """Whether what is inside has few colours, or texture in few places."""
        if self.tiles.textured.sum() < PLAIN * self.tiles.counts.sum():
            return True
        inside = slice(None) if self.inside.all() else self.inside
        return any(are_few_colours(one.astype(np.uint8)[inside].reshape(-1, 3)) for one in (self.one, self.other))


def _in_one_frame(a: Look, b: Look, there: Map, *, in_grey: bool = False) -> _Shown | None:
    """Both pictures in the frame of the first, at the coarser scale. None if too little is in both."""
    of_a, of_b = (a.grey, b.grey) if in_grey else (a.image, b.image)
    middle = there @ (a.size[0] / 2, a.size[1] / 2, 1)
    zoom = float(np.sqrt(abs(np.linalg.det(there) / middle[2] ** 3))) if abs(middle[2]) > 1e-6 else 0.0
    if not 1 / ZOOM_MOST < zoom < ZOOM_MOST:  # pixels of the second for one of the first
        return None
    scale = min(1.0, zoom)
    wide, high = (max(1, round(length * scale)) for length in a.size)
    one = _resized(of_a, (wide, high))
    step = max(1.0, zoom)  # pixels of the second for one of the frame
    small = (max(1, round(b.size[0] / step)), max(1, round(b.size[1] / step)))
    to_a = np.diag([a.size[0] / wide, a.size[1] / high, 1])
    to_small = np.diag([small[0] / b.size[0], small[1] / b.size[1], 1])
    matrix = to_small @ there @ to_a
    matrix = matrix / matrix[2, 2]
    data = matrix.ravel()[:8].tolist()
    picture = _resized(of_b, small)
    finely = Image.Resampling.BILINEAR if in_grey else Image.Resampling.BICUBIC
    other = picture.transform((wide, high), Image.Transform.PERSPECTIVE, data, finely)
    x, y = np.arange(wide) + 0.5, (np.arange(high) + 0.5)[:, None]
    u, v, w = (row[0] * x + row[1] * y + row[2] for row in matrix)
    inside = (w > 0) & (u >= 0.5 * w) & (v >= 0.5 * w) & (u <= (small[0] - 0.5) * w) & (v <= (small[1] - 0.5) * w)
    shares = float(inside.mean()), float(inside.sum()) * (zoom / step / scale) ** 2 / (small[0] * small[1])
    if max(shares) < SHARED or min(shares) < LEAST_SHARED:
        return None
    is_kept = one is a.image and max(one.size) <= MIDDLE_PX  # many pairs share it
    return _Shown(_values(a.blurred if is_kept else blurred(one)), _values(blurred(other)), inside)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def _values(image: Image.Image) -> Values:
    values = np.asarray(image, np.float32)
    return values if values.ndim == 3 else values[..., None]


@dataclass(frozen=True)
class _Tiles:
    """Of tiles (r, c): means (r, c, 3) and deviations of grey values in both pictures, the correlation of grey values,
    the root mean square of their difference without that of the means, and which tiles lie in both pictures."""

    means: tuple[Values, Values]
    deviations: tuple[Values, Values]
    correlation: Values
    residual: Values
    counts: Flags

    @property
    def textured(self) -> Flags:
        return (np.maximum(*self.deviations) > TEXTURED) & self.counts


def _compared(shown: _Shown, side: int) -> _Tiles:
    colours = [_tiles(values, side) for values in (shown.one, shown.other)]
    grey = [tiles @ LUMA if tiles.shape[-1] == len(LUMA) else tiles[..., 0] for tiles in colours]
    grey = [values - values.mean(-1, keepdims=True) for values in grey]
    deviations = [np.sqrt((values**2).mean(-1)) for values in grey]
    correlation = (grey[0] * grey[1]).mean(-1) / np.maximum(deviations[0] * deviations[1], 1e-3)
    residual = np.sqrt(((grey[0] - grey[1]) ** 2).mean(-1))
    means = [tiles.mean(2) for tiles in colours]
    counts = np.ones(residual.shape, bool)
    if not shown.inside.all():
        counts = np.asarray(_tiles(shown.inside[..., None], side).all((2, 3)))
    return _Tiles((means[0], means[1]), (deviations[0], deviations[1]), correlation, residual, counts)


def _tiles(values: np.ndarray, side: int) -> np.ndarray:
    """Values (h, w, c) as (rows, columns, pixels, c) of whole tiles."""
    side = min(side, *values.shape[:2])
    high, wide = (length // side for length in values.shape[:2])
    cut = values[: high * side, : wide * side].reshape(high, side, wide, side, -1)
    return cut.swapaxes(1, 2).reshape(high, wide, side * side, -1)


def _of_photographs(shown: _Shown, is_grey: bool) -> Verdict:
    tiles, textured = shown.tiles, shown.tiles.textured
    if textured.sum() < FEWEST:
        return UNSURE
    sign = -1.0 if np.median(tiles.correlation[textured]) < -CORRELATES else 1.0
    agree = (sign * tiles.correlation >= CORRELATES) | ((tiles.residual < NO_MORE) & (sign > 0))
    alike = float(agree[textured].mean())
    if alike < DISAGREES:
        return Verdict("other", alike)
    fitting = sign * tiles.correlation[textured & agree]
    fits = float(np.median(fitting[fitting >= CORRELATES])) if (fitting >= CORRELATES).any() else 1.0
    torn = textured & ~agree
    strange = _strangely_coloured(tiles, tiles.counts & ~torn)
    if is_grey or sign < 0:
        strange = np.zeros_like(torn)
    bad = torn | (strange & tiles.counts)
    places = _places(bad)
    if strange[tiles.counts & ~torn].mean() > COLOURED:
        return Verdict("other", alike, ("colour",), places)
    if fits < FITS[0][1]:
        return Verdict("other", alike, ("part",), places)
    has_other_content = alike < MOSTLY and (torn & (np.minimum(*tiles.deviations) > TEXTURED)).sum() > BOTH * torn.sum()
    if has_other_content or not any(alike >= share and fits >= closely for share, closely in FITS):
        return Verdict("unsure", alike, ("part",), places)
    differs = ["negative"] if sign < 0 else ["tone"] if _is_other_tone(tiles) else []
    if (torn & (tiles.residual > CHANGED)).any() or strange.any() or (not differs and _is_written_on(tiles)):
        differs.append("part")
    return Verdict("copy", alike, tuple(differs), places if "part" in differs else ())


def _is_written_on(tiles: _Tiles) -> bool:
    """Whether some tiles differ more in their means than compression makes all of them differ."""
    apart = tiles.means[0] - tiles.means[1]
    apart = np.abs(apart - np.median(apart[tiles.counts], axis=0)).max(-1)
    limit = max(WRITTEN, WRITTEN_MORE * float(np.median(apart[tiles.counts])))
    return bool((apart > limit)[tiles.counts].sum() >= WRITTEN_TILES)


def _is_other_tone(tiles: _Tiles) -> bool:
    apart = np.median(np.abs(tiles.means[0] - tiles.means[1])[tiles.counts], axis=0)
    return bool(apart.max() > OTHER_TONE)


def _strangely_coloured(tiles: _Tiles, use: Flags) -> Flags:
    """The tiles whose colour no tone curve, a gain and a shift of each channel, explains."""
    one, other = tiles.means
    clipped = [(means < CLIPPED[0]) | (means > CLIPPED[1]) for means in (one, other)]
    is_clipped = clipped[0] | clipped[1]
    fitted = np.empty_like(one)
    for channel in range(3):
        fit = use & ~is_clipped[..., channel]
        if fit.sum() < FEWEST:
            fit = use
        fitted[..., channel] = _toned(other[..., channel], one[..., channel], fit)
    grey = [np.maximum(values @ LUMA, 1.0)[..., None] for values in (one, fitted)]
    chroma = one - grey[0], (fitted - grey[1]) * np.clip(grey[0] / grey[1], 0.5, 2.0)
    return np.asarray((np.abs(chroma[0] - chroma[1]).max(-1) > OTHER_COLOUR) & use & ~is_clipped.any(-1))


def _toned(values: Values, like: Values, use: Flags) -> Values:
    """Values (r, c) with the gain and the shift that make most of those in use what ``like`` has there: what something
    of another colour hides has no say."""
    keep, toned = use, values
    for _ in range(FITTED):
        x, y = values[keep], like[keep]
        if not len(x):
            break
        spread = float(x.var())
        gain = float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread > 1 else 1.0
        toned = float(np.clip(gain, *GAINS)) * (values - x.mean()) + y.mean()
        apart = np.abs(toned - like)
        keep = use & (apart <= max(OTHER_COLOUR / 2, float(np.median(apart[use]))))
    return np.asarray(toned, np.float32)


def _of_drawings(shown: _Shown, a: Look, b: Look) -> Verdict:
    larger, seen = max(a.width_px, a.height_px, b.width_px, b.height_px), max(shown.one.shape[:2])
    if a.is_grey != b.is_grey:
        one, other = (np.repeat((values @ LUMA)[..., None], 3, 2) for values in (shown.one, shown.other))
        shown = _Shown(one, other, shown.inside)
    tiles = _compared(shown, DRAWN_TILE)
    textured = np.maximum(*tiles.deviations) > DRAWN_TEXTURED
    torn = textured & (tiles.correlation < DRAWN_CORRELATES)
    noise = _noise(tiles, textured & ~torn & tiles.counts)
    torn |= ~textured & (tiles.residual > max(FAINT_DETAIL, DETAIL_TO_NOISE * noise))
    off = _are_off(shown, tiles, noise)
    bad = (off | torn) & tiles.counts
    alike = 1.0 - float(bad.sum()) / max(1, int(tiles.counts.sum()))
    if bad.any():
        is_colour = (off & ~textured & tiles.counts).any()
        return Verdict("other", alike, ("colour" if is_colour else "text or shape",), _places(bad))
    if seen < READABLE_PX and larger > 2 * seen:
        return Verdict("unsure", alike, ("too small to read",))
    return Verdict("copy", alike, ("grey",) if a.is_grey != b.is_grey else ())


def _noise(tiles: _Tiles, agreeing: Flags) -> float:
    """What compression, scaling and the like made of a drawing, in grey levels: the part of the textured tiles of one
    picture that no tone of the other explains."""
    if not agreeing.any():
        return 0.0
    unexplained = np.sqrt(np.maximum(0.0, 1.0 - tiles.correlation[agreeing] ** 2))
    return float(np.quantile(np.maximum(*tiles.deviations)[agreeing] * unexplained, NOISIEST))


def _are_off(shown: _Shown, tiles: _Tiles, noise: float) -> Flags:
    """The tiles whose colour differs by more than their noise explains.

    Edges spread into tiles beside them, so those may differ more. Compression that shifts an even colour leaves noise
    at edges; without it, another even colour is that of another picture. Noise that was cut off at white or black
    shifts their mean.
    """
    apart = np.abs(tiles.means[0] - tiles.means[1])
    is_even = np.maximum(*(_tiles(values, DRAWN_TILE).std(2) for values in (shown.one, shown.other))).max(-1) < EVEN
    low, high = np.minimum(*tiles.means) < CLIPPED[0], np.maximum(*tiles.means) > CLIPPED[1]
    most = np.where(low | high, DRAWN_COLOUR, max(EVEN_COLOUR, EVEN_TO_NOISE * noise))
    return np.asarray((apart > DRAWN_COLOUR).any(-1) | (is_even & (apart > most).any(-1)))


def _places(bad: Flags) -> tuple[Place, ...]:
    """The box around all tiles that disagree."""
    if not bad.any():
        return ()
    rows, columns = np.nonzero(bad)
    high, wide = bad.shape
    box = columns.min() / wide, rows.min() / high, (columns.max() + 1) / wide, (rows.max() + 1) / high
    return (tuple(map(float, box)),)  # type: ignore[return-value]
