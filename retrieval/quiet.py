"""Ignore the warnings of other libraries in one thread only.

``warnings.catch_warnings`` replaces the filters of the whole process and restores the old ones at its end. If two
threads use it at once, it hides the warnings of a third, and may leave its filter behind for ever.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class _Text(threading.local):
    """Takes the place of a pattern in a filter. It matches any text in a thread that set ``match``, and none in others.

    Both functions are in C: no Python code runs while the filters are walked, so no other thread can change them then.
    """

    match: Callable[[object], object] = staticmethod(callable)  # false for any text


@contextmanager
def ignoring_warnings() -> Iterator[None]:
    """Ignore this thread's warnings inside, whatever the filters say. Other threads keep theirs."""
    text = _Text()
    text.match = id  # never 0
    ignoring: Any = ("ignore", text, Warning, None, 0)
    filters: Any = warnings.filters
    filters.insert(0, ignoring)
    try:
        yield
    finally:
        del text.match  # another thread may have saved the filters, and restore them later
        now: Any = warnings.filters
        for place in (filters, now):
            with suppress(ValueError):
                place.remove(ignoring)
