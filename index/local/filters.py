"""Filters in SQLite's dialect. Values are bound parameters, never part of the SQL text."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, and_, false, not_, or_, true

from index.local.tables import pictures
from index.where import AllOf, AnyOf, Compare, InFolder, Not, Where

SIGNS: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def clause(where: Where, roots: dict[int, str]) -> ColumnElement[bool]:
    """The condition on ``pictures``. ``roots`` are the roots of the catalog, as absolute paths."""
    match where:
        case Compare(fact, sign, value):
            return SIGNS[sign](pictures.c[fact], value)
        case InFolder(folder):
            return or_(false(), *(_below(root_id, root, os.path.normpath(folder)) for root_id, root in roots.items()))
        case Not(term):
            return not_(clause(term, roots))
        case AllOf(terms):
            return and_(true(), *(clause(term, roots) for term in terms))
        case AnyOf(terms):
            return or_(false(), *(clause(term, roots) for term in terms))


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
