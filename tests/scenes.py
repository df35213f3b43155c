"""Drawn scenes with detail at every scale, as photographs have, and copies of some: what tests of copies share."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDE, HIGH = 384, 288
SKIES = ((255, 214, 170), (150, 200, 240), (240, 170, 190), (90, 110, 190), (250, 235, 190))


def draw_scene(seed: int) -> Image.Image:
    """Hills under a sky with a sun and some houses; no two seeds are alike."""
    rng = np.random.default_rng(seed)
    top, bottom = (np.array(SKIES[one], np.float32) for one in rng.choice(len(SKIES), 2, replace=False))
    share = np.linspace(0, 1, HIGH, dtype=np.float32)[:, None, None]
    image = Image.fromarray(np.broadcast_to(top * (1 - share) + bottom * share, (HIGH, WIDE, 3)).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    x, y, radius = rng.integers(30, WIDE - 30), rng.integers(20, HIGH // 2), rng.integers(14, 44)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(rng, 200, 256))
    for hill in range(3):
        _hill(pen, rng, HIGH * (0.45 + 0.15 * hill))
    for _ in range(rng.integers(3, 9)):
        _house(pen, rng)
    return Image.fromarray((np.asarray(image, np.float32) + _detail(rng)[..., None]).clip(0, 255).astype(np.uint8))


def write_scenes(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Scenes as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"scene-{seed + number:03d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        draw_scene(seed + number).save(path)
    return paths


def write_copies(folder: Path, scenes: list[Path]) -> dict[str, Path]:
    """A copy of each scene, in turn: the same bytes, saved again in half the size, with a text on it."""
    folder.mkdir(parents=True, exist_ok=True)
    copies = {}
    for number, scene in enumerate(scenes):
        kind = ("bytes", "scaled", "edited")[number % 3]
        copy = folder / f"{kind}-{scene.stem}{'.jpg' if kind == 'scaled' else '.png'}"
        if kind == "bytes":
            shutil.copyfile(scene, copy)
        else:
            with Image.open(scene) as picture:
                (picture.resize((WIDE // 2, HIGH // 2)) if kind == "scaled" else _written_on(picture)).save(copy)
        copies[copy.name] = scene
    return copies


def _written_on(picture: Image.Image) -> Image.Image:
    page = picture.convert("RGB")
    font = ImageFont.load_default(28)
    ImageDraw.Draw(page).text((20, 10), "GREETINGS", "white", font, stroke_width=2, stroke_fill="black")
    return page


def _colour(rng: np.random.Generator, low: int, high: int) -> tuple[int, ...]:
    return tuple(int(value) for value in rng.integers(low, high, 3))


def _hill(pen: ImageDraw.ImageDraw, rng: np.random.Generator, height: float) -> None:
    across = np.linspace(0, WIDE, 25)
    waves = sum(rng.uniform(4, 22) * np.sin(across / WIDE * rng.uniform(2, 14) + rng.uniform(0, 6)) for _ in range(3))
    ridge = [(float(x), float(height + up)) for x, up in zip(across, waves, strict=True)]
    pen.polygon([*ridge, (WIDE, HIGH), (0, HIGH)], fill=_colour(rng, 30, 170))


def _house(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    x, y = float(rng.uniform(10, WIDE - 60)), float(rng.uniform(HIGH * 0.55, HIGH - 40))
    wide, high = float(rng.uniform(16, 50)), float(rng.uniform(14, 40))
    pen.rectangle((x, y, x + wide, y + high), fill=_colour(rng, 90, 250))
    pen.polygon([(x - 4, y), (x + wide / 2, y - high / 2), (x + wide + 4, y)], fill=_colour(rng, 60, 200))
    pen.rectangle((x + wide / 3, y + high / 2, x + wide / 2, y + high), fill=_colour(rng, 0, 80))


def _detail(rng: np.random.Generator) -> np.ndarray:
    """Noise of every scale, float32 (h, w)."""
    detail = np.zeros((HIGH, WIDE), np.float32)
    for octave in range(4, 9):
        coarse = Image.fromarray(rng.normal(0, 1, (2**octave * 3 // 4, 2**octave)).astype(np.float32))
        detail += np.asarray(coarse.resize((WIDE, HIGH), Image.Resampling.BICUBIC)) * 30 / 2 ** (octave - 2)
    return detail
