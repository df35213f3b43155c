"""Pictures as files: those of the index, held open while a worker process reads them, and uploads in memory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO

from PIL import Image

from retrieval.arrays import Pixels
from retrieval.pictures.opening import OPENING
from retrieval.pictures.regions import Box, largest
from retrieval.pictures.shared import decode_all
from retrieval.pictures.tasks import Frame, Task
from retrieval.roots.opening import is_file
from retrieval.roots.regions import file_of, region_at
from serve.errors import Refused, without_paths

MOST_UPLOAD_BYTES = 32 << 20
MOST_UPLOAD_PIXELS = 50_000_000
WEBP_QUALITY = 82
OUTSIDE = Refused(403, "outside", "the file of this picture lies outside the indexed folders")
GONE = Refused(404, "gone", "the file of this picture is not there any more")


@contextmanager
def held(path: str, roots: Iterable[str]) -> Iterator[Task]:
    """Open a picture of the index, and give a task by which workers read just what was opened.

    What is checked is the opened file, not its name, which may change at any time.

    Raises:
        Refused: it is not there, is no regular file, or lies outside the indexed folders.
    """
    address, (path, box) = path, region_at(path)
    if not is_file(path):  # of a store or an archive, which worker processes are given as it is now
        if not any(path.startswith(f"{root}/") for root in roots):
            raise OUTSIDE
        yield Task(path)
        return
    try:
        number = os.open(path, OPENING)
    except (OSError, ValueError):
        raise GONE from None
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise GONE
        real = _path_of(number, path)
        if not any(real.startswith(os.path.join(os.path.realpath(file_of(root)), "")) for root in roots):
            raise OUTSIDE
        opened = _for_workers(number, path)
        yield Task(opened) if box is None else Task(address, source=opened, box=box)
    finally:
        os.close(number)


def _path_of(number: int, path: str) -> str:
    link = f"/proc/self/fd/{number}"
    return os.readlink(link) if os.path.lexists(link) else os.path.realpath(path)


def _for_workers(number: int, path: str) -> str:
    link = f"/proc/{os.getpid()}/fd/{number}"
    return link if os.path.lexists(link) else path


def square_of_upload(path: str, side_px: int, frame: Frame, *, of_face: bool = False) -> Pixels:
    """The encoder's input for an uploaded picture, uint8 (s, s, 3); ``of_face``: for its largest face, if there is one.
    Its size is known before it is decoded.

    Raises:
        Refused: it has too many pixels, or is no picture.
    """
    (told,) = decode_all([Task(path, want="facts")], side_px)
    if told.reason is not None:
        raise _unreadable(told.reason)
    if told.width_px * told.height_px > MOST_UPLOAD_PIXELS:
        raise Refused(413, "too_many_pixels", f"a picture may have {MOST_UPLOAD_PIXELS // 10**6} million pixels")
    box = _largest_face(path) if of_face else None
    (decoded,) = decode_all([Task(path, frame=frame, box=box)], side_px)
    if decoded.pixels is None:
        raise _unreadable(decoded.reason or "")
    return decoded.pixels


def _largest_face(path: str) -> Box | None:
    (told,) = decode_all([Task(path, want="faces")], 0)
    return largest(told.boxes) if told.boxes else None


def thumbnail_of(task: Task, side_px: int) -> tuple[bytes, bytes | None]:
    """The whole picture as WebP that fits into a square, and the hash of the content that it was made of."""
    (decoded,) = decode_all([task._replace(frame="look")], side_px)
    if decoded.pixels is None:
        raise _unreadable(decoded.reason or "")
    buffer = BytesIO()
    Image.fromarray(decoded.pixels).save(buffer, "WEBP", quality=WEBP_QUALITY)
    return buffer.getvalue(), decoded.content_hash


def _unreadable(reason: str) -> Refused:
    said = without_paths(reason or "it cannot be read", "it cannot be read")
    return Refused(422, "picture_refused", f"this is not a readable picture: {said}")
