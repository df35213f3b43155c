"""How near pictures of a collection come to each other that are no copies: what a threshold for copies is set by.

A fixed distance means another thing in every collection: faces in one pose lie nearer together than holiday pictures
do. So the collection is asked itself. Of some of its pictures the nearest neighbours are looked at a second time
(``retrieval.likeness``); those that are no copies are the background. The number of background pairs within a
distance t is fitted by a power of t, whose exponent is Hill's estimator (Hill, Annals of Statistics 1975; Levina and
Bickel, NIPS 2004), and the share of them that would pass the second look by an exponential tail of their likenesses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from index.vectors import import_faiss
from retrieval.likeness import ALIKE
from retrieval.model import Floats

SAMPLE = 2000  # pictures whose neighbours are looked at
NEIGHBOURS = 20
WANTED, FEWEST = 300, 10  # background pairs: enough, and too few to say anything
AT_ONCE = 256
UPPER = 0.8  # quantile of likenesses above which their tail is fitted
UNCALIBRATED = 0.5  # of two random codes' distance, where a collection is too small to be asked

Likenesses = Callable[[Sequence[tuple[int, int]]], Sequence[float | None]]
"""For pairs of rows how alike they are; None where a picture cannot be read."""


@dataclass(frozen=True)
class Background:
    """Of ``pairs`` pairs a share of ``density`` (t / ``scale``)^``exponent`` lies within t; ``passing`` of those pass.

    All this was learnt from ``looked_at`` of the collection's nearest pairs that are no copies.
    ``reach`` is the distance beyond which a picture has more than ten neighbours as a rule: no copy is sought there.
    """

    pairs: float
    density: float
    scale: float
    exponent: float
    passing: float
    reach: float
    looked_at: int

    def expected(self, threshold: float) -> float:
        """False pairs to be expected within ``threshold``."""
        return float(self.pairs * self.density * (threshold / self.scale) ** self.exponent * self.passing)

    def threshold(self, false_pairs: float) -> float:
        """The distance within which so many false pairs are expected, or ``reach``."""
        share = false_pairs / (self.pairs * self.density * self.passing)
        return min(self.reach, float(self.scale * share ** (1 / self.exponent)))


def measure_background(codes: Floats, likenesses: Likenesses) -> Background | None:
    """The background of codes (n, d); None where there are too few pictures to tell."""
    count = len(codes)
    if count < 2:
        return None
    rows = np.sort(np.random.default_rng(0).permutation(count)[:SAMPLE])
    distances, neighbours = import_faiss().knn(codes[rows], codes, min(count, NEIGHBOURS + 1))
    distances = np.sqrt(np.maximum(distances, 0))
    nearest = _pairs_by_distance(rows, neighbours, distances)
    found = _no_copies(nearest, likenesses)
    if len(found) < FEWEST:
        return None
    t, alike = np.array(found).T
    sampled = len(rows) * (count - len(rows)) + len(rows) * (len(rows) - 1) / 2
    scale = float(t[-1])
    return Background(
        pairs=count * (count - 1) / 2,
        density=len(t) / sampled,
        scale=scale,
        exponent=len(t) / float(np.log(scale / t).sum()),
        passing=_passing(alike),
        reach=float(np.median(distances[:, min(10, distances.shape[1] - 1)])),
        looked_at=len(t),
    )


def _pairs_by_distance(rows: np.ndarray, neighbours: np.ndarray, distances: np.ndarray) -> list[tuple[float, int, int]]:
    """Each pair once, nearest first."""
    ordered = {
        (min(a, b), max(a, b)): distance
        for a, its, far in zip(rows.tolist(), neighbours.tolist(), distances.tolist(), strict=True)
        for b, distance in zip(its, far, strict=True)
        if a != b
    }
    return sorted((distance, *pair) for pair, distance in ordered.items())


def _no_copies(nearest: list[tuple[float, int, int]], likenesses: Likenesses) -> list[tuple[float, float]]:
    """(distance, likeness) of the nearest pairs that are no copies; of distance 0 none is."""
    found: list[tuple[float, float]] = []
    for start in range(0, len(nearest), AT_ONCE):
        part = nearest[start : start + AT_ONCE]
        alike = likenesses([(a, b) for _, a, b in part])
        pairs = zip(part, alike, strict=True)
        found += [(far, like) for (far, _, _), like in pairs if like is not None and like < ALIKE and far > 0]
        if len(found) >= WANTED:
            break
    return found[:WANTED]


def _passing(alike: np.ndarray) -> float:
    """The share of background pairs that ``ALIKE`` lets through: an exponential tail of the likenesses' atanh."""
    z = np.arctanh(np.clip(alike, -0.99, 0.99))
    start = float(np.quantile(z, UPPER))
    excess = float(np.mean(z[z >= start] - start)) or 1e-3
    return max(1e-9, (1 - UPPER) * math.exp(-max(0.0, math.atanh(ALIKE) - start) / excess))
