"""What the copies of one picture have in common, decoded."""

from __future__ import annotations

import contextlib

import numpy as np

from retrieval.arrays import Floats, Pixels
from retrieval.copies.plan import Group, Plan
from retrieval.errors import PictureRefused
from retrieval.searcher import Searcher


def paint_prototypes(retriever: Searcher, plan: Plan) -> dict[str, Pixels]:
    """What G paints for the average code of each group, uint8 (s, s, 3), by the path of its kept picture.

    Groups whose pictures are all gone have none, and without a generator no group has one.
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
        with contextlib.suppress(PictureRefused):  # gone since it was indexed
            codes.append(retriever.look_at(path).code)
    return np.asarray(np.mean(codes, axis=0)) if codes else None
