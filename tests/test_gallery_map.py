"""The map of the page of ``latent serve`` in a real Chromium against the real server."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browsing import NEEDED, OF_THE_MAP, Opened, Served, ids_of, quiet, serving
from tests.conftest import write_shapes

pytestmark = NEEDED

PICTURES, ROME = 90, 14
WIDTHS_PX = (360, 1024, 1920)
ASSETS = Path(__file__).parent.parent / "serve" / "gallery" / "assets"
MOST_BYTES = 45_000
STAGE = "document.querySelector('#map-stage')"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("mapped")
    write_shapes(folder / "photos", PICTURES)
    write_shapes(folder / "photos" / "Trips" / "Rome", ROME, seed=1)
    for number, path in enumerate(sorted((folder / "photos").rglob("*.png"))):
        os.utime(path, (1_600_000_000 + 86_400 * number,) * 2)
    with serving(folder) as served:
        yield served


@pytest.fixture
def gallery(served: Served) -> Iterator[Served]:
    with quiet(served) as gallery:
        yield gallery


def opened_map(gallery: Served, words: str = "", **context: Any) -> Opened:
    opened = gallery.open(f"/?view=map{words}", **context)
    opened.page.wait_for_selector("#map-stage:not([aria-busy])")
    return opened


def told_map(opened: Opened) -> dict[str, Any]:
    """The map as the server tells it, with columns as arrays."""
    told: dict[str, Any] = opened.page.evaluate("fetch('/api/v1/map').then(answer => answer.json())")
    kinds = {"ids": "<i8", "positions": "<f4", "cluster": "<u2", "folder": "<u4", "taken_s": "<f8", "novelty": "<f4"}
    columns = {name: np.frombuffer(base64.b64decode(told[name]), kind) for name, kind in kinds.items()}
    columns["positions"] = columns["positions"].reshape(-1, 2)
    return told | columns


def places_px(opened: Opened, points: Any) -> Any:
    """Where points of the plane (n, 2) are on the screen while the whole map is shown."""
    box = opened.page.locator("#map-stage").bounding_box()
    assert box is not None
    wide, high = box["width"] - 2, box["height"] - 2
    scale = 0.9 * np.array([min(wide, 1.8 * high), min(high, 1.8 * wide)])
    return np.array([box["x"] + 1 + wide / 2, box["y"] + 1 + high / 2]) + (np.asarray(points) - 0.5) * scale


def lonely(places: Any) -> int:
    """The place that is farthest from all others."""
    away = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(len(places))
    return int(away.min(1).argmax())


def pixels(opened: Opened) -> Any:
    """The points' canvas, uint8 (h, w, 3)."""
    address = opened.page.evaluate("document.querySelector('#map-points').toDataURL('image/png')")
    with Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGB"))


def without_prototypes(opened: Opened) -> None:
    opened.page.uncheck("#map-prototypes")
    opened.until("document.querySelectorAll('.prototype:not([hidden])').length === 0")


def test_every_picture_is_a_point_in_the_colour_of_its_cluster(gallery: Served) -> None:
    opened = opened_map(gallery, viewport={"width": 1400, "height": 900}, color_scheme="light")
    told = told_map(opened)
    assert f"{PICTURES + ROME} pictures" in opened.page.inner_text("#map-state")
    box = opened.page.locator("#map-stage").bounding_box()
    assert box is not None
    drawn = pixels(opened)
    colours: dict[int, set[tuple[int, ...]]] = {}
    places = places_px(opened, told["positions"]) - (box["x"] + 1, box["y"] + 1)
    free = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(len(places)) > 14
    for number in np.flatnonzero(free.all(1)):
        x, y = places[number].astype(int)
        colours.setdefault(int(told["cluster"][number]), set()).add(tuple(drawn[y, x, :3].tolist()))
    assert len(colours) > 5 and all(len(its) == 1 for its in colours.values())
    assert len(set.union(*colours.values())) == len(colours) and (255, 255, 255) not in set.union(*colours.values())


def test_a_point_shows_its_picture_and_opens_it(gallery: Served) -> None:
    opened = opened_map(gallery, viewport={"width": 1400, "height": 900})
    page = opened.page
    without_prototypes(opened)
    told = told_map(opened)
    places = places_px(opened, told["positions"])
    number = lonely(places)
    page.mouse.move(*places[number])
    page.wait_for_selector("#map-card:not([hidden])")
    assert told["names"][number] in page.inner_text("#map-card-words")
    opened.until("document.querySelector('#map-card-picture').naturalWidth > 0")
    shown = page.get_attribute("#map-card-picture", "src") or ""
    assert f"/items/{told['ids'][number]}/" in shown
    page.mouse.click(*places[number])
    page.wait_for_selector("#viewer[open]")
    assert page.inner_text("#viewer-name") == told["names"][number]
    assert opened.question == {"view": "map", "show": str(told["ids"][number])}
    assert page.locator("#like").is_hidden()
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer[open]", state="hidden")
    opened.wait_for_question(show="", view="map")


def test_a_lasso_makes_a_list_that_is_saved(gallery: Served, tmp_path: Path) -> None:
    opened = opened_map(gallery, viewport={"width": 1400, "height": 900}, accept_downloads=True)
    page = opened.page
    without_prototypes(opened)
    told = told_map(opened)
    places = places_px(opened, told["positions"])
    middle = np.median(places, axis=0)
    corners = middle + 150 * np.array([[-1, -1], [1, -1], [1, 1], [0, 0.1], [-1, 1], [-1, -1]])  # with a notch

    def inside(x: float, y: float) -> bool:
        (x, y) = ((x - middle[0]) / 150, (y - middle[1]) / 150)
        return -1 < x < 1 and -1 < y < 1 and not (y > 0.1 + 0.9 * abs(x))

    expected = {int(told["ids"][n]) for n, place in enumerate(places) if inside(*place)}
    assert 5 < len(expected) < 80
    page.click("#map-lasso")
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=12)
    page.mouse.up()
    opened.until("!document.querySelector('#map-list').hidden")
    assert page.inner_text("#map-list-title") == f"List of {len(expected)} pictures"
    assert "below the map" in page.inner_text("#map-said")
    for button, name in (("#map-save-ids", "ids.txt"), ("#map-save-paths", "pictures.txt")):
        with page.expect_download() as waiting:
            page.click(button)
        assert waiting.value.suggested_filename == name
        waiting.value.save_as(tmp_path / name)
    assert {int(line) for line in (tmp_path / "ids.txt").read_text().splitlines()} == expected
    paths = (tmp_path / "pictures.txt").read_text().splitlines()
    assert len(paths) == len(expected) and all((gallery.folder / "photos" / path).is_file() for path in paths)
    by_path = {path.removeprefix("/"): number for path, number in ids_of(opened).items()}
    assert {by_path[path] for path in paths} == expected
    opened.until("count => document.querySelectorAll('#map-grid .tile').length === count", min(60, len(expected)))
    page.click("#map-grid .tile >> nth=0")
    page.wait_for_selector("#viewer[open]")
    first = page.inner_text("#viewer-name")
    assert page.inner_text("#viewer-place") == f"1 of {min(60, len(expected))}"
    page.keyboard.press("ArrowRight")
    opened.until("name => document.querySelector('#viewer-name').textContent !== name", first)
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer[open]", state="hidden")
    opened.until("document.activeElement.className === 'tile'")
    page.click("#map-clear")
    page.wait_for_selector("#map-list", state="hidden")


def test_clusters_are_listed_with_their_prototypes(gallery: Served) -> None:
    opened = opened_map(gallery, viewport={"width": 1400, "height": 900})
    page = opened.page
    told = told_map(opened)
    counts = [cluster["count"] for cluster in told["clusters"]]
    assert page.locator("#map-clusters .cluster").count() == page.locator(".prototype").count() == len(counts)
    opened.until("[...document.querySelectorAll('#map-clusters img')].every(image => image.naturalWidth > 0)")
    opened.until("[...document.querySelectorAll('.prototype img')].every(image => image.naturalWidth === 64)")
    label = page.get_attribute("#map-clusters .cluster >> nth=2", "aria-label") or ""
    assert label.startswith(f"Cluster 3, {counts[2]} pictures")
    page.focus("#map-clusters .cluster >> nth=2")
    page.keyboard.press("Enter")
    opened.until("!document.querySelector('#map-list').hidden")
    assert page.inner_text("#map-list-title") == f"Cluster 3: {counts[2]} pictures"
    names = {told["names"][number] for number in np.flatnonzero(told["cluster"] == 2)}
    page.wait_for_selector("#map-grid .tile")
    assert set(page.locator("#map-grid .tile-name").all_inner_texts()) == names


def test_colours_are_in_the_address_and_have_a_legend(gallery: Served) -> None:
    opened = opened_map(gallery, viewport={"width": 1400, "height": 900})
    page = opened.page
    before = pixels(opened)
    for by, words in (
        ("taken", ["2020-09-13"]),
        ("folder", ["(top folder) (90)", "Trips/Rome (14)"]),
        ("novelty", ["%"]),
    ):
        page.select_option("#map-by", by)
        opened.wait_for_question(by=by)
        opened.until("!document.querySelector('#map-legend').hidden")
        legend = page.inner_text("#map-legend")
        assert all(word in legend for word in words), legend
        page.wait_for_timeout(100)
        after = pixels(opened)
        assert (after != before).any()
        before = after
        again = opened_map(gallery, f"&by={by}", viewport={"width": 1400, "height": 900})
        assert np.array_equal(pixels(again), after)
    page.select_option("#map-by", "cluster")
    page.wait_for_selector("#map-legend", state="hidden")


def test_the_map_moves_and_zooms_by_mouse(gallery: Served) -> None:
    opened = opened_map(gallery, viewport={"width": 1400, "height": 900})
    page = opened.page
    without_prototypes(opened)
    told = told_map(opened)
    whole = pixels(opened)
    places = places_px(opened, told["positions"])
    number = lonely(places)
    page.mouse.move(*places[number])
    for _ in range(12):
        page.mouse.wheel(0, -240)
        page.wait_for_timeout(20)
    opened.until("document.querySelectorAll('#map-pictures img').length > 0")  # few are left, and are shown
    assert page.evaluate("scrollY") == 0
    page.mouse.move(places[number][0] + 1, places[number][1])  # what was under the pointer is there still
    opened.until("name => document.querySelector('#map-card-words').textContent.includes(name)", told["names"][number])
    page.mouse.down()
    page.mouse.move(places[number][0] + 90, places[number][1] + 40, steps=5)
    page.mouse.up()
    page.mouse.move(places[number][0] + 91, places[number][1] + 40)
    opened.until("name => document.querySelector('#map-card-words').textContent.includes(name)", told["names"][number])
    page.click("#map-whole")
    opened.until("document.querySelector('#map-whole').disabled")
    opened.until("document.querySelectorAll('#map-pictures img').length === 0")
    assert np.array_equal(pixels(opened), whole)


def test_two_fingers_zoom_and_a_tap_opens(gallery: Served) -> None:
    opened = opened_map(gallery, viewport={"width": 700, "height": 900}, has_touch=True)
    page = opened.page
    without_prototypes(opened)
    told = told_map(opened)
    places = places_px(opened, told["positions"])
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *points: Any) -> None:
        told_points = [{"x": float(x), "y": float(y), "id": n} for n, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": told_points})

    number = lonely(places)
    x, y = places[number]
    send("touchStart", (x - 30, y), (x + 30, y))
    for step in range(1, 9):
        send("touchMove", (x - 30 - 8 * step, y), (x + 30 + 8 * step, y))
    send("touchEnd")
    assert page.is_enabled("#map-whole") and page.locator("#viewer[open]").count() == 0
    page.touchscreen.tap(x, y)  # the fingers went apart round it
    page.wait_for_selector("#viewer[open]")
    assert page.inner_text("#viewer-name") == told["names"][number]


def test_the_map_by_keyboard(gallery: Served) -> None:
    opened = opened_map(gallery, viewport={"width": 1400, "height": 900}, reduced_motion="reduce")
    page = opened.page
    page.focus("#map-whole")  # then back to the map
    page.keyboard.press("Escape")
    page.evaluate("document.querySelector('#map-view-list').focus()")
    for _ in range(6):
        page.keyboard.press("Tab")
        if opened.focused() == "map-stage":
            break
    assert opened.focused() == "map-stage"
    opened.until("document.querySelector('#map-said').textContent !== ''")
    for key in ("+", "+", "ArrowRight", "ArrowDown", "+"):
        page.keyboard.press(key)
    assert page.is_enabled("#map-whole")
    for key in ("ArrowLeft", "ArrowUp") * 8:
        if page.locator("#map-card").is_visible():
            break
        page.keyboard.press(key)
    page.wait_for_selector("#map-card:not([hidden])")
    said = page.inner_text("#map-said")
    assert page.inner_text("#map-card-words") == said and "cluster" in said
    page.keyboard.press("Enter")
    page.wait_for_selector("#viewer[open]")
    assert said.startswith(page.inner_text("#viewer-name"))
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer[open]", state="hidden")
    opened.until(f"document.activeElement === {STAGE}")
    page.keyboard.press("v")
    opened.until("!document.querySelector('#map-list').hidden")
    shown = int(re.findall(r"\d+", page.inner_text("#map-list-title"))[0])
    assert 0 < shown < PICTURES + ROME
    page.keyboard.press("Home")
    opened.until("document.querySelector('#map-whole').disabled")
    page.keyboard.press("v")
    opened.until("count => document.querySelector('#map-list-title').textContent.includes(count)", str(PICTURES + ROME))


def test_the_map_is_told_while_it_is_made_and_if_it_cannot_be(gallery: Served) -> None:
    opened = gallery.open()
    page = opened.page
    answers = [
        (202, '{"stage": "reading", "done": 3000, "total": 9000}'),
        (202, '{"stage": "grouping", "done": 0, "total": 1}'),
        (409, '{"error": {"code": "too_few", "message": "a map needs 3 pictures"}}'),
    ]
    page.route("**/api/v1/map", lambda route: route.fulfill(status=answers[0][0], body=answers.pop(0)[1]))
    page.click("#to-map")
    opened.until("document.querySelector('#map-state').textContent.includes('3,000 of 9,000')")
    assert page.evaluate("document.querySelector('#map-progress').value") == 3000
    opened.until("document.querySelector('#map-state').textContent.includes('clusters')")
    opened.until("document.querySelector('#map-state').textContent === 'A map needs three pictures.'")
    assert page.locator("#map-progress").is_hidden() and page.locator("#map-frame").is_hidden()
    assert all("409" in line for line in opened.said)
    opened.said.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_the_map_fits_its_width_and_its_scheme(gallery: Served, width_px: int, scheme: str) -> None:
    size = {"width": width_px, "height": 800}
    opened = opened_map(gallery, viewport=size, color_scheme=scheme, reduced_motion="reduce")
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ground = pixels(opened)[0, 0, :3]
    assert (ground < 64).all() if scheme == "dark" else (ground > 250).all()
    box = opened.page.locator("#map-stage").bounding_box()
    assert box is not None and box["y"] + box["height"] <= 800


def test_points_are_found_as_by_looking_at_all(gallery: Served) -> None:
    opened = gallery.open()
    rng = np.random.default_rng(8)
    points = np.concatenate([rng.random((2000, 2)), rng.normal(0.5, 0.01, (1000, 2)), [[0, 0], [1, 1], [1, 0]]])
    outlines = [rng.random((rng.integers(3, 9), 2)) for _ in range(20)]
    asked = rng.random((200, 2))
    told = opened.page.evaluate(
        """async ([points, outlines, asked]) => {
        const { Plane } = await import("/assets/plane.js");
        const plane = new Plane(Float32Array.from(points.flat()));
        return { inside: outlines.map((one) => plane.inside(one).sort((a, b) => a - b)),
            near: asked.map(([x, y]) => plane.nearest(x, y, 0.02, 0.01)) };
    }""",
        [points.tolist(), [one.tolist() for one in outlines], asked.tolist()],
    )
    points = points.astype(np.float32).astype(np.float64)
    for outline, found in zip(outlines, told["inside"], strict=True):
        assert found == [n for n, (x, y) in enumerate(points) if is_inside(outline, x, y)]
    assert any(told["inside"]) and -1 in told["near"] and max(told["near"]) >= 0
    for place, found in zip(asked, told["near"], strict=True):
        away = (((points - place) / (0.02, 0.01)) ** 2).sum(1)
        assert found == (int(away.argmin()) if away.min() <= 1 else -1)


def is_inside(outline: Any, x: float, y: float) -> bool:
    """By the winding of crossings of a ray to the right."""
    crossings = 0
    for (x1, y1), (x2, y2) in zip(outline, np.roll(outline, 1, axis=0), strict=True):
        if (y1 > y) != (y2 > y):
            crossings += x < x1 + (y - y1) * (x2 - x1) / (y2 - y1)
    return crossings % 2 == 1


def test_the_map_costs_few_bytes() -> None:
    assert sum((ASSETS / name).stat().st_size for name in OF_THE_MAP) <= MOST_BYTES
