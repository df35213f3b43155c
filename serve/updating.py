"""The index as a whole: what it holds, what it skipped and why, and bringing it up to date."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from retrieval.pictures.kinds import other_kind
from retrieval.places import absolute
from retrieval.roots.opening import root_at
from retrieval.status import status_of
from retrieval.text import printable
from serve import records_of_acts as records
from serve.collection import place_of, roots_of
from serve.errors import without_paths

if TYPE_CHECKING:
    from retrieval.ingest.commit import Summary
    from retrieval.library import Library
    from retrieval.progress import OnProgress
    from retrieval.searcher import Searcher
    from serve.jobs import Result, Work

COUNTED = ("added", "changed", "renamed", "removed", "unchanged", "skipped", "other_files")


def facts_of_index(searcher: Searcher, read_only: bool) -> records.Index:
    told = status_of(searcher.index)
    same = ("skipped", "vanished", "removed", "other_files", "other_kinds", "generation", "search")
    sizes = ("catalog_bytes", "caches_bytes", "model_bytes")
    return records.Index(
        pictures=told.found,
        excluded=[printable(one) for one in told.excluded],
        reasons=[records.Reason(reason=_reason(one), count=count) for one, count in told.reasons.items()],
        roots=[_root(one) for one in told.roots],
        missing_facts=searcher.index.rows.count_without_facts(),
        read_only=read_only,
        **{name: getattr(told, name) for name in (*same, *sizes)},
    )


def _root(address: str) -> records.Root:
    return records.Root(name=printable(os.path.basename(address)), there=root_at(address).is_there(address))


def skipped_files(searcher: Searcher, page: records.Page) -> records.SkippedFiles:
    """Pictures that could not be read, by path."""
    with searcher.index.rows.snapshot():
        roots = searcher.index.rows.roots()
        rows = [(absolute(row, roots), row.reason or "?") for row in searcher.index.rows.skipped()]
    found = sorted((path, reason) for path, reason in rows if other_kind(reason, path) is None)
    within = roots_of(searcher.index)
    files = [_skipped(path, reason, within) for path, reason in found[page.offset : page.offset + page.limit]]
    return records.SkippedFiles(files=files, total=len(found))


def update_of(library: Library, retry: bool) -> Work:
    """The work of an update. What was committed before it is cancelled stays; the next update does the rest."""

    def work(report: OnProgress) -> Result:
        return _summary(library.update(report=report, retry=retry))

    return work


def _summary(summary: Summary) -> Result:
    counts = {name: int(getattr(summary, name)) for name in COUNTED}
    return {**counts, "missing_folders": len(summary.missing_folders) + len(summary.unreadable_folders)}


def _skipped(path: str, reason: str, within: list[str]) -> records.SkippedFile:
    name, folder = place_of(path, within)
    return records.SkippedFile(name=name, folder=folder, reason=_reason(reason))


def _reason(reason: str) -> str:
    return without_paths(printable(reason), "it cannot be read")
