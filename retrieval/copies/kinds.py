"""Kinds of pairs: what somebody would call the one picture of the other."""

from __future__ import annotations

from typing import Literal, get_args

from index.facts import Facts
from retrieval.copies.verdict import Verdict

Kind = Literal["bytes", "pixels", "scaled", "edited", "frame", "series", "variant"]
"""The same bytes; the same pixels, stored otherwise; saved again or scaled; cropped, turned, toned or written on; only
the first of several frames, or a raw file and its picture, are alike; other shots of one moment; one layout with other
content."""
KINDS: tuple[Kind, ...] = get_args(Kind)
COPIES: tuple[Kind, ...] = ("bytes", "pixels", "scaled", "edited")  # the kinds of which one picture can go
SERIES_S = 120.0  # between shots of one moment
VARIANT = 0.7  # share of tiles that agree in pictures of one layout


def kind_of(found: Verdict, holds_more: bool, one: Facts, other: Facts, *, is_turned: bool = False) -> Kind | None:
    """The kind of a pair by what was seen; None if the pictures have nothing to do with each other, or nobody can tell.

    Two shots have two dates, and copies of one shot have one. So nearly equal pictures with two dates are a series.
    """
    apart_s = _apart_s(one, other)
    if apart_s and found.answer != "other":
        return "series" if apart_s <= SERIES_S else None
    if found.answer == "copy":
        return "frame" if holds_more else "edited" if found.differs or is_turned else "scaled"
    return "variant" if found.answer == "other" and found.alike >= VARIANT else None


def _apart_s(one: Facts, other: Facts) -> float:
    """Seconds between two shots; 0 if they may be one."""
    if one.taken_us is None or other.taken_us is None:
        return 0.0
    return abs(one.taken_us - other.taken_us) / 1e6
