"""Copy an index to another place, of whatever kind, and compare both row by row.

Rows are told by the paths of their files, since another index numbers them anew. A copy that was stopped goes on where
it was: what is there already must be what it should be.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from index.door import Index, IndexWriter, Rows
from index.errors import IndexMismatch
from index.records import Change, Row

BATCH_ROWS = 2000
Report = Callable[[int, int], None]


def copy_index(source: Index, target: IndexWriter, report: Report | None = None) -> int:
    """Copy rows, codes, facts, notes, settings and the model, then compare. Returns the number of rows.

    ``report`` takes (rows done, rows to do).

    Raises:
        IndexMismatch: the target is of another model, holds other rows, or is not equal after the copy.
        IndexDamaged: a row or a code of the source is not as it was written.
    """
    report = report or (lambda done, total: None)
    with source.rows.snapshot():
        _check_model(source, target)
        roots = source.rows.roots()
        if strange := sorted(set(target.rows.roots().values()) - set(roots.values())):
            raise _differs(target, f"it holds pictures of {strange[0]}")
        rows, to = list[Row](), dict[int, int]()
        for root_id, root in roots.items():
            to[root_id] = target.rows.add_root(root)
            there = target.rows.listing(to[root_id])
            rows += [row for path, row in source.rows.listing(root_id).items() if path not in there]
        total = sum(source.rows.counts().values())
        done = total - len(rows)
        rows.sort(key=lambda row: row.id or 0)  # so that of equally near ones the same comes first
        for part in _parts(rows):
            target.rows.apply(_changes(source.rows, part, to))
            done += len(part)
            report(done, total)
        _copy_beside(source, target)
        _compare(source, target)
    target.refresh_caches()
    return total


def _check_model(source: Index, target: Index) -> None:
    mine, theirs = source.rows.meta(), target.rows.meta()
    if mine.model_digest != theirs.model_digest:
        raise _differs(target, f"it holds codes of {theirs.model_name} ({theirs.model_digest[:12]})")


def _changes(rows: Rows, part: list[Row], to: dict[int, int]) -> list[Change]:
    codes = rows.codes([row.id for row in part if row.id is not None])
    facts = rows.facts(row.content_hash for row in part if row.content_hash is not None)
    return [
        Change(
            _plain(row)._replace(root_id=to[row.root_id]), codes.get(row.id or 0), facts.get(row.content_hash or b"")
        )
        for row in part
    ]


def _copy_beside(source: Index, target: IndexWriter) -> None:
    """Notes, settings and the model's files."""
    target.notes.keep_apart((min(pair), max(pair)) for pair in source.notes.kept_apart())
    for direction in source.notes.directions().values():
        target.notes.keep_direction(direction)
    target.keep_budget(source.budget)
    target.keep_excluded(source.excluded())
    model = source.model_folder()
    if model.is_dir():
        target.keep_model(lambda folder: _copy_files(model, folder))


def _copy_files(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir()):
        shutil.copyfile(path, target / path.name)


def _compare(source: Index, target: Index) -> None:
    """Raises IndexMismatch where the two differ."""
    theirs = {root: root_id for root_id, root in target.rows.roots().items()}
    for root_id, root in source.rows.roots().items():
        mine, copies = source.rows.listing(root_id), target.rows.listing(theirs[root])
        if mine.keys() != copies.keys():
            raise _differs(target, f"it holds other files of {root}")
        for part in _parts([mine[path] for path in sorted(mine)]):
            _compare_part(source.rows, target.rows, part, [copies[row.path] for row in part], target, root)
    if source.notes.kept_apart() != target.notes.kept_apart():
        raise _differs(target, "its pairs that are not copies are others")
    if source.excluded() != target.excluded() or source.notes.directions().keys() != target.notes.directions().keys():
        raise _differs(target, "its directions or patterns are others")


def _compare_part(mine: Rows, theirs: Rows, rows: list[Row], copies: list[Row], target: Index, root: str) -> None:
    codes, copied = (of.codes([one.id for one in part if one.id]) for of, part in ((mine, rows), (theirs, copies)))
    hashes = [row.content_hash for row in rows if row.content_hash is not None]
    same_facts = mine.facts(hashes) == theirs.facts(hashes)
    for row, copy in zip(rows, copies, strict=True):
        code, other = codes.get(row.id or 0), copied.get(copy.id or 0)
        same_code = (code is None) == (other is None) and (code is None or code.tobytes() == other.tobytes())  # type: ignore[union-attr]
        if not same_code or not same_facts or _plain(row) != _plain(copy):
            raise _differs(target, f"its row of {os.path.join(root, os.fsdecode(row.path))} is another")


def _plain(row: Row) -> Row:
    """A row without what is each index's own. A server keeps no NUL in a reason."""
    reason = row.reason and row.reason.replace("\0", "\\x00")
    return row._replace(id=None, generation=0, root_id=0, reason=reason)


def _parts(rows: list[Row]) -> list[list[Row]]:
    return [rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS)]


def _differs(target: Index, why: str) -> IndexMismatch:
    return IndexMismatch(f"{target.address} is no copy: {why}", code="no_copy")
