"""Warnings of other libraries, ignored for the thread that works with them and for no other.

``warnings.catch_warnings`` replaces the filters of the whole process and puts the old ones back at its end. In two
threads at once it hides what a third has to say, and may leave its own filter behind for good.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class _Text(threading.local):
    """Stands in a filter in the place of a pattern: in a thread that set ``match`` it matches any text, else none.

    Both are functions in C: filters are walked without a line of Python, in which another thread could change them.
    """

    match: Callable[[object], object] = staticmethod(callable)  # which no text is


@contextmanager
def ignoring_warnings() -> Iterator[None]:
    """Within it this thread's warnings are ignored, whatever the filters say; those of other threads are not."""
    text = _Text()
    text.match = id  # never 0
    ignoring: Any = ("ignore", text, Warning, None, 0)
    filters: Any = warnings.filters
    filters.insert(0, ignoring)
    try:
        yield
    finally:
        del text.match  # somebody may have saved the filters meanwhile, and restore them
        now: Any = warnings.filters
        for place in (filters, now):
            with suppress(ValueError):
                place.remove(ignoring)
