"""A model bundle on the disk: a folder of ``model.json``, ``encoder.onnx`` and, unless left out, ``generator.onnx``."""

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
    """Names that ``load_model`` takes."""
    return sorted(entry.parent.name for entry in SHIPPED.glob(f"*/{DESCRIPTION}"))


def seal(folder: Path, facts: dict[str, Any]) -> None:
    """Make a bundle of the ONNX files in ``folder``: write ``model.json`` with ``facts`` and the files' SHA-256."""
    names = [name for name in (ENCODER, GENERATOR) if (folder / name).is_file()]
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    write_description(folder, {"schema": SCHEMA, **facts, "files": files})


def write_description(folder: Path, facts: dict[str, Any]) -> None:
    write(folder / DESCRIPTION, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def read_description(folder: Path) -> dict[str, Any]:
    """What ``model.json`` says.

    Raises:
        ModelError: it cannot be read, or lacks something.
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
    """The bytes of a bundle's file, held against its SHA-256.

    Raises:
        ModelError: it is missing, or is not what ``model.json`` describes.
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
    """A name in ``folder`` that no bundle has, or nothing."""
    names = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
    own = (DESCRIPTION, ENCODER, GENERATOR, CARD)
    return next((name for name in names if not name.startswith(own)), "")
