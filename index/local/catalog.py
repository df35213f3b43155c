"""The catalog, for reading: one SQLite file, read through SQLAlchemy, that holds the truth about an index.

Paths are stored as bytes, as in the file system, relative to their photo root. A root inside the folder that holds the
index is stored relative to that folder, so that both can be moved together.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import numpy as np
from sqlalchemy import Connection, bindparam, func, select

from index.errors import IndexDamaged
from index.forks import abandon, watch
from index.local.database import open_engine, translated, turnstile_of
from index.local.filters import clause
from index.local.tables import codes, generations, meta, pictures, roots
from index.records import Floats, Found, Ids, Meta, Row
from index.where import Where

T = TypeVar("T")

FILE_NAME = "catalog.db"
PAGE = 10_000  # codes per transaction: a writer never waits longer for a reader
VARIABLES = 500  # hashes in one IN (...): JSON knows no bytes
ROW = [pictures.c[name] for name in Row._fields]
FOUND = [pictures.c.root_id, *(pictures.c[name] for name in Found._fields)]
NAMED = select(func.json_each(bindparam("ids")).table_valued("value").c.value)  # for any number of ids
FOUND_OF = select(*FOUND).where(pictures.c.id.in_(NAMED), pictures.c.status == "found")
LOOKS_OF = select(pictures.c.realism, pictures.c.spread).where(
    pictures.c.id.in_(NAMED), pictures.c.status == "found", pictures.c.realism.is_not(None)
)
CODES_OF = select(codes.c.picture_id, codes.c.code).where(codes.c.picture_id.in_(NAMED))
CODED = select(pictures.c.id, codes.c.code).join(codes).where(pictures.c.status == "found").order_by(pictures.c.id)


class Catalog:
    """One catalog file, opened for reading. Any thread may read it. Each transaction sees one state."""

    writing = False

    def __init__(self, folder: Path, path: Path | None = None) -> None:
        """``path``: a copy of the catalog to read in place of the folder's own."""
        self.path = path or folder / FILE_NAME
        self.anchor = Path(os.path.realpath(folder)).parent
        self._begin()
        watch(self)

    def _begin(self) -> None:
        self._engine = open_engine(self.path, self.writing)
        self._turnstile = None if self.writing else turnstile_of(self.path)
        self._here = threading.local()  # this thread's connection, and the facts read through it

    def after_fork(self) -> None:
        abandon(self._engine)
        self._begin()

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Writes inside are committed together or not at all; reads see one state. Nested ones join the outer one."""
        outer: Connection | None = getattr(self._here, "connection", None)
        if outer is not None:
            yield outer
            return
        turn = self._turnstile.inside() if self._turnstile else nullcontext()
        with translated(self.path), turn, self._engine.begin() as connection:
            self._here.connection, self._here.known = connection, self._known(connection)
            try:
                yield connection
            finally:
                self._here.__dict__.clear()

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is in a transaction."""
        return hasattr(self._here, "connection")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads of this thread inside see one state."""
        with self.transaction():
            yield

    def _known(self, connection: Connection) -> dict[str, object]:
        """Facts that this connection has read, which are valid until another connection writes."""
        if self.writing:
            return {}
        version = connection.exec_driver_sql("PRAGMA data_version").scalar()
        if connection.info.get("version") != version:
            connection.info.update(version=version, known={})
        known: dict[str, object] = connection.info["known"]
        return known

    def _once(self, name: str, read: Callable[[Connection], T]) -> T:
        """The result of ``read``, cached under ``name`` until another connection writes."""
        with self.transaction() as connection:
            if self.writing:
                return read(connection)
            if name not in self._here.known:
                self._here.known[name] = read(connection)
            return self._here.known[name]  # type: ignore[no-any-return]

    def meta(self) -> Meta:
        """Facts about the index as a whole."""
        return self._once("meta", self._read_meta)

    def _read_meta(self, connection: Connection) -> Meta:
        row = connection.execute(select(meta)).mappings().first()
        if row is None:
            raise IndexDamaged(f"{self.path} has lost its head row; build the index again in another folder")
        return Meta(**{key: row[key] for key in Meta.__dataclass_fields__})

    def stamp_of(self, generation: int) -> bytes | None:
        """The stamp of a generation in the history of this catalog; None if it has no such generation."""
        query = select(generations.c.stamp).where(generations.c.generation == generation)
        return self._once(f"stamp of {generation}", lambda connection: connection.scalar(query))

    def roots(self) -> dict[int, str]:
        """Id of each photo root -> its absolute path on this machine."""
        return dict(self._once("roots", self._read_roots))

    def _read_roots(self, connection: Connection) -> dict[int, str]:
        rows = connection.execute(select(roots).order_by(roots.c.id)).all()
        return {row.id: os.path.normpath(os.path.join(self.anchor, os.fsdecode(row.path))) for row in rows}

    # Rows

    def listing(self, root_id: int) -> dict[bytes, Row]:
        """All rows of a root by path."""
        with self.transaction() as connection:
            rows = connection.execute(select(*ROW).where(pictures.c.root_id == root_id)).all()
        return {row.path: row for row in map(Row._make, rows)}

    def at_path(self, root_id: int, path: bytes) -> Row | None:
        with self.transaction() as connection:
            where = (pictures.c.root_id == root_id) & (pictures.c.path == path)
            row = connection.execute(select(*ROW).where(where)).first()
        return None if row is None else Row._make(row)

    def found(self, ids: Sequence[int]) -> dict[int, Found]:
        """The pictures among ``ids`` that can be found."""
        with self.transaction() as connection:
            places = self.roots()
            rows = connection.execute(FOUND_OF, naming(ids)).all()
        return {row.id: _found(row, places) for row in rows}

    def found_ids(self, where: Where) -> Ids:
        """Ids (n,) of the pictures that can be found and match ``where``, ascending."""
        with self.transaction() as connection:
            query = select(pictures.c.id).where(pictures.c.status == "found", clause(where, self.roots()))
            return np.array(connection.scalars(query.order_by(pictures.c.id)).all(), np.int64)

    def found_page(self, after: int, count: int) -> tuple[list[Found], Floats]:
        """The next ``count`` pictures that can be found, with ids above ``after``, by id; and their codes (n, d).

        Each page is read in its own transaction, so a slow caller blocks no writer.
        """
        query = select(*FOUND, codes.c.code).select_from(pictures).join(codes).order_by(pictures.c.id).limit(count)
        query = query.where(pictures.c.status == "found", pictures.c.id > after)
        with self.transaction() as connection:
            places, dim = self.roots(), self.meta().latent_dim
            rows = connection.execute(query).all()
        return [_found(row[:-1], places) for row in rows], matrix([(row.id, row.code) for row in rows], dim)[1]

    def hashes_by_size(self, sizes: Iterable[int]) -> dict[int, frozenset[bytes]]:
        """Content hashes of the encoded files of these sizes in bytes: candidates for a rename or a copy."""
        wanted, by_size = set(sizes), dict[int, set[bytes]]()
        if not wanted:
            return {}
        with self.transaction() as connection:
            for size, content_hash in connection.execute(
                select(pictures.c.size_bytes, pictures.c.content_hash).join(codes)
            ):
                if size in wanted:
                    by_size.setdefault(size, set()).add(content_hash)
        return {size: frozenset(hashes) for size, hashes in by_size.items()}

    def coded_by_hash(self, hashes: Iterable[bytes]) -> dict[bytes, tuple[Row, Floats]]:
        """For each of these contents that has a code: the row with the lowest id, and its code (d,)."""
        known: dict[bytes, tuple[Row, Floats]] = {}
        with self.transaction() as connection:
            wanted = sorted(set(hashes))
            for start in range(0, len(wanted), VARIABLES):
                part = wanted[start : start + VARIABLES]
                query = select(*ROW, codes.c.code).select_from(pictures).join(codes)
                query = query.where(pictures.c.content_hash.in_(part)).order_by(pictures.c.id.desc())
                for *row, code in connection.execute(query):
                    one = Row._make(row)
                    assert one.content_hash is not None
                    known[one.content_hash] = (one, np.frombuffer(code, "<f4"))
        return known

    def counts(self) -> dict[str, int]:
        """Number of rows in each state."""
        with self.transaction() as connection:
            query = select(pictures.c.status, func.count()).group_by(pictures.c.status)
            return {str(row[0]): int(row[1]) for row in connection.execute(query)}

    def skipped(self) -> list[Row]:
        with self.transaction() as connection:
            query = select(*ROW).where(pictures.c.status == "skipped").order_by(pictures.c.root_id, pictures.c.path)
            return [Row._make(row) for row in connection.execute(query)]

    # Codes

    def codes(self, ids: Sequence[int]) -> dict[int, Floats]:
        return dict(zip(*self.codes_of(ids), strict=True))

    def codes_of(self, ids: Sequence[int]) -> tuple[Ids, Floats]:
        """As ``codes``, but as arrays: ids (n,), ascending, and codes (n, d)."""
        with self.transaction() as connection:
            rows = connection.execute(CODES_OF, naming(ids)).all()
            return matrix(sorted(map(tuple, rows)), self.meta().latent_dim)

    def code_pages(self) -> Iterator[tuple[Ids, Floats]]:
        """Yield ids (b,) and codes (b, d) of all pictures that can be found, by id. Each page sees one state."""
        last, dim = 0, self.meta().latent_dim
        while True:
            with self.transaction() as connection:
                rows = connection.execute(CODED.where(pictures.c.id > last).limit(PAGE)).all()
            if not rows:
                return
            yield matrix([(row.id, row.code) for row in rows], dim)
            last = rows[-1].id

    def changed_since(self, generation: int) -> tuple[Ids, Ids, Floats]:
        """Ids that changed after ``generation``; and ids and codes of those that can be found now."""
        later = select(pictures.c.id).where(pictures.c.generation > generation).order_by(pictures.c.id)
        with self.transaction() as connection:
            touched = np.array(connection.scalars(later).all(), dtype=np.int64)
            rows = connection.execute(CODED.where(pictures.c.generation > generation)).all()
            return touched, *matrix([(row.id, row.code) for row in rows], self.meta().latent_dim)

    def some_codes(self, count: int) -> Floats:
        """About ``count`` codes (n, d) of pictures that can be found, drawn at random with a fixed seed."""
        query = CODES_OF.join(pictures).where(pictures.c.status == "found")
        with self.transaction() as connection:
            rows = connection.execute(query, naming(self._drawn_ids(connection, count))).all()
            _, drawn = matrix(sorted(map(tuple, rows)), self.meta().latent_dim)
        return drawn[np.random.default_rng(0).permutation(len(drawn))[:count]]

    def some_looks(self, count: int) -> Floats:
        """Realism and spread, float32 (n, 2), of about ``count`` pictures that can be found; the same on every call."""
        with self.transaction() as connection:
            rows = connection.execute(LOOKS_OF, naming(self._drawn_ids(connection, count))).all()
        return np.array([tuple(row) for row in rows], np.float32).reshape(-1, 2)

    def _drawn_ids(self, connection: Connection, count: int) -> list[int]:
        """Draw enough ids that about ``count`` of them can be found."""
        last, found = connection.scalar(select(func.max(pictures.c.id))) or 0, self.meta().found
        wanted = min(last, count * math.ceil(last / max(1, found)))
        return (np.random.default_rng(0).choice(last, wanted, replace=False) + 1).tolist() if last else []


def _found(row: Sequence[object], places: dict[int, str]) -> Found:
    root_id, number, path, *rest = row
    return Found(number, os.path.join(places[root_id], os.fsdecode(path)), *rest)  # type: ignore[index,arg-type]


def matrix(rows: list[tuple[int, bytes]], dim: int) -> tuple[Ids, Floats]:
    """Convert rows of id and stored code to arrays: ids (n,) and codes (n, d).

    Raises:
        IndexDamaged: a code has not ``dim`` dimensions.
    """
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    blob = b"".join(row[1] for row in rows)
    if len(blob) != len(rows) * dim * 4:
        raise IndexDamaged(f"a code in the catalog is not {dim} numbers long; restore the index from a backup")
    return ids, np.frombuffer(blob, "<f4").reshape(-1, dim)


def naming(ids: Sequence[int]) -> dict[str, str]:
    """The parameters that give ``NAMED`` these ids."""
    return {"ids": json.dumps(list(ids))}
