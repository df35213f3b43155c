"""A model bundle on disk: a folder with ``model.json``, ``encoder.onnx`` and ``generator.onnx``; one may be missing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from index.trust import user_folder
from retrieval.atomic import write
from retrieval.errors import ModelError
from retrieval.models.description import ENCODER, GENERATOR, SCHEMA, fault_of
from retrieval.stored import parse_json, read_plain, reason_of

DESCRIPTION = "model.json"
CARD = "CARD.md"
OWN = "models"  # among a user's data
UNFINISHED = (".new", ".old")  # ends of folders that a killed program was writing (``index.folders``)
SHIPPED = Path(__file__).parent.parent / "bundles"
DESCRIPTION_BYTES, GRAPH_BYTES = 4 << 20, (2 << 30) - 1  # ONNX files have less than 2 GB


def shipped_models() -> list[str]:
    """Names of the shipped models, for ``load_model``."""
    return sorted(entry.parent.name for entry in SHIPPED.glob(f"*/{DESCRIPTION}"))


def own_models() -> Path | None:
    """The folder of the models that this user added; None if there is no place for any."""
    place = user_folder()
    return place and place / OWN


def added_models() -> list[str]:
    """Names of the models that this user added, for ``load_model``."""
    place = own_models()
    names = [entry.parent.name for entry in place.glob(f"*/{DESCRIPTION}")] if place else []
    return sorted(name for name in names if not name.endswith(UNFINISHED))


def seal(folder: Path, facts: dict[str, Any]) -> None:
    """Make ``folder`` a bundle: write ``model.json`` with ``facts`` and the SHA-256 of its ONNX files.

    Raises:
        ModelError: a fact is out of its range, so that the bundle could not be opened.
    """
    names = [name for name in (ENCODER, GENERATOR) if (folder / name).is_file()]
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    write_description(folder, {"schema": SCHEMA, **facts, "files": files})


def write_description(folder: Path, facts: dict[str, Any]) -> None:
    """Raises ModelError as ``seal``."""
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    try:
        fault = fault_of(parse_json(text.encode()))
    except ValueError as error:
        fault = f"cannot be written: {error}"
    if fault:
        raise ModelError(f"{folder / DESCRIPTION} {fault}")
    write(folder / DESCRIPTION, text)


def read_description(folder: Path) -> dict[str, Any]:
    """Read ``model.json``. All fields that this program knows are of their types and within their ranges.

    Raises:
        ModelError: it cannot be read, lacks a field, has one out of its range, or has another schema.
    """
    path = folder / DESCRIPTION
    try:
        facts = parse_json(read_plain(path, DESCRIPTION_BYTES))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({reason_of(error)}); restore the bundle") from error
    if isinstance(facts, dict) and facts.get("schema", SCHEMA) != SCHEMA:
        raise ModelError(f"{path} has schema {facts['schema']!r}, this program reads {SCHEMA}; upgrade latent")
    if fault := fault_of(facts):
        raise ModelError(f"{path} {fault}; restore the bundle")
    return dict(facts)


def verified(folder: Path, name: str, digest: str) -> bytes:
    """Read a file of a bundle and compare it with its SHA-256.

    Raises:
        ModelError: the file is missing, is no plain file, or is not the one that ``model.json`` describes.
    """
    path = folder / name
    try:
        graph = read_plain(path, GRAPH_BYTES)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({reason_of(error)}); restore the bundle") from error
    if hashlib.sha256(graph).hexdigest() != digest:
        raise ModelError(f"{path} is not the file that {DESCRIPTION} describes; restore the bundle")
    return graph


def strange_to_a_bundle(folder: Path) -> str:
    """Return a name in ``folder`` that no bundle has, or "" if there is none."""
    names = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
    own = (DESCRIPTION, ENCODER, GENERATOR, CARD)
    return next((name for name in names if not name.startswith(own)), "")
