"""Compare an index with itself, its model and its files; rebuild what is derived, and never from what is damaged."""

from __future__ import annotations

import os

from index.door import Index, IndexWriter, Rows
from index.errors import IndexDamaged, IndexMismatch
from index.records import MENDED, READ_AGAIN, Row
from retrieval.errors import MissingExtra, ModelError, PathError, RootUnreadable
from retrieval.models.kept import check_model, restore_model
from retrieval.models.model import load_model
from retrieval.pictures.files import FoundFile
from retrieval.places import is_as_found
from retrieval.roots.folder import Folder
from retrieval.roots.opening import root_at
from retrieval.roots.root import Root


def all_faults(index: Index) -> list[str]:
    """Faults of catalog, caches, model and files, in words; empty if there are none."""
    return index.faults() + _model_faults(index) + _file_faults(index.rows)


def repair_index(index: IndexWriter) -> None:
    """Rebuild what is derived: caches, counts, and the copy of a shipped model. Mark damaged pictures to be read again.

    Raises:
        IndexDamaged: the structure of the catalog is damaged, or more of it than pictures.
    """
    if _model_faults(index):
        restore_model(index)
    index.repair()


def _model_faults(index: Index) -> list[str]:
    try:
        model = load_model(index.model_folder())
        check_model(index.rows.meta(), model)
        model.check()
    except (ModelError, IndexMismatch) as error:
        return [f"model: {error}"]
    return []


def _file_faults(rows: Rows) -> list[str]:
    faults: list[str] = []
    try:
        for root_id, address in rows.roots().items():
            faults += _faults_of_root(root_at(address), rows.listing(root_id))
    except IndexDamaged as error:
        faults.append(f"files: they cannot be compared, since {error}")
    return faults


def _faults_of_root(root: Root, listed: dict[bytes, Row]) -> list[str]:
    if isinstance(root, Folder) and not root.is_there(root.address):
        return [f"files: the folder {root.address} is not there"]
    paths = [os.path.join(root.address, os.fsdecode(path)) for path in listed]
    try:
        root.check()
        now = root.facts(paths)
    except (PathError, RootUnreadable, MissingExtra) as error:
        return [f"files: {error}"]
    pairs = zip(listed.values(), paths, now, strict=True)
    return [fault for row, path, facts in pairs for fault in _faults_of_file(row, path, facts)]


def _faults_of_file(row: Row, path: str, facts: FoundFile | None) -> list[str]:
    if row.status == "found" and not is_as_found(row, facts):
        return [f"files: {path} is {'gone' if facts is None else 'changed'} since it was indexed"]
    if row.status == "skipped" and row.mtime_ns == READ_AGAIN and row.reason in MENDED:
        return [f"files: {path} is not found until an update has read it again: {row.reason}"]
    return []
