"""What must not be used after a fork: threads, and all that waits for them.

A child has only the thread that called ``os.fork``. Locks that other threads held stay locked, thread pools (OpenMP's
in FAISS, ONNX Runtime's) wait for ever, and SQLite's connections must not be used on both sides. Objects that hold
such things are notified in the child, and open them again on next use.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Protocol


class Forked(Protocol):
    def after_fork(self) -> None:
        """Called in the child: abandon locks, threads and connections, without affecting the parent."""


_watched: weakref.WeakSet[Forked] = weakref.WeakSet()


def watch(holder: Forked) -> None:
    """Call ``holder.after_fork`` in every child from now on."""
    _watched.add(holder)


def abandon(thing: object) -> None:
    """Never destroy ``thing`` in this process: its destructor would wait for threads that a child does not have."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _tell() -> None:
    for holder in list(_watched):
        holder.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell)
