"""An index held against itself, its model and its files; and what is derived made anew."""

from __future__ import annotations

import os
from pathlib import Path

from index.errors import IndexMismatch
from index.local.catalog import Catalog
from index.local.store import Store
from index.records import Meta
from retrieval.errors import ModelError
from retrieval.models.kept import MODEL_FOLDER, check_model, restore_model
from retrieval.models.model import load_model
from retrieval.places import is_unchanged


def all_faults(folder: Path, store: Store) -> list[str]:
    """What is wrong with catalog, caches, model and files, in words; empty where all is well."""
    catalog = store.catalog
    return catalog.faults() + store.cache_faults() + _model_faults(folder, catalog.meta()) + _file_faults(catalog)


def repair_index(folder: Path) -> None:
    """Make anew what is derived: caches, counts, the copy of a shipped model.

    Raises:
        IndexBusy, IndexUnwritable: it cannot be written now, or here.
    """
    with Store.writing(folder) as store:
        facts = store.catalog.meta()
        if _model_faults(folder, facts):
            restore_model(folder / MODEL_FOLDER, facts)
        store.catalog.forget_lost_codes()
        store.catalog.recount()
        store.drop_caches()
        store.refresh_caches()


def _model_faults(folder: Path, facts: Meta) -> list[str]:
    try:
        model = load_model(folder / MODEL_FOLDER)
        check_model(facts, model)
        model.check()
    except (ModelError, IndexMismatch) as error:
        return [f"model: {error}"]
    return []


def _file_faults(catalog: Catalog) -> list[str]:
    faults: list[str] = []
    for root_id, root in catalog.roots().items():
        if not os.path.isdir(root):
            faults.append(f"files: the folder {root} is not there")
            continue
        for path, row in catalog.listing(root_id).items():
            if row.status == "found" and not is_unchanged(row, full := os.path.join(root, os.fsdecode(path))):
                state = "changed" if os.path.exists(full) else "gone"
                faults.append(f"files: {full} is {state} since it was indexed; latent index update")
    return faults
