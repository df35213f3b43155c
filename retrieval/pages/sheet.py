"""Contact sheets: queries, hits, and what G paints for each, as one PNG or one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from retrieval.arrays import Pixels
from retrieval.defaults import printable
from retrieval.errors import PathError, PictureRefused
from retrieval.pictures.decode import read_image

CELL_PX = 128
GAP_PX = 8
CAPTION_PX = 34
PER_LINE = 10
LINES_MOST = 400  # of a PNG: some hundred megabytes in memory
ABOUT = "Above: the picture. Below: what the generator paints for its code, which is how the index sees it."
ABOUT_HEAT = (
    " Below that: where it differs from what is painted for the query; black nowhere, white most. "
    "Under the query stands its realism, and what share of the collection is less strange than it."
)
INK, PAPER, FAINT = "#1c1c1e", "#ffffff", "#77777c"


@dataclass(frozen=True)
class Cell:
    """A picture, what is shown under it (what G paints for it, where there is a generator), up to two lines of text."""

    picture: Pixels
    under: Sequence[Pixels]
    caption: tuple[str, ...]
    source: str = ""


@dataclass(frozen=True)
class Row:
    """One query and its hits."""

    query: Cell
    hits: Sequence[Cell]


def thumbnail(path: str | os.PathLike[str], side_px: int = CELL_PX) -> Pixels:
    """The picture at ``path``, whole, in a white square; a grey one where it cannot be read any more."""
    try:
        pixels = read_image(path, cover_px=side_px).pixels
    except (PictureRefused, OSError):
        return np.full((side_px, side_px, 3), 200, np.uint8)
    return letterbox(pixels, side_px)


def letterbox(pixels: Pixels, side_px: int = CELL_PX) -> Pixels:
    """Scale (h, w, 3) to fit into (side_px, side_px, 3), centred on white."""
    image = Image.fromarray(pixels)
    scale = side_px / max(image.size)
    size = tuple(max(1, round(length * scale)) for length in image.size)
    inner = image.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", (side_px, side_px), PAPER)
    canvas.paste(inner, ((side_px - size[0]) // 2, (side_px - size[1]) // 2))
    return np.asarray(canvas)


def draw_png(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Draw each query on the left, its hits in lines of ten beside it, and under each picture what belongs there."""
    lines = [
        (row.query if start == 0 else None, row.hits[start : start + PER_LINE])
        for row in rows
        for start in range(0, max(1, len(row.hits)), PER_LINE)
    ]
    if len(lines) > LINES_MOST:
        raise PathError(f"{os.fspath(path)}: {len(lines):,} lines do not fit one sheet, which takes {LINES_MOST:,}")
    columns = 1 + max((len(hits) for _, hits in lines), default=0)
    deep = 1 + max((len(cell.under) for query, hits in lines for cell in (query, *hits) if cell), default=0)
    line_px = CELL_PX * deep + CAPTION_PX + 2 * GAP_PX
    size = (columns * (CELL_PX + GAP_PX) + 2 * GAP_PX, max(1, len(lines)) * line_px + GAP_PX)
    sheet = Image.new("RGB", size, PAPER)
    for number, (query, hits) in enumerate(lines):
        top = GAP_PX + number * line_px
        if query is not None:
            _draw_cell(sheet, query, GAP_PX, top, deep)
        for column, hit in enumerate(hits, 1):
            _draw_cell(sheet, hit, 2 * GAP_PX + column * (CELL_PX + GAP_PX), top, deep)
    sheet.save(path, "PNG")


def _draw_cell(sheet: Image.Image, cell: Cell, left: int, top: int, deep: int) -> None:
    for level, pixels in enumerate((cell.picture, *cell.under)):
        sheet.paste(Image.fromarray(letterbox(pixels)), (left, top + level * CELL_PX))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    text_top = top + CELL_PX * deep + 3
    for number, line in enumerate(cell.caption):
        colour = INK if number == 0 else FAINT
        pen.text((left + 1, text_top + 14 * number), _fitting(printable(line), font), fill=colour, font=font)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Shorten from the left, where paths are least telling."""
    if font.getlength(text) <= CELL_PX:
        return text
    while text and font.getlength("..." + text) > CELL_PX:
        text = text[1:]
    return "..." + text


def draw_strip(groups: Sequence[Sequence[Pixels] | Pixels], path: str | os.PathLike[str]) -> None:
    """Draw pictures side by side, with a gap between one group and the next."""
    shown = [group for group in groups if len(group)]
    width = sum(map(len, shown)) * CELL_PX + (len(shown) + 1) * GAP_PX
    strip = Image.new("RGB", (width, CELL_PX + 2 * GAP_PX), PAPER)
    left = GAP_PX
    for group in shown:
        for pixels in group:
            strip.paste(Image.fromarray(letterbox(pixels)), (left, GAP_PX))
            left += CELL_PX
        left += GAP_PX
    strip.save(path, "PNG")


def draw_html(
    rows: Sequence[Row], path: str | os.PathLike[str], title: str = "latent query", about: str = ABOUT
) -> None:
    """One page with every picture inside it, that can be mailed or kept."""
    sections = "\n".join(_section(row) for row in rows)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style></head>\n'
        f"<body><h1>{html.escape(title)}</h1>\n<p>{html.escape(about)}</p>\n{sections}\n</body></html>\n"
    )
    Path(path).write_text(page, encoding="utf-8")


_STYLE = (
    "body{font:14px/1.4 system-ui,sans-serif;margin:24px;color:#1c1c1e;background:#fff}"
    "section{display:flex;flex-wrap:wrap;gap:12px;margin:16px 0;padding:12px 0;border-top:1px solid #ddd}"
    "figure{margin:0;width:128px}figure.query{padding-right:12px;border-right:2px solid #1c1c1e}"
    "img{display:block;width:128px;height:128px;object-fit:contain}"
    "figcaption{font-size:12px;overflow-wrap:anywhere}figcaption span{display:block;color:#77777c}"
    "@media(prefers-color-scheme:dark){body{background:#1c1c1e;color:#eee}figure.query{border-color:#eee}}"
)


def _section(row: Row) -> str:
    figures = [_figure(row.query, ' class="query"'), *(_figure(hit, "") for hit in row.hits)]
    return "<section>" + "\n".join(figures) + "</section>"


def _figure(cell: Cell, kind: str) -> str:
    pictures = [cell.picture, *cell.under]
    name = html.escape(printable(cell.source), quote=True)
    images = "".join(f'<img src="{data_uri(pixels)}" alt="{name}" title="{name}">' for pixels in pictures)
    first, *rest = (html.escape(printable(line)) for line in (*cell.caption, ""))
    caption = first + "".join(f"<span>{line}</span>" for line in rest if line)
    return f"<figure{kind}>{images}<figcaption>{caption}</figcaption></figure>"


def data_uri(pixels: Pixels) -> str:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
