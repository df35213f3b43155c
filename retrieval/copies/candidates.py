"""Which pairs may be copies: those whose codes, or whose points, have more in common than chance explains.

A fixed distance of codes means something different in each collection, and in each part of one. Around a picture, the
number of others within a distance t grows as t^m, where m is the intrinsic dimension (Levina and Bickel, NIPS 2004;
Hill, Annals of Statistics 1975). So within a share r of the distance of the k-th neighbour, k r^m are to be expected,
and what is there beyond expectation stands out. Copies in one place do not change what stands out elsewhere.

Points vote: each names the pictures that have the points most like it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from index.neighbours import Nearest, NearestPoints
from index.records import Floats, Ids
from retrieval.copies.features import Features

NEIGHBOURS = 50  # of a picture: its surroundings
EXPECTED = 0.3  # pictures that stand out by chance, of each picture
SURELY = 0.3  # of the median distance of the k-th neighbour: nearer than that, everything may be a copy
MOST = 2.0  # pairs for each picture, at most: the ones that stand out most
LEAST = 20_000  # pairs that may be compared in any collection: some seconds
FLATTEST = 4.0  # smallest dimension that is believed
AT_ONCE = 1024
ASKED = 50  # points of a picture that name others: the strongest
NAMED, SAME_BITS = 5, 48  # pictures that a point names, and bits in which their points may differ from it, of 256
VOTES, CANDIDATES = 4, 4  # points that name a candidate, and candidates of a picture, at most

Rows = list[tuple[int, int]]


class Surroundings:
    """The neighbours of all pictures, by their codes (n, d)."""

    def __init__(self, codes: Floats) -> None:
        nearest = Nearest(codes)
        count = max(0, min(NEIGHBOURS, len(codes) - 1))
        self.distances = np.empty((len(codes), count), np.float32)
        self.rows = np.empty((len(codes), count), np.int64)
        for start in range(0, len(codes) if count else 0, AT_ONCE):
            part = slice(start, start + AT_ONCE)
            self.distances[part], self.rows[part] = _others(*nearest(codes[part], count + 1), start)

    def standing_out(self) -> Rows:
        """Pairs of pictures whose codes are nearer than expected, a < b, each once: as many as may be looked at."""
        count, most = self.rows.shape
        if not most:
            return []
        a, b, distances = np.repeat(np.arange(count), most), self.rows.ravel(), self.distances.ravel()
        reach = np.maximum(np.minimum(self.distances[a, -1], self.distances[b, -1]), 1e-6)
        share = distances / reach
        surely = SURELY * float(np.median(self.distances[:, -1]))
        near = (b >= 0) & ((share <= self._share_that_stands_out()) | (distances <= surely))
        a, b, share = a[near], b[near], share[near]
        pairs = np.minimum(a, b) * count + np.maximum(a, b)
        pairs, first = np.unique(pairs, return_index=True)
        outstanding = np.sort(pairs[np.argsort(share[first], kind="stable")[: int(max(MOST * count, LEAST))]])
        return [divmod(pair, count) for pair in outstanding.tolist()]

    def _share_that_stands_out(self) -> float:
        """The share of the k-th neighbour's distance within which ``EXPECTED`` others are to be expected."""
        if self.rows.shape[1] < NEIGHBOURS:
            return float("inf")  # too few to say what is expected: all may be copies
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.log(self.distances[:, -1:] / self.distances).mean(1)
        spread = spread[np.isfinite(spread) & (spread > 0)]
        dimension = max(FLATTEST, float(1 / np.median(spread))) if len(spread) else FLATTEST
        return float((EXPECTED / NEIGHBOURS) ** (1 / dimension))


def _others(distances: Floats, rows: Ids, first: int) -> tuple[Floats, Ids]:
    """Neighbours without the picture itself, which is among the nearest unless many codes are equal."""
    own = rows == np.arange(first, first + len(rows))[:, None]
    own[~own.any(1), -1] = True
    return distances[~own].reshape(len(rows), -1), rows[~own].reshape(len(rows), -1)


class Voters:
    """Points that name the pictures that have the points most like them."""

    def __init__(self, features: Features) -> None:
        self._owners = np.repeat(np.arange(len(features.counts)), features.counts)
        self._nearest = NearestPoints(features.descriptors[_are_points(features)]) if len(self._owners) else None

    def named_by(self, features: Features) -> Iterator[Rows]:
        """Pairs of pictures, a < b, of which several points of one, among ``features``, name the other. A pair may come
        more than once."""
        count, asked = len(features.counts), np.minimum(features.counts, ASKED)
        are_points = _are_points(features) & (np.arange(features.descriptors.shape[1]) < ASKED)
        for start in range(0, count if self._nearest else 0, AT_ONCE):
            part = slice(start, start + AT_ONCE)
            asking = np.repeat(np.arange(count)[part], asked[part])
            if self._nearest and len(asking):
                bits, points = self._nearest(features.descriptors[part][are_points[part]], NAMED)
                named = (bits <= SAME_BITS) & (points >= 0)
                yield _elected(np.repeat(asking, named.sum(1)), self._owners[points[named]], count)


def _are_points(features: Features) -> npt.NDArray[np.bool_]:
    """Which descriptors (n, m) there are."""
    return np.asarray(np.arange(features.descriptors.shape[1]) < features.counts[:, None])


def _elected(a: Ids, b: Ids, count: int) -> Rows:
    """The pictures that were named most by each, of votes ``b`` of the pictures ``a``."""
    pairs, votes = np.unique((a * count + b)[a != b], return_counts=True)
    pairs, votes = pairs[votes >= VOTES], votes[votes >= VOTES]
    order = np.lexsort((-votes, pairs // count))
    asking = pairs[order] // count
    place = np.arange(len(order)) - np.searchsorted(asking, asking)
    elected = pairs[order][place < CANDIDATES]
    low, high = np.minimum(elected // count, elected % count), np.maximum(elected // count, elected % count)
    return [divmod(pair, count) for pair in np.unique(low * count + high).tolist()]
