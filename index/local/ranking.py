"""Exact ranking: FAISS or Milvus propose candidates, and the catalog's codes order them in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from index.local.passing import Passing
from index.local.proposing import Proposals
from index.records import Floats, Ids, Metric

Ranked = list[tuple[int, float, float]]
"""(id, Euclidean distance, cosine similarity), nearest first, ties by ascending id."""
CodesOf = Callable[[Sequence[int]], tuple[Ids, Floats]]

QUERIES_AT_ONCE = 1024
CODES_AT_ONCE = 200_000  # candidates of all these queries
NOTHING = -2  # an id that no picture has and FAISS never proposes
SPARE = 8  # candidates beyond k that FAISS proposes
FEW = 2000  # if a filter passes at most so many pictures, all are ranked, without FAISS
AS_MANY = 1.0  # or as many times as FAISS would have to propose: to look at these alone costs no more
RARE = 0.005  # share that passes a filter, below which all that pass are listed first
MANY = 50_000  # candidates; rather than ask for more, all that pass are listed


@dataclass(frozen=True)
class Search:
    """One search: the source of candidates, ``k``, the metric, and what a filter lets pass; None lets all pass.

    In the methods, ``unwanted`` holds for each query the ids to exclude.
    """

    snapshot: Proposals
    codes_of: CodesOf
    k: int
    metric: Metric
    passing: Passing | None = None

    def ranked(self, xq: Floats, unwanted: Sequence[set[int]]) -> list[Ranked]:
        """The ``k`` nearest to each query (n, d), nearest first, ties by ascending id."""
        proposals = self._first_proposals(unwanted)
        few = max(FEW, int(AS_MANY * proposals))
        if proposals > self.snapshot.most:
            few = max(few, len(self.snapshot))  # however many pass, to name them costs less than a scan
        if self._few_pass(few):
            return self._of_few(xq, unwanted)
        at_once = max(1, min(QUERIES_AT_ONCE, CODES_AT_ONCE // proposals))
        parts = [slice(start, start + at_once) for start in range(0, len(xq), at_once)]
        return [hits for part in parts for hits in self._part(xq[part], unwanted[part])]

    def _few_pass(self, few: int) -> bool:
        """Whether a filter lets at most ``few`` pass, so that all of them are ranked."""
        passing = self.passing
        if passing is None or (passing.share >= RARE and passing.share * len(self.snapshot) > few):
            return False
        return len(passing.all()) <= few

    def _of_few(self, xq: Floats, unwanted: Sequence[set[int]]) -> list[Ranked]:
        """The ranking of all that pass; of their quantized codes first, if these are not so few."""
        assert self.passing is not None
        few, wanted = self.passing.all(), self._candidates(unwanted)
        if self.snapshot.quantized and len(few) > max(FEW, wanted):
            return [self._of_some(query[None], few, wanted, out) for query, out in zip(xq, unwanted, strict=True)]
        ids, codes = self.codes_of(few.tolist())
        return [self._best(query, ids, codes, out)[: self.k] for query, out in zip(xq, unwanted, strict=True)]

    def _of_some(self, query: Floats, few: Ids, wanted: int, unwanted: set[int]) -> Ranked:
        """The best of ``few`` (n,) for a query (1, d), by the quantized codes of all and the codes of ``wanted``."""
        ids, codes = self.codes_of(np.unique(self.snapshot.search_among(query, wanted, few)).tolist())
        best = self._best(query[0], ids, codes, unwanted)
        if _is_tied(best, self.k):
            best = self._with_ties(query[0], best[: self.k], unwanted)
        return best[: self.k]

    def _candidates(self, unwanted: Sequence[set[int]]) -> int:
        """Number of candidates among which the ``k`` nearest are, if all pass."""
        return self.snapshot.proposals_for(self.k + max(map(len, unwanted), default=0) + SPARE)

    def _first_proposals(self, unwanted: Sequence[set[int]]) -> int:
        """Number of candidates of which ``k`` usually remain: few pass a narrow filter."""
        share = 1.0 if self.passing is None else self.passing.share
        return math.ceil(self._candidates(unwanted) / min(1.0, max(share, 1e-9)))

    def _part(self, xq: Floats, unwanted: Sequence[set[int]]) -> list[Ranked]:
        found, open_rows = dict[int, Ranked](), list(range(len(xq)))
        wanted = self._first_proposals(unwanted)
        while open_rows:
            proposed = self.snapshot.search(xq[open_rows], wanted)
            known, codes = self.codes_of(self._allowed_of(np.unique(proposed)).tolist())
            places = np.searchsorted(known, proposed)
            is_known = np.append(known, NOTHING)[places] == proposed
            for at, row in enumerate(open_rows):
                left = places[at, is_known[at]]
                found[row] = self._best(xq[row], known[left], codes[left], unwanted[row])
            if wanted >= len(self.snapshot):
                break
            for row in open_rows:
                if _is_tied(found[row], self.k):
                    found[row] = self._with_ties(xq[row], found[row][: self.k], unwanted[row])
            open_rows = [row for row in open_rows if len(found[row]) < self.k]
            wanted = 4 * wanted
            if open_rows and self.passing is not None and wanted > MANY and len(self.passing.all()) <= FEW:
                some = self._of_few(xq[open_rows], [unwanted[row] for row in open_rows])
                found |= dict(zip(open_rows, some, strict=True))
                break
        return [found[row][: self.k] for row in range(len(xq))]

    def _allowed_of(self, ids: Ids) -> Ids:
        return ids if self.passing is None else self.passing.among(ids)

    def _best(self, query: Floats, ids: Ids, codes: Floats, unwanted: set[int]) -> Ranked:
        """The best of candidates (n,) with ``codes`` (n, d), in exact order; some more than ``k``, to see ties."""
        if unwanted:
            stays = ~np.isin(ids, list(unwanted))
            ids, codes = ids[stays], codes[stays]
        return _ranked(query, ids, codes, self.metric, self.k + SPARE)

    def _with_ties(self, query: Floats, best: Ranked, unwanted: set[int]) -> Ranked:
        """The best of all codes that tie with ``best``. One scan of the codes finds them, however many there are."""
        tied = self._allowed_of(np.unique(self.snapshot.ties(query, np.array([one for one, _, _ in best]))))
        tied = self.snapshot.lowest_of_equals(tied[~np.isin(tied, list(unwanted))], self.k)
        ids, codes = self.codes_of(tied.tolist())
        return self._best(query, ids, codes, unwanted)


def _ranked(query: Floats, ids: Ids, codes: Floats, metric: Metric, most: int) -> Ranked:
    """The best ``most`` of candidates (n,) with ``codes`` (n, d), in exact order."""
    xb, xq = codes.astype(np.float64), query.astype(np.float64)
    distances = np.linalg.norm(xb - xq, axis=1)
    norms = np.linalg.norm(xb, axis=1) * np.linalg.norm(xq)
    similarities = xb @ xq / np.maximum(norms, np.finfo(np.float64).tiny)
    order = np.lexsort((ids, distances if metric == "euclidean" else -similarities))[:most]
    return [(int(ids[i]), float(distances[i]), float(similarities[i])) for i in order]


def _is_tied(found: Ranked, k: int) -> bool:
    """Whether the last candidate ties with the k-th in float32, so that more ties may be missing."""
    if len(found) <= k:
        return False
    (_, far, alike), (_, farthest, least) = found[k - 1], found[-1]
    return abs(alike - least) < 1e-6 or abs(far - farthest) < 1e-6 * max(1.0, farthest)
