"""The table of facts: read, written, and rid of what is damaged or of no picture."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Label, bindparam, delete, func, insert, literal_column, select
from sqlalchemy import Row as Record

from index.facts import Facts
from index.local.sanity import are_whole_facts, is_content, is_sane_facts
from index.local.sums import facts_sum
from index.local.tables import facts, pictures

VARIABLES = 500  # hashes in one IN (...): JSON knows no bytes
FACTS = [facts.c.content_hash, *(facts.c[name] for name in Facts._fields), facts.c.checksum]
ROWID: Label[Any] = literal_column("facts.rowid").label("number")  # a key may be of a type that cannot be asked for
PAGED = select(ROWID, *FACTS).where(ROWID.element > bindparam("last")).order_by(ROWID.element).limit(5000)
HELD = select(pictures.c.id).where(pictures.c.content_hash == facts.c.content_hash).exists()
HELD_FACTS = select(facts.c.content_hash).where(facts.c.content_hash == pictures.c.content_hash).exists()
NAMES = [column.name for column in FACTS]
COLUMNS, PLACES = ", ".join(NAMES), ", ".join("?" * len(FACTS))
KEEP = f"INSERT OR REPLACE INTO facts ({COLUMNS}) VALUES ({PLACES})"  # made by SQLAlchemy it takes twice as long


def read(connection: Connection, hashes: Iterable[bytes]) -> Iterator[tuple[bytes, Facts | None]]:
    """Each of these contents that has facts, with them; None where they are not as they were written."""
    for part in _parts(hashes):
        for record in connection.execute(select(*FACTS).where(facts.c.content_hash.in_(part))):
            yield record.content_hash, _whole(record)


def _whole(record: Record[Any]) -> Facts | None:
    known = Facts._make(record[1:-1])
    return known if are_whole_facts(record[0], known, record[-1]) else None


def last(connection: Connection) -> int:
    """A number that grows whenever facts are written, since SQLite gives new ones, and replaced ones, the next rowid.

    Facts that are deleted are of no picture, and another generation begins.
    """
    return int(connection.scalar(select(func.max(ROWID.element)).select_from(facts)) or 0)


def keep(connection: Connection, known: Mapping[bytes, Facts]) -> None:
    """Write facts, in place of older ones."""
    records = [_record(content_hash, its) for content_hash, its in known.items()]
    if records and connection.dialect.name == "sqlite":
        connection.exec_driver_sql(KEEP, records)
    elif records:
        for part in _parts(known):
            connection.execute(delete(facts).where(facts.c.content_hash.in_(part)))
        connection.execute(insert(facts), [dict(zip(NAMES, record, strict=True)) for record in records])


def _record(content_hash: bytes, known: Facts) -> tuple[Any, ...]:
    """Facts to store, in the form in which SQLite returns them: it has no -0.0."""
    if not is_content(content_hash) or not is_sane_facts(known):
        raise ValueError(f"no facts of an index can be {known}")
    if 0.0 in (known.latitude, known.longitude):
        known = Facts._make([one + 0.0 if isinstance(one, float) else one for one in known])
    return (content_hash, *known, facts_sum(content_hash, known))


def forget_lost(connection: Connection, hashes: Collection[bytes]) -> None:
    """Delete the facts of those of these contents that no picture has any more."""
    for part in _parts(hashes):
        connection.execute(delete(facts).where(facts.c.content_hash.in_(part), ~HELD))


def damaged(connection: Connection) -> Iterator[tuple[int, Any]]:
    """Rowid and content of facts that are not as they were written."""
    last = -(2**63)
    while page := connection.execute(PAGED, {"last": last}).all():
        for number, *record in page:
            if not are_whole_facts(record[0], Facts._make(record[1:-1]), record[-1]):
                yield number, record[0]
        last = page[-1][0]


def forget_damaged(connection: Connection) -> None:
    """Delete damaged facts, and those of contents that no picture has."""
    for number, _ in list(damaged(connection)):
        connection.execute(delete(facts).where(ROWID.element == number))
    connection.execute(delete(facts).where(~HELD))


def _parts(hashes: Iterable[bytes]) -> Iterator[list[bytes]]:
    wanted = sorted(set(hashes))
    for start in range(0, len(wanted), VARIABLES):
        yield wanted[start : start + VARIABLES]
