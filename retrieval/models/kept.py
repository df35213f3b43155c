"""The index's own copy of its model. With it, the index can be queried on another machine."""

from __future__ import annotations

import os
from functools import partial

from index.door import Index, IndexWriter
from index.errors import IndexMismatch, IndexUnwritable, NotServed
from index.opening import exists, open_index
from index.records import Meta
from retrieval.defaults import DEFAULT_MODEL, Device
from retrieval.errors import ModelError
from retrieval.models.bundle import shipped_models, strange_to_a_bundle
from retrieval.models.description import LOOKS
from retrieval.models.model import Model, load_model
from retrieval.text import printable


def model_for(address: str | os.PathLike[str], wanted: Model | str | os.PathLike[str] | None, device: Device) -> Model:
    """The model to build with: the given one, else the index's own, else the default."""
    if isinstance(wanted, Model):
        return wanted
    if wanted is None and exists(address):
        index = open_index(address)
        try:
            return load_model(index.model_folder(), device)
        except ModelError:  # its copy is lost; ``check_model`` compares the default with the index
            pass
        finally:
            index.close()
    return load_model(wanted or DEFAULT_MODEL, device)


def check_model(facts: Meta, model: Model) -> None:
    """Check that the index holds codes of ``model``.

    Raises:
        IndexMismatch: it holds codes of another model.
    """
    if (facts.model_digest, facts.latent_dim) != (model.digest, model.latent_dim):
        raise IndexMismatch(
            f"this index holds codes of {facts.model_name} ({facts.model_digest[:12]}), "
            f"not of {model.name} ({model.digest[:12]}{', two looks' if model.looks > 1 else ''})",
            code="other_model",
            holds=facts.model_name,
            given=model.name,
        )


def model_of(index: Index, given: Model | str | os.PathLike[str] | None, device: Device) -> Model:
    """The model that pictures are encoded with to ask an index: its own copy; for one that is served elsewhere, whose
    model does not run here, the given one, else the shipped one.

    Raises:
        ModelError: there is none, or it is damaged.
        IndexMismatch: the index holds codes of another model.
    """
    facts = index.rows.meta()
    if given is not None:
        model = given if isinstance(given, Model) else load_model(given, device)
    else:
        model = _own_or_shipped(index, facts, device)
    check_model(facts, model)
    return model


def _own_or_shipped(index: Index, facts: Meta, device: Device) -> Model:
    try:
        return load_model(index.model_folder(), device)
    except NotServed:
        for name in shipped_models():
            if (model := load_model(name, device)).digest == facts.model_digest:
                return model
    raise ModelError(
        f"{index.address} holds codes of {printable(facts.model_name)} ({facts.model_digest[:12]}), which is not among "
        "the shipped models, and a served index passes on none",
        "no_model_here",
    )


def provide_model(model: Model, index: IndexWriter, generator: bool) -> None:
    """Give the index a complete copy of its model. Without ``generator``, the copy has no G, now and later.

    A complete copy that has no G gets none.
    """
    if not _is_whole(index):
        keep_model(index, model, generator)
    elif not generator and (own := load_model(index.model_folder())).has_generator:
        keep_model(index, own, generator=False)


def restore_model(index: IndexWriter) -> None:
    """Copy a shipped model again, without G if the old copy's ``model.json`` names none."""
    facts = index.rows.meta()
    if facts.model_name in shipped_models():
        shipped = load_model(facts.model_name)
        for model in map(shipped.with_looks, LOOKS):
            if model.digest == facts.model_digest:
                keep_model(index, model, _had_generator(index))


def keep_model(index: IndexWriter, model: Model, generator: bool = True) -> None:
    """Store a copy of ``model`` in the index.

    Raises:
        ModelError: the model's bundle is damaged.
        IndexUnwritable: the copy cannot be written, or its folder holds files that belong to no bundle.
    """
    if strange := strange_to_a_bundle(index.model_folder()):
        raise IndexUnwritable(f"{index.model_folder()} holds {strange}, which belongs to no model")
    index.keep_model(partial(model.write_to, generator=generator))


def _is_whole(index: Index) -> bool:
    try:
        load_model(index.model_folder()).check()
    except ModelError:
        return False
    return True


def _had_generator(index: Index) -> bool:
    try:
        return load_model(index.model_folder()).has_generator
    except ModelError:
        return True
