"""Filters in words: the grammar of the index; ``novelty``, which is measured on the collection; and ``text``, which
searches words about pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from index.grammar import PLAIN, Condition, number, parse
from index.where import AllOf, Listed, Not, Where
from retrieval.explore.novelty import novel

if TYPE_CHECKING:
    from retrieval.searcher import Searcher

Filter = Where | str
"""A filter as data, or in words: ``taken >= 2024-06 and width >= 2000``."""


def conditions(searcher: Searcher, text: str) -> list[Condition]:
    """The conditions of a filter, all of which must be met.

    Raises:
        FilterError: it cannot be read.
    """

    def novelty(sign: str, word: str) -> Where:
        if sign not in ("<", "<=", ">", ">="):
            raise ValueError("takes < <= > or >=, and a share from 0 to 1")
        share = float(number(word, PLAIN))
        if sign in (">", ">="):
            return novel(searcher.looks(), sign, share)  # type: ignore[arg-type]
        return Not(novel(searcher.looks(), ">=" if sign == "<" else ">", share))

    def words(sign: str, text: str) -> Where:
        if sign not in ("=", "!="):
            raise ValueError("takes = or !=, and words")
        found = with_words(searcher, text)
        return found if sign == "=" else Not(found)

    return parse(text, {"novelty": novelty, "text": words})


def with_words(searcher: Searcher, text: str) -> Where:
    """The filter of pictures whose path, title or keywords have all words of ``text``, or words that begin so."""
    return Listed(frozenset(searcher.index.rows.with_words(text)))


def where_of(searcher: Searcher, filter_: Filter | None) -> Where | None:
    """A filter as data. Raises as ``conditions``."""
    if not isinstance(filter_, str):
        return filter_
    return AllOf(tuple(one.where for one in conditions(searcher, filter_)))
