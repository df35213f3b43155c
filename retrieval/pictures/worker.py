"""The parent's side of a worker process.

The system ends the process if a file takes too much processor time, even inside C code that never returns to the
interpreter, and gives it no more memory than ``limits.py`` says. It is started by a command line instead of
``multiprocessing``, so the caller's script needs no ``if __name__ == "__main__"``.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import retrieval
from retrieval.pictures.decoded import Decoded, decoded_of
from retrieval.pictures.tasks import Task
from retrieval.pictures.wire import COUNT, READY, NoAnswer, packed_task, read_answer


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return os.sep


TIME_LIMIT_S = 30.0  # of processor time, for a file
PATIENCE = 4  # times as long, by the clock on the wall, for one that only waits, as for a drive that does not answer
TICK_S = 1.0
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


class Worker:
    """One worker process. It is sent the ``known`` hashes once: ascending, in one bytes object."""

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
        requests = [packed_task(_place(one), _path_bytes(one.source or ""), one, size_px) for one in tasks]
        self._send(COUNT.pack(len(tasks)) + b"".join(requests))
        for task in tasks:
            answer, pixels = read_answer(self._read, task, size_px)
            yield decoded_of(task, answer, pixels)

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


def _place(task: Task) -> bytes:
    """The path from the root, unless it is only a name: the caller may have gone to another folder since the start."""
    name = _path_bytes(task.path)
    try:
        return name if task.source else os.path.join(os.getcwdb(), name)
    except OSError:  # the current folder was deleted
        return name


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
