"""Filters in SQLite's dialect. Values are bound parameters, never part of the SQL text.

A comparison with what is not known is NULL, which lets nothing pass; ``Not`` makes it true.
"""

from __future__ import annotations

import json
import math
import operator
import os
import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Text, and_, case, cast, false, func, literal, not_, or_, select, true

from index.local.functions import EARTH_KM
from index.local.tables import facts, pictures
from index.roots import BOX_LETTERS, BOX_MARK, is_url, normal, region_kind
from index.where import (
    ANY,
    FACTS,
    ONE,
    PATH_TEXTS,
    AllOf,
    AnyOf,
    Compare,
    InFolder,
    Known,
    Listed,
    Matches,
    Near,
    Not,
    Order,
    Unusual,
    Where,
    leaves,
)

SIGNS: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
DEGREE_KM = math.pi / 180 * EARTH_KM
ESCAPE = "\\"
ROOT = pictures.c.root_id
PATH = cast(pictures.c.path, Text)
FOLDER = func.rtrim(PATH, func.replace(PATH, "/", ""))  # what stays is up to the last slash
TAKEN = func.coalesce(facts.c.taken_us, pictures.c.mtime_ns / 1000)


def clause(where: Where, roots: dict[int, str]) -> ColumnElement[bool]:
    """The condition on ``source_of(where)``. ``roots`` are the roots of the catalog, as absolute paths."""
    match where:
        case Not(term):
            return not_(func.coalesce(clause(term, roots), false()))
        case AllOf(terms):
            return and_(true(), *(clause(term, roots) for term in terms))
        case AnyOf(terms):
            return or_(false(), *(clause(term, roots) for term in terms))
    return _leaf(where, roots)


def _leaf(where: Where, roots: dict[int, str]) -> ColumnElement[bool]:
    match where:
        case Compare(fact, sign, value):
            return SIGNS[sign](_number(fact), value)
        case Matches(fact, pattern):
            return _matches(fact, pattern, roots)
        case Known(fact):
            return _content("keywords" if fact == "keyword" else fact).is_not(None)
        case Near(latitude, longitude, km):
            return _near(latitude, longitude, km)
        case InFolder(folder):
            below = (_below(root_id, root, _as_in(root, normal(folder))) for root_id, root in roots.items())
            return or_(false(), *below)
    assert isinstance(where, Unusual | Listed)
    return distance_from(where) > where.radius if isinstance(where, Unusual) else _is_listed(where)


def _is_listed(where: Listed) -> ColumnElement[bool]:
    return pictures.c.id.in_(select(func.json_each(json.dumps(sorted(where.ids))).table_valued("value").c.value))


def in_order(order: Order, descending: bool, roots: dict[int, str]) -> list[ColumnElement[Any]]:
    """What pictures are ordered by. What is not known comes last.

    Raises:
        ValueError: there is no such fact.
    """
    if order == "path":
        by_root = case({number: place for place, number in enumerate(sorted(roots, key=roots.__getitem__))}, value=ROOT)
        by = [by_root, pictures.c.path]
    elif isinstance(order, Unusual):
        by = [distance_from(order)]
    elif order in FACTS:
        by = [_number(order)]
    else:
        raise ValueError(f"pictures have an order by {', '.join(('path', *FACTS))}, not {order!r}")
    return [(one.desc() if descending else one.asc()).nulls_last() for one in by]


def source_of(where: Where, order: Order = "path") -> FromClause:
    """The table, or the tables, that a condition and an order ask."""
    both = asks_contents(where) or (isinstance(order, str) and order in facts.c)
    return pictures.outerjoin(facts, facts.c.content_hash == pictures.c.content_hash) if both else pictures


def asks_contents(where: Where) -> bool:
    """Whether a filter asks facts of contents, and not of files alone."""
    return any(_asks_content(one) for one in leaves(where))


def _asks_content(where: Where) -> bool:
    match where:
        case Compare(fact):
            return fact in facts.c
        case Matches(fact):
            return fact not in PATH_TEXTS
        case Known() | Near():
            return True
    return False


def _number(fact: str) -> ColumnElement[Any]:
    if fact == "taken_us":
        return TAKEN
    if fact == "pixels":
        return pictures.c.width_px * pictures.c.height_px
    return pictures.c[fact] if fact in pictures.c else _content(fact)


def _content(fact: str) -> ColumnElement[Any]:
    return facts.c[fact]


def _matches(fact: str, pattern: str, roots: dict[int, str]) -> ColumnElement[bool]:
    match fact:
        case "root":
            mine = [root_id for root_id, root in roots.items() if _is_like(root, pattern)]
            return pictures.c.root_id.in_(mine)
        case "path":
            return _file(roots).bool_op("GLOB")(_glob(pattern))
        case "folder":
            return PATH.bool_op("GLOB")(_glob(pattern) + "/*")
        case "name":
            return func.substr(_file(roots), func.length(FOLDER) + 1).bool_op("GLOB")(_glob(pattern))
        case "keyword":
            start, end = ("" if pattern[:1] == ANY else "\n"), ("" if pattern[-1:] == ANY else "\n")
            inner = _like(start + pattern.strip(ANY) + end)
            return (literal("\n") + _content("keywords") + literal("\n")).like(f"%{inner}%", escape=ESCAPE)
    return _content(fact).like(_like(pattern), escape=ESCAPE)


def _file(roots: dict[int, str]) -> ColumnElement[str]:
    """The path of a picture's file: that of a region ends with its box."""
    of_regions = [root_id for root_id, root in roots.items() if region_kind(root)]
    if not of_regions:
        return PATH
    marked = func.rtrim(PATH, BOX_LETTERS)
    has_box = and_(ROOT.in_(of_regions), marked.bool_op("GLOB")(f"*{BOX_MARK}"))
    return case((has_box, func.substr(PATH, 1, func.length(marked) - len(BOX_MARK))), else_=PATH)


def _glob(pattern: str) -> str:
    """A pattern in the form of SQLite's GLOB, for which brackets mean something, too."""
    return pattern.replace("[", "[[]")


def _like(pattern: str) -> str:
    """A pattern in the form of LIKE, which takes no regard of the case of ASCII letters."""
    plain = re.sub(r"([%_\\])", r"\\\1", pattern)
    return plain.replace(ANY, "%").replace(ONE, "_")


def _is_like(text: str, pattern: str) -> bool:
    parts = (".*" if one == ANY else "." if one == ONE else re.escape(one) for one in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def _near(latitude: float, longitude: float, km: float) -> ColumnElement[bool]:
    """A band of latitudes first, since the distance costs more."""
    north, east = facts.c.latitude, facts.c.longitude
    band = north.between(latitude - 1.001 * km / DEGREE_KM - 1e-9, latitude + 1.001 * km / DEGREE_KM + 1e-9)
    return case((band, func.latent_km(north, east, latitude, longitude) <= km), else_=false())


def distance_from(of: Unusual) -> ColumnElement[float]:
    """The squared Mahalanobis distance of a picture's realism and spread."""
    (x, y), (xx, xy, yy) = of.middle, of.inverse
    across = pictures.c.realism - x
    up = func.latent_ln(func.max(pictures.c.spread, of.least)) - y
    return xx * across * across + 2 * xy * across * up + yy * up * up


def _as_in(root: str, folder: str) -> str:
    """The address of a folder of this machine in a root: in one of regions, that of the regions in it."""
    kind = region_kind(root)
    return f"{kind}:/{folder}" if kind and not is_url(folder) else folder


def _below(root_id: int, root: str, folder: str) -> ColumnElement[bool]:
    """Pictures of a root that are below ``folder``. Bytes are compared, so that SQLite can use its index."""
    mine = pictures.c.root_id == root_id
    if root == folder or root.startswith(os.path.join(folder, "")):
        return mine
    if not folder.startswith(os.path.join(root, "")):
        return false()
    inside = os.fsencode(os.path.join(os.path.relpath(folder, root), ""))
    behind = inside[:-1] + bytes([inside[-1] + 1])
    return and_(mine, pictures.c.path >= inside, pictures.c.path < behind)
