"""Why a hit is a hit: where what the generator paints for it differs from what it paints for the query.

The generator paints what a code keeps, so a difference of paintings is a difference of codes, seen.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from retrieval.arrays import Floats, Pixels
from retrieval.pages.sheet import Cell, Row, thumbnail
from retrieval.retriever import Hit, Retriever

LEAST = 64.0  # grey levels of 255 that are drawn as white at least: a faint difference is to look faint


def answer_row(
    retriever: Retriever,
    asked: Pixels | None,
    words: tuple[str, ...],
    code: Floats,
    hits: Sequence[Hit],
    scale: float | None = None,
    heat: bool = False,
    source: str = "",
) -> Row:
    """A query and its hits for a sheet: under each what G paints for it and, with ``heat``, where that differs.

    Args:
        asked: the query's picture; None where it has none, and its painting stands for it.
        words: what stands below it, in two lines at most.
        code: float32 (d,).
        scale: as in ``Model.decode``.
        source: where the query's picture lies.
    """
    painted: list[Pixels] = []
    under: list[list[Pixels]] = [[] for _ in hits]
    if retriever.model.has_generator:
        painted, paintings = list(retriever.decode(code[None], scale)), retriever.decode(hits, scale)
        levels = [paintings, *([heat_maps(painted[0], paintings)] if heat else [])]
        under = [list(below) for below in zip(*levels, strict=True)]
    if asked is None:
        asked, painted = (painted or [thumbnail(source)])[0], []
    cells = [Cell(thumbnail(hit.path), below, _caption(hit), hit.path) for hit, below in zip(hits, under, strict=True)]
    return Row(Cell(asked, painted, words, source), cells)


def _caption(hit: Hit) -> tuple[str, str]:
    return f"{hit.rank}   d {hit.distance:.2f}   cos {hit.similarity:.3f}", os.path.basename(hit.path)


def heat_maps(query: Pixels, hits: Pixels) -> list[Pixels]:
    """Where each of ``hits`` uint8 (n, s, s, 3) differs from ``query`` (s, s, 3): black nowhere, white most.

    The root mean square over the colours; all hits on one scale, so that they can be compared.
    """
    apart = np.sqrt(np.square(hits.astype(np.float32) - query).mean(-1))
    levels = np.rint(apart * (255 / max(LEAST, float(apart.max(initial=0.0))))).astype(np.uint8)
    return [_coloured(one) for one in levels]


def _coloured(levels: Pixels) -> Pixels:
    return np.asarray(ImageOps.colorize(Image.fromarray(levels, "L"), "black", "white", "#d9381e"))
