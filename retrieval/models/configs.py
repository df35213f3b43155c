"""What a downloaded folder says of its encoder: Hugging Face's preprocessor_config.json or processor_config.json.

Only what changes pixels is read: rescale_factor, image_mean, image_std, size, crop_size, and which of them are done.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from retrieval.errors import ModelError
from retrieval.models.description import is_number, is_whole
from retrieval.models.preparation import Recipe
from retrieval.stored import parse_json, read_plain, reason_of

CONFIGS = ("preprocessor_config.json", "processor_config.json")
CONFIG_BYTES = 1 << 20
LIKELY = ("encoder.onnx", "vision_model.onnx", "model.onnx")
SIDES = range(1, 10_000)


def graph_in(folder: Path) -> Path:
    """The ONNX file of a folder, or of the folder ``onnx`` in it.

    Raises:
        ModelError: there is none, or several of which none has a usual name.
    """
    found = sorted([*folder.glob("*.onnx"), *(folder / "onnx").glob("*.onnx")])
    for name in LIKELY:
        if named := [one for one in found if one.name == name]:
            return named[0]
    if len(found) != 1:
        told = ", ".join(str(one.relative_to(folder)) for one in found) or "none"
        wanted = " or ".join(LIKELY)
        raise ModelError(f"{folder} should hold one .onnx file, or {wanted}; it holds {told}. Name the file")
    return found[0]


def recipe_beside(graph: Path, recipe: Recipe) -> tuple[Recipe, list[str]]:
    """The recipe as a configuration beside the graph, or in the folder above, says it; and what it says beyond that.

    Raises:
        ModelError: the configuration cannot be read.
    """
    for folder in (graph.parent, graph.parent.parent) if graph.parent.name == "onnx" else (graph.parent,):
        for name in CONFIGS:
            if (path := folder / name).is_file():
                return _read(path, recipe)
    return recipe, []


def _read(path: Path, recipe: Recipe) -> tuple[Recipe, list[str]]:
    try:
        facts = parse_json(read_plain(path, CONFIG_BYTES))
        facts = facts.get("image_processor", facts) if isinstance(facts, dict) else None
        if not isinstance(facts, dict):
            raise ValueError("it is no JSON object")
        return _of(facts, path, recipe)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({reason_of(error)}); remove it, and say all by options") from error


def _of(facts: dict[str, Any], path: Path, recipe: Recipe) -> tuple[Recipe, list[str]]:
    said = [f"Preparation as {path.name} says."]
    factor = facts.get("rescale_factor", 1 / 255) if facts.get("do_rescale", True) else 1.0
    if not is_number(factor) or factor <= 0:
        raise ValueError(f"rescale_factor {factor!r} is no positive number")
    mean, std = _three(facts, "image_mean", 0.0), _three(facts, "image_std", 1.0)
    # Of 0..255, the same mean and std are 1 / factor as large.
    recipe = replace(
        recipe, scale="0..255", mean=tuple(one / factor for one in mean), std=tuple(one / factor for one in std)
    )
    wanted, shorter = _side(facts.get("crop_size")), _side(facts.get("size"))
    is_cropped = bool(facts.get("do_center_crop", wanted is not None))
    size = (wanted if is_cropped else shorter) or shorter
    if is_cropped and wanted and shorter and shorter > wanted:
        margin = 1 - wanted / shorter
        said.append(f"Its own program leaves a margin of {margin:.0%} out; latent shows it the whole central square.")
    is_squeezed = not is_cropped and isinstance(facts.get("size"), dict) and "height" in facts["size"]
    return replace(recipe, size=size, crop="whole" if is_squeezed else "centre"), said


def _three(facts: dict[str, Any], name: str, default: float) -> tuple[float, ...]:
    given = facts.get(name) if facts.get("do_normalize", True) else None
    values = [default] * 3 if given is None else given
    if not isinstance(values, list) or len(values) != 3 or not all(map(is_number, values)):
        raise ValueError(f"{name} should be three numbers")
    return tuple(float(one) for one in values)


def _side(size: Any) -> int | None:
    """The side of a square in any of the forms that are in use."""
    if isinstance(size, dict):
        size = next((size[key] for key in ("shortest_edge", "height", "width") if key in size), None)
    if size is not None and not is_whole(size, SIDES):
        raise ValueError(f"a size of {size!r} pixels is none")
    return None if size is None else int(size)
