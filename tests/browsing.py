"""The page of ``latent serve`` in a real Chromium, driven by Playwright: what its tests share."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

CHROMIUM = shutil.which("chromium")
WAIT_S = 20
OF_THE_MAP = ("map.js", "plane.js", "hand.js", "colours.js", "map.css")  # whose bytes are counted apart

NEEDED = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("uvicorn") is None, reason="the extra web is not installed"),
]
"""The marks of a file whose tests open the page."""


@dataclass
class Served:
    """A running ``latent serve``, and a browser that was let in."""

    address: str
    folder: Path
    browser: Browser
    state: Any = None
    pages: list[Opened] = field(default_factory=list)

    def open(self, path: str = "/", **context: Any) -> Opened:
        page = self.browser.new_context(storage_state=self.state, **context).new_page()
        page.set_default_timeout(1000 * WAIT_S)
        opened = Opened(page, self.address)
        self.pages.append(opened)
        page.goto(self.address + path)
        return opened


class Opened:
    """A page, and what it said and asked for."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.said.append(f"{message.text} {message.location}")

    def _request(self, request: Request) -> None:
        self.asked.append(request.url)

    @property
    def question(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.page.url).query).items()}

    def names(self) -> list[str]:
        """The names of the tiles, once there are some."""
        self.page.wait_for_selector("#grid .tile")
        return self.page.locator("#grid .tile-name").all_inner_texts()

    def until(self, expression: str, given: object = None) -> None:
        """Wait until it is true. Playwright's own way evaluates strings, which the page's policy forbids."""
        ends_s = time.monotonic() + WAIT_S
        while not self.page.evaluate(expression, given):
            assert time.monotonic() < ends_s, expression
            self.page.wait_for_timeout(20)

    def wait_for_question(self, **expected: str) -> None:
        self.until(
            "wanted => { const given = new URLSearchParams(location.search);"
            "return Object.entries(wanted).every(([name, value]) => (given.get(name) ?? '') === value) }",
            expected,
        )

    def wait_for_hits(self) -> None:
        """A search is answered."""
        self.page.wait_for_selector("#grid:not([aria-busy]) .tile-figure")

    def focused(self) -> str:
        name: str = self.page.evaluate(
            "document.activeElement.querySelector('.tile-name')?.textContent ?? document.activeElement.id"
        )
        return name


@contextmanager
def serving(folder: Path, *options: str, model: str = "photos-64") -> Iterator[Served]:
    """Index ``folder``/photos, serve it with more options of ``latent serve``, and let a browser in."""
    from playwright.sync_api import sync_playwright

    program = str(Path(sys.executable).with_name("latent"))
    environment = {key: value for key, value in os.environ.items() if key != "LATENT_INDEX"}
    environment |= {"XDG_CACHE_HOME": str(folder / "cache"), "BROWSER": "true", "DISPLAY": ""}
    usual: dict[str, Any] = {"cwd": folder, "env": environment, "text": True, "stdin": subprocess.DEVNULL}
    subprocess.run(
        [program, "index", "build", "photos", "--model", model], check=True, capture_output=True, timeout=300, **usual
    )
    command = [program, "serve", "--no-open", "--port", "0", *options]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **usual) as server,
        sync_playwright() as driver,
    ):
        try:
            assert server.stdout is not None
            lines = iter(server.stdout.readline, "")
            link = next(found[0] for line in lines if (found := re.search(r"http://\S+launch=\S+", line)))
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            context = browser.new_context()
            context.new_page().goto(link)
            yield Served(link.partition("/?")[0], folder, browser, context.storage_state())
            browser.close()
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)


@contextmanager
def quiet(served: Served) -> Iterator[Served]:
    """Whatever page is opened keeps to the server, and has nothing to complain of."""
    served.pages.clear()
    yield served
    for one in served.pages:
        assert one.said == []
        own = (served.address + "/", "blob:" + served.address + "/")
        assert [url for url in one.asked if not url.startswith(own)] == []
        one.page.context.close()


def violations(opened: Opened) -> list[str]:
    """What axe-core finds, a line for each element."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(opened.page, options={"resultTypes": ["violations"]}).response["violations"]
    return [f"{one['id']}: {node['html'][:200]} {node['failureSummary']}" for one in found for node in one["nodes"]]


def ids_of(opened: Opened) -> dict[str, int]:
    """The id of each picture, as the server says it."""
    items = opened.page.evaluate("fetch('/api/v1/items?limit=200').then(answer => answer.json())")["items"]
    return {f"{item['folder']}/{item['name']}": item["id"] for item in items}
