"""What the user told an index: pairs that are not copies, and named directions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sqlalchemy import Row as Record
from sqlalchemy import delete, insert, select

from index.errors import IndexDamaged
from index.local.catalog import Catalog
from index.local.sanity import HASH_BYTES, is_sane_direction
from index.local.sums import sum_of
from index.local.tables import directions, distinct
from index.records import Direction


class Notes:
    """The notes of a catalog, for reading."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def kept_apart(self) -> set[frozenset[bytes]]:
        """Pairs of content hashes that the user marked as not copies.

        Raises:
            IndexDamaged: a pair is not as it was written.
        """
        with self._catalog.transaction() as connection:
            pairs = connection.execute(select(distinct)).all()
        if not all(map(is_whole_pair, pairs)):
            raise self._damage("a pair that was marked as not copies")
        return {frozenset((pair.hash_a, pair.hash_b)) for pair in pairs}

    def directions(self) -> dict[str, Direction]:
        """All directions, by name.

        Raises:
            IndexDamaged: a direction has not the dimensions of a code, or is not as it was written.
        """
        with self._catalog.transaction() as connection:
            dim = self._catalog.meta().latent_dim
            rows = connection.execute(select(directions).order_by(directions.c.name)).all()
        if not all(map(is_whole_direction, rows)):
            raise self._damage("a direction")
        found = {row.name: Direction(row.name, np.frombuffer(row.vector, "<f4"), *row[2:5]) for row in rows}
        for direction in found.values():
            if direction.vector.shape != (dim,):
                raise IndexDamaged(f"the direction {direction.name} has not {dim} dimensions; learn it again")
        return found

    def _damage(self, what: str) -> IndexDamaged:
        return IndexDamaged(f"{what} in {self._catalog.name} is damaged; repair the index", code="note_damaged")


def is_whole_direction(row: Record[Any]) -> bool:
    """Whether a stored direction is as it was written, and could have been written."""
    return sum_of(*row[:5]) == row.checksum and is_sane_direction(row[:5])


def is_whole_pair(row: Record[Any]) -> bool:
    """As ``is_whole_direction``, for a pair of contents."""
    hashes = (row.hash_a, row.hash_b)
    sane = all(isinstance(one, bytes) and 0 < len(one) <= HASH_BYTES for one in hashes)
    return sane and sum_of(*hashes) == row.checksum


class NotesWriter(Notes):
    """The notes of a catalog, for writing."""

    def keep_apart(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Mark pairs of contents as not copies of each other."""
        rows = sorted({(min(pair), max(pair)) for pair in pairs})
        with self._catalog.changing() as connection:
            known = {tuple(one) for one in connection.execute(select(distinct.c.hash_a, distinct.c.hash_b))}
            values = [{"hash_a": a, "hash_b": b, "checksum": sum_of(a, b)} for a, b in rows if (a, b) not in known]
            if values:
                connection.execute(insert(distinct), values)

    def keep_direction(self, direction: Direction) -> None:
        """Store a direction. It replaces one of the same name."""
        accuracy = None if direction.accuracy is None else float(direction.accuracy)
        vector = np.ascontiguousarray(direction.vector, "<f4").tobytes()
        values = {**vars(direction), "vector": vector, "accuracy": accuracy}
        values["checksum"] = sum_of(*(values[name] for name in Direction.__dataclass_fields__))
        with self._catalog.changing() as connection:
            connection.execute(delete(directions).where(directions.c.name == direction.name))
            connection.execute(insert(directions).values(values))

    def forget_direction(self, name: str) -> None:
        with self._catalog.changing() as connection:
            connection.execute(delete(directions).where(directions.c.name == name))
