"""Pictures that look alike and are no copies: each function draws the n-th of one kind."""

from __future__ import annotations

import colorsys
import itertools
import random
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFilter, ImageFont

from retrieval import load_model

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


def bursts(number: int, rng: Rng) -> Image.Image:
    """Shots of one scene, a second apart: noise, a hand that trembles, somebody who walks by."""
    scene, (x, y) = _scene(), rng.integers(0, 9, 2)
    pen = ImageDraw.Draw(scene)
    left = 40 + 14 * number
    pen.rounded_rectangle((left, 180, left + 50, 360), 20, fill=(60, 40, 120))
    pen.ellipse((left + 5, 130, left + 45, 178), fill=(224, 172, 105))
    shot = _grained(scene.crop((x, y, x + 600, y + 440)), rng, 3)
    when = f"2020:05:01 10:{number // 60:02d}:{number % 60:02d}"
    shot.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = when
    return shot


def twins(number: int, rng: Rng) -> Image.Image:
    """School portraits: one backdrop, one uniform, other faces."""
    page = Image.fromarray(np.linspace((70, 90, 130), (150, 170, 200), 500).astype(np.uint8)[:, None].repeat(400, 1))
    pen = ImageDraw.Draw(page)
    pen.polygon([(20, 500), (60, 380), (160, 330), (240, 330), (340, 380), (380, 500)], fill=(25, 35, 70))
    pen.polygon([(160, 330), (200, 400), (240, 330)], fill="white")
    pen.polygon([(192, 345), (208, 345), (214, 440), (200, 460), (186, 440)], fill=(150, 20, 30))
    face = Image.fromarray(_faces()[number % len(_faces())]).resize((200, 240), Image.Resampling.BICUBIC)
    oval = Image.new("L", face.size)
    ImageDraw.Draw(oval).ellipse((10, 5, 190, 235), fill=255)
    page.paste(face, (100, 100), oval.filter(ImageFilter.GaussianBlur(4)))
    return _grained(page, rng, 3)


def products(number: int, rng: Rng) -> Image.Image:
    """One bottle on white, other labels."""
    page = Image.new("RGB", (400, 600), "white")
    across = np.sin(np.linspace(0.15, np.pi - 0.1, 160)) ** 0.6
    glass = (across[None, :, None] * np.array([70, 110, 60])).repeat(400, 0).astype(np.uint8)
    page.paste(Image.fromarray(glass), (120, 160))
    page.paste(Image.fromarray(glass).resize((60, 120)), (170, 50))
    pen, hue = ImageDraw.Draw(page), 0.618 * number % 1
    pen.rectangle((120, 280, 279, 460), fill=tuple(int(255 * one) for one in colorsys.hsv_to_rgb(hue, 0.3, 0.95)))
    pen.text((132, 300), words(rng, 1).title(), "black", font(26))
    lines(pen, rng, (132, 350), 4, 12, 4)
    return page


def logos(number: int, rng: Rng) -> Image.Image:
    """One emblem on transparency, other names."""
    page = Image.new("RGBA", (400, 160), (255, 255, 255, 0))
    pen = ImageDraw.Draw(page)
    pen.ellipse((10, 20, 130, 140), fill=(0, 120, 90, 255))
    pen.rectangle((55, 40, 85, 120), fill=(255, 255, 255, 255))
    pen.text((150, 50), words(rng, 1)[:7].title(), (40, 40, 40, 255), font(52))
    return page


@lru_cache
def _faces() -> np.ndarray:
    return load_model("faces-64").sample(200, seed=5)


def _scene() -> Image.Image:
    """A picture with detail at every scale, the same each time."""
    rng, values = np.random.default_rng(1), np.zeros((450, 610, 3), np.float32) + 120
    for octave in range(2, 9):
        for channel in range(3):
            coarse = Image.fromarray(rng.normal(0, 1, (2**octave * 3 // 4, 2**octave)).astype(np.float32))
            fine = np.asarray(coarse.resize((610, 450), Image.Resampling.BICUBIC))
            values[..., channel] += fine * 120 / 2 ** (0.8 * octave)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _grained(image: Image.Image, rng: Rng, strength: float) -> Image.Image:
    values = np.asarray(image, np.float32)
    return Image.fromarray((values + rng.normal(0, strength, values.shape)).clip(0, 255).astype(np.uint8))


def _smooth(rng: Rng) -> np.ndarray:
    """Smooth random values in 0 to 1, (256, 256)."""
    field = Image.fromarray(rng.uniform(0, 1, (6, 6)).astype(np.float32)).resize((256, 256), Image.Resampling.BICUBIC)
    return np.asarray(field).clip(0, 1)


KINDS: dict[str, Draw] = {
    "letters": letters, "receipts": receipts, "forms": forms, "slides": slides, "charts": charts, "chats": chats,
    "maps": maps, "icons": icons, "emoji": emoji, "flags": flags, "shirts": shirts, "masks": masks,
    "depth maps": depths, "float pictures": floats, "star fields": stars, "scanned pages": pages_scanned,
    "bursts": bursts, "twins in uniform": twins, "products on white": products, "logos": logos,
}  # fmt: skip
