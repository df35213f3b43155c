"""Transactions of a catalog, one at a time for each thread, and what a connection has read already."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, Table

from index.forks import abandon, watch

T = TypeVar("T")


class Database(Protocol):
    """What differs between engines: how a catalog is reached, kept whole and described. All else is SQLAlchemy."""

    @property
    def name(self) -> str:
        """What messages call the catalog; it holds no secret."""

    @property
    def anchor(self) -> Path | None:
        """The folder that roots are relative to; None if all are absolute."""

    def engine(self, writing: bool) -> Engine:
        """A new engine with a pool of connections."""

    def transaction(self, engine: Engine, changing: bool) -> AbstractContextManager[Connection]:
        """A transaction that sees one state. Errors of the engine are raised as our own."""

    def version(self, connection: Connection) -> Hashable:
        """Another one whenever another connection has written."""

    def stored_bytes(self, connection: Connection) -> int:
        """The most that the codes can take."""

    def insert(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
        """Insert rows, which have the same columns."""

    def structure_faults(self, connection: Connection) -> list[str]:
        """What the engine finds wrong, in its words."""

    def mend_structure(self, connection: Connection) -> None:
        """Make anew what follows from the tables."""

    def after_fork(self) -> None:
        """Called in a child: locks of other threads stay locked there."""


class Transactions:
    """Connections to one catalog. Any thread may use them. Each transaction sees one state."""

    writing = False

    def __init__(self, database: Database) -> None:
        self.database = database
        self._begin()
        watch(self)

    def _begin(self) -> None:
        self._engine = self.database.engine(self.writing)
        self._here = threading.local()  # this thread's connection, and the facts read through it

    def after_fork(self) -> None:
        abandon(self._engine)
        self.database.after_fork()
        self._begin()

    def close(self) -> None:
        self._engine.dispose()

    @property
    def name(self) -> str:
        """What messages call the catalog."""
        return self.database.name

    @contextmanager
    def transaction(self, changing: bool = False) -> Iterator[Connection]:
        """Reads inside see one state. Nested ones join the outer one.

        Writes need ``changing``; they are committed together or not at all, and no other process writes meanwhile.
        """
        outer: Connection | None = getattr(self._here, "connection", None)
        if outer is not None:
            assert self._here.changing or not changing
            yield outer
            return
        with self.database.transaction(self._engine, changing) as connection:
            self._here.connection, self._here.changing = connection, changing
            try:
                self._here.known = self._known(connection)
                yield connection
            finally:
                self._here.__dict__.clear()

    def changing(self) -> AbstractContextManager[Connection]:
        """A transaction that writes."""
        return self.transaction(changing=True)

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is in a transaction."""
        return hasattr(self._here, "connection")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads of this thread inside see one state."""
        with self.transaction(changing=self.writing):
            yield

    def _known(self, connection: Connection) -> dict[str, object]:
        """Facts that this connection has read, which are valid until another connection writes."""
        if self.writing:
            return {}
        version = self.database.version(connection)
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
