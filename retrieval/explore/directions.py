"""Directions with a meaning: from pictures without something to pictures with it.

A direction is the difference of two average codes (Larsen et al., ICML 2016, call it an attribute vector). Added to the
code of a picture, it changes that one thing, as far as the model keeps it apart from all others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from index.records import Direction
from retrieval.arrays import Floats
from retrieval.errors import PathError
from retrieval.explore.sums import weighted_sum
from retrieval.models.encode import encode_files
from retrieval.models.model import Model
from retrieval.pictures.files import find_images

FOLDS = 5
NAME = re.compile(r"[^\W\d][\w-]*")  # fit to stand in 0.5*smile


def learn_direction(
    model: Model,
    name: str,
    with_folder: str | os.PathLike[str],
    without_folder: str | os.PathLike[str],
    *,
    workers: int | None = None,
) -> Direction:
    """The direction that leads from the pictures of one folder to those of another, everything below them.

    Files that are no pictures are passed over.

    Raises:
        ValueError: a name that is more than letters, digits, - and _.
        PathError: a folder holds no picture.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"a direction's name is made of letters, digits, - and _, not {name!r}")
    having = _codes_below(model, with_folder, workers)
    lacking = _codes_below(model, without_folder, workers)
    vector = np.asarray(having.mean(0) - lacking.mean(0), np.float32)
    return Direction(name, vector, len(having), len(lacking), _accuracy(having, lacking))


def along(direction: Direction, code: Floats, steps: Sequence[float], standardized: bool) -> Floats:
    """Codes float32 (n, d) on the way through ``code`` (d,): that many ``steps`` along the direction, each.

    One step leads from the average picture without it to the average one with it; a negative one leads back.

    Raises:
        ValueError: ``code`` and the direction cancel out at a step.
    """
    pair = np.stack([code, direction.vector])
    return np.stack([weighted_sum(pair, [1.0, float(step)], standardized) for step in steps])


def _codes_below(model: Model, folder: str | os.PathLike[str], workers: int | None) -> Floats:
    paths = [file.path for file in find_images(Path(folder))]
    codes = encode_files(model, paths, lambda row, reason: None, workers)
    codes = codes[np.isfinite(codes).all(1)]
    if not len(codes):
        raise PathError(f"{os.fspath(folder)} holds no picture")
    return codes


def _accuracy(having: Floats, lacking: Floats) -> float | None:
    """Balanced accuracy on each fifth of what the direction of the others tells apart."""
    if min(len(having), len(lacking)) < FOLDS:
        return None
    return float(np.mean([_accuracy_on(fold, having, lacking) for fold in range(FOLDS)]))


def _accuracy_on(fold: int, having: Floats, lacking: Floats) -> float:
    tried = [np.arange(len(codes)) % FOLDS == fold for codes in (having, lacking)]
    with_mean, without_mean = (codes[~its].mean(0) for codes, its in zip((having, lacking), tried, strict=True))
    vector, middle = with_mean - without_mean, (with_mean + without_mean) / 2
    right = [(having[tried[0]] - middle) @ vector > 0, (lacking[tried[1]] - middle) @ vector < 0]
    return float(np.mean([one.mean() for one in right]))
