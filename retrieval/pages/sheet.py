"""Contact sheets: queries, hits and their decoded pictures, as one PNG or one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from retrieval.arrays import Pixels
from retrieval.errors import LatentError
from retrieval.pages.raster import png
from retrieval.pictures.thumbnail import SIDE_PX, letterbox
from retrieval.text import printable

CELL_PX = SIDE_PX
GAP_PX = 8
CAPTION_PX = 34
PER_LINE = 10
LINES_MOST = 400  # in a PNG: some hundred megabytes of memory
ABOUT = "Top: the picture. Below it: what the generator decodes from its code, which is how the index sees it."
ABOUT_HEAT = (
    " Below that: where this differs from the decoded query; black: nowhere, white: most. "
    "Under the query: its realism, and the share of the collection that is less novel."
)
INK, PAPER, FAINT = "#1c1c1e", "#ffffff", "#77777c"


@dataclass(frozen=True)
class Cell:
    """A picture, the pictures under it (decoded from its code, if a generator exists), and up to two lines of text."""

    picture: Pixels
    under: Sequence[Pixels]
    caption: tuple[str, ...]
    source: str = ""


@dataclass(frozen=True)
class SheetRow:
    """One query and its hits."""

    query: Cell
    hits: Sequence[Cell]


def sheet_png(rows: Sequence[SheetRow]) -> bytes:
    """A PNG with each query on the left and its hits in lines of ten beside it, each above its ``under`` pictures.

    Raises:
        LatentError: there are more lines than one sheet can hold.
    """
    lines = [
        (row.query if start == 0 else None, row.hits[start : start + PER_LINE])
        for row in rows
        for start in range(0, max(1, len(row.hits)), PER_LINE)
    ]
    return _drawn([[query, *hits] for query, hits in lines], GAP_PX)


def grid_png(cells: Sequence[Cell]) -> bytes:
    """A PNG with equal pictures, each above its ``under``, in a grid without holes but at its end.

    Raises:
        LatentError: there are more lines than one sheet can hold.
    """
    across = min(PER_LINE, max(1, math.ceil(math.sqrt(len(cells)))))
    return _drawn([cells[start : start + across] for start in range(0, len(cells), across)])


def _drawn(lines: Sequence[Sequence[Cell | None]], apart_px: int = 0) -> bytes:
    """Lines of cells as a PNG; None is an empty place. The first column is ``apart_px`` further from the others."""
    if len(lines) > LINES_MOST:
        text = f"{len(lines):,} lines do not fit one sheet, which takes {LINES_MOST:,}"
        raise LatentError(text, "sheet_too_long", lines=len(lines), most=LINES_MOST)
    columns = max(map(len, lines), default=1)
    deep = 1 + max((len(cell.under) for line in lines for cell in line if cell), default=0)
    line_px = CELL_PX * deep + CAPTION_PX + 2 * GAP_PX
    size = (columns * (CELL_PX + GAP_PX) + GAP_PX + apart_px, max(1, len(lines)) * line_px + GAP_PX)
    sheet = Image.new("RGB", size, PAPER)
    for number, line in enumerate(lines):
        for column, cell in enumerate(line):
            left = GAP_PX + column * (CELL_PX + GAP_PX) + (apart_px if column else 0)
            if cell is not None:
                _draw_cell(sheet, cell, left, GAP_PX + number * line_px, deep)
    return png(sheet)


def _draw_cell(sheet: Image.Image, cell: Cell, left: int, top: int, deep: int) -> None:
    for level, pixels in enumerate((cell.picture, *cell.under)):
        sheet.paste(Image.fromarray(letterbox(pixels)), (left, top + level * CELL_PX))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    text_top = top + CELL_PX * deep + 3
    for number, line in enumerate(cell.caption):
        colour = INK if number == 0 else FAINT
        pen.text((left + 1, text_top + 14 * number), _fitting(printable(line), font), fill=colour, font=font)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Shorten ``text`` from the left, where paths differ least."""
    if font.getlength(text) <= CELL_PX:
        return text
    while text and font.getlength("..." + text) > CELL_PX:
        text = text[1:]
    return "..." + text


def strip_png(groups: Sequence[Sequence[Pixels] | Pixels]) -> bytes:
    """A PNG with pictures side by side, and a gap between groups."""
    shown = [group for group in groups if len(group)]
    width = sum(map(len, shown)) * CELL_PX + (len(shown) + 1) * GAP_PX
    strip = Image.new("RGB", (width, CELL_PX + 2 * GAP_PX), PAPER)
    left = GAP_PX
    for group in shown:
        for pixels in group:
            strip.paste(Image.fromarray(letterbox(pixels)), (left, GAP_PX))
            left += CELL_PX
        left += GAP_PX
    return png(strip)


def sheet_html(rows: Sequence[SheetRow], title: str = "latent query", about: str = ABOUT) -> str:
    """One self-contained HTML page with all pictures inside."""
    from retrieval.pages.render import render

    return render("sheet.html", rows=rows, title=title, about=about)
