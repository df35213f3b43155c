"""Small catalogs to attack, and what a stranger does to them."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from index.local.sanity import meta_sum
from index.local.store import Store
from index.local.sums import code_sum, facts_sum, row_sum, sum_of
from index.records import Change, Direction, Facts, Meta, Row
from tests.codes import DIM, random_codes

SIZE = 40
PAGE_BYTES, SECTOR_BYTES = 4096, 512
SUPER_PAGE = 0x40000000 // PAGE_BYTES + 1  # the page that SQLite uses for locks, and in a journal for this


def drawn_rows(count: int = SIZE, seed: int = 0) -> list[Row]:
    rng = np.random.default_rng(seed)
    return [
        Row(
            root_id=1,
            path=b"folder/%03d.jpg" % number,
            size_bytes=int(rng.integers(1, 10**6)),
            mtime_ns=int(rng.integers(10**18)),
            ctime_ns=int(rng.integers(10**18)),
            status="found",
            content_hash=rng.bytes(16),
            width_px=int(rng.integers(1, 9000)),
            height_px=int(rng.integers(1, 9000)),
            realism=float(rng.normal()),
            spread=float(rng.uniform(0.1, 1)),
        )
        for number in range(count)
    ]


def drawn_facts(number: int) -> Facts:
    return Facts("JPEG", taken_us=number * 10**6, latitude=number / 3, longitude=-number / 3, title=f"title {number}")


def make_index(folder: Path, count: int = SIZE) -> None:
    """An index of drawn pictures with facts, one skipped file and notes, with its cache."""
    codes = random_codes(count, 0, True)
    with Store.writing(folder, create=Meta("m", "digest", DIM, True)) as store:
        store.rows.add_root(str(folder.parent / "photos"))
        rows = zip(drawn_rows(count), codes, strict=True)
        store.rows.apply([Change(row, code, drawn_facts(number)) for number, (row, code) in enumerate(rows, 1)])
        store.rows.apply([Change(Row(1, b"no.jpg", 1, 1, "skipped", reason="not a picture"))])
        store.notes.keep_direction(Direction("smile", codes[0], 3, 4, 0.5))
        store.notes.keep_apart([(b"a" * 16, b"b" * 16)])
        store.refresh_caches()


def copied(folder: Path, to: Path) -> Path:
    if to.exists():
        shutil.rmtree(to)
    shutil.copytree(folder, to)
    return to


def rewrite(catalog: Path, script: str, *values: Any) -> None:
    """Change a catalog as a stranger may: with checksums that are right for what it says then."""
    with closing(sqlite3.connect(catalog, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(script, values)
        for table, names, of in (
            ("pictures", ", ".join(Row._fields), lambda *row: row_sum(Row(*row))),
            ("codes", "picture_id, code", code_sum),
            ("roots", "id, path", sum_of),
            ("directions", "name, vector, with_count, without_count, accuracy", sum_of),
            ("distinct_contents", "hash_a, hash_b", sum_of),
            ("facts", ", ".join(("content_hash", *Facts._fields)), lambda one, *facts: facts_sum(one, Facts(*facts))),
            ("meta", ", ".join(Meta.__dataclass_fields__), lambda *facts: meta_sum(Meta(*facts))),
        ):
            connection.create_function("checksum_of", -1, quiet(of))
            connection.execute(f"UPDATE {table} SET checksum = checksum_of({names})")


def quiet(of: Any) -> Any:
    """A checksum of any values, where the program has none."""

    def checksum(*facts: Any) -> bytes:
        try:
            return bytes(of(*facts))
        except Exception:
            return b"12345678"

    return checksum


def leave_hot_journal(folder: Path, to: Path) -> Path:
    """Copy an index in the midst of a transaction, as a killed writer leaves it. Returns the path of the journal."""
    catalog = folder / "catalog.db"
    with closing(sqlite3.connect(catalog, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE pictures SET width_px = 7")
        connection.execute("UPDATE codes SET code = zeroblob(length(code))")
        copied(folder, to)
        connection.execute("ROLLBACK")
    return to / "catalog.db-journal"


def super_record(victim: Path) -> bytes:
    """The end of a journal that names ``victim`` as its super-journal."""
    name = bytes(victim)
    checksum = sum(byte - 256 if byte > 127 else byte for byte in name) & 0xFFFFFFFF
    return (
        struct.pack(">I", SUPER_PAGE)
        + name
        + struct.pack(">II", len(name), checksum)
        + bytes.fromhex("d9d505f920a163d7")
    )
