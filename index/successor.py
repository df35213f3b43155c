"""The rows of an index with the contents of another one of the same folders, which was built with another model.

Rows are told by the paths of their files and keep their ids, so what is noted of them stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from index.door import Rows, RowsWriter
from index.errors import IndexMismatch
from index.records import Change, Row

BATCH_ROWS = 2000

IsGone = Callable[[str, str], bool]
"""Whether the picture at a path is known to be no longer in its root, given the root and the path."""


def begin(old: Rows, new: RowsWriter) -> None:
    """Give a new index the folders of an old one and no others, and the paths of files that were removed from it."""
    kept = set(old.roots().values())
    for new_id, root in new.roots().items():
        if root not in kept:
            new.drop_root(new_id)
    to = {root_id: new.add_root(root) for root_id, root in old.roots().items()}
    for root_id, new_id in to.items():
        _remove_the_same(old.listing(root_id), new, new_id)


def _remove_the_same(mine: dict[bytes, Row], new: RowsWriter, new_id: int) -> None:
    """Removed rows are read again only if they are named. What was removed when this began may be back by now."""
    known = new.listing(new_id)
    removed = {path: row for path, row in mine.items() if row.status == "removed"}
    added = [row._replace(id=None, root_id=new_id, generation=0) for path, row in removed.items() if path not in known]
    new.apply([Change(row) for row in added])
    gone = [row.id for path, row in known.items() if path in removed and row.status != "removed" and row.id]
    new.mark(gone, "removed", forget_codes=True)
    back = [row.id for path, row in known.items() if path not in removed and row.status == "removed" and row.id]
    new.mark(back, "vanished")  # so that they are read


def changes(old: Rows, new: Rows, is_gone: IsGone) -> Iterator[list[Change]]:
    """What makes the rows of ``old`` those of ``new``, in parts. Of files that are gone, row and content stay known.

    Raises:
        IndexMismatch: pictures of the old one are missing in the new one, although their files may be there.
    """
    theirs = {root: root_id for root_id, root in new.roots().items()}
    for root_id, root in old.roots().items():
        fresh = new.listing(theirs[root]) if root in theirs else {}  # a folder that is not there is dropped
        mine = old.listing(root_id)
        _check_none_is_lost(root, mine, fresh, is_gone)
        paths = sorted(mine.keys() | fresh.keys())
        for start in range(0, len(paths), BATCH_ROWS):
            yield _part(new, root_id, paths[start : start + BATCH_ROWS], mine, fresh)


def _part(new: Rows, root_id: int, paths: list[bytes], mine: dict[bytes, Row], fresh: dict[bytes, Row]) -> list[Change]:
    rows = [fresh[path] for path in paths if path in fresh]
    codes = new.codes([row.id for row in rows if row.id is not None])
    facts = new.facts(row.content_hash for row in rows if row.content_hash is not None)
    made = list[Change]()
    for path in paths:
        old_id = mine[path].id if path in mine else None
        if path in fresh:
            row = fresh[path]
            mended = row._replace(id=old_id, root_id=root_id, generation=0)
            made.append(Change(mended, codes.get(row.id or 0), facts.get(row.content_hash or b"")))
        else:
            made.append(Change(mine[path]._replace(status="vanished", realism=None, spread=None, unfamiliarity=None)))
    return made


def _check_none_is_lost(root: str, mine: dict[bytes, Row], fresh: dict[bytes, Row], is_gone: IsGone) -> None:
    places = {path: os.path.join(root, os.fsdecode(path)) for path, row in mine.items() if row.status == "found"}
    lost = [place for path, place in places.items() if path not in fresh and not is_gone(root, place)]
    if lost:
        raise IndexMismatch(
            f"{len(lost)} pictures of the index cannot be read now, such as {min(lost)}; they would be lost. "
            "Make their folder readable, or remove it from the index",
            code="pictures_out_of_reach",
            path=min(lost),
        )
