"""A Gaussian that was fitted to codes, from which samples are drawn where codes are not N(0, I).

c = mean + sum_k n_k axis_k + rest e, with n_k, e ~ N(0, 1): principal components that explain most, and equal noise in
all other directions (Tipping and Bishop, "Probabilistic Principal Component Analysis", 1999).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from retrieval.arrays import Floats

FIELD = "prior"  # of model.json
MOST_NUMBERS = 1 << 16  # of all axes together: model.json is read often
DIGITS = 5  # of a number


def fitted(codes: Floats) -> dict[str, Any]:
    """The entry of ``model.json`` that describes codes float32 (n, d), n at least 2."""
    count, dim = codes.shape
    mean = codes.mean(axis=0, dtype=np.float64)
    _, values, axes = np.linalg.svd(codes - mean, full_matrices=False)
    variances = values**2 / count
    kept = min(len(values), dim, max(1, MOST_NUMBERS // dim))
    rest = float(np.sqrt(variances[kept:].sum() / max(1, dim - kept)))
    return {
        "pictures": count,
        "mean": _rounded(mean),
        "axes": [_rounded(row) for row in axes[:kept] * np.sqrt(variances[:kept, None])],
        "rest": float(f"{rest:.{DIGITS}g}"),
    }


def drawn(prior: dict[str, Any], count: int, rng: np.random.Generator) -> Floats:
    """Codes float32 (count, d) of a prior that ``description.fault_of`` has checked."""
    mean, axes = np.array(prior["mean"], np.float32), np.array(prior["axes"], np.float32)
    along = rng.standard_normal((count, len(axes)), dtype=np.float32) @ axes
    return np.asarray(mean + along + np.float32(prior["rest"]) * rng.standard_normal((count, len(mean)), np.float32))


def _rounded(numbers: Any) -> list[float]:
    return [float(f"{number:.{DIGITS}g}") for number in numbers]
