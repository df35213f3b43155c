"""The result of a task, in the process that gave it."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

import numpy as np

from index.facts import Facts
from retrieval.arrays import Pixels
from retrieval.errors import PictureRefused
from retrieval.pictures.regions import BOX, Box, is_sane_box
from retrieval.pictures.tasks import WITH_BOXES, WITH_PIXELS, Answer, Task
from retrieval.pictures.traits import Traits, read_traits


@dataclass(frozen=True)
class Decoded:
    """The result of a task: ``pixels`` uint8 (h, w, 3) of its frame, or None with the ``reason``, or with a known hash.

    If samples, traits or regions were asked for, their ``digest`` (BLAKE2b), ``traits`` or ``boxes`` stand in the place
    of pixels. ``passing``: the fault is not the file's, so it is read again next time. ``holds_more`` as in ``Answer``.
    """

    task: Task
    content_hash: bytes | None = None
    pixels: Pixels | None = None
    width_px: int = 0
    height_px: int = 0
    reason: str | None = None
    passing: bool = False
    digest: bytes | None = None
    holds_more: bool = False
    facts: Facts | None = None
    traits: Traits | None = None
    boxes: list[Box] = field(default_factory=list)

    def pixels_or_refusal(self) -> Pixels | PictureRefused:
        """The pixels, or the refusal that says why there are none, and names the file."""
        if self.pixels is not None:
            return self.pixels
        return self.refusal()

    def refusal(self) -> PictureRefused:
        return PictureRefused(f"{self.task.path}: {self.reason}", passing=self.passing)


def decode(task: Task, size_px: int, known: Container[bytes] = frozenset()) -> Decoded:
    """Carry out one task in this process. A file whose content hash is in ``known`` is not decoded.

    Errors of the file do not raise; they become the ``reason``.
    """
    from retrieval.pictures.reading import carry_out

    answer = carry_out(task, size_px, known)
    return decoded_of(task, answer, bytearray(answer.pixels or b""))


def decoded_of(task: Task, answer: Answer, pixels: bytearray) -> Decoded:
    """``pixels`` are those of the answer, or nothing."""
    across, down = answer.frame_px
    has = task.want if pixels else ""
    return Decoded(
        task,
        answer.content_hash,
        np.frombuffer(pixels, np.uint8).reshape(down, across, 3) if has in WITH_PIXELS else None,
        answer.width_px,
        answer.height_px,
        answer.reason,
        answer.passing,
        bytes(pixels) if has == "samples" else None,
        answer.holds_more,
        answer.facts,
        read_traits(bytes(pixels), answer.facts) if has == "traits" and answer.facts else None,
        [one for one in BOX.iter_unpack(pixels) if is_sane_box(one)] if has in WITH_BOXES else [],
    )


def stack(pictures: list[Decoded]) -> Pixels:
    """Stack the pictures that could be decoded: uint8 (n, size, size, 3)."""
    return np.stack([picture.pixels for picture in pictures if picture.pixels is not None])
