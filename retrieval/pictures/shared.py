"""The worker processes that decode single pictures: queries, thumbnails, comparisons. One pool for the whole process.

Workers start when they are first needed, and stay until the process ends, so that a further query waits for none.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterable

from index.forks import abandon, watch
from retrieval.arrays import Pixels
from retrieval.errors import PictureRefused
from retrieval.pictures.tasks import Frame, Task
from retrieval.pictures.workers import Decoded, DecoderPool, cores


class _Shared:
    """Opens the pool on first use, in each process its own."""

    def __init__(self) -> None:
        self._begin()
        watch(self)
        atexit.register(self.close)

    def _begin(self) -> None:
        self._pool: DecoderPool | None = None
        self._opening = threading.Lock()

    def pool(self) -> DecoderPool:
        with self._opening:
            self._pool = self._pool or DecoderPool(size_px=0, chunk=1)
            return self._pool

    def close(self) -> None:
        with self._opening:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def after_fork(self) -> None:
        if self._pool is not None:
            abandon(self._pool)  # the workers are those of the parent
        self._begin()


_shared = _Shared()


def start() -> None:
    """Start a worker process now, if there is a core for it: before the file that it will decode is known."""
    if cores() > 1:
        _shared.pool().start()


def decode_all(tasks: Iterable[Task], size_px: int, meanwhile: Callable[[], object] | None = None) -> list[Decoded]:
    """Decode to frames of ``size_px``, one result per task, in order. ``meanwhile`` is called once they began."""
    return list(_shared.pool().map(tasks, size_px, meanwhile))


def frame_of(path: str | os.PathLike[str], size_px: int, frame: Frame) -> Pixels:
    """One frame of one picture, uint8 (h, w, 3).

    Raises:
        PictureRefused: there is none; the message names the file.
    """
    (decoded,) = decode_all([Task(os.fspath(path), frame=frame)], size_px)
    pixels = decoded.pixels_or_refusal()
    if isinstance(pixels, PictureRefused):
        raise pixels
    return pixels
