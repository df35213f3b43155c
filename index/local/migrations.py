"""Migrate a catalog from an older schema to the current one, one numbered step at a time.

A step is a function on a connection of the standard library, inside one transaction. It never uses today's table
definitions, since later steps will change them.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from index.errors import IndexDamaged
from index.local.database import connected, mode_for_reading, opened
from index.local.files import make_new
from index.local.schema import check_schema
from index.local.sums import code_sum, row_sum, sum_of
from index.local.tables import SCHEMA
from index.records import Row

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


def _to_3(connection: sqlite3.Connection) -> None:
    """A checksum for each row and code. Until now nothing told what a disk had damaged."""
    for table in ("meta", "roots", "pictures", "codes", "distinct_contents", "directions"):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN checksum BLOB")
    facts = (
        "root_id, path, size_bytes, mtime_ns, status, content_hash, width_px, height_px, realism, spread, reason, id, "
        "generation, ctime_ns"
    )
    _sum(connection, "codes", "picture_id, code", code_sum)
    _sum(connection, "pictures", facts, _sum_of_row)
    _sum(connection, "roots", "id, path", sum_of)
    _sum(connection, "distinct_contents", "hash_a, hash_b", sum_of)
    _sum(connection, "directions", "name, vector, with_count, without_count, accuracy", sum_of)
    names = "model_name, model_digest, latent_dim, standardized, generation, stamp, rebuild_from, next_id"
    _sum(connection, "meta", names, sum_of)


def _to_4(connection: sqlite3.Connection) -> None:
    """Facts of contents, and indexes for filters."""
    connection.execute(
        "CREATE TABLE facts (content_hash BLOB NOT NULL, format TEXT NOT NULL, frames INTEGER NOT NULL, "
        "bits INTEGER NOT NULL, mode TEXT NOT NULL, has_alpha BOOLEAN NOT NULL, taken_us BIGINT, "
        "taken_offset_s INTEGER, camera TEXT, lens TEXT, focal_mm FLOAT, exposure_s FLOAT, iso INTEGER, "
        "latitude FLOAT, longitude FLOAT, orientation INTEGER, rating INTEGER, title TEXT, keywords TEXT, burst TEXT, "
        "is_raw BOOLEAN NOT NULL, is_screenshot BOOLEAN NOT NULL, is_motion BOOLEAN NOT NULL, "
        "has_gain_map BOOLEAN NOT NULL, checksum BLOB, PRIMARY KEY (content_hash))"
    )
    for table, columns in (
        ("facts", ("taken_us", "latitude")),
        ("pictures", ("size_bytes, status", "mtime_ns, status", "width_px, status")),
    ):
        for of in columns:
            name = f"ix_{table}_{of.split(',')[0]}"
            connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {table} ({of})")


def _to_5(connection: sqlite3.Connection) -> None:
    """How unlike what the model learnt a picture is. Its checksum changes no other."""
    connection.execute("ALTER TABLE pictures ADD COLUMN unfamiliarity FLOAT")


def _sum_of_row(*facts: Any) -> bytes | None:
    try:
        return row_sum(Row(*facts))
    except (TypeError, ValueError, AttributeError, struct.error):  # no fact that was ever written
        return None


def _sum(connection: sqlite3.Connection, table: str, facts: str, checksum: Callable[..., bytes | None]) -> None:
    connection.create_function("checksum_of", -1, checksum, deterministic=True)
    connection.execute(f"UPDATE {table} SET checksum = checksum_of({facts})")


STEPS: dict[int, Step] = {1: _to_2, 2: _to_3, 3: _to_4, 4: _to_5}  # schema -> the step to the next one


def schema_of(path: Path) -> int:
    """The schema of the catalog at ``path``, which is only read.

    Raises:
        IndexMismatch: the schema is newer than this version knows.
        IndexDamaged: the file holds something else than a catalog of that schema.
        sqlite3.Error: the file is not a database, or cannot be opened.
    """
    with closing(opened(path, mode_for_reading(path))) as connection:
        return check_schema(connection, path)


def migrate(path: Path) -> None:
    """Migrate a catalog to the current schema, after setting a copy aside. The caller holds the writer's lock.

    If the process is killed at any moment, the catalog has the old schema or the new one.
    """
    old = schema_of(path)
    if old == SCHEMA:
        return
    aside = path.with_name(f"{path.name}.schema-{old}")
    part = aside.with_name(aside.name + ".part")
    make_new(part)
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
        fault = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if fault != "ok":  # or the step would make damage the truth
            raise IndexDamaged(f"{path} is damaged ({fault}); restore the index from a backup, or build it again")
        for number in range(old, SCHEMA):
            STEPS[number](connection)
        connection.execute("UPDATE meta SET schema = ?", (SCHEMA,))
        connection.execute("COMMIT")


def _copy(source: Path, target: Path) -> None:
    """Copy a catalog to a new, empty file."""
    with closing(connected(source, mode_for_reading(source))) as old, closing(opened(target, "rw")) as new:
        old.backup(new)
