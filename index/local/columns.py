"""Facts in arrays, by picture, for filters: of many pictures, arrays are compared a thousand times as fast as by SQL.

SQL says what a filter means (``filters.py``). The arrays hold numbers alone; what else a filter asks, SQL answers once.
"""

from __future__ import annotations

import math
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import reduce
from time import perf_counter
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Float, select

from index.local.arrays import numbers, whole_numbers
from index.local.catalog import Catalog
from index.local.facts import ROWID
from index.local.filters import clause
from index.local.tables import facts, pictures
from index.records import Ids
from index.where import PATH_TEXTS, AllOf, AnyOf, Compare, ContentText, Known, Listed, Matches, Near, Not, Where, leaves

Mask = npt.NDArray[np.bool_]
"""bool (n,): which of all pictures that can be found."""

READ_S = 1e-6  # to read one fact of one picture
MOST_MASKS = 64  # that are kept, with a bit for each picture
SIGNS: dict[str, Callable[[Any, Any], Mask]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
OF_PIXELS, OF_TAKEN = ("width_px", "height_px"), ("taken_us", "mtime_ns")
PARTS = {"pixels": OF_PIXELS, "taken_us": OF_TAKEN}  # facts that are made of several
WORDS = frozenset(get_args(ContentText))
FOUND = select(pictures.c.id).where(pictures.c.status == "found")
PAIRS = select(pictures.c.id, ROWID).join_from(pictures, facts, facts.c.content_hash == pictures.c.content_hash)
ALL_ROWS, ALL_FACTS = "pictures", "facts"


class Column(NamedTuple):
    """A number of each picture: ``values`` int64 or float64 (n,), which count where ``known`` bool (n,) is true."""

    values: npt.NDArray[Any]
    known: Mask


class Contents(NamedTuple):
    """``numbers`` int64 (m,), ascending: the facts that pictures have; ``places`` int64 (n,): those of each, or m."""

    numbers: Ids
    places: Ids

    def of(self, numbers: Ids, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """``values`` of the facts ``numbers``, by picture; zeros where there are none."""
        held = np.zeros(len(self.numbers) + 1, values.dtype)
        places, rows = places_in(self.numbers, numbers)
        held[places] = values[rows]
        return held[self.places]


class Columns:
    """The pictures that can be found in one state of a catalog, and which of them pass a filter.

    A fact is read when a filter first needs it. Any thread may ask, inside a transaction of that state.
    """

    def __init__(self) -> None:
        self._reading = threading.Lock()  # its holder is in a transaction already, and waits for nobody
        self._ids: Ids | None = None
        self._contents: Contents | None = None
        self._columns: dict[str, Column] = {}
        self._masks: OrderedDict[Where, npt.NDArray[np.uint8]] = OrderedDict()
        self._spent_s = 0.0

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Inside, SQL filters."""
        start = perf_counter()
        yield
        self._spent_s += perf_counter() - start

    def are_worth_it(self, rows: Catalog, where: Where) -> bool:
        """Whether SQL has taken as much time by now as it takes to read what ``where`` needs.

        So a single question does not wait for a million facts, and many take at most twice the time that they must.
        """
        if where in self._masks:
            return True
        needed: set[Hashable] = {one for leaf in leaves(where) for one in (ALL_ROWS, *_needs(leaf))}
        held = {ALL_ROWS} if self._ids is not None else set()
        held |= {ALL_FACTS} if self._contents is not None else set()
        missing = len(needed - held - self._columns.keys() - self._masks.keys())
        return self._spent_s >= READ_S * missing * rows.meta().found

    def passing(self, rows: Catalog, where: Where) -> tuple[Ids, Mask]:
        """Ids (n,) of all pictures that can be found, ascending, and which of them pass.

        Raises:
            IndexDamaged: a fact is of another type.
        """
        with self._reading, rows.transaction() as connection:
            if self._ids is None:
                self._ids = np.sort(whole_numbers(connection, FOUND)[0])
            if any(isinstance(leaf, Listed) for leaf in leaves(where)):  # of a million ids, say: too large to be kept
                return self._ids, self._mask(rows, connection, where)
            return self._ids, self._kept(where, lambda: self._mask(rows, connection, where))

    def _mask(self, rows: Catalog, connection: Connection, where: Where) -> Mask:
        match where:
            case Not(term):
                return ~self._mask(rows, connection, term)
            case AllOf(terms):
                return reduce(operator.and_, (self._mask(rows, connection, one) for one in terms), self._all(True))
            case AnyOf(terms):
                return reduce(operator.or_, (self._mask(rows, connection, one) for one in terms), self._all(False))
            case Listed(ids):
                return self._listed(np.array(sorted(ids), np.int64))
        return self._leaf(rows, connection, where)

    def _leaf(self, rows: Catalog, connection: Connection, where: Where) -> Mask:
        of = {name: self._column(connection, name) for name in _needs(where) if name in COLUMNS}
        match where:
            case Compare("pixels", sign, value) if of:
                (width, known), (height, also) = (of[name] for name in OF_PIXELS)
                return known & also & _compared(width * height, sign, value)
            case Compare("taken_us", sign, value) if of:
                (taken, known), (changed_ns, _) = (of[name] for name in OF_TAKEN)
                return np.where(known, _compared(taken, sign, value), _compared(changed_ns / 1000, sign, value))
            case Compare(fact, sign, value) if of:
                return of[fact].known & _compared(of[fact].values, sign, value)
            case Known(fact) if of:
                return of[fact].known
        return self._kept(where, lambda: self._answer(rows, connection, where))

    def _all(self, passes: bool) -> Mask:
        assert self._ids is not None
        return np.full(len(self._ids), passes)

    def _listed(self, ids: Ids) -> Mask:
        """Which pictures are among ``ids`` (m,)."""
        assert self._ids is not None
        passes = self._all(False)
        passes[places_in(self._ids, ids)[0]] = True
        return passes

    def _answer(self, rows: Catalog, connection: Connection, where: Where) -> Mask:
        """What SQL says of a condition."""
        if ALL_FACTS not in _needs(where):
            return self._listed(rows.found_ids(where))
        query = select(ROWID).select_from(facts).where(clause(where, rows.roots()))
        (found,) = whole_numbers(connection, query)
        return self._all_contents(connection).of(found, np.ones(len(found), np.bool_))

    def _kept(self, where: Where, make: Callable[[], Mask]) -> Mask:
        """The mask of a filter or of a condition, made once as long as others do not take its place."""
        if where not in self._masks:
            self._masks[where] = np.packbits(make())
            if len(self._masks) > MOST_MASKS:
                self._masks.popitem(last=False)
        self._masks.move_to_end(where)
        return np.unpackbits(self._masks[where], count=len(self._all(False))).view(np.bool_)

    def _column(self, connection: Connection, fact: str) -> Column:
        if fact not in self._columns:
            self._columns[fact] = self._of_files(connection, fact) or self._of_contents(connection, fact)
        return self._columns[fact]

    def _of_files(self, connection: Connection, fact: str) -> Column | None:
        if fact not in pictures.c:
            return None
        assert self._ids is not None
        column = pictures.c[fact]
        query = FOUND.add_columns(column).where(column.is_not(None))
        ids, values = (numbers if isinstance(column.type, Float) else whole_numbers)(connection, query)
        held, known = np.zeros(len(self._ids), values.dtype), self._all(False)
        places, rows = places_in(self._ids, ids)
        held[places], known[places] = values[rows], True
        return Column(held, known)

    def _of_contents(self, connection: Connection, fact: str) -> Column:
        column = facts.c[fact]
        query = select(ROWID, column).select_from(facts).where(column.is_not(None)).order_by(ROWID)
        which, values = (numbers if isinstance(column.type, Float) else whole_numbers)(connection, query)
        contents = self._all_contents(connection)
        return Column(contents.of(which, values), contents.of(which, np.ones(len(which), np.bool_)))

    def _all_contents(self, connection: Connection) -> Contents:
        if self._contents is None:
            assert self._ids is not None
            ids, which = whole_numbers(connection, PAIRS)
            held, places = np.unique(which, return_inverse=True)
            of_all = np.full(len(self._ids), len(held))
            theirs, rows = places_in(self._ids, ids)
            of_all[theirs] = places[rows]
            self._contents = Contents(held, of_all)
        return self._contents


def places_in(all_: Ids, some: Ids) -> tuple[Ids, Ids]:
    """Where those of ``some`` (m,) that are in ``all_`` (n,), ascending, are in there, and where in ``some``."""
    is_ascending = bool((some[1:] >= some[:-1]).all())
    order = np.arange(len(some)) if is_ascending else np.argsort(some)  # sorted, they are found four times as quickly
    places = np.searchsorted(all_, some[order])
    held = places < len(all_)
    held[held] = all_[places[held]] == some[order[held]]
    return places[held], order[held]


COLUMNS = frozenset(pictures.c.keys()) | frozenset(facts.c.keys())


def _needs(leaf: Where) -> tuple[Hashable, ...]:
    """What a condition is answered by: columns; or its own answer by SQL."""
    match leaf:
        case Listed():
            return ()
        case Compare(fact, _, value) if value == float(value):  # else no float64 is compared as SQLite does
            names = PARTS.get(fact, (fact,))
            return names if fact in pictures.c or fact == "pixels" else (ALL_FACTS, *names)
        case Known(fact):
            return (ALL_FACTS, leaf if fact in WORDS else fact)
    is_of_contents = isinstance(leaf, Near) or (isinstance(leaf, Matches) and leaf.fact not in PATH_TEXTS)
    return (ALL_FACTS, leaf) if is_of_contents else (leaf,)


def _compared(values: npt.NDArray[Any], sign: str, value: float) -> Mask:
    """``values`` (n,) compared with ``value``; whole numbers exactly, as SQLite does, beyond 2^53 as well."""
    if values.dtype == np.int64:
        if sign in ("=", "!=") and value != math.floor(value):
            return np.full(len(values), sign == "!=")
        value = math.ceil(value) if sign in ("<", ">=") else math.floor(value)
    return SIGNS[sign](values, value)
