"""The snapshots of an index: each is loaded, caught up or built aside, and put in the last one's place under a lock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from index.errors import IndexUnwritable
from index.forks import watch
from index.local.cachefile import CacheUnusable
from index.local.caches import Truth, VectorCache
from index.local.catalog import Catalog
from index.local.snapshot import Snapshot
from index.local.structures import EXACT, Structure
from index.records import Meta, Metric

KINDS: tuple[Metric, ...] = ("cosine", "euclidean")
QUESTIONS = 200  # codes that a new cache is tried on
TRIES = 3  # of keeping up with a writer by pages, before it is made to wait


def cache_kind(metric: Metric, facts: Meta) -> Metric:
    """Standardized codes all have length sqrt(d): one cache of inner products ranks for both metrics.

    |N(a) - N(b)|^2 = 2d (1 - cos). Other codes need a cache for each.
    """
    return "cosine" if facts.standardized else metric


class Snapshots:
    """The latest snapshot for each metric. Any thread may ask; one at a time makes a new one."""

    def __init__(self, folder: Path, rows: Catalog, wanted: Callable[[Meta], Structure], on_gpu: bool = False) -> None:
        """``wanted`` names the structure for an index of so many codes."""
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
        """The snapshot that was made last, if it is of the catalog's present state."""
        facts = self._rows.meta()
        latest = self._latest.get(cache_kind(metric, facts))
        return latest if latest is not None and is_of(latest, facts) else None

    def current(self, metric: Metric, must_save: bool = False) -> Snapshot:
        """The snapshot of the catalog's present state; inside a transaction, of that state.

        Raises:
            IndexUnwritable: with ``must_save``, it cannot be saved.
            MissingExtra: it is to be searched on a GPU, and there is none.
        """
        if (latest := self.latest(metric)) is not None:
            return latest
        # Inside a transaction nobody is waited for: whoever makes one may be waiting for this reader to be done.
        with nullcontext() if self._rows.in_transaction else self._making:
            if (latest := self.latest(metric)) is not None:
                return latest  # another thread has made it meanwhile
            kind = cache_kind(metric, self._rows.meta())
            made = self._on_gpus(kind) if self._on_gpu else self._made(kind, self._latest.get(kind), must_save)
            self._latest[kind] = made
            return made

    def _on_gpus(self, kind: Metric) -> Snapshot:
        """All codes in float32 in the memory of the GPUs; not saved."""
        return self._built(kind, EXACT).frozen().on_gpu()

    def _made(self, kind: Metric, latest: Snapshot | None, must_save: bool) -> Snapshot:
        """What is searched or saved already, caught up; or all of it anew."""
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
        """Bring a cache to the catalog's state; False where it is of another history, or cannot be."""
        with self._rows.transaction():
            facts = self._rows.meta()
            if self._rows.stamp_of(cache.generation) != cache.stamp or cache.generation < facts.rebuild_from:
                return False  # the catalog was made anew, or came back from a backup; or a root went
            if cache.generation != facts.generation:
                touched, ids, codes = self._rows.changed_since(cache.generation)
                cache.remove(touched)
                cache.add(ids, codes)
                cache.generation, cache.stamp = facts.generation, facts.stamp
            return len(cache) == facts.found

    def _built(self, kind: Metric, structure: Structure) -> VectorCache:
        """A new cache of everything that can be found, read in pages, so that no writer waits for it.

        What was written meanwhile is caught up at the end. Where that cannot be, since a root went, it begins again,
        and keeps writers out in the end.
        """
        for _ in range(TRIES):
            cache = self._filled(kind, structure)
            if self._catch_up(cache):
                return cache
        with self._rows.transaction():
            cache = self._filled(kind, structure)
        return cache

    def _filled(self, kind: Metric, structure: Structure) -> VectorCache:
        """A cache filled from the catalog; one that is not exact is tried on some of it."""
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
        except OSError as error:  # a folder that cannot be written is searched all the same
            if must_save:
                raise IndexUnwritable(
                    f"{self.path(kind)} cannot be written ({error}). Everything is in the catalog; run again"
                ) from error


def is_of(snapshot: Snapshot, facts: Meta) -> bool:
    """Whether a snapshot is of the very state that ``facts`` are of."""
    return (snapshot.generation, snapshot.stamp) == (facts.generation, facts.stamp)
