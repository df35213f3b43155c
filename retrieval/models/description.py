"""What ``model.json`` may say: each field has a type and a range, checked here before anything uses it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, get_args

from retrieval.models.learnt import lengths

SCHEMA = 1
ENCODER, GENERATOR = "encoder.onnx", "generator.onnx"
NAME_MOST, TEXT_MOST = 200, 2000  # characters
SIDES = range(8, 1025)  # of a picture, in pixels
DIMENSIONS = range(1, 65537)
LOOKS = range(1, 3)  # at a picture
QUANTILES = range(2, 10_001)  # of how pictures look to a model
NEEDED = ("schema", "name", "image_size", "latent_dim", "normalisation", "files")
NORMALISATIONS = ("standardized", "none")

Layout = Literal["nchw", "nhwc"]
Scale = Literal["0..1", "-1..1", "0..255"]
Crop = Literal["centre", "whole", "pad"]
Normalise = Literal["standardize", "unit", "none"]
Pool = Literal["first", "mean"]
CHOICES: dict[str, tuple[str, ...]] = {
    "layout": get_args(Layout),
    "scale": get_args(Scale),
    "crop": get_args(Crop),
    "pool": get_args(Pool),
    "normalise": get_args(Normalise),
}
"""How an encoder from elsewhere may want its pictures and its codes: words by the field of its recipe."""

Check = Callable[[Any], bool]


def is_whole(value: Any, within: range) -> bool:
    """Whether ``value`` is an integer, no bool, in a range."""
    return type(value) is int and value in within


def is_number(value: Any, most: float = 1e12) -> bool:
    """Whether ``value`` is a finite number, no bool, of at most ``most``."""
    return type(value) in (int, float) and -most <= value <= most


def is_text(value: Any, most: int = TEXT_MOST) -> bool:
    return isinstance(value, str) and len(value) <= most


def is_name(value: Any) -> bool:
    """Whether ``value`` is one line that can be shown as it is."""
    return isinstance(value, str) and 0 < len(value) <= NAME_MOST and value.isprintable()


def _is_digests(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and value.keys() <= {ENCODER, GENERATOR}
        and all(isinstance(one, str) and re.fullmatch("[0-9a-f]{64}", one) for one in value.values())
    )


def _is_classes(value: Any) -> bool:
    if not isinstance(value, list) or not all(is_text(one) for one in value):
        return False
    return len(set(value)) == len(value)


def _is_centres(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, list) and all(map(is_number, row)) for row in value)


def _is_learnt(value: Any) -> bool:
    """Whether ``value`` is a table as ``retrieval.models.learnt`` writes it."""
    if not isinstance(value, dict) or not value.keys() >= {"pictures", "centre", "inverse", "distances"}:
        return False
    centre, inverse, distances = value["centre"], value["inverse"], value["distances"]
    if not _is_centres([centre]) or not _is_centres(inverse) or len(inverse) != len(centre):
        return False
    if any(len(row) != len(centre) for row in inverse):
        return False
    if not isinstance(distances, list) or len(distances) not in QUANTILES or not all(map(is_number, distances)):
        return False
    return _is_count(value["pictures"]) and distances == sorted(distances)


def _is_prior(value: Any) -> bool:
    """Whether ``value`` is a Gaussian as ``retrieval.models.prior`` writes it."""
    if not isinstance(value, dict) or not value.keys() >= {"mean", "axes", "rest"} or not _is_centres(value["axes"]):
        return False
    return bool(value["axes"]) and _is_centres([value["mean"]]) and is_number(value["rest"]) and value["rest"] >= 0


def _is_table(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(check(one) for one in value.values())


def _is_count(value: Any) -> bool:
    return is_whole(value, range(2**63))


FIELDS: dict[str, Check] = {
    "name": is_name,
    "image_size": lambda value: is_whole(value, SIDES),
    "latent_dim": lambda value: is_whole(value, DIMENSIONS),
    "normalisation": lambda value: is_text(value) and value in NORMALISATIONS,
    "files": _is_digests,
    "channels": lambda value: is_whole(value, range(3, 4)),
    "method": is_name,
    "classes": _is_classes,
    "centres": _is_centres,
    "decode_scale": lambda value: is_number(value, 1e6),
    "paints_slowly": lambda value: isinstance(value, bool),
    "training_data": _is_table(is_text),
    "training_pictures": _is_count,
    "steps": _is_count,
    "seed": _is_count,
    "recipe": lambda value: isinstance(value, dict),  # ``read_recipe`` checks it
    "versions": _is_table(lambda one: is_text(one) or is_number(one)),
    "metrics": _is_table(is_number),
    "encoder_bits": lambda value: is_whole(value, range(1, 65)),
    "encoder_cosine": is_number,
    "learnt": _is_learnt,
    "looks": lambda value: is_whole(value, LOOKS),
    "painted_size": lambda value: is_whole(value, SIDES),  # if G paints otherwise than E sees
    "prior": _is_prior,
    "encoder": _is_table(is_text),
    "encoder_difference": is_number,
    "preprocess": lambda value: is_text(value) and value in CHOICES["crop"],
    "batch": lambda value: is_whole(value, range(1, 1025)),  # pictures at a time, if an encoder takes no other number
}
"""The fields that this program reads, or writes."""


def fault_of(facts: Any) -> str:
    """What is wrong with the contents of ``model.json``, as a clause after its name; "" if nothing is."""
    if not isinstance(facts, dict):
        return "is no JSON object"
    if missing := [name for name in NEEDED if name not in facts]:
        return f"lacks {', '.join(missing)}"
    wrong = next((name for name, is_valid in FIELDS.items() if name in facts and not is_valid(facts[name])), None)
    return f"has a {wrong} that is out of its range" if wrong else _fault_of_all(facts)


def _fault_of_all(facts: dict[str, Any]) -> str:
    """What in the fields, each of which is sane, does not go together."""
    dim, classes, centres = facts["latent_dim"], facts.get("classes", []), facts.get("centres", [])
    if classes and len(classes) >= dim:
        return f"has {len(classes)} classes in codes of {dim} dimensions"
    if any(len(row) != dim for row in centres) or (centres and classes):
        return "has centres that are no codes of its own"
    if (prior := facts.get("prior")) and (classes or any(len(row) != dim for row in (prior["mean"], *prior["axes"]))):
        return "has a prior of other codes than its own"
    if (learnt := facts.get("learnt")) and len(learnt["centre"]) not in lengths(facts["image_size"]):
        return "has a table of what it learnt that is not of pictures of its size"
    if facts.get("looks", 1) > 1 and (classes or facts.get("preprocess", "centre") != "centre"):
        return "has looks that do not go with its classes or its preprocess"
    return ""
