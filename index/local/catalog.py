"""The catalog: one SQLite file, through SQLAlchemy, that holds the truth about an index.

Paths are stored as bytes, as the file system has them, relative to their photo root. A root is stored relative
to the folder that holds the index where it lies inside it, so that both can be moved together.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xxhash
from sqlalchemy import (
    Connection,
    CursorResult,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from index.errors import IndexDamaged, IndexMismatch
from index.local.database import open_engine, translated
from index.local.tables import SCHEMA, codes, directions, distinct, generations, meta, pictures, roots, tables
from index.records import READ_AGAIN, Change, Floats, Ids, Meta, Row, State

T = TypeVar("T")

FILE_NAME = "catalog.db"
VARIABLES = 500  # hashes in one IN (...): JSON knows no bytes
ROW = [pictures.c[name] for name in Row._fields]
NAMED = select(func.json_each(bindparam("ids")).table_valued("value").c.value)  # as many ids as there are
PICTURES_OF = select(*ROW).where(pictures.c.id.in_(NAMED))
LOOKS_OF = select(pictures.c.realism, pictures.c.spread).where(
    pictures.c.id.in_(NAMED), pictures.c.status == "found", pictures.c.realism.is_not(None)
)
CODES_OF = select(codes.c.picture_id, codes.c.code).where(codes.c.picture_id.in_(NAMED))


class Catalog:
    """One catalog file. Reading needs no lock; ``index.local.store`` sees to it that only one process writes."""

    def __init__(self, folder: Path, writing: bool) -> None:
        self.path = folder / FILE_NAME
        self.anchor = Path(os.path.realpath(folder)).parent
        self._engine = open_engine(self.path, writing)
        self._snapshot = threading.local()  # connection, and what was read through it
        if writing:
            with self.transaction() as connection:
                tables.create_all(connection, [distinct, directions])  # younger than the rest

    @classmethod
    def create(cls, folder: Path, facts: Meta) -> Catalog:
        """Make a new catalog; a half-made one never stands at the final path."""
        part = folder / (FILE_NAME + ".part")
        part.unlink(missing_ok=True)
        facts = replace(facts, stamp=xxhash.xxh3_128(facts.model_digest.encode()).digest())
        engine = open_engine(part, writing=True)
        with translated(part), engine.begin() as connection:
            tables.create_all(connection)
            connection.execute(insert(meta).values(id=1, schema=SCHEMA, **vars(facts)))
            connection.execute(insert(generations).values(generation=facts.generation, stamp=facts.stamp))
        engine.dispose()
        os.replace(part, folder / FILE_NAME)
        return cls(folder, writing=True)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Everything inside lands together or not at all; reads inside see one state."""
        shared = getattr(self._snapshot, "connection", None)
        if shared is not None:
            yield shared
            return
        with translated(self.path), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """For readers: whatever this thread reads inside is one state, and what it knows of the index as a whole is
        read again only if another process has written since.
        """
        with self.transaction() as connection:
            version = connection.exec_driver_sql("PRAGMA data_version").scalar()
            if connection.info.get("version") != version:
                connection.info.update(version=version, known={})
            self._snapshot.connection, self._snapshot.known = connection, connection.info["known"]
            try:
                yield
            finally:
                self._snapshot.__dict__.clear()

    def _once(self, name: str, read: Callable[[], T]) -> T:
        """What ``read`` gives, which inside a snapshot is remembered under ``name``."""
        known: dict[str, T] | None = getattr(self._snapshot, "known", None)
        if known is None:
            return read()
        if name not in known:
            known[name] = read()
        return known[name]

    def meta(self, connection: Connection | None = None) -> Meta:
        """The index as a whole.

        Raises:
            IndexMismatch: another schema.
        """
        if connection is None:
            with self.transaction() as own:
                return self.meta(own)
        return self._once("meta", lambda: self._read_meta(connection))

    def _read_meta(self, connection: Connection) -> Meta:
        row = connection.execute(select(meta)).mappings().first()
        if row is None:
            raise IndexDamaged(f"{self.path} has lost its head row; build the index again in another --index folder")
        if row["schema"] != SCHEMA:
            raise IndexMismatch(
                f"{self.path} has schema {row['schema']}, this program reads {SCHEMA}; "
                "use the version that built it, or build the index again"
            )
        return Meta(**{key: row[key] for key in Meta.__dataclass_fields__})

    # Roots

    def roots(self) -> dict[int, str]:
        """Each root's id and its absolute path on this machine."""
        return dict(self._once("roots", self._read_roots))

    def _read_roots(self) -> dict[int, str]:
        with self.transaction() as connection:
            rows = connection.execute(select(roots).order_by(roots.c.id)).all()
        return {row.id: os.path.normpath(os.path.join(self.anchor, os.fsdecode(row.path))) for row in rows}

    def add_root(self, path: str) -> int:
        """The id of the root at the absolute ``path``, new or known."""
        stored = self._portable(path)
        with self.transaction() as connection:
            known = connection.scalar(select(roots.c.id).where(roots.c.path == stored))
            if known is not None:
                return int(known)
            return _inserted_id(connection.execute(insert(roots).values(path=stored)))

    def drop_root(self, root_id: int) -> int:
        """Forget a root with all its rows and codes; returns how many rows went."""
        with self.transaction() as connection:
            facts = self.meta(connection)
            mine = select(pictures.c.id).where(pictures.c.root_id == root_id)
            ids = connection.scalars(mine).all()
            before = _count_found(connection, ids)
            connection.execute(delete(codes).where(codes.c.picture_id.in_(mine)))
            connection.execute(delete(pictures).where(pictures.c.root_id == root_id))
            connection.execute(delete(roots).where(roots.c.id == root_id))
            _finish(connection, facts, b"drop %d" % root_id, -before, rebuild=True)
        return len(ids)

    def _portable(self, path: str) -> bytes:
        inside = os.path.join(path, "").startswith(os.path.join(self.anchor, ""))
        return os.fsencode(os.path.relpath(path, self.anchor) if inside else path)

    # Pictures

    def listing(self, root_id: int) -> dict[bytes, Row]:
        """All rows of a root by path."""
        with self.transaction() as connection:
            rows = connection.execute(select(*ROW).where(pictures.c.root_id == root_id)).all()
        return {picture.path: picture for picture in map(Row._make, rows)}

    def at_path(self, root_id: int, path: bytes) -> Row | None:
        with self.transaction() as connection:
            where = (pictures.c.root_id == root_id) & (pictures.c.path == path)
            row = connection.execute(select(*ROW).where(where)).first()
        return None if row is None else Row._make(row)

    def pictures(self, ids: Sequence[int]) -> dict[int, Row]:
        with self.transaction() as connection:
            rows = connection.execute(PICTURES_OF, _naming(ids)).all()
        return {row.id: Row._make(row) for row in rows}

    def hashes_by_size(self, sizes: Iterable[int]) -> dict[int, frozenset[bytes]]:
        """Content hashes of the coded pictures that have one of these sizes: candidates for a rename or a copy."""
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
        """For each of these contents that is coded, the row with the lowest id, and its code."""
        known: dict[bytes, tuple[Row, Floats]] = {}
        with self.transaction() as connection:
            wanted = sorted(set(hashes))
            for start in range(0, len(wanted), VARIABLES):
                part = wanted[start : start + VARIABLES]
                query = select(*ROW, codes.c.code).select_from(pictures).join(codes)
                query = query.where(pictures.c.content_hash.in_(part)).order_by(pictures.c.id.desc())
                for *row, code in connection.execute(query):
                    picture = Row._make(row)
                    assert picture.content_hash is not None
                    known[picture.content_hash] = (picture, np.frombuffer(code, "<f4"))
        return known

    def codes(self, ids: Sequence[int]) -> dict[int, Floats]:
        return dict(zip(*self.codes_of(ids), strict=True))

    def codes_of(self, ids: Sequence[int]) -> tuple[Ids, Floats]:
        """As ``codes``, as arrays: ids (n,) ascending and codes (n, d)."""
        with self.transaction() as connection:
            rows = connection.execute(CODES_OF, _naming(ids)).all()
            return _matrix(sorted(map(tuple, rows)), self.meta(connection).latent_dim)

    def some_codes(self, connection: Connection, count: int, dim: int) -> Floats:
        """About ``count`` codes (n, d) of what can be found, or all; drawn at random, and always the same."""
        query = CODES_OF.join(pictures).where(pictures.c.status == "found")
        rows = connection.execute(query, _naming(self._drawn_ids(connection, count))).all()
        _, matrix = _matrix(sorted(map(tuple, rows)), dim)
        return matrix[np.random.default_rng(0).permutation(len(matrix))[:count]]

    def some_looks(self, count: int) -> Floats:
        """Realism and spread, float32 (n, 2), of about ``count`` pictures that can be found, always the same ones."""
        with self.transaction() as connection:
            rows = connection.execute(LOOKS_OF, _naming(self._drawn_ids(connection, count))).all()
        return np.array([tuple(row) for row in rows], np.float32).reshape(-1, 2)

    def _drawn_ids(self, connection: Connection, count: int) -> list[int]:
        """So many ids that about ``count`` of them can be found."""
        last, found = connection.scalar(select(func.max(pictures.c.id))) or 0, self.meta(connection).found
        wanted = min(last, count * math.ceil(last / max(1, found)))
        return (np.random.default_rng(0).choice(last, wanted, replace=False) + 1).tolist() if last else []

    def found_codes(self, connection: Connection, dim: int, batch: int = 10_000) -> Iterator[tuple[Ids, Floats]]:
        """Ids (b,) and codes (b, d) of everything that can be found, in the order of the ids."""
        query = (
            select(pictures.c.id, codes.c.code).join(codes).where(pictures.c.status == "found").order_by(pictures.c.id)
        )
        for rows in connection.execute(query).partitions(batch):
            yield _matrix([(row.id, row.code) for row in rows], dim)

    def found_page(self, after: int, count: int) -> tuple[list[Row], Floats]:
        """The next ``count`` pictures that can be found, by id, behind the id ``after``; and their codes (n, d).

        A page is a state of its own, so that who takes long with it keeps no writer waiting.
        """
        query = select(*ROW, codes.c.code).select_from(pictures).join(codes).order_by(pictures.c.id).limit(count)
        query = query.where(pictures.c.status == "found", pictures.c.id > after)
        with self.transaction() as connection:
            rows = connection.execute(query).all()
            dim = self.meta(connection).latent_dim
        return [Row._make(row[:-1]) for row in rows], _matrix([(row.id, row.code) for row in rows], dim)[1]

    def changed_since(self, connection: Connection, generation: int, dim: int) -> tuple[Ids, Ids, Floats]:
        """Ids whose code changed, came or went after ``generation``; and ids and codes of those to be found now."""
        later = select(pictures.c.id).where(pictures.c.generation > generation).order_by(pictures.c.id)
        touched = np.array(connection.scalars(later).all(), dtype=np.int64)
        query = select(pictures.c.id, codes.c.code).join(codes).order_by(pictures.c.id)
        query = query.where((pictures.c.generation > generation) & (pictures.c.status == "found"))
        return touched, *_matrix([(row.id, row.code) for row in connection.execute(query)], dim)

    def apply(self, changes: Sequence[Change]) -> None:
        """Write rows and codes in one transaction. A row whose code is None loses the code it had."""
        if not changes:
            return
        with self.transaction() as connection:
            facts = self.meta(connection)
            before = _count_found(connection, [change.row.id for change in changes if change.row.id is not None])
            digest = _write(connection, changes, facts.generation + 1)
            after = sum(change.row.status == "found" for change in changes)
            _finish(connection, facts, digest, after - before)

    def mark(self, ids: Sequence[int], status: State, forget_codes: bool = False) -> None:
        """Give these rows another status; with ``forget_codes`` nothing of what was seen in them stays."""
        if not ids:
            return
        with self.transaction() as connection:
            facts = self.meta(connection)
            before = _count_found(connection, ids)
            values: dict[str, Any] = {"status": status, "generation": facts.generation + 1}
            if forget_codes:
                values |= {"content_hash": None, "realism": None, "spread": None}
                _delete_codes(connection, ids)
            connection.execute(update(pictures).where(pictures.c.id.in_(NAMED)).values(values), _naming(ids))
            digest = f"{status} {forget_codes} {sorted(ids)}".encode()
            _finish(connection, facts, digest, (len(ids) if status == "found" else 0) - before)

    def stamp_of(self, connection: Connection, generation: int) -> bytes | None:
        """The stamp that a generation of this very history has; None where it never came to that."""
        query = select(generations.c.stamp).where(generations.c.generation == generation)
        return self._once(f"stamp of {generation}", lambda: connection.scalar(query))

    def forget_lost_codes(self) -> None:
        """Have pictures read again that can be found but have no code, which no run of this program leaves behind."""
        with self.transaction() as connection:
            lost = (pictures.c.status == "found") & pictures.c.id.not_in(select(codes.c.picture_id))
            values = {"status": "skipped", "reason": "its code was lost", "realism": None, "mtime_ns": READ_AGAIN}
            connection.execute(update(pictures).where(lost).values(values))

    def counts(self) -> dict[str, int]:
        with self.transaction() as connection:
            query = select(pictures.c.status, func.count()).group_by(pictures.c.status)
            return {str(row[0]): int(row[1]) for row in connection.execute(query)}

    def skipped(self) -> list[Row]:
        with self.transaction() as connection:
            query = select(*ROW).where(pictures.c.status == "skipped").order_by(pictures.c.root_id, pictures.c.path)
            return [Row._make(row) for row in connection.execute(query)]

    def faults(self) -> list[str]:
        """What is wrong inside the catalog itself, in words; empty where all is well."""
        found: list[str] = []
        with self.transaction() as connection:
            checked = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
            found += [f"catalog: {line}" for line in checked if line != "ok"]
            facts = self.meta(connection)
            coded = select(func.count()).select_from(pictures).join(codes).where(pictures.c.status == "found")
            plain = select(func.count()).select_from(pictures).where(pictures.c.status == "found")
            with_code, findable = connection.scalar(coded) or 0, connection.scalar(plain) or 0
            if with_code != findable:
                found.append(f"catalog: {findable - with_code} found pictures have no code")
            if findable != facts.found:
                found.append(f"catalog: {findable} pictures can be found, but {facts.found} are counted")
            for ids, matrix in self.found_codes(connection, facts.latent_dim):
                found += [f"catalog: the code of picture {i} is not finite" for i in ids[~np.isfinite(matrix).all(1)]]
        return found

    def recount(self) -> None:
        """Count again what is counted along, and have every cache rebuilt."""
        with self.transaction() as connection:
            facts = self.meta(connection)
            findable = select(func.count()).select_from(pictures).where(pictures.c.status == "found")
            _finish(connection, facts, b"recount", (connection.scalar(findable) or 0) - facts.found, rebuild=True)


def _count_found(connection: Connection, ids: Sequence[int]) -> int:
    query = select(func.count()).select_from(pictures)
    query = query.where(pictures.c.status == "found", pictures.c.id.in_(NAMED))
    return connection.scalar(query, _naming(ids)) or 0


def _delete_codes(connection: Connection, ids: Sequence[int]) -> None:
    connection.execute(delete(codes).where(codes.c.picture_id.in_(NAMED)), _naming(ids))


def _finish(connection: Connection, facts: Meta, change: bytes, found_more: int, rebuild: bool = False) -> None:
    """Close a change: the next generation, its stamp, and how many more pictures can be found."""
    generation, stamp = facts.generation + 1, xxhash.xxh3_128(facts.stamp + change).digest()
    values: dict[str, Any] = {"generation": generation, "stamp": stamp, "found": facts.found + found_more}
    connection.execute(update(meta).values(values | ({"rebuild_from": generation} if rebuild else {})))
    connection.execute(insert(generations).values(generation=generation, stamp=stamp))


def _write(connection: Connection, changes: Sequence[Change], generation: int) -> bytes:
    """Insert the rows that have no id yet, overwrite the others, put their codes beside them; a digest of it all."""
    digest = xxhash.xxh3_128()
    next_id = (connection.scalar(select(func.max(pictures.c.id))) or 0) + 1
    new: list[dict[str, Any]] = []
    old: list[dict[str, Any]] = []
    coded: list[dict[str, Any]] = []
    for change in changes:
        values = {**change.row._asdict(), "generation": generation}
        if values["id"] is None:
            values["id"] = next_id + len(new)
            new.append(values)
        else:
            old.append({**values, "row_id": values["id"]})
        if change.code is not None:
            coded.append({"picture_id": values["id"], "code": np.ascontiguousarray(change.code, "<f4").tobytes()})
            digest.update(coded[-1]["code"])
        digest.update(f"{values['id']} {values['status']}".encode())
    _delete_codes(connection, [values["id"] for values in old])
    if new:
        connection.execute(insert(pictures), new)
    if old:
        connection.execute(update(pictures).where(pictures.c.id == bindparam("row_id")), old)
    if coded:
        connection.execute(insert(codes), coded)
    return digest.digest()


def _inserted_id(result: CursorResult[Any]) -> int:
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


def _matrix(rows: list[tuple[int, bytes]], dim: int) -> tuple[Ids, Floats]:
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    blob = b"".join(row[1] for row in rows)
    if len(blob) != len(rows) * dim * 4:
        raise IndexDamaged(f"a code in the catalog is not {dim} numbers long; restore the index from a backup")
    return ids, np.frombuffer(blob, "<f4").reshape(-1, dim)


def _naming(ids: Sequence[int]) -> dict[str, str]:
    """The parameter that ``NAMED`` stands for."""
    return {"ids": json.dumps(list(ids))}
