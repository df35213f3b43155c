"""Transactions of a catalog, one at a time for each thread, and what a connection has read already."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from index.forks import abandon, watch
from index.local.database import open_engine, translated, turnstile_of

T = TypeVar("T")

FILE_NAME = "catalog.db"


class Transactions:
    """Connections to one catalog file. Any thread may use them. Each transaction sees one state."""

    writing = False

    def __init__(self, folder: Path, path: Path | None = None) -> None:
        """``path``: a copy of the catalog to read in place of the folder's own."""
        self.path = path or folder / FILE_NAME
        self.anchor = Path(os.path.realpath(folder)).parent
        self._begin()
        watch(self)

    def _begin(self) -> None:
        self._engine = open_engine(self.path, self.writing)
        self._turnstile = None if self.writing else turnstile_of(self.path)
        self._here = threading.local()  # this thread's connection, and the facts read through it

    def after_fork(self) -> None:
        abandon(self._engine)
        self._begin()

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Writes inside are committed together or not at all; reads see one state. Nested ones join the outer one."""
        outer: Connection | None = getattr(self._here, "connection", None)
        if outer is not None:
            yield outer
            return
        turn = self._turnstile.inside() if self._turnstile else nullcontext()
        with translated(self.path), turn, self._engine.begin() as connection:
            self._here.connection, self._here.known = connection, self._known(connection)
            try:
                yield connection
            finally:
                self._here.__dict__.clear()

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is in a transaction."""
        return hasattr(self._here, "connection")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads of this thread inside see one state."""
        with self.transaction():
            yield

    def _known(self, connection: Connection) -> dict[str, object]:
        """Facts that this connection has read, which are valid until another connection writes."""
        if self.writing:
            return {}
        version = connection.exec_driver_sql("PRAGMA data_version").scalar()
        if connection.info.get("version") != version:
            connection.info.update(version=version, known={})
        known: dict[str, object] = connection.info["known"]
        return known

    def _once(self, name: str, read: Callable[[Connection], T]) -> T:
        """The result of ``read``, cached under ``name`` until another connection writes."""
        with self.transaction() as connection:
            if self.writing:
                return read(connection)
            if name not in self._here.known:
                self._here.known[name] = read(connection)
            return self._here.known[name]  # type: ignore[no-any-return]
