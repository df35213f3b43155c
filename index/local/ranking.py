"""FAISS proposes, the catalog's codes decide: the exact order, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from index.local.snapshot import Snapshot
from index.records import Floats, Ids, Metric

Ranked = list[tuple[int, float, float]]
"""Ids with Euclidean distance and cosine similarity, nearest first, equals by ascending id."""
CodesOf = Callable[[Sequence[int]], tuple[Ids, Floats]]

QUERIES_AT_ONCE = 1024
CODES_AT_ONCE = 200_000  # candidates of all these queries together
NOTHING = -2  # an id that neither a picture has nor FAISS proposes
SPARE = 8  # candidates beyond k that FAISS proposes


def ranked_search(
    snapshot: Snapshot, codes_of: CodesOf, xq: Floats, k: int, metric: Metric, unwanted: Sequence[set[int]]
) -> list[Ranked]:
    """The ``k`` nearest to each query (n, d) but ``unwanted``, nearest first, equals by ascending id."""
    at_once = max(1, min(QUERIES_AT_ONCE, CODES_AT_ONCE // snapshot.proposals_for(k)))
    parts = [slice(start, start + at_once) for start in range(0, len(xq), at_once)]
    return [hits for part in parts for hits in _search_part(snapshot, codes_of, xq[part], k, metric, unwanted[part])]


def _search_part(
    snapshot: Snapshot, codes_of: CodesOf, xq: Floats, k: int, metric: Metric, unwanted: Sequence[set[int]]
) -> list[Ranked]:
    found, open_rows = dict[int, Ranked](), list(range(len(xq)))
    most = k + max(map(len, unwanted)) + SPARE
    wanted = snapshot.proposals_for(most)
    while open_rows:
        proposed = snapshot.search(xq[open_rows], wanted)
        known, codes = codes_of(np.unique(proposed).tolist())
        places = np.searchsorted(known, proposed)
        is_known = np.append(known, NOTHING)[places] == proposed
        for at, row in enumerate(open_rows):
            left = places[at, is_known[at] & ~np.isin(proposed[at], list(unwanted[row]))]
            found[row] = _ranked(xq[row], known[left], codes[left], metric, most)
        if wanted >= len(snapshot):
            break
        for row in open_rows:
            if _is_tied(found[row], k):
                found[row] = _with_ties(snapshot, codes_of, xq[row], found[row][:k], metric, unwanted[row])
        open_rows = [row for row in open_rows if len(found[row]) < k]
        most, wanted = 4 * most, 4 * wanted
    return [found[row][:k] for row in range(len(xq))]


def _ranked(query: Floats, ids: Ids, codes: Floats, metric: Metric, most: int) -> Ranked:
    """The best ``most`` of candidates (n,) with ``codes`` (n, d), in their exact order."""
    xb, xq = codes.astype(np.float64), query.astype(np.float64)
    distances = np.linalg.norm(xb - xq, axis=1)
    norms = np.linalg.norm(xb, axis=1) * np.linalg.norm(xq)
    similarities = xb @ xq / np.maximum(norms, np.finfo(np.float64).tiny)
    order = np.lexsort((ids, distances if metric == "euclidean" else -similarities))[:most]
    return [(int(ids[i]), float(distances[i]), float(similarities[i])) for i in order]


def _is_tied(found: Ranked, k: int) -> bool:
    """Whether the last candidate ties with the k-th, as far as float32 can tell, so that others like it may be left."""
    if len(found) <= k:
        return False
    (_, far, alike), (_, farthest, least) = found[k - 1], found[-1]
    return abs(alike - least) < 1e-6 or abs(far - farthest) < 1e-6 * max(1.0, farthest)


def _with_ties(
    snapshot: Snapshot, codes_of: CodesOf, query: Floats, best: Ranked, metric: Metric, unwanted: set[int]
) -> Ranked:
    """The best of all that tie with ``best``, which one look over the codes gives, however many there are."""
    candidates = set(snapshot.ties(query, np.array([one for one, _, _ in best])).tolist()) - unwanted
    ids, codes = codes_of(sorted(candidates))
    return _ranked(query, ids, codes, metric, len(best))
