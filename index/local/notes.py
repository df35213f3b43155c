"""What the user told an index: pairs that are not copies, and named directions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert

from index.errors import IndexDamaged
from index.local.catalog import Catalog
from index.local.tables import directions, distinct
from index.records import Direction


class Notes:
    """The notes of a catalog, for reading."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def kept_apart(self) -> set[frozenset[bytes]]:
        """Pairs of content hashes that the user marked as not copies."""
        with self._catalog.transaction() as connection:
            return {frozenset(row) for row in connection.execute(select(distinct))}

    def directions(self) -> dict[str, Direction]:
        """All directions, by name.

        Raises:
            IndexDamaged: a direction has not the dimensions of a code.
        """
        with self._catalog.transaction() as connection:
            dim = self._catalog.meta().latent_dim
            rows = connection.execute(select(directions).order_by(directions.c.name)).mappings().all()
        found = {row["name"]: Direction(**{**row, "vector": np.frombuffer(row["vector"], "<f4")}) for row in rows}
        for direction in found.values():
            if direction.vector.shape != (dim,):
                raise IndexDamaged(f"the direction {direction.name} has not {dim} dimensions; learn it again")
        return found


class NotesWriter(Notes):
    """The notes of a catalog, for writing."""

    def keep_apart(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Mark pairs of contents as not copies of each other."""
        rows = sorted({(min(pair), max(pair)) for pair in pairs})
        with self._catalog.transaction() as connection:
            for a, b in rows:
                connection.execute(insert(distinct).values(hash_a=a, hash_b=b).on_conflict_do_nothing())

    def keep_direction(self, direction: Direction) -> None:
        """Store a direction. It replaces one of the same name."""
        values = {**vars(direction), "vector": np.ascontiguousarray(direction.vector, "<f4").tobytes()}
        new = insert(directions).values(values)
        with self._catalog.transaction() as connection:
            connection.execute(new.on_conflict_do_update(index_elements=[directions.c.name], set_=values))

    def forget_direction(self, name: str) -> None:
        with self._catalog.transaction() as connection:
            connection.execute(delete(directions).where(directions.c.name == name))
