"""An index in a folder. Only this module writes catalog and caches, and reads both together."""

from __future__ import annotations

import os
import re
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Self

from index import folders
from index.errors import IndexBusy, IndexDamaged, IndexUnwritable, LatentError, NoIndex, NotTrusted
from index.local import migrations
from index.local.catalog import Catalog
from index.local.database import FILE_NAME, SQLite, translated
from index.local.excluded import EXCLUDED_NAME, read_excluded, write_excluded
from index.local.faults import catalog_faults
from index.local.files import check_own
from index.local.mending import mend
from index.local.notes import Notes, NotesWriter
from index.local.passing import Passing
from index.local.proposing import Outdated, Proposals, Source
from index.local.ranking import Ranked, Search
from index.local.snapshots import KINDS, Snapshots
from index.local.structures import BUDGET_NAME, Structure, choose, read_budget, write_budget
from index.local.tables import SCHEMA
from index.local.vectors import VECTORS_LOCK_NAME, VECTORS_NAME, read_vectors, write_vectors
from index.local.writing import CatalogWriter
from index.milvus.address import FAISS, Vectors
from index.milvus.source import MilvusSource
from index.neighbours import check_faiss
from index.owners import check_owner, forget, is_known, trust
from index.records import Budget, Change, Floats, Ids, Layout, Meta, Metric, Neighbour
from index.where import Where

LOCK_NAME = "lock"
NEXT_NAME = "next"  # the folder in which the next state is prepared
MODEL_NAME = "model"
CACHE_NAMES = tuple(f"{kind}.faiss" for kind in KINDS)
MODEL_NAMES = (MODEL_NAME, MODEL_NAME + folders.NEW, MODEL_NAME + folders.OLD)
SETTING_NAMES = (BUDGET_NAME, EXCLUDED_NAME, VECTORS_NAME)
OWN_NAMES = (FILE_NAME, LOCK_NAME, VECTORS_LOCK_NAME, *SETTING_NAMES, *CACHE_NAMES, *MODEL_NAMES, NEXT_NAME)
NAMED_MODEL = re.compile(rf"{MODEL_NAME}(-[0-9a-f]{{64}})?({folders.NEW}|{folders.OLD})?")
PATIENCE_S = 5.0  # longest wait for another process that is writing to a catalog of an older schema


class Searched(ABC):
    """An index, for reading, wherever its catalog is (``index.door.Index``). Any thread may use it.

    What remains to subclasses: the address, the settings, the model's copy, and how it is opened.
    """

    notes: Notes

    def __init__(self, caches: Path, rows: Catalog, budget: Budget, on_gpu: bool = False) -> None:
        """``caches``: the folder of the cache files."""
        self.caches, self.rows, self.on_gpu, self.budget = caches, rows, on_gpu, budget
        self.notes = Notes(rows)
        self._snapshots = Snapshots(caches, rows, self._structure, on_gpu)
        self._milvus: MilvusSource | None = None

    @abstractmethod
    def vectors(self) -> Vectors | None:
        """The Milvus that proposes candidates; None if FAISS does."""

    @abstractmethod
    def changing_vectors(self, patience_s: float) -> AbstractContextManager[None]:
        """Keep other processes from changing this index's codes in Milvus.

        Raises:
            IndexBusy: another one has not finished after ``patience_s``.
            IndexUnwritable: this cannot be locked.
        """

    def _source(self) -> Source:
        """Where candidates come from now: another process may have chosen another place."""
        vectors = None if self.on_gpu else self.vectors()
        if vectors is None:
            self._milvus = None
            return self._snapshots
        if self._milvus is None or self._milvus.vectors != vectors:
            self._milvus = self._source_at(vectors)
        return self._milvus

    def _source_at(self, vectors: Vectors) -> MilvusSource:
        return MilvusSource(vectors, self.rows, lambda: self.budget, self.changing_vectors)

    @abstractmethod
    def excluded(self) -> tuple[str, ...]:
        """The patterns of files that are left out. Raises IndexDamaged: they cannot be read."""

    def close(self) -> None:
        self.rows.close()

    def __enter__(self) -> Self:
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
        """Return the ``k`` nearest pictures to each query (n, d), nearest first, ties by ascending id.

        FAISS or Milvus propose candidates; the catalog's codes order them in float64. The answer is of one state of the
        index, even if a writer changes it meanwhile. ``left_out`` holds for each query the ids to exclude; another
        length raises a ValueError. ``where`` filters the pictures that may be found.
        """
        unwanted = [set(out) for out in left_out or [()] * len(xq)]
        if len(unwanted) != len(xq):
            raise ValueError(f"left_out must name ids for each of {len(xq)} queries, not for {len(unwanted)}")

        def answer(proposals: Proposals) -> list[list[Neighbour]]:
            passing = None if where is None else Passing(self.rows, where)
            return self._neighbours(Search(proposals, self._codes_of, k, metric, passing).ranked(xq, unwanted), where)

        source: Source = self._milvus or self._snapshots
        for _ in range(source.tries):
            with self.rows.transaction():
                if (proposals := source.latest(metric)) is not None:
                    with suppress(Outdated):
                        return answer(proposals)
                    source.forget()
            source = self._source()
            source.current(metric)
        with self.rows.transaction():  # a writer that commits faster than proposals are made must wait once
            return answer(source.current(metric))

    def _codes_of(self, ids: Sequence[int]) -> tuple[Ids, Floats]:
        """Codes of pictures that can be found; FAISS proposes negative ids where it saw too few.

        Raises:
            IndexDamaged: one has no code. All this is of one state, so that it was lost by damage.
        """
        known, codes = self.rows.codes_of(ids)
        if len(known) < len(ids) and (lost := {one for one in ids if one > 0} - {*known.tolist()}):
            raise self.rows.damage("code", min(lost))
        return known, codes

    def _neighbours(self, ranked: list[Ranked], where: Where | None) -> list[list[Neighbour]]:
        ids = {one for hits in ranked for one, _, _ in hits}
        pictures = self.rows.found(sorted(ids))
        if lost := ids - pictures.keys():  # by damage: all this is of one state
            raise self.rows.damage("row", min(lost))
        self.rows.check_facts(where, pictures.values())
        return [[Neighbour(pictures[one], far, alike) for one, far, alike in hits] for hits in ranked]

    def cache(self, metric: Metric) -> Proposals:
        """What proposes candidates to searches now."""
        return self._source().current(metric)

    def cache_path(self, kind: Metric) -> Path:
        return self._snapshots.path(kind)

    def cache_faults(self) -> list[str]:
        """Faults of the cache files, or of the codes in Milvus, in words. To be only behind is not a fault."""
        return self._source().faults()

    def faults(self) -> list[str]:
        """Faults of catalog and caches, in words; empty if there are none."""
        return catalog_faults(self.rows) + self.cache_faults() + self._faults_of_patterns()

    def _faults_of_patterns(self) -> list[str]:
        try:
            self.excluded()
        except IndexDamaged as error:
            return [f"patterns: {error}"]
        return []

    def layout(self) -> Layout:
        """The layout of the codes that propose candidates, its cost and its recall."""
        try:
            return self._source().layout(self.budget)
        except NotTrusted as error:
            return Layout(f"Milvus at {error.facts['address']}, which is not asked before it is trusted", 0, 0, 0, True)

    def _structure(self, facts: Meta) -> Structure:
        return choose(facts.found, facts.latent_dim, self.budget)


class SearchedWriter(Searched):
    """What writers share: the caches are brought up to date, and damage is mended."""

    rows: CatalogWriter

    def refresh_caches(self) -> None:
        """Bring what proposes candidates to the catalog's generation.

        Raises:
            IndexUnwritable: caches cannot be written. The catalog is complete nevertheless.
            IndexUnreachable: Milvus does not answer. The same holds.
        """
        self._source().refresh()

    def drop_caches(self) -> None:
        """Delete what proposes candidates. It is made again on next use."""
        self._source().drop()

    def repair(self) -> None:
        """Rebuild what is derived: counts and caches. Pictures whose row or code was damaged or lost are read again by
        an update.

        Raises:
            IndexDamaged: the structure of the catalog is damaged; nothing is changed.
        """
        mend(self.rows)
        self.drop_caches()
        self.refresh_caches()

    def _change_codes(self, facts: Meta, changes: Iterable[Sequence[Change]]) -> None:
        """Inside a transaction: write all rows, then say whose codes they have."""
        for part in changes:
            self.rows.apply(part)
        self.rows.change_model(facts)
        self.drop_caches()  # whoever is killed after the commit leaves none of other dimensions

    @abstractmethod
    def staging(self) -> Path:
        """The folder in which the next state of the index can be prepared; it may not exist."""

    def clear_staging(self) -> None:
        """Delete what was prepared."""
        shutil.rmtree(self.staging(), ignore_errors=True)
        with suppress(OSError):
            forget(self.staging())

    def keep_vectors(self, address: str) -> None:
        """Have a Milvus at ``address`` propose candidates from now on, or FAISS (``faiss``). Codes elsewhere go.

        Codes in a Milvus that does not answer stay there.

        Raises:
            AddressUnknown: it is neither.
            IndexUnreachable, MissingExtra: Milvus cannot be asked. Nothing is changed.
        """
        before = self.vectors()
        if address == (FAISS if before is None else before.address):
            return
        after = None if address == FAISS else Vectors.at(address)
        if after is not None:
            self._source_at(after).reach()
        self._keep_vectors(after)
        with suppress(LatentError):
            (self._snapshots if before is None else self._source_at(before)).drop()

    @abstractmethod
    def _keep_vectors(self, vectors: Vectors | None) -> None:
        """Store where candidates come from; None: from FAISS."""


class Store(Searched):
    """An index folder, for reading (``index.door.Index``): catalog, caches, the model's copy. Any thread may use it."""

    def __init__(self, folder: Path, rows: Catalog, on_gpu: bool = False, private: Path | None = None) -> None:
        """``private`` is a copy of the catalog, which ``close`` deletes."""
        super().__init__(folder, rows, read_budget(folder), on_gpu)
        self.folder, self._private = folder, private

    @classmethod
    def open(cls, folder: Path, on_gpu: bool = False) -> Store:
        """Open an index for reading. With ``on_gpu`` all GPUs together search it, exactly.

        A catalog of an older schema is migrated first; if it cannot be written, a private copy is.

        Raises:
            NoIndex: there is none.
            NotTrusted: it belongs to another user.
            IndexMismatch: it has a newer schema.
            IndexDamaged: the catalog cannot be read.
        """
        path = folder / FILE_NAME
        check_owner(folder)
        check_own(folder, OWN_NAMES)
        _check_it_is_there(path)
        private = _migrated(folder, path)
        store = cls(folder, Catalog(SQLite(folder, private)), on_gpu, private)
        store.rows.meta()
        return store

    @classmethod
    @contextmanager
    def writing(cls, folder: Path, create: Meta | None = None) -> Iterator[StoreWriter]:
        """Open an index for writing by this process alone. With ``create``, a missing index is created.

        Raises:
            IndexBusy: another process is writing.
            IndexUnwritable: the folder cannot be written, or holds other files and no index.
            NoIndex: there is none, and ``create`` is None.
            NotTrusted: it belongs to another user.
        """
        path = folder / FILE_NAME
        check_own(folder, OWN_NAMES)
        if path.exists():
            check_owner(folder)
        if create is None:
            _check_it_is_there(path)
        check_faiss()
        _check_it_is_ours(folder)
        with _locked(folder):
            if create is not None and not path.is_file():
                rows = CatalogWriter.create(folder, create)
                with suppress(OSError):  # without a place for the note, the index must be named each time
                    trust(folder)
            else:
                with translated(path):
                    migrations.migrate(path)
                rows = CatalogWriter(SQLite(folder))
            store = StoreWriter(folder, rows)
            try:
                rows.meta()
                store.recover_model()
                yield store
            finally:
                rows.close()

    @property
    def address(self) -> str:
        return str(self.folder)

    def close(self) -> None:
        super().close()
        if self._private is not None:
            self._private.unlink(missing_ok=True)

    def sizes(self) -> dict[str, int]:
        """Bytes on disk of catalog, caches and model."""
        return {
            "catalog": os.stat(self.rows.name).st_size,
            "caches": sum(path.stat().st_size for path in self.folder.glob("*.faiss")),
            "model": sum(path.stat().st_size for path in self.model_folder().glob("*")),
        }

    def excluded(self) -> tuple[str, ...]:
        """The patterns of files that are left out. Raises IndexDamaged: they cannot be read."""
        return read_excluded(self.folder)

    def vectors(self) -> Vectors | None:
        """The Milvus that proposes candidates; None if FAISS does.

        Raises:
            NotTrusted: this user has neither made nor trusted the index that names one: whoever made it would be told
                what is asked, and MILVUS_TOKEN.
        """
        vectors = read_vectors(self.folder)
        if vectors is not None and not is_known(self.folder):
            raise NotTrusted(
                f"{self.folder} was made elsewhere, and searches in {vectors.address}; so it would send codes there",
                code="unknown_vectors",
                folder=str(self.folder),
                address=vectors.address,
            )
        return vectors

    @contextmanager
    def changing_vectors(self, patience_s: float) -> Iterator[None]:
        busy = f"another latent is changing the codes of {self.folder} in Milvus; try again when it is done"
        with _locked(self.folder, VECTORS_LOCK_NAME, busy, patience_s):
            yield

    def model_folder(self) -> Path:
        """The folder to read the index's copy of its model from."""
        return folders.place_of(self._model_place())

    def _model_place(self) -> Path:
        """The folder of the model's copy. After a change of the model its digest is in the name: the catalog, which
        changes at one moment, says which model it is."""
        named = self._place_named(self.rows.meta().model_digest)
        return named if named is not None and folders.place_of(named).is_dir() else self.folder / MODEL_NAME

    def _place_named(self, digest: str) -> Path | None:
        """None if a stranger's catalog has a digest that no model has."""
        place = self.folder / f"{MODEL_NAME}-{digest}"
        return place if NAMED_MODEL.fullmatch(place.name) and not place.is_symlink() else None


class StoreWriter(SearchedWriter, Store):
    """An index folder, for writing by one process at a time (``index.door.IndexWriter``)."""

    def __init__(self, folder: Path, rows: CatalogWriter) -> None:
        super().__init__(folder, rows)
        self.notes: NotesWriter = NotesWriter(rows)

    def keep_budget(self, budget: Budget) -> None:
        """Store ``budget``. Caches are built within it from now on."""
        self.budget = budget
        write_budget(self.folder, budget)

    def keep_excluded(self, patterns: Sequence[str]) -> None:
        """Store the patterns of files that are left out, in place of earlier ones."""
        write_excluded(self.folder, patterns)

    def _keep_vectors(self, vectors: Vectors | None) -> None:
        write_vectors(self.folder, vectors)

    def keep_model(self, fill: Callable[[Path], None]) -> None:
        """Replace the index's copy of its model. ``fill`` writes the new one into an empty folder.

        Raises:
            IndexUnwritable: it cannot be written. The old copy is unchanged.
        """
        self._write_model(self._model_place(), fill)

    def _write_model(self, place: Path, fill: Callable[[Path], None]) -> None:
        try:
            folders.replace(place, fill)
        except OSError as error:
            raise IndexUnwritable(f"{place} cannot be written: {error.strerror or error}") from error

    def change_model(self, facts: Meta, fill: Callable[[Path], None], changes: Iterable[Sequence[Change]]) -> None:
        """As ``index.door.IndexWriter.change_model``.

        Raises:
            IndexUnwritable: the disk is full, or the folder cannot be written. The index is as it was.
        """
        place = self._place_named(facts.model_digest)
        assert place is not None, facts.model_digest
        self._write_model(place, fill)  # nobody reads it before the catalog names it
        with self.rows.changing():
            self._change_codes(facts, changes)
        self.recover_model()
        self.drop_caches()

    def recover_model(self) -> None:
        """Finish what a killed writer began with the model's copy, and delete copies of others."""
        place = self._model_place()
        folders.recover(place)
        for other in self.folder.glob(f"{MODEL_NAME}*"):
            if other != place and NAMED_MODEL.fullmatch(other.name) and not other.is_symlink():
                shutil.rmtree(other, ignore_errors=True)

    def staging(self) -> Path:
        return self.folder / NEXT_NAME


def _check_it_is_there(path: Path) -> None:
    if not path.is_file():
        raise NoIndex(f"there is no index at {path.parent}", folder=str(path.parent))


def _migrated(folder: Path, path: Path) -> Path | None:
    """Migrate an older catalog. If it cannot be written, migrate a private copy and return its path."""
    deadline = time.monotonic() + PATIENCE_S
    with translated(path):
        while migrations.schema_of(path) < SCHEMA:
            try:
                with _locked(folder):
                    migrations.migrate(path)
            except IndexBusy:  # the other writer most likely migrates right now
                if time.monotonic() > deadline:
                    return migrations.migrated_copy(path)
                time.sleep(0.05)
            except IndexUnwritable:
                return migrations.migrated_copy(path)
    return None


def _check_it_is_ours(folder: Path) -> None:
    """Refuse a folder with foreign files: an index replaces and deletes the files of its folder."""
    if (folder / FILE_NAME).is_file() or not folder.is_dir():
        return
    own = {LOCK_NAME, VECTORS_LOCK_NAME, *SETTING_NAMES, *CACHE_NAMES, MODEL_NAME}
    names = [one.name for one in folder.iterdir()]
    strange = sorted(name for name in names if name not in own and not name.startswith(FILE_NAME))
    if strange:
        raise IndexUnwritable(
            f"{folder} is no index and holds other files, such as {strange[0]}; an index needs a folder of its own",
            code="not_an_index",
            suggestion=str(folder / "photos.latent"),
        )


@contextmanager
def _locked(folder: Path, name: str = LOCK_NAME, busy: str = "", patience_s: float = 0.0) -> Iterator[None]:
    """Hold the lock ``name`` in a folder. ``busy`` says that another process holds it, after ``patience_s``."""
    from filelock import FileLock, Timeout  # not imported for searching, which starts sooner

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(folder / name, mode=0o600)
        lock.acquire(timeout=patience_s)
    except Timeout as error:
        raise IndexBusy(busy or f"another latent is writing to {folder}; wait until it is done") from error
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        raise IndexUnwritable(
            f"{folder} cannot be written ({reason})", code="folder_unwritable", folder=str(folder)
        ) from error
    try:
        yield
    finally:
        lock.release()
