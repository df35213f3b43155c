"""The models that this user added: encoders from elsewhere, kept as bundles among the user's data."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from index.opening import is_word
from retrieval.atomic import replace_folder
from retrieval.errors import ModelError
from retrieval.models.adopted import Adopted, adopt
from retrieval.models.bundle import DESCRIPTION, UNFINISHED, added_models, own_models, shipped_models
from retrieval.models.configs import graph_in, recipe_beside
from retrieval.models.model import Model
from retrieval.models.preparation import Recipe
from retrieval.models.shortening import shortened


def add_model(
    source: str | os.PathLike[str],
    name: str | None = None,
    *,
    licence: str = "",
    shorten_by: Sequence[str] = (),
    **wanted: Any,
) -> Adopted:
    """Keep an encoder as a model of this user's, so that ``load_model(name)`` opens it.

    Args:
        source: an ONNX file; or a folder as Hugging Face has them, with one inside. A configuration beside the file is
            followed; what is ``wanted`` comes first.
        name: by default that of the file, or of the folder.
        shorten_by: pictures, by whose principal components codes are shortened to ``dim`` numbers; how much that keeps
            is measured on every second of them.
        wanted: fields of ``retrieval.models.preparation.Recipe``: size, layout, scale, mean, std, crop, output, pool,
            dim and normalise.

    Raises:
        MissingExtra: the package onnx is not installed.
        ModelError: there is such a model already, or as ``adopt``.
        TypeError: a wanted field is unknown.
    """
    graph = graph_in(Path(source)) if os.path.isdir(source) else Path(source)
    name = name or Path(os.path.realpath(source)).stem
    place = _place(name)
    recipe, said = recipe_beside(graph, Recipe())
    recipe = replace(recipe, **wanted)
    if shorten_by:
        recipe, told = _shortened(graph, recipe, shorten_by)
        said = [*said, told]
    made = list[Adopted]()
    replace_folder(place, lambda part: made.append(adopt(graph, part, name, recipe=recipe, licence=licence)))
    return replace(made[0], model=Model(place), said=(*said, *made[0].said))


def _shortened(graph: Path, recipe: Recipe, paths: Sequence[str]) -> tuple[Recipe, str]:
    """A recipe whose codes are projected on principal components, and what that keeps."""
    if recipe.dim is None:
        raise ModelError("codes are shortened to a number of numbers, which was not given", code="no_dim")
    with tempfile.TemporaryDirectory(prefix="latent-") as scratch:
        whole = adopt(graph, Path(scratch), "whole", recipe=replace(recipe, dim=None, normalise="none")).model
        found = shortened(whole, paths, recipe.dim, recipe.normalise)
    told = (
        f"Of the ten nearest of each of {found.held_out:,} pictures that the components were not learnt from, "
        f"{found.kept:.3f} stay so; with the first {recipe.dim} numbers of each code {found.kept_by_the_first:.3f}."
    )
    return replace(recipe, projection=found.projection), told


def _place(name: str) -> Path:
    """The folder of a new model."""
    if name in shipped_models() or name in added_models():
        raise ModelError(f"there is a model {name!r} already; give another name, or remove it", code="name_taken")
    if not is_word(name) or name.endswith(UNFINISHED):
        raise ModelError(f"no model can be called {name!r}; a name is one word without slashes")
    place = own_models()
    if place is None:
        raise ModelError("there is no folder for this user's data, so no model can be kept", code="no_user_folder")
    place.mkdir(mode=0o700, exist_ok=True)
    return place / name


def remove_model(name: str) -> None:
    """Forget a model that was added. Indexes keep their own copies.

    Raises:
        ModelError: this user has added none of this name.
    """
    place = own_models()
    if place is None or name not in added_models():
        told = ", ".join(added_models()) or "none"
        raise ModelError(f"no model {name!r} was added; added were: {told}", code="unknown_model")
    (place / name / DESCRIPTION).unlink()  # from here on it is no model, whatever comes
    shutil.rmtree(place / name)
