"""The library's main object: an index of pictures that can be built, brought up to date, asked and decoded."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from index.local.catalog import Catalog
from index.local.store import Store
from index.local.structures import Budget
from index.records import Direction, Meta, Metric, Row
from retrieval.arrays import Floats, Pixels
from retrieval.defaults import Device
from retrieval.errors import NoDirection, PathError
from retrieval.explore.novelty import SAMPLE, strangeness
from retrieval.ingest.commit import Report, Scope, Summary, ingest
from retrieval.models.kept import MODEL_FOLDER, check_model, model_for, provide_model
from retrieval.models.model import Model, load_model
from retrieval.pictures.workers import DecoderPool
from retrieval.places import absolute, all_scopes, is_unchanged, locate_index, rows_at, rows_of_file, scopes_below
from retrieval.status import Status, status_of
from retrieval.verify import all_faults, repair_index

PAGE = 5000  # pictures read from the catalog at once

Query = str | os.PathLike[str] | Pixels


@dataclass(frozen=True)
class Seen:
    """What the model sees in one picture: ``code`` float32 (d,), ``realism`` -avg(E(x)) and ``spread`` std(E(x)); and
    ``ids`` of the very file in the index, by whatever names.
    """

    code: Floats
    realism: float
    spread: float
    ids: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Hit:
    """A picture that was found. ``path`` is absolute; ``distance`` is Euclidean, ``similarity`` the cosine."""

    rank: int
    path: str
    distance: float
    similarity: float
    realism: float
    width: int
    height: int
    id: int


class Retriever:
    """An index, opened.

    >>> retriever = Retriever.build("photos")              # doctest: +SKIP
    >>> hits = retriever.query("face.jpg", k=10)           # doctest: +SKIP
    >>> pictures = retriever.decode(hits)                  # doctest: +SKIP
    """

    def __init__(self, folder: Path, device: Device = "auto") -> None:
        self.folder = folder
        self.device = device
        self._store = Store.open(folder, on_gpu=device == "cuda")
        self.last_summary: Summary | None = None

    @classmethod
    def open(cls, index: str | os.PathLike[str] | None = None, device: Device = "auto") -> Retriever:
        """Open the index at ``index``, or the nearest one (see ``locate_index``).

        Raises:
            NoIndex, IndexMismatch, IndexDamaged: there is none, or it cannot be used.
        """
        return cls(locate_index(index), device)

    @classmethod
    def build(
        cls,
        photos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        index: str | os.PathLike[str] | None = None,
        model: Model | str | os.PathLike[str] | None = None,
        workers: int | None = None,
        device: Device = "auto",
        report: Report | None = None,
        retry: bool = False,
        budget: Budget | None = None,
        generator: bool = True,
    ) -> Retriever:
        """Index every picture below the folders ``photos``; an index that exists is brought up to date with them.

        Args:
            model: of a new index, ``photos-64`` by default. An index that exists keeps its own.
            report: called with (files done, files to do).
            retry: read files again that were skipped before.
            budget: what searching may cost; the index keeps it. Without one, or with ``Budget()``, it is exact up to
                300,000 pictures, and above ranks candidates that quantized codes propose.
            generator: without it the index cannot paint what it holds; see docs/privacy.md for what that is worth.

        Raises:
            PathError: a path is not a folder.
            IndexMismatch: the index exists and was made with another model.
            IndexBusy, IndexUnwritable: it cannot be written now, or here.
            ModelError: there is no such model.
        """
        folders = [photos] if isinstance(photos, str | os.PathLike) else list(photos)
        if not folders:
            raise ValueError("build needs a folder of pictures at least")
        for path in folders:
            if not os.path.isdir(path):
                raise PathError(f"{os.fspath(path)} is not a folder of pictures")
        folder = locate_index(index)
        chosen = model_for(folder, model, device)
        with Store.writing(folder, create=_facts(chosen), beside=[MODEL_FOLDER]) as store:
            check_model(store.catalog.meta(), chosen)
            provide_model(chosen, folder / MODEL_FOLDER, generator)
            if budget is not None:
                store.keep_budget(budget)
            scopes = scopes_below(store, [os.path.realpath(path) for path in folders], retry)
            summary = _ingest(store, chosen, scopes, workers, report)
        return cls._after(folder, device, summary)

    def update(
        self,
        workers: int | None = None,
        report: Report | None = None,
        retry: bool = False,
        budget: Budget | None = None,
    ) -> Summary:
        """Bring the index up to date with all its folders. A folder that is not there keeps its pictures.

        Arguments are those of ``build``.

        Raises:
            IndexBusy, IndexUnwritable: it cannot be written now, or here.
        """
        model = self.model
        with Store.writing(self.folder) as store:
            if budget is not None:
                store.keep_budget(budget)
            summary = _ingest(store, model, all_scopes(store, retry), workers, report)
        self._refresh(summary)
        return summary

    def remove(self, paths: Sequence[str | os.PathLike[str]]) -> int:
        """Take pictures, or all below a folder, out of the index with their codes; the files stay untouched.

        An update does not bring these files back, but knows them by their names alone; building on a folder by
        name does. A root that is named goes for good. Returns how many rows went.

        Raises:
            PathError: a path is not in this index; nothing was removed then.
        """
        with Store.writing(self.folder) as store:
            found = [rows_at(store.catalog, path) for path in paths]
            gone = sum(_remove(store.catalog, *one) for one in found)
            store.refresh_caches()
        self._refresh(None)
        return gone

    def keep_apart(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        """Remember that none of these pictures is a copy of another of them, whatever ``find_copies`` thinks.

        What is remembered are their contents, so it holds when they are renamed, and no longer when they are changed.

        Raises:
            PathError: a path is not in this index, or two hold the same bytes.
            IndexBusy, IndexUnwritable: it cannot be written now, or here.
        """
        hashes = [self._content(path) for path in paths]
        if len(set(hashes)) < len(hashes):
            raise PathError("two of these hold the same bytes; they are copies, whatever is said")
        with Store.writing(self.folder) as store:
            store.notes.keep_apart(pair for pair in combinations(hashes, 2) if pair[0] != pair[1])
        self._refresh(None)

    def note_gone(self, paths: Sequence[str | os.PathLike[str]]) -> int:
        """Have those of ``paths`` found no more that are gone, without a look at the rest; returns how many rows.

        What is known of them stays, for when they come back.
        """
        gone = [row for path in paths if not os.path.lexists(path) for row in self._rows_of(path)]
        ids = [row.id for row in gone if row.id is not None and row.status == "found"]
        with Store.writing(self.folder) as store:
            store.catalog.mark(ids, "vanished")
            store.refresh_caches()
        self._refresh(None)
        return len(ids)

    def kept_apart(self) -> set[frozenset[bytes]]:
        """Pairs of content hashes that ``keep_apart`` was told of."""
        return self._store.notes.kept_apart()

    def _content(self, path: str | os.PathLike[str]) -> bytes:
        for row in self._rows_of(path):
            if row.content_hash is not None:
                return row.content_hash
        raise PathError(f"{os.fspath(path)} is not in this index; latent index update")

    def query(self, picture: Query, k: int = 10, metric: Metric = "euclidean") -> list[Hit]:
        """The ``k`` pictures nearest to a path or to uint8 (h, w, 3), best first.

        A picture that is in the index itself is left out of its own hits.

        Raises:
            PictureRefused: the path cannot be read as a picture.
            ValueError: ``k`` below 1, or a metric that does not exist.
        """
        return self.query_batch([picture], k, metric)[0]

    def query_batch(self, queries: Sequence[Query], k: int = 10, metric: Metric = "euclidean") -> list[list[Hit]]:
        """As ``query``, for several pictures at once."""
        if not queries:
            return []
        seen = [self.look_at(query) for query in queries]
        return self.query_codes(np.stack([one.code for one in seen]), k, metric, [one.ids for one in seen])

    def query_codes(
        self, xq: Floats, k: int = 10, metric: Metric = "euclidean", left_out: Sequence[Collection[int]] | None = None
    ) -> list[list[Hit]]:
        """As ``query``, for codes float32 (n, d); ``left_out`` names ids that must not be found, for each."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if metric not in ("euclidean", "cosine"):
            raise ValueError(f"metric must be euclidean or cosine, not {metric!r}")
        with self._store.catalog.snapshot():
            dim = self.latent_dim
            if xq.ndim != 2 or xq.shape[1] != dim:
                raise ValueError(f"codes must be (n, {dim}), not {xq.shape}")
            found = self._store.search(xq, k, metric, left_out)
            rows = self._store.catalog.pictures([one.id for hits in found for one in hits])
            roots = self._store.catalog.roots()
        return [
            [_hit(rank, rows[one.id], roots, one.distance, one.similarity) for rank, one in enumerate(hits, 1)]
            for hits in found
        ]

    def look_at(self, query: Query) -> Seen:
        """What the model sees in one picture; one that is indexed and did not change is not read for it.

        Raises:
            PictureRefused: the path cannot be read as a picture.
        """
        rows = self._rows_of(query)
        ids = frozenset(row.id for row in rows if row.id is not None)
        for row in rows[:1]:  # the name that was given
            code = self._store.catalog.codes([row.id]).get(row.id) if row.id is not None else None
            if code is not None and row.status == "found" and is_unchanged(row, query):
                assert row.realism is not None and row.spread is not None
                return Seen(code, row.realism, row.spread, ids)
        encoded = self.model.encode_fully(query[None] if isinstance(query, np.ndarray) else [query])
        return Seen(encoded.codes[0], float(encoded.realism[0]), float(encoded.spread[0]), ids)

    def strangeness(self, seen: Seen) -> float | None:
        """How strange a picture is beside this collection: the share of it that is less so.

        None where the collection is too small to tell.
        """
        return strangeness(self._looks, seen.realism, seen.spread)

    @cached_property
    def _looks(self) -> Floats:
        """Realism and spread (n, 2) of some of the collection: read once, however many pictures are held against it."""
        return self._store.catalog.some_looks(SAMPLE)

    def directions(self) -> dict[str, Direction]:
        """The directions that ``keep_direction`` was given, by name."""
        return self._store.notes.directions()

    def direction(self, name: str) -> Direction:
        """The direction of that name.

        Raises:
            NoDirection: there is none.
        """
        known = self.directions()
        if name not in known:
            raise NoDirection(f"this index knows no direction {name!r}; it knows {', '.join(known) or 'none'}")
        return known[name]

    def keep_direction(self, direction: Direction) -> None:
        """Remember a direction (``learn_direction``), in place of one of the same name.

        Raises:
            IndexBusy, IndexUnwritable: the index cannot be written now, or here.
        """
        with Store.writing(self.folder) as store:
            store.notes.keep_direction(direction)
        self._refresh(None)

    def forget_direction(self, name: str) -> None:
        """Forget a direction, if there is one of that name; raises as ``keep_direction`` does."""
        with Store.writing(self.folder) as store:
            store.notes.forget_direction(name)
        self._refresh(None)

    def decode(self, hits: Sequence[Hit] | Floats, scale: float | None = None) -> Pixels:
        """What the generator paints for hits, or for codes (n, d): uint8 (n, s, s, 3).

        Raises:
            ModelError: this index has no generator.
            PathError: a hit was removed since it was found.
        """
        if isinstance(hits, np.ndarray):
            return self.model.decode(hits, scale)
        codes = self._store.catalog.codes([hit.id for hit in hits])
        for hit in hits:
            if hit.id not in codes:
                raise PathError(f"{hit.path} is no longer in this index; ask again")
        matrix = np.stack([codes[hit.id] for hit in hits]) if hits else np.empty((0, self.model.latent_dim), np.float32)
        return self.model.decode(matrix, scale)

    def found(self) -> Iterator[tuple[list[tuple[str, Row]], Floats]]:
        """Everything that can be found, some thousand at a time: absolute paths with their rows, and codes (b, d).

        Writers need not wait for whoever reads slowly: what changes meanwhile is seen as it is when its turn comes.
        """
        catalog, last = self._store.catalog, 0
        while True:
            rows, codes = catalog.found_page(last, PAGE)
            if not rows:
                return
            roots = catalog.roots()
            yield [(absolute(row, roots), row) for row in rows], codes
            last = rows[-1].id or 0

    @property
    def latent_dim(self) -> int:
        """How many numbers a code has."""
        return self._store.catalog.meta().latent_dim

    def status(self) -> Status:
        """Counts, model, sizes and generation."""
        return status_of(self.folder, self._store)

    def skipped(self) -> list[tuple[str, str]]:
        """(path, reason) of every file that was skipped."""
        roots = self._store.catalog.roots()
        return [(absolute(row, roots), row.reason or "?") for row in self._store.catalog.skipped()]

    def verify(self, repair: bool = False) -> list[str]:
        """Hold catalog, caches, model and files against one another; the faults in words, none where all is well.

        With ``repair``, what is derived is made anew: caches, counts, the copy of a shipped model.

        Raises:
            IndexBusy, IndexUnwritable: with ``repair``, it cannot be written.
        """
        faults = all_faults(self.folder, self._store)
        if repair and faults:
            repair_index(self.folder)
            self.__dict__.pop("model", None)
            self._refresh(None)
        return faults

    def close(self) -> None:
        self._store.close()

    def __enter__(self) -> Retriever:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._store.catalog.meta().found

    @cached_property
    def model(self) -> Model:
        """The index's own copy of its model."""
        model = load_model(self.folder / MODEL_FOLDER, self.device)
        check_model(self._store.catalog.meta(), model)
        return model

    @classmethod
    def _after(cls, folder: Path, device: Device, summary: Summary) -> Retriever:
        retriever = cls(folder, device)
        retriever.last_summary = summary
        return retriever

    def _refresh(self, summary: Summary | None) -> None:
        self.__dict__.pop("_looks", None)
        self._store.close()
        self._store = Store.open(self.folder, on_gpu=self.device == "cuda")
        self.last_summary = summary

    def _rows_of(self, query: Query) -> list[Row]:
        """The rows of the very file that is asked about, by whatever name."""
        if isinstance(query, np.ndarray):
            return []
        with self._store.catalog.snapshot():
            return rows_of_file(self._store.catalog, query)


def _ingest(store: Store, model: Model, scopes: list[Scope], workers: int | None, report: Report | None) -> Summary:
    with DecoderPool(model.image_size, workers) as pool:
        summary = ingest(store.catalog, model, scopes, pool, report)
    store.refresh_caches()
    return summary


def _facts(model: Model) -> Meta:
    return Meta(model.name, model.digest, model.latent_dim, model.standardized)


def _remove(catalog: Catalog, root_id: int, rows: list[Row] | None) -> int:
    if rows is None:
        return catalog.drop_root(root_id)
    catalog.mark([row.id for row in rows if row.id is not None], "removed", forget_codes=True)
    return len(rows)


def _hit(rank: int, row: Row, roots: dict[int, str], distance: float, similarity: float) -> Hit:
    assert row.id is not None and row.realism is not None and row.width_px is not None and row.height_px is not None
    place = absolute(row, roots)
    return Hit(rank, place, distance, similarity, row.realism, row.width_px, row.height_px, row.id)
