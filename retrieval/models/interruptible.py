"""Calls into a library that returns only when it likes to, and is deaf to Ctrl-C.

Python handles a signal in the main thread, between two of its own instructions; a library that does not return lets
none through. So the main thread has such calls made by another thread, and waits: waiting can be interrupted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any, TypeVar

GRACE_S = 2.0  # for the library to notice that it should stop
T = TypeVar("T")

_Work = SimpleQueue[tuple[Future[Any], Callable[[], Any]]]
_idle: list[_Work] = []  # of the thread that waits for work, if there is one


def interruptible(call: Callable[[], T], stop: Callable[[], object]) -> T:
    """The result of ``call``. If the main thread is interrupted while it waits for it, ``stop`` asks the call to end.

    A call that does not end is left behind: its thread ends with the process.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    work = _idle.pop() if _idle else _new_thread()
    done: Future[T] = Future()
    try:
        work.put((done, call))
        return done.result()
    except BaseException:
        if not done.done():
            stop()
            wait([done], GRACE_S)
        raise
    finally:
        if done.done() and not _idle:
            _idle.append(work)


def _new_thread() -> _Work:
    work: _Work = SimpleQueue()
    threading.Thread(target=_serve, args=(work,), name="latent-models", daemon=True).start()
    return work


def _serve(work: _Work) -> None:
    while True:
        done, call = work.get()
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)
        del done, call  # else they keep a batch and its session until the next call


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a child has no other thread
