"""A model bundle on disk: a folder with ``model.json``, ``encoder.onnx`` and ``generator.onnx``; one may be missing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from retrieval.atomic import write
from retrieval.errors import ModelError

SCHEMA = 1
DESCRIPTION, ENCODER, GENERATOR = "model.json", "encoder.onnx", "generator.onnx"
CARD = "CARD.md"
SHIPPED = Path(__file__).parent.parent / "bundles"


def shipped_models() -> list[str]:
    """Names of the shipped models, for ``load_model``."""
    return sorted(entry.parent.name for entry in SHIPPED.glob(f"*/{DESCRIPTION}"))


def seal(folder: Path, facts: dict[str, Any]) -> None:
    """Make ``folder`` a bundle: write ``model.json`` with ``facts`` and the SHA-256 of its ONNX files."""
    names = [name for name in (ENCODER, GENERATOR) if (folder / name).is_file()]
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    write_description(folder, {"schema": SCHEMA, **facts, "files": files})


def write_description(folder: Path, facts: dict[str, Any]) -> None:
    write(folder / DESCRIPTION, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def read_description(folder: Path) -> dict[str, Any]:
    """Read ``model.json``.

    Raises:
        ModelError: it cannot be read, lacks a field, or has another schema.
    """
    path = folder / DESCRIPTION
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        missing = {"name", "image_size", "latent_dim", "normalisation", "files"} - set(facts)
        if missing or not facts["files"]:
            raise ModelError(f"{path} lacks {', '.join(sorted(missing)) or 'its files'}; restore the bundle")
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path} cannot be read ({error}); restore the bundle") from error
    if facts.get("schema") != SCHEMA:
        raise ModelError(f"{path} has schema {facts.get('schema')}, this program reads {SCHEMA}; upgrade latent")
    return dict(facts)


def verified(folder: Path, name: str, digest: str) -> bytes:
    """Read a file of a bundle and compare it with its SHA-256.

    Raises:
        ModelError: the file is missing, or is not the one that ``model.json`` describes.
    """
    path = folder / name
    try:
        graph = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); restore the bundle") from error
    if hashlib.sha256(graph).hexdigest() != digest:
        raise ModelError(f"{path} is not the file that {DESCRIPTION} describes; restore the bundle")
    return graph


def strange_to_a_bundle(folder: Path) -> str:
    """Return a name in ``folder`` that no bundle has, or "" if there is none."""
    names = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
    own = (DESCRIPTION, ENCODER, GENERATOR, CARD)
    return next((name for name in names if not name.startswith(own)), "")
