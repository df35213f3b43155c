"""The code that runs in a worker process of ``retrieval.pictures.workers``."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import signal
import sys
from bisect import bisect_left
from collections.abc import Callable

from retrieval.pictures.workers import READY, Task, decode

HASH_BYTES = 16


class Hashes:
    """A set of content hashes, stored ascending in one bytes object: 16 bytes each, where a Python set takes 100."""

    def __init__(self, ascending: bytes) -> None:
        self._ascending = ascending
        self._places = range(len(ascending) // HASH_BYTES)

    def __contains__(self, content_hash: object) -> bool:
        if not isinstance(content_hash, bytes):
            return False
        place = bisect_left(self._places, content_hash, key=self._at)
        return place < len(self._places) and self._at(place) == content_hash

    def _at(self, place: int) -> bytes:
        return self._ascending[place * HASH_BYTES : (place + 1) * HASH_BYTES]


def serve(size_px: int, time_limit_s: float) -> None:
    """Read the known hashes and then lists of tasks from standard input; answer each task on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # text that a decoder prints must not get between the answers
    answers.write(READY)
    answers.flush()
    end_after = _alarm()
    with contextlib.suppress(EOFError):  # the parent is done, or gone
        known = Hashes(pickle.load(sys.stdin.buffer))
        while True:
            tasks: list[Task] = pickle.load(sys.stdin.buffer)
            for task in tasks:
                end_after(time_limit_s)
                decoded = decode(task, size_px, known)
                end_after(0)
                pickle.dump(decoded, answers, protocol=pickle.HIGHEST_PROTOCOL)
                answers.flush()


def _alarm() -> Callable[[float], object]:
    """Return a function that ends this process after so many seconds, whatever it is doing; 0 cancels that."""
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the parent may ignore it, and that is inherited
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        return lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    nowhere = open(os.devnull, "w")  # noqa: SIM115, it stays open as long as the process

    def end_after(seconds: float) -> None:  # by a thread, which costs some 0.1 ms a file
        if seconds:
            faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        else:
            faulthandler.cancel_dump_traceback_later()

    return end_after
