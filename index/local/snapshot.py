"""The immutable state of the codes that a search reads. Any number of threads may search it at once."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from index.local.structures import Quality, Structure
from index.neighbours import check_gpu, import_faiss, unit
from index.records import Floats, Ids, Metric

NEAREST = 10  # neighbours that recall is measured on
BLUR = 1e-5  # differences of scores below this may be errors of float32


@dataclass(frozen=True)
class Snapshot:
    """Codes in FAISS at ``generation`` of the history that ``stamp`` identifies. Nothing in it ever changes.

    ``faiss_index`` holds the codes. ``_searched`` is the index that searches scan; it may differ (packed for vector
    registers, or on GPUs), and ``_ids`` then maps its positions to ids.
    """

    metric: Metric
    faiss_index: Any
    generation: int
    stamp: bytes
    structure: Structure
    quality: Quality
    _searched: Any
    _ids: Ids | None
    most = sys.maxsize

    @classmethod
    def of(
        cls, metric: Metric, faiss_index: Any, generation: int, stamp: bytes, structure: Structure, quality: Quality
    ) -> Snapshot:
        """Make a snapshot. Quantized codes are packed here, once.

        FAISS could store packed codes, but fails when some are removed and others added (1.15: added codes are wrong,
        and an emptied index is read behind its end).
        """
        faiss, searched, ids = import_faiss(), faiss_index, None
        if structure.lists and faiss_index.ntotal:
            searched = faiss.IndexIVFPQFastScan(inner_of(faiss_index))
        elif structure.quantized and faiss_index.ntotal:
            searched = faiss.IndexPQFastScan(inner_of(faiss_index))
            ids = np.array(faiss.vector_to_array(faiss_index.id_map), dtype=np.int64)
        return cls(metric, faiss_index, generation, stamp, structure, quality, searched, ids)

    def on_gpu(self) -> Snapshot:
        """The same codes, which must be exact, sharded over all GPUs.

        Raises:
            MissingExtra: FAISS is the package for CPUs, or sees no GPU.
        """
        check_gpu()
        faiss, options = import_faiss(), import_faiss().GpuMultipleClonerOptions()
        options.shard = True
        searched = faiss.index_cpu_to_all_gpus(inner_of(self.faiss_index), options)
        ids = np.array(faiss.vector_to_array(self.faiss_index.id_map), dtype=np.int64)
        of = (self.metric, self.faiss_index, self.generation, self.stamp, self.structure, self.quality)
        return Snapshot(*of, searched, ids)

    def __len__(self) -> int:
        return int(self.faiss_index.ntotal)

    @property
    def quantized(self) -> bool:
        return self.structure.quantized

    def search(self, xq: Floats, k: int) -> Ids:
        """Return ids (n, min(k, len)) of the codes nearest to queries (n, d), best first; -1 if FAISS saw too few."""
        k = min(k, len(self))
        if k == 0 or len(xq) == 0:
            return np.empty((len(xq), 0), dtype=np.int64)
        probes = None
        if self.structure.lists:
            wanted = self.structure.lists if k == len(self) else self.structure.probes
            probes = import_faiss().SearchParametersIVF(nprobe=wanted)
        _, found = self._searched.search(stored_form(xq, self.metric), k, params=probes)
        if self._ids is None:
            return np.asarray(found, dtype=np.int64)
        return np.where(found < 0, -1, self._ids[found])

    def search_among(self, xq: Floats, k: int, ids: Ids) -> Ids:
        """As ``search``, of quantized codes, among ``ids`` (m,) alone: FAISS takes no selector for packed codes."""
        faiss, inner, k = import_faiss(), inner_of(self.faiss_index), min(k, len(ids))
        stored = stored_form(xq, self.metric)
        if self.structure.lists:
            chosen = faiss.SearchParametersIVF(nprobe=self.structure.lists, sel=faiss.IDSelectorBatch(ids))
            return np.asarray(inner.search(stored, k, params=chosen)[1], dtype=np.int64)
        some = faiss.IndexPQ(inner.d, inner.pq.M, inner.pq.nbits, inner.metric_type)
        some.pq, some.is_trained, some.ntotal = inner.pq, True, len(ids)
        faiss.copy_array_to_vector(self._packed[self._places_of(ids)].ravel(), some.codes)
        return np.asarray(ids[some.search(stored, k)[1]], dtype=np.int64)

    def _places_of(self, ids: Ids) -> Ids:
        """Where the codes of ``ids`` (n,) are, if there are no lists."""
        assert self._ids is not None
        return self._order[np.searchsorted(self._ids, ids, sorter=self._order)]

    @cached_property
    def _order(self) -> Ids:
        assert self._ids is not None
        return np.argsort(self._ids)

    def proposals_for(self, k: int) -> int:
        """Number of candidates to rank for the ``k`` nearest."""
        return max(k, math.ceil(self.quality.candidates * math.sqrt(max(1.0, k / NEAREST))))

    def is_outgrown(self, count: int, wanted: Structure) -> bool:
        """Whether ``count`` codes need the structure ``wanted``, or newly learned tables."""
        mine = self.structure
        if (mine.quantized, mine.share) != (wanted.quantized, wanted.share):
            return True
        return mine.quantized and count > 2 * self.quality.measured_at

    def ties(self, query: Floats, ids: Ids) -> Ids:
        """All ids whose codes are at most as far from ``query`` (d,) as those of ``ids`` (n,), in float32.

        If codes are quantized: all ids whose quantized codes equal one of ``ids``.
        """
        if self.structure.quantized:
            return self._same_codes(ids)
        stored = stored_form(query[None], self.metric)
        kept = self.faiss_index.reconstruct_batch(ids)
        if self.metric == "euclidean":
            squares = ((kept - stored) ** 2).sum(1)
            radius = float(squares.max()) * (1 + BLUR) + BLUR * float((stored**2).sum())
        else:
            radius = float((kept @ stored[0]).min()) - BLUR
        _, _, found = self.faiss_index.range_search(stored, radius)
        return np.asarray(found, dtype=np.int64)

    def lowest_of_equals(self, ids: Ids, k: int) -> Ids:
        """The lowest ``k`` of ``ids`` (n,), ascending, of each code: others of equal codes cannot be among the nearest.

        Thousands of blank frames are counted here, since their codes are in memory. Quantized codes are not counted:
        they may be equal where the catalog's codes differ.
        """
        if self.structure.quantized or len(ids) <= k:
            return ids
        seen, lowest = Counter[bytes](), list[int]()
        for one, code in zip(ids.tolist(), self.faiss_index.reconstruct_batch(ids), strict=True):
            key = code.tobytes()
            seen[key] += 1
            if seen[key] <= k:
                lowest.append(one)
        return np.array(lowest, np.int64)

    def _same_codes(self, ids: Ids) -> Ids:
        same: list[Ids] = []
        for theirs, packed in self._stretches():
            mine = np.unique(packed[np.isin(theirs, ids)], axis=0)
            same += [theirs[(packed == one).all(1)] for one in mine]
        return np.concatenate([ids, *same])

    @property
    def _packed(self) -> npt.NDArray[np.uint8]:
        """Quantized codes (n, bytes) as FAISS stores them, if there are no lists."""
        inner = inner_of(self.faiss_index)
        codes = import_faiss().rev_swig_ptr(inner.codes.data(), inner.ntotal * inner.code_size)
        return np.asarray(codes.reshape(-1, inner.code_size), np.uint8)

    def _stretches(self) -> Iterator[tuple[Ids, npt.NDArray[np.uint8]]]:
        """Yield ids (n,) and quantized codes uint8 (n, bytes) as FAISS stores them, list by list if there are lists."""
        faiss, inner = import_faiss(), inner_of(self.faiss_index)
        if not self.structure.lists:
            assert self._ids is not None
            yield self._ids, self._packed
            return
        for number in range(inner.nlist):
            if size := inner.invlists.list_size(number):
                ids = faiss.rev_swig_ptr(inner.invlists.get_ids(number), size)
                codes = faiss.rev_swig_ptr(inner.invlists.get_codes(number), size * inner.code_size)
                yield np.asarray(ids, np.int64), codes.reshape(-1, inner.code_size)


def stored_form(codes: Floats, metric: Metric) -> Floats:
    """Codes unchanged for Euclidean distance; scaled to length 1 for cosine: then the inner product is the cosine."""
    codes = np.ascontiguousarray(codes, dtype=np.float32)
    return codes if metric == "euclidean" else unit(codes)


def inner_of(faiss_index: Any) -> Any:
    """FAISS's index inside the one that maps ids."""
    faiss = import_faiss()
    outer = faiss.downcast_index(faiss_index)
    return faiss.downcast_index(outer.index) if isinstance(outer, faiss.IndexIDMap) else outer
