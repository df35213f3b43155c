"""Which Milvus proposes candidates, if any: a small file beside the catalog. What a stranger wrote there is checked."""

from __future__ import annotations

import json
from pathlib import Path

from index.atomic import write
from index.errors import IndexUnwritable
from index.milvus.address import MOST_CHARACTERS, Vectors

VECTORS_NAME, VECTORS_LOCK_NAME = "vectors.json", "vectors.lock"


def read_vectors(folder: Path) -> Vectors | None:
    """The setting; None if there is none, or none that can be read: then FAISS searches."""
    try:
        with open(folder / VECTORS_NAME, encoding="utf-8") as file:
            return Vectors.read(json.loads(file.read(2 * MOST_CHARACTERS)))
    except (OSError, ValueError, RecursionError):
        return None


def write_vectors(folder: Path, vectors: Vectors | None) -> None:
    """Keep the setting in place of an earlier one.

    Raises:
        IndexUnwritable: the file cannot be written.
    """
    path = folder / VECTORS_NAME
    try:
        if vectors is None:
            path.unlink(missing_ok=True)
        else:
            write(path, json.dumps(vectors.kept()) + "\n")
    except OSError as error:
        raise IndexUnwritable(f"{path} cannot be written: {error.strerror or error}") from error
