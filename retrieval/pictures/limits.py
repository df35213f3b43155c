"""The limits of a worker process: memory, files and time. What the system cannot limit is left out.

Pictures come from anywhere. One that makes its decoder want all memory, or run for ever, ends at a limit, and so does
nothing to the machine.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

MEMORY_BYTES = (
    3 << 30
)  # of address space: enough for MOST_PIXELS, four copies with four bytes each; or for MOST_COEFFICIENT_BYTES
MOST_FILES = 64
SPARE_BYTES = 64 << 20


def limit_process(memory_bytes: int) -> None:
    """Limit what this process may ever use: memory, open files, no written file and no core file."""
    # If the machine runs short of memory after all, this process goes, and not its parent.
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    if sys.platform == "win32":
        return
    import resource

    limits = (("AS", memory_bytes), ("NOFILE", MOST_FILES), ("FSIZE", 0), ("CORE", 0))
    for name, most in limits:
        with suppress(OSError, ValueError, AttributeError):  # not every system has each, or lets it be set
            _lower(getattr(resource, f"RLIMIT_{name}"), most)


def _lower(kind: int, most: int) -> None:
    import resource

    soft, hard = (most if now == resource.RLIM_INFINITY else min(now, most) for now in resource.getrlimit(kind))
    resource.setrlimit(kind, (soft, hard))


def has_memory_to_limit(memory_bytes: int) -> bool:
    """Whether the machine would give this process all memory that ``limit_process`` allows it.

    So what was refused to a decoder was refused by the limit, and will be again. False if that cannot be told.
    """
    try:
        import resource

        if resource.getrlimit(resource.RLIMIT_AS)[0] != memory_bytes:
            return False
        with open("/proc/self/statm") as sizes:
            used = int(sizes.read().split()[0]) * mmap.PAGESIZE
        if (left := memory_bytes - used - SPARE_BYTES) > 0:
            mmap.mmap(-1, left).close()
    except (ImportError, OSError, ValueError):
        return False
    return True


def alarm() -> Callable[[float], object]:
    """Return a function that ends this process after so many seconds of processor time, in any code; 0 cancels that.

    Time in which the process is stopped, or waits, does not count: a laptop that sleeps is no fault of the file.
    """
    if sys.platform != "win32":
        signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the parent may ignore it, and that is inherited
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
        return lambda seconds: signal.setitimer(signal.ITIMER_PROF, seconds)
    nowhere = open(os.devnull, "w")  # noqa: SIM115, it stays open as long as the process

    def end_after(seconds: float) -> None:  # by a thread and the clock on the wall, which costs some 0.1 ms a file
        if seconds:
            faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        else:
            faulthandler.cancel_dump_traceback_later()

    return end_after
