"""Keeping an index: building it, keeping it true to its folders, and telling it what a person knows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import combinations
from typing import Self

from index.door import IndexWriter
from index.opening import write_index
from index.records import Budget, Direction, Meta, Row
from retrieval.defaults import Device
from retrieval.errors import PathError
from retrieval.ingest.commit import Summary
from retrieval.ingest.local import ingest
from retrieval.ingest.survey import Scope
from retrieval.models.kept import check_model, model_for, provide_model
from retrieval.models.model import Model
from retrieval.opened import Opened
from retrieval.places import Listings, absolute, all_scopes, locate_index, rows_of_file, scopes_below
from retrieval.progress import OnProgress
from retrieval.status import Status, status_of
from retrieval.verify import all_faults, repair_index

Photos = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class Library(Opened):
    """An index that is kept. Each method opens it for writing, alone, and lets go of it again.

    >>> with Library.build("photos") as library:           # doctest: +SKIP
    ...     print(library.summary)
    """

    summary: Summary | None = None
    """What the last ``build`` or ``update`` of this object did; None where the index was merely opened."""

    @classmethod
    def build(
        cls,
        photos: Photos,
        index: str | os.PathLike[str] | None = None,
        *,
        model: Model | str | os.PathLike[str] | None = None,
        workers: int | None = None,
        device: Device = "auto",
        report: OnProgress | None = None,
        retry: bool = False,
        reread: bool = False,
        budget: Budget | None = None,
        generator: bool = True,
    ) -> Self:
        """Index every picture below the folders ``photos``; an index that exists is brought up to date with them.

        Args:
            model: of a new index, ``photos-64`` by default. An index that exists keeps its own.
            workers: processes that decode; one a core by default.
            device: where the model runs.
            report: called with (files done, files to do).
            retry: read files again that were skipped before.
            reread: read all files again, also those whose size and dates say that they did not change.
            budget: what searching may cost; the index keeps it. Without one, or with ``Budget()``, it is exact up to
                300,000 pictures, and above ranks candidates that quantized codes propose.
            generator: without it the index cannot decode what it holds; see docs/privacy.md for what that is worth.

        Raises:
            PathError: a path is not a folder.
            IndexMismatch: the index exists and was made with another model.
            IndexBusy, IndexUnwritable: it cannot be written now, or here.
            ModelError: there is no such model.
        """
        folders = _folders(photos)
        folder = locate_index(index)
        chosen = model_for(folder, model, device)
        facts = Meta(chosen.name, chosen.digest, chosen.latent_dim, chosen.standardized)
        with write_index(folder, create=facts) as writer:
            check_model(writer.rows.meta(), chosen)
            provide_model(chosen, writer, generator)
            scopes = scopes_below(writer.rows, writer.address, folders, retry, reread)
            summary = _brought_up_to_date(writer, chosen, scopes, budget, workers, report)
        built = cls(folder, device=device)
        built.summary = summary
        return built

    def update(
        self,
        workers: int | None = None,
        report: OnProgress | None = None,
        *,
        retry: bool = False,
        reread: bool = False,
        budget: Budget | None = None,
    ) -> Summary:
        """Bring the index up to date with all its folders. A folder that is not there keeps its pictures.

        Arguments are those of ``build``.

        Raises:
            IndexBusy, IndexUnwritable: it cannot be written now, or here.
        """
        model = self.model
        with self._writing() as writer:
            scopes = all_scopes(writer.rows, writer.address, retry, reread)
            self.summary = _brought_up_to_date(writer, model, scopes, budget, workers, report)
        return self.summary

    def remove(self, paths: Sequence[str | os.PathLike[str]]) -> int:
        """Take pictures, or all below a folder, out of the index with their codes; the files stay untouched.

        An update does not bring these files back, but knows them by their names alone; building on a folder by
        name does. A root that is named goes for good. Returns how many rows went.

        Raises:
            PathError: a path is not in this index; nothing was removed then.
        """
        with self._writing() as writer:
            listings = Listings(writer.rows)
            found = [listings.at(path) for path in paths]
            gone = sum(_remove(writer, *one) for one in found)
            writer.refresh_caches()
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
        with self._writing() as writer:
            writer.notes.keep_apart(pair for pair in combinations(hashes, 2) if pair[0] != pair[1])

    def note_gone(self, paths: Sequence[str | os.PathLike[str]]) -> int:
        """Have those of ``paths`` found no more that are gone, without a look at the rest; returns how many rows.

        What is known of them stays, for when they come back.
        """
        gone = [row for path in paths if not os.path.lexists(path) for row in rows_of_file(self.index.rows, path)]
        ids = [row.id for row in gone if row.id is not None and row.status == "found"]
        with self._writing() as writer:
            writer.rows.mark(ids, "vanished")
            writer.refresh_caches()
        return len(ids)

    def keep_direction(self, direction: Direction) -> None:
        """Remember a direction (``learn_direction``), in place of one of the same name.

        Raises:
            IndexBusy, IndexUnwritable: the index cannot be written now, or here.
        """
        with self._writing() as writer:
            writer.notes.keep_direction(direction)

    def forget_direction(self, name: str) -> None:
        """Forget a direction, if there is one of that name; raises as ``keep_direction`` does."""
        with self._writing() as writer:
            writer.notes.forget_direction(name)

    def status(self) -> Status:
        """Counts, model, sizes and generation."""
        return status_of(self.index)

    def skipped(self) -> list[tuple[str, str]]:
        """(path, reason) of every file that was skipped."""
        with self.index.rows.snapshot():
            roots = self.index.rows.roots()
            return [(absolute(row, roots), row.reason or "?") for row in self.index.rows.skipped()]

    def verify(self, repair: bool = False) -> list[str]:
        """Hold catalog, caches, model and files against one another; the faults in words, none where all is well.

        With ``repair``, what is derived is made anew: caches, counts, the copy of a shipped model.

        Raises:
            IndexBusy, IndexUnwritable: with ``repair``, it cannot be written.
        """
        faults = all_faults(self.index)
        if repair and faults:
            with self._writing() as writer:
                repair_index(writer)
            self._model = None
        return faults

    def _writing(self) -> AbstractContextManager[IndexWriter]:
        return write_index(self.index.address)

    def _content(self, path: str | os.PathLike[str]) -> bytes:
        for row in rows_of_file(self.index.rows, path):
            if row.content_hash is not None:
                return row.content_hash
        raise PathError(f"{os.fspath(path)} is not in this index", code="not_indexed", path=os.fspath(path))


def _folders(photos: Photos) -> list[str]:
    folders = [photos] if isinstance(photos, str | os.PathLike) else list(photos)
    if not folders:
        raise ValueError("build needs a folder of pictures at least")
    for path in folders:
        if not os.path.isdir(path):
            raise PathError(f"{os.fspath(path)} is not a folder of pictures")
    return [os.path.realpath(path) for path in folders]


def _brought_up_to_date(
    writer: IndexWriter,
    model: Model,
    scopes: list[Scope],
    budget: Budget | None,
    workers: int | None,
    report: OnProgress | None,
) -> Summary:
    if budget is not None:
        writer.keep_budget(budget)
    summary = ingest(writer.rows, model, scopes, workers, report)
    writer.refresh_caches()
    return summary


def _remove(writer: IndexWriter, root_id: int, rows: list[Row] | None) -> int:
    if rows is None:
        return writer.rows.drop_root(root_id)
    writer.rows.mark([row.id for row in rows if row.id is not None], "removed", forget_codes=True)
    return len(rows)
