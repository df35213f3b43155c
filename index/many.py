"""Several indexes behind one door: each is asked in a thread of its own, and the answers are merged.

Ids and roots of the whole tell which index they are of: the index is in the bits above ``SHIFT``, so that they stay the
same while the indexes keep their order. It is read only; whoever writes opens one index.

Searches and counts ask all indexes in threads. Other reads ask those of this machine in the caller's thread, which may
be inside a snapshot, and those that are served elsewhere in threads.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import NoReturn, TypeVar

import numpy as np

from index.door import Index
from index.errors import IndexMismatch, LatentError, NotServed, PartAbsent
from index.facts import Facts
from index.parallel import Call, answered
from index.records import Budget, Direction, Floats, Found, Layout, Meta, Metric, Neighbour, Row
from index.served.address import is_served
from index.where import AllOf, AnyOf, Listed, Not, Order, Where

SHIFT = 40  # bits of an id within its index
MASK = (1 << SHIFT) - 1
TIMEOUT_S = 30.0
REST_S = 10.0  # so long an index is not asked again that did not answer

T = TypeVar("T")


class Many:
    """Several opened indexes of one model as one (``index.door.Index``), for reading.

    An index that fails or does not answer in time is left out of that answer, and for a while of others, and named in
    ``absent``; a strict one raises PartAbsent instead.
    """

    def __init__(
        self,
        indexes: Sequence[Index],
        *,
        strict: bool = False,
        timeout_s: float = TIMEOUT_S,
        absent: Mapping[str, str] | None = None,
    ) -> None:
        """``absent``: indexes that could not even be opened, and why.

        Raises:
            IndexMismatch: two hold codes of different models, or are the same.
        """
        self._indexes, self._strict, self._timeout_s = list(indexes), strict, timeout_s
        self.absent: dict[str, str] = dict(absent or {})
        self._rests_until_s: dict[int, float] = {}
        self._check_alike()
        self.rows, self.notes = _Rows(self), _Notes(self)

    @property
    def budget(self) -> Budget:
        """None of its own: each index keeps its own limits."""
        return Budget()

    @property
    def address(self) -> str:
        return ", ".join(one.address for one in self._indexes)

    def search(
        self,
        xq: Floats,
        k: int,
        metric: Metric,
        left_out: Sequence[Collection[int]] | None = None,
        where: Where | None = None,
    ) -> list[list[Neighbour]]:
        def one(place: int, index: Index) -> list[list[Neighbour]]:
            own = None if left_out is None else [_own(place, ids) for ids in left_out]
            told = index.search(xq, k, metric, own, None if where is None else _of_one(place, where))
            return [[_widened(place, hit) for hit in hits] for hits in told]

        answers = self.ask(one).values()
        return [_merged([answer[row] for answer in answers], k, metric) for row in range(len(xq))]

    def ask(self, question: Callable[[int, Index], T]) -> dict[int, T]:
        """What each index answers, by its place; without those that do not answer in time.

        Raises:
            PartAbsent: one does not answer and this is strict, or none answers.
            NotServed: one is served elsewhere, and such are not asked that.
        """
        asked = {place: partial(question, place, index) for place, index in self._awake()}
        return self._noted(answered(asked, self._timeout_s))

    def read(self, question: Callable[[int, Index], T]) -> dict[int, T]:
        """As ``ask``, but indexes of this machine are asked in this thread, which sees their snapshots."""
        here, elsewhere = dict[int, Call[T]](), dict[int, Call[T]]()
        for place, index in self._awake():
            (elsewhere if is_served(index.address) else here)[place] = partial(question, place, index)
        return self._noted(answered(elsewhere, self._timeout_s, here))

    def _awake(self) -> list[tuple[int, Index]]:
        """The indexes that are asked, by place: not those that lately did not answer, unless there are no others."""
        now_s = monotonic()
        every = list(enumerate(self._indexes))
        return [(place, one) for place, one in every if self._rests_until_s.get(place, now_s) <= now_s] or every

    def _noted(self, answers: Mapping[int, T | Exception]) -> dict[int, T]:
        """The answers, in order. Who did not answer is noted. An error that is no fault of one index is raised."""
        told = {place: answer for place, answer in sorted(answers.items()) if not isinstance(answer, Exception)}
        for place, error in answers.items():
            if not isinstance(error, Exception):
                continue
            if isinstance(error, NotServed) or not isinstance(error, LatentError | OSError):
                raise error
            address = self._indexes[place].address
            if self._strict or not told:
                raise PartAbsent(f"{address} does not answer: {error}", address=address) from error
            self.absent[address] = str(error)
            self._rests_until_s[place] = monotonic() + REST_S
        return told

    def _check_alike(self) -> None:
        metas = list(self.read(lambda _, index: (index.address, index.rows.meta())).values())
        first, model = metas[0]
        seen = dict[bytes, str]()
        for address, meta in metas:
            if meta.found and meta.stamp and (same := seen.setdefault(meta.stamp, address)) != address:
                raise IndexMismatch(
                    f"{same} and {address} are one index, or copies of one, so each hit would be there twice; name one "
                    "of them",
                    code="same_index",
                )
            if (meta.model_digest, meta.latent_dim) != (model.model_digest, model.latent_dim):
                raise IndexMismatch(
                    f"{address} holds codes of {meta.model_name} ({meta.model_digest[:12]}), and {first} those of "
                    f"{model.model_name} ({model.model_digest[:12]}); only codes of one model can be compared",
                    code="other_models",
                )

    def layout(self) -> Layout:
        every = [one.layout() for one in self._indexes]
        return Layout(
            name=", ".join(dict.fromkeys(one.name for one in every)),
            memory_bytes=sum(one.memory_bytes for one in every),
            latency_s=max(one.latency_s for one in every),
            recall=min(one.recall for one in every),
            fits=all(one.fits for one in every),
        )

    def sizes(self) -> dict[str, int]:
        every = [one.sizes() for one in self._indexes]
        return {name: sum(sizes.get(name, 0) for sizes in every) for name in every[0]}

    def faults(self) -> list[str]:
        return [f"{one.address}: {fault}" for one in self._indexes for fault in one.faults()]

    def excluded(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(pattern for one in self._indexes for pattern in one.excluded()))

    def model_folder(self) -> Path:
        """The folder of the first index that has a model here.

        Raises:
            NotServed: all are served elsewhere.
        """
        here = (one for one in self._indexes if not is_served(one.address))
        return next(here, self._indexes[0]).model_folder()

    def close(self) -> None:
        for one in self._indexes:
            one.close()

    def each(self) -> Iterator[tuple[int, Index]]:
        return enumerate(self._indexes)

    def of(self, place: int) -> Index | None:
        return self._indexes[place] if 0 <= place < len(self._indexes) else None


class _Rows:
    """The rows of all indexes. What needs one order of them all is not told."""

    def __init__(self, many: Many) -> None:
        self._many = many

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with ExitStack() as stack:
            for _, index in self._many.each():
                stack.enter_context(index.rows.snapshot())
            yield

    def meta(self) -> Meta:
        every = list(self._many.read(lambda _, index: index.rows.meta()).values())
        stamp = hashlib.sha256(b"".join(one.stamp for one in every)).digest()
        found, generation = sum(one.found for one in every), sum(one.generation for one in every)
        return replace(every[0], found=found, generation=generation, stamp=stamp)

    def roots(self) -> dict[int, str]:
        return {
            _whole(place, root): path for place, index in self._many.each() for root, path in index.rows.roots().items()
        }

    def at_path(self, root_id: int, path: bytes) -> Row | None:
        place, own = root_id >> SHIFT, root_id & MASK
        index = self._many.of(place)
        row = None if index is None else index.rows.at_path(own, path)
        if row is None or row.id is None:
            return row
        return row._replace(id=_whole(place, row.id), root_id=root_id)

    def found(self, ids: Sequence[int]) -> dict[int, Found]:
        told = self._many.read(lambda place, index: _found_in(place, index, ids))
        return {one.id: one for some in told.values() for one in some}

    def codes(self, ids: Sequence[int]) -> dict[int, Floats]:
        told = self._many.read(lambda place, index: _codes_in(place, index, ids))
        return {one: code for some in told.values() for one, code in some.items()}

    def found_page(self, after: int, count: int, where: Where | None = None) -> tuple[list[Found], Floats]:
        first = max(after, 0) >> SHIFT
        for place, index in self._many.each():
            if place < first:
                continue
            own = None if where is None else _of_one(place, where)
            pictures, codes = index.rows.found_page(after & MASK if place == first else 0, count, own)
            if pictures:
                return [_moved(place, one) for one in pictures], codes
        return [], np.empty((0, self.meta().latent_dim), np.float32)

    def count(self, where: Where) -> int:
        return sum(self._many.ask(lambda place, index: index.rows.count(_of_one(place, where))).values())

    def with_words(self, text: str) -> list[int]:
        told = self._many.ask(lambda place, index: [_whole(place, own) for own in index.rows.with_words(text)])
        by_rank = itertools.zip_longest(*told.values())  # each index ranks by its own words alone
        return [one for same in by_rank for one in same if one is not None]

    def some_looks(self, count: int) -> Floats:
        found = self._many.read(lambda _, index: index.rows.meta().found)
        total = max(1, sum(found.values()))
        told = self._many.read(
            lambda place, index: index.rows.some_looks(-(-count * found.get(place, 0) // total) or 1)
        )
        return np.concatenate(list(told.values()))

    def facts(self, hashes: Iterable[bytes]) -> dict[bytes, Facts]:
        wanted = list(hashes)
        told = self._many.read(lambda _, index: index.rows.facts(wanted))
        return {key: its for facts in told.values() for key, its in facts.items()}

    def coded_by_hash(self, hashes: Iterable[bytes]) -> dict[bytes, tuple[Row, Floats]]:
        wanted = list(hashes)
        found: dict[bytes, tuple[Row, Floats]] = {}
        for place, index in self._many.each():
            for key, (row, code) in index.rows.coded_by_hash(wanted).items():
                root = _whole(place, row.root_id)
                found.setdefault(key, (row._replace(id=_whole(place, row.id or 0), root_id=root), code))
        return found

    def counts(self) -> dict[str, int]:
        every = [index.rows.counts() for _, index in self._many.each()]
        return {state: sum(one.get(state, 0) for one in every) for state in dict.fromkeys(itertools.chain(*every))}

    def skipped(self) -> list[Row]:
        return [
            row._replace(root_id=_whole(place, row.root_id))
            for place, index in self._many.each()
            for row in index.rows.skipped()
        ]

    def without_facts(self) -> list[Row]:
        return [
            row._replace(root_id=_whole(place, row.root_id))
            for place, index in self._many.each()
            for row in index.rows.without_facts()
        ]

    def count_without_facts(self) -> int:
        return sum(self._many.ask(lambda _, index: index.rows.count_without_facts()).values())

    def hashes_by_size(self, sizes: Iterable[int]) -> dict[int, frozenset[bytes]]:
        wanted, found = list(sizes), dict[int, frozenset[bytes]]()
        for _, index in self._many.each():
            for size, hashes in index.rows.hashes_by_size(wanted).items():
                found[size] = found.get(size, frozenset()) | hashes
        return found

    def listing(self, root_id: int) -> dict[bytes, Row]:
        _refuse("list the rows of a folder")

    def listed(
        self, where: Where | None, order: Order, descending: bool, count: int | None, offset: int
    ) -> list[Found]:
        _refuse("list pictures in an order")


class _Notes:
    """Directions of the first index that has one of that name, and pairs that are no copies in any."""

    def __init__(self, many: Many) -> None:
        self._many = many

    def kept_apart(self) -> set[frozenset[bytes]]:
        return set[frozenset[bytes]]().union(*(index.notes.kept_apart() for _, index in self._many.each()))

    def directions(self) -> dict[str, Direction]:
        every = [index.notes.directions() for _, index in self._many.each()]
        return {name: one for directions in reversed(every) for name, one in directions.items()}


def _refuse(what: str) -> NoReturn:
    raise PartAbsent(f"several indexes together cannot {what}; ask each of them", code="one_index")


def _whole(place: int, own: int) -> int:
    return place << SHIFT | own


def _own(place: int, ids: Iterable[int]) -> list[int]:
    """The ids of one index among ids of the whole, as that index knows them."""
    return [one & MASK for one in ids if one >> SHIFT == place]


def _found_in(place: int, index: Index, ids: Sequence[int]) -> list[Found]:
    some = _own(place, ids)
    return [_moved(place, one) for one in index.rows.found(some).values()] if some else []


def _codes_in(place: int, index: Index, ids: Sequence[int]) -> dict[int, Floats]:
    some = _own(place, ids)
    return {_whole(place, own): code for own, code in index.rows.codes(some).items()} if some else {}


def _moved(place: int, picture: Found) -> Found:
    return picture._replace(id=_whole(place, picture.id))


def _widened(place: int, hit: Neighbour) -> Neighbour:
    return replace(hit, picture=_moved(place, hit.picture))


def _merged(answers: Sequence[Sequence[Neighbour]], k: int, metric: Metric) -> list[Neighbour]:
    """The ``k`` best of ordered answers, ties by ascending id."""

    def key(hit: Neighbour) -> tuple[float, int]:
        return (hit.distance if metric == "euclidean" else -hit.similarity, hit.id)

    return list(itertools.islice(heapq.merge(*answers, key=key), k))


def _of_one(place: int, where: Where) -> Where:
    """The filter for one index: ids in it are of the whole."""
    match where:
        case Listed(ids):
            return Listed(frozenset(_own(place, ids)))
        case Not(term):
            return Not(_of_one(place, term))
        case AllOf(terms):
            return AllOf(tuple(_of_one(place, one) for one in terms))
        case AnyOf(terms):
            return AnyOf(tuple(_of_one(place, one) for one in terms))
    return where
