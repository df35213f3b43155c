"""Decode files in worker processes, so that a decoder that hangs, dies or is taken over affects only its file.

Each worker process (``worker.py``) reads tasks from its standard input and answers them one by one (``wire.py``). If a
file takes too much time or memory, the system ends the process. The pool then refuses that file, starts a new worker
process and continues.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from types import TracebackType

from retrieval.errors import LatentError, PictureRefused
from retrieval.pictures.decoded import Decoded, decode, stack
from retrieval.pictures.limits import MEMORY_BYTES
from retrieval.pictures.tasks import Task
from retrieval.pictures.wire import NoAnswer
from retrieval.pictures.worker import TIME_LIMIT_S, Worker
from retrieval.roots.at_hand import at_hand, batches

__all__ = ["CHUNK", "CHUNKS_AHEAD", "TIME_LIMIT_S", "Decoded", "DecoderPool", "Task", "cores", "decode", "stack"]

CHUNK = 8  # files sent to a worker process at once: it does not wait for the parent in between
CHUNKS_AHEAD = 64  # as many tasks: worker processes continue to decode while the caller encodes a batch


def cores() -> int:
    """The cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Chunk:
    """Some tasks for one worker process, which is ``worker`` while they are under way."""

    tasks: list[Task]
    worker: Worker | None = None
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
        self._alive: set[Worker] = set()
        self._spare: list[Worker] = []
        self._lock = threading.Lock()
        self._closing = False

    def start(self) -> None:
        """Start a worker process and do not wait for it: the first task will find it ready."""
        worker = Worker(*self._settings)
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
        remaining = _chunks(tasks, self._chunk)
        under_way: deque[tuple[_Chunk, Future[list[Decoded]]]] = deque()
        try:
            while True:
                while self._may_run_ahead([chunk for chunk, _ in under_way]) and (chunk := next(remaining, None)):
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

    def _may_run_ahead(self, under_way: Sequence[_Chunk]) -> bool:
        tasks = sum(len(chunk.tasks) for chunk in under_way)
        return len(under_way) < 3 * self.workers or tasks < CHUNKS_AHEAD * self._chunk

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
                for decoded in _decoded(worker, chunk.tasks[len(results) :], size_px):
                    results.append(decoded)
            except (EOFError, OSError, NoAnswer) as error:
                if not self._closing and not chunk.dropped:
                    reason, passing = worker.epitaph(error)
                    results.append(Decoded(chunk.tasks[len(results)], reason=reason, passing=passing))
                self._retire(worker)
        chunk.worker = None
        return results

    def _worker(self) -> Worker:
        """The worker process of this thread, ready for tasks."""
        worker: Worker | None = getattr(self._local, "worker", None)
        if worker is None:
            with self._lock:
                worker = self._spare.pop() if self._spare else None
            worker = worker or Worker(*self._settings)
            with self._lock:
                self._alive.add(worker)
            try:
                worker.greet()
            except (OSError, EOFError) as error:
                self._retire(worker)
                raise LatentError("a decoder process could not start; is this installation whole?") from error
            self._local.worker = worker
        return worker

    def _retire(self, worker: Worker) -> None:
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


def _chunks(tasks: Iterable[Task], count: int) -> Iterator[_Chunk]:
    """``count`` tasks each, or some more: regions of one file are not parted, since it is decoded once for some."""
    remaining, following = iter(tasks), list[Task]()
    while some := [*following, *islice(remaining, count - len(following))]:
        following = [] if some[-1].box is None else [*islice(remaining, 1)]
        while following and following[0].box is not None and following[0].source == some[-1].source:
            some += following
            following = [*islice(remaining, 1)]
        yield _Chunk(some)


def _decoded(worker: Worker, tasks: list[Task], size_px: int) -> Iterator[Decoded]:
    """The results of tasks, in order. Pictures that are no files are brought to this machine, a few at once."""
    for some in batches(tasks):
        with at_hand(some) as ready:
            answers = worker.decode([one for one in ready if isinstance(one, Task)], size_px)
            for task, one in zip(some, ready, strict=True):
                if isinstance(one, PictureRefused):
                    yield Decoded(task, reason=str(one), passing=one.passing)
                else:
                    yield replace(next(answers), task=task)
