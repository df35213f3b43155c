"""Directions in the latent space: from pictures without something to pictures with it.

A direction is the difference of two average codes (Larsen et al., ICML 2016, call it an attribute vector). Added to the
code of a picture, it changes that one thing, as far as the model separates it from all others.
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
NAME = re.compile(r"[^\W\d][\w-]*")  # can be parsed in 0.5*smile


def learn_direction(
    model: Model,
    name: str,
    with_folder: str | os.PathLike[str],
    without_folder: str | os.PathLike[str],
    *,
    workers: int | None = None,
) -> Direction:
    """Learn the direction from all pictures below ``without_folder`` to all pictures below ``with_folder``.

    Files that are not pictures are skipped.

    Raises:
        ValueError: the name has characters other than letters, digits, - and _, or does not start with a letter or _.
        PathError: a folder holds no picture.
    """
    _check_name(name)
    return direction_between(
        name, _codes_below(model, with_folder, workers), _codes_below(model, without_folder, workers)
    )


def direction_between(name: str, having: Floats, lacking: Floats) -> Direction:
    """The direction from the codes ``lacking`` (m, d) to the codes ``having`` (n, d), none of them empty.

    Raises:
        ValueError: as ``learn_direction``.
    """
    _check_name(name)
    vector = np.asarray(having.mean(0) - lacking.mean(0), np.float32)
    return Direction(name, vector, len(having), len(lacking), _accuracy(having, lacking))


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"a direction's name is made of letters, digits, - and _, not {name!r}")


def along(direction: Direction, code: Floats, steps: Sequence[float], standardized: bool) -> Floats:
    """Move ``code`` (d,) along a direction, by each of ``steps``: codes float32 (n, d).

    A step of 1 is the way from the average code without something to the average code with it; -1 is the way back.

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
    """Balanced accuracy, averaged over five folds; the direction is learned from the other four. None if too few."""
    if min(len(having), len(lacking)) < FOLDS:
        return None
    return float(np.mean([_accuracy_on(fold, having, lacking) for fold in range(FOLDS)]))


def _accuracy_on(fold: int, having: Floats, lacking: Floats) -> float:
    tried = [np.arange(len(codes)) % FOLDS == fold for codes in (having, lacking)]
    with_mean, without_mean = (codes[~its].mean(0) for codes, its in zip((having, lacking), tried, strict=True))
    vector, middle = with_mean - without_mean, (with_mean + without_mean) / 2
    right = [(having[tried[0]] - middle) @ vector > 0, (lacking[tried[1]] - middle) @ vector < 0]
    return float(np.mean([one.mean() for one in right]))
