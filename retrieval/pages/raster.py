"""Encode pixels as PNG, JPEG and data URI."""

from __future__ import annotations

import base64
from io import BytesIO

from PIL import Image

from retrieval.arrays import Pixels


def png(picture: Pixels | Image.Image) -> bytes:
    """uint8 (h, w, 3), or an image, as a PNG."""
    buffer = BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, "PNG")
    return buffer.getvalue()


def jpeg(pixels: Pixels, quality: int = 90) -> bytes:
    """uint8 (h, w, 3) as a JPEG."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def data_uri(pixels: Pixels) -> str:
    """uint8 (h, w, 3) as a data URI that holds the JPEG, so that a page needs no other file."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(pixels)).decode("ascii")
