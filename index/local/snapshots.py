"""The snapshots of an index: a new one is loaded, updated or built separately, and swapped in under a lock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from index.atomic import clear_abandoned
from index.errors import IndexUnwritable
from index.forks import watch
from index.local.cachefile import CacheUnusable, trailer_of
from index.local.caches import Truth, VectorCache
from index.local.catalog import Catalog
from index.local.faults import cache_faults
from index.local.proposing import Proposals
from index.local.snapshot import Snapshot
from index.local.structures import EXACT, Quality, Structure, fits
from index.records import Budget, Layout, Meta, Metric

KINDS: tuple[Metric, ...] = ("cosine", "euclidean")
QUESTIONS = 200  # queries that a new cache is measured on
TRIES = 3  # of reading in pages beside a writer, before the writer has to wait


def cache_kind(metric: Metric, facts: Meta) -> Metric:
    """The cache for a metric. Standardized codes have length sqrt(d), so one cache of inner products serves both.

    |N(a) - N(b)|^2 = 2d (1 - cos). Other codes need a cache for each metric.
    """
    return "cosine" if facts.standardized else metric


class Snapshots:
    """The latest snapshot for each metric (``index.local.proposing.Source``), each kept in a cache file of a folder.

    Any thread may ask for it; one thread at a time makes a new one.
    """

    tries = TRIES

    def __init__(self, folder: Path, rows: Catalog, wanted: Callable[[Meta], Structure], on_gpu: bool = False) -> None:
        """``wanted`` chooses the structure for an index."""
        self._folder, self._rows, self._wanted, self._on_gpu = folder, rows, wanted, on_gpu
        self._latest: dict[Metric, Snapshot] = {}
        self._making = threading.Lock()
        watch(self)

    def after_fork(self) -> None:
        self._making = threading.Lock()

    def forget(self) -> None:
        self._latest.clear()

    def path(self, kind: Metric) -> Path:
        return self._folder / f"{kind}.faiss"

    def latest(self, metric: Metric) -> Snapshot | None:
        """The last snapshot, if it has the current state of the catalog; else None."""
        facts = self._rows.meta()
        latest = self._latest.get(cache_kind(metric, facts))
        return latest if latest is not None and is_of(latest, facts) else None

    def current(self, metric: Metric, must_save: bool = False) -> Snapshot:
        """The snapshot of the catalog's current state; inside a transaction, of the state that it sees.

        Raises:
            IndexUnwritable: with ``must_save``, it cannot be saved.
            MissingExtra: GPUs were asked for, and FAISS can use none.
        """
        if (latest := self.latest(metric)) is not None:
            return latest
        # Do not wait inside a transaction: the thread that makes a snapshot may be waiting for this reader.
        with nullcontext() if self._rows.in_transaction else self._making:
            if (latest := self.latest(metric)) is not None:
                return latest  # another thread has made it meanwhile
            kind = cache_kind(metric, self._rows.meta())
            made = self._on_gpus(kind) if self._on_gpu else self._made(kind, self._latest.get(kind), must_save)
            self._latest[kind] = made
            return made

    def refresh(self) -> None:
        """Update existing cache files, and the default one, to the catalog's generation.

        Raises:
            IndexUnwritable: they cannot be written. The catalog is complete nevertheless.
        """
        for kind in KINDS:
            clear_abandoned(self._folder, f"{kind}.faiss.*")
        facts = self._rows.meta()
        for metric in self._metrics_in_use(facts):
            snapshot = self.current(metric, must_save=True)
            if snapshot.is_outgrown(facts.found, self._wanted(facts)):
                self.forget()
                self.path(metric).unlink(missing_ok=True)  # builders on a server share one folder
                self.current(metric, must_save=True)

    def _metrics_in_use(self, facts: Meta) -> list[Metric]:
        first: Metric = cache_kind("euclidean", facts)
        return [kind for kind in KINDS if kind == first or self.path(kind).exists()]

    def drop(self) -> None:
        """Delete all cache files. They are rebuilt on next use."""
        self.forget()
        for kind in KINDS:
            self.path(kind).unlink(missing_ok=True)

    def faults(self) -> list[str]:
        """Faults of the cache files, in words. A cache that is only behind is not a fault."""
        return cache_faults(self._rows, {kind: self.path(kind) for kind in KINDS})

    def layout(self, budget: Budget) -> Layout:
        """The layout of the first cache, its cost and its recall. If there is no cache yet: the layout it will have."""
        facts = self._rows.meta()
        trailer = trailer_of(self.path(cache_kind("euclidean", facts)))
        structure, quality = (trailer.structure, trailer.quality) if trailer else (self._wanted(facts), Quality())
        count, dim = facts.found, facts.latent_dim
        memory, latency = structure.memory_bytes(count, dim), structure.latency_s(count, dim)
        return Layout(str(structure), memory, latency, quality.recall, fits(memory, latency, budget))

    def _on_gpus(self, kind: Metric) -> Snapshot:
        """All codes in float32 in the memory of the GPUs; not saved."""
        return self._built(kind, EXACT).frozen().on_gpu()

    def _made(self, kind: Metric, latest: Snapshot | None, must_save: bool) -> Snapshot:
        """Update the latest snapshot or the cache file, or build a new cache."""
        cache = VectorCache.thawed(latest) if latest is not None else self._loaded(kind)
        if cache is not None:
            before = (cache.generation, cache.stamp)
            if self._catch_up(cache):
                if before != (cache.generation, cache.stamp):
                    self._save(cache, kind, must_save)
                return cache.frozen()
        cache = self._built(kind, self._wanted(self._rows.meta()))
        self._save(cache, kind, must_save)
        return cache.frozen()

    def _loaded(self, kind: Metric) -> VectorCache | None:
        try:
            return VectorCache.load(self.path(kind), kind, self._rows.meta().latent_dim)
        except CacheUnusable:
            return None

    def _catch_up(self, cache: VectorCache) -> bool:
        """Update a cache to the catalog's state. False if it has another history, or cannot be updated."""
        with self._rows.transaction():
            facts = self._rows.meta()
            if self._rows.stamp_of(cache.generation) != cache.stamp or cache.generation < facts.rebuild_from:
                return False  # a new or restored catalog, or a root was removed
            if cache.generation != facts.generation:
                touched, ids, codes = self._rows.changed_since(cache.generation)
                cache.remove(touched)
                cache.add(ids, codes)
                cache.generation, cache.stamp = facts.generation, facts.stamp
            return len(cache) == facts.found

    def _built(self, kind: Metric, structure: Structure) -> VectorCache:
        """Build a cache of all codes that can be found, read in pages, so that no writer waits.

        Changes that were written meanwhile are added at the end. If that is impossible, because a root was removed, it
        starts again; after ``TRIES`` times it keeps writers out.
        """
        for _ in range(TRIES):
            cache = self._filled(kind, structure)
            if self._catch_up(cache):
                return cache
        with self._rows.transaction():
            cache = self._filled(kind, structure)
        return cache

    def _filled(self, kind: Metric, structure: Structure) -> VectorCache:
        """Fill a cache from the catalog. The recall of a quantized one is measured on a sample."""
        facts = self._rows.meta()
        sample = self._rows.some_codes(structure.learns_from) if structure.quantized else None
        cache = VectorCache.empty(kind, facts.latent_dim, facts.generation, facts.stamp, structure, sample)
        truth = Truth(kind, sample[:QUESTIONS]) if sample is not None else None
        for ids, codes in self._rows.code_pages():
            cache.add(ids, codes)
            if truth is not None:
                truth.add(ids, codes)
        if truth is not None:
            cache.measure(truth.xq, truth.ids)
        return cache

    def _save(self, cache: VectorCache, kind: Metric, must_save: bool) -> None:
        try:
            cache.save(self.path(kind))
        except OSError as error:  # an index in a read-only folder can still be searched
            if must_save:
                raise IndexUnwritable(
                    f"{self.path(kind)} cannot be written ({error}). Everything is in the catalog; run again"
                ) from error


def is_of(snapshot: Proposals, facts: Meta) -> bool:
    """Whether a snapshot has the state that ``facts`` describe."""
    return (snapshot.generation, snapshot.stamp) == (facts.generation, facts.stamp)
