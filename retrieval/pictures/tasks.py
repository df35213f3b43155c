"""What a worker process is asked, and what it answers. Neither numpy nor Pillow is needed here."""

from __future__ import annotations

from typing import Literal, NamedTuple

from index.facts import Facts
from retrieval.pictures.regions import Box

MOST_PIXELS = 178_956_970  # as they are decoded: what a worker's memory holds four copies of; Pillow's own limit too
MOST_JPEG_PIXELS = 1 << 30  # of a JPEG as stored, which is decoded at a smaller scale: all that time allows to be read
MOST_COEFFICIENT_BYTES = 2 << 30  # of a progressive JPEG, which holds them all: leaves a third of a worker's memory
MOST_REASON = 200  # characters
DIGEST_BYTES = 32

Frame = Literal["square", "thumbnail", "original", "look", "whole", "looks"]
"""What of a picture is wanted: its central square, the whole picture centred in a white square, all pixels in their own
size, the whole picture on grey, scaled down to fit into a square, the whole picture squeezed into a square, or that
above the central square."""


Want = Literal["pixels", "samples", "facts", "picture", "traits", "faces", "tiles"]
"""The pixels of a frame; a hash of all stored samples of the file; its facts; pixels and facts; its traits with its
facts; or the boxes of faces or of tiles."""
WITH_PIXELS = frozenset[Want](["pixels", "picture"])
WITH_FACTS = frozenset[Want](["facts", "picture", "traits"])
WITH_BOXES = frozenset[Want](["faces", "tiles"])


class Task(NamedTuple):
    """A file to decode, or ``length`` bytes at ``offset`` in a file (a member of an archive).

    A file of known content is decoded only with ``force``. ``source``: where the bytes are, if ``path`` only names it.
    ``box``: the region that is wanted of the picture, as if it were all.
    """

    path: str
    offset: int = 0
    length: int | None = None
    frame: Frame = "square"
    force: bool = False
    want: Want = "pixels"
    source: str | None = None
    box: Box | None = None


class Answer(NamedTuple):
    """The result of a task: what is wanted of the picture, as bytes (``pixels`` in RGB, a hash, traits) and as
    ``facts``, or the ``reason``, or neither if the content is known. ``width_px`` x ``height_px`` of it all, upright;
    ``frame_px`` width and height of the frame. ``holds_more``: the file has other frames, pages or layers, or what it
    hides; it is told of a ``look`` alone.
    """

    content_hash: bytes | None = None
    pixels: bytes | None = None
    width_px: int = 0
    height_px: int = 0
    frame_px: tuple[int, int] = (0, 0)
    reason: str | None = None
    passing: bool = False
    holds_more: bool = False
    facts: Facts | None = None
