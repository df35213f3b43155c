"""What a person told an index, beside what it saw: pairs that are no copies, and directions with a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sqlalchemy import Row, Table, delete, insert, inspect, select

from index.errors import IndexDamaged
from index.local.catalog import Catalog
from index.local.tables import directions, distinct
from index.records import Direction


class Notes:
    """Notes in a catalog. An index that an older version wrote, and that nothing was written to since, has none."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def keep_apart(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Remember that the pictures of these contents are no copies of one another."""
        rows = sorted({(min(pair), max(pair)) for pair in pairs})
        with self._catalog.transaction() as connection:
            for a, b in rows:
                connection.execute(insert(distinct).prefix_with("OR IGNORE").values(hash_a=a, hash_b=b))

    def kept_apart(self) -> set[frozenset[bytes]]:
        """Pairs of contents that are no copies of one another."""
        return {frozenset(row) for row in self._rows(distinct)}

    def keep_direction(self, direction: Direction) -> None:
        """Remember a direction, in place of one of the same name."""
        values = {**vars(direction), "vector": np.ascontiguousarray(direction.vector, "<f4").tobytes()}
        with self._catalog.transaction() as connection:
            connection.execute(insert(directions).prefix_with("OR REPLACE").values(values))

    def forget_direction(self, name: str) -> None:
        with self._catalog.transaction() as connection:
            connection.execute(delete(directions).where(directions.c.name == name))

    def directions(self) -> dict[str, Direction]:
        """All directions by name.

        Raises:
            IndexDamaged: one is not as long as a code.
        """
        dim = self._catalog.meta().latent_dim
        rows = (row._mapping for row in self._rows(directions))
        found = {row["name"]: Direction(**{**row, "vector": np.frombuffer(row["vector"], "<f4")}) for row in rows}
        for direction in found.values():
            if direction.vector.shape != (dim,):
                raise IndexDamaged(f"the direction {direction.name} is not {dim} numbers long; learn it again")
        return found

    def _rows(self, table: Table) -> list[Row[Any]]:
        with self._catalog.transaction() as connection:
            if not inspect(connection).has_table(table.name):
                return []
            return list(connection.execute(select(table).order_by(*table.primary_key)))
