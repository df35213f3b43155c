"""Weighted sums of codes: what lies at ``a + 0.5 b - c``, or some way along a direction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrieval.arrays import Floats
from retrieval.models.model import standardize

WEIGHT_MOST = 1e15  # far from where float32 ends, even as a square
CANCELLED = 1e-4  # of the deviation that the summands have together


def weighted_sum(vectors: Floats, weights: Sequence[float], standardized: bool) -> Floats:
    """The weighted sum float32 (d,) of vectors (n, d); where codes are ``standardized``, N(.) of it.

    Raises:
        ValueError: a weight is too large or no number; or nothing is left that could be standardized.
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
