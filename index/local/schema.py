"""The schema of a catalog, compared with what this program makes, before anything is asked of its tables.

A database can carry programs: views, triggers, virtual tables, and expressions in columns and indexes. A catalog has
none of them, so each is refused; what remains are tables that hold values.
"""

from __future__ import annotations

import re
import sqlite3
from functools import cache
from pathlib import Path

from sqlalchemy import Column, Table

from index.errors import IndexDamaged, IndexMismatch
from index.local.tables import SCHEMA, directions, distinct, meta, tables

Shape = dict[str, tuple[str, bool, bool, str | None]]
"""Column -> type, whether it must be there, whether it is of the key, and its default."""

COLUMNS = """
SELECT m.name, x.name, x.type, x."notnull", x.pk, x.dflt_value, x.hidden
FROM sqlite_schema AS m, pragma_table_xinfo(m.name) AS x WHERE m.type = 'table'
"""
CHECKS = ("CHECK (id = 1)", "CHECK (status in ('found', 'skipped', 'vanished', 'removed'))")
PROGRAM = re.compile(r"\b(check|collate|generated|always|as|without|strict|conflict|virtual|select)\b|--|/\*", re.I)
LATER_IN_1 = (distinct.name, directions.name)  # the first indexes had no notes


def check_schema(connection: sqlite3.Connection, path: Path) -> int:
    """The schema's number, if the catalog holds what an index of that schema holds and nothing else.

    Raises:
        IndexMismatch: the schema is newer than this version knows.
        IndexDamaged: a table or a column is missing or unknown, or there is a view, a trigger or an expression.
        sqlite3.Error: the file is not a database, or cannot be read.
    """
    connection.execute("BEGIN")  # or another process could migrate it meanwhile
    try:
        _check_kinds(connection, path)
        columns = _columns(connection, path)
        number = _number(connection, path, columns)
        _check_shapes(path, columns, number)
        return number
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _check_kinds(connection: sqlite3.Connection, path: Path) -> None:
    """Only plain tables, and indexes of plain columns."""
    for kind, name, place, text in connection.execute("SELECT type, name, rootpage, sql FROM sqlite_schema"):
        words = " ".join(text.split()) if isinstance(text, str) else ""
        if kind == "table" and isinstance(place, int) and place > 0:
            for check in CHECKS:
                words = words.replace(check, "")
            if words and not PROGRAM.search(words):
                continue
        elif kind == "index" and (words in _indexes() or (text is None and str(name).startswith("sqlite_autoindex_"))):
            continue
        raise _strange(path, f"{kind} {name}")


def _columns(connection: sqlite3.Connection, path: Path) -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for table, name, kind, needed, key, default, hidden in connection.execute(COLUMNS):
        if hidden:
            raise _strange(path, f"hidden column {table}.{name}")
        found.setdefault(table, {})[name] = (kind, bool(needed), bool(key), default)
    return found


def _number(connection: sqlite3.Connection, path: Path, columns: dict[str, Shape]) -> int:
    if "schema" not in columns.get(meta.name, {}):
        raise IndexDamaged(f"{path} has lost its tables, or is no index; restore it from a backup")
    row = connection.execute("SELECT schema FROM meta").fetchone()
    if row is None:
        raise IndexDamaged(f"{path} has lost its head row; build the index again in another folder")
    number = row[0]
    if not isinstance(number, int) or number < 1:
        raise IndexDamaged(f"{path} has no number of a schema; restore the index from a backup")
    if number > SCHEMA:
        raise IndexMismatch(
            f"{path} has schema {number}, and this version of latent reads up to {SCHEMA}: "
            "upgrade latent, or build the index again in another folder",
            code="newer_schema",
            schema=number,
        )
    return number


def _check_shapes(path: Path, columns: dict[str, Shape], number: int) -> None:
    for name, wanted in _shapes(number).items():
        if name not in columns and number == 1 and name in LATER_IN_1:
            continue
        if columns.pop(name, None) != wanted:
            raise IndexDamaged(
                f"{path}: the table {name} is not as schema {number} has it; restore the index from a backup"
            )
    for name in columns:
        raise _strange(path, f"table {name}")


@cache
def _shapes(number: int) -> dict[str, Shape]:
    """The tables of a schema, of which ``tables`` has the newest."""
    return {
        table.name: {column.name: _shape(column) for column in _of_schema(table, number)}
        for table in tables.sorted_tables
        if table.info.get("since", 1) <= number
    }


def _of_schema(table: Table, number: int) -> list[Column[object]]:
    return [column for column in table.columns if column.info.get("since", 1) <= number]


def _shape(column: Column[object]) -> tuple[str, bool, bool, str | None]:
    default = column.info.get("default")
    return str(column.type), not column.nullable, column.primary_key, default


@cache
def _indexes() -> frozenset[str]:
    """The statements that make the indexes of the tables."""
    made = [(one.name, table.name, one.columns) for table in tables.sorted_tables for one in table.indexes]
    return frozenset(f"CREATE INDEX {name} ON {table} ({', '.join(c.name for c in of)})" for name, table, of in made)


def _strange(path: Path, what: str) -> IndexDamaged:
    return IndexDamaged(
        f"{path} holds something that no index has, which could run on its own: {what}. "
        "The index is not opened; build one of your own in another folder",
        code="strange_schema",
    )
