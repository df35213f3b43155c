"""A plan for copies as a page: each kept picture, its copies beside it, and where they differ."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from retrieval.arrays import Pixels
from retrieval.pages.heat import heat_maps
from retrieval.pages.sheet import Cell, SheetRow, sheet_html

if TYPE_CHECKING:
    from retrieval.copies.plan import Evidence, Group, Plan

ABOUT = (
    "Left: the picture to keep. Below it: what the generator decodes from the average code of its group. "
    "Right: its copies. Below each: where it differs from the kept picture (black: nowhere)."
)


def plan_html(plan: Plan, thumbnails: Mapping[str, Pixels], prototypes: Mapping[str, Pixels]) -> str:
    """All groups of ``plan`` as one self-contained page.

    Args:
        thumbnails: uint8 (s, s, 3) of all files of the plan, by path.
        prototypes: the decoded average code of each group, by the path of the kept file; groups may have none.
    """
    return sheet_html([_row(group, thumbnails, prototypes) for group in plan.groups], "latent dedup", ABOUT)


def _row(group: Group, thumbnails: Mapping[str, Pixels], prototypes: Mapping[str, Pixels]) -> SheetRow:
    kept, below = thumbnails[group.keep], [prototypes[group.keep]] if group.keep in prototypes else []
    keep = Cell(kept, below, ("keep", os.path.basename(group.keep)), group.keep)
    return SheetRow(keep, [_copy(kept, thumbnails[evidence.path], evidence) for evidence in group.evidence])


def _copy(kept: Pixels, picture: Pixels, evidence: Evidence) -> Cell:
    why = f"{evidence.kind}   {evidence.alike:.2f}"
    words = (" ".join(filter(None, (why, evidence.turned))), os.path.basename(evidence.path))
    return Cell(picture, heat_maps(kept, picture[None]), words, evidence.path)
