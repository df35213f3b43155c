"""Merge two orders of pictures: that of codes, and that of words about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrieval.searcher import Hit

CONSTANT = 60  # of reciprocal rank fusion, as its authors found best
DEEP = 200  # hits of each order that are merged, at least


def fused(hits: Sequence[Hit], others: Sequence[Hit], named: Sequence[int], wanted: int) -> list[Hit]:
    """The best by the sum of 1 / (60 + rank) in both orders (reciprocal rank fusion: Cormack et al., SIGIR 2009).

    ``hits`` are ordered by their codes. ``named`` are the ids of pictures that have the words, best first; of those
    that are not among ``hits``, ``others`` has the hits.
    """
    places = {number: rank for rank, number in enumerate(named, 1)}
    known = {hit.id: hit for hit in (*others, *hits)}
    score = {hit.id: 1 / (CONSTANT + hit.rank) for hit in hits}
    for number in known:
        if number in places:
            score[number] = score.get(number, 0.0) + 1 / (CONSTANT + places[number])
    best = sorted(score, key=lambda number: (-score[number], known[number].distance, number))[:wanted]
    return [replace(known[number], rank=rank) for rank, number in enumerate(best, 1)]
