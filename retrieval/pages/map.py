"""The map of a collection, as one PNG, or as one HTML page that zooms and moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from index.roots import link_to
from retrieval.arrays import Floats, Pixels
from retrieval.defaults import MAP_CELLS as CELLS
from retrieval.pages.raster import data_uri, png
from retrieval.pages.sheet import CELL_PX, GAP_PX, INK, PAPER
from retrieval.pictures.thumbnail import THUMB_PX, UNREADABLE, letterbox
from retrieval.text import printable

if TYPE_CHECKING:
    from retrieval.explore.plane import Cluster, Plane

MAP_PX = CELLS * THUMB_PX
LABEL_PX = 22
CLUSTER_PX = 2 * CELL_PX + 2 * GAP_PX  # its decoded average, and its most typical picture
PER_LINE = MAP_PX // CLUSTER_PX  # clusters below the map
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
        _draw_cluster(sheet, number, cluster, thumbs)
    return png(sheet), len(places)


def _draw_cluster(sheet: Image.Image, number: int, cluster: Cluster, thumbs: Sequence[Pixels | None]) -> None:
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    x, y = (min(MAP_PX - LABEL_PX, max(LABEL_PX, value * MAP_PX)) for value in cluster.position)
    pen.ellipse((x - 16, y - 16, x + 16, y + 16), fill=PAPER, outline=INK, width=2)
    pen.text((x, y), str(number + 1), fill=INK, font=font, anchor="mm")
    line, column = divmod(number, PER_LINE)
    left, top = column * CLUSTER_PX, MAP_PX + GAP_PX + line * LINE_PX
    for pixels in (cluster.painted, _typical(cluster, thumbs)):
        if pixels is not None:
            sheet.paste(Image.fromarray(letterbox(pixels)), (left, top))
            left += CELL_PX
    left = column * CLUSTER_PX
    pen.text((left, top + CELL_PX + 2), f"{number + 1}: {cluster.count:,}", fill=INK, font=font)


def _typical(cluster: Cluster, thumbs: Sequence[Pixels | None]) -> Pixels | None:
    """The most typical picture of a cluster, of those that can be read."""
    return next((pixels for number in cluster.members if (pixels := thumbs[number]) is not None), None)


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
    """The map as one self-contained page. Zooming shows the thumbnails, and a click opens the picture's file.

    Pictures without a thumbnail are points.
    """
    from retrieval.pages.render import render

    sprites = [pixels for pixels in thumbs if pixels is not None]
    places = np.cumsum([pixels is not None for pixels in thumbs]) - 1
    side = math.ceil(math.sqrt(max(1, len(sprites))))
    facts = {
        "side": side,
        "thumb": THUMB_PX,
        "total": plane.total,
        "names": [printable(name) for name in plane.paths],
        "links": [link_to(name) for name in plane.paths],
        "x": np.round(plane.positions[:, 0].astype(float), 4).tolist(),
        "y": np.round(plane.positions[:, 1].astype(float), 4).tolist(),
        "sprites": [-1 if pixels is None else int(place) for pixels, place in zip(thumbs, places, strict=True)],
        "clusters": [_cluster_facts(cluster, thumbs) for cluster in plane.clusters],
    }
    return render("map.html", title="latent map", facts=facts, atlas=_atlas(sprites, side))


def _cluster_facts(cluster: Cluster, thumbs: Sequence[Pixels | None]) -> dict[str, object]:
    (x, y), shown = cluster.position, {"src": cluster.painted, "typical": _typical(cluster, thumbs)}
    uris = {name: None if pixels is None else data_uri(pixels) for name, pixels in shown.items()}
    return {"x": x, "y": y, "count": cluster.count, **uris}


def _atlas(sprites: Sequence[Pixels], side: int) -> Pixels:
    """All thumbnails as one picture, ``side`` in a row."""
    atlas = np.full((side * THUMB_PX, side * THUMB_PX, 3), UNREADABLE, np.uint8)
    for number, sprite in enumerate(sprites):
        line, column = (THUMB_PX * place for place in divmod(number, side))
        atlas[line : line + THUMB_PX, column : column + THUMB_PX] = sprite
    return atlas
