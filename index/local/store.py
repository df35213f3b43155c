"""The one writer of catalog and caches, and the one place where both are read together."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from index.errors import IndexBusy, IndexUnwritable, NoIndex
from index.local.caches import PART, CacheUnusable, Quality, Truth, VectorCache, check_faiss, check_gpu, layout_of
from index.local.catalog import FILE_NAME, Catalog
from index.local.notes import Notes
from index.local.structures import BUDGET_NAME, EXACT, Budget, Structure, choose
from index.records import Floats, Ids, Meta, Metric

LOCK_NAME = "lock"
KINDS: tuple[Metric, ...] = ("cosine", "euclidean")
QUERIES_AT_ONCE = 1024
CODES_AT_ONCE = 200_000  # candidates of all these queries together
QUESTIONS = 200  # codes that a new cache is tried on
NOTHING = -2  # an id that neither a picture has nor FAISS proposes
SPARE = 8  # candidates beyond k that FAISS proposes; the exact order is decided in float64


@dataclass(frozen=True)
class Neighbour:
    """A picture's id with both numbers: Euclidean distance and cosine similarity of the codes."""

    id: int
    distance: float
    similarity: float


class Store:
    """An index folder: ``catalog.db``, ``*.faiss``, and whatever the layer above keeps beside them."""

    def __init__(self, folder: Path, catalog: Catalog, on_gpu: bool = False) -> None:
        self.folder = folder
        self.on_gpu = on_gpu
        self.catalog = catalog
        self.notes = Notes(catalog)
        self.budget = Budget.kept_in(folder)
        self._caches: dict[str, VectorCache] = {}
        self._gpu_caches: dict[str, VectorCache] = {}

    @classmethod
    def open(cls, folder: Path, on_gpu: bool = False) -> Store:
        """Open an index for reading; ``on_gpu`` it is searched exactly, by all GPUs together.

        Raises:
            NoIndex: there is none.
            IndexMismatch, IndexDamaged: it cannot be used.
        """
        if not (folder / FILE_NAME).is_file():
            raise NoIndex(f"no index at {folder}; make one with: latent index build PHOTOS")
        store = cls(folder, Catalog(folder, writing=False), on_gpu)
        store.catalog.meta()
        return store

    @classmethod
    @contextmanager
    def writing(cls, folder: Path, create: Meta | None = None, beside: Collection[str] = ()) -> Iterator[Store]:
        """Open an index for writing, alone; with ``create``, make it where there is none.

        ``beside`` are names that the layer above gives to what it keeps there.

        Raises:
            IndexBusy: another process is writing.
            IndexUnwritable: the folder cannot be written, or holds other files and no index.
            NoIndex: there is none, and ``create`` was not given.
        """
        if create is None and not (folder / FILE_NAME).is_file():
            raise NoIndex(f"no index at {folder}; make one with: latent index build PHOTOS")
        check_faiss()
        _check_it_is_ours(folder, beside)
        with _locked(folder):
            is_new = not (folder / FILE_NAME).is_file()
            catalog = Catalog.create(folder, create) if is_new and create else Catalog(folder, writing=True)
            store = cls(folder, catalog)
            try:
                catalog.meta()
                yield store
            finally:
                catalog.close()

    def close(self) -> None:
        self.catalog.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def search(
        self, xq: Floats, k: int, metric: Metric, left_out: Sequence[Collection[int]] | None = None
    ) -> list[list[Neighbour]]:
        """The ``k`` nearest pictures to each query (n, d), nearest first, equals by ascending id.

        FAISS proposes candidates; their order is decided in float64 on the catalog's codes.
        ``left_out`` names for each query the ids that must not be found.
        """
        unwanted = [set(out) for out in left_out or [()] * len(xq)]
        if len(unwanted) != len(xq):
            raise ValueError(f"left_out must name ids for each of {len(xq)} queries, not for {len(unwanted)}")
        cache = self.gpu_cache(metric) if self.on_gpu else self.cache(metric)
        at_once = max(1, min(QUERIES_AT_ONCE, CODES_AT_ONCE // cache.proposals_for(k)))
        parts = [slice(start, start + at_once) for start in range(0, len(xq), at_once)]
        return [hits for part in parts for hits in self._search_part(cache, xq[part], k, metric, unwanted[part])]

    def _search_part(
        self, cache: VectorCache, xq: Floats, k: int, metric: Metric, unwanted: list[set[int]]
    ) -> list[list[Neighbour]]:
        found, open_rows = dict[int, list[Neighbour]](), list(range(len(xq)))
        most = k + max(map(len, unwanted)) + SPARE
        wanted = cache.proposals_for(most)
        while open_rows:
            proposed = cache.search(xq[open_rows], wanted)
            known, codes = self.catalog.codes_of(np.unique(proposed).tolist())
            places = np.searchsorted(known, proposed)
            is_known = np.append(known, NOTHING)[places] == proposed
            for at, row in enumerate(open_rows):
                left = places[at, is_known[at] & ~np.isin(proposed[at], list(unwanted[row]))]
                found[row] = _ranked(xq[row], known[left], codes[left], metric, most)
            open_rows = [row for row in open_rows if wanted < len(cache) and _is_open(found[row], k)]
            most, wanted = 4 * most, 4 * wanted
        return [found[row][:k] for row in range(len(xq))]

    def cache(self, metric: Metric, must_save: bool = False) -> VectorCache:
        """The cache for ``metric``, caught up with the catalog or rebuilt from it, and saved where it can be.

        Raises:
            IndexUnwritable: with ``must_save``, it cannot.
        """
        with self.catalog.transaction() as connection:
            facts = self.catalog.meta(connection)
            kind = cache_kind(metric, facts)
            cache = self._caches.get(kind) or self._load(kind, facts)
            if cache is not None and self.catalog.stamp_of(connection, cache.generation) != cache.stamp:
                cache = None  # of another history: the catalog was made anew, or came back from a backup
            if cache is not None and cache.generation == facts.generation and len(cache) == facts.found:
                self._caches[kind] = cache
                return cache
            if cache is not None and facts.rebuild_from <= cache.generation < facts.generation:
                touched, ids, codes = self.catalog.changed_since(connection, cache.generation, facts.latent_dim)
                cache.remove(touched)
                cache.add(ids, codes)
                cache.generation, cache.stamp = facts.generation, facts.stamp
            if cache is None or cache.generation != facts.generation or len(cache) != facts.found:
                cache = self._built(connection, kind, facts, self._structure(facts))
        self._caches[kind] = cache
        try:
            cache.save(self.cache_path(kind))
        except OSError as error:  # a folder that cannot be written is searched all the same
            if must_save:
                raise IndexUnwritable(
                    f"{self.cache_path(kind)} cannot be written ({error}). Everything is in the catalog; run again"
                ) from error
        return cache

    def gpu_cache(self, metric: Metric) -> VectorCache:
        """All codes in float32 in the memory of the GPUs; not saved.

        Raises:
            MissingExtra: there is no GPU, or no FAISS for it.
        """
        check_gpu()
        with self.catalog.transaction() as connection:
            facts = self.catalog.meta(connection)
            kind = cache_kind(metric, facts)
            cache = self._gpu_caches.get(kind)
            if cache is None or (cache.generation, cache.stamp) != (facts.generation, facts.stamp):
                cache = self._built(connection, kind, facts, EXACT)
                cache.move_to_gpu()
                self._gpu_caches[kind] = cache
        return cache

    def refresh_caches(self) -> None:
        """Bring the cache files that exist, and the first that will be asked for, up to the catalog's generation.

        Raises:
            IndexUnwritable: they cannot be written; the catalog is whole all the same.
        """
        for kind in KINDS:
            for leftover in self.folder.glob(f"{kind}.faiss.*{PART}"):  # of processes that were killed
                leftover.unlink(missing_ok=True)
        facts = self.catalog.meta()
        for metric in self._metrics_in_use():
            if self.cache(metric, must_save=True).is_outgrown(facts.found, self._structure(facts)):
                self._caches.clear()
                self.cache_path(metric).unlink()
                self.cache(metric, must_save=True)

    def drop_caches(self) -> None:
        """Delete every cache file; they are rebuilt when next asked for."""
        self._caches.clear()
        for kind in KINDS:
            self.cache_path(kind).unlink(missing_ok=True)

    def cache_faults(self) -> list[str]:
        """What is wrong with the cache files, in words. One that is merely behind is no fault."""
        facts, found = self.catalog.meta(), []
        for kind in KINDS:
            path = self.cache_path(kind)
            if not path.exists():
                continue
            try:
                cache = VectorCache.load(path, kind, facts.latent_dim)
            except CacheUnusable as error:
                found.append(f"cache: {error}")
                continue
            if (cache.generation, cache.stamp) == (facts.generation, facts.stamp) and not self._agrees(cache, facts):
                found.append(f"cache: {path.name} does not hold the catalog's codes")
        return found

    def cache_path(self, kind: Metric) -> Path:
        return self.folder / f"{kind}.faiss"

    def layout(self) -> tuple[Structure, Quality]:
        """How the first cache is laid out, and how well it answers; what it will be where there is none yet."""
        facts = self.catalog.meta()
        return layout_of(self.cache_path(cache_kind("euclidean", facts))) or (self._structure(facts), Quality())

    def keep_budget(self, budget: Budget) -> None:
        """Have caches built within ``budget`` from now on."""
        self.budget = budget
        budget.keep_in(self.folder)

    def _structure(self, facts: Meta) -> Structure:
        return choose(facts.found, facts.latent_dim, self.budget)

    def _built(self, connection: Connection, kind: Metric, facts: Meta, structure: Structure) -> VectorCache:
        """A new cache of everything that can be found; one that is not exact is tried on some of it."""
        dim = facts.latent_dim
        sample = self.catalog.some_codes(connection, structure.learns_from, dim) if structure.quantized else None
        cache = VectorCache.empty(kind, dim, facts.generation, facts.stamp, structure, sample)
        truth = Truth(cache, sample[:QUESTIONS]) if sample is not None else None
        for ids, codes in self.catalog.found_codes(connection, dim):
            cache.add(ids, codes)
            if truth is not None:
                truth.add(ids, codes)
        if truth is not None:
            cache.measure(truth.xq, truth.ids)
        return cache

    def _agrees(self, cache: VectorCache, facts: Meta) -> bool:
        cached, row = cache.ids(), 0
        with self.catalog.transaction() as connection:
            for ids, codes in self.catalog.found_codes(connection, facts.latent_dim):
                if not np.array_equal(cached[row : row + len(ids)], ids) or not cache.holds(ids, codes):
                    return False
                row += len(ids)
        return row == len(cached)

    def _load(self, kind: Metric, facts: Meta) -> VectorCache | None:
        try:
            return VectorCache.load(self.cache_path(kind), kind, facts.latent_dim)
        except CacheUnusable:
            return None

    def _metrics_in_use(self) -> list[Metric]:
        facts = self.catalog.meta()
        first: Metric = cache_kind("euclidean", facts)
        return [kind for kind in KINDS if kind == first or self.cache_path(kind).exists()]


def cache_kind(metric: Metric, facts: Meta) -> Metric:
    """Standardized codes all have length sqrt(d): one cache of inner products ranks for both metrics.

    |N(a) - N(b)|^2 = 2d (1 - cos). Other codes need a cache for each.
    """
    return "cosine" if facts.standardized else metric


def _ranked(xq: Floats, ids: Ids, codes: Floats, metric: Metric, most: int) -> list[Neighbour]:
    """The best ``most`` of candidates (n,) with ``codes`` (n, d), in their exact order."""
    xb, query = codes.astype(np.float64), xq.astype(np.float64)
    distances = np.linalg.norm(xb - query, axis=1)
    norms = np.linalg.norm(xb, axis=1) * np.linalg.norm(query)
    similarities = xb @ query / np.maximum(norms, np.finfo(np.float64).tiny)
    order = np.lexsort((ids, distances if metric == "euclidean" else -similarities))[:most]
    return [Neighbour(int(ids[i]), float(distances[i]), float(similarities[i])) for i in order]


def _is_open(found: list[Neighbour], k: int) -> bool:
    """Whether too few were found, or the last ties with the k-th, so that others like it may lie behind it.

    A tie is what float32 cannot have told apart.
    """
    if len(found) <= k:
        return len(found) < k
    a, b = found[k - 1], found[-1]
    return abs(a.similarity - b.similarity) < 1e-6 or abs(a.distance - b.distance) < 1e-6 * max(1.0, b.distance)


def _check_it_is_ours(folder: Path, beside: Collection[str]) -> None:
    """A new index wants a folder of its own: what lies in one is the index's to replace and to delete."""
    if (folder / FILE_NAME).is_file() or not folder.is_dir():
        return
    own = {LOCK_NAME, BUDGET_NAME, *(f"{kind}.faiss" for kind in KINDS), *beside}
    names = [one.name for one in folder.iterdir()]
    strange = sorted(name for name in names if name not in own and not name.startswith(FILE_NAME))
    if strange:
        where = folder / "photos.latent"
        raise IndexUnwritable(f"{folder} is no index and holds other files, such as {strange[0]}; try --index {where}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout  # searching starts sooner without it

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_NAME)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise IndexBusy(f"another latent is writing to {folder}; wait until it is done") from error
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        raise IndexUnwritable(f"{folder} cannot be written ({reason}); choose another place with --index") from error
    try:
        yield
    finally:
        lock.release()
