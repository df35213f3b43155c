"""The catalog on a server: what it asks is ``index.local``'s; filters, locks and texts are fitted to PostgreSQL."""

from __future__ import annotations

import struct
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import BigInteger, Connection, bindparam, text
from xxhash import xxh3_64_digest

from index.errors import IndexBusy
from index.local.catalog import Catalog
from index.local.tables import facts, pictures
from index.local.writing import CatalogWriter
from index.records import Change, Floats, Found, Ids
from index.server.database import PostgreSQL, connected, translated
from index.where import AllOf, AnyOf, Compare, Not, Order, Where

MOST = 2**63
POLL_S = 0.05
TRY_LOCK = "SELECT pg_catalog.pg_try_advisory_lock(%s)"
LOCK = text("SELECT pg_try_advisory_lock(:key)").bindparams(bindparam("key", type_=BigInteger))


class ServerCatalog(Catalog):
    """A catalog on a server, opened for reading."""

    database: PostgreSQL

    @contextmanager
    def probing(self) -> Iterator[Connection]:
        """A connection to a database that may hold no index."""
        with translated(self.name), self._engine.connect() as connection:
            yield connection

    def found_ids(self, where: Where, among: Sequence[int] | None = None) -> Ids:
        return super().found_ids(fitted(where), among)

    def count(self, where: Where) -> int:
        return super().count(fitted(where))

    def listed(
        self, where: Where | None, order: Order, descending: bool, count: int | None, offset: int
    ) -> list[Found]:
        return super().listed(where and fitted(where), order, descending, count, offset)

    def found_page(self, after: int, count: int, where: Where | None = None) -> tuple[list[Found], Floats]:
        return super().found_page(after, count, where and fitted(where))


class ServerCatalogWriter(ServerCatalog, CatalogWriter):
    """A catalog on a server, opened for writing, perhaps by several processes at once."""

    def claim(self, root_ids: Collection[int]) -> set[int]:
        """Those of these roots that no other process works on. They are this one's until its connection ends."""
        with self.transaction() as connection:
            return {one for one in root_ids if self._is_mine(connection, one)}

    def _is_mine(self, connection: Connection, root_id: int) -> bool:
        if root_id not in (held := connection.info.setdefault("claimed", set[int]())):
            if not connection.scalar(LOCK, {"key": lock_of(self.database.schema, root_id)}):
                return False
            held.add(root_id)
        return True

    def drop_root(self, root_id: int) -> int:
        if not self.claim([root_id]):
            raise IndexBusy(f"another latent is at work on that folder in {self.name}; wait until it is done")
        return super().drop_root(root_id)

    def apply(self, changes: Sequence[Change]) -> None:
        """As ``CatalogWriter.apply``; PostgreSQL has no text with NUL."""
        super().apply([_without_nul(one) for one in changes])


def lock_of(schema: str, root_id: int) -> int:
    """The key of the advisory lock of a root."""
    return _key(f"latent root {root_id} in {schema}")


def _key(words: str) -> int:
    (key,) = struct.unpack("<q", xxh3_64_digest(words.encode()))
    return int(key)


@contextmanager
def locked(database: PostgreSQL, name: str, busy: str, patience_s: float) -> Iterator[None]:
    """Hold the advisory lock ``name`` of a database's index, by a connection of its own.

    Raises:
        IndexBusy: another one holds it after ``patience_s``; ``busy`` says so.
    """
    key, deadline = _key(f"latent {name} in {database.schema}"), time.monotonic() + patience_s
    with translated(database.name), connected(database.name) as connection:
        connection.autocommit = True
        while connection.execute(TRY_LOCK, (key,)).fetchone() != (True,):
            if time.monotonic() > deadline:
                raise IndexBusy(busy)
            time.sleep(POLL_S)
        yield


def _without_nul(change: Change) -> Change:
    reason = change.row.reason
    if reason is None or "\0" not in reason:
        return change
    return Change(change.row._replace(reason=reason.replace("\0", "\\x00")), change.code, change.facts)


def fitted(where: Where) -> Where:
    """The same filter with numbers of the types that are compared: PostgreSQL rounds large whole numbers to compare
    them with float64, and SQLite does not."""
    match where:
        case Not(term):
            return Not(fitted(term))
        case AllOf(terms):
            return AllOf(tuple(map(fitted, terms)))
        case AnyOf(terms):
            return AnyOf(tuple(map(fitted, terms)))
        case Compare(fact, sign, value):
            return Compare(fact, sign, _fitted(fact, value))
    return where


def _fitted(fact: str, value: float) -> float:
    table = pictures if fact in pictures.c else facts
    is_float = fact in table.c and table.c[fact].type.python_type is float
    is_whole = value == int(value) and -MOST <= value < MOST
    return float(value) if is_float or not is_whole else int(value)
