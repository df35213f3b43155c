"""Every filter can be said in words and is heard as it was said; words that mean nothing are refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from index.exact import LEAVES_MOST, LONGEST, heard, said
from index.grammar import FilterError
from index.where import (
    FACTS,
    TEXTS,
    AllOf,
    AnyOf,
    Compare,
    InFolder,
    Known,
    Listed,
    Matches,
    Near,
    Not,
    Unusual,
    Where,
)

WORDS = ("canon*", "it's", 'say "x"', "none", "a/", "", "(x) and not", "näme ☃", "\n")
NUMBERS = (7, -3.25, 1e-9, 2**62, 1.7e18, 0.1)
SIGNS = ("=", "!=", "<", "<=", ">", ">=")


def chosen(rng: np.random.Generator, some: Sequence[Any]) -> Any:
    return some[rng.integers(len(some))]


def drawn_leaf(rng: np.random.Generator) -> Where:
    x, y, xx, xy, yy, radius = (float(one) for one in rng.normal(0, 1e3, 6))
    ids = frozenset(int(one) for one in rng.integers(0, 2**40, rng.integers(5)))
    return chosen(  # type: ignore[no-any-return]
        rng,
        [
            Compare(chosen(rng, FACTS), chosen(rng, SIGNS), chosen(rng, NUMBERS)),
            Matches(chosen(rng, TEXTS), chosen(rng, WORDS)),
            Known(chosen(rng, ("is_raw", "taken_us", "camera", "keyword"))),
            Near(*(float(one) for one in rng.uniform(0.1, 80, 3))),
            Unusual((x, y), (xx, xy, yy), abs(radius), 1e-6),
            Listed(ids),
            InFolder(f"/photos/it's {rng.integers(9)}"),
        ],
    )


def drawn(rng: np.random.Generator, levels: int = 3) -> Where:
    if not levels or rng.random() < 0.3:
        return drawn_leaf(rng)
    terms = tuple(drawn(rng, levels - 1) for _ in range(rng.integers(4)))
    kinds: list[Callable[[], Where]] = [
        lambda: AllOf(terms),
        lambda: AnyOf(terms),
        lambda: Not(drawn(rng, levels - 1)),
    ]
    return kinds[rng.integers(3)]()


def plain(where: Where) -> Where:
    """The same filter, in the form in which the grammar reads it: lists in lists are one, lists of one are the one."""
    match where:
        case Not(term):
            return Not(plain(term))
        case AllOf(terms):
            parts = [plain(one) for one in terms]
            joined = [
                one for part in parts for one in (part.terms if isinstance(part, AllOf) and part.terms else [part])
            ]
            return joined[0] if len(joined) == 1 else AllOf(tuple(joined))
        case AnyOf(terms):
            return plain(terms[0]) if len(terms) == 1 else AnyOf(tuple(plain(one) for one in terms))
    return where


def test_every_filter_is_heard_as_it_was_said() -> None:
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(2000):
        where = drawn(rng)
        kinds.add(type(where))
        assert heard(said(where)) == plain(where), said(where)
    assert len(kinds) == 10


def test_what_cannot_be_said_is_refused() -> None:
    deep: Where = Known("camera")
    for _ in range(60):
        deep = Not(deep)
    for where, words in (
        (deep, "inside each other"),
        (Listed(frozenset(range(10**6, 10**6 + LONGEST // 8 + 1))), "lists too much"),
        (AnyOf((Known("camera"),) * (LEAVES_MOST + 1)), "lists too much"),
        (InFolder("/photos/\udcff"), "no Unicode"),
        (Compare("mtime_ns", ">", 2**63), "too large"),
        (Unusual((float("inf"), 0.0), (1.0, 1.0, 1.0), 1.0, 1.0), "no number"),
    ):
        with pytest.raises(ValueError, match=words):
            said(where)


def test_strange_words_are_refused_or_heard_in_time() -> None:
    for text in ("", "(" * LONGEST, "'" * (LONGEST - 1), "not " * 1000, "width_px > 1e999", "listed = '1.5'", "no = 1"):
        begun_s = time.monotonic()
        with pytest.raises(FilterError):
            heard(text)
        assert time.monotonic() - begun_s < 5
    with pytest.raises(ValueError, match="at most 1000 conditions"):
        heard(" or ".join(["known = camera"] * (LEAVES_MOST + 1)))
