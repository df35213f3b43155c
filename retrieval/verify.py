"""Compare an index with itself, its model and its files; rebuild what is derived."""

from __future__ import annotations

import os

from index.door import Index, IndexWriter, Rows
from index.errors import IndexMismatch
from retrieval.errors import ModelError
from retrieval.models.kept import check_model, restore_model
from retrieval.models.model import load_model
from retrieval.places import is_unchanged


def all_faults(index: Index) -> list[str]:
    """Faults of catalog, caches, model and files, in words; empty if there are none."""
    return index.faults() + _model_faults(index) + _file_faults(index.rows)


def repair_index(index: IndexWriter) -> None:
    """Rebuild what is derived: caches, counts, and the copy of a shipped model."""
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
    for root_id, root in rows.roots().items():
        if not os.path.isdir(root):
            faults.append(f"files: the folder {root} is not there")
            continue
        for path, row in rows.listing(root_id).items():
            if row.status == "found" and not is_unchanged(row, full := os.path.join(root, os.fsdecode(path))):
                state = "changed" if os.path.exists(full) else "gone"
                faults.append(f"files: {full} is {state} since it was indexed")
    return faults
