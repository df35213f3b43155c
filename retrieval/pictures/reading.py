"""Carry out the task of a worker process: open, hash and decode one file. Imported by all of them, so without numpy."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO

import xxhash
from PIL import Image

from retrieval.errors import PictureRefused
from retrieval.pictures.decode import NO_MEMORY, ORIENTATIONS_THAT_SWAP, identified, read_frame, reason_of
from retrieval.pictures.faces import SEEN_PX, faces_in
from retrieval.pictures.facts import facts_of, stored_as
from retrieval.pictures.kinds import EMPTY, HEAD_BYTES, reason_without_picture
from retrieval.pictures.opening import open_file
from retrieval.pictures.regions import BOX, Box
from retrieval.pictures.samples import holds_more, samples_digest
from retrieval.pictures.tasks import MOST_REASON, Answer, Task, Want
from retrieval.pictures.tiles import tiles_of
from retrieval.pictures.traits import packed_traits, traits_of
from retrieval.text import short_line

READ_BYTES = 1 << 20
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
                content_hash = _hash_of_region(hashing(), task)
                if content_hash in known and not task.force:
                    return Answer(content_hash)
                return _WANTED[task.want](image, task, size_px)._replace(content_hash=content_hash)
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


def _pixels(image: Image.Image, task: Task, size_px: int) -> Answer:
    stored = stored_as(image) if task.want == "picture" else None
    frame, width_px, height_px = read_frame(image, size_px, task.frame, task.box)
    pixels, size = frame.tobytes(), frame.size
    more = task.frame == "look" and holds_more(image)
    facts = facts_of(image, stored) if stored else None
    return Answer(None, pixels, width_px, height_px, size, holds_more=more, facts=facts)


_WANTED: dict[Want, Callable[[Image.Image, Task, int], Answer]] = {
    "pixels": _pixels,
    "picture": _pixels,
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
