"""An index in a folder: the one writer of catalog and caches, and the one place where both are read together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from index import folders
from index.atomic import PART
from index.errors import IndexBusy, IndexUnwritable, NoIndex
from index.local import migrations
from index.local.cachefile import trailer_of
from index.local.catalog import FILE_NAME, Catalog
from index.local.database import translated
from index.local.faults import cache_faults, catalog_faults
from index.local.notes import Notes, NotesWriter
from index.local.ranking import Ranked, Search
from index.local.snapshot import Snapshot
from index.local.snapshots import KINDS, TRIES, Snapshots, cache_kind
from index.local.structures import BUDGET_NAME, Quality, Structure, choose, fits, read_budget, write_budget
from index.local.tables import SCHEMA
from index.local.writing import CatalogWriter
from index.neighbours import check_faiss
from index.records import Budget, Floats, Layout, Meta, Metric, Neighbour
from index.where import Where

LOCK_NAME = "lock"
MODEL_NAME = "model"
PATIENCE_S = 5.0  # with a writer of another version that holds an older catalog


class Store:
    """An index folder, read: ``catalog.db``, ``*.faiss``, the model's copy. Any thread may ask it (``index.door``)."""

    def __init__(self, folder: Path, rows: Catalog, on_gpu: bool = False, private: Path | None = None) -> None:
        """``private`` is a copy of the catalog that goes when this is closed."""
        self.folder, self.rows, self.on_gpu, self._private = folder, rows, on_gpu, private
        self.notes = Notes(rows)
        self.budget = read_budget(folder)
        self._snapshots = Snapshots(folder, rows, self._structure, on_gpu)

    @classmethod
    def open(cls, folder: Path, on_gpu: bool = False) -> Store:
        """Open an index for reading; ``on_gpu`` it is searched exactly, by all GPUs together.

        One of an older schema is migrated first, and where it may not be written, a copy of its catalog is.

        Raises:
            NoIndex: there is none.
            IndexMismatch, IndexDamaged: it cannot be used.
        """
        path = folder / FILE_NAME
        _check_it_is_there(path)
        private = _migrated(folder, path)
        store = cls(folder, Catalog(folder, private), on_gpu, private)
        store.rows.meta()
        return store

    @classmethod
    @contextmanager
    def writing(cls, folder: Path, create: Meta | None = None) -> Iterator[StoreWriter]:
        """Open an index for writing, alone; with ``create``, make it where there is none.

        Raises:
            IndexBusy: another process is writing.
            IndexUnwritable: the folder cannot be written, or holds other files and no index.
            NoIndex: there is none, and ``create`` was not given.
        """
        path = folder / FILE_NAME
        if create is None:
            _check_it_is_there(path)
        check_faiss()
        _check_it_is_ours(folder)
        with _locked(folder):
            if create is not None and not path.is_file():
                rows = CatalogWriter.create(folder, create)
            else:
                with translated(path):
                    migrations.migrate(path)
                rows = CatalogWriter(folder)
            store = StoreWriter(folder, rows)
            try:
                rows.meta()
                folders.recover(folder / MODEL_NAME)
                yield store
            finally:
                rows.close()

    @property
    def address(self) -> str:
        return str(self.folder)

    def close(self) -> None:
        self.rows.close()
        if self._private is not None:
            self._private.unlink(missing_ok=True)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def search(
        self,
        xq: Floats,
        k: int,
        metric: Metric,
        left_out: Sequence[Collection[int]] | None = None,
        where: Where | None = None,
    ) -> list[list[Neighbour]]:
        """The ``k`` nearest pictures to each query (n, d), nearest first, equals by ascending id.

        FAISS proposes candidates; their order is decided in float64 on the catalog's codes. What is found is one state
        of the index, whoever writes to it meanwhile. ``left_out`` names for each query the ids that must not be found,
        ``where`` what may be found at all.
        """
        unwanted = [set(out) for out in left_out or [()] * len(xq)]
        if len(unwanted) != len(xq):
            raise ValueError(f"left_out must name ids for each of {len(xq)} queries, not for {len(unwanted)}")

        def answer(snapshot: Snapshot) -> list[list[Neighbour]]:
            allowed = None if where is None else self.rows.found_ids(where)
            return self._neighbours(Search(snapshot, self.rows.codes_of, k, metric, allowed).ranked(xq, unwanted))

        for _ in range(TRIES):
            with self.rows.transaction():
                if (snapshot := self._snapshots.latest(metric)) is not None:
                    return answer(snapshot)
            self._snapshots.current(metric)
        with self.rows.transaction():  # a writer that commits faster than a snapshot is made has to wait once
            return answer(self._snapshots.current(metric))

    def _neighbours(self, ranked: list[Ranked]) -> list[list[Neighbour]]:
        pictures = self.rows.found([one for hits in ranked for one, _, _ in hits])
        return [[Neighbour(pictures[one], far, alike) for one, far, alike in hits] for hits in ranked]

    def cache(self, metric: Metric) -> Snapshot:
        """What searches read now."""
        return self._snapshots.current(metric)

    def cache_path(self, kind: Metric) -> Path:
        return self._snapshots.path(kind)

    def cache_faults(self) -> list[str]:
        """What is wrong with the cache files, in words. One that is merely behind is no fault."""
        return cache_faults(self.rows, {kind: self.cache_path(kind) for kind in KINDS})

    def faults(self) -> list[str]:
        """What is wrong with catalog and caches, in words; empty where all is well."""
        return catalog_faults(self.rows) + self.cache_faults()

    def layout(self) -> Layout:
        """How the first cache is laid out, and how well it answers; what it will be where there is none yet."""
        facts = self.rows.meta()
        trailer = trailer_of(self.cache_path(cache_kind("euclidean", facts)))
        structure, quality = (trailer.structure, trailer.quality) if trailer else (self._structure(facts), Quality())
        count, dim = facts.found, facts.latent_dim
        memory, latency = structure.memory_bytes(count, dim), structure.latency_s(count, dim)
        return Layout(str(structure), memory, latency, quality.recall, fits(memory, latency, self.budget))

    def sizes(self) -> dict[str, int]:
        """Bytes on the disk: of catalog, caches and model."""
        return {
            "catalog": self.rows.path.stat().st_size,
            "caches": sum(path.stat().st_size for path in self.folder.glob("*.faiss")),
            "model": sum(path.stat().st_size for path in self.model_folder().glob("*")),
        }

    def model_folder(self) -> Path:
        """Where the index's copy of its model is to be read."""
        return folders.place_of(self.folder / MODEL_NAME)

    def _structure(self, facts: Meta) -> Structure:
        return choose(facts.found, facts.latent_dim, self.budget)


class StoreWriter(Store):
    """An index folder, written, by one process at a time (``index.door``)."""

    rows: CatalogWriter

    def __init__(self, folder: Path, rows: CatalogWriter) -> None:
        super().__init__(folder, rows)
        self.notes: NotesWriter = NotesWriter(rows)

    def refresh_caches(self) -> None:
        """Bring the cache files that exist, and the first that will be asked for, up to the catalog's generation.

        Raises:
            IndexUnwritable: they cannot be written; the catalog is whole all the same.
        """
        for kind in KINDS:
            for leftover in self.folder.glob(f"{kind}.faiss.*{PART}"):  # of processes that were killed
                leftover.unlink(missing_ok=True)
        facts = self.rows.meta()
        for metric in self._metrics_in_use(facts):
            snapshot = self._snapshots.current(metric, must_save=True)
            if snapshot.is_outgrown(facts.found, self._structure(facts)):
                self._snapshots.forget()
                self.cache_path(metric).unlink()
                self._snapshots.current(metric, must_save=True)

    def drop_caches(self) -> None:
        """Delete every cache file; they are rebuilt when next asked for."""
        self._snapshots.forget()
        for kind in KINDS:
            self.cache_path(kind).unlink(missing_ok=True)

    def repair(self) -> None:
        """Make anew what is derived: counts and caches. Pictures whose code was lost are read again by an update."""
        self.rows.forget_lost_codes()
        self.rows.recount()
        self.drop_caches()
        self.refresh_caches()

    def keep_budget(self, budget: Budget) -> None:
        """Have caches built within ``budget`` from now on."""
        self.budget = budget
        write_budget(self.folder, budget)

    def keep_model(self, fill: Callable[[Path], None]) -> None:
        """Have ``fill`` write a model into an empty folder, and that take the place of the index's copy.

        Raises:
            IndexUnwritable: it cannot be written; the copy is as it was.
        """
        try:
            folders.replace(self.folder / MODEL_NAME, fill)
        except OSError as error:
            raise IndexUnwritable(f"{self.folder / MODEL_NAME} cannot be written: {error.strerror or error}") from error

    def _metrics_in_use(self, facts: Meta) -> list[Metric]:
        first: Metric = cache_kind("euclidean", facts)
        return [kind for kind in KINDS if kind == first or self.cache_path(kind).exists()]


def _check_it_is_there(path: Path) -> None:
    if not path.is_file():
        raise NoIndex(f"there is no index at {path.parent}", folder=str(path.parent))


def _migrated(folder: Path, path: Path) -> Path | None:
    """Bring an older catalog to today's schema; a private copy of it where it cannot be written now, or here."""
    deadline = time.monotonic() + PATIENCE_S
    with translated(path):
        while migrations.schema_of(path) < SCHEMA:
            try:
                with _locked(folder):
                    migrations.migrate(path)
            except IndexBusy:  # whoever writes has most likely begun with this very step
                if time.monotonic() > deadline:
                    return migrations.migrated_copy(path)
                time.sleep(0.05)
            except IndexUnwritable:
                return migrations.migrated_copy(path)
    return None


def _check_it_is_ours(folder: Path) -> None:
    """A new index wants a folder of its own: what lies in one is the index's to replace and to delete."""
    if (folder / FILE_NAME).is_file() or not folder.is_dir():
        return
    own = {LOCK_NAME, BUDGET_NAME, *(f"{kind}.faiss" for kind in KINDS), MODEL_NAME}
    names = [one.name for one in folder.iterdir()]
    strange = sorted(name for name in names if name not in own and not name.startswith(FILE_NAME))
    if strange:
        raise IndexUnwritable(
            f"{folder} is no index and holds other files, such as {strange[0]}; an index wants a folder of its own",
            code="not_an_index",
            suggestion=str(folder / "photos.latent"),
        )


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
        raise IndexUnwritable(
            f"{folder} cannot be written ({reason})", code="folder_unwritable", folder=str(folder)
        ) from error
    try:
        yield
    finally:
        lock.release()
