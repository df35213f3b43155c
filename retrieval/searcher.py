"""Queries of an index: read only, from any number of threads at once."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from index.records import Direction, Found, Metric, Neighbour
from index.where import Where
from retrieval.arrays import Floats, Pixels
from retrieval.errors import NoDirection, PathError, PictureRefused
from retrieval.explore.novelty import SAMPLE, novelty
from retrieval.opened import Opened
from retrieval.seen import Seen, look_at_all

if TYPE_CHECKING:
    from retrieval.pictures.given import Given as Query

PAGE = 5000  # pictures read from the index at once


@dataclass(frozen=True)
class Hit:
    """A picture that a query found. ``path`` is absolute, ``distance`` Euclidean, ``similarity`` the cosine. ``copies``
    are the paths of further hits that it stands for, if copies were collapsed."""

    rank: int
    path: str
    distance: float
    similarity: float
    realism: float
    width: int
    height: int
    id: int
    copies: tuple[str, ...] = ()

    def __repr__(self) -> str:
        more = f", +{len(self.copies)} copies" if self.copies else ""
        return f"Hit({self.rank}, {self.path!r}, distance {self.distance:.3f}, similarity {self.similarity:.4f}{more})"

    @property
    def is_gone(self) -> bool:
        """Whether the file is no longer there now. The index learns of that by an update."""
        return not os.path.lexists(self.path)


class Searcher(Opened):
    """An index, opened for queries.

    >>> with Searcher.open("photos.latent") as searcher:   # doctest: +SKIP
    ...     hits = searcher.query("face.jpg", k=10)

    Each answer reads one state of the index, even if a writer changes it meanwhile. After a fork the child opens
    connections and sessions of its own.
    """

    _looks: tuple[int, Floats] | None = None

    def query(
        self, picture: Query, k: int = 10, *, metric: Metric = "euclidean", where: Where | None = None
    ) -> list[Hit]:
        """Return the ``k`` pictures nearest to a path, to uint8 (h, w, 3) or to one of Pillow's pictures, best first.

        ``where`` filters the hits. An indexed picture is left out of its own hits.

        Raises:
            PictureRefused: the path cannot be read as a picture.
            ValueError: ``k`` is below 1, or there is no such metric.
            TypeError: ``k`` is no whole number, or the picture no picture.
        """
        return self.query_batch([picture], k, metric=metric, where=where)[0]

    def query_batch(
        self, queries: Sequence[Query], k: int = 10, *, metric: Metric = "euclidean", where: Where | None = None
    ) -> list[list[Hit]]:
        """As ``query``, for several pictures. They are encoded in batches."""
        if not queries:
            return []
        seen: list[Seen] = []
        for look in look_at_all(self, queries):
            if isinstance(look, PictureRefused):
                raise look
            seen.append(look)
        codes = np.stack([one.code for one in seen])
        return self.query_codes(codes, k, metric=metric, left_out=[one.ids for one in seen], where=where)

    def query_codes(
        self,
        xq: Floats,
        k: int = 10,
        *,
        metric: Metric = "euclidean",
        left_out: Sequence[Collection[int]] | None = None,
        where: Where | None = None,
    ) -> list[list[Hit]]:
        """As ``query``, for codes float32 (n, d). ``left_out`` holds for each code the ids to exclude.

        Raises:
            ValueError: ``k`` is below 1, there is no such metric, or the codes have another shape.
        """
        if not isinstance(k, Integral):
            raise TypeError(f"k must be a whole number, not {k!r}, which is of type {type(k).__name__}")
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if metric not in ("euclidean", "cosine"):
            raise ValueError(f"metric must be euclidean or cosine, not {metric!r}")
        dim = self.latent_dim
        if xq.ndim != 2 or xq.shape[1] != dim:
            raise ValueError(f"codes must be (n, {dim}), not {xq.shape}")
        found = self.index.search(xq, k, metric, left_out, where)
        return [[_hit(rank, one) for rank, one in enumerate(hits, 1)] for hits in found]

    def look_at(self, picture: Query) -> Seen:
        """Return code, realism and spread of one picture. An indexed file that did not change is not read again.

        Raises:
            PictureRefused: the path cannot be read as a picture.
        """
        (look,) = look_at_all(self, [picture])
        if isinstance(look, PictureRefused):
            raise look
        return look

    def novelty(self, seen: Seen) -> float | None:
        """Novelty of a picture: the share of the collection that is less novel.

        None if the collection is too small to tell (``retrieval.explore.novelty``).
        """
        generation = self.index.rows.meta().generation
        if self._looks is None or self._looks[0] != generation:  # read once for all pictures
            self._looks = (generation, self.index.rows.some_looks(SAMPLE))
        return novelty(self._looks[1], seen.realism, seen.spread)

    def unfamiliarity(self, seen: Seen) -> float | None:
        """The share of what the model learnt that is less far from its average than a picture; None if not known."""
        learnt = self.model.learnt
        if learnt is None:
            return None
        return float(learnt.unfamiliarity(np.array([[seen.realism, seen.spread]], np.float32))[0])

    def directions(self) -> dict[str, Direction]:
        """The directions that are stored in the index, by name."""
        return self.index.notes.directions()

    def direction(self, name: str) -> Direction:
        """Return the direction of that name.

        Raises:
            NoDirection: there is none of that name.
        """
        known = self.directions()
        if name not in known:
            raise NoDirection(f"this index knows no direction {name!r}; it knows {', '.join(known) or 'none'}")
        return known[name]

    def kept_apart(self) -> set[frozenset[bytes]]:
        """Pairs of content hashes that the user marked as not copies."""
        return self.index.notes.kept_apart()

    def decode(self, hits: Sequence[Hit] | Floats, scale: float | None = None) -> Pixels:
        """Decode hits, or codes (n, d), to uint8 (n, s, s, 3). ``scale`` as in ``Model.decode``.

        Raises:
            ModelError: this index has no generator.
            PathError: a hit was removed from the index after the query.
        """
        if isinstance(hits, np.ndarray):
            return self.model.decode(hits, scale)
        codes = self.index.rows.codes([hit.id for hit in hits])
        for hit in hits:
            if hit.id not in codes:
                raise PathError(f"{hit.path} is no longer in this index; ask again")
        matrix = np.stack([codes[hit.id] for hit in hits]) if hits else np.empty((0, self.model.latent_dim), np.float32)
        return self.model.decode(matrix, scale)

    def found(self) -> Iterator[tuple[list[Found], Floats]]:
        """Yield all pictures that can be found, some thousand at a time, with codes (b, d).

        Each page is read in its own transaction, so a slow reader blocks no writer. Later pages may show newer states.
        """
        last = 0
        while True:
            pictures, codes = self.index.rows.found_page(last, PAGE)
            if not pictures:
                return
            yield pictures, codes
            last = pictures[-1].id


def _hit(rank: int, one: Neighbour) -> Hit:
    its = one.picture
    return Hit(rank, its.path, one.distance, one.similarity, its.realism, its.width_px, its.height_px, its.id)
