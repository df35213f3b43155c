"""A plane of pictures, drawn: as one PNG, or as one HTML page to zoom and move in."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from retrieval.arrays import Pixels
from retrieval.defaults import printable
from retrieval.explore.plane import THUMB_PX, Plane
from retrieval.pages.sheet import CELL_PX, GAP_PX, INK, PAPER, data_uri, letterbox

CELLS = 32  # of the PNG's map in a row
MAP_PX = CELLS * THUMB_PX
LABEL_PX = 22


def draw_map_png(plane: Plane, thumbs: Sequence[Pixels | None], path: str | os.PathLike[str]) -> int:
    """Draw a map of cells, in each the picture nearest to its middle, and the clusters' paintings in a row below.

    Clusters carry a number there and on the map. Returns how many pictures found a place.
    """
    places = nearest_to_cells(plane.positions, [thumb is not None for thumb in thumbs])
    below = _rows_of(len(plane.clusters)) * (CELL_PX + LABEL_PX + GAP_PX)
    sheet = Image.new("RGB", (MAP_PX, MAP_PX + GAP_PX + below), PAPER)
    for (column, line), number in places.items():
        thumb = thumbs[number]
        assert thumb is not None
        sheet.paste(Image.fromarray(thumb), (column * THUMB_PX, line * THUMB_PX))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for number, cluster in enumerate(plane.clusters):
        x, y = (min(MAP_PX - LABEL_PX, max(LABEL_PX, value * MAP_PX)) for value in cluster.position)
        pen.ellipse((x - 16, y - 16, x + 16, y + 16), fill=PAPER, outline=INK, width=2)
        pen.text((x, y), str(number + 1), fill=INK, font=font, anchor="mm")
        line, column = divmod(number, MAP_PX // (CELL_PX + GAP_PX))
        left, top = column * (CELL_PX + GAP_PX), MAP_PX + GAP_PX + line * (CELL_PX + LABEL_PX + GAP_PX)
        if cluster.painted is not None:
            sheet.paste(Image.fromarray(letterbox(cluster.painted)), (left, top))
        pen.text((left, top + CELL_PX + 2), f"{number + 1}: {cluster.count:,}", fill=INK, font=font)
    sheet.save(path, "PNG")
    return len(places)


def _rows_of(count: int) -> int:
    return math.ceil(count / (MAP_PX // (CELL_PX + GAP_PX)))


def nearest_to_cells(positions: np.ndarray, drawable: Sequence[bool]) -> dict[tuple[int, int], int]:
    """For each cell (column, line) with a drawable one of points (n, 2), the number of that nearest to its middle."""
    cells = np.minimum((positions * CELLS).astype(int), CELLS - 1)
    away = np.abs(positions * CELLS - cells - 0.5).max(1)
    places: dict[tuple[int, int], int] = {}
    for number in np.argsort(away, kind="stable").tolist():
        if drawable[number]:
            places.setdefault((int(cells[number, 0]), int(cells[number, 1])), number)
    return places


def draw_map_html(plane: Plane, thumbs: Sequence[Pixels | None], path: str | os.PathLike[str]) -> None:
    """Write one self-contained page: thumbnails come out as one zooms in, and a click opens the picture's file."""
    side = math.ceil(math.sqrt(max(1, len(thumbs))))
    atlas = np.full((side * THUMB_PX, side * THUMB_PX, 3), 200, np.uint8)
    for number, thumb in enumerate(thumbs):
        if thumb is not None:
            line, column = (THUMB_PX * place for place in divmod(number, side))
            atlas[line : line + THUMB_PX, column : column + THUMB_PX] = thumb
    facts = {
        "side": side,
        "thumb": THUMB_PX,
        "total": plane.total,
        "names": [printable(name) for name in plane.paths],
        "links": [Path(name).as_uri() for name in plane.paths],
        "x": np.round(plane.positions[:, 0].astype(float), 4).tolist(),
        "y": np.round(plane.positions[:, 1].astype(float), 4).tolist(),
        "clusters": [
            {
                "x": one.position[0],
                "y": one.position[1],
                "count": one.count,
                "src": None if one.painted is None else data_uri(one.painted),
            }
            for one in plane.clusters
        ],
    }
    text = json.dumps(facts, separators=(",", ":")).replace("<", "\\u003c")  # a name must not end the script
    page = Template(files("retrieval").joinpath("pages/templates/map.html").read_text(encoding="utf-8"))
    Path(path).write_text(page.substitute(facts=text, atlas=data_uri(atlas)), encoding="utf-8")
