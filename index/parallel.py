"""Calls in threads of their own, of which none is waited for beyond a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TypeVar

from index.errors import IndexUnreachable

T = TypeVar("T")
Call = Callable[[], T]


def answered(
    calls: Mapping[int, Call[T]], timeout_s: float, meanwhile: Mapping[int, Call[T]] | None = None
) -> dict[int, T | Exception]:
    """What each call returned or raised, by its key; IndexUnreachable for those that did not end in time.

    ``meanwhile`` are called in this thread, and have no limit of time.
    """
    told: SimpleQueue[tuple[int, T | Exception]] = SimpleQueue()
    for key, call in calls.items():
        # Daemons: one that hangs, as on a lost network drive, must not keep the program from ending.
        threading.Thread(target=lambda *words: told.put(_called(*words)), args=(key, call), daemon=True).start()
    ends_s = monotonic() + timeout_s
    answers = dict(_called(key, call) for key, call in (meanwhile or {}).items())
    waited_for = set(calls)
    while waited_for:
        try:
            key, answer = told.get(timeout=max(0.0, ends_s - monotonic()))
        except Empty:
            return answers | {key: IndexUnreachable(f"no answer in {timeout_s:g} s") for key in waited_for}
        answers[key] = answer
        waited_for.discard(key)
    return answers


def _called(key: int, call: Call[T]) -> tuple[int, T | Exception]:
    try:
        return key, call()
    except Exception as error:
        return key, error
