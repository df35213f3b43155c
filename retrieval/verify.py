"""Compare an index with itself, its model and its files; rebuild what is derived, and never from what is damaged."""

from __future__ import annotations

import os

from index.door import Index, IndexWriter, Rows
from index.errors import IndexDamaged, IndexMismatch
from index.records import MENDED, READ_AGAIN, Row
from retrieval.errors import ModelError
from retrieval.models.kept import check_model, restore_model
from retrieval.models.model import load_model
from retrieval.places import is_unchanged


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
        for root_id, root in rows.roots().items():
            if not os.path.isdir(root):
                faults.append(f"files: the folder {root} is not there")
                continue
            for path, row in rows.listing(root_id).items():
                faults += _faults_of_file(row, os.path.join(root, os.fsdecode(path)))
    except IndexDamaged as error:
        faults.append(f"files: they cannot be compared, since {error}")
    return faults


def _faults_of_file(row: Row, path: str) -> list[str]:
    if row.status == "found" and not is_unchanged(row, path):
        return [f"files: {path} is {'changed' if os.path.exists(path) else 'gone'} since it was indexed"]
    if row.status == "skipped" and row.mtime_ns == READ_AGAIN and row.reason in MENDED:
        return [f"files: {path} is not found until an update has read it again: {row.reason}"]
    return []
