"""Novelty of a picture for a model (novelty detection), calibrated on the collection.

The critic's score (``realism``) alone is a weak sign: its scale drifts in training, and drawings or flat areas may
score better than photographs. The factor by which a code was standardized (``spread``) is a stronger one. Novelty uses
both: the Mahalanobis distance from the collection's average in (realism, log spread). At one false alarm in a hundred
it always flags noise. With faces-64 it flags text always, drawings in .88 and photographs of other things in .56 of
cases; with photos-64, which has seen more, drawings and flat areas in half of them, and text hardly ever.
"""

from __future__ import annotations

import math

import numpy as np

from retrieval.arrays import Floats

SAMPLE = 2000  # pictures of the collection to compare with
FEWEST = 100  # with fewer pictures the last hundredth has none
TINY = 1e-6


def novelty(looks: Floats, realism: float, spread: float) -> float | None:
    """The share of ``looks`` (n, 2), a collection's realism and spread, that is less novel; None if n is too small."""
    if len(looks) < FEWEST:
        return None
    usual = np.stack([looks[:, 0], np.log(np.maximum(looks[:, 1], TINY))], axis=1).astype(np.float64)
    middle, inverse = usual.mean(0), np.linalg.pinv(np.cov(usual.T))
    one = np.array([realism, math.log(max(spread, TINY))]) - middle
    distances = np.einsum("ni,ij,nj->n", usual - middle, inverse, usual - middle)
    return float(np.mean(distances < one @ inverse @ one))
