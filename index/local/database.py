"""SQLite for the catalog: one file, durable, fair to writers, with our own errors.

The catalog has a rollback journal and no write-ahead log, because an index is one file that can be copied, can be read
in a folder that cannot be written, and may be on a network drive, where a write-ahead log does not work. The price: a
reader holds a shared lock, and a writer needs a moment without one. SQLite keeps new readers of *other* processes back
while a writer waits, but threads of one process share one lock, and SQLite would let them in for ever. So the threads
take turns (``Turnstile``).
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
from index.forks import held, watch

BUSY_TIMEOUT_S = 30.0
TURN_S = 0.1  # longest time that readers may join each other without a gap
CONNECTIONS = 32  # threads of one process that can read at once; others wait


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
    """A connection without implicit transactions. ``mode`` is "ro", "rw", or "rwc", which creates the file."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def mode_for_reading(path: Path) -> str:
    """The mode ``rw`` if the file can be written, else ``ro``: after a killed writer, the next reader rolls back."""
    may_write = os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))
    return "rw" if may_write else "ro"


class Turnstile:
    """Lets readers of this process in together, but ensures that from time to time no reader is inside.

    A new reader joins those inside, unless the first of them entered more than ``TURN_S`` ago; then it waits until all
    are out. A writer that waits in another process takes the lock in that gap, and SQLite keeps new readers back until
    it is done.
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
    """The turnstile of a catalog: one per process, shared by all that open the catalog."""
    fresh = Turnstile()
    shared = _turnstiles.setdefault(os.path.realpath(path), fresh)
    if shared is fresh:
        watch(shared)
    return shared


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Convert errors of SQLAlchemy and SQLite to our own. Forks wait."""
    try:
        with held():
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
