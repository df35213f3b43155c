"""The grammar of filters: what is written is what is meant, and what cannot be read is named with its column."""

from __future__ import annotations

import calendar
from datetime import datetime, timedelta

import numpy as np
import pytest

from index.grammar import FIELDS, FilterError, moment, parse
from index.where import AllOf, AnyOf, Compare, Known, Matches, Near, Not, Where

EPOCH = datetime(1970, 1, 1)
SIGNS = ("=", "!=", "<", "<=", ">", ">=")
WORDS = ("canon*", "a b", "it's", 'say "x"', "and", "(x)", "50%", "näme", "<=")


def quoted(word: str) -> str:
    return f'"{word}"' if "'" in word else f"'{word}'"


def us(moment_: datetime) -> int:
    return (moment_ - EPOCH) // timedelta(microseconds=1)


def drawn_number(rng: np.random.Generator) -> tuple[str, Where]:
    name, fact, unit, factor = [
        ("width", "width_px", "", 1),
        ("size", "size_bytes", "kB", 1000),
        ("pixels", "pixels", "MP", 1_000_000),
        ("ISO", "iso", "", 1),
        ("focal", "focal_mm", "mm", 1),
    ][rng.integers(5)]
    sign, value = SIGNS[rng.integers(6)], int(rng.integers(1, 5000))
    text = f"{name}{sign}{value}{unit}" if rng.random() < 0.5 else f"{name}  {sign} {value}{unit}"
    where = Compare(fact, "=" if sign == "!=" else sign, value * factor)  # type: ignore[arg-type]
    return text, Not(where) if sign == "!=" else where


def drawn_text(rng: np.random.Generator) -> tuple[str, Where]:
    word = WORDS[rng.integers(len(WORDS))]
    where = Matches("camera", word)
    return (f"camera = {quoted(word)}", where) if rng.random() < 0.5 else (f"camera!={quoted(word)}", Not(where))


def drawn(rng: np.random.Generator, deep: int = 3) -> tuple[str, Where]:
    """A filter in words, and as data."""
    kind = rng.integers(7 if deep else 4)
    if kind < 2:
        return (drawn_number, drawn_text)[kind](rng)
    if kind < 4:
        others = [
            ("rating = none", Not(Known("rating"))),
            ("title != NONE", Known("title")),
            ("place near 48.2,-16.4,500m", Near(48.2, -16.4, 0.5)),
        ]
        return others[rng.integers(3)]  # type: ignore[return-value]
    parts = [drawn(rng, deep - 1) for _ in range(2)]
    if kind == 4:
        return f"not ({parts[0][0]})", Not(parts[0][1])
    word, joined = ("and", AllOf) if kind == 5 else ("or", AnyOf)
    return f" {word} ".join(f"({text})" for text, _ in parts), joined(tuple(where for _, where in parts))


def flat(where: Where) -> Where:
    """Conditions of conditions as one list: the grammar joins what all must be met."""
    if isinstance(where, AllOf):
        terms = [flat(term) for term in where.terms]
        inner = [more for term in terms for more in (term.terms if isinstance(term, AllOf) else (term,))]
        return AllOf(tuple(inner))
    if isinstance(where, AnyOf):
        return AnyOf(tuple(flat(term) for term in where.terms))
    return Not(flat(where.term)) if isinstance(where, Not) else where


def test_what_is_written_is_what_is_meant() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        text, where = drawn(rng)
        found = [one.where for one in parse(text)]
        assert flat(AllOf(tuple(found))) == flat(AllOf((where,))), text


def test_a_quote_inside_quotes_is_written_twice() -> None:
    for text, pattern in (("'it''s'", "it's"), ('"say ""x"""', 'say "x"'), ("''''", "'"), ("''", "")):
        (one,) = parse(f"title = {text}")
        assert one.where == Matches("title", pattern)
    (one,) = parse("title=''or title='x'")
    assert one.where == AnyOf((Matches("title", ""), Matches("title", "x")))
    with pytest.raises(FilterError, match="a quote that is not closed"):
        parse("title = 'it''s")


def test_and_binds_more_than_or_and_not_most() -> None:
    a, b, c = (Compare("width_px", ">", number) for number in (1, 2, 3))
    (one,) = parse("width > 1 or width > 2 and not width > 3")
    assert one.where == AnyOf((a, AllOf((b, Not(c)))))
    conditions = parse("width > 1 AND (width > 2 and not width > 3)")
    assert [one.where for one in conditions] == [a, b, Not(c)]
    assert [one.text for one in conditions] == ["width > 1", "width > 2", "not width > 3"]


def test_a_date_means_all_of_it() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        year, month = int(rng.integers(1, 10_000)), int(rng.integers(1, 13))
        day = int(rng.integers(1, calendar.monthrange(year, month)[1] + 1))
        hour, minute, second = (int(rng.integers(most)) for most in (24, 60, 60))
        days = 366 if calendar.isleap(year) else 365
        cases = {
            f"{year:04d}": (datetime(year, 1, 1), days * 86400),
            f"{year:04d}-{month}": (datetime(year, month, 1), calendar.monthrange(year, month)[1] * 86400),
            f"{year:04d}-{month:02d}-{day:02d}": (datetime(year, month, day), 86400),
            f"{year:04d}-{month}-{day} {hour}:{minute:02d}": (datetime(year, month, day, hour, minute), 60),
            f"{year:04d}-{month:02d}-{day}T{hour:02d}:{minute:02d}:{second:02d}": (
                datetime(year, month, day, hour, minute, second),
                1,
            ),
        }
        for text, (start, length_s) in cases.items():
            first, end = us(start), us(start) + length_s * 1_000_000
            assert moment(text) == (first, end)
            within = AllOf((Compare("taken_us", ">=", first), Compare("taken_us", "<", end)))
            wanted = {
                ">=": Compare("taken_us", ">=", first),
                "<": Compare("taken_us", "<", first),
                ">": Compare("taken_us", ">=", end),
                "<=": Compare("taken_us", "<", end),
                "=": within,
                "!=": Not(within),
            }
            for sign, where in wanted.items():
                assert [one.where for one in parse(f"taken {sign} '{text}'")] == [where]


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("heigth > 3", 1, "did you mean height?"),
        ("width > 3 and  heigth > 3", 16, "did you mean height?"),
        ("width >", 8, "expected a value after width >"),
        ("width >= 2000 and", 18, "expected a field"),
        ("(width > 3", 11, "expected )"),
        ("width > 3)", 10, "expected and, or, or the end"),
        ("width > 3 width > 4", 11, "expected and, or, or the end"),
        ("width ~ 3", 7, "expected a sign"),
        ("width > 'abc", 9, "a quote that is not closed"),
        ("width > 3px and size > 2mx", 24, "'2mx' is not a number with b, kb, mb, gb"),
        ("width > 1e999", 9, "finite"),
        ("width > nan", 9, "not a number"),
        ("taken > 0000", 9, "'0000' is not a date"),
        ("taken > 10000-01", 9, "not a date such as"),
        ("taken > 2024-13", 9, "month must be in 1..12"),
        ("taken > 2023-02-29", 9, "is not a date"),
        ("place near 91,0,5km", 12, "a latitude from -90 to 90"),
        ("place near 1,2", 12, "not a place and a distance"),
        ("place near nan,0,5", 12, "not a number"),
        ("keyword = a*b", 11, "at its ends"),
        ("raw > yes", 7, "takes = or !="),
        ("camera < a", 10, "takes = or !="),
        ("", 1, "expected a field"),
        ("((" * 30 + "width > 3", 51, "more than 50 parentheses"),
        ("width > 3 " * 2000, 10_000, "at most 10,000 characters"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_column(text: str, column: int, words: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert words in caught.value.message
    assert caught.value.column == column
    assert f"at column {column} of" in str(caught.value)


def test_whatever_is_written_is_read_or_refused() -> None:
    """Drawn words, most of them in the order of the grammar: a filter, or an error that names a column of the text."""
    rng = np.random.default_rng(2)
    values = ["none", "2024-06", "'a b'", "5km", "1,2,3", "*", "é", "\0", "7", "yes", "1/60", "'", ")", "and"]
    read = 0
    for _ in range(5000):
        words: list[str] = []
        for _ in range(rng.integers(1, 4)):
            words += [
                str(rng.choice(some)) for some in ([*FIELDS], [*SIGNS, "near"], values, ["and", "or", "not", "("])
            ]
        text = " ".join(words[:-1] if rng.random() < 0.8 else words)
        try:
            read += bool(parse(text))
        except FilterError as error:
            assert 1 <= error.column <= len(text) + 1
    assert 100 < read < 4500
