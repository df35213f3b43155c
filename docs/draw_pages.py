"""Take pictures of the page of ``latent serve`` again, with drawn pictures only: python docs/draw_pages.py [FOLDER]

It needs Chromium and the extras web and dev.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.browsing import Opened, serving
from tests.conftest import write_shapes

FIGURES = Path(__file__).parent / "figures"
HIGH_PX = {360: 800, 1024: 900, 1920: 1000}
COLOURS = 256
FOLDERS = {"Trips/Rome": 300, "Trips/Oslo": 220, "Home": 480, "Garden/2023": 140, "Garden/2024": 180}


def collection(folder: Path) -> None:
    """Drawn shapes in folders, one a day."""
    for seed, (name, count) in enumerate(FOLDERS.items()):
        write_shapes(folder / name, count, seed)
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        os.utime(path, (1_600_000_000 + 86_400 * number,) * 2)


def show_map(opened: Opened) -> None:
    opened.page.wait_for_selector("#map-stage:not([aria-busy])")
    opened.until("[...document.querySelectorAll('.prototype img')].every(image => image.naturalWidth > 0)")


def list_cluster(opened: Opened) -> None:
    show_map(opened)
    opened.page.click("#map-clusters .cluster >> nth=2")
    opened.until("[...document.querySelectorAll('#map-grid img')].length > 0")


SHOWN: dict[str, list[tuple[int, str, str, Callable[[Opened], None]]]] = {
    "serve-map": [
        (1920, "light", "/?view=map", show_map),
        (1920, "dark", "/?view=map&by=taken", show_map),
        (1024, "light", "/?view=map", list_cluster),
        (1024, "dark", "/?view=map&by=folder", show_map),
        (360, "light", "/?view=map", show_map),
        (360, "dark", "/?view=map&by=novelty", show_map),
    ]
}
"""Pictures by name: width, scheme, address, and what is waited for."""


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        collection(Path(scratch) / "photos")
        with serving(Path(scratch)) as served:
            for name, shown in SHOWN.items():
                for width, scheme, address, act in shown:
                    size = {"width": width, "height": HIGH_PX[width]}
                    opened = served.open(address, viewport=size, color_scheme=scheme, reduced_motion="reduce")
                    act(opened)
                    opened.page.wait_for_load_state("networkidle")
                    opened.page.wait_for_timeout(500)
                    save(opened.page.screenshot(), target / f"{name}-{width}-{scheme}.png")


def save(picture: bytes, target: Path) -> None:
    """With few colours: every clone of the project downloads it."""
    with Image.open(BytesIO(picture)) as image:
        image.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(target, optimize=True)
    print(f"drew {target} ({target.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FIGURES)
