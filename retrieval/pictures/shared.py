"""The worker processes that decode single pictures: queries, thumbnails, comparisons. One pool for the whole process.

Workers start when they are first needed, and stay until the process ends, so that a further query waits for none.
"""

from __future__ import annotations

import atexit
import os
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from tempfile import NamedTemporaryFile

from index.forks import abandon, watch
from retrieval.arrays import Pixels
from retrieval.errors import PictureRefused
from retrieval.pictures.tasks import Frame, Task
from retrieval.pictures.workers import Decoded, DecoderPool, cores

OWN_STREAMS = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
BLOCK_BYTES, MOST_BYTES = 1 << 20, 1 << 30  # of a pipe; a picture that is cut off there is refused


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


def decode_all(tasks: Sequence[Task], size_px: int, meanwhile: Callable[[], object] | None = None) -> list[Decoded]:
    """Decode to frames of ``size_px``, one result per task, in order. ``meanwhile`` is called once they began."""
    with ExitStack() as spools:
        readable = [_spooled(task, spools) for task in tasks]
        decoded = list(_shared.pool().map(readable, size_px, meanwhile))
    return [replace(one, task=task) for one, task in zip(decoded, tasks, strict=True)]


def _spooled(task: Task, spools: ExitStack) -> Task:
    """A task that a worker process can carry out: what comes through a pipe of this process is written to a file."""
    if not task.path.startswith(OWN_STREAMS):
        return task
    file = spools.enter_context(NamedTemporaryFile(prefix="latent-"))  # noqa: SIM115, the caller closes it
    try:
        with open(task.path, "rb") as stream:
            if not stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode):
                return task
            while len(block := stream.read(BLOCK_BYTES)) and file.tell() <= MOST_BYTES:
                file.write(block)
    except OSError:
        return task  # and the worker says why
    file.flush()
    return task._replace(path=file.name)


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
