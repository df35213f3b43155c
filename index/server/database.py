"""PostgreSQL for the catalog: connections, transactions, and its errors as our own.

Readers see one snapshot (REPEATABLE READ, READ ONLY), and no writer waits for them. A transaction that changes
something first locks the head row and writes it again at its end: so changes come one after the other, whoever makes
them, and a reader sees by that row whether anything was written.
"""

from __future__ import annotations

import select as ready
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, QueuePool, Table, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as NoConnection

from index.errors import IndexBusy, IndexDamaged, IndexUnreachable, IndexUnwritable, LatentError, NoIndex
from index.server.dialect import Compiler

CONNECTIONS = 8  # threads of one process that can read at once; others wait
CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 60  # longest wait for other writers
IDLE_TIMEOUT_S = 120  # a writer that was suspended in a transaction loses it, or all others would wait
KINDS = {"BIGINT": "int8", "SMALLINT": "int2", "FLOAT": "float8", "TEXT": "text", "BYTEA": "bytea"}
SET_UP = (  # nothing of the database but the tables that are named runs or is read (CVE-2018-1058)
    "SELECT set_config('search_path', 'pg_catalog', false), set_config('lock_timeout', '{lock_s}s', false), "
    "set_config('idle_in_transaction_session_timeout', '{idle_s}s', false), set_config('jit', 'off', false), "
    # what is read in several parts comes in the same order each time
    "set_config('synchronize_seqscans', 'off', false), set_config('max_parallel_workers_per_gather', '0', false)"
)


class _BinaryCursor(psycopg.Cursor[Any]):
    """Codes are bytes: as text they would be twice as long."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self.format = psycopg.pq.Format.BINARY


@dataclass
class PostgreSQL:
    """A catalog in a schema of a database (``index.local.transactions.Database``)."""

    name: str  # its address, which holds no secret
    schema: str
    anchor: None = field(default=None, init=False)  # other machines have other folders: all roots are absolute

    @classmethod
    def reach(cls, address: str) -> PostgreSQL:
        """The schema of the database at ``address`` that a new table would come into.

        Raises:
            IndexUnreachable: the server does not answer, or does not let this user in.
            NoIndex: the database has no place for an index.
        """
        with translated(address), connected(address) as connection:
            encoding = connection.execute("SHOW server_encoding").fetchone()
            ((schema,),) = connection.execute("SELECT current_schema()").fetchall()
        if encoding != ("UTF8",):
            raise NoIndex(f"the database {address} is not in UTF-8, as an index must be", code="not_an_index_database")
        if schema is None:
            raise NoIndex(f"the database {address} has no schema for an index", code="not_an_index_database")
        return cls(address, schema)

    def engine(self, writing: bool) -> Engine:
        """A pool of connections. A writer has one only: it holds the writer's locks, and ends with them."""
        made = list[psycopg.Connection[Any]]()

        def connect() -> psycopg.Connection[Any]:
            if writing and made:
                raise IndexUnreachable(f"the connection to {self.name} was lost; what was committed before is kept")
            connection = connected(self.name)
            made.append(connection)
            try:
                connection.execute(SET_UP.format(lock_s=LOCK_TIMEOUT_S, idle_s=IDLE_TIMEOUT_S if writing else 0))
                connection.commit()
            except BaseException:
                connection.close()
                raise
            connection.cursor_factory = _BinaryCursor
            return connection

        engine = create_engine(
            "postgresql+psycopg://",
            creator=connect,
            poolclass=QueuePool,
            pool_size=1 if writing else CONNECTIONS,
            max_overflow=0,
            hide_parameters=True,
            use_native_hstore=False,
        )
        engine.dialect.statement_compiler = Compiler
        event.listen(engine, "checkout", _check_it_is_open)
        options = {"schema_translate_map": {None: self.schema}, "writing": writing}
        return engine.execution_options(**options)

    @contextmanager
    def transaction(self, engine: Engine, changing: bool) -> Iterator[Connection]:
        assert not changing or engine.get_execution_options()["writing"]
        if not changing:
            engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with translated(self.name), engine.begin() as connection:
            if changing:
                connection.exec_driver_sql(f"SELECT 1 FROM {self.quoted('meta')} FOR UPDATE")
            yield connection
            if changing:
                connection.exec_driver_sql(f"UPDATE {self.quoted('meta')} SET id = id")

    def quoted(self, table: str) -> str:
        schema = self.schema.replace('"', '""')
        return f'"{schema}"."{table}"'

    def version(self, connection: Connection) -> Hashable:
        """Which transaction wrote the head row, and where: every change does."""
        return connection.exec_driver_sql(f"SELECT xmin::text || ctid::text FROM {self.quoted('meta')}").scalar()

    def stored_bytes(self, connection: Connection) -> int:
        return self.size_of(connection, "codes")

    def size_of(self, connection: Connection, table: str) -> int:
        """Bytes of a table with its indexes."""
        size = connection.exec_driver_sql("SELECT pg_total_relation_size(%s::regclass)", (self.quoted(table),))
        return int(size.scalar() or 0)

    def insert(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
        """By COPY, which is several times as quick as INSERT."""
        names = list(rows[0])
        kinds = [KINDS[table.c[name].type.compile(connection.dialect)] for name in names]
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        columns = ", ".join(f'"{name}"' for name in names)
        words = f"COPY {self.quoted(table.name)} ({columns}) FROM STDIN (FORMAT BINARY)"
        with driver.cursor() as cursor, cursor.copy(words.encode()) as copy:
            copy.set_types(kinds)
            for row in rows:
                copy.write_row([row[name] for name in names])

    def structure_faults(self, connection: Connection) -> list[str]:
        """Indexes that the server calls invalid. Keys and references it enforces itself."""
        found = connection.exec_driver_sql(
            "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid "
            "WHERE relnamespace = CAST(%s AS text)::regnamespace AND NOT (indisvalid AND indisready)",
            ('"' + self.schema.replace('"', '""') + '"',),
        )
        return [f"the server calls the index {name} invalid" for name in found.scalars()]

    def mend_structure(self, connection: Connection) -> None:
        """That needs the owner of the database, outside of transactions."""

    def after_fork(self) -> None:
        """Connections are opened anew by the engine."""


def connected(address: str) -> psycopg.Connection[Any]:
    """A connection. libpq takes what the address lacks from the environment, and the password from where it finds it.

    Raises:
        psycopg.Error: the server does not answer, or does not let this user in.
    """
    return psycopg.connect(
        address,
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name="latent",
        client_encoding="UTF8",
        keepalives_idle=30,
        keepalives_interval=10,
        keepalives_count=3,
    )


def _check_it_is_open(connection: Any, record: Any, proxy: Any) -> None:
    """A server that was restarted has closed the connections that wait here; that makes them readable."""
    closed = True
    with suppress(psycopg.Error, ValueError, OSError):
        watch = ready.poll()
        watch.register(connection.fileno(), ready.POLLIN)
        closed = connection.closed or bool(watch.poll(0))
    if closed:
        raise DisconnectionError


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Convert errors of SQLAlchemy and psycopg to our own. ``name`` is the address."""
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise _ours(name, cause) from error
    except (DisconnectionError, NoConnection) as error:
        raise IndexUnreachable(f"{name}: no connection is left; {error}") from error
    except UnicodeEncodeError as error:
        raise IndexUnwritable(f"{name} cannot be written: {error.object!a} is no text in Unicode") from error


BUSY = ("55P03", "40P01", "40001", "57014", "53300")
READ_ONLY = ("25006", "42501")
NO_ROOM = ("53", "58", "54")
LOST = ("08", "57P")


def _ours(name: str, cause: BaseException | None) -> LatentError:
    state = (cause.sqlstate if isinstance(cause, psycopg.Error) else None) or ""
    said = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
    text = said or " ".join(str(cause).split())
    if state in BUSY:
        return IndexBusy(f"{name} is being written by other processes ({text}); try again when they are done")
    if state in READ_ONLY or state.startswith(NO_ROOM) or "could not extend file" in text:
        return IndexUnwritable(f"{name} cannot be written: {text}. What was committed before is kept")
    if state.startswith(LOST) or (not state and isinstance(cause, psycopg.OperationalError)):
        return IndexUnreachable(
            f"{name} cannot be reached: {text}. A change that was under way is there wholly or not at all"
        )
    if state.startswith(("28", "3D")):
        return IndexUnreachable(f"{name} cannot be opened: {text}")
    if isinstance(cause, psycopg.DataError) and not state:
        return IndexUnwritable(f"{name} cannot be written: {text}")
    return IndexDamaged(f"{name} is damaged: {text}. Restore it from a backup, or build the index again elsewhere")
