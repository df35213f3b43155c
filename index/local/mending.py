"""Repair of a catalog: what was damaged is read again from its file, and never taken for true.

Checksums tell which rows and codes are as they were written. The others keep at most their id and path; the next
update reads their files again. Damaged facts go, so that they can be read again, too. Indexes of SQLite follow from the
tables, so they can be made anew. If the tables' own structure is damaged, nothing here helps.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from index.errors import IndexDamaged
from index.local.catalog import RESTORE, SUMMED, naming
from index.local.facts import forget_damaged
from index.local.faults import LOST, ROWID, damaged_code_ids, damaged_notes, damaged_rows
from index.local.sanity import is_inside
from index.local.tables import codes, pictures, roots
from index.local.writing import ROWS_OF, CatalogWriter, delete_codes, overwrite
from index.records import MENDED, READ_AGAIN, Row

BAD_ROW, BAD_CODE, LOST_CODE = MENDED


def mend(rows: CatalogWriter) -> None:
    """Mark what was damaged or lost to be read again, and make damaged indexes anew. All of it or nothing.

    Raises:
        IndexDamaged: the structure of the tables is damaged.
    """
    with rows.changing() as connection:
        if rows.database.structure_faults(connection):
            rows.database.mend_structure(connection)
        _mend_rows(rows, connection)
        _mend_codes(rows, connection)
        for table, note in list(damaged_notes(connection)):
            connection.execute(delete(table).where(ROWID.element == note.rowid))
        forget_damaged(connection)
        rows.recount()
        if faults := rows.database.structure_faults(connection):
            raise IndexDamaged(f"{rows.name} cannot be repaired ({faults[0]}); {RESTORE}", code="beyond_repair")


def _mend_rows(rows: CatalogWriter, connection: Connection) -> None:
    """Keep id and path of a damaged row where they can be; else it goes, and its file is as new."""
    strays = pictures.c.root_id.not_in(select(roots.c.id))
    facts, places, kept, gone = rows.meta(), rows.roots(), list[Row](), list[int]()
    gone += connection.scalars(select(pictures.c.id).where(strays)).all()
    for row in damaged_rows(rows):
        number, path = row.id or 0, row.path
        is_kept = 0 < number < facts.next_id and row.root_id in places and isinstance(path, bytes) and is_inside(path)
        if is_kept:
            kept.append(_read_again(row, BAD_ROW, facts.generation + 1))
        else:
            gone.append(number)
    delete_codes(connection, [row.id for row in kept if row.id is not None])
    overwrite(connection, kept)
    for number in gone:
        connection.execute(delete(pictures).where(pictures.c.id == number))


def _mend_codes(rows: CatalogWriter, connection: Connection) -> None:
    """Forget damaged codes, and have the files of pictures without a code read again."""
    connection.execute(delete(codes).where(codes.c.picture_id.not_in(select(pictures.c.id))))
    damaged, lost = list(damaged_code_ids(rows)), list(connection.scalars(LOST).all())
    delete_codes(connection, damaged)
    generation = rows.meta().generation + 1
    for ids, reason in ((damaged, BAD_CODE), (lost, LOST_CODE)):
        records = connection.execute(ROWS_OF, naming(ids)).all()
        overwrite(connection, [_read_again(Row._make(one[: len(SUMMED) - 1]), reason, generation) for one in records])


def _read_again(row: Row, reason: str, generation: int) -> Row:
    """The row of a file of which nothing is known but its path, and whether the user removed it."""
    status = row.status if row.status in ("removed", "vanished") else "skipped"
    return Row(
        root_id=row.root_id,
        path=row.path,
        size_bytes=0,
        mtime_ns=READ_AGAIN,
        status=status,
        reason=reason if status == "skipped" else None,
        id=row.id,
        generation=generation,
    )
