"""How the pictures that a model learnt from look to it: a small table in ``model.json``, which other pictures are held
against.

A look is a picture's realism and spread, as in ``retrieval.explore.novelty``, and its ``texture``, which needs no
model: a critic that was taught to tell photographs from what G draws knows nothing of text or noise. The table holds
the average of (realism, log spread, texture), the inverse of their covariance with a ridge, and 101 quantiles of the
squared Mahalanobis distances from the average. Older tables have no texture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.arrays import Floats, Pixels
from retrieval.models.texture import OF_A_LEVEL, levels, texture

Doubles = npt.NDArray[np.float64]

FIELD = "learnt"  # of model.json
FEWEST = 100  # pictures: of fewer, the last hundredth is none
QUANTILES = 101
TINY = 1e-6
DIGITS = 8  # of a number in the table
OF_THE_CRITIC = 2  # numbers of a look: realism and log spread
RIDGE = 0.3  # of the covariance of standardized looks: textures of neighbouring levels nearly follow from each other


@dataclass(frozen=True)
class Learnt:
    """``centre`` (k,), ``inverse`` (k, k) and ``distances`` (q,), ascending, of ``pictures`` that a model learnt."""

    pictures: int
    centre: Doubles
    inverse: Doubles
    distances: Doubles

    def unfamiliarity(self, realism: Floats, spread: Floats, squares: Pixels) -> Doubles:
        """For pictures uint8 (n, s, s, 3) with realism and spread (n,): the share of what the model learnt that is less
        far from its average, (n,)."""
        away = self.distances_of(realism, spread, squares)
        return np.searchsorted(self.distances, away) / len(self.distances)

    def distances_of(self, realism: Floats, spread: Floats, squares: Pixels) -> Doubles:
        """The squared Mahalanobis distances from the average, (n,)."""
        points = points_of(realism, spread, squares if len(self.centre) > OF_THE_CRITIC else None)
        return _distances(points, self.centre, self.inverse)


def measured(points: Doubles, pictures: int) -> dict[str, Any] | None:
    """The table for ``model.json``, from looks (n, k) at so many pictures that the model learnt, at some of them more
    than once; None if the pictures are few."""
    if pictures < FEWEST:
        return None
    centre, scale = points.mean(0), np.maximum(points.std(0), TINY)
    correlation = np.cov(((points - centre) / scale).T) + RIDGE * np.eye(len(centre))
    inverse = np.linalg.inv(correlation) / np.outer(scale, scale)
    distances = np.quantile(_distances(points, centre, inverse), np.linspace(0, 1, QUANTILES))
    return {
        "pictures": pictures,
        "centre": _rounded(centre),
        "inverse": [_rounded(row) for row in inverse],
        "distances": _rounded(distances),
    }


def read(table: dict[str, Any]) -> Learnt:
    """A table that ``description.fault_of`` has checked."""
    numbers = (np.array(table[name], np.float64) for name in ("centre", "inverse", "distances"))
    return Learnt(table["pictures"], *numbers)


def lengths(side: int) -> tuple[int, int]:
    """How many numbers a look may have, for pictures of ``side`` pixels: without texture, and with it."""
    return OF_THE_CRITIC, OF_THE_CRITIC + OF_A_LEVEL * levels(side)


def points_of(realism: Floats, spread: Floats, squares: Pixels | None) -> Doubles:
    """Looks, (n, k), of pictures uint8 (n, s, s, 3) with realism and spread (n,); without squares, the critic's."""
    critic = np.stack([realism, np.log(np.maximum(spread, TINY))], axis=1).astype(np.float64)
    return critic if squares is None else np.concatenate([critic, texture(squares)], axis=1)


def _distances(points: Doubles, centre: Doubles, inverse: Doubles) -> Doubles:
    away = points - centre
    return np.asarray(np.einsum("ni,ij,nj->n", away, inverse, away, optimize=True))


def _rounded(numbers: Doubles) -> list[float]:
    return [float(f"{number:.{DIGITS}g}") for number in numbers]
