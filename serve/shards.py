"""What another ``latent`` asks of the index, to search it together with others. No answer names a path of this
machine."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from index.exact import heard
from serve import records_of_shards as records
from serve.codes import read_codes
from serve.collection import place_of, roots_of
from serve.errors import Refused

if TYPE_CHECKING:
    from index.door import Index
    from index.records import Meta, Neighbour

TRIES = 3  # to answer of one generation, if a writer comes between
BUSY = Refused(503, "index_busy", "the index is being written; ask again")


class Shard:
    """An index, asked by another program that searches several. Any thread may ask."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def facts(self) -> records.ShardFacts:
        meta = self._index.rows.meta()
        return records.ShardFacts(
            model_digest=meta.model_digest,
            model=meta.model_name,
            latent_dim=meta.latent_dim,
            standardized=meta.standardized,
            generation=meta.generation,
            stamp=meta.stamp.hex(),
            pictures=meta.found,
        )

    def search(self, asked: records.Searched) -> records.ShardHits:
        meta = self._index.rows.meta()
        codes = read_codes(asked.codes, meta.latent_dim)
        out = asked.left_out if asked.left_out is not None else [[] for _ in codes]
        if len(codes) > records.QUERIES_MOST or len(codes) * asked.k > records.HITS_MOST or len(out) != len(codes):
            raise Refused(400, "bad_words", f"at most {records.HITS_MOST} hits, and as many left_out as codes")
        where = None if asked.where is None else heard(asked.where)
        for _ in range(TRIES):
            found = self._index.search(codes, asked.offset + asked.k, asked.metric, out, where)
            before, meta = meta, self._index.rows.meta()
            if before.generation == meta.generation:
                return self._hits(meta, [hits[asked.offset :] for hits in found])
        raise BUSY

    def count(self, asked: records.Counted) -> records.ShardCount:
        return records.ShardCount(model_digest=self._digest(), pictures=self._index.rows.count(heard(asked.where)))

    def codes(self, asked: records.Wanted) -> records.ShardCodes:
        known = self._index.rows.codes(list(dict.fromkeys(asked.ids)))
        codes = np.stack(list(known.values())) if known else np.empty((0, 0), np.float32)
        return records.ShardCodes(
            model_digest=self._digest(), ids=_column(list(known), "<i8"), codes=_column(codes, "<f4")
        )

    def words(self, asked: records.Worded) -> records.ShardIds:
        return records.ShardIds(
            model_digest=self._digest(), ids=_column(self._index.rows.with_words(asked.text), "<i8")
        )

    def looks(self, asked: records.Looked) -> records.ShardLooks:
        return records.ShardLooks(
            model_digest=self._digest(), looks=_column(self._index.rows.some_looks(asked.count), "<f4")
        )

    def _digest(self) -> str:
        return self._index.rows.meta().model_digest

    def _hits(self, meta: Meta, found: Sequence[Sequence[Neighbour]]) -> records.ShardHits:
        hits, roots = [hit for some in found for hit in some], roots_of(self._index)
        pictures = [hit.picture for hit in hits]
        places = [place_of(one.path, roots) for one in pictures]
        return records.ShardHits(
            model_digest=meta.model_digest,
            generation=meta.generation,
            counts=[len(some) for some in found],
            ids=_column([one.id for one in pictures], "<i8"),
            distances=_column([hit.distance for hit in hits], "<f8"),
            similarities=_column([hit.similarity for hit in hits], "<f8"),
            realism=_column([one.realism for one in pictures], "<f8"),
            spread=_column([one.spread for one in pictures], "<f8"),
            unfamiliarity=_column(np.array([one.unfamiliarity for one in pictures], float), "<f8"),
            width=_column([one.width_px for one in pictures], "<i8"),
            height=_column([one.height_px for one in pictures], "<i8"),
            size_bytes=_column([one.size_bytes for one in pictures], "<i8"),
            mtime_ns=_column([one.mtime_ns for one in pictures], "<i8"),
            hashes=[one.content_hash.hex() for one in pictures],
            names=[name for name, _ in places],
            folders=[folder for _, folder in places],
        )


def _column(numbers: npt.ArrayLike, kind: str) -> str:
    return base64.b64encode(np.asarray(numbers, kind).tobytes()).decode("ascii")
