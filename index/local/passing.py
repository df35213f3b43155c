"""What a filter lets pass, asked for as it is needed: of few pictures all, of many only those that FAISS proposes."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from index.local.catalog import Catalog
from index.local.columns import Columns, Mask, places_in
from index.local.filters import asks_contents
from index.records import Ids
from index.where import Where

SAMPLE = 1000  # pictures by which the share that passes is estimated


class Passing:
    """The pictures that can be found and match ``where``. It is used inside one transaction.

    Either SQL or ``Columns`` say what passes, whichever is quicker. They say the same.
    """

    def __init__(self, rows: Catalog, where: Where) -> None:
        self._rows, self._where = rows, where
        self._columns = rows.shared("columns", lambda _: Columns())
        self._masked: tuple[Ids, Mask] | None = None

    @cached_property
    def share(self) -> float:
        """The share of all pictures that passes, estimated: 0 if it is too small to be seen in a sample."""
        sample = np.array(self._rows.sample(SAMPLE), np.int64)
        return len(self.among(sample)) / max(1, len(sample))

    def all(self) -> Ids:
        """Ids (n,) of all that pass, ascending."""
        return self._all

    @cached_property
    def _all(self) -> Ids:
        """Of facts of contents, SQL would take longer than to read them."""
        if (masked := self._mask(at_once=asks_contents(self._where))) is not None:
            ids, passes = masked
            return ids[passes]
        with self._columns.spending():
            return self._rows.found_ids(self._where)

    def among(self, ids: Ids) -> Ids:
        """Those of ``ids`` (n,) that pass, ascending."""
        if "_all" in self.__dict__:
            return ids[np.isin(ids, self._all)]
        if (masked := self._mask()) is not None:
            found, passes = masked
            places, _ = places_in(found, ids)
            return found[places[passes[places]]]
        with self._columns.spending():
            return self._rows.found_ids(self._where, ids[ids > 0].tolist())

    def _mask(self, at_once: bool = False) -> tuple[Ids, Mask] | None:
        if self._masked is None and (at_once or self._columns.are_worth_it(self._rows, self._where)):
            self._masked = self._columns.passing(self._rows, self._where)
        return self._masked
