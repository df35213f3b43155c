"""Weighted sums of codes and directions, such as ``a + 0.5 b - c``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrieval.arrays import Floats
from retrieval.models.model import standardize

WEIGHT_MOST = 1e15  # far below the largest float32, even squared
CANCELLED = 1e-4  # of the sum of the summands' standard deviations


def weighted_sum(vectors: Floats, weights: Sequence[float], standardized: bool) -> Floats:
    """The weighted sum float32 (d,) of vectors (n, d); if codes are ``standardized``, N(.) of it.

    Raises:
        ValueError: a weight is too large or NaN, or the vectors cancel out.
    """
    if not all(abs(weight) <= WEIGHT_MOST for weight in weights):
        raise ValueError("the weights are too large to add up")
    exact = np.asarray(vectors, np.float64)
    total = np.asarray(weights, np.float64) @ exact
    if not standardized:
        return np.asarray(total, np.float32)
    if total.std() <= CANCELLED * (np.abs(weights) @ exact.std(axis=1)):
        raise ValueError("these pictures cancel out, and nothing is left to look for")
    return standardize(np.asarray(total / total.std(), np.float32))
