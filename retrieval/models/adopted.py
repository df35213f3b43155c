"""An encoder from elsewhere as a bundle: its ONNX graph, between the preparation of pixels and what makes a code.

Preparation becomes part of the graph, so it can be wrong at one place only. ``adopt`` compares codes of the bundle with
those that the graph alone gives for the same pixels, prepared in numpy.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.arrays import Floats, Pixels
from retrieval.atomic import write
from retrieval.errors import ModelError
from retrieval.models.bundle import seal
from retrieval.models.description import DIMENSIONS, ENCODER, SIDES
from retrieval.models.graphs import entrance_of, read_graph, wrap
from retrieval.models.model import Model
from retrieval.models.preparation import Array, Entrance, Recipe, normalised, prepared, raw_codes
from retrieval.models.sessions import Graph

TRIED = 4  # pictures that an encoder is tried with
FIRST_CHOICE = ("image_embeds", "embeddings", "embedding", "code", "pooler_output", "sentence_embedding", "features")


@dataclass(frozen=True)
class Adopted:
    """The ``model``; ``difference``, the largest between a number of its codes and of those of the graph alone; and
    ``said``, what the user may want to know."""

    model: Model
    difference: float
    said: tuple[str, ...] = ()


def adopt(path: str | os.PathLike[str], folder: Path, name: str, *, recipe: Recipe, licence: str = "") -> Adopted:
    """Make a bundle called ``name`` of the ONNX file at ``path``, in the empty ``folder``.

    Raises:
        MissingExtra: the package onnx is not installed.
        ModelError: the file cannot be read, takes or gives what no encoder of pictures does, or sees no difference
            between pictures; the message says what was found, and what helps.
    """
    _check(recipe)
    graph = read_graph(Path(path))
    entrance = entrance_of(graph, recipe)
    if entrance.size not in SIDES:
        raise ModelError(
            f"{path} takes pictures of {entrance.size} pixels; a bundle has {SIDES.start} to {SIDES.stop - 1}"
        )
    tried = _tried(entrance.size)
    try:
        alone = Graph(Path(path), graph.SerializeToString(), "cpu")
        outputs = _outputs(alone, entrance, prepared(tried, entrance, recipe))
    except ModelError as error:
        raise ModelError(f"{path} cannot be run on pictures: {error}") from error
    chosen = _chosen(outputs, recipe, os.fspath(path))
    codes = raw_codes(outputs[chosen], entrance, recipe)
    _check_codes(codes, os.fspath(path))
    wrap(graph, entrance, chosen, outputs[chosen], recipe, codes.shape[1])
    write(folder / ENCODER, graph.SerializeToString())
    seal(folder, _facts(name, entrance, recipe, codes.shape[1], licence))
    model = Model(folder, "cpu")
    wanted = normalised(codes, recipe.normalise)
    difference = float(np.abs(model.encode_squares(tried).codes - wanted).max())
    return Adopted(model, difference, _said([*outputs], chosen, entrance))


def _check(recipe: Recipe) -> None:
    numbers = [*recipe.mean, *recipe.std]
    if len(recipe.mean) != 3 or len(recipe.std) != 3 or not np.isfinite(numbers).all() or not all(recipe.std):
        raise ModelError("mean and std are three numbers each, for red, green and blue, and no std is 0")
    if recipe.dim is not None and recipe.dim < 2:
        raise ModelError(f"a code has 2 numbers at least, not {recipe.dim}")


def _facts(name: str, entrance: Entrance, recipe: Recipe, dim: int, licence: str) -> dict[str, Any]:
    facts = {
        "name": name,
        "method": "adopted",
        "image_size": entrance.size,
        "latent_dim": dim,
        "normalisation": "standardized" if recipe.normalise == "standardize" else "none",
        "preprocess": recipe.crop,
        "channels": 3,
        "training_data": {"name": "as its maker says", "licence": licence or "as its maker says"},
    }
    return facts | ({} if entrance.batch is None else {"batch": entrance.batch})


def _tried(size: int) -> Pixels:
    """Pictures that no two encoders see alike: noise of four scales, uint8 (4, size, size, 3)."""
    rng = np.random.default_rng(0)
    tried = np.empty((TRIED, size, size, 3), np.uint8)
    for number in range(TRIED):
        cells = -(-size // 4**number)
        coarse = rng.integers(0, 256, (cells, cells, 3), np.uint8)
        tried[number] = coarse.repeat(4**number, 0).repeat(4**number, 1)[:size, :size]
    return tried


def _outputs(graph: Graph, entrance: Entrance, given: Array) -> dict[str, Array]:
    """What a graph gives for some pictures: all outputs that are floats, by name."""
    step = entrance.batch or len(given)
    padded = np.concatenate([given, given[-1:].repeat(-len(given) % step, 0)])
    parts = [graph.try_out(entrance.name, padded[start : start + step]) for start in range(0, len(padded), step)]
    return {name: np.concatenate([part[name] for part in parts])[:TRIED] for name in parts[0]}


def _chosen(outputs: dict[str, Array], recipe: Recipe, path: str) -> str:
    """The output that is the code, by its name or as the one that is likely."""
    fit = [name for name, one in outputs.items() if one.ndim in (2, 3, 4) and len(one) == TRIED]
    told = ", ".join(f"{name} {one.shape[1:]}" for name, one in outputs.items()) or "none of floats"
    if recipe.output is not None and recipe.output not in fit:
        raise ModelError(f"{path} has no output {recipe.output!r} with a row for each picture; its outputs: {told}")
    likely = [recipe.output] if recipe.output else [name for name in FIRST_CHOICE if name in fit][:1]
    likely = likely or [name for name in fit if outputs[name].ndim == 2] or fit
    if not likely:
        raise ModelError(f"{path} has no output with a row for each picture; its outputs: {told}")
    if len(likely) > 1:
        raise ModelError(f"{path} has several outputs that may be the code: {told}", code="several_outputs")
    return likely[0]


def _check_codes(codes: Floats, path: str) -> None:
    if not np.isfinite(codes).all():
        raise ModelError(f"{path} gives numbers that are not finite, even of plain pictures")
    if codes.shape[1] < 2 or codes.shape[1] not in DIMENSIONS:
        raise ModelError(
            f"{path} gives {codes.shape[1]} numbers for a picture, and a code has 2 to {DIMENSIONS.stop - 1:,}"
        )
    if np.ptp(codes, axis=0).max() <= 1e-6 * np.abs(codes).max():
        raise ModelError(f"{path} gives all pictures the same code; are scale, mean and std those of its maker?")
    if np.ptp(codes, axis=1).min() == 0:
        raise ModelError(f"{path} gives codes whose numbers are all equal, which have no direction")


def _said(outputs: list[str], chosen: str, entrance: Entrance) -> tuple[str, ...]:
    others = ", ".join(name for name in outputs if name != chosen)
    said = [f"Its output {chosen} is the code; others are {others}."] if others else []
    if entrance.batch is not None:
        said.append(f"It takes {entrance.batch} at a time, as it was exported; exported for any number it is quicker.")
    return tuple(said)
