"""Pictures that look alike and are no copies: each function draws the n-th of one kind."""

from __future__ import annotations

import colorsys
import itertools
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Rng = np.random.Generator
Draw = Callable[[int, Rng], Image.Image]
COLOURS = [(0, 85, 164), (239, 65, 53), (0, 146, 70), (255, 255, 255), (0, 0, 0), (255, 206, 0), (114, 46, 122)]
FLAGS = list(itertools.product((True, False), itertools.permutations(COLOURS, 3)))  # no two are equal
random.Random(0).shuffle(FLAGS)
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def words(rng: Rng, count: int) -> str:
    return " ".join("".join(rng.choice(LETTERS, rng.integers(2, 10))) for _ in range(count))


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def lines(pen: ImageDraw.ImageDraw, rng: Rng, at: tuple[int, int], count: int, size: int, most: int = 9) -> None:
    for row in range(count):
        pen.text((at[0], at[1] + row * round(size * 1.5)), words(rng, int(rng.integers(3, most))), "black", font(size))


def letters(number: int, rng: Rng) -> Image.Image:
    """One letterhead, other texts."""
    page = Image.new("RGB", (620, 877), "white")
    pen = ImageDraw.Draw(page)
    pen.rectangle((60, 50, 160, 90), fill=(30, 60, 120))
    pen.text((380, 55), "Example & Co, Main Street 1", "black", font(14))
    lines(pen, rng, (60, 200), 24, 15)
    return page


def receipts(number: int, rng: Rng) -> Image.Image:
    """One shop, other goods and sums."""
    page = Image.new("RGB", (360, 800), (250, 250, 246))
    pen = ImageDraw.Draw(page)
    pen.text((110, 30), "CORNER SHOP", "black", font(22))
    for row in range(int(rng.integers(14, 18))):
        pen.text((30, 120 + 34 * row), words(rng, 1), "black", font(18))
        pen.text((270, 120 + 34 * row), f"{rng.uniform(0.5, 30):.2f}", "black", font(18))
    return page


def forms(number: int, rng: Rng) -> Image.Image:
    """One form, other entries."""
    page = Image.new("RGB", (620, 877), "white")
    pen = ImageDraw.Draw(page)
    for row in range(10):
        pen.rectangle((60, 90 + 72 * row, 560, 140 + 72 * row), outline="black")
        pen.text((64, 92 + 72 * row), f"{row + 1}. Name of field", "black", font(11))
        pen.text((90, 112 + 72 * row), words(rng, 2), (20, 20, 140), font(18))
    return page


def slides(number: int, rng: Rng) -> Image.Image:
    """One template, other points."""
    page = Image.new("RGB", (960, 540), "white")
    pen = ImageDraw.Draw(page)
    pen.rectangle((0, 0, 960, 90), fill=(0, 70, 127))
    pen.text((40, 25), words(rng, 3).title(), "white", font(36))
    for row in range(int(rng.integers(3, 6))):
        pen.ellipse((60, 150 + 70 * row, 72, 162 + 70 * row), fill=(0, 70, 127))
        pen.text((90, 140 + 70 * row), words(rng, int(rng.integers(3, 7))), "black", font(26))
    pen.text((900, 505), str(number + 1), "gray", font(16))
    return page


def charts(number: int, rng: Rng) -> Image.Image:
    """One pair of axes, other values."""
    page = Image.new("RGB", (640, 480), "white")
    pen = ImageDraw.Draw(page)
    pen.line((60, 40, 60, 430, 610, 430), fill="black", width=2)
    for bar in range(8):
        pen.rectangle((90 + 64 * bar, 430 - int(rng.integers(40, 370)), 130 + 64 * bar, 429), fill=(31, 119, 180))
    return page


def chats(number: int, rng: Rng) -> Image.Image:
    """One application, other talks."""
    page = Image.new("RGB", (450, 900), (236, 229, 221))
    pen, y = ImageDraw.Draw(page), 90
    pen.rectangle((0, 0, 450, 70), fill=(7, 94, 84))
    while y < 820:
        mine, tall = bool(rng.integers(2)), int(rng.integers(40, 110))
        left = 120 if mine else 15
        pen.rounded_rectangle((left, y, left + 315, y + tall), 12, fill=(220, 248, 198) if mine else "white")
        lines(pen, rng, (left + 12, y + 8), tall // 28, 14, 5)
        y += tall + 14
    return page


def maps(number: int, rng: Rng) -> Image.Image:
    """One style, other streets."""
    page = Image.new("RGB", (512, 512), (242, 239, 233))
    pen = ImageDraw.Draw(page)
    for _ in range(14):
        x0, y0, x1, y1 = rng.integers(-80, 592, 4)
        pen.line((x0, y0, x1, y1), fill="white", width=int(rng.integers(4, 14)))
    for _ in range(3):
        x, y = rng.integers(0, 450, 2)
        pen.rectangle((x, y, x + 80, y + 60), fill=(200, 230, 190))
    return page


def icons(number: int, rng: Rng) -> Image.Image:
    """White shapes on transparency."""
    page = Image.new("RGBA", (256, 256), (255, 255, 255, 0))
    pen = ImageDraw.Draw(page)
    corners = 3 + number % 7
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, 1)
    radii = rng.uniform(50, 120, corners)
    pen.polygon([(128 + r * np.cos(a), 128 + r * np.sin(a)) for a, r in zip(angles, radii, strict=True)], "white")
    return page


def emoji(number: int, rng: Rng) -> Image.Image:
    """One face, other skins, mouths and hair."""
    skins = [(255, 224, 189), (241, 194, 125), (224, 172, 105), (198, 134, 66), (141, 85, 36), (255, 204, 77)]
    page = Image.new("RGB", (128, 128), "white")
    pen = ImageDraw.Draw(page)
    skin, mouth, hair = number % 6, number // 6 % 4, number // 24 % 3
    pen.ellipse((10, 10, 118, 118), fill=skins[skin])
    if hair:
        pen.chord((10, 6, 118, 90), 190, 350, fill=(70, 40, 20) if hair == 1 else (235, 200, 90))
    pen.ellipse((38, 46, 50, 60), fill="black")
    pen.ellipse((78, 46, 90, 60), fill="black")
    box, brown = (40, 70, 88, 98), (90, 30, 30)
    if mouth == 0:
        pen.arc(box, 20, 160, fill=brown)
    elif mouth == 1:
        pen.chord(box, 20, 160, fill=brown)
    elif mouth == 2:
        pen.ellipse(box, fill=brown)
    else:
        pen.line((40, 88, 88, 88), fill=brown)
    return page


def flags(number: int, rng: Rng) -> Image.Image:
    """Three stripes, other colours."""
    upright, chosen = FLAGS[number % len(FLAGS)]
    page = Image.new("RGB", (300, 200))
    pen = ImageDraw.Draw(page)
    for part, colour in enumerate(chosen):
        box = (100 * part, 0, 100 * part + 99, 199) if upright else (0, 67 * part, 299, 67 * part + 66)
        pen.rectangle(box, fill=colour)
    return page


def shirts(number: int, rng: Rng) -> Image.Image:
    """One product on white, other colours."""
    page = Image.new("RGB", (400, 400), "white")
    colour = tuple(int(255 * one) for one in colorsys.hsv_to_rgb(0.618 * number % 1, 0.75, 0.8))
    ImageDraw.Draw(page).polygon(
        [(130, 80), (60, 130), (85, 175), (120, 150), (120, 340), (280, 340), (280, 150), (315, 175), (340, 130),
         (270, 80), (230, 100), (170, 100)], fill=colour)  # fmt: skip
    return page


def masks(number: int, rng: Rng) -> Image.Image:
    """Label masks: values 0 to 3 in 8 bits."""
    return Image.fromarray((3.999 * _smooth(rng)).astype(np.uint8))


def depths(number: int, rng: Rng) -> Image.Image:
    """Depth maps: 16 bits, of which few are used."""
    return Image.fromarray((500 + 40 * _smooth(rng)).astype(np.uint16))


def floats(number: int, rng: Rng) -> Image.Image:
    """Float pictures with one hot pixel."""
    values = _smooth(rng).astype(np.float32)
    values[tuple(rng.integers(0, 256, 2))] = 5000
    return Image.fromarray(values)


def stars(number: int, rng: Rng) -> Image.Image:
    """A few points on black."""
    values = rng.normal(4, 2, (400, 600)).clip(0, 255)
    for _ in range(120):
        y, x = rng.integers(0, (400, 600))
        values[y, x] = rng.uniform(60, 255)
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def pages_scanned(number: int, rng: Rng) -> Image.Image:
    """Full pages of small print, grey and noisy."""
    page = Image.new("L", (620, 877), 245)
    lines(ImageDraw.Draw(page), rng, (50, 50), 52, 10, 16)
    values = np.asarray(page.filter(ImageFilter.GaussianBlur(0.6)), np.float32) + rng.normal(0, 4, (877, 620))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _smooth(rng: Rng) -> np.ndarray:
    """Smooth random values in 0 to 1, (256, 256)."""
    field = Image.fromarray(rng.uniform(0, 1, (6, 6)).astype(np.float32)).resize((256, 256), Image.Resampling.BICUBIC)
    return np.asarray(field).clip(0, 1)


KINDS: dict[str, Draw] = {
    "letters": letters, "receipts": receipts, "forms": forms, "slides": slides, "charts": charts, "chats": chats,
    "maps": maps, "icons": icons, "emoji": emoji, "flags": flags, "shirts": shirts, "masks": masks,
    "depth maps": depths, "float pictures": floats, "star fields": stars, "scanned pages": pages_scanned,
}  # fmt: skip
