"""The grammar of filters: ``taken >= 2024-06 and folder = 'Trips/*' and not (width < 2000 or rating = none)``.

    filter     = and ("or" and)*
    and        = not ("and" not)*
    not        = "not" not | "(" filter ")" | FIELD SIGN VALUE
    SIGN       = "=" | "!=" | "<" | "<=" | ">" | ">=" | "near"

A value with spaces or signs stands in quotes, single or double; a quote inside them is written twice. A date is a year,
a month, a day or a moment, and means all of it: ``taken <= 2024`` lets the last day of 2024 pass.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import NamedTuple, get_args

from index.where import AllOf, AnyOf, Compare, Fact, Known, Matches, Near, Not, Sign, Text, Where

Field = Callable[[str, str], Where]
"""From a sign and a value to a filter. Raises a ValueError that says what the field takes."""

TOKEN = re.compile(
    r"""(?P<sign><=|>=|!=|[<>=()])|'(?P<single>(?:[^']+|'')*+)'|"(?P<double>(?:[^"]+|"")*+)"|(?P<word>[^\s()<>=!'"]+)"""
)
SPACE = re.compile(r"\s*")
NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)([a-z]*)", re.IGNORECASE | re.ASCII)
DATE = re.compile(r"(\d{4})(?:-(\d\d?)(?:-(\d\d?)(?:[ T](\d\d?):(\d\d)(?::(\d\d))?)?)?)?", re.ASCII)
DEEPEST, LONGEST = 50, 10_000  # parentheses, and characters
WORDS_MOST = 20_000  # signs, names and values
EPOCH = datetime(1970, 1, 1)
SECOND_US, MINUTE_US, DAY_US = 1_000_000, 60_000_000, 86_400_000_000
NONE = "none"
BYTES = {"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9}
PIXELS = {"": 1.0, "px": 1.0}
AREA = {"": 1.0, "px": 1.0, "mp": 1e6}
PLAIN = {"": 1.0}


class FilterError(ValueError):
    """The text of a filter cannot be read; ``column``, from 1, says where."""

    def __init__(self, message: str, text: str, column: int) -> None:
        super().__init__(f"{message}, at column {column} of {text!r}")
        self.message, self.text, self.column = message, text, column


class Condition(NamedTuple):
    """A condition that every hit must meet, as it was written."""

    text: str
    where: Where


@dataclass(frozen=True)
class _Token:
    kind: str  # "sign", "word", "quoted" or "end"
    text: str
    column: int

    def says(self, word: str) -> bool:
        return self.kind != "quoted" and self.text.lower() == word


def parse(text: str, more: Mapping[str, Field] | None = None) -> list[Condition]:
    """The conditions of a filter, all of which must be met. ``more``: further fields, by name.

    Raises:
        FilterError: it cannot be read.
    """
    return parse_with(FIELDS | dict(more or {}), text, LONGEST)


def parse_with(fields: Mapping[str, Field], text: str, longest: int) -> list[Condition]:
    """As ``parse``, with these fields alone, for a text of at most ``longest`` characters."""
    if len(text) > longest:
        raise FilterError(f"a filter has at most {longest:,} characters", text[:20] + "...", longest)
    return _Parser(text, fields).conditions()


class _Parser:
    """Recursive descent, one function for each rule of the grammar."""

    def __init__(self, text: str, fields: Mapping[str, Field]) -> None:
        self._text, self._fields = text, fields
        self._tokens, self._at, self._deep = _tokens(text), 0, 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def conditions(self) -> list[Condition]:
        conditions = self._any()
        if self._next.kind != "end":
            raise self._error("expected and, or, or the end")
        return conditions

    def _any(self) -> list[Condition]:
        start = self._next.column
        parts = [self._all()]
        while self._takes("or"):
            parts.append(self._all())
        if len(parts) == 1:
            return parts[0]
        return [Condition(self._since(start), AnyOf(tuple(_together(part) for part in parts)))]

    def _all(self) -> list[Condition]:
        conditions = self._not()
        while self._takes("and"):
            conditions += self._not()
        return conditions

    def _not(self) -> list[Condition]:
        start = self._next.column
        if self._takes("not"):
            term = _together(self._deeper(self._not, start))
            return [Condition(self._since(start), Not(term))]
        if self._takes("("):
            inner = self._deeper(self._any, start)
            if not self._takes(")"):
                raise self._error("expected )")
            return inner
        return [self._comparison()]

    def _deeper(self, rule: Callable[[], list[Condition]], start: int) -> list[Condition]:
        self._deep += 1
        if self._deep > DEEPEST:
            raise FilterError(f"more than {DEEPEST} parentheses inside each other", self._text, start)
        found = rule()
        self._deep -= 1
        return found

    def _comparison(self) -> Condition:
        name = self._take("word", "a field, such as taken, folder or width")
        field = self._fields.get(name.text.lower())
        if field is None:
            near = get_close_matches(name.text.lower(), self._fields, 1)
            guess = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(self._fields))}"
            raise FilterError(f"there is no field {name.text!r}{guess}", self._text, name.column)
        sign = self._next
        if not sign.says("near") and sign.text not in get_args(Sign):
            raise self._error(f"expected a sign after {name.text}: {' '.join(get_args(Sign))} or near")
        self._at += 1
        value = self._next
        if value.kind not in ("word", "quoted"):
            raise self._error(f"expected a value after {name.text} {sign.text}")
        self._at += 1
        try:
            where = field(sign.text.lower(), value.text)
        except ValueError as error:
            raise FilterError(f"{name.text}: {error}", self._text, value.column) from error
        return Condition(self._since(name.column), where)

    def _takes(self, word: str) -> bool:
        found = self._next.says(word)
        self._at += found
        return found

    def _take(self, kind: str, what: str) -> _Token:
        token = self._next
        if token.kind != kind:
            raise self._error(f"expected {what}")
        self._at += 1
        return token

    def _since(self, start: int) -> str:
        last = self._tokens[self._at - 1]
        end = self._next.column - 1 if self._next.kind != "end" else len(self._text)
        return self._text[start - 1 : max(end, last.column)].strip()

    def _error(self, message: str) -> FilterError:
        return FilterError(message, self._text, self._next.column)


def _together(conditions: list[Condition]) -> Where:
    return conditions[0].where if len(conditions) == 1 else AllOf(tuple(one.where for one in conditions))


def _tokens(text: str) -> list[_Token]:
    tokens, at = list[_Token](), _after_space(text, 0)
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            what = "a quote that is not closed" if text[at] in "'\"" else f"a strange {text[at]!r}"
            raise FilterError(what, text, at + 1)
        tokens.append(_token(found, at + 1))
        if len(tokens) > WORDS_MOST:
            raise FilterError(f"a filter has at most {WORDS_MOST:,} words and signs", text[:20] + "...", at + 1)
        at = _after_space(text, found.end())
    return [*tokens, _Token("end", "", len(text) + 1)]


def _after_space(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at


def _token(found: re.Match[str], column: int) -> _Token:
    name = str(found.lastgroup)
    quote = {"single": "'", "double": '"'}.get(name)
    if quote is None:
        return _Token(name, found[name], column)
    return _Token("quoted", found[name].replace(2 * quote, quote), column)


# Fields


def number(word: str, units: Mapping[str, float]) -> float:
    """A number with one of ``units``.

    Raises:
        ValueError: it is none.
    """
    found = NUMBER.fullmatch(word)
    if found is None or found[2].lower() not in units:
        known = ", ".join(unit for unit in units if unit)
        raise ValueError(f"{word!r} is not a number{f' with {known} or nothing behind it' if known else ''}")
    value = float(found[1]) * units[found[2].lower()]
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def moment(word: str) -> tuple[int, int]:
    """The first microsecond of a year, month, day, minute or second since 1970, and the first one after it.

    Raises:
        ValueError: there is no such date.
    """
    found = DATE.fullmatch(word.strip())
    if found is None:
        raise ValueError(f"{word!r} is not a date such as 2024, 2024-06, 2024-06-15 or '2024-06-15 14:30'")
    year, month, day, hour, minute, second = (None if part is None else int(part) for part in found.groups())
    try:
        start = datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, second or 0)
    except ValueError as error:
        raise ValueError(f"{word!r} is not a date: {error}") from error
    start_us = round((start - EPOCH).total_seconds()) * SECOND_US
    if second is not None or minute is not None:
        return start_us, start_us + (MINUTE_US if second is None else SECOND_US)
    if day is not None:
        days = 1
    elif month is not None:
        days = calendar.monthrange(start.year, month)[1]
    else:
        days = 366 if calendar.isleap(start.year) else 365
    return start_us, start_us + days * DAY_US


def place(word: str) -> Near:
    """A place and a distance: ``48.2,16.4,5km``.

    Raises:
        ValueError: it is none.
    """
    parts = word.replace(" ", "").split(",")
    if len(parts) != 3:
        raise ValueError(f"{word!r} is not a place and a distance, such as 48.2,16.4,5km")
    latitude, longitude = (float(number(part, PLAIN)) for part in parts[:2])
    return Near(latitude, longitude, float(number(parts[2], {"": 1.0, "km": 1.0, "m": 1e-3, "mi": 1.609344})))


def _numeric(fact: Fact, units: Mapping[str, float] = PLAIN, *, may_be_unknown: bool = True) -> Field:
    def field(sign: str, word: str) -> Where:
        if word.lower() == NONE and may_be_unknown:
            return _unknown(Known(fact), sign)  # type: ignore[arg-type]
        return _signed(sign, lambda one: Compare(fact, one, number(word, units)))

    return field


def _exposure(sign: str, word: str) -> Where:
    top, _, bottom = word.partition("/")
    if not bottom:
        return _numeric("exposure_s", {"": 1.0, "s": 1.0, "ms": 1e-3})(sign, word)
    value = float(number(top, PLAIN)) / max(float(number(bottom, {"": 1.0, "s": 1.0})), 1e-9)
    margin = 0.01 * value  # cameras write 1/60 as 0.0167
    if sign in ("=", "!="):
        near = AllOf((Compare("exposure_s", ">=", value - margin), Compare("exposure_s", "<=", value + margin)))
        return near if sign == "=" else Not(near)
    return _signed(sign, lambda one: Compare("exposure_s", one, value))


def _flag(fact: Fact) -> Field:
    def field(sign: str, word: str) -> Where:
        if sign not in ("=", "!=") or word.lower() not in ("yes", "no", "true", "false"):
            raise ValueError("takes = or !=, and yes or no")
        is_true = (word.lower() in ("yes", "true")) == (sign == "=")
        return Compare(fact, "=", 1) if is_true else Not(Compare(fact, "=", 1))

    return field


def _text(fact: Text, *, may_be_unknown: bool = True) -> Field:
    def field(sign: str, word: str) -> Where:
        if sign not in ("=", "!="):
            raise ValueError("takes = or !=, and a pattern in which * stands for anything")
        if word.lower() == NONE and may_be_unknown:
            return _unknown(Known(fact), sign)  # type: ignore[arg-type]
        pattern = Matches(fact, word.rstrip("/") if fact in ("folder", "root") and word != "/" else word)
        return pattern if sign == "=" else Not(pattern)

    return field


def _taken(sign: str, word: str) -> Where:
    if word.lower() == NONE:
        return _unknown(Known("taken_us"), sign)
    start, end = moment(word)
    match sign:
        case "=" | "!=":
            within = AllOf((Compare("taken_us", ">=", start), Compare("taken_us", "<", end)))
            return within if sign == "=" else Not(within)
        case ">" | "<=":
            return Compare("taken_us", ">=" if sign == ">" else "<", end)
    return _signed(sign, lambda one: Compare("taken_us", one, start))


def _place(sign: str, word: str) -> Where:
    if word.lower() == NONE:
        return _unknown(Known("latitude"), sign)
    if sign not in ("near", "="):
        raise ValueError("takes near, and a place and a distance, such as place near 48.2,16.4,5km")
    return place(word)


def _unknown(known: Known, sign: str) -> Where:
    if sign not in ("=", "!="):
        raise ValueError("none takes = or !=")
    return known if sign == "!=" else Not(known)


def _signed(sign: str, compared: Callable[[Sign], Where]) -> Where:
    if sign not in get_args(Sign):
        raise ValueError(f"takes {' '.join(get_args(Sign))}")
    return Not(compared("=")) if sign == "!=" else compared(sign)  # type: ignore[arg-type]


def _area(sign: str, word: str) -> Where:
    return _signed(sign, lambda one: Compare("pixels", one, number(word, AREA)))


FIELDS: dict[str, Field] = {
    "path": _text("path", may_be_unknown=False),
    "name": _text("name", may_be_unknown=False),
    "folder": _text("folder", may_be_unknown=False),
    "root": _text("root", may_be_unknown=False),
    "size": _numeric("size_bytes", BYTES, may_be_unknown=False),
    "width": _numeric("width_px", PIXELS, may_be_unknown=False),
    "height": _numeric("height_px", PIXELS, may_be_unknown=False),
    "pixels": _area,
    "realism": _numeric("realism", may_be_unknown=False),
    "spread": _numeric("spread", may_be_unknown=False),
    "unfamiliarity": _numeric("unfamiliarity", may_be_unknown=False),
    "taken": _taken,
    "place": _place,
    "latitude": _numeric("latitude"),
    "longitude": _numeric("longitude"),
    "format": _text("format"),
    "mode": _text("mode"),
    "camera": _text("camera"),
    "lens": _text("lens"),
    "title": _text("title"),
    "keyword": _text("keyword"),
    "burst": _text("burst"),
    "rating": _numeric("rating"),
    "frames": _numeric("frames"),
    "bits": _numeric("bits"),
    "focal": _numeric("focal_mm", {"": 1.0, "mm": 1.0}),
    "exposure": _exposure,
    "iso": _numeric("iso"),
    "orientation": _numeric("orientation"),
    "alpha": _flag("has_alpha"),
    "raw": _flag("is_raw"),
    "screenshot": _flag("is_screenshot"),
    "motion": _flag("is_motion"),
    "gainmap": _flag("has_gain_map"),
}
