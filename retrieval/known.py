"""All that is known of pictures: from the index where it holds them unchanged, else from their files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal

from index.facts import Facts
from index.records import READ_AGAIN, Row
from index.roots import REGION_KINDS, whole
from retrieval.errors import PathError
from retrieval.pictures.shared import decode_all
from retrieval.pictures.tasks import Task
from retrieval.pictures.workers import Decoded
from retrieval.places import Listings, absolute, is_unchanged, rows_of_file
from retrieval.roots.opening import facts_at, is_gone
from retrieval.searcher import Searcher
from retrieval.seen import indexed

Status = Literal["found", "changed", "skipped", "vanished", "removed", "not indexed"]


@dataclass(frozen=True)
class Known:
    """What is known of the file at ``path``.

    ``status``: that of its row; "changed" if the file is not as it was indexed, "not indexed" if there is no row. The
    facts of such a file are its own, and ``reason`` says why there are none. ``novelty`` is the share of the collection
    that is less novel.
    """

    path: str
    status: Status
    size_bytes: int | None = None
    mtime_ns: int | None = None
    width_px: int | None = None
    height_px: int | None = None
    realism: float | None = None
    novelty: float | None = None
    facts: Facts | None = None
    reason: str | None = None

    @property
    def taken(self) -> tuple[datetime, Literal["camera", "file"]] | None:
        """When the picture was taken by its camera's clock, with a time zone if that is known; else the file's date."""
        if self.facts is not None and self.facts.taken_us is not None:
            moment = datetime(1970, 1, 1) + timedelta(microseconds=self.facts.taken_us)
            offset = self.facts.taken_offset_s
            return (moment if offset is None else moment.replace(tzinfo=timezone(timedelta(seconds=offset)))), "camera"
        if self.mtime_ns is None:
            return None
        try:
            return datetime.fromtimestamp(self.mtime_ns / 1e9, UTC), "file"
        except (OverflowError, ValueError, OSError):  # a date that no clock shows
            return None


def known_of(searcher: Searcher | None, paths: Sequence[str | os.PathLike[str]]) -> list[Known]:
    """What is known of each file, in order. Without an index, files alone are asked. Of a file whose faces are indexed,
    each of these is told of.

    Raises:
        IndexDamaged: a row or facts are not as they were written.
    """
    wanted = [os.fspath(path) for path in paths]
    if searcher is not None and any(map(searcher.holds, REGION_KINDS)):
        wanted = _with_regions(searcher, wanted)
    held = [_in_index(searcher, path) if searcher else None for path in wanted]
    asked = [path for path, one in zip(wanted, held, strict=True) if one is None or one.status == "changed"]
    told = iter(decode_all([Task(path, want="facts") for path in asked], 0))
    return [
        _of_file(path, next(told), one is not None) if one is None or one.status == "changed" else one
        for path, one in zip(wanted, held, strict=True)
    ]


def _with_regions(searcher: Searcher, paths: list[str]) -> list[str]:
    """``paths``, and in place of each that is indexed by its regions alone, the addresses of these."""
    rows = searcher.index.rows
    with rows.snapshot():
        roots, listings, found = rows.roots(), Listings(rows), list[str]()
        for path in paths:
            regions: list[Row] = []
            if not (rows_of_file(rows, path) or os.path.isdir(path)):
                with suppress(PathError):
                    regions = listings.at(path)[1] or []
            found += [absolute(row, roots) for row in regions] or [path]
    return found


def _in_index(searcher: Searcher, path: str) -> Known | None:
    """What the index holds of a file; None if that is nothing."""
    rows = searcher.index.rows
    with rows.snapshot():
        row = next(iter(rows_of_file(rows, path)), None)
        if row is None:
            return None
        facts = rows.facts([row.content_hash] if row.content_hash else [])
    seen, _ = indexed(searcher, path)
    is_there, is_same = not is_gone(path), is_unchanged(row, path)
    status: Status = "changed" if is_there and not is_same and row.status != "removed" else row.status
    known = facts.get(row.content_hash or b"")
    mtime = None if row.mtime_ns == READ_AGAIN else row.mtime_ns
    return Known(
        whole(path),
        status,
        row.size_bytes,
        mtime,
        row.width_px,
        row.height_px,
        row.realism,
        searcher.novelty(seen) if seen else None,
        known,
        row.reason,
    )


def _of_file(path: str, told: Decoded, is_indexed: bool) -> Known:
    """What the file itself tells."""
    status: Status = "changed" if is_indexed else "not indexed"
    its = facts_at(path)
    if its is None:
        return Known(
            whole(path), status, reason=(told.reason or "").removeprefix("cannot be read: ") or "it is not there"
        )
    wide, high = (told.width_px, told.height_px) if told.reason is None else (None, None)
    return Known(whole(path), status, its.size_bytes, its.mtime_ns, wide, high, facts=told.facts, reason=told.reason)
