"""Several indexes behind one door: each is asked in a thread of its own, and the answers are merged.

Ids and roots of the whole tell which index they are of: the index is in the bits above ``SHIFT``, so that they stay the
same while the indexes keep their order. It is read only; whoever writes opens one index.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import NoReturn, TypeVar

import numpy as np

from index.door import Index
from index.errors import IndexMismatch, LatentError, PartAbsent
from index.facts import Facts
from index.records import Budget, Direction, Floats, Found, Layout, Meta, Metric, Neighbour, Row
from index.where import AllOf, AnyOf, Listed, Not, Order, Where

SHIFT = 40  # bits of an id within its index
MASK = (1 << SHIFT) - 1
TIMEOUT_S = 30.0

T = TypeVar("T")


class Many:
    """Several opened indexes of one model as one (``index.door.Index``), for reading.

    An index that fails or does not answer in time is left out of that answer, and named in ``absent``; a strict one
    raises PartAbsent instead.
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
            IndexMismatch: two hold codes of different models.
        """
        self._indexes, self._strict, self._timeout_s = list(indexes), strict, timeout_s
        self.absent: dict[str, str] = dict(absent or {})
        _check_alike(self._indexes)
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
        """
        answered: SimpleQueue[tuple[int, T | Exception]] = SimpleQueue()

        def run(place: int, index: Index) -> None:
            try:
                answered.put((place, question(place, index)))
            except Exception as error:
                answered.put((place, error))

        for place, index in enumerate(self._indexes):
            # Daemons: one that hangs, as on a lost network drive, must not keep the program from ending.
            threading.Thread(target=run, args=(place, index), daemon=True, name=f"part-{place}").start()
        told, failed = self._gathered(answered)
        self._note(told, failed)
        return dict(sorted(told.items()))

    def _gathered(self, answered: SimpleQueue[tuple[int, T | Exception]]) -> tuple[dict[int, T], dict[int, Exception]]:
        told: dict[int, T] = {}
        failed: dict[int, Exception] = {}
        ends_s = monotonic() + self._timeout_s
        while len(told) + len(failed) < len(self._indexes):
            try:
                place, answer = answered.get(timeout=max(0.0, ends_s - monotonic()))
            except Empty:
                break
            if isinstance(answer, Exception):
                failed[place] = answer
            else:
                told[place] = answer
        return told, failed

    def _note(self, told: Mapping[int, object], failed: Mapping[int, Exception]) -> None:
        """Note who did not answer. An error that is no fault of one index is raised as it is."""
        for place, index in enumerate(self._indexes):
            if place in told:
                continue
            error = failed.get(place)
            if error is not None and not isinstance(error, LatentError | OSError):
                raise error
            reason = f"no answer in {self._timeout_s:g} s" if error is None else str(error)
            if self._strict or not told:
                raise PartAbsent(f"{index.address} does not answer: {reason}", address=index.address) from error
            self.absent[index.address] = reason

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
        return self._indexes[0].model_folder()

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
        every = [index.rows.meta() for _, index in self._many.each()]
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
        return {one.id: one for place, index in self._many.each() for one in _found_in(place, index, ids)}

    def codes(self, ids: Sequence[int]) -> dict[int, Floats]:
        return {
            _whole(place, own): code
            for place, index in self._many.each()
            if (some := _own(place, ids))
            for own, code in index.rows.codes(some).items()
        }

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
        total = max(1, self.meta().found)
        parts = [index.rows.some_looks(-(-count * index.rows.meta().found // total)) for _, index in self._many.each()]
        return np.concatenate(parts)

    def facts(self, hashes: Iterable[bytes]) -> dict[bytes, Facts]:
        wanted = list(hashes)
        return {key: its for _, index in self._many.each() for key, its in index.rows.facts(wanted).items()}

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


def _check_alike(indexes: Sequence[Index]) -> None:
    metas = [(one.address, one.rows.meta()) for one in indexes]
    for address, meta in metas[1:]:
        first, model = metas[0]
        if meta.model_digest != model.model_digest:
            raise IndexMismatch(
                f"{address} holds codes of {meta.model_name} ({meta.model_digest[:12]}), and {first} those of "
                f"{model.model_name} ({model.model_digest[:12]}); only codes of one model can be compared",
                code="other_models",
            )


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
