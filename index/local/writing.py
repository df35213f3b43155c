"""The catalog, written: whatever changes it is one transaction, and one generation of what can be found."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from index.atomic import flush_folder
from index.local.catalog import FILE_NAME, NAMED, Catalog, naming
from index.local.database import open_engine, translated
from index.local.tables import SCHEMA, codes, generations, meta, pictures, roots, tables
from index.records import READ_AGAIN, Change, Meta, State


class CatalogWriter(Catalog):
    """A catalog opened for writing; ``index.local.store`` sees to it that only one process does."""

    writing = True

    @classmethod
    def create(cls, folder: Path, facts: Meta) -> CatalogWriter:
        """Make a new catalog; a half-made one never stands at the final path."""
        part = folder / (FILE_NAME + ".part")
        for leftover in (part, part.with_name(part.name + "-journal")):  # of a process that was killed in its first act
            with suppress(FileNotFoundError):
                leftover.unlink()
        facts = replace(facts, stamp=xxhash.xxh3_128(facts.model_digest.encode()).digest())
        engine = open_engine(part, writing=True)
        with translated(part), engine.begin() as connection:
            tables.create_all(connection)
            connection.execute(insert(meta).values(id=1, schema=SCHEMA, **vars(facts)))
            connection.execute(insert(generations).values(generation=facts.generation, stamp=facts.stamp))
        engine.dispose()
        os.replace(part, folder / FILE_NAME)
        flush_folder(folder)
        return cls(folder)

    def add_root(self, path: str) -> int:
        """The id of the root at the absolute ``path``, new or known."""
        stored = self._portable(path)
        with self.transaction() as connection:
            known = connection.scalar(select(roots.c.id).where(roots.c.path == stored))
            if known is not None:
                return int(known)
            made = connection.execute(insert(roots).values(path=stored)).inserted_primary_key
            assert made is not None
            return int(made[0])

    def drop_root(self, root_id: int) -> int:
        """Forget a root with all its rows and codes; returns how many rows went."""
        with self.transaction() as connection:
            mine = select(pictures.c.id).where(pictures.c.root_id == root_id)
            ids = connection.scalars(mine).all()
            before = _count_found(connection, ids)
            connection.execute(delete(codes).where(codes.c.picture_id.in_(mine)))
            connection.execute(delete(pictures).where(pictures.c.root_id == root_id))
            connection.execute(delete(roots).where(roots.c.id == root_id))
            self._finish(connection, b"drop %d" % root_id, -before, rebuild=True)
        return len(ids)

    def _portable(self, path: str) -> bytes:
        inside = os.path.join(path, "").startswith(os.path.join(self.anchor, ""))
        return os.fsencode(os.path.relpath(path, self.anchor) if inside else path)

    def apply(self, changes: Sequence[Change]) -> None:
        """Write rows and codes in one transaction. A row whose code is None loses the code it had."""
        if not changes:
            return
        with self.transaction() as connection:
            before = _count_found(connection, [change.row.id for change in changes if change.row.id is not None])
            digest = self._write(connection, changes)
            after = sum(change.row.status == "found" for change in changes)
            self._finish(connection, digest, after - before)

    def mark(self, ids: Sequence[int], status: State, forget_codes: bool = False) -> None:
        """Give these rows another status; with ``forget_codes`` nothing of what was seen in them stays."""
        if not ids:
            return
        with self.transaction() as connection:
            before = _count_found(connection, ids)
            values: dict[str, Any] = {"status": status, "generation": self.meta().generation + 1}
            if forget_codes:
                values |= {"content_hash": None, "realism": None, "spread": None}
                _delete_codes(connection, ids)
            connection.execute(update(pictures).where(pictures.c.id.in_(NAMED)).values(values), naming(ids))
            digest = f"{status} {forget_codes} {sorted(ids)}".encode()
            self._finish(connection, digest, (len(ids) if status == "found" else 0) - before)

    def forget_lost_codes(self) -> None:
        """Have pictures read again that can be found but have no code, which no run of this program leaves behind."""
        with self.transaction() as connection:
            lost = (pictures.c.status == "found") & pictures.c.id.not_in(select(codes.c.picture_id))
            values = {"status": "skipped", "reason": "its code was lost", "realism": None, "mtime_ns": READ_AGAIN}
            connection.execute(update(pictures).where(lost).values(values))

    def recount(self) -> None:
        """Count again what is counted along, and have every cache rebuilt."""
        with self.transaction() as connection:
            findable = select(func.count()).select_from(pictures).where(pictures.c.status == "found")
            counted = connection.scalar(findable) or 0
            self._finish(connection, b"recount", counted - self.meta().found, rebuild=True)

    def _write(self, connection: Connection, changes: Sequence[Change]) -> bytes:
        """Insert the rows that have no id yet, overwrite the others, their codes beside them; a digest of it all."""
        digest, facts = xxhash.xxh3_128(), self.meta()
        new: list[dict[str, Any]] = []
        old: list[dict[str, Any]] = []
        coded: list[dict[str, Any]] = []
        for change in changes:
            values = {**change.row._asdict(), "generation": facts.generation + 1}
            if values["id"] is None:
                values["id"] = facts.next_id + len(new)
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
            connection.execute(update(meta).values(next_id=facts.next_id + len(new)))
        if old:
            connection.execute(update(pictures).where(pictures.c.id == bindparam("row_id")), old)
        if coded:
            connection.execute(insert(codes), coded)
        return digest.digest()

    def _finish(self, connection: Connection, change: bytes, found_more: int, rebuild: bool = False) -> None:
        """Close a change: the next generation, its stamp, and how many more pictures can be found."""
        facts = self.meta()
        generation, stamp = facts.generation + 1, xxhash.xxh3_128(facts.stamp + change).digest()
        values: dict[str, Any] = {"generation": generation, "stamp": stamp, "found": facts.found + found_more}
        connection.execute(update(meta).values(values | ({"rebuild_from": generation} if rebuild else {})))
        connection.execute(insert(generations).values(generation=generation, stamp=stamp))


def _count_found(connection: Connection, ids: Sequence[int]) -> int:
    query = select(func.count()).select_from(pictures)
    query = query.where(pictures.c.status == "found", pictures.c.id.in_(NAMED))
    return connection.scalar(query, naming(ids)) or 0


def _delete_codes(connection: Connection, ids: Sequence[int]) -> None:
    connection.execute(delete(codes).where(codes.c.picture_id.in_(NAMED)), naming(ids))
