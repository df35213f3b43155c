"""Pictures as callers give them: the path of a file, pixels, or a picture that Pillow has opened."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from retrieval.arrays import Pixels

if TYPE_CHECKING:
    from PIL import Image
    from typing_extensions import TypeIs

    Given = str | os.PathLike[str] | Pixels | Image.Image


def is_file(picture: Given) -> TypeIs[str | os.PathLike[str]]:
    """Whether a picture is given by its path."""
    return isinstance(picture, str | os.PathLike)


def is_opened(picture: Any) -> TypeIs[Image.Image]:
    """Whether this is one of Pillow's pictures. If Pillow was not imported, there is none."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(picture, pillow.Image)


def pixels_of(picture: Pixels | Image.Image) -> Pixels:
    """Pixels as they are; of one of Pillow's pictures uint8 (h, w, 3), read as a file is: upright by EXIF, on white.

    Raises:
        PictureRefused: it cannot be decoded.
    """
    if not is_opened(picture):
        return picture
    from retrieval.pictures.decode import read_pixels

    return read_pixels(picture).pixels


def size_of(picture: Pixels | Image.Image) -> tuple[int, int]:
    """Width and height."""
    return picture.size if is_opened(picture) else (picture.shape[1], picture.shape[0])
