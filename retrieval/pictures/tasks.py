"""What a worker process is asked, and how it carries that out. Imported by every worker process: no numpy."""

from __future__ import annotations

import os
from collections.abc import Callable, Container
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import xxhash

from retrieval.errors import PictureRefused
from retrieval.pictures.decode import NO_MEMORY, Frame, bands, identified, read_frame, reason_of
from retrieval.pictures.opening import open_file
from retrieval.text import short_line

if TYPE_CHECKING:
    from PIL import Image

READ_BYTES = 1 << 20
MOST_REASON = 200  # characters
DIGEST_BYTES = 32


class Task(NamedTuple):
    """A file to decode, or ``length`` bytes at ``offset`` in a file (a member of an archive).

    A file of known content is decoded only with ``force``. With ``digest``, a hash of the pixels of ``frame`` is wanted
    in their place.
    """

    path: str
    offset: int = 0
    length: int | None = None
    frame: Frame = "square"
    force: bool = False
    digest: bool = False


class Answer(NamedTuple):
    """The result of a task, as bytes: ``pixels`` (RGB, or their digest), or the ``reason``, or neither if the content
    is known. ``width_px`` x ``height_px`` of the whole picture, upright; ``frame_px`` width and height of the frame.
    """

    content_hash: bytes | None = None
    pixels: bytes | None = None
    width_px: int = 0
    height_px: int = 0
    frame_px: tuple[int, int] = (0, 0)
    reason: str | None = None
    passing: bool = False


def carry_out(task: Task, size_px: int, known: Container[bytes] = frozenset()) -> Answer:
    """Carry out one task in this process. A file whose content hash is in ``known`` is not decoded.

    Never raises: any exception of a decoder becomes the ``reason``, on one line of at most 200 characters.
    """
    content_hash = None
    try:
        with open_file(task.path) as file:
            source, hashing = _source(file, task)
            with identified(source) as image:  # before hashing: a file that is not a picture may be huge
                content_hash = hashing()
                if content_hash in known and not task.force:
                    return Answer(content_hash)
                frame, width_px, height_px = read_frame(image, size_px, task.frame)
                pixels = _digest(frame) if task.digest else frame.tobytes()
                return Answer(content_hash, pixels, width_px, height_px, frame.size)
    except PictureRefused as refusal:
        reason, passing = str(refusal), refusal.passing
    except MemoryError:
        reason, passing = NO_MEMORY, True
    except OSError as error:
        reason, passing = f"cannot be read: {error.strerror or error}", True
    except Exception as error:
        reason, passing = reason_of(error), False
    return Answer(content_hash, reason=short_line(reason, MOST_REASON), passing=passing)


def _source(file: BinaryIO, task: Task) -> tuple[BinaryIO, Callable[[], bytes]]:
    """What a decoder reads, and a function that hashes all of it. A decoder may close the one and disturb no other."""
    number = file.fileno()
    if task.length is None:
        return open(number, "rb", closefd=False), lambda: _hash_of_file(number)
    room = os.fstat(number).st_size - task.offset  # archives may promise more
    file.seek(task.offset)
    segment = file.read(max(0, min(task.length, room)))
    return BytesIO(segment), xxhash.xxh3_128(segment).digest


def _hash_of_file(number: int) -> bytes:
    """XXH3, 128 bits: recognises a renamed file at the speed of memory. It is no defence against forgery."""
    digest = xxhash.xxh3_128()
    position = os.lseek(number, 0, os.SEEK_CUR)
    os.lseek(number, 0, os.SEEK_SET)
    while block := os.read(number, READ_BYTES):
        digest.update(block)
    os.lseek(number, position, os.SEEK_SET)  # where the decoder left it
    return digest.digest()


def _digest(frame: Image.Image) -> bytes:
    """BLAKE2b of size and pixels."""
    from hashlib import blake2b

    digest = blake2b(repr(frame.size).encode(), digest_size=DIGEST_BYTES)
    for band in bands(frame):
        digest.update(band.tobytes())
    return digest.digest()
