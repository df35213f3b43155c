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
from collections.abc import Hashable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import Connection, Engine, QueuePool, Table, create_engine, event, insert
from sqlalchemy.exc import DBAPIError

from index.errors import IndexBusy, IndexDamaged, IndexUnwritable, LatentError, NoIndex
from index.forks import held, watch
from index.local.files import check_files
from index.local.functions import add_functions
from index.local.schema import check_schema

FILE_NAME = "catalog.db"
BUSY_TIMEOUT_S = 30.0
TURN_S = 0.1  # longest time that readers may join each other without a gap
CONNECTIONS = 32  # threads of one process that can read at once; others wait
STEPS_UNASKED = 1_000_000  # of SQLite's machine, some hundredths of a second, until it asks whether to go on
MOST_BYTES = 1 << 28  # of one value: a list of 25 million ids; a planted value of a gigabyte is refused
PRAGMAS = (
    "foreign_keys = ON",
    "synchronous = FULL",
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "cache_spill = OFF",  # a large transaction stays in memory to its end: once it spills, nobody else can read
)


def open_engine(path: Path, writing: bool, empty: bool = False) -> Engine:
    """SQLite with a rollback journal: one file, readable from a read-only folder, durable after each commit.

    ``empty``: the file has no tables yet.
    """

    def connect() -> sqlite3.Connection:
        mode = "rw" if writing else mode_for_reading(path)
        return opened(path, mode) if empty else connected(path, mode)

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, max_overflow=CONNECTIONS)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        check_files(path)  # with each transaction SQLite looks for a journal again
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def connected(path: Path, mode: str) -> sqlite3.Connection:
    """A connection to a catalog whose files and schema have been checked. ``mode`` is "ro" or "rw".

    Raises:
        IndexDamaged, IndexMismatch: as ``check_files`` and ``check_schema``.
        sqlite3.Error: the file is not a database, or cannot be opened.
    """
    connection = opened(path, mode)
    try:
        check_schema(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def opened(path: Path, mode: str) -> sqlite3.Connection:
    """A connection without implicit transactions to a file whose schema is not known yet. All openings go through this.

    The name is given as percent-encoded bytes: folders need not be named in UTF-8.
    """
    check_files(path)
    uri = path.absolute().as_uri()
    _check_it_has_no_log(path, uri)
    connection = sqlite3.connect(
        f"{uri}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
    connection.set_progress_handler(_go_on, STEPS_UNASKED)
    add_functions(connection)
    try:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):  # after a journal was rolled back
            raise _log_refused(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_it_has_no_log(path: Path, uri: str) -> None:
    """Refuse a catalog in WAL mode before SQLite makes the log's files.

    Without locks SQLite opens no log, and a connection that only reads rolls nothing back. (The header cannot be read
    as a file: closing that would release the locks of this process's other connections.)
    """
    with closing(sqlite3.connect(f"{uri}?mode=ro&nolock=1", uri=True)) as connection:
        try:
            connection.execute("PRAGMA schema_version").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_CANTOPEN:
                raise _log_refused(path) from error
        except sqlite3.DatabaseError:
            pass  # no database at all, as the next connection will tell


def _log_refused(path: Path) -> IndexDamaged:
    return IndexDamaged(f"{path} needs a write-ahead log, which no index has; it is not opened")


def _go_on() -> int:
    """Called from time to time in a long query: Python acts on Ctrl-C when it runs code, and SQLite runs none."""
    return 0


def mode_for_reading(path: Path) -> str:
    """The mode ``rw`` if the file can be written, else ``ro``: after a killed writer, the next reader rolls back."""
    may_write = os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))
    return "rw" if may_write else "ro"


class SQLite:
    """A catalog in a file (``index.local.transactions.Database``). The writer's lock is ``index.local.store``'s."""

    def __init__(self, folder: Path, path: Path | None = None) -> None:
        """``path``: a copy of the catalog to read in place of the folder's own."""
        self.path = path or folder / FILE_NAME
        self.anchor: Path | None = Path(os.path.realpath(folder)).parent
        self._turnstile = turnstile_of(self.path)

    @property
    def name(self) -> str:
        return str(self.path)

    def engine(self, writing: bool) -> Engine:
        engine = open_engine(self.path, writing)
        return engine.execution_options(writing=writing)

    @contextmanager
    def transaction(self, engine: Engine, changing: bool) -> Iterator[Connection]:
        """A writer's transactions are all the same; it is alone, and takes no turns."""
        writing = engine.get_execution_options()["writing"]
        assert writing or not changing
        turn = nullcontext() if writing else self._turnstile.inside()
        with translated(self.path), turn, engine.begin() as connection:
            yield connection

    def version(self, connection: Connection) -> Hashable:
        return connection.exec_driver_sql("PRAGMA data_version").scalar()

    def stored_bytes(self, connection: Connection) -> int:
        pages, page = (
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() or 0 for name in ("page_count", "page_size")
        )
        return int(pages * page)

    def insert(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
        connection.execute(insert(table), rows)

    def structure_faults(self, connection: Connection) -> list[str]:
        lines = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        strays = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        return [str(line) for line in lines if line != "ok"] + [
            f"row {one[1]} of {one[0]} is a stray" for one in strays
        ]

    def mend_structure(self, connection: Connection) -> None:
        connection.exec_driver_sql("REINDEX")

    def after_fork(self) -> None:
        """Turnstiles begin anew on their own."""


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
    except (DBAPIError, sqlite3.Error, UnicodeError) as error:  # SQLite's messages may hold a damaged name
        cause = error.orig if isinstance(error, DBAPIError) else error
        if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from error  # raised in ``_go_on``, and swallowed by the module sqlite3
        raise _ours(path, cause) from error


def _ours(path: Path, cause: BaseException | None) -> LatentError:
    if isinstance(cause, UnicodeEncodeError):
        return IndexUnwritable(f"{path} cannot be written: {cause.object!a} is no text in Unicode")
    text = "a text in it is no Unicode" if isinstance(cause, UnicodeError) else str(cause)
    if not isinstance(cause, sqlite3.OperationalError):
        return IndexDamaged(f"{path} is damaged: {text}. Restore it from a backup, or build the index again elsewhere")
    if "locked" in text:
        return IndexBusy(f"{path} is being written by another process; try again when it is done")
    if "full" in text or "readonly" in text or "disk I/O" in text:
        return IndexUnwritable(f"{path} cannot be written: {text}. What was committed before is kept")
    if "unable to open" in text:
        return NoIndex(f"{path} cannot be opened: {text}", code="unreadable")
    return IndexDamaged(f"{path} cannot be read: {text}")
