"""Decode files in worker processes, so that a decoder that hangs or dies affects only its file.

Each worker process reads tasks from its standard input and answers them one by one. The system's alarm ends the process
if a file takes too long, even inside C code that never returns to the interpreter. The pool then refuses that file,
starts a new worker process and continues. Processes are started by a command line instead of ``multiprocessing``, so
the caller's script needs no ``if __name__ == "__main__"``.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import xxhash

import retrieval
from retrieval.arrays import Pixels
from retrieval.errors import LatentError, PictureRefused
from retrieval.pictures.decode import identified, read_square


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return os.sep


TIME_LIMIT_S = 30.0
CHUNK = 8  # files sent to a worker process at once: it does not wait for the parent in between
CHUNKS_AHEAD = 64  # worker processes continue to decode while the caller encodes a batch
READ_BYTES = 1 << 20
READY = b"ready"
KEEPING_MEMORY = {  # by default glibc returns large blocks and gets fresh pages: half of the time of a WebP
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
START = "import sys; from retrieval.pictures.worker_process import serve; serve(int(sys.argv[1]), float(sys.argv[2]))"
STARTED_IN = _current_folder()  # the meaning of "" in sys.path at import
PACKAGES = os.path.dirname(os.path.dirname(os.path.join(STARTED_IN, retrieval.__file__)))  # the folder of this copy
KILLED = 9  # SIGKILL, by number: not every system has the name
OUT_OF_TIME = 1 if sys.platform == "win32" else -signal.SIGALRM  # exit code of a worker process out of time


@dataclass(frozen=True)
class Task:
    """A file to decode, or ``length`` bytes at ``offset`` in a file (a member of an archive).

    A file of known content is decoded only with ``force``. ``whole`` squeezes the whole picture into the square; by
    default the central square is cropped.
    """

    path: str
    offset: int = 0
    length: int | None = None
    whole: bool = False
    force: bool = False


@dataclass(frozen=True)
class Decoded:
    """The result of a task: ``pixels`` uint8 (size, size, 3), or None with the ``reason``, or None with a known hash.

    ``passing``: the fault is not the file's, so it is read again next time.
    """

    task: Task
    content_hash: bytes | None = None
    pixels: Pixels | None = None
    width_px: int = 0
    height_px: int = 0
    reason: str | None = None
    passing: bool = False


def decode(task: Task, size_px: int, known: Container[bytes] = frozenset()) -> Decoded:
    """Carry out one task in this process. A file whose content hash is in ``known`` is not decoded.

    Errors of the file do not raise; they become the ``reason``.
    """
    content_hash = None
    try:
        with open(task.path, "rb") as file:
            source = BytesIO(_segment(file, task)) if task.length is not None else file
            with identified(source) as image:  # before hashing: a file that is not a picture may be huge
                content_hash = hash_of(source)
                if content_hash in known and not task.force:
                    return Decoded(task, content_hash)
                picture = read_square(image, size_px, task.whole)
    except PictureRefused as refusal:
        return Decoded(task, content_hash, reason=str(refusal), passing=refusal.passing)
    except MemoryError:
        return Decoded(task, content_hash, reason="not enough memory to decode it", passing=True)
    except OSError as error:
        return Decoded(task, content_hash, reason=f"cannot be read: {error.strerror or error}", passing=True)
    return Decoded(task, content_hash, picture.pixels, picture.width_px, picture.height_px)


def _segment(file: IO[bytes], task: Task) -> bytes:
    file.seek(task.offset)
    return file.read(task.length if task.length is not None else -1)


def hash_of(source: IO[bytes]) -> bytes:
    """XXH3, 128 bits: recognises a renamed file at the speed of memory. It is no defence against forgery."""
    digest = xxhash.xxh3_128()
    position = source.tell()
    source.seek(0)
    while block := source.read(READ_BYTES):
        digest.update(block)
    source.seek(position)  # where the decoder left it
    return digest.digest()


class DecoderPool:
    """Worker processes that decode files to squares of ``size_px``, except files whose content hash is in ``known``.

    >>> with DecoderPool(size_px=64) as pool:              # doctest: +SKIP
    ...     for decoded in pool.map(Task(path) for path in paths): ...
    """

    def __init__(
        self,
        size_px: int,
        workers: int | None = None,
        time_limit_s: float = TIME_LIMIT_S,
        known: Iterable[bytes] = frozenset(),
    ) -> None:
        self.workers = workers or os.cpu_count() or 1
        self._settings = (size_px, time_limit_s, b"".join(sorted(known)))
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="decoder")
        self._local = threading.local()
        self._alive: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closing = False

    def map(self, tasks: Iterable[Task]) -> Iterator[Decoded]:
        """Yield one result per task, in order. Worker processes run ahead of the caller by ``CHUNKS_AHEAD``."""
        remaining = iter(tasks)
        under_way: deque[Future[list[Decoded]]] = deque()
        ahead = max(CHUNKS_AHEAD, 3 * self.workers)
        try:
            while True:
                while len(under_way) < ahead and (chunk := list(islice(remaining, CHUNK))):
                    under_way.append(self._threads.submit(self._decode_chunk, chunk))
                if not under_way:
                    return
                yield from under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()

    def _decode_chunk(self, chunk: list[Task]) -> list[Decoded]:
        results: list[Decoded] = []
        while len(results) < len(chunk) and not self._closing:
            worker = self._worker()
            if self._closing:  # close() may have missed a worker process that was still starting
                break
            try:
                for decoded in worker.decode(chunk[len(results) :]):
                    results.append(decoded)
            except (EOFError, OSError, pickle.UnpicklingError):
                if not self._closing:
                    reason, passing = worker.epitaph()
                    results.append(Decoded(chunk[len(results)], reason=reason, passing=passing))
                self._retire(worker)
        return results

    def _worker(self) -> _Worker:
        worker: _Worker | None = getattr(self._local, "worker", None)
        if worker is None:
            worker = self._local.worker = _Worker(*self._settings)
            with self._lock:
                self._alive.add(worker)
        return worker

    def _retire(self, worker: _Worker) -> None:
        self._local.worker = None
        with self._lock:
            self._alive.discard(worker)
        worker.end()

    def close(self) -> None:
        """End the worker processes at once."""
        self._closing = True
        with self._lock:
            alive = list(self._alive)
        for worker in alive:
            worker.end()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._alive - set(alive):  # started while the others were ended
            worker.end()

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Worker:
    """The parent's side of one worker process. It sends the ``known`` hashes once: ascending, in one bytes object."""

    def __init__(self, size_px: int, time_limit_s: float, known: bytes = b"") -> None:
        self.time_limit_s = time_limit_s
        self.busy_since = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", START, str(int(size_px)), repr(float(time_limit_s))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # C libraries write warnings there
            env={**KEEPING_MEMORY, **os.environ, "PYTHONPATH": os.pathsep.join(_search_path())},
        )
        try:
            self._greet(known)
        except (OSError, EOFError) as error:
            self.end()
            raise LatentError("a decoder process could not start; is this installation whole?") from error

    def _greet(self, known: bytes) -> None:
        assert self.process.stdin and self.process.stdout
        if self.process.stdout.read(len(READY)) != READY:
            raise EOFError
        pickle.dump(known, self.process.stdin)
        self.process.stdin.flush()

    def decode(self, tasks: list[Task]) -> Iterator[Decoded]:
        assert self.process.stdin and self.process.stdout
        pickle.dump(tasks, self.process.stdin)
        self.process.stdin.flush()
        for _ in tasks:
            self.busy_since = time.monotonic()
            yield pickle.load(self.process.stdout)

    def epitaph(self) -> tuple[str, bool]:
        """Why the process ended, as the reason for its current file, and whether that fault is ``passing``."""
        code = self.process.wait()
        # Half the limit: the clock here starts later than that of the worker process.
        if code == OUT_OF_TIME and time.monotonic() - self.busy_since > self.time_limit_s / 2:
            return f"decoder took longer than {self.time_limit_s:g} s", False
        if code < 0:
            return f"decoder died of {_signal_name(-code)}", -code == KILLED  # sent if memory is short
        return f"decoder died with exit code {code}", False

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # the buffer holds an unsent chunk, and the process is dead
                    pipe.close()


def _search_path() -> list[str]:
    """The module search path of a worker process: that of this process, so that it imports this copy of the package.

    The folder of this copy is put in front only if another copy, or none, would be found without it: other files beside
    an installed package must not hide modules of the standard library.
    """
    places = [os.path.join(STARTED_IN, place) if place else STARTED_IN for place in sys.path]
    first = next((place for place in places if Path(place, "retrieval", "__init__.py").exists()), None)
    return places if first == PACKAGES else [PACKAGES, *places]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def stack(pictures: list[Decoded]) -> Pixels:
    """Stack the pictures that could be decoded: uint8 (n, size, size, 3)."""
    return np.stack([picture.pixels for picture in pictures if picture.pixels is not None])
