"""What ``fuzz`` mutates: how the files are made, and how a mutant is opened."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import draw_shapes, write_shapes

FORMATS = {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"} | {
    name: name.upper() for name in ["png", "gif", "webp", "bmp", "ico", "ppm", "tga", "dds", "sgi", "pcx", "avif"]
}
DIM = 16


@dataclass(frozen=True)
class Target:
    """``make`` fills a folder and returns the files to mutate by name; ``open`` opens one with other bytes."""

    name: str
    make: Callable[[Path], dict[str, bytes]]
    open: Callable[[Path, str, bytes], None]


def make_pictures(folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    image = Image.fromarray(draw_shapes(1, side=48)[0][0])
    made = {}
    for suffix, kind in FORMATS.items():
        file = io.BytesIO()
        try:
            image.save(file, kind)
        except (OSError, KeyError):  # a decoder that this Pillow was built without
            continue
        made[f"picture.{suffix}"] = file.getvalue()
    for mode in ("P", "LA", "RGBA", "I;16", "F", "1", "CMYK"):
        file = io.BytesIO()
        image.convert("L" if mode in ("I;16", "F") else "RGB").convert(mode).save(file, "TIFF")
        made[f"{mode.replace(';', '')}.tif"] = file.getvalue()
    return made


def open_picture(folder: Path, name: str, data: bytes) -> None:
    from retrieval.pictures.workers import Task, decode

    (folder / name).write_bytes(data)
    decoded = decode(Task(str(folder / name), want="picture"), 32)
    assert (decoded.pixels is None) == (decoded.facts is None) == (decoded.reason is not None)


def _make_index(folder: Path) -> None:
    """An index with a cache and a plan, by a process of its own: torch and FAISS have threads, and this one forks."""
    write_shapes(folder / "photos", 12)
    for number in range(3):
        name = f"shape-0-{number:03d}.png"
        shutil.copy2(folder / "photos" / name, folder / "photos" / f"copy-{name}")
    making = (
        "import os, sys; from pathlib import Path; data = os.environ['LATENT_DATA']\n"
        "from tests.conftest import make_bundle; os.environ['LATENT_DATA'] = data  # the key of this process\n"
        "from retrieval import Retriever, apply_plan, find_copies\n"
        "folder = Path(sys.argv[1]); make_bundle(folder / 'bundle')\n"
        "with Retriever.build(folder / 'photos', folder / 'index', model=folder / 'bundle') as built:\n"
        "    built.query(folder / 'photos' / 'copy-shape-0-000.png')\n"
        "    plan = find_copies(built); plan.save(folder / 'plan.json')\n"
        "list(apply_plan(plan, 'move', folder / 'journal', to=folder / 'aside', dry_run=False))\n"
    )
    subprocess.run([sys.executable, "-c", making, str(folder)], check=True)
    shutil.copytree(folder / "index", folder / "whole")


def _made(*patterns: str) -> Callable[[Path], dict[str, bytes]]:
    """Make an index with all that belongs to it, and mutate the files of these patterns."""

    def make(folder: Path) -> dict[str, bytes]:
        _make_index(folder)
        paths = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}

    return make


def open_index(folder: Path, name: str, data: bytes) -> None:
    """Ask, check and verify an index of which one file is a mutant."""
    from retrieval import Retriever

    shutil.rmtree(folder / "index")
    shutil.copytree(folder / "whole", folder / "index")
    (folder / name).write_bytes(data)
    xq = np.random.default_rng(0).standard_normal((2, DIM)).astype(np.float32)
    with Retriever.open(folder / "index") as retriever:
        retriever.status()
        for hits in retriever.query_codes(xq, 5):
            for hit in hits:
                assert np.isfinite(hit.distance)
        retriever.verify()


def open_bundle(folder: Path, name: str, data: bytes) -> None:
    from retrieval import load_model

    before = (folder / name).read_bytes()
    try:
        (folder / name).write_bytes(data)
        model = load_model(folder / "bundle")
        codes = model.encode(np.zeros((1, 32, 32, 3), np.uint8))
        assert codes.shape == (1, model.latent_dim) and np.isfinite(codes).all()
        model.decode(codes)
    finally:
        (folder / name).write_bytes(before)


def open_plan(folder: Path, name: str, data: bytes) -> None:
    from retrieval import apply_plan, load_plan

    (folder / "mutant.json").write_bytes(data)
    plan = load_plan(folder / "mutant.json")
    list(apply_plan(plan, "move", folder / "unused", to=folder / "aside"))


def open_journal(folder: Path, name: str, data: bytes) -> None:
    from retrieval import undo

    (folder / "mutant.journal").write_bytes(data)
    list(undo(folder / "mutant.journal"))


TARGETS = [
    Target("pictures", make_pictures, open_picture),
    Target("bundles", _made("bundle/*"), open_bundle),
    Target("catalogs", _made("index/catalog.db", "index/budget.json"), open_index),
    Target("caches", _made("index/*.faiss"), open_index),
    Target("plans", _made("plan.json"), open_plan),
    Target("journals", _made("journal"), open_journal),
]
