"""The index's own copy of its model, by which it can be asked on another machine."""

from __future__ import annotations

import os
from pathlib import Path

from index.errors import IndexMismatch, IndexUnwritable
from index.records import Meta
from retrieval.defaults import DEFAULT_MODEL, Device
from retrieval.errors import ModelError
from retrieval.models.model import DESCRIPTION, Model, load_model, shipped_models

MODEL_FOLDER = "model"


def model_for(folder: Path, wanted: Model | str | os.PathLike[str] | None, device: Device) -> Model:
    """The model to build with: what was asked for, else the index's own, else the default."""
    if isinstance(wanted, Model):
        return wanted
    if wanted is None and (folder / MODEL_FOLDER / DESCRIPTION).is_file():
        return load_model(folder / MODEL_FOLDER, device)
    return load_model(wanted or DEFAULT_MODEL, device)


def check_model(facts: Meta, model: Model) -> None:
    if facts.model_digest != model.digest:
        raise IndexMismatch(
            f"this index holds codes of {facts.model_name} ({facts.model_digest[:12]}), "
            f"not of {model.name} ({model.digest[:12]}); build another one with --index"
        )


def is_whole(folder: Path) -> bool:
    try:
        load_model(folder).check()
    except ModelError:
        return False
    return True


def provide_model(model: Model, folder: Path, generator: bool) -> None:
    """See that the index has a whole copy: with G if it is new and ``generator``, without it for good if not."""
    if not is_whole(folder):
        copy_model(model, folder, generator)
    elif not generator and load_model(folder).has_generator:
        copy_model(load_model(folder), folder, generator=False)


def copy_model(model: Model, folder: Path, generator: bool = True) -> None:
    try:
        model.copy_to(folder, generator)
    except OSError as error:
        raise IndexUnwritable(f"{folder} cannot be written: {error.strerror or error}") from error


def restore_model(folder: Path, facts: Meta) -> None:
    """Copy a shipped model again; without G where what is left of the copy says that it had none."""
    if facts.model_name in shipped_models() and load_model(facts.model_name).digest == facts.model_digest:
        copy_model(load_model(facts.model_name), folder, _had_generator(folder))


def _had_generator(folder: Path) -> bool:
    try:
        return load_model(folder).has_generator
    except ModelError:
        return True
