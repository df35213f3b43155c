"""A cache of the catalog's codes that can be changed: loaded, built, updated, saved.

It has one owner and is never searched. ``frozen`` makes the ``Snapshot`` that is searched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index.forks import held
from index.local.cachefile import Trailer, read_cache, write_cache
from index.local.snapshot import NEAREST, Snapshot, inner_of, stored_form
from index.local.structures import EXACT, UNMEASURED, Quality, Structure
from index.neighbours import import_faiss
from index.records import Floats, Ids, Metric

LADDER = (100, 200, 500, 1000, 2000, 5000)  # numbers of candidates to try
WANTED_RECALL = 0.99
MOST_LOST = 0.5  # of the codes' variance; quantization loses a tenth, codes in a wrong order lose twice the variance


@dataclass
class VectorCache:
    """Codes in FAISS under the catalog's ids, at ``generation`` of the history that ``stamp`` identifies."""

    metric: Metric
    faiss_index: Any
    generation: int
    stamp: bytes
    structure: Structure = EXACT
    quality: Quality = UNMEASURED

    @classmethod
    @held()
    def empty(
        cls,
        metric: Metric,
        dim: int,
        generation: int,
        stamp: bytes,
        structure: Structure = EXACT,
        sample: Floats | None = None,
    ) -> VectorCache:
        """Make a cache without codes. A quantized one learns its tables from ``sample`` (n, d)."""
        faiss = import_faiss()
        kind = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
        inner = faiss.index_factory(dim, structure.factory(dim), kind)
        cache = cls(metric, inner if structure.lists else faiss.IndexIDMap2(inner), generation, stamp, structure)
        if structure.quantized:
            assert sample is not None
            inner.train(stored_form(sample, metric))
        return cache

    @classmethod
    def load(cls, path: Path, metric: Metric, dim: int) -> VectorCache:
        """Read a cache file and check all its bytes.

        Raises:
            CacheUnusable: the file is missing, cut off or damaged, or its codes have other dimensions.
        """
        faiss_index, (generation, stamp, structure, quality) = read_cache(path, dim)
        return cls(metric, faiss_index, generation, stamp, structure, quality)

    @classmethod
    def thawed(cls, snapshot: Snapshot) -> VectorCache:
        """A copy of a snapshot, to change while searches continue."""
        one, copy = snapshot, import_faiss().clone_index(snapshot.faiss_index)
        return cls(one.metric, copy, one.generation, one.stamp, one.structure, one.quality)

    def frozen(self) -> Snapshot:
        """The snapshot of this cache, which must not be changed any more."""
        return Snapshot.of(self.metric, self.faiss_index, self.generation, self.stamp, self.structure, self.quality)

    def save(self, path: Path) -> None:
        """Write the cache file atomically.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        write_cache(path, self.faiss_index, Trailer(self.generation, self.stamp, self.structure, self.quality))

    def __len__(self) -> int:
        return int(self.faiss_index.ntotal)

    def add(self, ids: Ids, codes: Floats) -> None:
        """Add codes (n, d) under ``ids`` (n,), which must be new."""
        if len(ids):
            self.faiss_index.add_with_ids(stored_form(codes, self.metric), ids)

    def remove(self, ids: Iterable[int]) -> None:
        """Remove those ``ids`` that the cache holds."""
        wanted = np.fromiter(ids, dtype=np.int64)
        if len(wanted) and len(self):
            if self.structure.lists:
                self._map_ids(False)  # FAISS refuses removals while a hash table maps ids
            self.faiss_index.remove_ids(wanted)

    @held()
    def measure(self, xq: Floats, nearest: Ids) -> None:
        """Find how many candidates are needed to contain ``nearest`` (n, k), the exact answers to ``xq`` (n, d)."""
        searched = self.frozen()
        for candidates in LADDER:
            proposed = searched.search(xq, candidates)
            recall = float(np.mean([np.isin(*pair).mean() for pair in zip(nearest, proposed, strict=True)]))
            self.quality = Quality(candidates, len(self), recall)
            if recall >= WANTED_RECALL:
                return

    def ids(self) -> Ids:
        """All ids (n,) in the cache, ascending."""
        faiss, inner = import_faiss(), inner_of(self.faiss_index)
        if not isinstance(inner, faiss.IndexIVF):
            return np.sort(np.array(faiss.vector_to_array(self.faiss_index.id_map), dtype=np.int64))
        sizes = [(number, inner.invlists.list_size(number)) for number in range(inner.nlist)]
        lists = [faiss.rev_swig_ptr(inner.invlists.get_ids(number), size) for number, size in sizes if size]
        return np.sort(np.concatenate([np.empty(0, np.int64), *lists]))

    def holds(self, ids: Ids, codes: Floats) -> bool:
        """Whether the cache holds ``codes`` (n, d) under ``ids`` (n,), as precisely as its structure allows."""
        if self.structure.lists:
            self._map_ids(True)
        kept, wanted = self.faiss_index.reconstruct_batch(ids), stored_form(codes, self.metric)
        if not self.structure.quantized:
            return np.array_equal(kept, wanted)
        return bool(((kept - wanted) ** 2).sum() < MOST_LOST * ((wanted - wanted.mean(0)) ** 2).sum() + 1e-6)

    def _map_ids(self, wanted: bool) -> None:
        """Add or remove the hash table from ids to places in the lists."""
        kind = import_faiss().DirectMap
        if wanted != (self.faiss_index.direct_map.type == kind.Hashtable):
            self.faiss_index.set_direct_map_type(kind.Hashtable if wanted else kind.NoMap)


class Truth:
    """The exact nearest codes to some queries among them, collected while all codes are added."""

    def __init__(self, metric: Metric, xq: Floats) -> None:
        self.xq, self._metric = xq, metric
        self._stored = stored_form(xq, metric)
        self._ids = np.empty((len(xq), 0), np.int64)
        self._scores = np.empty((len(xq), 0), np.float32)

    @held()
    def add(self, ids: Ids, codes: Floats) -> None:
        """Take codes (n, d) into account."""
        faiss, k = import_faiss(), min(len(ids), NEAREST + 1)
        kind = faiss.METRIC_L2 if self._metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
        scores, rows = faiss.knn(self._stored, stored_form(codes, self._metric), k, metric=kind)
        scores = np.concatenate([self._scores, scores], axis=1)
        order = np.argsort(scores if self._metric == "euclidean" else -scores, axis=1, kind="stable")
        order = order[:, : NEAREST + 1]
        self._scores = np.take_along_axis(scores, order, axis=1)
        self._ids = np.take_along_axis(np.concatenate([self._ids, ids[rows]], axis=1), order, axis=1)

    @property
    def ids(self) -> Ids:
        """Ids of the ten nearest codes to each query, best first, without the query itself."""
        return self._ids[:, 1:]
