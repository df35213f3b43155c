"""How a collection is looked through for copies: each picture is decoded once, and seen as copies of it may be.

A code knows the central square of a picture. So the code of a picture that was cropped, framed or turned is far from
that of its original, but near the code of the original that was cropped, freed from its borders or turned likewise.
These are the views of a picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from retrieval.arrays import Floats, Pixels
from retrieval.copies.look import Look
from retrieval.models.model import Model
from retrieval.pictures.decode import square
from retrieval.pictures.workers import DecoderPool, Task

GREY_PX = 64  # a grey picture of each is kept, for comparisons at a glance
SHARPNESS = 2.5  # sides of what is decoded, in sides of what the encoder takes: crops need more
BATCH = 1024
CROPS = (0.8, 0.62)  # sides of views: crops of 90 to 50% are near one of them

TURNS: dict[frozenset[str], tuple[int, ...]] = {  # invariances -> turns that count as copies, see ``Look.turned``
    frozenset(): (),
    frozenset({"mirror"}): (4,),
    frozenset({"rotate"}): (1, 2, 3),
    frozenset({"mirror", "rotate"}): (1, 2, 3, 4, 5, 6, 7),
}

Part = tuple[float, float, float, float]
"""Left, top, right and bottom, as shares of a picture."""
WHOLE: Part = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class View:
    """A part of a picture, or, if there is none, its content without borders; after a turn (``Look.turned``)."""

    part: Part | None
    turn: int = 0


CONTENT = View(None)


def views_for(turns: Sequence[int]) -> list[View]:
    """The views in which pictures are sought: without borders, crops in the middle and in the corners, turned."""
    crops = [_crop(side, x, y) for side in CROPS for x, y in ((0.5, 0.5), (0, 0), (1, 0), (0, 1), (1, 1))]
    return [CONTENT, *(View(part) for part in crops), *(View(WHOLE, turn) for turn in turns)]


def _crop(side: float, x: float, y: float) -> Part:
    return x * (1 - side), y * (1 - side), x * (1 - side) + side, y * (1 - side) + side


@dataclass
class Survey:
    """What is known of all pictures after they were looked through: ``greys`` uint8 (n, 64, 64), squeezed; where their
    content is, (n, 4) as a ``Part``; and which are too faint to be told apart by what is seen, or cannot be read."""

    greys: Pixels
    contents: Floats
    faint: np.ndarray

    @classmethod
    def of(cls, count: int) -> Survey:
        return cls(
            np.zeros((count, GREY_PX, GREY_PX), np.uint8), np.zeros((count, 4), np.float32), np.ones(count, bool)
        )

    def look_through(
        self, paths: Sequence[str], model: Model, views: Sequence[View], pool: DecoderPool
    ) -> Iterator[tuple[View, np.ndarray, Floats]]:
        """Decode all pictures. Yields rows (b,) and codes (b, d) for each view, batch by batch. Faint ones have none."""
        batch: list[tuple[int, Pixels]] = []
        tasks = (Task(path, frame="look") for path in paths)
        for row, decoded in enumerate(pool.map(tasks, round(SHARPNESS * model.image_size))):
            if decoded.pixels is not None and self._note(row, Look(decoded.pixels, 0, 0)):
                batch.append((row, decoded.pixels))
            if len(batch) == BATCH:
                yield from self._encoded(batch, model, views)
                batch = []
        yield from self._encoded(batch, model, views)

    def _note(self, row: int, look: Look) -> bool:
        wide, high = look.size
        self.faint[row] = look.is_faint
        self.contents[row] = np.divide(look.content, (wide, high, wide, high))
        self.greys[row] = np.asarray(look.image.convert("L").resize((GREY_PX, GREY_PX), Image.Resampling.BOX))
        return not self.faint[row]

    def _encoded(
        self, batch: Sequence[tuple[int, Pixels]], model: Model, views: Sequence[View]
    ) -> Iterator[tuple[View, np.ndarray, Floats]]:
        for view in views:
            shown = [(row, pixels) for row, pixels in batch if view is not CONTENT or self._has_borders(row)]
            if shown:
                squares = [square(self._seen(pixels, row, view), model.image_size) for row, pixels in shown]
                yield view, np.array([row for row, _ in shown]), model.encode_squares(np.stack(squares)).codes

    def _has_borders(self, row: int) -> bool:
        return tuple(self.contents[row]) != WHOLE

    def grey(self, row: int, view: View | None = None) -> Pixels:
        """The grey picture of a row, uint8 (h, w): whole, or as a view shows it."""
        return self.greys[row] if view is None else self._seen(self.greys[row], row, view)

    def _seen(self, pixels: Pixels, row: int, view: View) -> Pixels:
        """What a view shows of a picture (h, w, ...)."""
        part = _cut(pixels, self.contents[row] if view.part is None else view.part)
        return np.rot90(part[:, ::-1] if view.turn >= 4 else part, view.turn % 4) if view.turn else part


def _cut(pixels: Pixels, part: Sequence[float] | Floats) -> Pixels:
    """A part of a picture (h, w, ...), of one pixel at least."""
    high, wide = pixels.shape[:2]
    left, top, right, bottom = (round(float(share) * side) for share, side in zip(part, (wide, high) * 2, strict=True))
    return pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
