"""The catalog, for writing: each change is one transaction and one generation."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from index.atomic import flush_folder
from index.local.catalog import NAMED, PAGE, SUMMED, Catalog, naming
from index.local.database import FILE_NAME, SQLite, open_engine, translated
from index.local.facts import forget_lost
from index.local.facts import keep as keep_facts
from index.local.files import make_new
from index.local.sanity import is_sane, meta_sum
from index.local.sums import code_sum, row_sum, sum_of
from index.local.tables import SCHEMA, codes, directions, generations, meta, pictures, roots, tables
from index.records import Change, Facts, Meta, Row, State

ROWS_OF = select(*SUMMED).where(pictures.c.id.in_(NAMED))


class CatalogWriter(Catalog):
    """A catalog opened for writing. ``index.local.store`` ensures that only one process writes to a file."""

    writing = True

    @classmethod
    def create(cls, folder: Path, facts: Meta) -> CatalogWriter:
        """Create a new catalog. It appears at its path only when it is complete."""
        part = folder / (FILE_NAME + ".part")
        make_new(part)
        engine = open_engine(part, writing=True, empty=True)
        with translated(part), engine.begin() as connection:
            create_tables(connection, facts)
        engine.dispose()
        os.replace(part, folder / FILE_NAME)
        flush_folder(folder)
        return cls(SQLite(folder))

    def claim(self, root_ids: Collection[int]) -> set[int]:
        """All of these roots: no other process writes to a file."""
        return set(root_ids)

    def add_root(self, path: str) -> int:
        """Return the id of the root at the absolute ``path``; add the root if it is new."""
        stored = self._portable(path)
        with self.changing() as connection:
            known = connection.scalar(select(roots.c.id).where(roots.c.path == stored))
            if known is not None:
                return int(known)
            root_id = 1 + (connection.scalar(select(func.max(roots.c.id))) or 0)
            values = {"id": root_id, "path": stored, "checksum": sum_of(root_id, stored)}
            connection.execute(insert(roots).values(values))
            return root_id

    def drop_root(self, root_id: int) -> int:
        """Delete a root with all its rows and codes. Return the number of deleted rows."""
        with self.changing() as connection:
            mine = select(pictures.c.id).where(pictures.c.root_id == root_id)
            ids = connection.scalars(mine).all()
            before, contents = _count_found(connection, ids), _contents(connection, ids)
            connection.execute(delete(codes).where(codes.c.picture_id.in_(mine)))
            connection.execute(delete(pictures).where(pictures.c.root_id == root_id))
            connection.execute(delete(roots).where(roots.c.id == root_id))
            forget_lost(connection, contents)
            self._finish(connection, b"drop %d" % root_id, -before, rebuild=True)
        return len(ids)

    def _portable(self, path: str) -> bytes:
        anchor = self.database.anchor
        inside = anchor is not None and os.path.join(path, "").startswith(os.path.join(anchor, ""))
        return os.fsencode(os.path.relpath(path, anchor) if inside else path)

    def apply(self, changes: Sequence[Change]) -> None:
        """Write rows, codes and facts in one transaction. If the code of a change is None, its row's old code goes.

        Facts of contents that no row has any more go, too.
        """
        if not changes:
            return
        with self.changing() as connection:
            old = [change.row.id for change in changes if change.row.id is not None]
            before, contents = _count_found(connection, old), _contents(connection, old)
            digest = self._write(connection, changes)
            forget_lost(connection, contents)
            after = sum(change.row.status == "found" for change in changes)
            self._finish(connection, digest, after - before)

    def keep_facts(self, facts: Mapping[bytes, Facts]) -> None:
        """Store facts of contents in one transaction, in place of older ones.

        No code changes, so no generation begins.
        """
        with self.changing() as connection:
            keep_facts(connection, facts)

    def mark(self, ids: Sequence[int], status: State, forget_codes: bool = False) -> None:
        """Set the state of rows. ``forget_codes`` also deletes their codes, content hashes and looks."""
        if not ids:
            return
        with self.changing() as connection:
            before = _count_found(connection, ids)
            contents = _contents(connection, ids) if forget_codes else set()
            changes: dict[str, Any] = {"status": status, "generation": self.meta().generation + 1}
            if forget_codes:
                changes |= {"content_hash": None, "realism": None, "spread": None, "unfamiliarity": None}
                delete_codes(connection, ids)
            for start in range(0, len(ids), PAGE):
                rows = connection.execute(ROWS_OF, naming(ids[start : start + PAGE])).all()
                overwrite(connection, [self._row(row)._replace(**changes) for row in rows])
            forget_lost(connection, contents)
            digest = f"{status} {forget_codes} {sorted(ids)}".encode()
            self._finish(connection, digest, (len(ids) if status == "found" else 0) - before)

    def change_model(self, facts: Meta) -> None:
        """Note that all codes are of another model now. Directions, which were of the old codes, are forgotten."""
        with self.changing() as connection:
            connection.execute(delete(directions))
            of_model = {
                name: getattr(facts, name) for name in ("model_name", "model_digest", "latent_dim", "standardized")
            }
            self._write_meta(connection, replace(self.meta(), **of_model))
            self._finish(connection, b"model " + facts.model_digest.encode(), 0, rebuild=True)

    def recount(self) -> None:
        """Count again the pictures that can be found, and have all caches rebuilt."""
        with self.changing() as connection:
            findable = select(func.count()).select_from(pictures).where(pictures.c.status == "found")
            counted = connection.scalar(findable) or 0
            self._finish(connection, b"recount", counted - self.meta().found, rebuild=True)

    def _write(self, connection: Connection, changes: Sequence[Change]) -> bytes:
        """Insert rows that have no id yet, overwrite the others, and write their codes. Return a digest of all."""
        digest, facts = xxhash.xxh3_128(), self.meta()
        new: list[dict[str, Any]] = []
        old: list[Row] = []
        coded: list[dict[str, Any]] = []
        for change in changes:
            number = change.row.id if change.row.id is not None else facts.next_id + len(new)
            row = change.row._replace(id=number, generation=facts.generation + 1)
            if change.row.id is None:
                new.append(row_values(row))
            else:
                old.append(row)
            if change.code is not None:
                code = np.ascontiguousarray(change.code, "<f4").tobytes()
                coded.append({"picture_id": number, "code": code, "checksum": code_sum(number, code)})
                digest.update(code)
            digest.update(f"{number} {row.status}".encode())
        delete_codes(connection, [row.id for row in old if row.id is not None])
        if new:
            self.database.insert(connection, pictures, new)
            self._write_meta(connection, replace(facts, next_id=facts.next_id + len(new)))
        overwrite(connection, old)
        if coded:
            self.database.insert(connection, codes, coded)
        known = {one.row.content_hash: one.facts for one in changes}
        keep_facts(connection, {content: facts for content, facts in known.items() if content and facts})
        return digest.digest()

    def _finish(self, connection: Connection, change: bytes, found_more: int, rebuild: bool = False) -> None:
        """Finish a change: write the next generation, its stamp, and the new number of pictures that can be found."""
        facts = self.meta()
        generation, stamp = facts.generation + 1, xxhash.xxh3_128(facts.stamp + change).digest()
        facts = replace(facts, generation=generation, stamp=stamp, found=facts.found + found_more)
        self._write_meta(connection, replace(facts, rebuild_from=generation) if rebuild else facts)
        connection.execute(insert(generations).values(generation=generation, stamp=stamp))

    def _write_meta(self, connection: Connection, facts: Meta) -> None:
        connection.execute(update(meta).values({**vars(facts), "checksum": meta_sum(facts)}))


def create_tables(connection: Connection, facts: Meta) -> None:
    """Create the tables of a new catalog, and its head row."""
    facts = replace(facts, stamp=xxhash.xxh3_128(facts.model_digest.encode()).digest())
    tables.create_all(connection, checkfirst=False)  # there are no tables, or this fails
    values = {**vars(facts), "id": 1, "schema": SCHEMA, "checksum": meta_sum(facts)}
    connection.execute(insert(meta).values(values))
    connection.execute(insert(generations).values(generation=facts.generation, stamp=facts.stamp))


def row_values(row: Row) -> dict[str, Any]:
    """The values of a row to store, in the form in which SQLite returns them, with their checksum.

    SQLite has no -0.0 and no NaN, and a reason may quote a name that is no Unicode.
    """
    given = (row.realism, row.spread, row.unfamiliarity)
    looks = [None if one is None or isnan(one) else float(one) + 0.0 for one in given]
    reason = None if row.reason is None else row.reason.encode("utf-8", "backslashreplace").decode()
    row = row._replace(realism=looks[0], spread=looks[1], unfamiliarity=looks[2], reason=reason)
    if not is_sane(row):
        raise ValueError(f"no row of an index can be {row}")
    return {**row._asdict(), "checksum": row_sum(row)}


def overwrite(connection: Connection, rows: Sequence[Row]) -> None:
    if rows:
        values = [{**row_values(row), "row_id": row.id} for row in rows]
        connection.execute(update(pictures).where(pictures.c.id == bindparam("row_id")), values)


def _count_found(connection: Connection, ids: Sequence[int]) -> int:
    query = select(func.count()).select_from(pictures)
    query = query.where(pictures.c.status == "found", pictures.c.id.in_(NAMED))
    return connection.scalar(query, naming(ids)) or 0


def _contents(connection: Connection, ids: Sequence[int]) -> set[bytes]:
    """The contents of these rows; what is damaged may be of any type, and has no facts."""
    found = connection.scalars(select(pictures.c.content_hash).where(pictures.c.id.in_(NAMED)), naming(ids))
    return {one for one in found if isinstance(one, bytes)}


def delete_codes(connection: Connection, ids: Sequence[int]) -> None:
    connection.execute(delete(codes).where(codes.c.picture_id.in_(NAMED)), naming(ids))
