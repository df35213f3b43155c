"""SQLite as the catalog needs it: one file, durable, and with our own errors."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError

from index.errors import IndexBusy, IndexDamaged, IndexUnwritable, NoIndex

BUSY_TIMEOUT_S = 30.0


def open_engine(path: Path, writing: bool) -> Engine:
    """SQLite with a rollback journal: one file, readable from a read-only folder, durable after each commit.

    Readers too open it for writing where they may, since after a killed writer the first to come must roll back.
    """

    def connect() -> sqlite3.Connection:
        may_write = os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))
        mode = "rwc" if writing else "rw" if may_write else "ro"
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the database's complaints into ours."""
    try:
        yield
    except OperationalError as error:
        text = str(error.orig)
        if "locked" in text:
            raise IndexBusy(f"{path} is being written by another process; try again when it is done") from error
        if "full" in text or "readonly" in text or "disk I/O" in text:
            raise IndexUnwritable(f"{path} cannot be written: {text}. What was committed before is kept") from error
        if "unable to open" in text:
            raise NoIndex(f"{path} cannot be opened: {text}") from error
        raise IndexDamaged(f"{path} cannot be read: {text}") from error
    except DatabaseError as error:
        raise IndexDamaged(
            f"{path} is damaged: {error.orig}. Restore it from a backup, or build the index again elsewhere"
        ) from error
