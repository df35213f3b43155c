"""Fewer numbers for a code, learnt from pictures: principal components, and how much of the ranking they keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from index.neighbours import Nearest
from retrieval.arrays import Floats
from retrieval.errors import ModelError
from retrieval.models.description import Normalise
from retrieval.models.encode import encode_files
from retrieval.models.model import Model
from retrieval.models.preparation import Projection, normalised

MOST, LEAST_EACH = 10_000, 2  # pictures that are encoded, and that are needed for each number that is kept
NEAREST = 10


@dataclass(frozen=True)
class Shortened:
    """What was learnt: the ``projection`` on ``dim`` principal components; and of the ten nearest of each of so many
    held-out pictures among them by whole codes, the share that is among the ten nearest by shortened codes, and, for
    comparison, by the first numbers of codes."""

    projection: Projection
    kept: float
    kept_by_the_first: float
    held_out: int


def shortened(whole: Model, paths: Sequence[str], dim: int, normalise: Normalise) -> Shortened:
    """Learn from the pictures at ``paths``, at most ``MOST`` of them, drawn; every second is held out.

    ``whole`` gives codes as its graph does, not normalised.

    Raises:
        ModelError: codes have no more than ``dim`` numbers, or there are fewer than four pictures for each of them.
    """
    if dim >= whole.latent_dim:
        raise ModelError(f"{dim} principal components of {whole.latent_dim} numbers do not shorten a code")
    drawn = np.random.default_rng(0).permutation(len(paths))[:MOST]
    codes = encode_files(whole, [paths[row] for row in drawn], lambda row, reason: None)
    codes = codes[np.isfinite(codes).all(1)]
    learnt_from, held_out = codes[::2], codes[1::2]
    if len(learnt_from) < LEAST_EACH * dim:
        raise ModelError(
            f"{dim} principal components are learnt from {2 * LEAST_EACH * dim:,} pictures at least, of which half are "
            f"held out, and {len(codes):,} of those named can be read",
            code="few_pictures",
        )
    projection = principal_components(learnt_from, dim)
    wanted = _nearest(normalised(held_out, normalise))
    by_components, by_the_first = (
        _shared(wanted, _nearest(normalised(codes, normalise)))
        for codes in (projection.of(held_out), np.ascontiguousarray(held_out[:, :dim]))
    )
    return Shortened(projection, by_components, by_the_first, len(held_out))


def principal_components(codes: Floats, dim: int) -> Projection:
    """The ``dim`` directions in which codes (n, d) vary most (Jolliffe, Principal Component Analysis, 2002)."""
    mean = codes.mean(0, dtype=np.float64)
    centred = codes - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1][:, :dim]
    signs = np.sign(axes[np.abs(axes).argmax(0), np.arange(dim)])  # or other libraries would give other signs
    return Projection(np.asarray(mean, np.float32), np.asarray(axes * signs, np.float32))


def _nearest(codes: Floats) -> np.ndarray:
    """The nearest others of each of codes (n, d): rows (n, 10)."""
    count = min(NEAREST + 1, len(codes))
    rows = Nearest(codes)(codes, count)[1]
    others = [[row for row in its if row != own][: count - 1] for own, its in enumerate(rows.tolist())]
    return np.array(others)


def _shared(these: np.ndarray, those: np.ndarray) -> float:
    return float(np.mean([len(set(one) & set(other)) / len(one) for one, other in zip(these, those, strict=True)]))
