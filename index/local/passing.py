"""What a filter lets pass, asked for as it is needed: of few pictures all, of many only those that FAISS proposes."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from index.local.catalog import Catalog
from index.records import Ids
from index.where import Where

SAMPLE = 1000  # pictures by which the share that passes is estimated


class Passing:
    """The pictures that can be found and match ``where``. It is used inside one transaction."""

    def __init__(self, rows: Catalog, where: Where) -> None:
        self._rows, self._where = rows, where
        self._all: Ids | None = None

    @cached_property
    def share(self) -> float:
        """The share of all pictures that passes, estimated: 0 if it is too small to be seen in a sample."""
        sample = self._rows.sample(SAMPLE)
        return len(self._rows.found_ids(self._where, sample)) / max(1, len(sample))

    def all(self) -> Ids:
        """Ids (n,) of all that pass, ascending."""
        if self._all is None:
            self._all = self._rows.found_ids(self._where)
        return self._all

    def among(self, ids: Ids) -> Ids:
        """Those of ``ids`` (n,) that pass, ascending."""
        if self._all is not None:
            return ids[np.isin(ids, self._all)]
        return self._rows.found_ids(self._where, ids[ids > 0].tolist())
