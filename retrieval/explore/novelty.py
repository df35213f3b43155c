"""Novelty of a picture for a model (novelty detection), calibrated on the collection.

The critic's score (``realism``) alone is a weak sign: its scale drifts in training, and drawings or flat areas may
score better than photographs. The factor by which a code was standardized (``spread``) is a stronger one. Novelty uses
both: the Mahalanobis distance from the collection's average in (realism, log spread). At one false alarm in a hundred
it always flags noise. With faces-64 it flags text always, drawings in .88 and photographs of other things in .56 of
cases; with photos-64, which has seen more, drawings and flat areas in half of them, and text hardly ever.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from index.where import AllOf, AnyOf, Unusual, Where
from retrieval.arrays import Floats

Doubles = npt.NDArray[np.float64]

SAMPLE = 2000  # pictures of the collection to compare with
FEWEST = 100  # with fewer pictures the last hundredth has none
TINY = 1e-6


def novelty(looks: Floats, realism: float, spread: float) -> float | None:
    """The share of ``looks`` (n, 2), a collection's realism and spread, that is less novel; None if n is too small."""
    if len(looks) < FEWEST:
        return None
    return float(novelties(looks, np.array([[realism, spread]]))[0])


def novelties(looks: Floats, given: Floats | Doubles) -> Doubles:
    """As ``novelty``, for pictures with realism and spread ``given`` (n, 2): (n,), NaN if ``looks`` are too few."""
    if len(looks) < FEWEST:
        return np.full(len(given), np.nan)
    middle, inverse, distances = _distances(looks)
    away = np.stack([given[:, 0], np.log(np.maximum(given[:, 1], TINY))], axis=1).astype(np.float64) - middle
    less = np.searchsorted(np.sort(distances), np.einsum("ni,ij,nj->n", away, inverse, away))
    return np.asarray(less / len(looks), np.float64)


def novel(looks: Floats, sign: Literal[">", ">="], share: float) -> Where:
    """The filter of pictures whose novelty is above, or at least, ``share``.

    Raises:
        ValueError: the collection is too small to tell, or it is no share.
    """
    if len(looks) < FEWEST:
        raise ValueError(f"with fewer than {FEWEST} pictures nobody can tell what is novel")
    if not 0 <= share <= 1:
        raise ValueError(f"novelty is a share from 0 to 1, not {share:g}")
    _, _, distances = _distances(looks)
    less = share * len(looks)  # so many are less novel
    fewest = math.floor(less + 1e-9) + 1 if sign == ">" else math.ceil(less - 1e-9)
    if fewest <= 0:
        return AllOf(())
    if fewest > len(looks):
        return AnyOf(())
    return unusual(looks, float(np.sort(distances)[fewest - 1]))


def unusual(looks: Floats, radius: float = 0.0) -> Unusual:
    """The filter of pictures that lie farther than ``radius`` (squared) from the average of ``looks`` (n, 2)."""
    middle, inverse, _ = _distances(looks)
    (xx, xy), (_, yy) = inverse.tolist()
    return Unusual((float(middle[0]), float(middle[1])), (xx, xy, yy), radius, TINY)


def _distances(looks: Floats) -> tuple[Doubles, Doubles, Doubles]:
    """Average (2,) and inverse covariance (2, 2) of (realism, log spread), and the squared distances (n,) from it."""
    usual = np.stack([looks[:, 0], np.log(np.maximum(looks[:, 1], TINY))], axis=1).astype(np.float64)
    middle, inverse = usual.mean(0), np.linalg.pinv(np.cov(usual.T))
    distances = np.einsum("ni,ij,nj->n", usual - middle, inverse, usual - middle)
    return middle, np.asarray(inverse, np.float64), np.asarray(distances, np.float64)
