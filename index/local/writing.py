"""The catalog, for writing: each change is one transaction and one generation."""

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
    """A catalog opened for writing. ``index.local.store`` ensures that only one process does so."""

    writing = True

    @classmethod
    def create(cls, folder: Path, facts: Meta) -> CatalogWriter:
        """Create a new catalog. It appears at its path only when it is complete."""
        part = folder / (FILE_NAME + ".part")
        for leftover in (part, part.with_name(part.name + "-journal")):  # of a killed process
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
        """Return the id of the root at the absolute ``path``; add the root if it is new."""
        stored = self._portable(path)
        with self.transaction() as connection:
            known = connection.scalar(select(roots.c.id).where(roots.c.path == stored))
            if known is not None:
                return int(known)
            made = connection.execute(insert(roots).values(path=stored)).inserted_primary_key
            assert made is not None
            return int(made[0])

    def drop_root(self, root_id: int) -> int:
        """Delete a root with all its rows and codes. Return the number of deleted rows."""
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
        """Write rows and codes in one transaction. If the code of a change is None, the row's old code is deleted."""
        if not changes:
            return
        with self.transaction() as connection:
            before = _count_found(connection, [change.row.id for change in changes if change.row.id is not None])
            digest = self._write(connection, changes)
            after = sum(change.row.status == "found" for change in changes)
            self._finish(connection, digest, after - before)

    def mark(self, ids: Sequence[int], status: State, forget_codes: bool = False) -> None:
        """Set the state of rows. ``forget_codes`` also deletes their codes, content hashes, realism and spread."""
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
        """Mark found pictures without a code to be read again. No run of this program leaves such rows behind."""
        with self.transaction() as connection:
            lost = (pictures.c.status == "found") & pictures.c.id.not_in(select(codes.c.picture_id))
            values = {"status": "skipped", "reason": "its code was lost", "realism": None, "mtime_ns": READ_AGAIN}
            connection.execute(update(pictures).where(lost).values(values))

    def recount(self) -> None:
        """Count again the pictures that can be found, and have all caches rebuilt."""
        with self.transaction() as connection:
            findable = select(func.count()).select_from(pictures).where(pictures.c.status == "found")
            counted = connection.scalar(findable) or 0
            self._finish(connection, b"recount", counted - self.meta().found, rebuild=True)

    def _write(self, connection: Connection, changes: Sequence[Change]) -> bytes:
        """Insert rows that have no id yet, overwrite the others, and write their codes. Return a digest of all."""
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
        """Finish a change: write the next generation, its stamp, and the new number of pictures that can be found."""
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
