"""What was read of a catalog's state, held once for all threads and connections of a process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from index.forks import abandon, watch

T = TypeVar("T")


class Shared:
    """Values by name, all of the state that was asked for last."""

    def __init__(self) -> None:
        self._begin()
        watch(self)

    def _begin(self) -> None:
        self._making = threading.Lock()
        self._held: tuple[Hashable, dict[str, Any]] = (None, {})

    def after_fork(self) -> None:
        abandon(self._held)
        self._begin()

    def of(self, state: Hashable, name: str, make: Callable[[], T]) -> T:
        """The value ``name`` of ``state``, made once.

        The thread that makes one is in a transaction already, so that it waits for none of those that wait here.
        """
        with self._making:
            if self._held[0] != state:
                self._held = (state, {})
            values = self._held[1]
            if name not in values:
                values[name] = make()
            return values[name]  # type: ignore[no-any-return]
