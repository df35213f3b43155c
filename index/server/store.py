"""An index on a server. The server holds the truth; each reader keeps caches of it in a folder of its own."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path
from sqlalchemy import Engine

from index.errors import IndexDamaged, IndexUnwritable
from index.local.excluded import check_excluded
from index.local.notes import NotesWriter
from index.local.store import NEXT_NAME, Searched, SearchedWriter
from index.local.tables import SCHEMA, tables
from index.milvus.address import Vectors
from index.neighbours import check_faiss
from index.owners import trust
from index.records import Budget, Change, Meta
from index.server import schema, settings
from index.server.catalog import ServerCatalog, ServerCatalogWriter, locked
from index.server.database import PostgreSQL

IDENTITY_LETTERS = 32  # hexadecimal


class ServerStore(Searched):
    """An index on a server, for reading (``index.door.Index``). Any thread may use it."""

    rows: ServerCatalog

    def __init__(self, rows: ServerCatalog, identity: str, on_gpu: bool = False) -> None:
        caches = caches_of(identity)
        with suppress(OSError):  # without caches on disk, each process makes its own
            caches.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(caches, rows, Budget(), on_gpu)
        self.budget = self._read_budget()

    @classmethod
    def open(cls, address: str, on_gpu: bool = False) -> ServerStore:
        """Open an index for reading. With ``on_gpu`` all GPUs together search it, exactly.

        Raises:
            IndexUnreachable: the server does not answer, or does not let this user in.
            NoIndex: there is none.
            IndexMismatch: it has another schema.
            IndexDamaged: the catalog cannot be read.
        """
        database = PostgreSQL.reach(address)
        rows = ServerCatalog(database)
        try:
            with rows.probing() as connection:
                if not schema.exists(database, connection):
                    raise schema.no_index(database)
                number = schema.check(database, connection)
            if number < SCHEMA:
                _migrate(database)
            store = cls(rows, _identity(rows), on_gpu)
            store.rows.meta()
        except BaseException:
            rows.close()
            raise
        return store

    @classmethod
    @contextmanager
    def writing(cls, address: str, create: Meta | None = None) -> Iterator[ServerStoreWriter]:
        """Open an index for writing. Several processes may; each claims the roots that it works on.

        With ``create``, a missing index is created.

        Raises:
            IndexUnreachable, NoIndex, IndexMismatch, IndexDamaged: as ``open``.
            IndexUnwritable: this user may not write there.
        """
        check_faiss()
        database = PostgreSQL.reach(address)
        is_new = _migrate(database, create)
        rows = ServerCatalogWriter(database)
        try:
            store = ServerStoreWriter(rows, identity := _identity(rows))
            if is_new:
                with suppress(OSError):  # without a place for the note, what is trusted is said each time
                    trust(json.dumps([address, identity]), [os.getuid()])
            rows.meta()
            yield store
        finally:
            rows.close()

    @property
    def address(self) -> str:
        return self.rows.name

    def sizes(self) -> dict[str, int]:
        """Bytes of the catalog and the model on the server, and of the caches on this machine."""
        of = {"catalog": [*tables.tables], "model": ["model_parts"]}
        with self.rows.transaction() as connection:
            sizes = {
                what: sum(self.rows.database.size_of(connection, name) for name in names) for what, names in of.items()
            }
        return {**sizes, "caches": sum(path.stat().st_size for path in self.caches.glob("*.faiss"))}

    def excluded(self) -> tuple[str, ...]:
        """The patterns of files that are left out. Raises IndexDamaged: they cannot be read."""
        try:
            kept = self._setting(settings.EXCLUDED) or []
            check_excluded(kept)
        except (IndexDamaged, ValueError) as error:
            raise IndexDamaged(
                f"the patterns in {self.address} are damaged; give those to leave out anew", code="patterns_damaged"
            ) from error
        return tuple(kept)

    def model_folder(self) -> Path:
        """The folder of caches that holds the model's files, read from the server if they are not there yet."""
        try:
            with self.rows.transaction() as connection:
                return settings.fetch_model(connection, self.caches, self.address)
        except OSError as error:
            raise IndexUnwritable(f"{self.caches} cannot be written: {error.strerror or error}") from error

    def vectors(self) -> Vectors | None:
        """The Milvus that proposes candidates; None if FAISS does, or if the setting is damaged."""
        try:
            return Vectors.read(self._setting(settings.VECTORS))
        except IndexDamaged:
            return None

    def changing_vectors(self, patience_s: float) -> AbstractContextManager[None]:
        """As ``Searched.changing_vectors``: by an advisory lock, which ends with its connection."""
        busy = f"another latent is changing the codes of {self.address} in Milvus; try again when it is done"
        return locked(self.rows.database, "vectors", busy, patience_s)

    def _setting(self, name: str) -> Any:
        with self.rows.transaction() as connection:
            return settings.read(connection, name, self.address)

    def _read_budget(self) -> Budget:
        """As of a folder: ``Budget()`` if none can be read, since only caches depend on it."""
        try:
            kept = self._setting(settings.BUDGET) or {}
            limits = [kept.get(name) for name in ("memory_bytes", "latency_s")]
        except (IndexDamaged, AttributeError):
            return Budget()
        if any(one is not None and not (type(one) in (int, float) and 0 < one < math.inf) for one in limits):
            return Budget()
        return Budget(*limits)


class ServerStoreWriter(SearchedWriter, ServerStore):
    """An index on a server, for writing (``index.door.IndexWriter``)."""

    rows: ServerCatalogWriter

    def __init__(self, rows: ServerCatalogWriter, identity: str) -> None:
        super().__init__(rows, identity)
        self.notes: NotesWriter = NotesWriter(rows)

    def keep_budget(self, budget: Budget) -> None:
        """Store ``budget``. Caches are built within it from now on."""
        self.budget = budget
        self._keep(settings.BUDGET, asdict(budget))

    def keep_excluded(self, patterns: Sequence[str]) -> None:
        """Store the patterns of files that are left out, in place of earlier ones."""
        check_excluded(tuple(patterns))
        self._keep(settings.EXCLUDED, list(patterns))

    def _keep_vectors(self, vectors: Vectors | None) -> None:
        self._keep(settings.VECTORS, vectors and vectors.kept())

    def keep_model(self, fill: Callable[[Path], None]) -> None:
        """Replace the index's copy of its model. ``fill`` writes the new one into an empty folder."""
        with self.rows.changing() as connection:
            settings.keep_model(connection, fill)

    def change_model(self, facts: Meta, fill: Callable[[Path], None], changes: Iterable[Sequence[Change]]) -> None:
        """As ``index.door.IndexWriter.change_model``. Other readers see the old state until it is committed."""
        with self.rows.changing() as connection:
            self._change_codes(facts, changes)
            settings.keep_model(connection, fill)
        self.drop_caches()

    def staging(self) -> Path:
        return self.caches / NEXT_NAME

    def _keep(self, name: str, value: Any) -> None:
        with self.rows.changing() as connection:
            settings.keep(connection, name, value)


def identity_at(address: str) -> str | None:
    """What identifies the index at an address; None if there is no index.

    Raises:
        IndexUnreachable: the server does not answer, or does not let this user in.
    """
    database = PostgreSQL.reach(address)
    rows = ServerCatalog(database)
    try:
        with rows.probing() as connection:
            if not schema.exists(database, connection):
                return None
        return _identity(rows)
    finally:
        rows.close()


def caches_of(identity: str) -> Path:
    """The folder of this user's caches of an index."""
    return user_cache_path("latent", appauthor=False) / "servers" / identity


def _identity(rows: ServerCatalog) -> str:
    with rows.transaction() as connection:
        identity = settings.read(connection, settings.IDENTITY, rows.name)
    is_sane = isinstance(identity, str) and len(identity) == IDENTITY_LETTERS
    if not is_sane or not set(identity) <= set("0123456789abcdef"):
        raise IndexDamaged(f"{rows.name} has lost its identity; restore it from a backup")
    return str(identity)


def _migrate(database: PostgreSQL, create: Meta | None = None) -> bool:
    """As ``schema.prepared``. Who may not write, and need not, is not told so."""
    engine: Engine = database.engine(writing=True)
    try:
        return schema.prepared(database, engine, create)
    finally:
        engine.dispose()
