"""axe-core (WCAG 2.2 A and AA, and its best practices) on every view of the page of ``latent serve``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.browsing import NEEDED, Opened, Served, quiet, serving, violations
from tests.conftest import write_shapes

pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
pytestmark = NEEDED

READY = "#grid:not([aria-busy]) .tile"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("accessible")
    write_shapes(folder / "photos", 110)
    write_shapes(folder / "photos" / "Trips", 6, seed=1)
    with serving(folder) as served:
        yield served


@pytest.fixture
def gallery(served: Served) -> Iterator[Served]:
    with quiet(served) as gallery:
        yield gallery


def show(opened: Opened, path: str, ready: str, act: Callable[[Opened], object] | None = None) -> None:
    opened.page.goto(opened.address + path)
    opened.page.wait_for_selector(ready)
    if act is not None:
        act(opened)
    opened.page.wait_for_timeout(400)  # what fades in has come


def lasso(opened: Opened) -> None:
    opened.page.click("#map-view-list")
    opened.page.wait_for_selector("#map-grid .tile")


def tell_trouble(opened: Opened) -> None:
    opened.page.context.set_offline(True)
    opened.page.fill("#text", "x")
    opened.page.press("#text", "Enter")
    opened.page.wait_for_selector("#trouble:not([hidden])")


VIEWS: dict[str, tuple[str, str, Callable[[Opened], object] | None]] = {
    "newest": ("/", READY, None),
    "hits": ("/?id=3&like=5&unlike=7", READY, None),
    "filters": ("/?where=colour+%3D+red", "#where-place", None),
    "nothing": ("/?text=nothingiscalledthat", "#summary:not(:empty)", None),
    "large view": ("/?id=3&show=4", "#facts dt", None),
    "space": ("/?view=space&a=1&b=2", "#wall-grid img", None),
    "chosen": ("/?view=space", "#wall-grid .tile", lambda opened: opened.page.click("#wall-grid .tile >> nth=1")),
    "picker": ("/?view=space", "#slot-a", lambda opened: opened.page.click("#slot-a")),
    "help": ("/", READY, lambda opened: opened.page.keyboard.press("?")),
    "map": ("/?view=map", "#map-stage:not([aria-busy])", None),
    "map by folder": ("/?view=map&by=folder", "#map-legend:not([hidden])", None),
    "list of the map": ("/?view=map", "#map-stage:not([aria-busy])", lasso),
    "picture of the map": ("/?view=map&show=4", "#facts dt", None),
    "trouble": ("/", READY, tell_trouble),
}


@pytest.mark.parametrize(("width_px", "scheme"), [(360, "dark"), (1200, "light"), (1200, "dark")])
def test_every_view_is_accessible(gallery: Served, width_px: int, scheme: str) -> None:
    found: dict[str, list[str]] = {}
    for name, (path, ready, act) in VIEWS.items():
        opened = gallery.open(viewport={"width": width_px, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
        show(opened, path, ready, act)
        found[name] = violations(opened)
        opened.page.context.close()  # before what was said is read: more pictures may fail to come while it is offline
        gallery.pages.remove(opened)
        assert all("400" in line or "ERR_INTERNET_DISCONNECTED" in line for line in opened.said), opened.said
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_faults_are_found(gallery: Served) -> None:
    opened = gallery.open()
    show(opened, "/", READY)
    opened.page.evaluate(
        "document.querySelector('#pick').insertAdjacentElement('afterend', document.createElement('button'))"
    )
    assert [line for line in violations(opened) if line.startswith("button-name")]
