"""What to read: compare the files of folders with the rows of an index. Nothing is written or decoded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from index.door import Rows
from index.records import READ_AGAIN, Row
from retrieval.errors import RootUnreadable
from retrieval.pictures.files import FoundFile, date_ns
from retrieval.pictures.leaving_out import LeftOut
from retrieval.progress import OnProgress
from retrieval.roots.folder import GONE
from retrieval.roots.opening import root_at
from retrieval.roots.root import Looking, Root


class Reading(NamedTuple):
    """What is read beside files that are new or seem changed."""

    explicit: bool = False  # named by the user: files that were removed from the index are added again
    retry: bool = False  # read skipped files again
    reread: bool = False  # read all files again, also those that seem unchanged
    follow_links: bool = False  # also those that lead out of the root
    exclude: tuple[str, ...] = ()  # patterns of what is left out, in every root


@dataclass(frozen=True)
class Scope:
    """A root, or a folder inside a root, to bring up to date."""

    root_id: int
    root: str
    folder: str
    left_out: tuple[str, ...] = ()  # folders inside that are roots themselves, and the index itself
    reading: Reading = field(default_factory=Reading)

    def relative(self, path: str) -> bytes:
        """``path``, which is inside the root, as the catalog stores it."""
        return os.fsencode(path.removeprefix(self.root).lstrip(os.sep) or os.curdir)


class Work(NamedTuple):
    """A file to read: new (``row`` is None), or different from its row."""

    scope: Scope
    file: FoundFile
    row: Row | None


@dataclass
class Survey:
    """The files to read, in order, and the state of the other rows.

    Files of ``gone`` rows are missing. Files of ``away`` rows are in a folder that is missing. Files of ``back`` rows
    have returned, unchanged.
    """

    work: list[Work] = field(default_factory=list)
    gone: list[Row] = field(default_factory=list)
    away: list[Row] = field(default_factory=list)
    back: list[int] = field(default_factory=list)
    unchanged: int = 0
    left: int = 0  # files that were not looked at yet
    known: list[tuple[str, str]] = field(default_factory=list)  # (path, reason) of unchanged files without a picture
    left_out: LeftOut = field(default_factory=LeftOut)
    missing: list[Scope] = field(default_factory=list)
    why_missing: dict[str, str] = field(default_factory=dict)  # of some of these, by their folder
    unreadable_folders: list[str] = field(default_factory=list)
    links_outside: list[str] = field(default_factory=list)  # not followed


def survey(rows: Rows, scopes: Iterable[Scope], report: OnProgress | None = None) -> Survey:
    """Compare the files below ``scopes`` with their rows. ``report`` tells of what takes long to list."""
    found = Survey()
    for scope in scopes:
        root = root_at(scope.root)
        try:
            _look_through(rows, scope, root, found, report)
            continue
        except RootUnreadable as error:
            if error.code != GONE:
                found.why_missing[scope.folder] = str(error)
        found.missing.append(scope)  # an unplugged drive, or a store that is out of reach, must not empty the index
        found.away += rows.listing(scope.root_id).values()
    return found


def known_contents(rows: Rows, found: Survey) -> frozenset[bytes]:
    """Hashes of encoded contents that the files to read may hold, by their sizes: such files are only hashed."""
    sizes = rows.hashes_by_size(item.file.size_bytes for item in found.work)
    return frozenset[bytes]().union(*sizes.values())


def is_below(path: bytes, folder: bytes) -> bool:
    """Whether a relative path is ``folder`` or inside it."""
    return folder in (b".", path) or path.startswith(folder + os.sep.encode())


def _look_through(rows: Rows, scope: Scope, root: Root, found: Survey, report: OnProgress | None) -> None:
    folder, reading = scope.relative(scope.folder), scope.reading
    known = {path: row for path, row in rows.listing(scope.root_id).items() if is_below(path, folder)}
    rows_now = [] if reading.reread else [row for row in known.values() if row.status != "vanished"]
    seen = [_as_found(scope, row) for row in rows_now]
    looking = Looking(
        scope.left_out,
        reading.follow_links,
        reading.exclude,
        found.left_out,
        seen,
        in_parts=not reading.reread,
        report=report,
    )
    files = root.find(scope.folder, looking)
    for file in files:
        row = known.pop(scope.relative(file.path), None)
        if row is None or _needs_reading(row, file, scope):
            found.work.append(Work(scope, file, row))
        elif row.status == "vanished" and row.id is not None:
            found.back.append(row.id)
        elif row.status == "skipped":
            found.known.append((file.path, row.reason or "?"))
        elif row.status == "found":
            found.unchanged += 1
    found.left += looking.left
    found.unreadable_folders += looking.unreadable
    found.links_outside += looking.outside
    closed = looking.unreadable + looking.outside  # files in there are not seen, but are not gone
    unseen = [scope.relative(path) for path in closed]
    found.gone += [row for path, row in known.items() if not any(is_below(path, folder) for folder in unseen)]


def _as_found(scope: Scope, row: Row) -> FoundFile:
    """What a row says of its file."""
    return FoundFile(os.path.join(scope.root, os.fsdecode(row.path)), row.size_bytes, row.mtime_ns, row.ctime_ns or 0)


def _needs_reading(row: Row, file: FoundFile, scope: Scope) -> bool:
    if row.status == "removed":
        return scope.reading.explicit
    if scope.reading.reread or not is_as_it_was(row, file.size_bytes, file.mtime_ns, file.ctime_ns):
        return True
    was_coded = row.realism is not None
    return not was_coded and (scope.reading.retry or row.status == "vanished")


def is_as_it_was(row: Row, size_bytes: int, mtime_ns: int, ctime_ns: int) -> bool:
    """Whether size and dates of a file are those of its row.

    Programs that write in place, such as those that turn a photograph by its EXIF, may keep size and mtime, but cannot
    set the change time. Rows of an older version have none.
    """
    same_date = row.mtime_ns == mtime_ns != READ_AGAIN or row.mtime_ns == date_ns(mtime_ns)
    if row.size_bytes != size_bytes or not same_date:
        return False
    return row.ctime_ns is None or row.ctime_ns in (ctime_ns, date_ns(ctime_ns))
