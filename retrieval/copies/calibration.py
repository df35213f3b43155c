"""Calibrate the threshold for copies: how near are pictures of a collection that are not copies?

A fixed distance means something different in each collection: faces in one pose are nearer to each other than holiday
pictures. So the threshold is measured on the collection itself. The nearest neighbours of a sample are compared as
pictures (``retrieval.copies.similarity``); pairs that are not copies are the background. The number of background pairs
within a distance t is counted among the neighbours of the sample. Where they are too few to count, it is extrapolated
as a power of t, whose exponent is Hill's estimator (Hill, Annals of Statistics 1975; Levina and Bickel, NIPS 2004). The
share of them that the comparison would accept is an exponential tail of their likenesses. Both together give the
likeness that a pair needs: moderate for near pairs, high for farther ones, of which there are more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from index.neighbours import knn
from retrieval.arrays import Floats
from retrieval.copies.similarity import ALIKE

SAMPLE = 2000  # pictures whose neighbours are counted
NEIGHBOURS = 100  # of each picture; in very dense places, pairs beyond them are missed
WANTED, FEWEST = 300, 10  # background pairs: as many as needed, and the least that allow an estimate
AT_ONCE = 256
LOOKS = 20_000  # pairs that may be compared as pictures in any collection: some seconds
SURELY = 1e-9  # smallest share that the tail is trusted for
UPPER = 0.8  # quantile of likenesses above which their tail is fitted
UNCALIBRATED = 0.5  # of the distance of two random codes, if a collection is too small to calibrate

Likenesses = Callable[[Sequence[tuple[int, int]]], Sequence[float | None]]
"""The likeness of each pair of rows; None if a picture cannot be read."""


@dataclass(frozen=True)
class Rule:
    """When two pictures are copies: codes within ``threshold``, and a likeness that is high enough for their distance.

    Up to the distance ``near`` a likeness of ``ALIKE`` is enough. Beyond, where pairs that are not copies become many,
    it rises, so that each e-fold of their number adds as many expected wrong pairs as there are up to ``near``.
    """

    threshold: float
    near: float
    background: Background | None = None
    share: float = 0.0  # expected wrong pairs up to ``near``

    def needed(self, distance: float) -> float:
        """The likeness that two pictures at ``distance`` need to be copies."""
        if self.background is None or distance <= self.near:
            return ALIKE
        return max(ALIKE, self.background.likeness_that_passes(self.share / self.background.within(distance)))

    @property
    def expected(self) -> float | None:
        """Expected number of wrong pairs; None if the background is unknown."""
        if self.background is None:
            return None
        near = self.background.within(self.near)
        farther = math.log(self.background.within(self.threshold) / near) if self.threshold > self.near else 0.0
        return near * self.background.passing(ALIKE) + self.share * farther


@dataclass(frozen=True)
class Background:
    """Pairs that are not copies: how many are within a distance, and how many of them the comparison would accept.

    Among ``pictures``, ``counts[i]`` pairs are within ``distances[i]`` (both ascending); within t < distances[0] it is
    counts[0] (t / distances[0])^``exponent``. A fifth of the likenesses' atanh is above ``start`` and falls off from
    there as exp(-z / ``excess``); both are measured on the ``looked_at`` nearest pairs. Beyond the distance ``reach`` a
    typical picture has more than ten neighbours: copies are not searched there.
    """

    pictures: int
    distances: tuple[float, ...]
    counts: tuple[float, ...]
    exponent: float
    start: float
    excess: float
    reach: float
    looked_at: int

    def within(self, distance: float) -> float:
        """Number of pairs within ``distance`` that are not copies."""
        return _along(self.distances, self.counts, distance, self.exponent)

    def passing(self, alike: float) -> float:
        """The share of them with a likeness of ``alike`` or more."""
        return max(SURELY, (1 - UPPER) * math.exp(-max(0.0, math.atanh(alike) - self.start) / self.excess))

    def likeness_that_passes(self, share: float) -> float:
        """The likeness that a ``share`` of them reaches or exceeds."""
        return math.tanh(self.start + self.excess * math.log((1 - UPPER) / max(SURELY, share)))

    def rule_within(self, threshold: float) -> Rule:
        """The rule that needs a likeness of ``ALIKE`` at all distances within ``threshold``."""
        return Rule(threshold, threshold, self)

    def rule_for(self, false_pairs: float) -> Rule:
        """The rule with at most ``false_pairs`` expected wrong pairs.

        Within its threshold there are at most twice as many pairs that are not copies as pictures, or ``LOOKS`` if that
        is more, since the pictures of each pair are compared.
        """
        most = max(2 * self.pictures, LOOKS)
        threshold, passing, share = min(self.reach, self._distance_of(most)), self.passing(ALIKE), false_pairs
        far = self.within(threshold)
        for _ in range(50):  # share (1 + ln(far / near)) = false_pairs, where near = share / passing
            share = false_pairs / (1 + math.log(max(1.0, far * passing / share)))
        return Rule(threshold, min(threshold, self._distance_of(share / passing)), self, share)

    def _distance_of(self, pairs: float) -> float:
        return _along(self.counts, self.distances, pairs, 1 / self.exponent)


def _along(xs: Sequence[float], ys: Sequence[float], x: float, exponent: float) -> float:
    """y at ``x``: log-log linear between the points, both ascending; beyond them a power of x."""
    place = int(np.searchsorted(xs, x))
    if 0 < place < len(xs):
        return math.exp(float(np.interp(math.log(x), np.log(xs), np.log(ys))))
    end = 0 if place == 0 else -1
    return float(ys[end] * (x / xs[end]) ** exponent)


def measure_background(codes: Floats, likenesses: Likenesses) -> Background | None:
    """Measure the background of codes (n, d). Return None if there are too few pictures."""
    count = len(codes)
    if count < 2:
        return None
    rows = np.sort(np.random.default_rng(0).permutation(count)[:SAMPLE])
    distances, neighbours = knn(codes[rows], codes, NEIGHBOURS + 1)
    nearest = _pairs_by_distance(rows, neighbours, distances)
    found = _no_copies(nearest, likenesses)
    if len(found) < FEWEST:
        return None
    t, alike = np.array(found).T
    spread = float(np.log(t[-1] / t).sum())
    if spread < 1e-3 * len(t):  # equal distances, such as of blank frames, have no exponent
        return None
    sampled = len(rows) * (count - len(rows)) + len(rows) * (len(rows) - 1) / 2
    beyond = np.array([distance for distance, _, _ in nearest if distance > t[-1]])
    ranks = [0, *(2**power for power in range(6, 40) if 2**power <= len(beyond))]  # copies are few among these
    start, excess = _tail(alike)
    return Background(
        pictures=count,
        distances=tuple(float(t[-1] if rank == 0 else beyond[rank - 1]) for rank in ranks),
        counts=tuple((len(t) + rank) * count * (count - 1) / 2 / sampled for rank in ranks),
        exponent=len(t) / spread,
        start=start,
        excess=excess,
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
    """(distance, likeness) of the nearest pairs that are not copies. Pairs at distance 0 count as copies."""
    found: list[tuple[float, float]] = []
    for start in range(0, len(nearest), AT_ONCE):
        part = nearest[start : start + AT_ONCE]
        alike = likenesses([(a, b) for _, a, b in part])
        pairs = zip(part, alike, strict=True)
        found += [(far, like) for (far, _, _), like in pairs if like is not None and like < ALIKE and far > 0]
        if len(found) >= WANTED:
            break
    return found[:WANTED]


def _tail(alike: np.ndarray) -> tuple[float, float]:
    """The 0.8 quantile of the likenesses' atanh, and the mean excess above it plus one standard error, to be safe."""
    z = np.arctanh(np.clip(alike, -0.99, 0.99))
    start = float(np.quantile(z, UPPER))
    over = z[z >= start] - start
    return start, max(1e-3, float(over.mean()) * (1 + 1 / math.sqrt(len(over))))
