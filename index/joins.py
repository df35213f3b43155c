"""Joins: every pair of codes within a distance, block by block, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from index.errors import JoinTooWide
from index.forks import held
from index.neighbours import import_faiss
from index.records import Floats, Ids

BLOCK = 4096  # rows that are compared with all others at once
PAIRS_MOST = 20_000_000  # for one block: a quarter of a gigabyte
TRIED = 16  # rows of a block to estimate its number of pairs from
MARGIN = 1e-3  # of squared distances, for errors of float32; distances are computed again in float64


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows (n,) with their Euclidean distances (n,), nearest first."""

    a: Ids
    b: Ids
    distances: Floats

    def __len__(self) -> int:
        return len(self.a)

    def rows(self) -> list[tuple[int, int]]:
        """Pairs of Python ints."""
        return list(zip(self.a.tolist(), self.b.tolist(), strict=True))


def close_pairs(codes: Floats, within: float, block: int = BLOCK) -> Iterator[Pairs]:
    """Yield all pairs of rows a < b of ``codes`` (n, d) with a distance of at most ``within``, block by block of a.

    Raises:
        JoinTooWide: ``within`` is so large that nearly all pairs are within it.
    """
    for start in range(0, len(codes), block):
        _see_that_it_is_narrow(codes[start : start + block], codes[start:], within)
        pairs = _near(codes[start : start + block], codes[start:], within)
        ahead = pairs.a < pairs.b  # each pair once, and no row with itself
        yield Pairs(pairs.a[ahead] + start, pairs.b[ahead] + start, pairs.distances[ahead])


def cross_pairs(xq: Floats, xb: Floats, within: float, block: int = BLOCK) -> Iterator[Pairs]:
    """Yield all pairs of a row of ``xq`` (n, d) and a row of ``xb`` (m, d) with a distance of at most ``within``.

    Raises as ``close_pairs``.
    """
    for start in range(0, len(xq), block):
        _see_that_it_is_narrow(xq[start : start + block], xb, within)
        pairs = _near(xq[start : start + block], xb, within)
        yield Pairs(pairs.a + start, pairs.b, pairs.distances)


def _see_that_it_is_narrow(xq: Floats, xb: Floats, within: float) -> None:
    """Estimate the pairs of a block from some of its rows, before all of them fill the memory."""
    expected = len(_near(xq[:: max(1, len(xq) // TRIED)][:TRIED], xb, within)) * len(xq) / min(len(xq), TRIED)
    if expected > PAIRS_MOST:
        raise JoinTooWide(
            f"{expected:,.0f} pairs lie within {within:g} of {len(xq):,} codes; choose a smaller distance"
        )


@held()
def _near(xq: Floats, xb: Floats, within: float) -> Pairs:
    faiss = import_faiss()
    xq, xb = np.ascontiguousarray(xq), np.ascontiguousarray(xb)
    result = faiss.RangeSearchResult(len(xq))
    radius = within**2 * (1 + 1e-5) + MARGIN
    faiss.range_search_L2sqr(
        faiss.swig_ptr(xq), faiss.swig_ptr(xb), xq.shape[1], len(xq), len(xb), float(radius), result
    )
    limits = faiss.rev_swig_ptr(result.lims, len(xq) + 1).astype(np.int64)
    a = np.repeat(np.arange(len(xq)), np.diff(limits))
    b = faiss.rev_swig_ptr(result.labels, int(limits[-1])).astype(np.int64) if limits[-1] else np.empty(0, np.int64)
    distances = _distances(xq, xb, a, b)
    order = np.lexsort((b, a, distances))
    order = order[distances[order] <= within]
    return Pairs(a[order], b[order], distances[order].astype(np.float32))


def _distances(xq: Floats, xb: Floats, a: Ids, b: Ids) -> np.ndarray:
    """Euclidean distances in float64, 100,000 pairs at a time."""
    parts = [slice(start, start + 100_000) for start in range(0, len(a), 100_000)]
    found = [np.linalg.norm(xq[a[part]].astype(np.float64) - xb[b[part]], axis=1) for part in parts]
    return np.concatenate([np.empty(0), *found])
