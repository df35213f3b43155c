"""Prototypes of groups of copies: decoded average codes."""

from __future__ import annotations

import contextlib

import numpy as np

from retrieval.arrays import Floats, Pixels
from retrieval.copies.plan import Group, Plan
from retrieval.errors import PictureRefused
from retrieval.searcher import Searcher


def paint_prototypes(retriever: Searcher, plan: Plan) -> dict[str, Pixels]:
    """Decode the average code of each group: uint8 (s, s, 3), by the path of the kept file.

    A group whose files are all missing has none. Without a generator the result is empty.
    """
    if not retriever.model.has_generator:
        return {}
    averages = {group.keep: code for group in plan.groups if (code := _average_code(retriever, group)) is not None}
    if not averages:
        return {}
    return dict(zip(averages, retriever.decode(np.stack(list(averages.values()))), strict=True))


def _average_code(retriever: Searcher, group: Group) -> Floats | None:
    codes = []
    for path in (group.keep, *group.remove):
        with contextlib.suppress(PictureRefused):  # missing since it was indexed
            codes.append(retriever.look_at(path).code)
    return np.asarray(np.mean(codes, axis=0)) if codes else None
