"""How many wrong pairs are to be expected, and what that demands of a pair.

It is measured on pairs of the collection that cannot be copies, or hardly can: pictures beside the mirror images of
their neighbours, and neighbours whose codes are no nearer than their surroundings explain. The latter have the layout
of the collection, such as that of its forms or slides, and other content. The share of these decoys that would be taken
for copies is too small to count, so it is extrapolated: the shares of tiles that disagree in the ones that disagree
least follow a power law near their end (Hill, Annals of Statistics 1975).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.copies.candidates import NEIGHBOURS, Surroundings
from retrieval.copies.features import Features
from retrieval.copies.judging import Judges
from retrieval.copies.likeness import likeness, spectrum
from retrieval.copies.proposals import LIKE, MIRRORED, Proposal
from retrieval.copies.verdict import AGREES

SAMPLE = 1000  # pictures whose neighbours are decoys
JUDGED = 200  # decoys that are looked at: the ones that are most alike
FEWEST, NEAREST = 100, 10  # decoys that allow an estimate; the ones of them whose end is fitted
RANKS = (19, 34, 49)  # of neighbours that hardly are copies
RANK_MIRRORED = 4  # of the neighbour that a mirror image is laid beside
COPIES = 0.02  # share of tiles: decoys that are copies and disagree in less are mirrored copies, no accidents


@dataclass(frozen=True)
class Promise:
    """At most the share ``allowed`` of the tiles of a copy may disagree; then ``expected`` wrong pairs are to be
    expected, None if the collection is too small to tell. It was estimated from so many decoys."""

    allowed: float
    expected: float | None
    estimated_from: int


def promise_of(disagree: Sequence[float], decoys: int, pairs: int, false_matches: float) -> Promise:
    """The promise for so many ``pairs`` that are looked at, by the shares ``disagree`` of the decoys that were looked
    at out of ``decoys``, all others being less alike."""
    allowed = 1 - AGREES
    if decoys < FEWEST or len(disagree) < NEAREST:
        return Promise(allowed, None, 0)
    nearest = np.maximum(np.sort(disagree)[:NEAREST], 1e-4)
    spread = max(float(np.log(nearest[-1] / nearest).mean()), 1e-3)
    end, share = float(nearest[-1]), pairs * NEAREST / decoys
    log_expected = math.log(max(share, 1e-9)) + math.log(allowed / end) / spread
    if log_expected > math.log(false_matches):
        allowed = end * math.exp(spread * math.log(false_matches / share))
        log_expected = math.log(false_matches)
    return Promise(min(allowed, 1 - AGREES), math.exp(log_expected), decoys)


def measured(
    surroundings: Surroundings, features: Features, judges: Judges, pairs: int, false_matches: float
) -> Promise:
    """Measure the promise on the decoys of a collection."""
    rows = np.flatnonzero(~features.faint)
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:SAMPLE])
    if surroundings.rows.shape[1] < NEIGHBOURS or not len(rows):
        return Promise(1 - AGREES, None, 0)
    decoys = [Proposal(a, b, None, MIRRORED) for a, b in _pairs(rows, surroundings.rows[rows, RANK_MIRRORED], features)]
    for rank in RANKS:
        decoys += [Proposal(a, b) for a, b in _pairs(rows, surroundings.rows[rows, rank], features)]
    likes = [_like(features, one) for one in decoys]
    order = np.argsort(likes, kind="stable")[::-1][:JUDGED].tolist()
    most = [decoys[one] for place, one in enumerate(order) if place < 2 * NEAREST or likes[one] >= LIKE]
    found = [verdict for verdict, _ in judges.of(most)]
    disagree = [1 - one.alike for one in found if one.answer != "copy" or 1 - one.alike >= COPIES]
    return promise_of(disagree, len(decoys), pairs, false_matches)


def _like(features: Features, one: Proposal) -> float:
    grey = features.greys[one.a]
    return likeness(
        spectrum(np.ascontiguousarray(grey[:, ::-1]) if one.turn else grey), spectrum(features.greys[one.b])
    )


def _pairs(rows: np.ndarray, others: np.ndarray, features: Features) -> list[tuple[int, int]]:
    return [(a, b) for a, b in zip(rows.tolist(), others.tolist(), strict=True) if b >= 0 and not features.faint[b]]
