"""The code that runs in a worker process of ``retrieval.pictures.workers``."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from bisect import bisect_left
from io import FileIO

from PIL import Image

from retrieval.pictures.decode import NO_MEMORY
from retrieval.pictures.limits import alarm, has_memory_to_limit, limit_process
from retrieval.pictures.reading import carry_out
from retrieval.pictures.tasks import Answer
from retrieval.pictures.wire import HASH_BYTES, READY, packed_answer, read_block, read_count, read_task


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


def serve(time_limit_s: float, memory_bytes: int) -> None:
    """Read the known hashes and then lists of tasks from standard input; answer each task on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    sys.dont_write_bytecode = True
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # text that a decoder prints must not get between the answers
    answers.write(READY)
    Image.preinit()  # the usual formats, while the first task is on its way
    end_after = alarm()
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent is done, or gone
        ascending = read_block(sys.stdin.buffer)
        known, most_bytes = Hashes(ascending), memory_bytes + len(ascending)
        limit_process(most_bytes)
        while True:
            requests = [read_task(sys.stdin.buffer) for _ in range(read_count(sys.stdin.buffer))]
            for path, source, task, size_px in requests:
                end_after(time_limit_s)
                named = task._replace(path=os.fsdecode(path), source=os.fsdecode(source) or None)
                answer = carry_out(named, size_px, known)
                end_after(0)
                _send(answers, packed_answer(_explained(answer, memory_bytes, most_bytes)))


def _send(answers: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[answers.write(rest) :]


def _explained(answer: Answer, memory_bytes: int, most_bytes: int) -> Answer:
    """Tell a file that needs too much memory, today and tomorrow, from a machine that is short of it today."""
    if answer.reason == NO_MEMORY and has_memory_to_limit(most_bytes):
        return answer._replace(reason=f"needs more than {memory_bytes / 2**30:g} GiB of memory", passing=False)
    return answer
