"""What people do to pictures: kinds of alterations, each a function of a picture and a random generator.

Those of ``train.copies``, which ``latent evaluate`` measures with, come first.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from train.copies import ALTERATIONS

Rng = np.random.Generator
Alteration = Callable[[Image.Image, Rng], Image.Image]


def saved(image: Image.Image, kind: str, **settings: object) -> Image.Image:
    """The picture after it was saved in a format and opened again."""
    file = io.BytesIO()
    image.save(file, kind, **settings)
    file.seek(0)
    return Image.open(file).convert("RGB")


def scaled(image: Image.Image, longest: int) -> Image.Image:
    share = longest / max(image.size)
    return image.resize(
        (max(1, round(image.width * share)), max(1, round(image.height * share))), Image.Resampling.LANCZOS
    )


def cropped(image: Image.Image, share: float, rng: Rng | None = None) -> Image.Image:
    """``share`` of each side: the middle, or one corner."""
    width, height = round(image.width * share), round(image.height * share)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    if rng is not None:
        left, top = int(rng.integers(2)) * (image.width - width), int(rng.integers(2)) * (image.height - height)
    return image.crop((left, top, left + width, top + height))


def to_shape(image: Image.Image, across: int, down: int) -> Image.Image:
    """The largest middle part of a shape."""
    unit = min(image.width / across, image.height / down)
    return ImageOps.fit(image, (round(unit * across), round(unit * down)))


def turned(image: Image.Image, degrees: float) -> Image.Image:
    return image.rotate(degrees, Image.Resampling.BICUBIC)


def bars(image: Image.Image, across: float, down: float, colour: str = "black") -> Image.Image:
    """Bars at left and right, and at top and bottom, as shares of the sides."""
    x, y = round(image.width * across), round(image.height * down)
    return ImageOps.expand(image, (x, y, x, y), fill=colour)


def text_font(image: Image.Image, share: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(8, round(image.height * share)))


def caption(image: Image.Image, rng: Rng) -> Image.Image:
    """A line of text on a white strip below."""
    strip = round(image.height * 0.14)
    page = Image.new("RGB", (image.width, image.height + strip), "white")
    page.paste(image)
    words = "".join(chr(97 + int(one)) if one < 26 else " " for one in rng.integers(0, 30, 26))
    ImageDraw.Draw(page).text((strip // 4, image.height + strip // 5), words, "black", text_font(image, 0.07))
    return page


def written(image: Image.Image, text: str, place: tuple[float, float], share: float, colour: str) -> Image.Image:
    page = image.copy()
    at = (round(image.width * place[0]), round(image.height * place[1]))
    ImageDraw.Draw(page).text(
        at, text, colour, text_font(image, share), stroke_width=max(1, image.height // 250), stroke_fill="black"
    )
    return page


def watermark(image: Image.Image, rng: Rng) -> Image.Image:
    """Half transparent text across the picture."""
    layer = Image.new("RGBA", image.size, (255, 255, 255, 0))
    pen, font = ImageDraw.Draw(layer), text_font(image, 0.12)
    for row in range(3):
        pen.text((image.width * 0.05, image.height * (0.1 + 0.3 * row)), "PREVIEW ONLY", (255, 255, 255, 90), font)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def sticker(image: Image.Image, rng: Rng, share: float = 0.15) -> Image.Image:
    """A filled disc that hides a ``share`` of the area."""
    page, radius = image.copy(), float(np.sqrt(share * image.width * image.height / np.pi))
    x, y = rng.uniform(0.3, 0.7) * image.width, rng.uniform(0.3, 0.7) * image.height
    colour = tuple(int(one) for one in rng.integers(0, 256, 3))
    ImageDraw.Draw(page).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return page


def screenshot(image: Image.Image, rng: Rng) -> Image.Image:
    """The picture in a phone's window: bars of an interface above and below, 9:16."""
    width = image.width
    height = max(round(width * 16 / 9), image.height + width // 3)
    page = Image.new("RGB", (width, height), (18, 18, 20))
    page.paste(image, (0, (height - image.height) // 2))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(max(8, width // 24))
    pen.text((width * 0.05, width * 0.03), "12:34", "white", font)
    pen.ellipse((width * 0.05, height - width * 0.14, width * 0.13, height - width * 0.06), fill=(90, 90, 95))
    pen.rounded_rectangle((width * 0.2, height - width * 0.13, width * 0.9, height - width * 0.06), 12, (45, 45, 50))
    return page


def collage(image: Image.Image, rng: Rng) -> Image.Image:
    """The picture as one of four, beside noise of three colours."""
    width, height = image.size
    page = Image.new("RGB", (2 * width, 2 * height))
    for place in range(4):
        field = rng.integers(0, 256, (8, 8, 3), np.uint8)
        tile = image if place == 0 else Image.fromarray(field).resize(image.size, Image.Resampling.BICUBIC)
        page.paste(tile, ((place % 2) * width, (place // 2) * height))
    return page.resize(image.size, Image.Resampling.LANCZOS)


def tone_curve(image: Image.Image, rng: Rng) -> Image.Image:
    """Warm, faded and with a vignette, as filters of phones are."""
    values = np.asarray(image, np.float32) / 255
    values = 0.08 + 0.86 * values ** np.array([0.9, 1.0, 1.15], np.float32)
    y, x = np.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j]
    values *= (1 - 0.25 * (x**2 + y**2) / 2)[..., None]
    return Image.fromarray((values.clip(0, 1) * 255).astype(np.uint8))


def noisy(image: Image.Image, rng: Rng, strength: float = 18) -> Image.Image:
    values = np.asarray(image, np.float32)
    return Image.fromarray((values + rng.normal(0, strength, values.shape)).clip(0, 255).astype(np.uint8))


def printed(image: Image.Image, rng: Rng) -> Image.Image:
    """Printed, and photographed on a table: perspective, paper, blur, light from one side."""
    width, height = image.size
    table = Image.new("RGB", (round(width * 1.2), round(height * 1.2)), (120, 96, 70))
    table.paste(ImageOps.expand(image, width // 40, "white"), (width // 12, height // 12))
    w, h = table.size
    corners = rng.uniform(0, 0.05, 8) * np.array([w, h] * 4)
    quad = np.abs(np.array([0, 0, 0, h, w, h, w, 0]) - corners)  # each corner moves inwards
    seen = table.transform(table.size, Image.Transform.QUAD, quad.tolist(), Image.Resampling.BICUBIC)
    light = np.linspace(0.8, 1.1, w, dtype=np.float32)[None, :, None]
    seen = Image.fromarray((np.asarray(seen, np.float32) * light).clip(0, 255).astype(np.uint8))
    return saved(noisy(seen.filter(ImageFilter.GaussianBlur(max(1, w / 600))), rng, 4), "JPEG", quality=80)


def laid(image: Image.Image) -> Image.Image:
    """Stored lying on its side, with an EXIF that turns it back."""
    lying = image.transpose(Image.Transpose.ROTATE_90)
    lying.getexif()[ExifTags.Base.Orientation] = 6  # to be turned to the right
    return lying


def _stretched(image: Image.Image, across: float) -> Image.Image:
    return image.resize((round(image.width * across), image.height), Image.Resampling.LANCZOS)


KINDS: dict[str, Alteration] = {
    **{name: lambda image, rng, alter=alter: alter(image) for name, alter in ALTERATIONS.items()},
    "WebP 40": lambda image, rng: saved(image, "WEBP", quality=40),
    "GIF colours": lambda image, rng: image.quantize(128).convert("RGB"),
    "CMYK": lambda image, rng: image.convert("CMYK").convert("RGB"),
    "64 px": lambda image, rng: scaled(image, 64),
    "32 px": lambda image, rng: scaled(image, 32),
    "double size": lambda image, rng: scaled(image, 2 * max(image.size)),
    "stretched 15%": lambda image, rng: _stretched(image, 1.15),
    **{f"crop {share}%": lambda image, rng, share=share: cropped(image, share / 100) for share in (95, 80, 70, 60, 50)},
    **{f"corner {share}%": lambda image, rng, share=share: cropped(image, share / 100, rng) for share in (90, 80, 60)},
    "to 1:1": lambda image, rng: to_shape(image, 1, 1),
    "to 16:9": lambda image, rng: to_shape(image, 16, 9),
    **{f"turned {angle} degrees": lambda image, rng, angle=angle: turned(image, angle) for angle in (2, 10)},
    "quarter turn": lambda image, rng: image.transpose(Image.Transpose.ROTATE_90),
    "upside down": lambda image, rng: image.transpose(Image.Transpose.ROTATE_180),
    "turned by EXIF": lambda image, rng: laid(image),
    "transposed": lambda image, rng: image.transpose(Image.Transpose.TRANSPOSE),
    "letterbox": lambda image, rng: bars(image, 0, 0.17),
    "pillarbox": lambda image, rng: bars(image, 0.2, 0),
    "white border": lambda image, rng: bars(image, 0.08, 0.08, "white"),
    "frame": lambda image, rng: bars(bars(image, 0.02, 0.02, "white"), 0.06, 0.06, "saddlebrown"),
    "screenshot": screenshot,
    "caption": caption,
    "subtitle": lambda image, rng: written(image, "I told you so.", (0.28, 0.86), 0.07, "white"),
    "date stamp": lambda image, rng: written(image, "24 07 '09", (0.7, 0.9), 0.05, "orange"),
    "meme": lambda image, rng: written(image, "ONE DOES NOT SIMPLY", (0.05, 0.03), 0.1, "white"),
    "watermark": watermark,
    "sticker": sticker,
    "filter": tone_curve,
    "darker": lambda image, rng: ImageEnhance.Brightness(image).enhance(0.6),
    "contrast": lambda image, rng: ImageEnhance.Contrast(image).enhance(1.5),
    "negative": lambda image, rng: ImageOps.invert(image),
    "noise": noisy,
    "blur": lambda image, rng: image.filter(ImageFilter.GaussianBlur(max(image.size) / 200)),
    "collage": collage,
    "printed": printed,
}
