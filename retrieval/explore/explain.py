"""Explain a hit: where its decoded picture differs from that of the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from retrieval.arrays import Floats, Pixels
from retrieval.pages.heat import heat_maps
from retrieval.pages.sheet import Cell, SheetRow
from retrieval.pictures.thumbnail import SIDE_PX, UNREADABLE, thumbnail, thumbnails
from retrieval.roots.regions import name_of

if TYPE_CHECKING:
    from retrieval.searcher import Hit, Searcher


def answer_row(
    retriever: Searcher,
    asked: Pixels | None,
    words: tuple[str, ...],
    code: Floats,
    hits: Sequence[Hit],
    scale: float | None = None,
    heat: bool = False,
    source: str = "",
) -> SheetRow:
    """A row of a sheet: a query and its hits, each above its decoded picture and, with ``heat``, a heat map.

    Args:
        asked: the query's picture; if None, its decoded picture takes the place.
        words: the caption below it, at most two lines.
        code: the query's code, float32 (d,).
        scale: as in ``Model.decode``.
        source: the path of the query's picture.
    """
    painted: list[Pixels] = []
    under: list[list[Pixels]] = [[] for _ in hits]
    if retriever.model.has_generator:
        painted, paintings = list(retriever.decode(code[None], scale)), retriever.decode(hits, scale)
        levels = [paintings, *([heat_maps(painted[0], paintings)] if heat else [])]
        under = [list(below) for below in zip(*levels, strict=True)]
    if asked is None:
        asked, painted = (painted or [thumbnail(source)])[0], []
    shown = zip(hits, _pictures(hits, under), under, strict=True)
    cells = [Cell(picture, below, _caption(hit), hit.path) for hit, picture, below in shown]
    return SheetRow(Cell(asked, painted, words, source), cells)


def _pictures(hits: Sequence[Hit], under: Sequence[Sequence[Pixels]]) -> list[Pixels]:
    """The thumbnail of each hit; of those elsewhere the decoded picture, or plain grey if nothing decodes it."""
    here = iter(thumbnails([hit.path for hit in hits if not hit.is_elsewhere]))
    return [_decoded(below) if hit.is_elsewhere else next(here) for hit, below in zip(hits, under, strict=True)]


def _decoded(below: Sequence[Pixels]) -> Pixels:
    return below[0] if below else np.full((SIDE_PX, SIDE_PX, 3), UNREADABLE, np.uint8)


def _caption(hit: Hit) -> tuple[str, str]:
    state = "elsewhere: " if hit.is_elsewhere else "gone: " if hit.is_gone else ""
    return f"{hit.rank}   d {hit.distance:.2f}   cos {hit.similarity:.3f}", f"{state}{name_of(hit.path)}"
