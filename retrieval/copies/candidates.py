"""Which pairs may be copies: their codes are nearer than the surroundings of both explain.

A fixed distance means something different in each collection, and in each part of one. Around a picture, the number of
others within a distance t grows as t^m, where m is the intrinsic dimension (Levina and Bickel, NIPS 2004; Hill, Annals of
Statistics 1975). So within a share r of the distance of the k-th neighbour, k r^m are to be expected, and what is there
beyond expectation stands out. Copies are so few or so many as they are; they do not change what stands out elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from index.neighbours import Nearest
from index.records import Floats, Ids
from retrieval.copies.likeness import Fingerprint, likeness
from retrieval.copies.views import Survey, View

NEIGHBOURS = 50  # of a picture: its surroundings
OF_VIEWS = 4  # neighbours of a view that may be copies
EXPECTED, EXPECTED_OF_VIEW = 0.5, 0.1  # pictures that stand out by chance, of each picture and of each of its views
SURELY = 0.3  # of the median distance of the k-th neighbour: nearer than that, everything may be a copy
MOST = 4.0  # pairs for each picture, at most: the ones that stand out most
LEAST = 20_000  # pairs that may be compared in any collection: some seconds
FLATTEST = 4.0  # smallest dimension that is believed
LIKE = 0.5  # likeness from which on a pair is worth a second look
AT_ONCE = 4096


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows (n,): the first one seen as ``view`` says (-1: whole), the distances of their codes, and the share
    of the nearer k-th neighbour's distance that they are."""

    a: Ids
    b: Ids
    view: Ids
    distance: Floats
    share: Floats

    @classmethod
    def joined(cls, parts: Sequence[Pairs]) -> Pairs:
        empty = cls(*(np.empty(0, np.int64) for _ in range(3)), *(np.empty(0, np.float32) for _ in range(2)))
        columns = zip(*((one.a, one.b, one.view, one.distance, one.share) for one in (empty, *parts)), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, chosen: np.ndarray) -> Pairs:
        return Pairs(self.a[chosen], self.b[chosen], self.view[chosen], self.distance[chosen], self.share[chosen])

    def rows(self) -> list[tuple[int, int]]:
        """Pairs of Python ints."""
        return list(zip(self.a.tolist(), self.b.tolist(), strict=True))


class Surroundings:
    """The neighbours of all pictures, by their codes (n, d)."""

    def __init__(self, codes: Floats) -> None:
        self._codes, self._nearest = codes, Nearest(codes)
        count = min(NEIGHBOURS, len(codes) - 1)
        self.distances = np.empty((len(codes), count), np.float32)
        self.rows = np.empty((len(codes), count), np.int64)
        for start in range(0, len(codes), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            self.distances[part], self.rows[part] = _others(*self._nearest(codes[part], count + 1), start)
        self.reach = self.distances[:, -1] if count else np.empty(len(codes), np.float32)
        self._dimension = self._measured()
        self._surely = SURELY * float(np.median(self.reach)) if count else 0.0

    def _measured(self) -> float:
        """The intrinsic dimension: the median of the maximum-likelihood estimates around each picture."""
        if self.distances.shape[1] < NEIGHBOURS:
            return FLATTEST
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.log(self.distances[:, -1:] / self.distances).mean(1)
        spread = spread[np.isfinite(spread) & (spread > 0)]
        return max(FLATTEST, float(1 / np.median(spread))) if len(spread) else FLATTEST

    def standing_out(self) -> Pairs:
        """Pairs of whole pictures whose codes are nearer than expected, each once, a < b."""
        count, most = self.rows.shape
        a = np.repeat(np.arange(count), most)
        found = self._near(a, self.rows.ravel(), self.distances.ravel(), -1, EXPECTED)
        a, b = np.minimum(found.a, found.b), np.maximum(found.a, found.b)
        _, once = np.unique(a * count + b, return_index=True)
        return Pairs(a, b, found.view, found.distance, found.share)[once]

    def near_views(self, rows: Ids, codes: Floats, view: int) -> Pairs:
        """Pairs of the view (b, d) of some pictures and another whole picture that are nearer than expected."""
        distances, others = self._nearest(codes, min(OF_VIEWS, len(self._codes)))
        a = np.repeat(rows, others.shape[1])
        found = self._near(a, others.ravel(), distances.ravel(), view, EXPECTED_OF_VIEW)
        return found[found.a != found.b]

    def _near(self, a: Ids, b: Ids, distances: Floats, view: int, expected: float) -> Pairs:
        reach = np.maximum(np.minimum(self.reach[a], self.reach[b]), 1e-6)
        share = (expected / max(self.rows.shape[1], 1)) ** (1 / self._dimension)
        if self.rows.shape[1] < NEIGHBOURS:
            share = np.inf  # too few to say what is expected: all may be copies
        near = (distances <= share * reach) | (distances <= self._surely)
        return Pairs(a, b, np.full(len(a), view), distances, distances / reach)[near]


def _others(distances: Floats, rows: Ids, first: int) -> tuple[Floats, Ids]:
    """Neighbours without the picture itself, which is among the nearest unless many codes are equal."""
    own = rows == np.arange(first, first + len(rows))[:, None]
    own[~own.any(1), -1] = True
    kept = ~own
    return distances[kept].reshape(len(rows), -1), rows[kept].reshape(len(rows), -1)


def most_outstanding(pairs: Pairs, count: int) -> Pairs:
    """The pairs that stand out most: so many as may be looked at among ``count`` pictures. Ordered by rows."""
    most = int(max(MOST * count, LEAST))
    chosen = pairs if len(pairs) <= most else pairs[np.argsort(pairs.share, kind="stable")[:most]]
    return chosen[np.lexsort((chosen.view, chosen.b, chosen.a))]


def likenesses(pairs: Pairs, survey: Survey, views: Sequence[View], extra_turn: int = 0) -> Iterator[float]:
    """How like the pictures of each pair are, at a glance. ``extra_turn`` turns what the first one shows once more."""
    straight: dict[int, Fingerprint] = {}
    last: tuple[tuple[int, int], Fingerprint] | None = None
    for (a, b), view in zip(pairs.rows(), pairs.view.tolist(), strict=True):
        if last is None or last[0] != (a, view):
            grey = survey.grey(a, None if view < 0 else views[view])
            last = (a, view), Fingerprint(grey[:, ::-1] if extra_turn else grey)
        if b not in straight:
            if len(straight) > AT_ONCE:
                straight.clear()
            straight[b] = Fingerprint(survey.grey(b))
        yield likeness(last[1], straight[b])
