"""Where things lie: the index, and which root, which row, which part of the folders a path stands for."""

from __future__ import annotations

import os
from pathlib import Path

from index.local.catalog import Catalog
from index.local.store import Store
from index.records import Row
from retrieval.errors import PathError
from retrieval.ingest.commit import Scope, is_below

INDEX_NAME = ".latent"
ENVIRONMENT = "LATENT_INDEX"


def locate_index(index: str | os.PathLike[str] | None = None, start: str | os.PathLike[str] | None = None) -> Path:
    """The index folder that is meant: ``index``, else $LATENT_INDEX, else ``.latent`` here or in a folder above.

    Where there is none yet, it is ``.latent`` in ``start`` (by default the current folder).
    """
    named = index or os.environ.get(ENVIRONMENT)
    if named:
        return Path(os.path.realpath(named))
    here = Path(os.path.realpath(start or os.getcwd()))
    for folder in (here, *here.parents):
        if os.path.isfile(folder / INDEX_NAME / "catalog.db"):
            return folder / INDEX_NAME
    return here / INDEX_NAME


def all_scopes(store: Store, retry: bool = False) -> list[Scope]:
    """What an update looks through: every root."""
    roots = store.catalog.roots()
    return [_scope(store, root_id, root, root, retry=retry) for root_id, root in roots.items()]


def scopes_below(store: Store, wanted: list[str], retry: bool) -> list[Scope]:
    """What a build on folders looks through: each one, as a part of the root that reaches it or as a new root.

    Roots that lie inside them are brought up to date too, and those that are not there may turn out to be these.
    """
    parts: list[tuple[int, str, str]] = []
    for path in sorted(set(wanted), key=lambda path: (len(path), path)):
        if any(_reaches(folder, path) for _, _, folder in parts):
            continue
        reaching = [(root_id, root) for root_id, root in store.catalog.roots().items() if _reaches(root, path)]
        if not reaching:
            reaching = [(store.catalog.add_root(path), path)]
        parts.append((*max(reaching, key=lambda pair: len(pair[1])), path))
    scopes = [_scope(store, *part, explicit=True, retry=retry) for part in parts]
    taken = {root_id for root_id, _, _ in parts}
    for root_id, root in store.catalog.roots().items():
        inside = any(_inside(root, folder) for _, _, folder in parts)
        if root_id not in taken and (inside or not os.path.isdir(root)):
            scopes.append(_scope(store, root_id, root, root, retry=retry))
    return scopes


def _scope(store: Store, root_id: int, root: str, folder: str, explicit: bool = False, retry: bool = False) -> Scope:
    others = tuple(path for other, path in store.catalog.roots().items() if other != root_id and _inside(path, root))
    return Scope(root_id, root, folder, (*others, str(store.folder)), explicit, retry)


def _reaches(folder: str, path: str) -> bool:
    """Whether a walk through ``folder`` comes to ``path``: it lies there, and no hidden folder is in between."""
    if path != folder and not _inside(path, folder):
        return False
    return not any(part.startswith(".") for part in Path(os.path.relpath(path, folder)).parts)


def rows_at(catalog: Catalog, path: str | os.PathLike[str]) -> tuple[int, list[Row] | None]:
    """A root's id and None, or the rows of a picture or below a folder.

    Raises:
        PathError: there are none.
    """
    for spelling in _spellings(path):
        found = _locate(catalog, spelling)
        if found is None:
            continue
        root_id, relative = found
        if relative == b".":
            return root_id, None
        rows = [row for row in catalog.listing(root_id).values() if is_below(row.path, relative)]
        if rows:
            return root_id, rows
    raise PathError(f"{os.fspath(path)} is not in this index")


def rows_of_file(catalog: Catalog, path: str | os.PathLike[str]) -> list[Row]:
    """The rows of one file: under the name that is given, and under that of what it links to."""
    places = [_locate(catalog, spelling) for spelling in _spellings(path)]
    rows = [catalog.at_path(*place) for place in dict.fromkeys(places) if place is not None]
    return [row for row in rows if row is not None]


def absolute(row: Row, roots: dict[int, str]) -> str:
    """The path of a row's file on this machine."""
    return os.path.join(roots[row.root_id], os.fsdecode(row.path))


def is_unchanged(row: Row, path: object) -> bool:
    """Whether ``path`` is that of a file which still has the size and the date of its row."""
    if not isinstance(path, str | os.PathLike):
        return False
    try:
        facts = os.stat(path)
    except OSError:
        return False
    return (row.size_bytes, row.mtime_ns) == (facts.st_size, facts.st_mtime_ns)


def _spellings(path: str | os.PathLike[str]) -> list[str]:
    """The names a file may have in the catalog: its own in its true folder, and that of what it links to."""
    folder, name = os.path.split(os.path.abspath(path))
    return list(dict.fromkeys([os.path.join(os.path.realpath(folder), name), os.path.realpath(path)]))


def _locate(catalog: Catalog, path: str) -> tuple[int, bytes] | None:
    """The innermost root that a path lies in, and the path relative to it."""
    inside = [(root_id, root) for root_id, root in catalog.roots().items() if path == root or _inside(path, root)]
    if not inside:
        return None
    root_id, root = max(inside, key=lambda pair: len(pair[1]))
    return root_id, os.fsencode(os.path.relpath(path, root))


def _inside(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(folder, ""))
