"""Pages and sheets: what is rendered shows what it was given, whatever the names of files hold."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from retrieval.copies.plan import Evidence, FileFacts, Group, Other, Plan, load_plan
from retrieval.errors import LatentError
from retrieval.explore.plane import Cluster, Plane
from retrieval.pages.embedded import Embedded, embedded, side_px
from retrieval.pages.map import map_html, map_png
from retrieval.pages.plan import plan_html, plan_paths
from retrieval.pages.raster import jpeg, png
from retrieval.pages.render import render
from retrieval.pages.report import report_html
from retrieval.pages.sheet import (
    CELL_PX,
    GAP_PX,
    LINES_MOST,
    Cell,
    SheetRow,
    _fitting,
    sheet_html,
    sheet_png,
    strip_png,
)
from retrieval.pictures.thumbnail import THUMB_PX, UNREADABLE, letterbox, thumbnail
from retrieval.text import printable
from tests.attacks.test_output import browsed

NASTY = [
    *"ab<>&\"'/\\;:$%{}#\n\t\r\0\x1b\x7f`=",
    "</script>",
    "<!--",
    "{{ 7*7 }}",
    "{% raw %}",
    "\u2028",
    "\u202e",
    "\udcff",
]


def nasty_names(count: int, seed: int = 0) -> list[str]:
    """As few file systems would take them, and some do."""
    rng = np.random.default_rng(seed)
    return ["/" + "".join(rng.choice(NASTY, rng.integers(1, 12))) + str(number) for number in range(count)]


def noise(rng: np.random.Generator, side: int = 16) -> np.ndarray:
    return rng.integers(0, 256, (side, side, 3), np.uint8)


class Seen(HTMLParser):
    """The elements of a page with their attributes, and the texts of some of them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._open[-1], data))

    def of(self, tag: str) -> list[str]:
        return [text for place, text in self.texts if place == tag]


def shown(element: dict[str, str | None]) -> np.ndarray:
    """The pixels of an ``img``."""
    kind, _, data = str(element["src"]).partition(",")
    assert kind == "data:image/jpeg;base64"
    return pixels_of(base64.b64decode(data, validate=True))


def pixels_of(data: bytes) -> np.ndarray:
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def test_a_sheets_page_shows_every_name_and_picture_as_it_is() -> None:
    rng, names = np.random.default_rng(1), nasty_names(60)
    cells = [
        Cell(noise(rng), [noise(rng)] * (number % 3), (name, "", name[::-1]), name) for number, name in enumerate(names)
    ]
    rows = [SheetRow(cells[start], cells[start + 1 : start + 20]) for start in range(0, 60, 20)]
    page = sheet_html(rows, names[7], names[8])
    page.encode("utf-8")
    seen = Seen(page)
    usual = "html head meta title style body h1 p section figure img figcaption span"
    assert " ".join(dict.fromkeys(tag for tag, _ in seen.elements)) == usual
    assert seen.of("title") == seen.of("h1") == [printable(names[7])] and seen.of("p") == [printable(names[8])]
    assert seen.of("figcaption") == [printable(name) for name in names]
    assert seen.of("span") == [printable(name[::-1]) for name in names]
    images = [attributes for tag, attributes in seen.elements if tag == "img"]
    expected = [(cell.source, pixels) for cell in cells for pixels in (cell.picture, *cell.under)]
    assert [(one["alt"], one["title"]) for one in images] == [(printable(name),) * 2 for name, _ in expected]
    for one, (_, pixels) in zip(images, expected, strict=True):
        assert np.array_equal(shown(one), pixels_of(jpeg(pixels)))
    figures = [attributes.get("class") for tag, attributes in seen.elements if tag == "figure"]
    assert figures == (["query"] + [None] * 19) * 3


def test_a_maps_page_holds_names_and_places_that_cannot_end_its_script() -> None:
    rng, names = np.random.default_rng(2), [name.replace("\0", "0") for name in nasty_names(50, seed=2)]
    positions = rng.random((50, 2)).astype(np.float32)
    colours = rng.integers(0, 256, (50, 3))
    thumbs = [None if number % 5 == 0 else np.full((64, 64, 3), colours[number], np.uint8) for number in range(50)]
    clusters = [Cluster((0.25, 0.5), 30, noise(rng)), Cluster((0.75, 0.5), 20, None)]
    page = map_html(Plane(names, positions, clusters, 99), thumbs)
    page.encode("utf-8")
    assert page.lower().count("<script") == page.lower().count("</script") == 1 and "<!--" not in page
    (found,) = re.findall(r"^const facts = (.*);$", page, flags=re.MULTILINE)
    facts = json.loads(found)
    assert facts["names"] == [printable(name) for name in names] and facts["total"] == 99
    assert facts["links"] == [Path(name).as_uri() for name in names]
    assert np.allclose(np.stack([facts["x"], facts["y"]], axis=1), positions, atol=1e-4)
    assert [(one["x"], one["count"], one["src"] is None) for one in facts["clusters"]] == [
        (0.25, 30, False),
        (0.75, 20, True),
    ]
    (atlas,) = re.findall(r'^atlas.src = (".*");$', page, flags=re.MULTILINE)
    sprites = shown({"src": json.loads(atlas)}).reshape(7, 64, 7, 64, 3).swapaxes(1, 2).reshape(49, 64, 64, 3)
    drawn = [number for number, thumb in enumerate(thumbs) if thumb is not None]
    assert [facts["sprites"][number] for number in drawn] == list(range(40)) and facts["sprites"].count(-1) == 10
    for sprite, number in zip(sprites, drawn, strict=False):
        assert np.abs(sprite[16:-16, 16:-16].astype(int) - colours[number]).max() < 8  # it is a JPEG


def test_a_reports_page_holds_every_figure_in_its_column() -> None:
    rng, names = np.random.default_rng(3), nasty_names(12, seed=3)
    descriptors, measures = names[:4], names[4:10]
    table = {one: {measure: tuple(rng.random(3)) for measure in measures if rng.random() < 0.7} for one in descriptors}
    page = report_html(names[10], table, {names[11]: 0.12345})  # type: ignore[arg-type]
    seen = Seen(page)
    assert seen.of("th") == [printable(name) for name in descriptors] and seen.of("h1") == [printable(names[10])]
    lines = [re.findall(r"<td>(.*?)</td>", line) for line in re.findall(r"<tr>(<td>.*?)</tr>", page, flags=re.DOTALL)]
    measured = list(dict.fromkeys(measure for row in table.values() for measure in row))
    for line, measure in zip(lines, measured, strict=False):
        cells = [table[one].get(measure) for one in descriptors]
        assert line[1:] == ["" if cell is None else "{:.3f} [{:.3f}, {:.3f}]".format(*cell) for cell in cells]
    assert seen.of("td")[-2:] == [printable(names[11]), "0.123"] and len(lines) == len(measured) + 1
    assert "Generation" not in report_html("none", table, {})  # type: ignore[arg-type]


def plan_of(names: list[str]) -> Plan:
    """Two copies of the first name, one of them with a place that differs; a copy of the fourth; and a listed pair."""
    facts = {name: FileFacts(1000 + n, 1_700_000_000_123_456_789 + n, "ab" * 32) for n, name in enumerate(names[:5])}
    evidence = [
        Evidence(names[1], "bytes", 0.0, 1.0, because=names[5]),
        Evidence(names[2], "edited", 1.5, 0.9, "mirrored", ("part",), ((0.25, 0.5, 0.5, 1.0),), "the larger file"),
    ]
    groups = [
        Group(names[0], names[1:3], evidence),
        Group(names[3], [names[4]], [Evidence(names[4], "bytes", 0.1, 1.0)]),
    ]
    others = [Other(names[0], names[6], "series", 1.0, 0.8)]
    return Plan(0.25, 1000, groups=groups, others=others, files=facts)


def plan_page(names: list[str]) -> str:
    rng = np.random.default_rng(4)
    plan = plan_of(names)
    uris = {name: "data:image/jpeg;base64," + base64.b64encode(jpeg(noise(rng, 32))).decode() for name in names}
    return plan_html(plan, {name: Embedded(uris[name], 32, 32, 640, 480) for name in plan_paths(plan)})


def proper_names() -> list[str]:
    return [name.replace("\0", "0").replace("/", "|") for name in nasty_names(7, seed=4)]


def folders_of(names: list[str]) -> list[str]:
    return [f"/photos/{number}/{name}" for number, name in enumerate(names)]


def test_a_plans_page_shows_what_stays_what_goes_and_where_they_differ() -> None:
    names = folders_of(proper_names())
    page = plan_page(names)
    page.encode("utf-8")
    seen = Seen(page.partition("<script")[0].replace("<input ", "<img ") + "</body></html>")
    images = [facts for tag, facts in seen.elements if tag == "img" and "alt" in facts]
    order = [names[0], names[1], names[3], names[4], names[0], names[2], names[0], names[6]]
    assert [str(one["alt"]).partition(": ")[2] for one in images] == [
        printable(name.rpartition("/")[2]) for name in order
    ]
    assert [one.get("data-again") for one in images] == [None, None, None, None, "0", None, "0", None]  # once each
    boxes = [facts for tag, facts in seen.elements if tag == "img" and "data-box" in facts]
    assert [(one["data-box"], one["data-bytes"], "checked" in one) for one in boxes] == [
        ("0", "1001", True),
        ("2", "1004", True),
        ("1", "1002", True),
    ]
    places = [facts for tag, facts in seen.elements if tag == "rect"]
    assert {(one["x"], one["y"], one["width"], one["height"]) for one in places} == {("8.0", "16.0", "8.0", "16.0")}
    assert seen.of("h2") == ["The same bytes: 2", "Edited: 1", "Other shots of one moment: 1"]
    assert f"Why the other is kept: {printable(names[5])}" in seen.of("div")
    assert seen.of("span")[:4] == ["/photos", "/0", "/photos", "/1"]


def test_a_plans_page_holds_the_pieces_of_its_plan(tmp_path: Path) -> None:
    names = folders_of(proper_names())
    (found,) = re.findall(r"^const facts = (.*);$", plan_page(names), flags=re.MULTILINE)
    facts = json.loads(found)
    assert facts["links"] == [Path(names[number]).as_uri() for number in (0, 1, 3, 4, 2, 6)]
    groups = [
        f'{{"keep": {one["keep"]}, "remove": [{", ".join(copy["path"] for copy in one["copies"])}], '
        f'"evidence": [{", ".join(copy["evidence"] for copy in one["copies"])}]}}'
        for one in facts["groups"]
    ]
    whole = facts["head"] + ",".join(groups) + "]}"
    assert json.loads(whole) == json.loads(plan_of(names).as_json())


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_plan_of_the_ticked_copies_can_be_loaded(tmp_path: Path) -> None:
    names = folders_of(proper_names())
    page = plan_page(names)
    (nonce,) = re.findall(r'<script nonce="([^"]+)">', page)
    ask = """boxes.find(box => box.dataset.box === "0").click(); boxes.find(box => box.dataset.box === "2").click();
        document.title = btoa(chosen()) + " " + document.getElementById("count").textContent;"""
    asking = tmp_path / "page.html"
    asking.write_text(page.replace("</body>", f'<script nonce="{nonce}">{ask}</script></body>'), encoding="utf-8")
    dom, said = browsed(asking, tmp_path)
    (title,) = re.findall(r"<title>(.*?)</title>", dom)
    text, _, count = title.partition(" ")
    assert count == "1 file to remove, 1.0 kB" and "CONSOLE" not in said, said
    (tmp_path / "chosen.json").write_bytes(base64.b64decode(text))
    chosen, plan = load_plan(tmp_path / "chosen.json"), plan_of(names)
    assert [(one.keep, one.remove) for one in chosen.groups] == [(names[0], [names[2]])]
    assert chosen.files == plan.files and chosen.expected_false_pairs == plan.expected_false_pairs
    whole = json.loads((tmp_path / "chosen.json").read_text())
    assert whole["groups"][0]["evidence"] == json.loads(plan.as_json())["groups"][0]["evidence"][1:]


def test_pictures_of_a_page_are_whole_and_grey_if_they_are_gone(tmp_path: Path) -> None:
    (tmp_path / "wide.png").write_bytes(png(np.zeros((200, 800, 3), np.uint8)))
    paths = [str(tmp_path / "wide.png"), str(tmp_path / "gone.png")]
    wide, gone = embedded(paths).values()
    assert (wide.wide, wide.high, wide.width_px, wide.height_px) == (360, 90, 800, 200)
    assert shown({"src": wide.uri}).shape == (90, 360, 3) and gone.width_px == 0
    assert np.abs(shown({"src": gone.uri}).astype(int) - UNREADABLE).max() < 3
    assert [side_px(count) for count in (300, 301, 1501)] == [360, 200, 128]


def test_a_sheet_shows_queries_hits_and_what_is_under_them_in_their_places() -> None:
    rng = np.random.default_rng(5)
    cells = [Cell(noise(rng, 40), [noise(rng, 64)], ()) for _ in range(15)]
    sheet = pixels_of(sheet_png([SheetRow(cells[0], cells[1:14]), SheetRow(cells[14], [])]))
    line_px, step = 2 * CELL_PX + 34 + 2 * GAP_PX, CELL_PX + GAP_PX
    assert sheet.shape == (3 * line_px + GAP_PX, 11 * step + 2 * GAP_PX, 3)
    places = [(0, GAP_PX)] + [(n // 10, 2 * GAP_PX + (1 + n % 10) * step) for n in range(13)] + [(2, GAP_PX)]
    for cell, (line, left) in zip(cells, places, strict=True):
        top = GAP_PX + line * line_px
        expected = np.concatenate([letterbox(cell.picture), letterbox(cell.under[0])])
        assert np.array_equal(sheet[top : top + 2 * CELL_PX, left : left + CELL_PX], expected)
    assert (sheet[line_px : 2 * line_px, GAP_PX : GAP_PX + CELL_PX] == 255).all()  # a query is not repeated


def test_captions_are_shortened_from_the_left_until_they_fit() -> None:
    font, rng = ImageFont.load_default(11), np.random.default_rng(8)
    for length in rng.integers(0, 60, 40):
        text = "".join(rng.choice(list("abcdefghiWM .-_/"), length))
        fitting = _fitting(text, font)
        kept = fitting.removeprefix("...")
        assert font.getlength(fitting) <= CELL_PX and text.endswith(kept)
        if font.getlength(text) > CELL_PX:  # as much as there is room for
            assert fitting == "..." + kept and font.getlength("..." + text[-len(kept) - 1 :]) > CELL_PX
        else:
            assert fitting == text


def test_the_second_line_of_a_caption_is_fainter() -> None:
    black = np.zeros((8, 8, 3), np.uint8)
    words = [("MMMM", ""), ("", "MMMM"), ("MMMM", "MMMM"), ()]
    sheet = pixels_of(sheet_png([SheetRow(Cell(black, [], caption), []) for caption in words]))
    line_px = CELL_PX + 34 + 2 * GAP_PX
    below = [sheet[start : start + 34] for start in (GAP_PX + CELL_PX + line_px * np.arange(4)).tolist()]
    darkest = [int(one.min()) for one in below]
    assert darkest[0] == darkest[2] == 0x1C and darkest[1] == 0x77 and darkest[3] == 0xFF
    upper, lower = below[0] < 255, below[1] < 255
    assert not (upper & lower).any() and np.array_equal(below[2] < 255, upper | lower)


def test_a_strip_parts_groups_by_a_gap() -> None:
    rng = np.random.default_rng(6)
    pictures = [noise(rng, side) for side in (20, 30, 128)]
    strip = pixels_of(strip_png([pictures[:1], [], np.stack([pictures[1]]), pictures[2:]]))
    assert strip.shape == (CELL_PX + 2 * GAP_PX, 3 * CELL_PX + 4 * GAP_PX, 3)
    for number, picture in enumerate(pictures):
        left = GAP_PX + number * (CELL_PX + GAP_PX)
        assert np.array_equal(strip[GAP_PX:-GAP_PX, left : left + CELL_PX], letterbox(picture))


def test_too_many_lines_for_one_sheet() -> None:
    cell = Cell(np.zeros((4, 4, 3), np.uint8), (), ())
    with pytest.raises(LatentError, match="401 lines do not fit one sheet, which takes 400") as raised:
        sheet_png([SheetRow(cell, [])] * (LINES_MOST + 1))
    assert raised.value.code == "sheet_too_long"
    assert raised.value.facts == {"lines": LINES_MOST + 1, "most": LINES_MOST}


def test_a_drawn_map_counts_what_it_shows() -> None:
    plane = Plane(["/a", "/b", "/c"], np.array([[0.1, 0.1], [0.101, 0.1], [1, 1]], np.float32), [], 3)
    red = np.full((THUMB_PX, THUMB_PX, 3), (255, 0, 0), np.uint8)
    drawn, count = map_png(plane, [red, red, None])
    assert count == 1 and (pixels_of(drawn) == (255, 0, 0)).all(-1).sum() == THUMB_PX**2


def test_a_picture_that_is_gone_is_grey_and_others_are_whole(tmp_path: Path) -> None:
    assert (thumbnail(tmp_path / "gone.png", 32) == UNREADABLE).all()
    wide = np.zeros((10, 40, 3), np.uint8)
    (tmp_path / "wide.png").write_bytes(png(wide))
    small = thumbnail(tmp_path / "wide.png", 32)
    assert (
        small.shape == (32, 32, 3)
        and (small[12:20] < 8).all()
        and (small[:11] == 255).all()
        and (small[21:] == 255).all()
    )


def test_a_value_that_a_page_lacks_is_an_error() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError, match="rows"):
        render("sheet.html", title="", about="")


def test_pages_know_no_index_and_start_quickly() -> None:
    code = (
        "import sys; from retrieval.pages import map, plan, raster, report, sheet; "
        "print(*sorted({'jinja2', 'faiss', 'onnxruntime', 'sqlalchemy', 'retrieval.retriever'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
