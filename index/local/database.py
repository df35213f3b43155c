"""SQLite as the catalog needs it: one file, durable, fair to writers, and with our own errors.

Why a rollback journal and no write-ahead log: an index is one file that can be copied, it is read from folders that
cannot be written, and it may lie on a network drive, where a write-ahead log cannot be. Its price is that a reader
holds a shared lock, which a writer must see released once. SQLite keeps new readers of *other* processes back while a
writer waits, but threads of one process share one lock, and it would let them in past the writer for ever. So
here they go in by turns (``Turnstile``).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakValueDictionary

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import DatabaseError

from index.errors import IndexBusy, IndexDamaged, IndexUnwritable, LatentError, NoIndex
from index.forks import watch

BUSY_TIMEOUT_S = 30.0
TURN_S = 0.1  # readers follow one another in without a gap for so long at most
CONNECTIONS = 32  # threads of one process that read at once; more wait


def open_engine(path: Path, writing: bool) -> Engine:
    """SQLite with a rollback journal: one file, readable from a read-only folder, durable after each commit."""

    def connect() -> sqlite3.Connection:
        return connected(path, "rwc" if writing else mode_for_reading(path))

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, max_overflow=CONNECTIONS)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def connected(path: Path, mode: str) -> sqlite3.Connection:
    """A connection that begins its transactions itself: "ro", "rw", or "rwc", which makes the file."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def mode_for_reading(path: Path) -> str:
    """Readers too open a catalog for writing where they may: after a killed writer the first to come must roll back."""
    may_write = os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))
    return "rw" if may_write else "ro"


class Turnstile:
    """Lets the readers of this process in together, but sees to it that all of them are out now and then.

    Whoever comes while others are inside joins them, unless the first of them came more than ``TURN_S`` ago: then he
    waits until they are out. A writer that waits in another process takes the lock in that gap, and SQLite holds
    the next readers back until it is done.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside, self._since = 0, 0.0

    @contextmanager
    def inside(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._inside or time.monotonic() - self._since < TURN_S)
            if not self._inside:
                self._since = time.monotonic()
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if not self._inside:
                    self._changed.notify_all()

    def after_fork(self) -> None:
        self.__init__()  # type: ignore[misc]


_turnstiles: WeakValueDictionary[str, Turnstile] = WeakValueDictionary()


def turnstile_of(path: Path) -> Turnstile:
    """The one turnstile of a catalog in this process, however often it is opened."""
    fresh = Turnstile()
    shared = _turnstiles.setdefault(os.path.realpath(path), fresh)
    if shared is fresh:
        watch(shared)
    return shared


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the database's complaints into ours, whether they come through SQLAlchemy or not."""
    try:
        yield
    except (DatabaseError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DatabaseError) else error
        raise _ours(path, cause) from error


def _ours(path: Path, cause: BaseException | None) -> LatentError:
    text = str(cause)
    if not isinstance(cause, sqlite3.OperationalError):
        return IndexDamaged(f"{path} is damaged: {text}. Restore it from a backup, or build the index again elsewhere")
    if "locked" in text:
        return IndexBusy(f"{path} is being written by another process; try again when it is done")
    if "full" in text or "readonly" in text or "disk I/O" in text:
        return IndexUnwritable(f"{path} cannot be written: {text}. What was committed before is kept")
    if "unable to open" in text:
        return NoIndex(f"{path} cannot be opened: {text}", code="unreadable")
    return IndexDamaged(f"{path} cannot be read: {text}")
