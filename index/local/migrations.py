"""Migrate a catalog from an older schema to the current one, one numbered step at a time.

A step is a function on a connection of the standard library, inside one transaction. It never uses today's table
definitions, since later steps will change them.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from index.errors import IndexDamaged, IndexMismatch
from index.local.database import connected, mode_for_reading
from index.local.tables import SCHEMA

Step = Callable[[sqlite3.Connection], None]


def _to_2(connection: sqlite3.Connection) -> None:
    """Ids that are never reused, change times of files, and notes in every index."""
    connection.execute("ALTER TABLE meta ADD COLUMN next_id INTEGER NOT NULL DEFAULT '1'")
    connection.execute("UPDATE meta SET next_id = 1 + (SELECT coalesce(max(id), 0) FROM pictures)")
    connection.execute("ALTER TABLE pictures ADD COLUMN ctime_ns BIGINT")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS distinct_contents "
        "(hash_a BLOB NOT NULL, hash_b BLOB NOT NULL, PRIMARY KEY (hash_a, hash_b))"
    )
    connection.execute(
        "CREATE TABLE IF NOT EXISTS directions (name TEXT NOT NULL, vector BLOB NOT NULL, "
        "with_count INTEGER NOT NULL, without_count INTEGER NOT NULL, accuracy FLOAT, PRIMARY KEY (name))"
    )


STEPS: dict[int, Step] = {1: _to_2}  # schema -> the step to the next one


def schema_of(path: Path) -> int:
    """The schema of the catalog at ``path``, which is only read.

    Raises:
        IndexMismatch: the schema is newer than this version knows.
        IndexDamaged: the row of ``meta`` is missing.
        sqlite3.Error: the file is not a database, or cannot be opened.
    """
    with closing(connected(path, mode_for_reading(path))) as connection:
        row = connection.execute("SELECT schema FROM meta").fetchone()
    if row is None:
        raise IndexDamaged(f"{path} has lost its head row; build the index again in another folder")
    if row[0] > SCHEMA:
        raise IndexMismatch(
            f"{path} has schema {row[0]}, and this version of latent reads up to {SCHEMA}: "
            "upgrade latent, or build the index again in another folder",
            code="newer_schema",
            schema=row[0],
        )
    return int(row[0])


def migrate(path: Path) -> None:
    """Migrate a catalog to the current schema, after setting a copy aside. The caller holds the writer's lock.

    If the process is killed at any moment, the catalog has the old schema or the new one.
    """
    old = schema_of(path)
    if old == SCHEMA:
        return
    aside = path.with_name(f"{path.name}.schema-{old}")
    part = aside.with_name(aside.name + ".part")
    part.unlink(missing_ok=True)
    _copy(path, part)
    os.replace(part, aside)
    _step_up(path, old)


def migrated_copy(path: Path) -> Path:
    """A private, migrated copy of a catalog that cannot be written. The caller deletes it."""
    handle, name = tempfile.mkstemp(prefix="latent-", suffix=".db")
    os.close(handle)
    copy = Path(name)
    try:
        _copy(path, copy)
        _step_up(copy, schema_of(copy))
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    return copy


def _step_up(path: Path, old: int) -> None:
    with closing(connected(path, "rw")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for number in range(old, SCHEMA):
            STEPS[number](connection)
        connection.execute("UPDATE meta SET schema = ?", (SCHEMA,))
        connection.execute("COMMIT")


def _copy(source: Path, target: Path) -> None:
    with closing(connected(source, mode_for_reading(source))) as old, closing(connected(target, "rwc")) as new:
        old.backup(new)
