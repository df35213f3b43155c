"""The schema of a catalog on a server: made once, whoever makes it, compared before anything is asked, and migrated.

A database can carry programs: views, triggers, rules, expressions of functions that somebody defined. An index has
none of them, so each is refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import cache

from sqlalchemy import Connection, Engine, MetaData, Table, select, text, update
from sqlalchemy.dialects import postgresql

from index.errors import IndexDamaged, IndexMismatch, NoIndex
from index.local.tables import SCHEMA, directions, distinct, facts, meta, tables
from index.local.writing import create_tables
from index.records import Meta
from index.server.database import PostgreSQL, translated
from index.server.settings import IDENTITY, keep
from index.server.tables import beside

Step = Callable[[PostgreSQL, Connection], None]


def _to_5(database: PostgreSQL, connection: Connection) -> None:
    """As ``index.local.migrations`` has it."""
    connection.exec_driver_sql(f"ALTER TABLE {database.quoted('pictures')} ADD COLUMN unfamiliarity DOUBLE PRECISION")


STEPS: dict[int, Step] = {4: _to_5}  # schema -> the step to the next one; the first indexes on servers had schema 4
NUMBERED = (facts, distinct, directions)  # their keys may be of damage: rows are named by numbers, as SQLite's
MAKING = 0x6C6174656E74  # the advisory lock of who makes or migrates a schema
COLUMNS = text(
    "SELECT c.relname, c.relkind::text, c.relrowsecurity, c.relhasrules, a.attname, "
    "format_type(a.atttypid, a.atttypmod) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
    "WHERE n.nspname = :schema AND c.relname = ANY(:names)"
)
PROGRAMS = text(  # what hangs on a table and runs a function that is no part of PostgreSQL
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = :schema AND c.relname = ANY(:names) AND ("
    "EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) "
    "OR EXISTS (SELECT 1 FROM pg_inherits h WHERE c.oid IN (h.inhparent, h.inhrelid)) "
    "OR EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid "
    "AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)) "
    "OR EXISTS (SELECT 1 FROM pg_depend d WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) "
    "AND (d.classid, d.objid) IN ("
    "SELECT 'pg_constraint'::regclass::oid, k.oid FROM pg_constraint k WHERE k.conrelid = c.oid "
    "UNION ALL SELECT 'pg_attrdef'::regclass::oid, f.oid FROM pg_attrdef f WHERE f.adrelid = c.oid)))"
)


def exists(database: PostgreSQL, connection: Connection) -> bool:
    """Whether the schema holds an index."""
    found = connection.execute(
        text("SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
             "WHERE n.nspname = :schema AND c.relname = 'meta'"),
        {"schema": database.schema},
    )  # fmt: skip
    return found.first() is not None


def prepared(database: PostgreSQL, engine: Engine, create: Meta | None) -> bool:
    """Make a missing index if ``create`` says what of, and migrate an older one. Whether it was made now.

    Of several processes that do so at once, one does it, and the others wait.

    Raises:
        NoIndex: there is none, and ``create`` is None.
        IndexMismatch, IndexDamaged: as ``check``.
    """
    with translated(database.name), engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MAKING})
        if is_new := not exists(database, connection):
            if create is None:
                raise no_index(database)
            _create(database, connection, create)
        number = check(database, connection)
        for step in range(number, SCHEMA):
            STEPS[step](database, connection)
        if number < SCHEMA:
            connection.execute(update(meta).values(schema=SCHEMA))
    return is_new


def no_index(database: PostgreSQL) -> NoIndex:
    return NoIndex(f"there is no index at {database.name}", folder=database.name)


def _create(database: PostgreSQL, connection: Connection, facts: Meta) -> None:
    create_tables(connection, facts)
    beside.create_all(connection, checkfirst=False)
    for table in NUMBERED:
        place = database.quoted(table.name)
        connection.exec_driver_sql(f"ALTER TABLE {place} ADD COLUMN rowid BIGINT GENERATED ALWAYS AS IDENTITY")
    keep(connection, IDENTITY, secrets.token_hex(16))


def check(database: PostgreSQL, connection: Connection) -> int:
    """The schema's number, if the tables are what an index of that schema has.

    Raises:
        IndexMismatch: the schema is newer than this version knows.
        IndexDamaged: a table is missing or is something else, or a program hangs on one.
    """
    wanted = _shapes()
    asked = {"schema": database.schema, "names": list(wanted)}
    found: dict[str, dict[str, str]] = {}
    for name, kind, secured, ruled, column, of in connection.execute(COLUMNS, asked):
        if kind != "r" or secured or ruled:
            raise _strange(database, name)
        found.setdefault(name, {})[column] = of
    if strange := connection.scalar(PROGRAMS, asked):
        raise _strange(database, strange)
    number = connection.scalar(select(meta.c.schema)) if "schema" in found.get(meta.name, {}) else None
    if not isinstance(number, int) or number < 1:
        raise IndexDamaged(f"{database.name} has lost its head row; restore it from a backup")
    if number > SCHEMA:
        raise IndexMismatch(
            f"{database.name} has schema {number}, and this version of latent reads up to {SCHEMA}: "
            "upgrade latent, or build the index again in another database",
            code="newer_schema",
            schema=number,
        )
    for name, columns in wanted.items():
        if number == SCHEMA and found.get(name) != columns:
            raise IndexDamaged(
                f"{database.name}: the table {name} is not as schema {number} has it; restore it from a backup"
            )
    return number


@cache
def _shapes() -> dict[str, dict[str, str]]:
    """The columns of each table, and their types in PostgreSQL's words."""
    numbered = {table.name: {"rowid": "bigint"} for table in NUMBERED}
    return {table.name: _shape(table) | numbered.get(table.name, {}) for table in (*_all(tables), *_all(beside))}


def _all(of: MetaData) -> list[Table]:
    return of.sorted_tables


def _shape(table: Table) -> dict[str, str]:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    words = {"FLOAT": "double precision"}
    kinds = {column.name: column.type.compile(dialect).partition(" COLLATE")[0] for column in table.columns}
    return {name: words.get(kind, kind.lower()) for name, kind in kinds.items()}


def _strange(database: PostgreSQL, what: str) -> IndexDamaged:
    return IndexDamaged(
        f"{database.name} holds something that no index has, which could run on its own: {what}. "
        "The index is not opened; build one of your own in another database",
        code="strange_schema",
    )
