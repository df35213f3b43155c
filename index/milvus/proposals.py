"""What a collection in Milvus proposes while it is in one state (``index.local.proposing.Proposals``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from index.forks import held
from index.local.proposing import Outdated
from index.local.snapshot import BLUR, NEAREST, stored_form
from index.milvus.collection import BATCH_IDS, MOST, Collection
from index.milvus.kinds import FLAT
from index.milvus.server import Refused
from index.milvus.state import State
from index.neighbours import import_faiss
from index.records import Floats, Ids, Metric

Pages = Callable[[], Iterator[tuple[Ids, Floats]]]
FIRST_TIES = 500  # candidates among which ties are looked for first


@dataclass(frozen=True)
class Proposals:
    """Candidates of a ``collection`` while it is in ``state``: after each answer its state is read again.

    ``pages`` yields the catalog's ids and codes: where Milvus gives too few hits, these are scanned.
    """

    collection: Collection
    state: State
    pages: Pages
    quantized = True
    most = MOST

    @property
    def generation(self) -> int:
        return self.state.generation

    @property
    def stamp(self) -> bytes:
        return self.state.stamp

    @property
    def metric(self) -> Metric:
        return self.collection.metric

    def __len__(self) -> int:
        return self.state.count

    def proposals_for(self, k: int) -> int:
        """As of quantized codes in FAISS."""
        return max(k, math.ceil(self.state.quality.candidates * math.sqrt(max(1.0, k / NEAREST))))

    def search(self, xq: Floats, k: int) -> Ids:
        """Ids (n, min(k, len)) of the codes nearest to queries (n, d), best first; -1 if Milvus saw too few.

        Milvus gives ``MOST`` hits. More, or all where its index may miss some, are found in the catalog's own codes.
        """
        k = min(k, len(self))
        if k == 0 or len(xq) == 0:
            return np.empty((len(xq), 0), np.int64)
        if k > MOST or (k == len(self) and self.state.kind != FLAT):
            return self._scanned(xq, k)[0]
        return self._asked(xq, k)[0]

    def search_among(self, xq: Floats, k: int, ids: Ids) -> Ids:
        """Ids of the ``k`` nearest to a query (1, d) among ``ids``: Milvus is given these to filter by."""
        parts = [ids[start : start + BATCH_IDS] for start in range(0, len(ids), BATCH_IDS)]
        found = list[Ids]()
        for part in parts:
            most = min(k, len(part), MOST)
            proposed = self._asked(xq, most, part)[0]
            found.append(proposed if (proposed >= 0).all() else part[None])  # its index lost some: all are ranked
        return np.concatenate(found, axis=1)

    def ties(self, query: Floats, ids: Ids) -> Ids:
        """All ids whose codes are at most as far from ``query`` (d,) as those of ``ids`` (n,), in float32."""
        k = FIRST_TIES
        while True:
            k = min(k, len(self))
            ask = self._scanned if k > MOST or k == len(self) else self._asked
            found, scores = ask(query[None], k)
            known = np.isin(found[0], ids)
            limit = self._worst(scores[0][known]) if known.any() else None
            near = np.ones(k, bool) if limit is None else self._as_near(scores[0], limit)
            if k == len(self) or (limit is not None and known.sum() == len(ids) and not near[-1]):
                return np.unique(np.concatenate([ids, found[0][near & (found[0] >= 0)]]))
            k *= 4

    def _worst(self, scores: Floats) -> float:
        """The worst of scores, with what may be an error of float32."""
        worst = float(scores.max() if self.metric == "euclidean" else scores.min())
        return worst + BLUR * max(1.0, abs(worst)) * (1 if self.metric == "euclidean" else -1)

    def _as_near(self, scores: Floats, limit: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.asarray(scores <= limit if self.metric == "euclidean" else scores >= limit)

    def lowest_of_equals(self, ids: Ids, k: int) -> Ids:
        """All of them: the catalog's codes, which tell what is equal, are not here."""
        return ids

    def _asked(self, xq: Floats, k: int, among: Ids | None = None) -> tuple[Ids, Floats]:
        """Ids and scores (n, k) from Milvus.

        Raises:
            Outdated: another process has begun to change the collection, or deleted it.
            IndexUnreachable: Milvus does not answer.
        """
        refused: Refused | None = None
        try:
            answer = self.collection.search(xq, k, self.state, among)
        except Refused as error:
            refused = error
        now = self.collection.state()
        if now is None or now.token != self.state.token:
            raise Outdated(f"the codes in {self.collection.server.address} are being changed; try again")
        if refused is not None:
            raise refused
        return answer

    @held()
    def _scanned(self, xq: Floats, k: int) -> tuple[Ids, Floats]:
        """Ids and scores (n, k) of the nearest of all codes of the catalog."""
        faiss, xq = import_faiss(), stored_form(xq, self.metric)
        is_far = self.metric == "euclidean"
        kind = faiss.METRIC_L2 if is_far else faiss.METRIC_INNER_PRODUCT
        ids, scores = np.empty((len(xq), 0), np.int64), np.empty((len(xq), 0), np.float32)
        for page, codes in self.pages():
            some, rows = faiss.knn(xq, stored_form(codes, self.metric), min(k, len(page)), metric=kind)
            ids, scores = np.concatenate([ids, page[rows]], axis=1), np.concatenate([scores, some], axis=1)
            order = np.argsort(scores if is_far else -scores, axis=1, kind="stable")[:, :k]
            ids, scores = np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)
        return ids, scores
