"""What runs in a worker process: the other end of ``retrieval.pictures.workers``."""

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
    """A set of content hashes in one ascending piece, 16 bytes each, where Python's own set takes a hundred."""

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
    """Read known hashes and then lists of tasks from standard input; answer each task on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a decoder prints must not reach the answers
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
    """A function that has this process ended in so many seconds, whatever it is doing then; 0 takes it back."""
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # whoever started the program may have had it ignored
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        return lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    nowhere = open(os.devnull, "w")  # noqa: SIM115, it stays open as long as the process

    def end_after(seconds: float) -> None:  # by a thread, which costs some 0.1 ms a file
        if seconds:
            faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        else:
            faulthandler.cancel_dump_traceback_later()

    return end_after
