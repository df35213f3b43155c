"""Altered copies of pictures, of given kinds and strengths, and a perceptual hash that also looks for them."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from retrieval.arrays import Pixels
from retrieval.errors import PictureRefused
from retrieval.pictures.decode import framed
from retrieval.pictures.shared import decode_all
from retrieval.pictures.tasks import Frame
from retrieval.pictures.workers import Task

Alteration = Callable[[Image.Image], Image.Image]


def _jpeg(quality: int) -> Alteration:
    def alter(image: Image.Image) -> Image.Image:
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert("RGB")

    return alter


def _half(image: Image.Image) -> Image.Image:
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BICUBIC)


def _crop(share: float) -> Alteration:
    def alter(image: Image.Image) -> Image.Image:
        dx, dy = round(image.width * (1 - share) / 2), round(image.height * (1 - share) / 2)
        return image.crop((dx, dy, image.width - dx, image.height - dy))

    return alter


ALTERATIONS: dict[str, Alteration] = {
    "JPEG quality 30": _jpeg(30),
    "half size": _half,
    "brightness +30%": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "brightness -30%": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "blur 1 px": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "crop 90%": _crop(0.9),
    "rotation 5 degrees": lambda image: image.rotate(5, Image.Resampling.BICUBIC),
    "mirrored": ImageOps.mirror,
}


def original(task: Task) -> Image.Image:
    """The picture of a task in its own size.

    Raises:
        PictureRefused: it cannot be read any more.
    """
    (decoded,) = decode_all([task._replace(frame="original")], 0)
    pixels = decoded.pixels_or_refusal()
    if isinstance(pixels, PictureRefused):
        raise pixels
    return Image.fromarray(pixels)


def altered(picture: Image.Image, size_px: int, frame: Frame = "square") -> dict[str, Pixels]:
    """Alter a picture in each way at its own size, then take a frame of it as usual: uint8 (s, s, 3) each."""
    return {name: framed(np.asarray(alter(picture)), size_px, frame) for name, alter in ALTERATIONS.items()}


def difference_hash(pictures: Pixels) -> npt.NDArray[np.float32]:
    """dHash: whether each of 8x8 grey values is brighter than its right neighbour, (n, 64) of -1 and 1.

    Half the squared distance of two hashes is twice their Hamming distance, so hashes rank as codes do.
    """
    bits = []
    for pixels in pictures:
        grey = np.asarray(Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
        bits.append((grey[:, 1:] > grey[:, :-1]).ravel())
    return np.where(np.stack(bits), 1, -1).astype(np.float32)
