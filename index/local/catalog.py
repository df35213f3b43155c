"""The catalog, for reading: the truth about an index, in SQLite's file or on a server, read through SQLAlchemy.

Paths are stored as bytes, as in the file system, relative to their photo root. A root inside the folder that holds the
index is stored relative to that folder, so that both can be moved together; on a server all are absolute.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy import Row as Record

from index.errors import IndexDamaged, IndexMismatch
from index.local.arrays import whole_numbers
from index.local.draws import drawn_ids
from index.local.facts import HELD_FACTS
from index.local.facts import last as last_facts
from index.local.facts import read as read_facts
from index.local.filters import asks_contents, clause, in_order, source_of
from index.local.orders import Orders
from index.local.sanity import are_inside, is_inside, is_sane_meta, is_sane_root, is_whole, meta_sum
from index.local.shared import Shared
from index.local.sums import Coded, damaged_codes, sum_of
from index.local.tables import codes, generations, meta, pictures, roots
from index.local.transactions import Database, Transactions
from index.local.words import Words
from index.records import Facts, Floats, Found, Ids, Meta, Row
from index.roots import on_this_machine
from index.where import AllOf, Order, Where

T = TypeVar("T")

PAGE = 10_000  # codes per transaction: a writer never waits longer for a reader
MOST_LOOKS = 1e30  # of realism and spread, in float32
VARIABLES = 500  # hashes in one IN (...): JSON knows no bytes
RESTORE = "restore the index from a backup, or build it again in another folder"
ROW = [pictures.c[name] for name in Row._fields]
FACTS_OF = attrgetter(*Found._fields[2:])
SUMMED = [*ROW, pictures.c.checksum]
WITHOUT_FACTS = (pictures.c.status == "found", pictures.c.content_hash.is_not(None), ~HELD_FACTS)
CODE = [codes.c.picture_id, codes.c.code, codes.c.checksum]
NAMED = select(func.json_each(bindparam("ids")).table_valued("value").c.value)  # for any number of ids
FOUND_OF = select(*SUMMED).where(pictures.c.id.in_(NAMED), pictures.c.status == "found")
LOOKS_OF = select(pictures.c.realism, pictures.c.spread).where(
    pictures.c.id.in_(NAMED), pictures.c.status == "found", pictures.c.realism.is_not(None)
)
CODES_OF = select(*CODE).where(codes.c.picture_id.in_(NAMED))
CODED = select(*CODE).select_from(pictures).join(codes).where(pictures.c.status == "found").order_by(pictures.c.id)


class Catalog(Transactions):
    """One catalog, opened for reading. Any thread may read it. Each transaction sees one state."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._shared = Shared()
        self._model: str | None = None  # whose codes are read: never those of two in one object

    def meta(self) -> Meta:
        """Facts about the index as a whole."""
        return self._once("meta", self._read_meta)

    def _read_meta(self, connection: Connection) -> Meta:
        row = connection.execute(select(meta)).mappings().first()
        if row is None:
            raise IndexDamaged(f"{self.name} has lost its head row; build the index again in another folder")
        facts = Meta(**{key: row[key] for key in Meta.__dataclass_fields__})
        if not is_sane_meta(facts, self.database.stored_bytes(connection)) or meta_sum(facts) != row["checksum"]:
            raise IndexDamaged(f"the head row of {self.name} is damaged; {RESTORE}")
        if not self.writing and self._model not in (None, facts.model_digest):
            raise IndexMismatch(
                f"{self.name} has codes of another model, {facts.model_name}, since it was opened; open it again",
                code="model_changed",
            )
        self._model = facts.model_digest
        return facts

    def stamp_of(self, generation: int) -> bytes | None:
        """The stamp of a generation in the history of this catalog; None if it has no such generation."""
        query = select(generations.c.stamp).where(generations.c.generation == generation)
        return self._once(f"stamp of {generation}", lambda connection: connection.scalar(query))

    def roots(self) -> dict[int, str]:
        """Id of each photo root -> its absolute path on this machine."""
        return dict(self._once("roots", self._read_roots))

    def _read_roots(self, connection: Connection) -> dict[int, str]:
        rows = connection.execute(select(roots).order_by(roots.c.id)).all()
        for row in rows:
            if sum_of(row.id, row.path) != row.checksum or not is_sane_root(row.path):
                raise IndexDamaged(f"the path of root {row.id} in {self.name} is damaged; {RESTORE}")
        anchor = self.database.anchor or ""
        return {row.id: on_this_machine(anchor, os.fsdecode(row.path)) for row in rows}

    def shared(self, name: str, read: Callable[[Connection], T]) -> T:
        """What ``read`` makes of the current state, held once for all threads until that changes.

        A writer keeps nothing: it sees what it has not committed.
        """
        with self.transaction() as connection:
            if self.writing:
                return read(connection)
            facts, last = self.meta(), self._once("last facts", last_facts)
            return self._shared.of((facts.generation, facts.stamp, last), name, lambda: read(connection))

    # Rows

    def listing(self, root_id: int) -> dict[bytes, Row]:
        """All rows of a root by path. Only the paths are checked: other facts are compared with those of the files."""
        with self.transaction() as connection:
            rows = connection.execute(select(*ROW).where(pictures.c.root_id == root_id)).all()
            listed = {row.path: row for row in map(Row._make, rows)}
            self._check_paths(listed)
        return listed

    def _check_paths(self, listed: dict[bytes, Row]) -> None:
        with suppress(TypeError):
            if are_inside(list(listed)):
                return
        for path, row in listed.items():
            if not isinstance(path, bytes) or not is_inside(path):
                raise self.damage("row", row.id or 0)

    def at_path(self, root_id: int, path: bytes) -> Row | None:
        with self.transaction() as connection:
            where = (pictures.c.root_id == root_id) & (pictures.c.path == path)
            row = connection.execute(select(*SUMMED).where(where)).first()
            return None if row is None else self._row(row)

    def _row(self, record: Record[Any]) -> Row:
        """The row in ``record``, which has the columns ``SUMMED`` first."""
        row = Row._make(record[: len(ROW)])
        if not is_whole(row, record[len(ROW)]):
            raise self.damage("row", record.id)
        return row

    def _picture(self, record: Record[Any], places: dict[int, str]) -> Found:
        row = self._row(record)
        if row.root_id not in places:
            raise self.damage("row", record.id)
        path = os.path.join(places[row.root_id], os.fsdecode(row.path))
        return Found(record.id, path, *FACTS_OF(row))

    def damage(self, what: str, number: int) -> IndexDamaged:
        """The error that names a picture whose row or code is damaged."""
        text = f"the {what} of {self.name_of(number)} in {self.name} is damaged; repair the index, and update it"
        return IndexDamaged(text, code="picture_damaged", id=number)

    def name_of(self, number: int) -> str:
        """A picture for a message: its id and, if that can be read, its path."""
        with self.transaction() as connection:
            row = connection.execute(select(pictures.c.root_id, pictures.c.path).where(pictures.c.id == number)).first()
            root = None if row is None else self.roots().get(row.root_id)
        if row is None or root is None or not isinstance(row.path, bytes) or not is_inside(row.path):
            return f"picture {number}"
        return f"picture {number} ({os.path.join(root, os.fsdecode(row.path))})"

    def found(self, ids: Sequence[int]) -> dict[int, Found]:
        """The pictures among ``ids`` that can be found."""
        with self.transaction() as connection:
            places = self.roots()
            rows = connection.execute(FOUND_OF, naming(ids)).all()
            return {row.id: self._picture(row, places) for row in rows}

    def found_ids(self, where: Where, among: Sequence[int] | None = None) -> Ids:
        """Ids (n,) of the pictures that can be found and match ``where``, ascending; of those ``among`` some ids."""
        with self.transaction() as connection:
            query = select(pictures.c.id).select_from(source_of(where))
            query = query.where(pictures.c.status == "found", clause(where, self.roots()))
            if among is not None:
                query = query.where(pictures.c.id.in_(NAMED))
                return np.sort(np.array(connection.scalars(query, naming(among)).all(), np.int64))
            return np.sort(whole_numbers(connection, query)[0])  # in no order: SQLite would rather not use indexes

    def sample(self, count: int) -> list[int]:
        """Ids of about ``count`` pictures that can be found, drawn at random with a fixed seed."""

        def draw(connection: Connection) -> list[int]:
            ids = drawn_ids(connection, count, self.meta().found)
            findable = select(pictures.c.id).where(pictures.c.status == "found", pictures.c.id.in_(NAMED))
            return list(connection.scalars(findable, naming(ids)).all())

        return self._once(f"sample of {count}", draw)

    def with_words(self, text: str) -> list[int]:
        """Ids of the pictures whose path, title or keywords have all words of ``text``; best first."""
        with self.transaction():
            return self.shared("words", Words).matching(text)

    def count(self, where: Where) -> int:
        """How many pictures can be found and match ``where``."""
        with self.transaction() as connection:
            query = select(func.count()).select_from(source_of(where))
            query = query.where(pictures.c.status == "found", clause(where, self.roots()))
            return int(connection.scalar(query) or 0)

    def listed(
        self, where: Where | None, order: Order, descending: bool, count: int | None, offset: int
    ) -> list[Found]:
        """Pictures that can be found and match ``where``, in an order; of equals, the lower id first."""
        where = where or AllOf(())
        with self.transaction() as connection:
            orders = self.shared("orders", lambda _: Orders())
            ids = orders.of((where, order, descending), lambda: self._in_order(connection, where, order, descending))
            page = ids[offset:][:count].tolist()
            pictures_of = self.found(page)
            found = [pictures_of[one] for one in page]
            self.check_facts(where, found)
            return found

    def _in_order(self, connection: Connection, where: Where, order: Order, descending: bool) -> Ids:
        places = self.roots()
        query = select(pictures.c.id).select_from(source_of(where, order)).where(pictures.c.status == "found")
        query = query.where(clause(where, places)).order_by(*in_order(order, descending, places), pictures.c.id)
        return whole_numbers(connection, query)[0]

    def found_page(self, after: int, count: int, where: Where | None = None) -> tuple[list[Found], Floats]:
        """The next ``count`` pictures that can be found and match ``where``, with ids above ``after``, by id; and their
        codes (n, d).

        Each page is read in its own transaction, so a slow caller blocks no writer.
        """
        where = where or AllOf(())
        with self.transaction() as connection:
            places = self.roots()
            source = source_of(where).join(codes, codes.c.picture_id == pictures.c.id)
            query = select(*SUMMED, *CODE).select_from(source).order_by(pictures.c.id).limit(count)
            query = query.where(pictures.c.status == "found", pictures.c.id > after, clause(where, places))
            rows = connection.execute(query).all()
            found = [self._picture(row, places) for row in rows]
            self.check_facts(where, found)
            return found, self._matrix([tuple(row[-len(CODE) :]) for row in rows])[1]

    def hashes_by_size(self, sizes: Iterable[int]) -> dict[int, frozenset[bytes]]:
        """Content hashes of the encoded files of these sizes in bytes: candidates for a rename or a copy."""
        wanted, by_size = set(sizes), dict[int, set[bytes]]()
        if not wanted:
            return {}
        with self.transaction() as connection:
            for size, content_hash in connection.execute(
                select(pictures.c.size_bytes, pictures.c.content_hash).join(codes)
            ):
                if size in wanted and isinstance(content_hash, bytes):
                    by_size.setdefault(size, set()).add(content_hash)
        return {size: frozenset(hashes) for size, hashes in by_size.items()}

    def coded_by_hash(self, hashes: Iterable[bytes]) -> dict[bytes, tuple[Row, Floats]]:
        """For each of these contents that has a code: the row with the lowest id, and its code (d,)."""
        known: dict[bytes, tuple[Row, Floats]] = {}
        with self.transaction() as connection:
            wanted = sorted(set(hashes))
            for start in range(0, len(wanted), VARIABLES):
                part = wanted[start : start + VARIABLES]
                query = select(*SUMMED, *CODE).select_from(pictures).join(codes)
                query = query.where(pictures.c.content_hash.in_(part)).order_by(pictures.c.id.desc())
                rows = connection.execute(query).all()
                matrix = self._matrix([tuple(row[-len(CODE) :]) for row in rows])[1]
                for row, code in zip(map(self._row, rows), matrix, strict=True):
                    assert row.content_hash is not None
                    known[row.content_hash] = (row, code)
        return known

    def facts(self, hashes: Iterable[bytes]) -> dict[bytes, Facts]:
        """The facts of these contents, of those that have any."""
        found: dict[bytes, Facts] = {}
        with self.transaction() as connection:
            for content_hash, known in read_facts(connection, hashes):
                if known is None:
                    raise IndexDamaged(
                        f"the facts of content {content_hash.hex()} in {self.name} are damaged; repair the index, and "
                        "have facts read again",
                        code="facts_damaged",
                    )
                found[content_hash] = known
        return found

    def check_facts(self, where: Where | None, found: Iterable[Found]) -> None:
        """Check the facts of pictures that ``where`` let pass: it compares facts without their checksums.

        Raises:
            IndexDamaged: as ``facts``.
        """
        if where is not None and asks_contents(where):
            self.facts(one.content_hash for one in found)

    def without_facts(self) -> list[Row]:
        """Rows of pictures that can be found and whose contents have no facts, by root and path."""
        query = select(*SUMMED).where(*WITHOUT_FACTS)
        with self.transaction() as connection:
            records = connection.execute(query.order_by(pictures.c.root_id, pictures.c.path)).all()
            return [self._row(record) for record in records]

    def count_without_facts(self) -> int:
        """The number of ``without_facts``."""
        query = select(func.count()).select_from(pictures).where(*WITHOUT_FACTS)
        return self.shared("without facts", lambda connection: int(connection.scalar(query) or 0))

    def counts(self) -> dict[str, int]:
        """Number of rows in each state."""
        query = select(pictures.c.status, func.count()).group_by(pictures.c.status)

        def read(connection: Connection) -> dict[str, int]:
            return {str(row[0]): int(row[1]) for row in connection.execute(query)}

        return dict(self.shared("counts", read))

    def skipped(self) -> list[Row]:
        with self.transaction() as connection:
            query = select(*SUMMED).where(pictures.c.status == "skipped").order_by(pictures.c.root_id, pictures.c.path)
            return [self._row(row) for row in connection.execute(query).all()]

    # Codes

    def codes(self, ids: Sequence[int]) -> dict[int, Floats]:
        return dict(zip(*self.codes_of(ids), strict=True))

    def codes_of(self, ids: Sequence[int]) -> tuple[Ids, Floats]:
        """As ``codes``, but as arrays: ids (n,), ascending, and codes (n, d).

        Raises:
            IndexDamaged: a code is not as it was written.
        """
        with self.transaction() as connection:
            rows = connection.execute(CODES_OF, naming(ids)).all()
            return self._matrix(sorted(map(tuple, rows)))

    def _matrix(self, rows: list[Coded]) -> tuple[Ids, Floats]:
        """Rows of id, stored code and checksum as arrays: ids (n,) and codes (n, d)."""
        dim = self.meta().latent_dim
        if damaged := damaged_codes(rows, dim):
            raise self.damage("code", damaged[0])
        ids = np.array([row[0] for row in rows], dtype=np.int64)
        return ids, np.frombuffer(b"".join(row[1] for row in rows), "<f4").reshape(-1, dim)

    def code_pages(self) -> Iterator[tuple[Ids, Floats]]:
        """Yield ids (b,) and codes (b, d) of all pictures that can be found, by id. Each page sees one state.

        Raises:
            IndexDamaged: a code is not as it was written, or there are fewer pictures than are counted.
        """
        last, count, before = 0, 0, self.meta()
        while True:
            with self.transaction() as connection:
                rows = connection.execute(CODED.where(pictures.c.id > last).limit(PAGE)).all()
                page = self._matrix([tuple(row) for row in rows])
                if not rows and count != before.found and before == self.meta():
                    raise IndexDamaged(
                        f"{self.name} has {count} pictures with codes, but counts {before.found}; repair the index, "
                        "and update it",
                        code="pictures_lost",
                    )
            if not rows:
                return
            yield page
            last, count = rows[-1][0], count + len(rows)

    def changed_since(self, generation: int) -> tuple[Ids, Ids, Floats]:
        """Ids that changed after ``generation``; and ids and codes of those that can be found now."""
        later = select(pictures.c.id).where(pictures.c.generation > generation).order_by(pictures.c.id)
        with self.transaction() as connection:
            touched = np.array(connection.scalars(later).all(), dtype=np.int64)
            rows = connection.execute(CODED.where(pictures.c.generation > generation)).all()
            return touched, *self._matrix([tuple(row) for row in rows])

    def some_codes(self, count: int) -> Floats:
        """About ``count`` codes (n, d) of pictures that can be found, drawn at random with a fixed seed."""
        query = CODES_OF.join(pictures).where(pictures.c.status == "found")
        with self.transaction() as connection:
            rows = connection.execute(query, naming(drawn_ids(connection, count, self.meta().found))).all()
            _, drawn = self._matrix(sorted(map(tuple, rows)))
        return drawn[np.random.default_rng(0).permutation(len(drawn))[:count]]

    def some_looks(self, count: int) -> Floats:
        """Realism and spread, float32 (n, 2), of about ``count`` pictures that can be found; the same on every call."""
        with self.transaction() as connection:
            ids = drawn_ids(connection, count, self.meta().found)
            rows = connection.execute(LOOKS_OF, naming(ids)).all()
        try:
            looks = np.array([tuple(row) for row in rows], np.float64).reshape(-1, 2)
        except ValueError as error:  # of another type
            raise IndexDamaged(f"realism or spread of a picture in {self.name} is damaged; repair the index") from error
        return looks[(np.abs(looks) < MOST_LOOKS).all(1)].astype(np.float32)


def naming(ids: Sequence[int]) -> dict[str, str]:
    """The parameters that give ``NAMED`` these ids."""
    return {"ids": json.dumps(list(ids))}
