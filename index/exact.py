"""Every filter in words, and back: what a program sends to an index that another program serves.

The grammar is that of ``index.grammar``, with fields that say exactly what a filter holds, without units and ranges:

>>> said(AllOf((Compare("width_px", ">=", 2000), Not(Matches("camera", "canon*")))))
"width_px >= 2000 and not camera = 'canon*'"
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from numbers import Integral
from typing import get_args

from index.grammar import DEEPEST, Field, parse_with
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
    Sign,
    Unusual,
    Where,
    leaves,
)

LONGEST = 900_000  # bytes: some hundred thousand ids
LEAVES_MOST = 1000  # conditions
WHOLE = re.compile(r"-?\d{1,19}", re.ASCII)
DECIMAL = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?", re.ASCII)
LARGEST = 2**63 - 1
EVERY, NO = "every = picture", "no = picture"


def said(where: Where) -> str:
    """A filter in words.

    Raises:
        ValueError: it is too long or too deep, or holds text that is no Unicode.
    """
    text = _said(where, DEEPEST)
    try:
        size_bytes = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise ValueError("the filter names a folder whose name is no Unicode, which cannot be sent") from None
    if size_bytes > LONGEST or sum(1 for _ in leaves(where)) > LEAVES_MOST:
        raise ValueError("the filter lists too much to be sent to another program; narrow it")
    return text


def heard(text: str) -> Where:
    """The filter that ``said`` put into words. Conditions of conditions that must all be met are one list, and one
    condition of which any must be met is itself.

    Raises:
        FilterError: it cannot be read.
        ValueError: it has too many conditions.
    """
    terms = tuple(one.where for one in parse_with(FIELDS, text, LONGEST))
    if sum(1 for term in terms for _ in leaves(term)) > LEAVES_MOST:
        raise ValueError(f"a filter has at most {LEAVES_MOST} conditions")
    return terms[0] if len(terms) == 1 else AllOf(terms)


def _said(where: Where, levels: int) -> str:
    if not levels:
        raise ValueError(f"a filter with more than {DEEPEST} conditions inside each other cannot be sent")
    match where:
        case Not(term):
            return f"not {_inside(term, levels - 1)}"
        case AllOf(terms):
            return " and ".join(_inside(one, levels - 1) for one in terms) or EVERY
        case AnyOf(terms):
            return " or ".join(_inside(one, levels - 1) for one in terms) or NO
    return _leaf(where)


def _inside(term: Where, levels: int) -> str:
    text = _said(term, levels)
    return f"({text})" if isinstance(term, AllOf | AnyOf) else text


def _leaf(where: Where) -> str:
    match where:
        case Compare(fact, sign, value):
            return f"{fact} {sign} {_number(value)}"
        case Matches(fact, pattern):
            return f"{fact} = {_quoted(pattern)}"
        case Known(fact):
            return f"known = {fact}"
        case InFolder(folder):
            return f"inside = {_quoted(folder)}"
    assert isinstance(where, Near | Unusual | Listed)
    return _numbers(*_numeric(where))


def _numeric(where: Near | Unusual | Listed) -> tuple[str, list[float]]:
    """The field and the numbers of a condition that is made of numbers."""
    match where:
        case Near(latitude, longitude, km):
            return "near", [latitude, longitude, km]
        case Unusual(middle, inverse, radius, least):
            return "unusual", [*middle, *inverse, radius, least]
    return "listed", [*sorted(where.ids)]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _numbers(name: str, numbers: Iterable[float]) -> str:
    return f"{name} = {_quoted(' '.join(map(_number, numbers)))}"


def _number(value: float) -> str:
    if isinstance(value, Integral):
        if abs(value) > LARGEST:
            raise ValueError(f"{value} is too large a number for a filter")
        return str(int(value))
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number for a filter")
    return repr(float(value))


# Fields


def _read(word: str) -> float:
    if WHOLE.fullmatch(word):
        number = int(word)
        if abs(number) > LARGEST:
            raise ValueError(f"{word} is too large a number")
        return number
    if not DECIMAL.fullmatch(word) or not math.isfinite(float(word)):
        raise ValueError(f"{word[:40]!r} is no number")
    return float(word)


def _compared(fact: str) -> Field:
    def field(sign: str, word: str) -> Where:
        if sign not in get_args(Sign):
            raise ValueError(f"takes {' '.join(get_args(Sign))}")
        return Compare(fact, sign, _read(word))  # type: ignore[arg-type]

    return field


def _equal(read: Callable[[str], Where]) -> Field:
    def field(sign: str, word: str) -> Where:
        if sign != "=":
            raise ValueError("takes =")
        return read(word)

    return field


def _matched(fact: str) -> Field:
    return _equal(lambda pattern: Matches(fact, pattern))  # type: ignore[arg-type]


def _near(word: str) -> Where:
    latitude, longitude, km = _exactly(3, word)
    return Near(latitude, longitude, km)


def _unusual(word: str) -> Where:
    x, y, xx, xy, yy, radius, least = _exactly(7, word)
    return Unusual((x, y), (xx, xy, yy), radius, least)


def _exactly(count: int, word: str) -> list[float]:
    numbers = [_read(one) for one in word.split()]
    if len(numbers) != count:
        raise ValueError(f"takes {count} numbers")
    return numbers


def _listed(word: str) -> Where:
    ids = [_read(one) for one in word.split()]
    if not all(isinstance(one, int) for one in ids):
        raise ValueError("takes ids")
    return Listed(frozenset(map(int, ids)))


def _constant(where: Where) -> Field:
    def read(word: str) -> Where:
        if word != "picture":
            raise ValueError("takes picture")
        return where

    return _equal(read)


FIELDS: dict[str, Field] = {
    **{fact: _compared(fact) for fact in FACTS},
    **{fact: _matched(fact) for fact in TEXTS},
    "known": _equal(Known),  # type: ignore[arg-type]
    "near": _equal(_near),
    "unusual": _equal(_unusual),
    "inside": _equal(InFolder),
    "listed": _equal(_listed),
    "every": _constant(AllOf(())),
    "no": _constant(AnyOf(())),
}
