"""Photograph the views of ``latent serve``, on pictures that faces-128 generates: docs/figures/serve-*.jpg.

    python docs/draw_gallery.py [-o docs/figures]

It needs the extra web, playwright and Chromium.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from PIL import Image

from retrieval import load_model
from tests.browsing import Opened, Served, ids_of, serving

MODEL, LIBRARY, SEED = "faces-128", 300, 2026
SIZES = {"phone": (360, 740), "laptop": (1024, 720), "desk": (1920, 1000)}
QUALITY = 72
Way = Callable[[Opened, list[int]], None]


@dataclass
class Shot:
    """A view: the question of its address, with {0}, {1}, ... for pictures, and what is done there."""

    name: str
    question: str
    size: str
    scheme: str
    way: Way | None = None
    options: dict[str, Any] = field(default_factory=dict)


def settle(opened: Opened) -> None:
    opened.page.wait_for_load_state("networkidle")
    opened.page.wait_for_timeout(400)


def help_(opened: Opened, _: list[int]) -> None:
    opened.page.keyboard.press("?")


def sum_(opened: Opened, _: list[int]) -> None:
    opened.page.wait_for_selector("#sum-painting[src^=blob]")
    opened.page.click("#shelf summary")
    settle(opened)
    opened.page.locator("#sum-title").scroll_into_view_if_needed()
    opened.page.evaluate("scrollTo(0, document.querySelector('#sum-title').getBoundingClientRect().top + scrollY - 80)")


SHOTS = [
    Shot("serve-collection", "/", "desk", "light"),
    Shot("serve-hits", "/?id={0}&k=40", "laptop", "light"),
    Shot("serve-hits-phone", "/?id={0}&k=40", "phone", "dark"),
    Shot("serve-picture", "/?id={0}&show={1}&k=40", "desk", "dark"),
    Shot("serve-picture-phone", "/?id={0}&show={1}&k=40", "phone", "light"),
    Shot("serve-between", "/?view=space&a={0}&b={2}&t=0.4", "laptop", "dark"),
    Shot("serve-sum", "/?view=space&plus={0},{3}&minus={4}", "laptop", "light", sum_),
    Shot("serve-keys", "/", "laptop", "light", help_),
]


def photograph(served: Served, shot: Shot, chosen: list[int], target: Path) -> None:
    width, height = SIZES[shot.size]
    opened = served.open(
        shot.question.format(*chosen),
        viewport={"width": width, "height": height},
        color_scheme=shot.scheme,
        **shot.options,
    )
    settle(opened)
    if shot.way is not None:
        shot.way(opened, chosen)
        settle(opened)
    path = target / f"{shot.name}.jpg"
    opened.page.screenshot(path=path, type="jpeg", quality=QUALITY)
    assert opened.said == [], opened.said
    opened.page.context.close()
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "figures")
    words.add_argument("--only", default="", help="views whose name holds this")
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        photos = Path(scratch) / "photos"
        photos.mkdir()
        for number, pixels in enumerate(load_model(MODEL).sample(LIBRARY, SEED)):
            Image.fromarray(pixels).save(photos / f"face-{number:05d}.jpg", quality=92)
        with serving(Path(scratch), model=MODEL) as served:
            known = ids_of(served.open())
            chosen = [known[f"/face-{number:05d}.jpg"] for number in (42, 17, 7, 101, 64)]
            for shot in SHOTS:
                if given.only in shot.name:
                    photograph(served, shot, chosen, given.output)


if __name__ == "__main__":
    main()
