"""A plan for copies as a page to look through: what is kept, each copy beside it, and where they differ."""

from __future__ import annotations

import contextlib
import os

import numpy as np

from retrieval.arrays import Pixels
from retrieval.copies.find import Evidence, Group, Plan
from retrieval.errors import PictureRefused
from retrieval.pages.explain import heat_maps
from retrieval.pages.sheet import Cell, Row, draw_html, thumbnail
from retrieval.retriever import Retriever

ABOUT = (
    "Left: the picture to keep; below it, what the generator paints for the average code of its group. "
    "Beside it its copies; below each, where it differs from the kept one (black: nowhere)."
)


def draw_plan(plan: Plan, retriever: Retriever, path: str | os.PathLike[str]) -> None:
    """Write every group of ``plan`` as one self-contained HTML page."""
    rows = [_row(group, retriever) for group in plan.groups]
    draw_html(rows, path, "latent dedup", ABOUT)


def _row(group: Group, retriever: Retriever) -> Row:
    kept = thumbnail(group.keep)
    keep = Cell(kept, _prototype(group, retriever), ("keep", os.path.basename(group.keep)), group.keep)
    return Row(keep, [_copy(kept, evidence) for evidence in group.evidence])


def _copy(kept: Pixels, evidence: Evidence) -> Cell:
    picture = thumbnail(evidence.path)
    why = f"same {evidence.kind}" if evidence.kind != "near" else f"d {evidence.distance:.2f}   {evidence.likeness:.3f}"
    words = (" ".join(filter(None, (why, evidence.turned))), os.path.basename(evidence.path))
    return Cell(picture, heat_maps(kept, picture[None]), words, evidence.path)


def _prototype(group: Group, retriever: Retriever) -> list[Pixels]:
    if not retriever.model.has_generator:
        return []
    codes = []
    for path in (group.keep, *group.remove):
        with contextlib.suppress(PictureRefused):  # gone since it was indexed
            codes.append(retriever.look_at(path).code)
    return list(retriever.decode(np.mean(codes, axis=0, keepdims=True))) if codes else []
