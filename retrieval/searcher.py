"""Queries of an index: read only, from any number of threads at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Literal

import numpy as np

from index.records import Direction, Found, Metric, Neighbour
from index.served.address import is_served
from index.where import Fact
from retrieval.arrays import Floats, Pixels
from retrieval.errors import NoDirection, PathError, PictureRefused
from retrieval.explore.novelty import SAMPLE, novelty, unusual
from retrieval.filters import Filter, where_of
from retrieval.opened import Opened
from retrieval.roots.opening import is_gone
from retrieval.roots.regions import first_of_each_picture
from retrieval.seen import Seen, look_at_all

if TYPE_CHECKING:
    from retrieval.pictures.given import Given as Query
    from retrieval.questions import Answer, Liked

PAGE = 5000  # pictures read from the index at once
K, MOST = 10, 2**31  # hits of a query by default, and at most
WITHIN_FIRST, WIDENED = 100, 4  # hits that are asked for first to find all within a distance, and how many times more

Order = Fact | Literal["path", "novelty"]


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
        return not self.is_elsewhere and is_gone(self.path)

    @property
    def is_elsewhere(self) -> bool:
        """Whether an index that is served elsewhere found it. Then its path is only text: the address of the server,
        folder and name."""
        return is_served(self.path)


class Searcher(Opened):
    """An index, opened for queries.

    >>> with Searcher.open("photos.latent") as searcher:   # doctest: +SKIP
    ...     hits = searcher.query("face.jpg", k=10)

    Each answer reads one state of the index, even if a writer changes it meanwhile. After a fork the child opens
    connections and sessions of its own.
    """

    _looks: tuple[int, Floats] | None = None

    def query(
        self,
        picture: Query,
        k: int | None = None,
        *,
        metric: Metric = "euclidean",
        where: Filter | None = None,
        within: float | None = None,
        offset: int = 0,
    ) -> list[Hit]:
        """Return the ``k`` pictures nearest to a path, to uint8 (h, w, 3) or to one of Pillow's pictures, best first.
        An indexed picture is left out of its own hits. Of a picture whose tiles are indexed, the nearest tile is a hit.

        Args:
            k: the most hits; by default ten, and with ``within`` all.
            where: filters the hits; as data, or in words (``index.grammar``): ``taken >= 2024-06 and width >= 2000``.
            within: the largest Euclidean distance.
            offset: so many hits are left out, the best first.

        Raises:
            PictureRefused: the path cannot be read as a picture.
            FilterError: ``where`` cannot be read.
            ValueError: ``k`` is below 1, ``within`` or ``offset`` below 0, or there is no such metric.
            TypeError: ``k`` is no whole number, or the picture no picture.
        """
        return self.query_batch([picture], k, metric=metric, where=where, within=within, offset=offset)[0]

    def query_batch(
        self,
        queries: Sequence[Query],
        k: int | None = None,
        *,
        metric: Metric = "euclidean",
        where: Filter | None = None,
        within: float | None = None,
        offset: int = 0,
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
        left_out = [one.ids for one in seen]
        return self.query_codes(codes, k, metric=metric, left_out=left_out, where=where, within=within, offset=offset)

    def query_codes(
        self,
        xq: Floats,
        k: int | None = None,
        *,
        metric: Metric = "euclidean",
        left_out: Sequence[Collection[int]] | None = None,
        where: Filter | None = None,
        within: float | None = None,
        offset: int = 0,
    ) -> list[list[Hit]]:
        """As ``query``, for codes float32 (n, d). ``left_out`` holds for each code the ids to exclude.

        Raises:
            FilterError: ``where`` cannot be read.
            ValueError: ``k`` is below 1, ``within`` or ``offset`` below 0, there is no such metric, or the codes have
                another shape.
        """
        most = checked_most(k, within, offset)
        if metric not in ("euclidean", "cosine"):
            raise ValueError(f"metric must be euclidean or cosine, not {metric!r}")
        dim = self.latent_dim
        if xq.ndim != 2 or xq.shape[1] != dim:
            raise ValueError(f"codes must be (n, {dim}), not {xq.shape}")
        if within is not None and metric == "cosine" and not self.model.standardized:
            raise ValueError("within is a Euclidean distance, by which these hits are not ordered")
        every = len(self)
        wanted = min(most + offset, every)
        first = wanted if within is None else min(wanted, WITHIN_FIRST)
        limit = math.inf if within is None else within
        filter_, narrowed = where_of(self, where), self._narrowing(left_out)
        while True:
            found = self.index.search(xq, max(1, first), metric, left_out, filter_)
            hits = [narrowed(row, some) for row, some in enumerate(found)]
            is_enough = (
                len(its) >= wanted or len(some) < first or some[-1].distance > limit
                for its, some in zip(hits, found, strict=True)
            )
            if first >= every or all(is_enough):
                break
            first = min(every, WIDENED * first)
        near = [[_hit(rank, one) for rank, one in enumerate(some, 1) if one.distance <= limit] for some in hits]
        return [some[offset : most + offset] for some in near]

    def _narrowing(
        self, left_out: Sequence[Collection[int]] | None
    ) -> Callable[[int, list[Neighbour]], list[Neighbour]]:
        """What leaves, of the hits of the code in some row, one for each picture whose tiles are indexed."""
        if not self.holds("tiles"):
            return lambda row, hits: hits
        own = [[one.path for one in self.index.rows.found(list(ids)).values()] for ids in left_out or []]

        def narrowed(row: int, hits: list[Neighbour]) -> list[Neighbour]:
            places = first_of_each_picture((one.picture.path for one in hits), own[row] if own else ())
            return [hits[place] for place in places]

        return narrowed

    def refine(self, answer: Answer, *, like: Sequence[Liked] = (), unlike: Sequence[Liked] = ()) -> Answer:
        """Ask again, nearer to the pictures or hits ``like`` and farther from those ``unlike``
        (``retrieval.questions.refined``), which are left out of the hits.

        Raises:
            PictureRefused: a picture cannot be read.
        """
        from retrieval.questions import ask, refined

        return ask(self, refined(answer.question, like, unlike))

    def pictures(
        self,
        where: Filter | None = None,
        *,
        order: Order = "path",
        descending: bool = False,
        most: int | None = None,
        offset: int = 0,
    ) -> list[Found]:
        """Pictures that can be found and pass ``where``, in the order of a fact; of equals, the one with the lower id
        first, and what is not known last.

        Raises:
            FilterError: ``where`` cannot be read.
            ValueError: there is no such order, or ``novelty`` is asked of a collection that is too small.
        """
        by = unusual(self.looks()) if order == "novelty" else order
        return self.index.rows.listed(where_of(self, where), by, descending, most, offset)

    def count(self, where: Filter | None = None) -> int:
        """How many pictures pass ``where``. Raises as ``pictures``."""
        filter_ = where_of(self, where)
        return len(self) if filter_ is None else self.index.rows.count(filter_)

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
        return novelty(self.looks(), seen.realism, seen.spread)

    def looks(self) -> Floats:
        """Realism and spread, float32 (n, 2), of a sample of the collection."""
        generation = self.index.rows.meta().generation
        if self._looks is None or self._looks[0] != generation:  # read once for all pictures
            self._looks = (generation, self.index.rows.some_looks(SAMPLE))
        return self._looks[1]

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

    def decode(self, hits: Sequence[Hit] | Floats, scale: float | None = None, *, look: int = 0) -> Pixels:
        """Decode hits, or codes (n, d), to uint8 (n, s, s, 3). ``scale`` and ``look`` as in ``Model.decode``.

        Raises:
            ModelError: this index has no generator.
            PathError: a hit was removed from the index after the query.
        """
        if isinstance(hits, np.ndarray):
            return self.model.decode(hits, scale, look=look)
        codes = self.index.rows.codes([hit.id for hit in hits])
        for hit in hits:
            if hit.id not in codes:
                why = " or its server does not answer" if hit.is_elsewhere else ""
                raise PathError(f"{hit.path} is no longer in this index{why}; ask again")
        matrix = np.stack([codes[hit.id] for hit in hits]) if hits else np.empty((0, self.model.latent_dim), np.float32)
        return self.model.decode(matrix, scale, look=look)

    def found(self, where: Filter | None = None) -> Iterator[tuple[list[Found], Floats]]:
        """Yield all pictures that can be found and pass ``where``, some thousand at a time, with codes (b, d).

        Each page is read in its own transaction, so a slow reader blocks no writer. Later pages may show newer states.
        """
        last, filter_ = 0, where_of(self, where)
        while True:
            pictures, codes = self.index.rows.found_page(last, PAGE, filter_)
            if not pictures:
                return
            yield pictures, codes
            last = pictures[-1].id


def checked_most(k: int | None, within: float | None, offset: int) -> int:
    """The most hits that are asked for.

    Raises:
        TypeError, ValueError: one of the numbers is none, or too small.
    """
    for name, number, least in (("k", k, 1), ("offset", offset, 0)):
        if number is not None and not isinstance(number, Integral):
            raise TypeError(f"{name} must be a whole number, not {number!r}, which is of type {type(number).__name__}")
        if number is not None and number < least:
            raise ValueError(f"{name} must be at least {least}, not {number}")
    if within is not None and not within >= 0:
        raise ValueError(f"within must be a distance, 0 or more, not {within}")
    return k if k is not None else K if within is None else MOST


def _hit(rank: int, one: Neighbour) -> Hit:
    its = one.picture
    return Hit(rank, its.path, one.distance, one.similarity, its.realism, its.width_px, its.height_px, its.id)
