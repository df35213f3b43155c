"""``python -m tests.killed POINT INDEX MODEL``: migrate an index, and be killed at a named point of the switch."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from typing import Any

from index.local.store import SearchedWriter, StoreWriter
from index.local.writing import CatalogWriter
from index.server.store import ServerStoreWriter
from retrieval import Library

POINTS: dict[str, tuple[list[Any], str, bool, int, bool]] = {
    "before the switch": ([StoreWriter, ServerStoreWriter], "change_model", True, 1, False),
    "rows written, model not yet": ([CatalogWriter], "change_model", True, 1, False),
    "all written, not committed": ([SearchedWriter], "drop_caches", False, 1, False),
    "committed, older model there": ([StoreWriter], "recover_model", True, 3, True),  # after two that open a folder
    "committed, caches there": ([SearchedWriter], "drop_caches", True, 2, True),
    "before new caches": ([SearchedWriter], "refresh_caches", True, 1, True),
    "before the end": ([SearchedWriter], "clear_staging", True, 2, True),  # after one that finds nothing to clear
}
"""Classes, their method, whether to die before it or after it, in which call, and whether the index is new then."""


def dying(act: Callable[..., Any], first: bool, call: int) -> Callable[..., Any]:
    calls = count(1)

    def die(*words: Any, **more: Any) -> Any:
        if next(calls) < call:
            return act(*words, **more)
        if not first:
            act(*words, **more)
        return os.kill(os.getpid(), signal.SIGKILL)

    return die


def main(point: str, index: str, model: str) -> None:
    classes, name, first, call, _ = POINTS[point]
    with Library.open(index) as library:
        for one in classes:
            setattr(one, name, dying(getattr(one, name), first, call))
        library.migrate(model, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
