"""From folders to rows and codes: what a build and an update do.

The files of a folder are held against the catalog; those that are new or changed are decoded by worker
processes, encoded in batches and committed batch by batch, in the order of their names. A process that is
killed therefore loses its running batch alone, and the same command again ends in the very same catalog.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from index.local.catalog import Catalog
from index.records import READ_AGAIN, Change, Row
from retrieval.arrays import Floats
from retrieval.models.model import Model
from retrieval.pictures.files import FoundFile, find_images
from retrieval.pictures.workers import Decoded, DecoderPool, Task, stack

BATCH_FILES = 256  # files a transaction: what a kill can cost
CHANGED = "changed while it was read"

Report = Callable[[int, int], None]
"""Called with (files done, files to do)."""


@dataclass
class Summary:
    """What a build or an update did, in files; ``reasons`` counts why files were skipped this time."""

    added: int = 0
    changed: int = 0
    renamed: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: int = 0
    encoded: int = 0  # pictures that went through the encoder; copies and renamed files do not
    reasons: Counter[str] = field(default_factory=Counter)
    missing_folders: list[str] = field(default_factory=list)
    unreadable_folders: list[str] = field(default_factory=list)

    def skip(self, reason: str) -> None:
        self.skipped += 1
        self.reasons[reason] += 1


@dataclass(frozen=True)
class Scope:
    """A root, or a folder inside one, that is to be brought up to date."""

    root_id: int
    root: str
    folder: str
    left_out: tuple[str, ...] = ()  # folders inside that are roots of their own, and the index itself
    explicit: bool = False  # named by the user: what was removed from the index there comes back
    retry: bool = False  # read files again that were skipped

    def relative(self, path: str) -> bytes:
        """``path``, which lies in the root, as the catalog has it."""
        return os.fsencode(path.removeprefix(self.root).lstrip(os.sep) or os.curdir)


class Work(NamedTuple):
    """A file that has to be read: new (``row`` is None), or no longer what its row says."""

    scope: Scope
    file: FoundFile
    row: Row | None


@dataclass(frozen=True)
class Content:
    """What the catalog keeps of a picture's content, wherever it lies."""

    width_px: int | None
    height_px: int | None
    realism: float | None
    spread: float | None
    code: Floats


def ingest(
    catalog: Catalog, model: Model, scopes: list[Scope], pool: DecoderPool, report: Report | None = None
) -> Summary:
    """Bring the rows below ``scopes`` up to date with the files."""
    summary = Summary()
    work: list[Work] = []
    gone: list[Row] = []
    away: list[Row] = []
    for scope in scopes:
        if not os.path.isdir(scope.folder):
            summary.missing_folders.append(scope.folder)  # an unplugged drive must not empty the index
            away += catalog.listing(scope.root_id).values()
            continue
        some_work, some_gone = _survey(catalog, scope, summary)
        work += some_work
        gone += some_gone
    missing = _Missing(gone, away)
    done = 0
    if report:
        report(done, len(work))
    hashes = catalog.hashes_by_size(item.file.size_bytes for item in work).values()
    with DecoderPool(model.image_size, pool.workers, known=frozenset().union(*hashes)) as knowing:
        for batch in _decoded_batches(work, knowing):
            _commit(catalog, batch, _contents(catalog, model, batch, knowing, summary), missing, summary)
            done += len(batch)
            if report:
                report(done, len(work))
    lost = missing.left()
    catalog.mark(lost, "vanished")
    summary.removed += len(lost)
    for scope in scopes:  # a folder that is not there, and whose pictures all turned up elsewhere
        if scope.folder in summary.missing_folders and not catalog.listing(scope.root_id):
            catalog.drop_root(scope.root_id)
            summary.missing_folders.remove(scope.folder)
    return summary


def is_below(path: bytes, folder: bytes) -> bool:
    """Whether a relative path is ``folder`` or lies in it."""
    return folder in (b".", path) or path.startswith(folder + os.sep.encode())


def _survey(catalog: Catalog, scope: Scope, summary: Summary) -> tuple[list[Work], list[Row]]:
    """Hold the files below the scope's folder against their rows: what to read, and rows without a file."""
    folder = scope.relative(scope.folder)
    rows = {path: row for path, row in catalog.listing(scope.root_id).items() if is_below(path, folder)}
    work: list[Work] = []
    back: list[int] = []
    closed: list[str] = []
    for file in find_images(scope.folder, closed.append, scope.left_out):
        row = rows.pop(scope.relative(file.path), None)
        if row is None or _needs_reading(row, file, scope):
            work.append(Work(scope, file, row))
        elif row.status == "vanished" and row.id is not None:
            back.append(row.id)
        else:
            summary.unchanged += 1
    catalog.mark(back, "found")
    summary.added += len(back)
    summary.unreadable_folders += closed
    unseen = [scope.relative(path) for path in closed]  # what lies there is out of sight, not gone
    gone = [row for path, row in rows.items() if not any(is_below(path, folder) for folder in unseen)]
    return work, gone


def _needs_reading(row: Row, file: FoundFile, scope: Scope) -> bool:
    if row.status == "removed":
        return scope.explicit
    if (row.size_bytes, row.mtime_ns) != (file.size_bytes, file.mtime_ns):
        return True
    was_coded = row.realism is not None
    return not was_coded and (scope.retry or row.status == "vanished")


class _Missing:
    """Rows without a file, by content: a new file of the same content is the old one under a new name.

    Of rows ``gone`` the file is known to be missing. Those that are ``away`` belong to a folder that is not there:
    they may turn up elsewhere, but until then they stay.
    """

    def __init__(self, gone: list[Row], away: list[Row]) -> None:
        self._rows = {row.id: row for row in gone}
        self._by_hash: dict[bytes, list[Row]] = {}
        for row in sorted([*gone, *away], key=lambda row: (row.root_id, row.path), reverse=True):
            if row.content_hash is not None:
                self._by_hash.setdefault(row.content_hash, []).append(row)

    def take(self, content_hash: bytes | None) -> Row | None:
        same = self._by_hash.get(content_hash or b"")
        if not same:
            return None
        row = same.pop()
        self._rows.pop(row.id, None)
        return row

    def left(self) -> list[int]:
        """Ids of rows that stood for a file until now and have none any more."""
        return [row.id for row in self._rows.values() if row.id is not None and row.status in ("found", "skipped")]


def _decoded_batches(work: list[Work], pool: DecoderPool) -> Iterator[list[tuple[Work, Decoded]]]:
    """Decode ``work`` in its order and hand it on by ``BATCH_FILES``."""
    results = zip(work, pool.map(Task(item.file.path) for item in work), strict=True)
    while batch := list(islice(results, BATCH_FILES)):
        yield batch


def _contents(
    catalog: Catalog, model: Model, batch: list[tuple[Work, Decoded]], pool: DecoderPool, summary: Summary
) -> dict[bytes, Content]:
    """What is known of each content in the batch: from the catalog where it is coded already, else encoded now."""
    wanted: dict[bytes, Decoded] = {}
    for _, one in batch:
        if one.reason is None and one.content_hash is not None:
            wanted.setdefault(one.content_hash, one)
    contents = {
        content_hash: Content(row.width_px, row.height_px, row.realism, row.spread, code)
        for content_hash, (row, code) in catalog.coded_by_hash(wanted).items()
    }
    new = [one for content_hash, one in wanted.items() if content_hash not in contents]
    # A content that was known when its file was read may have been overwritten since: read the file again.
    again = pool.map(Task(one.task.path, force=True) for one in new if one.pixels is None)
    fresh = [one for one in (*new, *again) if one.pixels is not None]
    if fresh:
        encoded = model.encode_squares(stack(fresh))
        summary.encoded += len(fresh)
        for row, one in enumerate(fresh):
            assert one.content_hash is not None
            realism, spread = float(encoded.realism[row]), float(encoded.spread[row])
            contents[one.content_hash] = Content(one.width_px, one.height_px, realism, spread, encoded.codes[row])
    return contents


def _commit(
    catalog: Catalog,
    batch: list[tuple[Work, Decoded]],
    contents: dict[bytes, Content],
    missing: _Missing,
    summary: Summary,
) -> None:
    """Write the batch in one transaction."""
    changes: list[Change] = []
    for item, decoded in batch:
        content = contents.get(decoded.content_hash or b"") if decoded.reason is None else None
        if decoded.passing and item.row is not None and item.row.status == "found":
            summary.skip(decoded.reason or "")  # what is known of it stays until it can be read again
            continue
        old = missing.take(decoded.content_hash) if item.row is None and content is not None else None
        _count(summary, item, decoded, content is not None, old is not None)
        changes.append(_change(item, decoded, content, old or item.row))
    catalog.apply(changes)


def _change(item: Work, decoded: Decoded, content: Content | None, row: Row | None) -> Change:
    """The row for a file, in the place of ``row`` where there is one."""
    scope, file = item.scope, item.file
    picture = Row(
        id=row.id if row is not None else None,
        root_id=scope.root_id,
        path=scope.relative(file.path),
        size_bytes=file.size_bytes,
        mtime_ns=READ_AGAIN if decoded.passing else file.mtime_ns,
        content_hash=decoded.content_hash,
        status="found" if content is not None else "skipped",
        reason=None if content is not None else decoded.reason or CHANGED,
        width_px=content.width_px if content is not None else None,
        height_px=content.height_px if content is not None else None,
        realism=content.realism if content is not None else None,
        spread=content.spread if content is not None else None,
    )
    return Change(picture, content.code if content is not None else None)


def _count(summary: Summary, item: Work, decoded: Decoded, usable: bool, renamed: bool) -> None:
    if not usable:
        summary.skip(decoded.reason or CHANGED)
    elif renamed:
        summary.renamed += 1
    elif item.row is None or item.row.status != "found":
        summary.added += 1
    elif item.row.content_hash == decoded.content_hash:
        summary.unchanged += 1  # only its date was touched
    else:
        summary.changed += 1
