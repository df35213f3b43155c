"""How novel a picture is to a model (novelty detection), calibrated on a collection that the model is used for.

The critic's verdict alone (``realism``) is a weak sign: its scale drifts in training, and drawings or flat areas may
score better than photographs. How far a code had to be shrunk to be standardized (``spread``) is the stronger one. Both
together, as a Mahalanobis distance from the collection's average in (realism, log spread), at one false alarm in a
hundred, flag noise always; with faces-64 text always, drawings in .88 and photographs of other things in .56 of cases;
with photos-64, which has seen more, drawings and flat areas in half of them and text hardly ever.
"""

from __future__ import annotations

import math

import numpy as np

from retrieval.arrays import Floats

SAMPLE = 2000  # pictures of the collection that are asked
FEWEST = 100  # of fewer a hundredth cannot be told
TINY = 1e-6


def novelty(looks: Floats, realism: float, spread: float) -> float | None:
    """The share of ``looks`` (n, 2), a collection's realism and spread, that is less novel; None if there are few."""
    if len(looks) < FEWEST:
        return None
    usual = np.stack([looks[:, 0], np.log(np.maximum(looks[:, 1], TINY))], axis=1).astype(np.float64)
    middle, inverse = usual.mean(0), np.linalg.pinv(np.cov(usual.T))
    one = np.array([realism, math.log(max(spread, TINY))]) - middle
    distances = np.einsum("ni,ij,nj->n", usual - middle, inverse, usual - middle)
    return float(np.mean(distances < one @ inverse @ one))
