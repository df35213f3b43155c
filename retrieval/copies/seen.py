"""A look at a file, and what is computed of it once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from retrieval.copies.look import Look
from retrieval.copies.registration import Points, points_of
from retrieval.pictures.workers import Decoded


@dataclass(frozen=True)
class Seen:
    """A look, and what is computed of it once."""

    look: Look
    holds_more: bool = False  # other frames, pages, layers, or raw values

    @cached_property
    def corners(self) -> Points:
        return points_of(self.look, "orb")

    @cached_property
    def blobs(self) -> Points:
        return points_of(self.look, "sift")

    @cached_property
    def has_borders(self) -> bool:
        return self.look.content != (0, 0, *self.look.size)

    def turned(self, turn: int) -> Seen:
        """As ``Look.turned``."""
        return Seen(self.look.turned(turn), self.holds_more) if turn else self


def seen_in(decoded: Decoded) -> Seen | None:
    """What is seen of a file; None if it cannot be read."""
    if decoded.pixels is None:
        return None
    return Seen(Look(decoded.pixels, decoded.width_px, decoded.height_px), decoded.holds_more)
