"""The one recipe that reads files as pixels, for searching and for training.

The content of a file, never its suffix, decides how it is opened. Its first frame is turned upright once by EXIF,
composed over white if it is transparent, and converted to 8-bit RGB. For a model it is then cropped to its central
square and scaled to the model's size. Every worker process imports this module, so it needs only Pillow and numpy.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from retrieval.arrays import Pixels
from retrieval.errors import PictureRefused
from retrieval.quiet import ignoring_warnings

TURNS = {  # EXIF orientation -> the operation that turns the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATIONS_THAT_SWAP = frozenset({5, 6, 7, 8})
PROGRAMS = frozenset({"EPS", "WMF"})  # formats that only other programs could run


@dataclass(frozen=True)
class Picture:
    """A decoded picture: ``pixels`` uint8 (h, w, 3), upright; ``width_px`` x ``height_px`` of the whole original."""

    pixels: Pixels
    width_px: int
    height_px: int


def read_image(source: str | os.PathLike[str] | BinaryIO | bytes, cover_px: int | None = None) -> Picture:
    """Decode one picture to upright 8-bit RGB.

    Args:
        source: a path, an open binary file, or the bytes of one.
        cover_px: if given, JPEGs are decoded at the smallest of the scales 1, 1/2, 1/4, 1/8 whose
            shorter side is still that long, which is many times cheaper for photos.

    Raises:
        PictureRefused: the content is not a picture, or no decoder could read it; the message says why.
        OSError: the file could not be opened.
    """
    with identified(source) as image:
        return read_pixels(image, cover_px)


@contextmanager
def identified(source: str | os.PathLike[str] | BinaryIO | bytes) -> Iterator[Image.Image]:
    """Open a picture and read only its header, for ``read_pixels``. Raises as ``read_image``."""
    with ignoring_warnings():  # decoders warn about odd metadata; only the pixels count
        image = _open(BytesIO(source) if isinstance(source, bytes) else source)
        try:
            yield image
        finally:
            image.close()


def read_pixels(image: Image.Image, cover_px: int | None = None) -> Picture:
    """Decode the pixels of an ``identified`` picture, as ``read_image`` does."""
    with _refusing():
        upright, width, height = _decode(image, cover_px)
        return Picture(np.asarray(upright), width, height)


def read_square(image: Image.Image, size_px: int, whole: bool = False) -> Picture:
    """As ``read_pixels`` and ``square``, without copying all pixels in between. ``whole`` squeezes the whole picture.

    The cost of such a copy is less the copying than the fresh pages of memory: half of the time of a PNG.
    """
    with _refusing():
        upright, width, height = _decode(image, cover_px=size_px)
        return Picture(_squeezed(upright, size_px) if whole else _squared(upright, size_px), width, height)


@contextmanager
def _refusing() -> Iterator[None]:
    """Raise any exception of a decoder as ``PictureRefused``: third-party decoders raise all kinds."""
    try:
        yield
    except PictureRefused:
        raise
    except Exception as error:
        raise PictureRefused(_reason(error), passing=isinstance(error, MemoryError)) from error


def _open(source: str | os.PathLike[str] | BinaryIO) -> Image.Image:
    if isinstance(source, str | os.PathLike):
        facts = os.stat(source)
        if not stat.S_ISREG(facts.st_mode):  # a pipe, which cannot seek
            source = BytesIO(Path(source).read_bytes())
        elif facts.st_size == 0:
            raise PictureRefused("empty file")
    try:
        return Image.open(source)
    except UnidentifiedImageError:
        return _open_heif(source)
    except Image.DecompressionBombError as error:
        raise PictureRefused(_reason(error)) from error
    except OSError as error:
        if error.errno is not None:  # an error of the file system
            raise
        raise PictureRefused(_reason(error)) from error
    except Exception as error:
        raise PictureRefused(_reason(error)) from error


def _open_heif(source: str | os.PathLike[str] | BinaryIO) -> Image.Image:
    """Second try with the HEIF decoder, which is imported only when a file needs it."""
    head = _head(source, 12)
    if not head:
        raise PictureRefused("empty file")
    if head[4:8] != b"ftyp":
        raise PictureRefused("not a picture")
    if head[8:12] not in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        raise PictureRefused("not a picture")
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise PictureRefused("HEIC needs an extra: pip install 'latent[heif]'", passing=True) from error
    try:
        image: Image.Image = HeifImageFile(source)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise PictureRefused(_reason(error)) from error
    width, height = image.size
    if Image.MAX_IMAGE_PIXELS and width * height > 2 * Image.MAX_IMAGE_PIXELS:  # as Image.open checks
        image.close()
        raise PictureRefused(_reason(Image.DecompressionBombError()))
    return image


def _head(source: str | os.PathLike[str] | BinaryIO, count: int) -> bytes:
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            return file.read(count)
    source.seek(0)
    head = source.read(count)
    source.seek(0)
    return head


def _decode(image: Image.Image, cover_px: int | None) -> tuple[Image.Image, int, int]:
    """The picture in RGB, upright, perhaps at a smaller scale; and its full width and height, upright."""
    if image.format in PROGRAMS:
        raise PictureRefused(f"{image.format} is a program that draws, not a picture")
    width, height = image.size
    drafted = None
    if cover_px is not None and image.format in ("JPEG", "MPO"):
        drafted = image.draft(None, (cover_px, cover_px))
    image.load()  # no seek: every format opens at the frame or layer to show
    if drafted is None:
        width, height = image.size
    if not width or not height:
        raise PictureRefused("no pixels")
    # Read only now: TIFF and HEIF are turned while they load, and then lose the tag.
    orientation = _orientation(image)
    rgb = _over_white(_to_8_bit(image))
    if orientation in TURNS:
        rgb = rgb.transpose(TURNS[orientation])
    if orientation in ORIENTATIONS_THAT_SWAP:
        width, height = height, width
    return rgb, width, height


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata: the picture is read, but not turned
        return 1


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Convert 16-bit, 32-bit and floating grey to 8-bit grey; leave other modes unchanged."""
    if not image.mode.startswith(("I", "F")):
        return image
    if image.mode.startswith("I;16"):  # v / 257, rounded; scans are large, so no wider type than needed
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8), "L")
    values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    if image.mode == "I" and low >= 0 and 255 < high < 2**16:
        low, high = 0.0, 65535.0  # 16-bit pictures keep their brightness
    elif image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    grey = (values - low) * (255.0 / max(high - low, 1e-12))
    return Image.fromarray(np.rint(grey).astype(np.uint8), "L")


def _over_white(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def square(pixels: Pixels, size_px: int) -> Pixels:
    """Crop ``pixels`` (h, w, 3) to the central square and scale it to (size_px, size_px, 3)."""
    return _squared(Image.fromarray(pixels), size_px)


def _squared(image: Image.Image, size_px: int) -> Pixels:
    width, height = image.size
    if height == width == size_px:
        return np.asarray(image)
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    scaled = image.resize(
        (size_px, size_px),
        Image.Resampling.BICUBIC,
        box=(left, top, left + side, top + side),
        reducing_gap=3.0,
    )
    return np.asarray(scaled)


def _squeezed(image: Image.Image, size_px: int) -> Pixels:
    """Scale a whole picture to (size_px, size_px, 3), without keeping its proportions."""
    scaled = image.resize((size_px, size_px), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(scaled)


def _reason(error: BaseException) -> str:
    """The reason for a decoder's error, on one line."""
    known = {
        MemoryError: "not enough memory to decode it",
        struct.error: "damaged or cut off",
        Image.DecompressionBombError: "too many pixels (a decompression bomb?)",
    }
    for kind, text in known.items():
        if isinstance(error, kind):
            return text
    text = " ".join(str(error).split()).removeprefix("cannot identify image file")
    text = text[:120] or type(error).__name__
    cut = any(word in text.lower() for word in ("truncated", "decoder object"))  # the latter is WebP's
    return "damaged or cut off" if cut else f"cannot be decoded: {text}"
