"""The page of ``latent serve`` in a real Chromium, driven by Playwright against the real server."""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from tests.browsing import NEEDED, OF_THE_MAP, WAIT_S, Served, ids_of, quiet, serving
from tests.conftest import write_shapes

GALLERY = Path(__file__).parent.parent / "serve" / "gallery"
MOST_BYTES = 300_000
WIDTHS_PX = (360, 1024, 1920)

pytestmark = NEEDED


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    write_pictures(folder / "photos")
    with serving(folder) as served:
        yield served


def write_pictures(folder: Path) -> None:
    """90 shapes with different dates, and 6 in a folder of their own."""
    write_shapes(folder, 90)
    write_shapes(folder / "Trips" / "Rome", 6, seed=1)
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        taken_s = 1_600_000_000 + 86_400 * number
        os.utime(path, (taken_s, taken_s))


@pytest.fixture
def gallery(served: Served) -> Iterator[Served]:
    with quiet(served) as gallery:
        yield gallery


def test_without_a_question_the_newest_come_first_and_the_list_scrolls_on(gallery: Served) -> None:
    opened = gallery.open("/?k=20")
    newest = sorted(path.name for path in (gallery.folder / "photos").glob("*.png"))[::-1]
    assert opened.names()[:20] == newest[:20]
    ends_s = time.monotonic() + WAIT_S
    while not opened.page.locator("#end").is_visible() and time.monotonic() < ends_s:
        opened.page.mouse.wheel(0, 3000)
        opened.page.wait_for_timeout(50)
    assert len(opened.names()) == 96 and opened.names()[:90] == newest
    assert "96 pictures" in opened.page.inner_text("#summary")


def test_a_given_picture_finds_itself_and_its_address_is_a_bookmark(gallery: Served) -> None:
    opened = gallery.open()
    opened.names()
    picture = gallery.folder / "photos" / "shape-0-007.png"
    opened.page.set_input_files("#file", picture)
    opened.wait_for_hits()
    found = opened.names()
    assert found[0] == picture.name and len(opened.question["code"]) > 100
    assert opened.page.locator("#asked-picture").is_visible()
    again = gallery.open(urlsplit(opened.page.url).path + "?" + urlsplit(opened.page.url).query)
    again.wait_for_hits()
    assert again.names()[:24] == found[:24]
    opened.page.go_back()
    opened.page.wait_for_selector("#asked", state="hidden")
    assert opened.question == {} and opened.names()[0] == "shape-0-089.png"
    opened.page.go_forward()
    opened.wait_for_hits()
    assert opened.names()[:24] == found[:24]


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_picture_can_be_dropped_and_pasted(gallery: Served, event: str) -> None:
    opened = gallery.open()
    opened.names()
    data = base64.b64encode((gallery.folder / "photos" / "shape-0-011.png").read_bytes()).decode()
    give = """([event, data]) => {
        const moved = new DataTransfer();
        const content = Uint8Array.from(atob(data), one => one.charCodeAt(0));
        moved.items.add(new File([content], "a.png", {type: "image/png"}));
        const given = event === "drop" ? new DragEvent("drop", {dataTransfer: moved, bubbles: true, cancelable: true})
            : new ClipboardEvent("paste", {clipboardData: moved, bubbles: true, cancelable: true});
        document.body.dispatchEvent(given);
    }"""
    opened.page.evaluate(give, [event, data])
    opened.wait_for_hits()
    assert opened.names()[0] == "shape-0-011.png"


def test_filters_words_and_settings_are_in_the_address(gallery: Served) -> None:
    opened = gallery.open()
    page = opened.page
    opened.names()
    page.click("#filters summary")
    page.fill("#folder", "Trips")
    page.press("#folder", "Enter")
    opened.until("document.querySelectorAll('#grid .tile').length === 6")
    assert opened.question == {"folder": "Trips"}
    assert {name[:7] for name in opened.names()} == {"shape-1"}
    page.click("#clear")
    opened.until("document.querySelectorAll('#grid .tile').length > 6")
    page.fill("#from", "2020-09-15")
    page.press("#from", "Tab")
    page.fill("#to", "2020-09-17")
    page.press("#to", "Tab")
    opened.until("document.querySelectorAll('#grid .tile').length === 3")
    assert opened.question == {"from": "2020-09-15", "to": "2020-09-17"}
    page.click("#clear")
    opened.wait_for_question(**{"from": "", "to": ""})
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    assert opened.focused() == "text"
    page.keyboard.type("shape-0-04")
    page.keyboard.press("Enter")
    opened.until("document.querySelectorAll('#grid .tile').length === 10")
    assert opened.question == {"text": "shape-0-04"}
    page.fill("#text", "nothing-is-called-that")
    page.press("#text", "Enter")
    opened.until("document.querySelector('#summary').textContent.startsWith('Nothing passes')")
    page.go_back()
    opened.until("document.querySelectorAll('#grid .tile').length === 10")
    assert page.input_value("#text") == "shape-0-04"


def test_what_is_wrong_with_a_filter_is_shown_at_its_column(gallery: Served) -> None:
    opened = gallery.open("/?folder=Trips&where=width+%3E+3+and+colour+%3D+red")
    place = opened.page.locator("#where-place")
    place.wait_for()
    text, caret = place.inner_text().split("\n")
    assert text == "width > 3 and colour = red" and caret.index("^") == text.index("colour")
    assert f"Column {text.index('colour') + 1}" in opened.page.inner_text("#where-text")
    opened.page.fill("#where", "width > 3")
    opened.page.press("#where", "Enter")
    opened.until("document.querySelectorAll('#grid .tile').length === 6")
    assert not place.is_visible()
    complaint = [line for line in opened.said if "400" in line]
    assert opened.said == complaint  # the browser's own line on a refused request
    opened.said.clear()


def test_the_large_view_by_keyboard(gallery: Served) -> None:
    opened = gallery.open()
    page = opened.page
    names = opened.names()
    page.keyboard.press("ArrowRight")  # into the list
    assert opened.focused() == names[0]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("#viewer[open]")
    assert page.inner_text("#viewer-name") == names[1] and "show" in opened.question
    page.wait_for_selector("#facts dt:text('Format')")
    opened.until("document.querySelector('#large').naturalWidth > 0")
    opened.until("document.querySelector('#painting').naturalWidth === 64")
    for _ in range(25):  # the focus stays inside
        page.keyboard.press("Tab")
        assert page.evaluate("document.querySelector('#viewer').contains(document.activeElement)")
    page.evaluate("document.querySelector('#stage').focus()")
    page.keyboard.press("ArrowRight")
    opened.until("name => document.querySelector('#viewer-name').textContent === name", names[2])
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer[open]", state="hidden")
    opened.wait_for_question(show="")
    opened.until("document.activeElement.className === 'tile'")
    assert opened.focused() == names[2]
    page.keyboard.press("Space")
    page.wait_for_selector("#viewer[open]")
    page.keyboard.press("Space")
    page.wait_for_selector("#viewer[open]", state="hidden")
    page.keyboard.press("?")
    page.wait_for_selector("#help[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#help[open]", state="hidden")
    assert opened.focused() == names[2]


def test_more_and_less_like_this_move_the_query_and_go_back(gallery: Served) -> None:
    opened = gallery.open()
    page = opened.page
    asked = ids_of(opened)["/shape-0-003.png"]
    page.goto(f"{gallery.address}/?id={asked}&k=96")
    opened.wait_for_hits()
    plain = opened.names()
    assert "shape-0-003.png" not in plain  # it is not its own hit
    far = plain[60]
    page.locator("#grid .tile", has_text=far).click()
    opened.until("document.querySelector('#difference').naturalWidth === 64")
    page.keyboard.press("+")
    page.wait_for_selector("#like[aria-pressed=true]")
    page.wait_for_selector("#next:enabled")
    page.keyboard.press("ArrowRight")  # what was marked is no hit any more, so the first one follows
    opened.until("document.querySelector('#viewer-place').textContent.startsWith('1 of')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer[open]", state="hidden")
    page.wait_for_selector("#grid:not([aria-busy]) .tile")
    liked = opened.names()
    assert liked != plain and far not in liked  # what is marked is known already
    assert opened.question["like"] == str(ids_of(opened)["/" + far])
    assert page.locator("#marks .mark").count() == 1
    page.locator("#marks .mark").click()
    opened.wait_for_question(like="")
    page.wait_for_selector("#grid:not([aria-busy]) .tile")
    assert opened.names() == plain
    page.go_back()
    opened.wait_for_question(like=str(ids_of(opened)["/" + far]))
    page.wait_for_selector("#grid:not([aria-busy]) .tile")
    assert opened.names() == liked


def test_a_hit_is_asked_for_in_turn_and_back_returns_to_the_same_place(gallery: Served) -> None:
    opened = gallery.open("/?k=96")
    page = opened.page
    names = opened.names()
    page.evaluate("scrollTo(0, 900)")
    opened.until("scrollY === 900")
    page.locator("#grid .tile", has_text=names[40]).click()
    page.wait_for_selector("#viewer[open]")
    left = page.evaluate("scrollY")
    page.keyboard.press("Enter")
    opened.wait_for_hits()
    assert left > 0 and page.evaluate("scrollY") == 0 and names[40] not in opened.names()[:1]
    assert names[40] in page.inner_text("#asked-about")
    page.go_back()
    page.wait_for_selector("#viewer[open]")
    page.go_back()
    page.wait_for_selector("#viewer[open]", state="hidden")
    assert opened.names() == names
    assert abs(page.evaluate("scrollY") - left) < 300


def test_the_slider_paints_while_it_moves_and_the_wall_samples_round_a_click(gallery: Served) -> None:
    opened = gallery.open("/?view=space")
    page = opened.page
    opened.until("document.querySelectorAll('#wall-grid img').length === 24")
    for slot, name in (("a", "shape-0-001.png"), ("b", "shape-0-002.png")):
        page.click(f"#slot-{slot}")
        page.fill("#picker-text", name)
        page.press("#picker-text", "Enter")
        opened.until("document.querySelectorAll('#picker-grid .tile').length === 1")
        page.click("#picker-grid .tile")
        page.wait_for_selector("#picker[open]", state="hidden")
    page.wait_for_selector("#between-painting[src^=blob]")
    half = page.get_attribute("#between-painting", "src")
    page.focus("#t")
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    opened.until("document.querySelector('#between-state').textContent.includes('60%')")
    assert page.get_attribute("#between-painting", "src") != half and opened.question["t"] == "0.6"
    drawn = [url for url in opened.asked if "/interpolate?" in url]
    assert len(drawn) <= 12 and drawn[-1].endswith("t=0.6")
    page.click("#wall-grid .tile >> nth=5")
    page.wait_for_selector("#chosen:not([hidden])")
    assert "near" in opened.question
    opened.until("document.querySelector('#wall-state').textContent.includes('round')")
    page.click("#chosen-search")
    opened.wait_for_hits()
    assert opened.question["code"] and "view" not in opened.question
    page.go_back()
    page.wait_for_selector("#chosen:not([hidden])")
    page.go_back()
    page.wait_for_selector("#chosen", state="hidden")
    assert "near" not in opened.question


def test_pictures_are_summed_moved_along_directions_and_teach_one(gallery: Served) -> None:
    opened = gallery.open("/?view=space")
    page = opened.page
    known = ids_of(opened)
    page.click("#shelf summary")
    page.fill("#shelf-text", "shape-0-00")
    page.press("#shelf-text", "Enter")
    opened.until("document.querySelectorAll('#shelf-grid .tile').length === 10")
    page.drag_and_drop("#shelf-grid li:nth-child(1) .tile", "#zone-plus")
    page.wait_for_selector("#sum-painting[src^=blob]")
    page.drag_and_drop("#shelf-grid li:nth-child(2) .tile", "#zone-minus")
    page.focus("#shelf-grid li:nth-child(3) .tile")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("-")
    opened.until("document.querySelectorAll('#minus li').length === 2")
    names = page.locator("#shelf-grid .tile-name").all_inner_texts()
    number = {name: known[f"/{name}"] for name in names[:4]}
    plus, minus = ([number[names[i]] for i in places] for places in ((0, 2), (1, 3)))
    assert opened.question["plus"] == ",".join(map(str, plus))
    assert opened.question["minus"] == ",".join(map(str, minus))
    opened.until("document.querySelector('#ways').childElementCount === 0")
    page.fill("#teach-name", "taught by hand")
    page.click("#teach-go")
    opened.until("document.querySelector('#taught').textContent.includes('letters, digits')")
    opened.said.clear()  # the server's 400
    page.fill("#teach-name", "taught")
    page.press("#teach-name", "Enter")
    opened.until("document.querySelectorAll('#ways input').length === 1")
    assert "too few" in page.inner_text("#taught")
    before = page.get_attribute("#sum-painting", "src")
    page.focus("#ways input")
    for _ in range(15):
        page.keyboard.press("ArrowRight")
    opened.until("new URLSearchParams(location.search).get('along') === 'taught:1.5'")
    opened.until(f"document.querySelector('#sum-painting').getAttribute('src') !== {before!r}")
    terms = ",".join([*(f"1*{one}" for one in plus), *(f"-1*{one}" for one in minus), "1.5*taught"])
    sums = [parse_qs(urlsplit(url).query)["terms"] for url in opened.asked if "/sum?" in url]
    assert sums[-1] == [terms]
    page.reload()
    opened.until("document.querySelector('#ways input')?.value === '1.5'")
    page.wait_for_selector("#sum-painting[src^=blob]")
    page.click("#plus button >> nth=0")
    opened.until("document.querySelectorAll('#plus li').length === 1")
    page.click("#sum-search")
    opened.wait_for_hits()
    assert opened.question["code"] and opened.question["plus"] == str(plus[1])
    page.click("#to-space")
    page.click("#ways button")
    opened.until("document.querySelector('#ways').childElementCount === 0")
    assert "along" not in opened.question


def test_the_path_is_copied_and_the_place_is_a_filter(gallery: Served) -> None:
    opened = gallery.open()
    page = opened.page
    some = ids_of(opened)["/shape-0-003.png"]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{gallery.address}/?show={some}")
    page.wait_for_selector("#facts div")
    page.keyboard.press("c")
    opened.until("document.querySelector('#said').textContent.includes('Copied')")
    assert page.evaluate("navigator.clipboard.readText()") == str(gallery.folder / "photos" / "shape-0-003.png")
    page.keyboard.press("Escape")
    page.click("#filters summary")
    page.fill("#place", "Vienna")
    page.press("#place", "Tab")
    page.wait_for_selector("#place-wrong:not([hidden])")
    assert opened.question == {}
    page.fill("#place", "48.2, 16.4, 5km")
    page.press("#place", "Tab")
    opened.until("document.querySelector('#summary').textContent.includes('Nothing passes')")
    page.fill("#place", "")
    page.press("#place", "Tab")
    opened.until("document.querySelectorAll('#grid .tile').length >= 24")
    page.fill("#least", "0.1")
    page.press("#least", "Tab")
    opened.until("document.querySelector('#summary').textContent.includes('Nothing passes')")
    assert opened.question == {"least": "0.1"} and page.locator("#place-wrong").is_hidden()


def test_a_server_that_locks_or_is_gone_is_told(gallery: Served) -> None:
    opened = gallery.open()
    page = opened.page
    opened.names()
    page.context.clear_cookies()
    page.fill("#text", "shape-0-01")
    page.press("#text", "Enter")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "Open the address that latent serve printed" in page.inner_text("#trouble-text")
    page.context.set_offline(True)
    page.click("#retry")
    opened.until("document.querySelector('#trouble-text').textContent.includes('does not answer')")
    page.context.set_offline(False)
    page.context.add_cookies(gallery.state["cookies"])
    page.click("#retry")
    opened.until("document.querySelectorAll('#grid .tile').length === 10")
    assert page.locator("#trouble").is_hidden()
    assert all("403" in line or "ERR_INTERNET_DISCONNECTED" in line for line in opened.said)
    opened.said.clear()


def test_a_file_that_is_no_picture_is_refused_and_the_list_stays(gallery: Served, tmp_path: Path) -> None:
    opened = gallery.open()
    before = opened.names()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    opened.page.set_input_files("#file", tmp_path / "broken.png")
    opened.until("document.querySelector('#said').textContent.includes('could not be read')")
    assert opened.names()[:24] == before[:24] and opened.question == {}
    assert all("422" in line for line in opened.said)
    opened.said.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_every_view_fits_its_width_and_has_names_for_all(gallery: Served, width_px: int, scheme: str) -> None:
    size = {"width": width_px, "height": 800}
    opened = gallery.open(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page = opened.page
    some = ids_of(opened)["/shape-0-003.png"]
    for path in ("/", f"/?id={some}&like={some}", f"/?id={some}&show={some}", f"/?view=space&a={some}&b={some}"):
        page.goto(gallery.address + path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, input, select, a')].filter(one => one.checkVisibility() && "
            "!(one.textContent.trim() || one.ariaLabel || one.labels?.length || one.querySelector('img')?.alt))"
            ".map(one => one.outerHTML)"
        )
        assert nameless == [] and page.locator("img:not([alt])").count() == 0
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        (red, *_) = map(int, re.findall(r"\d+", ground))
        assert (red < 64) == (scheme == "dark")


def test_the_question_of_an_address_is_the_same_after_a_round_trip(gallery: Served) -> None:
    opened = gallery.open()
    rng = np.random.default_rng(5)
    letters = list("aZ09 -_'\"&=?#+%/*(),<>\u00fc\u2603\U0001f600\u202e\n")
    texts = ["".join(rng.choice(letters, rng.integers(0, 30))) for _ in range(300)]
    wrong = opened.page.evaluate(
        """async texts => {
        const { parse, format } = await import("/assets/question.js");
        const wrong = [];
        texts.forEach((text, number) => {
            const metric = number % 2 ? "cosine" : "euclidean";
            const given = { ...parse(""), id: number, like: [number, 7 * number + 1], text, where: text, folder: text,
                metric, k: 1 + number % 200, t: (number % 101) / 100, to: "2024-02-29", least: (number % 7) / 2,
                place: number % 3 ? "" : `${number % 90},-${number % 180}.5,5km`, plus: [number], minus: [number + 1],
                along: number % 2 ? [`é_${number}:1.5`, "b:-0.1"] : [] };
            const address = format(given);
            if (JSON.stringify(parse(address.slice(1))) !== JSON.stringify(given)) wrong.push([text, address]);
            const once = format(parse("?" + text));
            if (once !== format(parse(once.slice(1)))) wrong.push(["?", text]);
        });
        return wrong;
    }""",
        texts,
    )
    assert wrong == []


def test_the_page_is_small_and_holds_its_texts_in_one_place() -> None:
    files = [path for path in GALLERY.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files if path.name not in OF_THE_MAP) <= MOST_BYTES
    page = (GALLERY / "index.html").read_text(encoding="utf-8")
    assert "<style" not in page and " style=" not in page and not re.search(r"<script(?![^>]* src=)|\son\w+=", page)
    scripts = "".join(path.read_text(encoding="utf-8") for path in files if path.suffix == ".js")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function|https?://", scripts)
    said = set(re.findall(r'(?:data-(?:word|label|placeholder)=|(?<![#.\w])say\()"(\w+)"', page + scripts))
    words = (GALLERY / "assets" / "words.js").read_text(encoding="utf-8")
    known = set(re.findall(r"^  (\w+): \"", words, re.MULTILINE))
    assert said <= known
