"""The map of a collection, as one PNG, or as one HTML page that zooms and moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from retrieval.arrays import Floats, Pixels
from retrieval.pages.raster import data_uri, png
from retrieval.pages.sheet import CELL_PX, GAP_PX, INK, PAPER
from retrieval.pictures.thumbnail import THUMB_PX, UNREADABLE, letterbox
from retrieval.text import printable

if TYPE_CHECKING:
    from retrieval.explore.plane import Cluster, Plane

CELLS = 32  # in a row of the PNG's map
MAP_PX = CELLS * THUMB_PX
LABEL_PX = 22
PER_LINE = MAP_PX // (CELL_PX + GAP_PX)  # clusters below the map
LINE_PX = CELL_PX + LABEL_PX + GAP_PX


def map_png(plane: Plane, thumbs: Sequence[Pixels | None]) -> tuple[bytes, int]:
    """The map as a PNG, and the number of pictures on it.

    Each cell shows the picture nearest to its centre. The clusters' decoded pictures are below the map, with the
    numbers that mark them on it.
    """
    places = nearest_to_cells(plane.positions, [thumb is not None for thumb in thumbs])
    below = math.ceil(len(plane.clusters) / PER_LINE) * LINE_PX
    sheet = Image.new("RGB", (MAP_PX, MAP_PX + GAP_PX + below), PAPER)
    for (column, line), number in places.items():
        thumb = thumbs[number]
        assert thumb is not None
        sheet.paste(Image.fromarray(thumb), (column * THUMB_PX, line * THUMB_PX))
    for number, cluster in enumerate(plane.clusters):
        _draw_cluster(sheet, number, cluster)
    return png(sheet), len(places)


def _draw_cluster(sheet: Image.Image, number: int, cluster: Cluster) -> None:
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    x, y = (min(MAP_PX - LABEL_PX, max(LABEL_PX, value * MAP_PX)) for value in cluster.position)
    pen.ellipse((x - 16, y - 16, x + 16, y + 16), fill=PAPER, outline=INK, width=2)
    pen.text((x, y), str(number + 1), fill=INK, font=font, anchor="mm")
    line, column = divmod(number, PER_LINE)
    left, top = column * (CELL_PX + GAP_PX), MAP_PX + GAP_PX + line * LINE_PX
    if cluster.painted is not None:
        sheet.paste(Image.fromarray(letterbox(cluster.painted)), (left, top))
    pen.text((left, top + CELL_PX + 2), f"{number + 1}: {cluster.count:,}", fill=INK, font=font)


def nearest_to_cells(positions: Floats, drawable: Sequence[bool]) -> dict[tuple[int, int], int]:
    """For each cell (column, line) with a drawable one of points (n, 2): the number of that nearest to its centre."""
    cells = np.minimum((positions * CELLS).astype(int), CELLS - 1)
    away = np.abs(positions * CELLS - cells - 0.5).max(1)
    places: dict[tuple[int, int], int] = {}
    for number in np.argsort(away, kind="stable").tolist():
        if drawable[number]:
            places.setdefault((int(cells[number, 0]), int(cells[number, 1])), number)
    return places


def map_html(plane: Plane, thumbs: Sequence[Pixels | None]) -> str:
    """The map as one self-contained page. Zooming shows the thumbnails, and a click opens the picture's file."""
    from retrieval.pages.render import render

    side = math.ceil(math.sqrt(max(1, len(thumbs))))
    facts = {
        "side": side,
        "thumb": THUMB_PX,
        "total": plane.total,
        "names": [printable(name) for name in plane.paths],
        "links": [Path(name).as_uri() for name in plane.paths],
        "x": np.round(plane.positions[:, 0].astype(float), 4).tolist(),
        "y": np.round(plane.positions[:, 1].astype(float), 4).tolist(),
        "clusters": [_cluster_facts(cluster) for cluster in plane.clusters],
    }
    return render("map.html", title="latent map", facts=facts, atlas=_atlas(thumbs, side))


def _cluster_facts(cluster: Cluster) -> dict[str, object]:
    (x, y), painted = cluster.position, cluster.painted
    return {"x": x, "y": y, "count": cluster.count, "src": None if painted is None else data_uri(painted)}


def _atlas(thumbs: Sequence[Pixels | None], side: int) -> Pixels:
    """All thumbnails as one picture, ``side`` in a row."""
    atlas = np.full((side * THUMB_PX, side * THUMB_PX, 3), UNREADABLE, np.uint8)
    for number, thumb in enumerate(thumbs):
        if thumb is not None:
            line, column = (THUMB_PX * place for place in divmod(number, side))
            atlas[line : line + THUMB_PX, column : column + THUMB_PX] = thumb
    return atlas
