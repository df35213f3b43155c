"""The views of copies and of the index in a real Chromium, and the question's address with drawn questions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from retrieval import Searcher
from tests.browsing import NEEDED, Opened, Served, quiet, serving, violations
from tests.conftest import write_shapes
from tests.scenes import write_copies, write_scenes

SCENES, COPIED = 24, 6
WIDTHS_PX = (360, 1024, 1920)

pytestmark = NEEDED


def write_pictures(home: Path) -> None:
    write_copies(home / "photos" / "phone", write_scenes(home / "photos", SCENES)[:COPIED])
    (home / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(400))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("reviewed")
    write_pictures(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(home / "xdg"))
        with serving(home, "--allow-apply", "--move-to", str(home / "aside")) as served:
            yield served


@pytest.fixture
def gallery(served: Served) -> Iterator[Served]:
    with quiet(served) as gallery:
        yield gallery


def asked(opened: Opened, route: str, method: str = "GET") -> Any:
    """What the server answers to the page."""
    return opened.page.evaluate(
        "([route, method]) => fetch(`/api/v1/${route}`, {method}).then(answer => answer.json())", [route, method]
    )


def reviewed(gallery: Served, **context: Any) -> Opened:
    """The view of copies, with a plan of which nothing is decided."""
    opened = gallery.open("/?view=copies", **context)
    page = opened.page
    opened.until("document.querySelector('#groups-state').textContent.match(/no plan|group/i) !== null")
    plans = asked(opened, "copies")["plans"]
    if not plans:
        page.check("#kinds input[value=edited]")
        page.click("#find-form button")
    else:
        for number in range(plans[0]["groups"]):
            asked(opened, f"copies/{plans[0]['id']}/decide?group={number}&decision=open", "POST")
        page.reload()
    page.wait_for_selector(".group")
    opened.until(f"document.querySelectorAll('.group').length === {COPIED}")
    return opened


def decisions(opened: Opened) -> list[str]:
    plan = asked(opened, "copies")["plans"][0]["id"]
    return [group["decision"] for group in asked(opened, f"copies/{plan}/groups?limit=200")["groups"]]


def photos(gallery: Served) -> dict[str, bytes]:
    return {str(one): one.read_bytes() for one in (gallery.folder / "photos").rglob("*") if one.is_file()}


def test_copies_are_found_with_progress_and_shown_side_by_side(gallery: Served) -> None:
    opened = gallery.open("/?view=copies")
    page = opened.page
    opened.until("document.querySelector('#groups-state').textContent.startsWith('There is no plan yet')")
    assert page.locator("#find[open]").count() == 1 and page.locator("#plan").is_hidden()
    page.check("#kinds input[value=edited]")
    page.click("#find-form button")
    page.wait_for_selector("#job:not([hidden]) #job-cancel:visible")
    page.wait_for_selector(".group")
    assert page.inner_text("#job-text") == f"Groups of copies found: {COPIED}."
    assert page.inner_text("#plan-title") == f"{COPIED} groups of copies, {COPIED} open"
    opened.until(f"document.querySelectorAll('.group').length === {COPIED}")
    plan = asked(opened, "copies")["plans"][0]["id"]
    for number, group in enumerate(asked(opened, f"copies/{plan}/groups?limit=200")["groups"]):
        card = page.locator(".group").nth(number)
        words = card.inner_text()
        assert (
            group["kept"]["name"] in words and card.locator(".kept img").get_attribute("alt") == group["kept"]["name"]
        )
        for copy in group["copies"]:
            assert copy["name"] in words and copy["why"] in words and f"is kept: {copy['because']}" in words
            assert card.locator("svg rect").count() == 2 * len(copy["places"])
            if copy["places"]:
                assert "differ" in str(card.locator("svg").get_attribute("aria-label"))
    marked = page.locator(".group:has(svg)").first
    marked.scroll_into_view_if_needed()
    frame, box = marked.locator(".frame").first.bounding_box(), marked.locator("rect").first.bounding_box()
    assert frame is not None and box is not None  # the box lies on the picture
    assert frame["x"] <= box["x"] and box["x"] + box["width"] <= frame["x"] + frame["width"]


def test_groups_are_decided_by_keyboard(gallery: Served) -> None:
    opened = reviewed(gallery)
    page = opened.page
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowDown")  # into the groups
    assert page.evaluate("document.activeElement.dataset.index") == "0"
    page.keyboard.press("k")
    opened.until("document.activeElement.dataset.index === '1'")
    page.keyboard.press("s")
    opened.until("document.activeElement.dataset.index === '2'")
    page.keyboard.press("Enter")
    opened.until("document.activeElement.dataset.index === '3'")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("o")
    opened.until("document.querySelectorAll('.group')[2].dataset.decision === 'open'")
    assert decisions(opened) == ["keep", "skip", "open", "open", "open", "open"]
    for _ in range(3):  # the current group and its buttons are the tab stops of the list
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('.group').dataset.index") == "2"
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.dataset.index") == str(COPIED - 1)
    page.select_option("#shown", "skip")
    opened.until("document.querySelectorAll('.group').length === 1")
    page.select_option("#shown", "")
    opened.until(f"document.querySelectorAll('.group').length === {COPIED}")
    page.click("#keep-open")
    opened.until("document.querySelector('#plan-title').textContent.endsWith(' 0 open')")
    assert decisions(opened).count("keep") == COPIED - 1


def test_same_bytes_are_copies_whatever_is_said(gallery: Served) -> None:
    opened = reviewed(gallery)
    plan = asked(opened, "copies")["plans"][0]["id"]
    groups = asked(opened, f"copies/{plan}/groups?limit=200")["groups"]
    same = next(group["number"] for group in groups if group["copies"][0]["kind"] == "bytes")
    opened.page.locator(".group").nth(same).focus()
    opened.page.keyboard.press("n")
    opened.until("document.querySelector('#said').textContent.includes('whatever is said')")
    assert decisions(opened)[same] == "open"
    assert all("409" in line for line in opened.said)
    opened.said.clear()


def test_what_goes_is_confirmed_with_counts_and_bytes_and_comes_back(gallery: Served) -> None:
    opened = reviewed(gallery)
    page, before = opened.page, photos(gallery)
    assert page.locator("#apply").is_disabled()
    page.locator(".group").first.focus()
    page.keyboard.press("k")
    page.wait_for_selector("#apply:enabled")
    plan = asked(opened, "copies")["plans"][0]
    (group,) = asked(opened, f"copies/{plan['id']}/groups?decision=keep")["groups"]
    size = group["copies"][0]["size_bytes"]
    page.click("#apply")
    page.wait_for_selector("#confirm[open]")
    assert page.inner_text("#confirm-title") == "Put 1 file into the trash?"
    assert f"1 file of 1 group, {size / 1e3:.1f} kB" in page.inner_text("#confirm-text")
    assert opened.focused() == "confirm-no"  # whoever presses Enter too soon does nothing
    page.keyboard.press("Enter")
    page.wait_for_selector("#confirm[open]", state="hidden")
    assert opened.focused() == "apply" and photos(gallery) == before
    page.click("#apply")
    page.check("#confirm-move")
    opened.until("document.querySelector('#confirm-title').textContent === 'Move 1 file away?'")
    page.uncheck("#confirm-move")
    opened.until("document.querySelector('#confirm-title').textContent.includes('trash')")
    page.click("#confirm-yes:enabled")
    opened.until("document.querySelector('#job-text').textContent.startsWith('Files that are gone: 1')")
    gone = set(before) - set(photos(gallery))
    assert {Path(one).name for one in gone} == {group["copies"][0]["name"]}
    opened.until(f"document.querySelector('#about-index').textContent.startsWith('{SCENES + COPIED - 1} ')")
    page.click("#undo")
    opened.until("document.querySelector('#job-text').textContent.startsWith('Files that are back: 1')")
    assert photos(gallery) == before
    page.click("#to-index")
    page.click("#update")
    opened.until("document.querySelector('#job-text').textContent.startsWith('Updated: 1 added')")


def test_two_browsers_see_one_update_and_each_others_decisions(gallery: Served) -> None:
    first, second = gallery.open("/?view=index"), gallery.open("/?view=index")
    for opened in (first, second):
        opened.until(f"document.querySelector('#index-title').textContent === '{SCENES + COPIED} pictures'")
        opened.until("document.querySelector('#skipped').textContent.includes('broken.jpg')")
    new = gallery.folder / "photos" / "new"
    write_shapes(new, 300, seed=4)
    (new / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(9))
    first.page.click("#update")
    for opened in (first, second):
        opened.until("document.querySelector('#job-text').textContent.startsWith('Updated: 300 added')")
        opened.until(f"document.querySelector('#index-title').textContent === '{SCENES + COPIED + 300} pictures'")
        opened.until(f"document.querySelector('#about-index').textContent.startsWith('{SCENES + COPIED + 300} ')")
        opened.until("document.querySelector('#skipped').textContent.includes('new/bad.png')")
    second.page.click("#to-search")
    second.page.fill("#text", "shape-4-2")
    second.page.press("#text", "Enter")
    second.until("document.querySelector('#summary').textContent.startsWith('100 pictures')")
    for one in new.iterdir():
        one.unlink()
    second.page.click("#to-index")
    second.page.click("#update")
    for opened in (first, second):
        opened.until(f"document.querySelector('#index-title').textContent === '{SCENES + COPIED} pictures'")
    first.page.click("#to-search")
    first.until(f"document.querySelector('#summary').textContent.startsWith('{SCENES + COPIED} pictures')")
    for opened in (first, second):
        opened.page.goto(f"{gallery.address}/?view=copies")
        opened.page.wait_for_selector(".group")
    first.page.locator(".group").first.focus()
    first.page.keyboard.press("k")
    first.page.wait_for_selector("#apply:enabled")
    second.page.locator(".group").nth(1).focus()
    second.page.keyboard.press("k")
    second.until("document.querySelector('#apply').textContent.startsWith('Remove 2 copies')")  # both are counted
    assert all("404" in line and "/thumbnail" in line for line in second.said), second.said  # of what was just removed
    second.said.clear()


def test_a_job_can_be_cancelled_and_is_told_in_every_view(gallery: Served) -> None:
    new = gallery.folder / "photos" / "many"
    write_shapes(new, 1024, seed=8, side=48)
    opened = gallery.open("/?view=index")
    page = opened.page
    page.click("#update")
    opened.until("document.querySelector('#job-text').textContent.includes(' of ')")
    page.click("#to-search")
    page.wait_for_selector("#job-cancel:visible")
    page.click("#job-cancel")
    opened.until("document.querySelector('#job-text').textContent.startsWith('The update was cancelled')")
    page.click("#job-close")
    assert page.locator("#job").is_hidden()
    for one in new.iterdir():
        one.unlink()
    page.click("#to-index")
    page.click("#update")
    opened.until("document.querySelector('#job-text').textContent.startsWith('Updated: ')")


def test_a_server_that_goes_away_is_told(gallery: Served) -> None:
    opened = gallery.open("/?view=index")
    opened.until("document.querySelector('#index-title').textContent.endsWith('pictures')")
    opened.page.context.set_offline(True)
    opened.page.click("#update")
    opened.until("document.querySelector('#trouble-text').textContent.includes('does not answer')")
    opened.page.context.set_offline(False)
    opened.page.click("#retry")
    opened.page.wait_for_selector("#trouble", state="hidden")
    assert all("ERR_INTERNET_DISCONNECTED" in line for line in opened.said)
    opened.said.clear()


@pytest.mark.parametrize(("width_px", "scheme"), [(360, "dark"), (1200, "light"), (1200, "dark")])
def test_copies_and_index_are_accessible(gallery: Served, width_px: int, scheme: str) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    how = {"viewport": {"width": width_px, "height": 900}, "color_scheme": scheme, "reduced_motion": "reduce"}
    opened, found = reviewed(gallery, **how), {}
    found["open groups"] = violations(opened)
    opened.page.locator(".group").first.focus()
    opened.page.keyboard.press("k")
    opened.page.wait_for_selector("#apply:enabled")
    found["decided"] = violations(opened)
    opened.page.click("#apply")
    opened.page.wait_for_selector("#confirm[open]")
    opened.page.wait_for_timeout(400)  # it fades in
    found["question"] = violations(opened)
    opened.page.click("#confirm-no")
    opened.page.click("#find summary")
    opened.page.wait_for_timeout(400)
    found["what to find"] = violations(opened)
    opened.page.click("#to-index")
    opened.until("document.querySelector('#skipped').textContent.includes('broken.jpg')")
    opened.page.click("#update")
    opened.page.wait_for_selector("#job-close:visible")
    found["index"] = violations(opened)
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_both_views_fit_their_width_and_have_names_for_all(gallery: Served, width_px: int, scheme: str) -> None:
    size = {"width": width_px, "height": 800}
    opened = reviewed(gallery, viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page = opened.page
    for view in ("copies", "index"):
        page.click(f"#to-{view}")
        page.wait_for_selector(".group" if view == "copies" else "#skipped li")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, input, select, a, progress, article')].filter(one =>"
            "one.checkVisibility() && !(one.textContent.trim() || one.ariaLabel || one.labels?.length))"
            ".map(one => one.outerHTML)"
        )
        assert nameless == [] and page.locator("img:not([alt])").count() == 0
        outside = page.evaluate(
            "[...document.querySelectorAll('main button, main select, main figure')]"
            ".filter(one => one.checkVisibility() && one.getBoundingClientRect().right > innerWidth + 1)"
            ".map(one => one.outerHTML)"
        )
        assert outside == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    (red, *_) = map(int, re.findall(r"\d+", ground))
    assert (red < 64) == (scheme == "dark")


# questions and addresses


def test_the_address_of_any_question_holds_it(gallery: Served) -> None:
    hypothesis = pytest.importorskip("hypothesis")
    from hypothesis import strategies as st

    opened = gallery.open("/?view=index")
    ids = st.integers(0, 10**15 - 1)
    lists = st.lists(ids, max_size=6, unique=True)
    text = st.text(st.characters(codec="utf-8"), max_size=40)
    days = st.dates(date(1000, 1, 1)).map(str) | st.just("")
    picture = st.fixed_dictionaries({"id": ids}) | st.fixed_dictionaries(
        {"code": st.text("abzAZ019_-", min_size=4, max_size=60)}
    )
    plain = {
        "view": st.sampled_from(["search", "space", "copies", "index"]),
        "text": text,
        "where": text,
        "folder": text,
        "from": days,
        "to": days,
        "metric": st.sampled_from(["euclidean", "cosine"]),
        "copies": st.sampled_from(["collapse", "show"]),
        "k": st.integers(1, 200),
        "t": st.integers(0, 100).map(lambda number: number / 100),
        "spread": st.integers(1, 20).map(lambda number: number / 10),
        "seed": st.integers(0, 2**31 - 1),
        "scale": st.sampled_from([None, 1]),
        "show": st.none() | ids,
        "a": st.none() | ids,
        "b": st.none() | ids,
        "near": st.none() | st.text("abzAZ019_-", min_size=4, max_size=60),
    }
    questions = st.fixed_dictionaries({}, optional=plain)
    asking = st.builds(
        lambda one, given, like, unlike: {**one, **given, "like": like, "unlike": unlike},
        questions,
        picture,
        lists,
        lists,
    )

    @hypothesis.settings(max_examples=150, deadline=None, database=None, derandomize=True)
    @hypothesis.given(questions | asking)
    def holds(given: dict[str, Any]) -> None:
        address, back, again = opened.page.evaluate(
            """async given => {
                const { parse, format } = await import("/assets/question.js");
                const question = { ...parse(""), ...given };
                const address = format(question);
                const back = parse(address.slice(1));
                const differs = Object.keys(question).filter(name =>
                    JSON.stringify(back[name]) !== JSON.stringify(question[name]));
                return [address, differs, format(back)];
            }""",
            given,
        )
        assert back == [] and again == address and address.isascii(), (given, address, back)

    holds()

    @hypothesis.settings(max_examples=150, deadline=None, database=None, derandomize=True)
    @hypothesis.given(st.text(st.characters(codec="utf-8"), max_size=200))
    def settles(search: str) -> None:
        once, twice = opened.page.evaluate(
            """async search => {
                const { parse, format } = await import("/assets/question.js");
                const once = format(parse(search));
                return [once, format(parse(once.slice(1)))];
            }""",
            search,
        )
        assert once == twice, (search, once, twice)

    settles()


# last, since what is no copy stays none


def test_what_is_no_copy_is_remembered(gallery: Served) -> None:
    opened = reviewed(gallery)
    page = opened.page
    plan = asked(opened, "copies")["plans"][0]["id"]
    groups = asked(opened, f"copies/{plan}/groups?limit=200")["groups"]
    scaled = next(group["number"] for group in groups if group["copies"][0]["kind"] == "scaled")
    page.locator(".group").nth(scaled).focus()
    page.keyboard.press("n")
    opened.until("number => document.querySelectorAll('.group')[number].dataset.decision === 'apart'", scaled)
    assert "remembered" in page.locator(".group").nth(scaled).inner_text()
    with Searcher.open(gallery.folder / ".latent") as searcher:
        assert len(searcher.kept_apart()) == 1
