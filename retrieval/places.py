"""Find the index, and the root, rows and scopes that a path stands for."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

from index.door import Rows, RowsWriter
from index.opening import (
    Address,
    all_named,
    can_note,
    exists,
    is_known,
    named,
    nearest_index,
    note_trust,
    open_index,
    place_of,
    read_addresses,
)
from index.records import Row
from index.roots import BOX_MARK, REGION_KINDS, is_url, normal
from retrieval.errors import IndexBusy, IndexUnreachable, NotTrusted, PathError
from retrieval.ingest.survey import Reading, Scope, is_as_it_was
from retrieval.pictures.files import FoundFile
from retrieval.pictures.leaving_out import chosen_patterns, reaches
from retrieval.pictures.patterns import Pattern
from retrieval.roots.opening import address_of, facts_at, is_archive, is_missing
from retrieval.roots.regions import address_in
from retrieval.text import printable

ENVIRONMENT = "LATENT_INDEX"
NAME_MOST = 40  # characters of a name that a folder gives
SEPARATOR = os.sep.encode()


def locate_index(
    index: str | os.PathLike[str] | None = None, start: str | os.PathLike[str] | None = None
) -> Path | str:
    """The folder of the index, or its address on a server: ``index``, else $LATENT_INDEX, else ``.latent`` in ``start``
    or the nearest folder above.

    If there is none yet, it is ``.latent`` in ``start``, by default the current folder.

    Raises:
        AddressUnknown: an address of an unknown kind.
        NotTrusted: it was not named, and this user has neither made nor trusted it (``trust_index``).
    """
    if (named := _named(index)) is not None:
        return named
    folder = nearest_index(start or os.getcwd())
    if exists(folder) and not is_known(folder):
        raise NotTrusted(
            f"{folder} was not made here by you: its model would run, and the folders that it names would be read",
            code="unknown_index" if can_note() else "unnoted_index",
            folder=str(folder),
        )
    return folder


def locate_indexes(index: Address | Sequence[Address] | None = None) -> list[Path | str]:
    """The folders or addresses of one or several indexes, each as by ``locate_index``.

    A text file stands for those that it names.

    Raises:
        AddressUnknown: a text file cannot be read, or an address is of an unknown kind.
        NotTrusted: as ``locate_index``.
    """
    if index is None:
        return [locate_index()]
    given = [index] if isinstance(index, str | os.PathLike) else list(index)
    named = [one for each in given for one in (read_addresses(each) if os.path.isfile(each) else [each])]
    return list(dict.fromkeys(locate_index(one) for one in named))


def place_of_name(name: str) -> Path | None:
    """The folder of the index that is called ``name``, whether there is one or not; None if it cannot be kept.

    Raises:
        AddressUnknown: no index can be called so.
    """
    return named(name)


def would_find() -> bool:
    """Whether an index is named in the environment, or lies in the current folder or above it."""
    return bool(os.environ.get(ENVIRONMENT)) or exists(nearest_index(os.getcwd()))


def remembered_index(name: str | None = None) -> Path | None:
    """The index of this user that is called ``name``, or the one that was last written; None if there is none."""
    return next((folder for folder in all_named() if name in (None, folder.name)), None)


def index_to_build(photos: Sequence[str | os.PathLike[str]]) -> Path | None:
    """The index to make for folders that lie elsewhere: one with a name, among this user's data.

    It is called as the first folder. None if an index is named in the environment, or lies in the current folder or
    above it, or if one of the folders is the current one or below it: then the index belongs there.
    """
    here, folders = os.getcwd(), [address_of(folder) for folder in photos]
    if would_find():
        return None
    if any(folder == os.path.realpath(here) or _inside(folder, os.path.realpath(here)) for folder in folders):
        return None
    name = printable(os.path.basename(folders[0])).lstrip(".") or "pictures"
    digest = hashlib.sha256(os.fsencode(folders[0])).hexdigest()[:8]
    for candidate in (name[:NAME_MOST], f"{name[:NAME_MOST]}-{digest}"):
        place = named(candidate.replace(os.sep, "_"))
        if place is None or not exists(place) or folders[0] in _roots_of(place):
            return place
    return place


def _roots_of(index: Path) -> list[str]:
    opened = open_index(index)
    try:
        return list(opened.rows.roots().values())
    finally:
        opened.close()


def trust_index(index: str | os.PathLike[str] | None = None, *, forget: bool = False) -> Path | str:
    """Note that this user trusts an index that somebody else made, or that was moved here; or ``forget`` that.

    It is found as by ``locate_index``. Returns its folder or address.

    Raises:
        NoIndex: there is none.
        IndexUnwritable: there is no place for the note.
    """
    folder = _named(index) or nearest_index(os.getcwd())
    note_trust(folder, forget)
    return folder


def foreign_index(index: str | os.PathLike[str] | None = None) -> Path | str | None:
    """The index that ``index`` or $LATENT_INDEX names, if this user has neither made nor trusted it; else None, also if
    its server does not answer: whoever opens it will say so."""
    named = _named(index)
    try:
        return named if named is not None and exists(named) and not is_known(named) else None
    except IndexUnreachable:
        return None


def _named(index: str | os.PathLike[str] | None) -> Path | str | None:
    named = index or os.environ.get(ENVIRONMENT)
    return place_of(named) if named else None


def all_scopes(rows: Rows, index: str, reading: Reading) -> list[Scope]:
    """Scopes of an update: every root, without the folder ``index`` itself."""
    known = rows.roots()
    return [_scope(known, index, root_id, root, root, reading) for root_id, root in known.items()]


def scopes_below(rows: RowsWriter, index: str, wanted: list[str], reading: Reading) -> list[Scope]:
    """Scopes of a build on folders: each folder, inside the root that reaches it or as a new root.

    Roots inside the folders are added. So are missing roots, whose pictures may be found in these folders.
    """
    parts: list[tuple[int, str, str]] = []
    chosen = chosen_patterns(reading.exclude)
    for path in sorted(set(wanted), key=lambda path: (len(path), path)):
        if any(_reaches(folder, path, chosen) for _, _, folder in parts):
            continue
        reaching = [(root_id, root) for root_id, root in rows.roots().items() if _reaches(root, path, chosen)]
        if not reaching:
            reaching = [(rows.add_root(path), path)]
        parts.append((*max(reaching, key=lambda pair: len(pair[1])), path))
    known = rows.roots()
    scopes = [_scope(known, index, *part, reading._replace(explicit=True)) for part in parts]
    taken = {root_id for root_id, _, _ in parts}
    for root_id, root in known.items():
        inside = any(_inside(root, folder) for _, _, folder in parts)
        if root_id not in taken and (inside or is_missing(root)):
            scopes.append(_scope(known, index, root_id, root, root, reading))
    return scopes


def claimed(rows: RowsWriter, scopes: list[Scope]) -> list[Scope]:
    """Those scopes, which are this process's from now on. A missing folder is left to another that claimed it before.

    Raises:
        IndexBusy: another process works on one of the folders.
    """
    mine = rows.claim({scope.root_id for scope in scopes})
    claim_all(rows, {scope.root_id for scope in scopes if not is_missing(scope.root, scope.folder)})
    return [scope for scope in scopes if scope.root_id in mine]


def claim_all(rows: RowsWriter, root_ids: set[int]) -> None:
    """Claim these roots.

    Raises:
        IndexBusy: another process works on one of them.
    """
    if taken := root_ids - rows.claim(root_ids):
        folder = rows.roots()[min(taken)]
        raise IndexBusy(f"another latent is at work on {folder} in this index; wait until it is done")


def _scope(known: dict[int, str], index: str, root_id: int, root: str, folder: str, reading: Reading) -> Scope:
    others = tuple(path for other, path in known.items() if other != root_id and _inside(path, root))
    return Scope(root_id, root, folder, (*others, index), reading)


def _reaches(folder: str, path: str, chosen: tuple[Pattern, ...]) -> bool:
    """Whether a walk through ``folder`` visits ``path``: it is inside, and nothing in between is left out. No walk goes
    through an archive.
    """
    return path == folder or (_inside(path, folder) and not is_archive(path) and reaches(folder, path, chosen))


class Listings:
    """Rows by the paths of files and folders. The rows of each root are read once."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._roots = rows, rows.roots()
        self._listed: dict[int, dict[bytes, Row]] = {}
        self._sorted: dict[int, list[bytes]] = {}

    def at(self, path: str | os.PathLike[str]) -> tuple[int, list[Row] | None]:
        """The id of the root that holds ``path``, and the rows at or below it; None instead of rows if it is the root.

        Raises:
            PathError: the path is not in the index.
        """
        for spelling in _spellings(path):
            place = _locate(self._roots, spelling)
            if place is None:
                continue
            root_id, relative = place
            if relative == b".":
                return root_id, None
            if found := self._below(root_id, relative):
                return root_id, found
        raise PathError(f"{os.fspath(path)} is not in this index", code="not_indexed", path=os.fspath(path))

    def _below(self, root_id: int, path: bytes) -> list[Row]:
        """The rows of ``path`` itself and of all files below it."""
        if root_id not in self._listed:
            self._listed[root_id] = dict(sorted(self._rows.listing(root_id).items()))
            self._sorted[root_id] = list(self._listed[root_id])
        listed, names = self._listed[root_id], self._sorted[root_id]
        below = [
            name for begin in (path + SEPARATOR, path + BOX_MARK.encode()) for name in _beginning_with(begin, names)
        ]
        return [listed[name] for name in ([path] if path in listed else []) + below]


def _beginning_with(begin: bytes, names: list[bytes]) -> list[bytes]:
    """Those of sorted ``names`` that begin so: files in a folder, and regions of a file."""
    behind = begin[:-1] + bytes([begin[-1] + 1])
    return names[bisect_left(names, begin) : bisect_left(names, behind)]


def rows_of_file(rows: Rows, path: str | os.PathLike[str]) -> list[Row]:
    """The rows of one file: under the given name first, then under the name of its link target."""
    with rows.snapshot():
        roots = rows.roots()
        places = [_locate(roots, spelling) for spelling in _spellings(path)]
        found = [rows.at_path(*place) for place in dict.fromkeys(places) if place is not None]
    return [row for row in found if row is not None]


def absolute(row: Row, roots: dict[int, str]) -> str:
    """The absolute path of a row's file on this machine."""
    return os.path.join(roots[row.root_id], os.fsdecode(row.path))


def is_unchanged(row: Row, path: str | os.PathLike[str]) -> bool:
    """Whether the file at ``path`` still has the size and dates of its row."""
    return is_as_found(row, facts_at(path))


def is_as_found(row: Row, facts: FoundFile | None) -> bool:
    """Whether what was found of a picture is what its row says; None: it was not found."""
    return facts is not None and is_as_it_was(row, facts.size_bytes, facts.mtime_ns, facts.ctime_ns)


def _spellings(path: str | os.PathLike[str]) -> list[str]:
    """The paths that a file may have in the catalog: its name in its real folder, and the path of its link target."""
    if is_url(os.fspath(path)):
        return [normal(os.fspath(path))]
    folder, name = os.path.split(os.path.abspath(path))
    files = dict.fromkeys([os.path.join(os.path.realpath(folder), name), os.path.realpath(path)])
    return [*files, *(address_in(kind, file) for kind in REGION_KINDS for file in files)]


def _locate(roots: dict[int, str], path: str) -> tuple[int, bytes] | None:
    """The innermost root that holds a path, and the path relative to it."""
    inside = [(root_id, root) for root_id, root in roots.items() if path == root or _inside(path, root)]
    if not inside:
        return None
    root_id, root = max(inside, key=lambda pair: len(pair[1]))
    return root_id, os.fsencode(os.path.relpath(path, root))


def _inside(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(folder, ""))
