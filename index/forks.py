"""What must not be used after a fork: threads, and all that waits for them.

A child has only the thread that called ``os.fork``. Locks that other threads held stay locked, thread pools (OpenMP's
in FAISS, ONNX Runtime's) wait for ever, and SQLite's connections must not be used on both sides. Objects that hold
such things are notified in the child, and open them again on next use. Locks inside a library cannot be made anew:
SQLite's allocator has one for the whole process, and FAISS has one that it holds while it asks for Python's. So a fork
waits until no other thread is in such a library (``held``).
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from index.errors import ForkUnsafe

PATIENCE_S = 2.0  # longest wait of a fork for the libraries that other threads are in


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


class _Gate:
    """Counts the threads that are in libraries with locks, and lets none enter while one forks."""

    def __init__(self) -> None:
        self.safe = True
        self._depths: dict[int, int] = {}  # by thread
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._forking = 0

    def enter(self) -> None:
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: not self._forking or me in self._depths)
            self._depths[me] = self._depths.get(me, 0) + 1

    def leave(self) -> None:
        me = threading.get_ident()
        with self._changed:
            self._depths[me] -= 1
            if not self._depths[me]:
                del self._depths[me]
                self._changed.notify_all()

    def _others(self) -> set[int]:
        return self._depths.keys() - {threading.get_ident()}

    def before_fork(self) -> None:
        with self._changed:
            self._forking += 1
            self._changed.wait_for(lambda: not self._others(), PATIENCE_S)

    def after_in_parent(self) -> None:
        with self._changed:
            self._forking -= 1
            self._changed.notify_all()

    def after_in_child(self) -> None:
        for gone in self._others():
            self.safe = False
            del self._depths[gone]
        self._begin()


_gate = _Gate()


@contextmanager
def held() -> Iterator[None]:
    """Inside, this thread is in a library whose locks a child could not release; forks by other threads wait.

    Raises:
        ForkUnsafe: this process is the child of a fork that waited ``PATIENCE_S`` in vain.
    """
    if not _gate.safe:
        raise ForkUnsafe(
            "this process was forked while another thread was at work in SQLite or FAISS, and would wait for it for "
            "ever; fork before the threads begin, or start processes by spawn"
        )
    _gate.enter()
    try:
        yield
    finally:
        _gate.leave()


def _after_in_child() -> None:
    _gate.after_in_child()
    for holder in list(_watched):
        holder.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_gate.before_fork, after_in_parent=_gate.after_in_parent, after_in_child=_after_in_child)
