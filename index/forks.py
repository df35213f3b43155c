"""What must not be carried into a forked process: threads end there, and with them all that waits for one.

A child has the thread that called ``os.fork`` and no other. Locks that others held stay locked, thread pools (OpenMP's
in FAISS, ONNX Runtime's) wait for ever, and SQLite's connections are not to be used on both sides. Whoever holds such
things is told in the child, and opens them anew when they are next needed.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Protocol


class Forked(Protocol):
    def after_fork(self) -> None:
        """In the child: let go of locks, threads and connections, without a word to the parent."""


_watched: weakref.WeakSet[Forked] = weakref.WeakSet()


def watch(holder: Forked) -> None:
    """Have ``holder.after_fork`` called in every child from now on."""
    _watched.add(holder)


def abandon(thing: object) -> None:
    """Never destroy ``thing`` in this process: its destructor would wait for threads that the child does not have."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _tell() -> None:
    for holder in list(_watched):
        holder.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell)
