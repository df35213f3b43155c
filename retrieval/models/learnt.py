"""How the pictures that a model learnt from look to it: a small table in ``model.json``, which other pictures are held
against.

As ``retrieval.explore.novelty``, but calibrated on what the model knows instead of on a collection. A look is a pair of
realism and spread. The table holds the average of (realism, log spread), the inverse of their covariance, and 101
quantiles of the squared Mahalanobis distances from the average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.arrays import Floats

Doubles = npt.NDArray[np.float64]

FIELD = "learnt"  # of model.json
FEWEST = 100  # pictures: of fewer, the last hundredth is none
QUANTILES = 101
TINY = 1e-6
DIGITS = 6  # of a number in the table


@dataclass(frozen=True)
class Learnt:
    """``centre`` (2,), ``inverse`` (2, 2) and ``distances`` (q,), ascending, of ``pictures`` that a model learnt."""

    pictures: int
    centre: Doubles
    inverse: Doubles
    distances: Doubles

    def unfamiliarity(self, looks: Floats) -> Doubles:
        """For each look (n, 2): the share of what the model learnt that is less far from its average, (n,)."""
        return np.searchsorted(self.distances, self.distances_of(looks)) / len(self.distances)

    def distances_of(self, looks: Floats) -> Doubles:
        """The squared Mahalanobis distances of looks (n, 2) from the average, (n,)."""
        return _distances(looks, self.centre, self.inverse)


def measured(looks: Floats) -> dict[str, Any] | None:
    """The table for ``model.json``, from the looks (n, 2) of pictures that the model learnt; None if n is small."""
    if len(looks) < FEWEST:
        return None
    points = _points(looks)
    centre, inverse = points.mean(0), np.asarray(np.linalg.pinv(np.cov(points.T)), np.float64)
    distances = np.quantile(_distances(looks, centre, inverse), np.linspace(0, 1, QUANTILES))
    return {
        "pictures": len(looks),
        "centre": _rounded(centre),
        "inverse": [_rounded(row) for row in inverse],
        "distances": _rounded(distances),
    }


def read(table: dict[str, Any]) -> Learnt:
    """A table that ``description.fault_of`` has checked."""
    numbers = (np.array(table[name], np.float64) for name in ("centre", "inverse", "distances"))
    return Learnt(table["pictures"], *numbers)


def _points(looks: Floats) -> Doubles:
    return np.stack([looks[:, 0], np.log(np.maximum(looks[:, 1], TINY))], axis=1).astype(np.float64)


def _distances(looks: Floats, centre: Doubles, inverse: Doubles) -> Doubles:
    away = _points(looks) - centre
    return np.asarray(np.einsum("ni,ij,nj->n", away, inverse, away))


def _rounded(numbers: Doubles) -> list[float]:
    return [float(f"{number:.{DIGITS}g}") for number in numbers]
