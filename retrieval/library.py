"""Build and maintain an index: keep it up to date with its folders, and store what the user tells it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import combinations
from typing import Self

from index.copying import copy_index
from index.door import IndexWriter
from index.opening import write_index
from index.records import Budget, Direction, Meta, Row
from retrieval.defaults import Device
from retrieval.errors import IndexDamaged, PathError
from retrieval.ingest.commit import Summary
from retrieval.ingest.facts import FactsSummary, read_lacking_facts
from retrieval.ingest.places_of_work import ingest_of
from retrieval.ingest.survey import Reading
from retrieval.migrate import Migrated, migrate
from retrieval.models.kept import check_model, model_for, provide_model
from retrieval.models.model import Model, load_model
from retrieval.opened import Opened
from retrieval.pictures.kinds import other_kind
from retrieval.pictures.leaving_out import chosen_patterns
from retrieval.places import (
    Listings,
    absolute,
    all_scopes,
    claim_all,
    claimed,
    locate_index,
    rows_of_file,
    scopes_below,
)
from retrieval.progress import OnProgress
from retrieval.roots.opening import checked_root, is_gone
from retrieval.status import Status, status_of
from retrieval.verify import all_faults, repair_index

Photos = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class Library(Opened):
    """An index, opened to be maintained. Each method that writes takes the writer's lock and releases it at its end.

    >>> with Library.build("photos") as library:           # doctest: +SKIP
    ...     print(library.summary)
    """

    summary: Summary | None = None
    """What the last ``build`` or ``update`` of this object did; None if it only opened the index."""

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
        follow_links: bool = False,
        budget: Budget | None = None,
        exclude: Sequence[str] | None = None,
        vectors: str | None = None,
        generator: bool = True,
        on: str | None = None,
    ) -> Self:
        """Index every picture below the folders ``photos``. An existing index is brought up to date with them.

        In place of a folder there may be a URL of a store (``s3://bucket/folder``), a tar archive, or a table in
        Parquet, on this machine or in a store (docs/stores.md).

        Args:
            model: the model of a new index, ``photos-64`` by default. An existing index keeps its own.
            workers: number of worker processes that decode files, by default one per core.
            device: where the model runs.
            report: called with (files done, files to do).
            retry: read skipped files again.
            reread: read all files again, also those of unchanged size and dates.
            follow_links: follow links that lead out of the folders too. Without it, what an earlier build found behind
                them stays in the index as it is.
            budget: limits for a search; the index stores them. Without limits, or with ``Budget()``, search is exact
                up to 300,000 pictures; above that, quantized codes propose candidates and exact codes rank them.
            exclude: patterns of files and folders to leave out, in the grammar of gitignore. The index stores them, in
                place of earlier ones. Files ``.latentignore`` in the folders hold further ones.
            vectors: what proposes candidates of a search: a Milvus (``milvus://HOST:19530``), or ``faiss`` on the
                machine of each reader, as at first. The index stores it.
            generator: if False, the index cannot decode its codes; docs/privacy.md says what that protects.
            on: a cluster that encodes: ``ray`` starts one on this machine, ``HOST:PORT`` of a head joins one
                (docs/cluster.md). ``workers`` is then the number of decoding processes of all nodes.

        Raises:
            PathError: a path is not a folder, nor another place of pictures.
            RootUnreadable: a store does not answer, or an archive is damaged.
            ValueError: one of ``exclude`` is not a pattern, or ``on`` names no cluster.
            ClusterError: the cluster does not answer, or its nodes cannot do the work.
            MissingExtra: what a cluster, a store or a table needs is not installed.
            IndexMismatch: the index exists and was built with another model.
            IndexBusy: another process is writing.
            IndexUnwritable: the index cannot be written.
            AddressUnknown, IndexUnreachable, MissingExtra: ``vectors`` names no Milvus, or none that can be asked.
            ModelError: there is no such model.
        """
        folders, reading = _folders(photos), Reading(retry=retry, reread=reread, follow_links=follow_links)
        chosen_patterns(exclude or ())
        ingest = ingest_of(on)
        folder = locate_index(index)
        chosen = model_for(folder, model, device)
        facts = Meta(chosen.name, chosen.digest, chosen.latent_dim, chosen.standardized)
        with write_index(folder, create=facts) as writer:
            check_model(writer.rows.meta(), chosen)
            provide_model(chosen, writer, generator)
            if vectors is not None:
                writer.keep_vectors(vectors)
            reading = _without(reading, exclude, writer)
            with writer.rows.snapshot():  # or another process could begin with a folder around or inside these
                scopes = claimed(writer.rows, scopes_below(writer.rows, writer.address, folders, reading))
            summary = _brought_up_to_date(writer, partial(ingest, writer.rows, chosen, scopes, workers, report), budget)
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
        follow_links: bool = False,
        budget: Budget | None = None,
        exclude: Sequence[str] | None = None,
        vectors: str | None = None,
        on: str | None = None,
    ) -> Summary:
        """Bring the index up to date with all its folders. Pictures of a missing folder stay in the index.

        Arguments as for ``build``.

        Raises:
            ValueError: one of ``exclude`` is not a pattern, or ``on`` names no cluster.
            ClusterError: the cluster does not answer, or its nodes cannot do the work.
            MissingExtra: there is a cluster to work on, and Ray is not installed.
            IndexBusy: another process is writing.
            IndexUnwritable: the index cannot be written.
            AddressUnknown, IndexUnreachable, MissingExtra: as ``build``.
        """
        chosen_patterns(exclude or ())
        ingest = ingest_of(on)
        reading = Reading(retry=retry, reread=reread, follow_links=follow_links)
        with self._writing() as writer:
            model = self.model
            if vectors is not None:
                writer.keep_vectors(vectors)
            reading = _without(reading, exclude, writer)
            scopes = claimed(writer.rows, all_scopes(writer.rows, writer.address, reading))
            work = partial(ingest, writer.rows, model, scopes, workers, report)
            self.summary = _brought_up_to_date(writer, work, budget)
        return self.summary

    def migrate(
        self,
        model: Model | str | os.PathLike[str],
        workers: int | None = None,
        *,
        report: OnProgress | None = None,
        follow_links: bool = False,
        on: str | None = None,
    ) -> Migrated:
        """Encode the collection anew with another model, and make this an index of that model.

        Until the new codes stand, the index answers with the old ones; then it changes in one transaction. Stopped or
        killed at any moment, it is whole, and the same call goes on. Ids, facts and pairs that are not copies are kept;
        directions are not, since they were of the old codes. Who has the index open then must open it again. The index
        is brought up to date with its folders on the way.

        Arguments as for ``build``. A model with the same encoder replaces the copy in the index, without encoding.

        Raises:
            ModelError: there is no such model, or it has no encoder.
            IndexMismatch: pictures of the index cannot be read now, and would be lost.
            ValueError, ClusterError, MissingExtra, IndexBusy, IndexUnwritable: as ``update``.
        """
        ingest = ingest_of(on)
        chosen = model if isinstance(model, Model) else load_model(model, self.device)
        with self._writing() as writer:
            reading = _without(Reading(follow_links=follow_links), None, writer)
            done = migrate(writer, chosen, ingest, reading, self.device, workers, report)
        self.open_again()
        return done

    def read_facts(self, workers: int | None = None, report: OnProgress | None = None) -> FactsSummary:
        """Read the facts of pictures that have none in the index: it may be of an older version. Nothing is encoded.

        ``build`` and ``update`` read those of new pictures themselves. Files that changed or vanished are left alone.

        Raises:
            IndexBusy: another process is writing.
            IndexUnwritable: the index cannot be written.
        """
        with self._writing() as writer:
            return read_lacking_facts(writer.rows, workers, report)

    def remove(self, paths: Sequence[str | os.PathLike[str]]) -> int:
        """Remove pictures, or all pictures below a folder, and their codes from the index. The files stay untouched.

        ``update`` does not add these files again: the catalog keeps their paths, and nothing else of them. ``build`` on
        a folder that holds them does. If a path is a root, the root itself is removed. Returns the number of rows.

        Raises:
            PathError: a path is not in this index. Nothing is removed.
            IndexBusy: another process is writing.
            IndexUnwritable: the index cannot be written.
        """
        with self._writing() as writer:
            listings = Listings(writer.rows)
            found = [listings.at(path) for path in paths]
            claim_all(writer.rows, {root_id for root_id, _ in found})
            gone = sum(_remove(writer, *one) for one in found)
            writer.refresh_caches()
        return gone

    def keep_apart(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        """Mark these pictures as not copies of each other. ``find_copies`` then never groups them.

        The index stores the hashes of their contents, so the mark survives renaming, but not a change of a file.

        Raises:
            PathError: a path is not in this index, or two files hold the same bytes.
            IndexBusy: another process is writing.
            IndexUnwritable: the index cannot be written.
        """
        hashes = [self._content(path) for path in paths]
        if len(set(hashes)) < len(hashes):
            raise PathError("two of these hold the same bytes; they are copies, whatever is said")
        with self._writing() as writer:
            writer.notes.keep_apart(pair for pair in combinations(hashes, 2) if pair[0] != pair[1])

    def note_gone(self, paths: Sequence[str | os.PathLike[str]]) -> int:
        """Mark the missing files among ``paths`` as vanished, so that no query finds them. Returns the number of rows.

        No other file is looked at. Rows and codes stay, in case the files come back.

        Raises:
            IndexBusy: another process is writing.
            IndexUnwritable: the index cannot be written.
        """
        with self.noting_gone() as note:
            return note(paths)

    @contextmanager
    def noting_gone(self) -> Iterator[Callable[[Sequence[str | os.PathLike[str]]], int]]:
        """Hold the writer's lock, and yield a function that does as ``note_gone``. Raises as that."""
        with self._writing() as writer:
            yield lambda paths: _note_gone(writer, paths)

    def keep_direction(self, direction: Direction) -> None:
        """Store a direction (``learn_direction``). It replaces one of the same name.

        Raises:
            IndexBusy: another process is writing.
            IndexUnwritable: the index cannot be written.
        """
        with self._writing() as writer:
            writer.notes.keep_direction(direction)

    def forget_direction(self, name: str) -> None:
        """Delete the direction of that name, if there is one. Raises as ``keep_direction``."""
        with self._writing() as writer:
            writer.notes.forget_direction(name)

    def status(self) -> Status:
        """Return counts, model, sizes and generation."""
        return status_of(self.index)

    def skipped(self) -> list[tuple[str, str]]:
        """Return (path, reason) of every picture that could not be read."""
        with self.index.rows.snapshot():
            roots = self.index.rows.roots()
            files = [(absolute(row, roots), row.reason or "?") for row in self.index.rows.skipped()]
        return [(path, reason) for path, reason in files if other_kind(reason, path) is None]

    def verify(self, repair: bool = False) -> list[str]:
        """Compare catalog, caches, model and files with each other. Returns the faults in words; empty if none.

        ``repair`` rebuilds what is derived: caches, counts, and the copy of a shipped model. Pictures whose row or code
        is damaged are marked; the next ``update`` reads their files again.

        Raises:
            IndexDamaged: with ``repair``, more is damaged than can be read again.
            IndexBusy: with ``repair``, another process is writing.
            IndexUnwritable: with ``repair``, the index cannot be written.
        """
        faults = all_faults(self.index)
        if repair and faults:
            with self._writing() as writer:
                repair_index(writer)
            self._model = None
        return faults

    def copy_to(self, index: str | os.PathLike[str], report: OnProgress | None = None) -> int:
        """Copy the index to another place, a folder or a server, and compare both row by row. Returns the rows.

        A copy that was stopped goes on where it was. No picture is copied, and roots keep their absolute paths.

        Raises:
            IndexMismatch: there is an index at that place that is no part of this one.
            IndexBusy: another process is writing there.
            IndexUnwritable: the place cannot be written.
        """
        facts = self.index.rows.meta()
        create = Meta(facts.model_name, facts.model_digest, facts.latent_dim, facts.standardized)
        with write_index(index, create=create) as target:
            return copy_index(self.index, target, report)

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
    return [checked_root(path) for path in folders]


def _without(reading: Reading, exclude: Sequence[str] | None, writer: IndexWriter) -> Reading:
    """``reading`` without what patterns name: given ones, which the index keeps, or those that it has kept."""
    if exclude is not None:
        writer.keep_excluded(exclude)
    kept = writer.excluded()
    try:
        chosen_patterns(kept)
    except ValueError as error:
        raise IndexDamaged(f"what {writer.address} leaves out is damaged: {error}", code="patterns_damaged") from error
    return reading._replace(exclude=kept)


def _brought_up_to_date(writer: IndexWriter, ingest: Callable[[], Summary], budget: Budget | None) -> Summary:
    if budget is not None:
        writer.keep_budget(budget)
    summary = ingest()
    writer.refresh_caches()
    return summary


def _note_gone(writer: IndexWriter, paths: Sequence[str | os.PathLike[str]]) -> int:
    gone = [row for path in paths if is_gone(os.fspath(path)) for row in rows_of_file(writer.rows, path)]
    ids = [row.id for row in gone if row.id is not None and row.status == "found"]
    writer.rows.mark(ids, "vanished")
    writer.refresh_caches()
    return len(ids)


def _remove(writer: IndexWriter, root_id: int, rows: list[Row] | None) -> int:
    if rows is None:
        return writer.rows.drop_root(root_id)
    writer.rows.mark([row.id for row in rows if row.id is not None], "removed", forget_codes=True)
    return len(rows)
