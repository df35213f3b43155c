"""Decode files in worker processes, so that a decoder that hangs, dies or is taken over affects only its file.

Each worker process reads tasks from its standard input and answers them one by one (``wire.py``). The system ends it if
a file takes too much processor time, even inside C code that never returns to the interpreter, and gives it no more
memory than ``limits.py`` says. The pool then refuses that file, starts a new worker process and continues. Processes
are started by a command line instead of ``multiprocessing``, so the caller's script needs no
``if __name__ == "__main__"``.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from io import FileIO
from itertools import islice
from pathlib import Path
from types import TracebackType

import numpy as np

import retrieval
from index.facts import Facts
from retrieval.arrays import Pixels
from retrieval.errors import LatentError, PictureRefused
from retrieval.pictures.limits import MEMORY_BYTES
from retrieval.pictures.tasks import WITH_PIXELS, Answer, Task
from retrieval.pictures.traits import Traits, read_traits
from retrieval.pictures.wire import COUNT, READY, NoAnswer, packed_task, read_answer

__all__ = ["CHUNK", "CHUNKS_AHEAD", "TIME_LIMIT_S", "Decoded", "DecoderPool", "Task", "cores", "decode", "stack"]


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return os.sep


TIME_LIMIT_S = 30.0  # of processor time, for a file
PATIENCE = 4  # times as long, by the clock on the wall, for one that only waits, as for a drive that does not answer
TICK_S = 1.0
CHUNK = 8  # files sent to a worker process at once: it does not wait for the parent in between
CHUNKS_AHEAD = 64  # worker processes continue to decode while the caller encodes a batch
KEEPING_MEMORY = {  # by default glibc returns large blocks and gets fresh pages: half of the time of a WebP
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "MALLOC_ARENA_MAX": "2",  # threads of decoders would reserve more of what is limited
    "OPENBLAS_NUM_THREADS": "1",
}
START = "import sys; from retrieval.pictures.worker_process import serve; serve(float(sys.argv[1]), int(sys.argv[2]))"
STARTED_IN = _current_folder()  # the meaning of "" in sys.path at import
PACKAGES = os.path.dirname(os.path.dirname(os.path.join(STARTED_IN, retrieval.__file__)))  # the folder of this copy
KILLED = 9  # SIGKILL, by number: not every system has the name
OUT_OF_TIME = 1 if sys.platform == "win32" else -signal.SIGPROF  # exit code of a worker process out of time


@dataclass(frozen=True)
class Decoded:
    """The result of a task: ``pixels`` uint8 (h, w, 3) of its frame, or None with the ``reason``, or with a known hash.

    If samples or traits were asked for, their ``digest`` (BLAKE2b) or ``traits`` stand in the place of pixels.
    ``passing``: the fault is not the file's, so it is read again next time. ``holds_more`` as in ``Answer``.
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

    def pixels_or_refusal(self) -> Pixels | PictureRefused:
        """The pixels, or the refusal that says why there are none, and names the file."""
        if self.pixels is not None:
            return self.pixels
        return PictureRefused(f"{self.task.path}: {self.reason}", passing=self.passing)


def decode(task: Task, size_px: int, known: Container[bytes] = frozenset()) -> Decoded:
    """Carry out one task in this process. A file whose content hash is in ``known`` is not decoded.

    Errors of the file do not raise; they become the ``reason``.
    """
    from retrieval.pictures.reading import carry_out

    answer = carry_out(task, size_px, known)
    return _decoded(task, answer, bytearray(answer.pixels or b""))


def _decoded(task: Task, answer: Answer, pixels: bytearray) -> Decoded:
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
    )


def cores() -> int:
    """The cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Chunk:
    """Some tasks for one worker process, which is ``worker`` while they are under way."""

    tasks: list[Task]
    worker: _Worker | None = None
    dropped: bool = False
    results: list[Decoded] = field(default_factory=list)


class DecoderPool:
    """Worker processes that decode files to frames of ``size_px``, except files whose content hash is in ``known``.

    >>> with DecoderPool(size_px=64) as pool:              # doctest: +SKIP
    ...     for decoded in pool.map(Task(path) for path in paths): ...
    """

    def __init__(
        self,
        size_px: int,
        workers: int | None = None,
        time_limit_s: float = TIME_LIMIT_S,
        known: Iterable[bytes] = frozenset(),
        memory_bytes: int = MEMORY_BYTES,
        chunk: int = CHUNK,
    ) -> None:
        self.workers = workers or cores()
        self._chunk = chunk
        self._size_px = size_px
        self._settings = (time_limit_s, memory_bytes, b"".join(sorted(known)))
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="decoder")
        self._local = threading.local()
        self._alive: set[_Worker] = set()
        self._spare: list[_Worker] = []
        self._lock = threading.Lock()
        self._closing = False

    def start(self) -> None:
        """Start a worker process and do not wait for it: the first task will find it ready."""
        worker = _Worker(*self._settings)
        with self._lock:
            self._alive.add(worker)
            self._spare.append(worker)

    def map(
        self, tasks: Iterable[Task], size_px: int | None = None, meanwhile: Callable[[], object] | None = None
    ) -> Iterator[Decoded]:
        """Yield one result per task, in order. Worker processes run ahead of the caller by ``CHUNKS_AHEAD``.

        ``size_px`` is that of the pool by default. ``meanwhile`` is called once the first tasks are under way.
        """
        side = int(self._size_px if size_px is None else size_px)
        remaining = iter(tasks)
        under_way: deque[tuple[_Chunk, Future[list[Decoded]]]] = deque()
        ahead = max(CHUNKS_AHEAD, 3 * self.workers)
        try:
            while True:
                while len(under_way) < ahead and (chunk := _Chunk(list(islice(remaining, self._chunk)))).tasks:
                    under_way.append((chunk, self._threads.submit(self._decode_chunk, chunk, side)))
                if meanwhile:
                    meanwhile()
                    meanwhile = None
                if not under_way:
                    return
                yield from under_way[0][1].result()
                under_way.popleft()
        except BaseException as error:
            if not isinstance(error, GeneratorExit):  # nobody waits for these: their workers must not keep on
                self._drop([chunk for chunk, _ in under_way])
            raise
        finally:
            for _, future in under_way:
                future.cancel()

    def _drop(self, chunks: list[_Chunk]) -> None:
        for chunk in chunks:
            chunk.dropped = True
            if (worker := chunk.worker) is not None:
                worker.process.kill()

    def _decode_chunk(self, chunk: _Chunk, size_px: int) -> list[Decoded]:
        results = chunk.results
        while len(results) < len(chunk.tasks) and not self._closing and not chunk.dropped:
            try:
                worker = chunk.worker = self._worker()
            except LatentError:
                if self._closing or chunk.dropped:
                    break
                raise
            if self._closing:  # close() may have missed a worker process that was still starting
                break
            try:
                for decoded in worker.decode(chunk.tasks[len(results) :], size_px):
                    results.append(decoded)
            except (EOFError, OSError, NoAnswer) as error:
                if not self._closing and not chunk.dropped:
                    reason, passing = worker.epitaph(error)
                    results.append(Decoded(chunk.tasks[len(results)], reason=reason, passing=passing))
                self._retire(worker)
        chunk.worker = None
        return results

    def _worker(self) -> _Worker:
        """The worker process of this thread, ready for tasks."""
        worker: _Worker | None = getattr(self._local, "worker", None)
        if worker is None:
            with self._lock:
                worker = self._spare.pop() if self._spare else None
            worker = worker or _Worker(*self._settings)
            with self._lock:
                self._alive.add(worker)
            try:
                worker.greet()
            except (OSError, EOFError) as error:
                self._retire(worker)
                raise LatentError("a decoder process could not start; is this installation whole?") from error
            self._local.worker = worker
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
            for worker in self._alive:
                worker.process.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._alive:  # also those that started meanwhile
            worker.end()

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Worker:
    """The parent's side of one worker process. It sends the ``known`` hashes once: ascending, in one bytes object."""

    def __init__(self, time_limit_s: float, memory_bytes: int, known: bytes = b"") -> None:
        self.time_limit_s, self._known = time_limit_s, known
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", START, repr(float(time_limit_s)), str(int(memory_bytes))],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # C libraries write warnings there
            env={**KEEPING_MEMORY, **os.environ, "PYTHONPATH": os.pathsep.join(_search_path())},
        )
        assert isinstance(self.process.stdin, FileIO) and isinstance(self.process.stdout, FileIO)
        self._to, self._from = self.process.stdin, self.process.stdout
        self._ready = select.poll() if hasattr(select, "poll") else None
        if self._ready:
            self._ready.register(self._from, select.POLLIN)

    def greet(self) -> None:
        """Wait until the process has started. Raises EOFError or OSError if it does not."""
        if self._read(len(READY)) != READY:
            raise EOFError
        self._send(COUNT.pack(len(self._known)))
        self._send(self._known)

    def decode(self, tasks: list[Task], size_px: int) -> Iterator[Decoded]:
        requests = [packed_task(_path_bytes(task.path), task, size_px) for task in tasks]
        self._send(COUNT.pack(len(tasks)) + b"".join(requests))
        for task in tasks:
            answer, pixels = read_answer(self._read, task, size_px)
            yield _decoded(task, answer, pixels)

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._to.write(rest) :]

    def _read(self, count: int) -> bytearray:
        """So many bytes of an answer. Raises EOFError if the process has ended, and TimeoutError if it only waits."""
        data = bytearray(count)
        rest = memoryview(data)
        patience_ticks = PATIENCE * self.time_limit_s / TICK_S
        while rest:
            # Ticks are counted and no clock is read: this process may be stopped meanwhile, for days.
            while self._ready and not self._ready.poll(1000 * TICK_S):
                patience_ticks -= 1
                if patience_ticks <= 0:
                    raise TimeoutError
            if not (read := self._from.readinto(rest)):
                raise EOFError
            rest = rest[read:]
        return data

    def epitaph(self, error: Exception) -> tuple[str, bool]:
        """Why the process ended, as the reason for its current file, and whether that fault is ``passing``."""
        if isinstance(error, TimeoutError):
            self.process.kill()
            return f"decoder waited longer than {PATIENCE * self.time_limit_s:g} s", True
        if isinstance(error, NoAnswer):
            self.process.kill()
            return "decoder gave an answer that is none", False
        code = self.process.wait()
        if code == OUT_OF_TIME:
            return f"decoder took longer than {self.time_limit_s:g} s of processor time", False
        if code < 0:
            return f"decoder died of {_signal_name(-code)}", -code == KILLED  # sent if memory is short
        return f"decoder died with exit code {code}", False

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._to.close()
        self._from.close()


def _path_bytes(path: str) -> bytes:
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:  # no file has such a name, and its worker will say so
        return path.encode("utf-8", "surrogatepass")


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
