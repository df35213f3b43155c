"""Carry out the task of a worker process: open, hash and decode one file. Imported by all of them, so without numpy."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO, NamedTuple

import xxhash
from PIL import Image

from index.facts import Facts
from retrieval.errors import PictureRefused
from retrieval.pictures.decode import (
    NO_MEMORY,
    ORIENTATIONS_THAT_SWAP,
    SCALED,
    Upright,
    frame_of,
    identified,
    needed,
    read_frame,
    read_upright,
    reason_of,
)
from retrieval.pictures.faces import SEEN_PX, faces_in
from retrieval.pictures.facts import facts_of, stored_as
from retrieval.pictures.kinds import EMPTY, HEAD_BYTES, reason_without_picture
from retrieval.pictures.opening import open_file
from retrieval.pictures.regions import BOX, Box
from retrieval.pictures.samples import holds_more, samples_digest
from retrieval.pictures.tasks import MOST_REASON, WITH_PIXELS, Answer, Task, Want
from retrieval.pictures.tiles import tiles_of
from retrieval.pictures.traits import packed_traits, traits_of
from retrieval.text import short_line

READ_BYTES = 1 << 20
MOST_KEPT_PIXELS = 1 << 25  # of a picture of which a region was read: 128 MiB, beside what is decoded next
WEAK_FORMATS = frozenset({"TGA", "PCX", "DIB"})  # told by few bytes: other files may begin so
UPRIGHT = frozenset(["TIFF", "HEIF"])  # formats whose decoders turn pictures, and tell their sizes as turned
LATE = frozenset(["PNG"])  # formats that may hold metadata behind their pixels


def carry_out(task: Task, size_px: int, known: Container[bytes] = frozenset()) -> Answer:
    """Carry out one task in this process. A file whose content hash is in ``known`` is not decoded.

    Never raises: any exception of a decoder becomes the ``reason``, on one line of at most 200 characters.
    """
    content_hash, head, is_identified = None, b"", False
    try:
        with open_file(task.source or task.path) as file:
            source, hashing = _source(file, task)
            head = _head(source)
            with identified(source) as image:  # before hashing: a file that is not a picture may be huge
                is_identified = image.format not in WEAK_FORMATS
                digest = hashing()
                content_hash = _hash_of_region(digest, task)
                if content_hash in known and not task.force:
                    return Answer(content_hash)
                if task.want in WITH_PIXELS:
                    answer = _pixels(image, task, size_px, digest)
                else:
                    answer = _TOLD[task.want](image, task, size_px)
                return answer._replace(content_hash=content_hash)
    except PictureRefused as refusal:
        reason, passing = str(refusal), refusal.passing
    except MemoryError:
        reason, passing = NO_MEMORY, True
    except OSError as error:
        reason, passing = f"cannot be read: {error.strerror or error}", True
    except Exception as error:
        reason, passing = reason_of(error), False
    has_name = task.length is None or task.source is not None
    if not passing and has_name and (head or reason == EMPTY):
        reason = reason_without_picture(reason, head, task.path, is_identified)
    return Answer(content_hash, reason=short_line(reason, MOST_REASON), passing=passing)


def _head(source: BinaryIO) -> bytes:
    head = source.read(HEAD_BYTES)
    source.seek(0)
    return head


def _samples(image: Image.Image, task: Task, size_px: int) -> Answer:
    return Answer(None, samples_digest(image), *image.size, image.size)


def _traits(image: Image.Image, task: Task, size_px: int) -> Answer:
    traits = traits_of(image)
    return Answer(None, packed_traits(traits), *image.size, image.size, facts=traits.facts)


def _facts(image: Image.Image, task: Task, size_px: int) -> Answer:
    stored = stored_as(image)
    if image.format in LATE:
        with suppress(Exception):
            image.load()
    facts = facts_of(image, stored)
    lies = facts.orientation in ORIENTATIONS_THAT_SWAP and image.format not in UPRIGHT
    width_px, height_px = image.size[::-1] if lies else image.size
    return Answer(None, b"", width_px, height_px, facts=facts)


def _faces(image: Image.Image, task: Task, size_px: int) -> Answer:
    picture, width_px, height_px = read_frame(image, SEEN_PX, "look")
    return Answer(None, _packed(faces_in(picture)), width_px, height_px)


def _tiles(image: Image.Image, task: Task, size_px: int) -> Answer:
    told = _facts(image, task, size_px)
    return told._replace(pixels=_packed(tiles_of(told.width_px, told.height_px)), facts=None)


def _packed(boxes: Iterable[Box]) -> bytes:
    return b"".join(BOX.pack(*box) for box in boxes)


def _pixels(image: Image.Image, task: Task, size_px: int, digest: bytes) -> Answer:
    read = _read(image, task, size_px, digest)
    frame, width_px, height_px = frame_of(read.upright, size_px, task.frame, task.box)
    return Answer(None, frame.tobytes(), width_px, height_px, frame.size, holds_more=read.holds_more, facts=read.facts)


class _Read(NamedTuple):
    """What was read of a content, and how."""

    how: tuple[object, ...]
    upright: Upright
    holds_more: bool
    facts: Facts | None


_last: list[_Read] = []
"""At most one: regions of a picture are read one after the other, and it is decoded once for those of one size."""


def _read(image: Image.Image, task: Task, size_px: int, digest: bytes) -> _Read:
    cover_px, ground = needed(size_px, task.frame, task.box)
    how = digest, task.want, task.frame, cover_px if image.format in SCALED else None
    if _last and _last[0].how == how:
        return _last[0]
    _last.clear()  # before there is another
    stored = stored_as(image) if task.want == "picture" else None
    upright = read_upright(image, cover_px, ground)
    read = _Read(how, upright, task.frame == "look" and holds_more(image), facts_of(image, stored) if stored else None)
    if task.box is not None and upright.picture.width * upright.picture.height <= MOST_KEPT_PIXELS:
        own = upright.picture.copy() if upright.picture is image else upright.picture  # the file's is closed
        _last.append(read._replace(upright=upright._replace(picture=own)))
    return read


_TOLD: dict[Want, Callable[[Image.Image, Task, int], Answer]] = {
    "samples": _samples,
    "facts": _facts,
    "traits": _traits,
    "faces": _faces,
    "tiles": _tiles,
}


def _source(file: BinaryIO, task: Task) -> tuple[BinaryIO, Callable[[], bytes]]:
    """What a decoder reads, and a function that hashes all of it. A decoder may close the one and disturb no other."""
    number = file.fileno()
    if task.length is None:
        return open(number, "rb", closefd=False), lambda: _hash_of_file(number)
    room = os.fstat(number).st_size - task.offset  # archives may promise more
    file.seek(task.offset)
    segment = file.read(max(0, min(task.length, room)))
    return BytesIO(segment), xxhash.xxh3_128(segment).digest


def _hash_of_region(content_hash: bytes, task: Task) -> bytes:
    """Regions of a picture are contents of their own."""
    return content_hash if task.box is None else xxhash.xxh3_128(content_hash + BOX.pack(*task.box)).digest()


def _hash_of_file(number: int) -> bytes:
    """XXH3, 128 bits: recognises a renamed file at the speed of memory. It is no defence against forgery."""
    digest = xxhash.xxh3_128()
    position = os.lseek(number, 0, os.SEEK_CUR)
    os.lseek(number, 0, os.SEEK_SET)
    while block := os.read(number, READ_BYTES):
        digest.update(block)
    os.lseek(number, position, os.SEEK_SET)  # where the decoder left it
    return digest.digest()
