"""Faults of a catalog and its caches, in words. Rows and codes are read in pages, so that no writer waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, Label, Table, func, literal_column, select

from index.errors import IndexDamaged
from index.local.cachefile import CacheUnusable
from index.local.caches import VectorCache
from index.local.catalog import CODE, PAGE, SUMMED, Catalog
from index.local.facts import damaged as damaged_facts
from index.local.notes import is_whole_direction, is_whole_pair
from index.local.sanity import is_whole
from index.local.sums import damaged_codes
from index.local.tables import codes, directions, distinct, pictures
from index.records import Row

ROWS = select(*SUMMED).order_by(pictures.c.id).limit(PAGE)
CODES = select(*CODE).order_by(codes.c.picture_id).limit(PAGE)
ROWID: Label[Any] = literal_column("rowid").label("rowid")  # a key may be of a type that cannot be asked for
LOST = select(pictures.c.id).where(pictures.c.status == "found", pictures.c.id.not_in(select(codes.c.picture_id)))


def catalog_faults(rows: Catalog) -> list[str]:
    """Faults inside the catalog; empty if there are none."""
    found: list[str] = []
    try:
        for fault in _faults_in(rows):
            found.append(f"catalog: {fault}")
    except IndexDamaged as error:  # it cannot be read to its end
        found.append(f"catalog: {error}")
    return found


def _faults_in(rows: Catalog) -> Iterator[str]:
    with rows.transaction() as connection:
        yield from rows.database.structure_faults(connection)
        for table, note in damaged_notes(connection):
            yield f"the entry {note[0]!a} of {table.name} is damaged"
        for _, content_hash in damaged_facts(connection):
            yield f"the facts of content {content_hash.hex() if isinstance(content_hash, bytes) else '?'} are damaged"
        if lost := len(connection.scalars(LOST).all()):
            yield f"{lost} found pictures have no code"
        plain = select(func.count()).select_from(pictures).where(pictures.c.status == "found")
        if (findable := connection.scalar(plain) or 0) != (counted := rows.meta().found):
            yield f"{findable} pictures can be found, but {counted} are counted"
        rows.roots()
    for row in damaged_rows(rows):
        yield f"the row of {rows.name_of(row.id or 0)} is damaged"
    for number in damaged_code_ids(rows):
        yield f"the code of {rows.name_of(number)} is damaged"


def damaged_rows(rows: Catalog) -> Iterator[Row]:
    """Rows that are not as they were written; their facts may have any value and type."""
    last = None
    while True:
        with rows.transaction() as connection:
            page = connection.execute(ROWS if last is None else ROWS.where(pictures.c.id > last)).all()
        for record in page:
            if not is_whole(row := Row._make(record[:-1]), record.checksum):
                yield row
        if not page:
            return
        last = page[-1].id


def damaged_code_ids(rows: Catalog) -> Iterator[int]:
    """Ids of pictures whose codes are not as they were written."""
    last, dim = None, rows.meta().latent_dim
    while True:
        with rows.transaction() as connection:
            page = connection.execute(CODES if last is None else CODES.where(codes.c.picture_id > last)).all()
        if not page:
            return
        yield from damaged_codes([tuple(row) for row in page], dim)
        last = page[-1].picture_id


def damaged_notes(connection: Connection) -> Iterator[tuple[Table, Any]]:
    """Entries of the user's notes that are not as they were written."""
    for table, is_whole_note in ((directions, is_whole_direction), (distinct, is_whole_pair)):
        notes: Sequence[Any] = connection.execute(select(*table.columns, ROWID)).all()
        for note in notes:
            if not is_whole_note(note):
                yield table, note


def cache_faults(rows: Catalog, paths: dict[str, Path]) -> list[str]:
    """Faults of the cache files, which are given by kind. A cache that is only behind is not a fault."""
    return [fault for kind, path in paths.items() if path.exists() for fault in _faults_of(rows, kind, path)]


def _faults_of(rows: Catalog, kind: str, path: Path) -> Iterator[str]:
    facts = rows.meta()
    try:
        cache = VectorCache.load(path, kind, facts.latent_dim)  # type: ignore[arg-type]
    except CacheUnusable as error:
        yield f"cache: {error}"
        return
    if (cache.generation, cache.stamp) != (facts.generation, facts.stamp):
        return
    try:
        agrees = _agrees(cache, rows)
    except IndexDamaged:  # of the catalog, whose faults are listed elsewhere
        return
    if not agrees and rows.meta() == facts:  # and no writer changed the catalog meanwhile
        yield f"cache: {path.name} does not hold the catalog's codes"


def _agrees(cache: VectorCache, rows: Catalog) -> bool:
    cached, row = cache.ids(), 0
    for ids, matrix in rows.code_pages():
        if not np.array_equal(cached[row : row + len(ids)], ids) or not cache.holds(ids, matrix):
            return False
        row += len(ids)
    return row == len(cached)
