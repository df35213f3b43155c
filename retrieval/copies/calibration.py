"""How near pictures of a collection come to each other that are no copies: what a threshold for copies is set by.

A fixed distance means another thing in every collection: faces in one pose lie nearer together than holiday pictures
do. So the collection is asked itself. Of some of its pictures the nearest neighbours are looked at a second time
(``retrieval.copies.similarity``); those that are no copies are the background. The number of background pairs within a
distance t is counted among the neighbours of a sample and, where there are too few to count, continued by a power of
t, whose exponent is Hill's estimator (Hill, Annals of Statistics 1975; Levina and Bickel, NIPS 2004); the share of them
that would pass the second look is an exponential tail of their likenesses. From both follows what to ask of a pair:
near ones need be alike, farther ones, of which there are more, very much so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from index.neighbours import knn
from retrieval.arrays import Floats
from retrieval.copies.similarity import ALIKE

SAMPLE = 2000  # pictures whose neighbours are looked at
NEIGHBOURS = 100  # of each: of nearest pairs beyond, in very dense places, some are not counted
WANTED, FEWEST = 300, 10  # background pairs: enough, and too few to say anything
AT_ONCE = 256
LOOKS = 20_000  # pairs that may be looked at a second time in any collection: some seconds
SURELY = 1e-9  # no tail is believed beyond
UPPER = 0.8  # quantile of likenesses above which their tail is fitted
UNCALIBRATED = 0.5  # of two random codes' distance, where a collection is too small to be asked

Likenesses = Callable[[Sequence[tuple[int, int]]], Sequence[float | None]]
"""For pairs of rows how alike they are; None where a picture cannot be read."""


@dataclass(frozen=True)
class Rule:
    """What makes two pictures copies: codes within ``threshold``, and a structure alike enough for their distance.

    Up to ``near`` it is enough to be ``ALIKE``. Beyond, where pairs that are no copies become many, more is asked: so
    much that with each e-fold of their number as many wrong pairs are to be expected as up to ``near``.
    """

    threshold: float
    near: float
    background: Background | None = None
    share: float = 0.0  # wrong pairs to be expected up to near

    def needed(self, distance: float) -> float:
        """The likeness from which on two pictures at ``distance`` are copies."""
        if self.background is None or distance <= self.near:
            return ALIKE
        return max(ALIKE, self.background.likeness_that_passes(self.share / self.background.within(distance)))

    @property
    def expected(self) -> float | None:
        """Wrong pairs to be expected in all; None where nothing is known of the background."""
        if self.background is None:
            return None
        near = self.background.within(self.near)
        farther = math.log(self.background.within(self.threshold) / near) if self.threshold > self.near else 0.0
        return near * self.background.passing(ALIKE) + self.share * farther


@dataclass(frozen=True)
class Background:
    """Pairs that are no copies: how many lie within a distance, and how many of them a second look would let pass.

    Of the pairs among ``pictures`` so many lie within ``distances`` as ``counts`` says (both ascending); within less
    than the first of them counts[0] (t / distances[0])^``exponent``. Of their likenesses' atanh a fifth lies above
    ``start`` and falls off from there by exp(-z / ``excess``), which ``looked_at`` of the nearest pairs have shown.
    ``reach`` is the distance beyond which a picture has more than ten neighbours as a rule: no copy is sought there.
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
        """Pairs that are no copies and lie within ``distance``."""
        return _along(self.distances, self.counts, distance, self.exponent)

    def passing(self, alike: float) -> float:
        """The share of them that is ``alike`` or more."""
        return max(SURELY, (1 - UPPER) * math.exp(-max(0.0, math.atanh(alike) - self.start) / self.excess))

    def likeness_that_passes(self, share: float) -> float:
        """The likeness that so small a share of them has, or more."""
        return math.tanh(self.start + self.excess * math.log((1 - UPPER) / max(SURELY, share)))

    def rule_within(self, threshold: float) -> Rule:
        """The rule that asks for no more than ``ALIKE`` within a distance."""
        return Rule(threshold, threshold, self)

    def rule_for(self, false_pairs: float) -> Rule:
        """The rule by which so many wrong pairs are to be expected, or fewer.

        It looks no farther than there are twice as many pairs that are no copies as pictures (of few, as ``LOOKS``),
        since each of them is looked at.
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
    """y at ``x``: between the points, both ascending, straight in logarithms; beyond them by a power of x."""
    place = int(np.searchsorted(xs, x))
    if 0 < place < len(xs):
        return math.exp(float(np.interp(math.log(x), np.log(xs), np.log(ys))))
    end = 0 if place == 0 else -1
    return float(ys[end] * (x / xs[end]) ** exponent)


def measure_background(codes: Floats, likenesses: Likenesses) -> Background | None:
    """The background of codes (n, d); None where there are too few pictures to tell."""
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
    if spread < 1e-3 * len(t):  # all as far: of blank frames, say, from which nothing can be continued
        return None
    sampled = len(rows) * (count - len(rows)) + len(rows) * (len(rows) - 1) / 2
    beyond = np.array([distance for distance, _, _ in nearest if distance > t[-1]])
    ranks = [0, *(2**power for power in range(6, 40) if 2**power <= len(beyond))]  # copies are few among so many
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


def _tail(alike: np.ndarray) -> tuple[float, float]:
    """Where the upper fifth of the likenesses' atanh begins; its average excess, a standard error to the safe side."""
    z = np.arctanh(np.clip(alike, -0.99, 0.99))
    start = float(np.quantile(z, UPPER))
    over = z[z >= start] - start
    return start, max(1e-3, float(over.mean()) * (1 + 1 / math.sqrt(len(over))))
