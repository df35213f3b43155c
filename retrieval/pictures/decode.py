"""The one recipe that reads files as pixels, for searching and for training.

The content of a file, never its suffix, decides how it is opened. Its first frame is turned upright once by EXIF,
composed over white if it is transparent, and converted to 8-bit RGB. For a model it is then cropped to its central
square and scaled to the model's size. Every worker process imports this module, so it needs only Pillow; numpy is
imported for the few pictures that are not of 8 bits.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from PIL import ExifTags, Image, JpegImagePlugin, UnidentifiedImageError

from retrieval.errors import PictureRefused, pip_line
from retrieval.pictures.kinds import EMPTY, NO_FACE, NOT_A_PICTURE, UNREADABLE
from retrieval.pictures.opening import open_file
from retrieval.pictures.regions import EVERYTHING, NOTHING, Box
from retrieval.pictures.tasks import MOST_COEFFICIENT_BYTES, MOST_JPEG_PIXELS, MOST_PIXELS, Frame
from retrieval.quiet import ignoring_warnings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from retrieval.arrays import Pixels

SIDE_PX = 128  # of a thumbnail
NO_MEMORY = "not enough memory to decode it"
BAND_PIXELS = 1 << 22  # pictures of more are converted band by band, so that few copies of all pixels exist at once

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
GROUNDS: dict[Frame, str] = {"look": "gray"}  # of what is transparent: white and black shapes are both seen on grey
PROGRAMS = frozenset({"EPS", "WMF"})  # formats that only other programs could run
SCALED = frozenset({"JPEG", "MPO"})  # formats that can be decoded at a smaller scale
JPEG_START = b"\xff\xd8\xff"
TOO_MANY_PIXELS = (
    f"too many pixels: more than {MOST_PIXELS // 10**6} million, or {MOST_JPEG_PIXELS // 10**6:,} million in a JPEG; "
    "a smaller copy is read (is it a decompression bomb?)"
)
DAMAGED = "damaged or cut off"
UNSUPPORTED = "of a kind that cannot be decoded"
WORDS = {  # in the messages of decoders, which mean nothing to people -> what they mean
    "out of memory": NO_MEMORY,
    "truncated": DAMAGED,
    "decoder object": DAMAGED,  # WebP's
    "data stream": DAMAGED,
    "decoder error": DAMAGED,
    "decoding error": DAMAGED,
    "not enough": DAMAGED,
    "unexpected end": DAMAGED,
    "too small": DAMAGED,
    "unsupported": UNSUPPORTED,
    "not supported": UNSUPPORTED,
    "cannot find loader": UNSUPPORTED,
    "unknown compression": UNSUPPORTED,
    "unknown pixel mode": UNSUPPORTED,
    "not available": UNSUPPORTED,
}


class Upright(NamedTuple):
    """A decoded picture in RGB, upright, perhaps at a smaller scale; ``width_px`` x ``height_px`` of the original."""

    picture: Image.Image
    width_px: int
    height_px: int


class Picture(NamedTuple):
    """A decoded picture: ``pixels`` uint8 (h, w, 3), upright; ``width_px`` x ``height_px`` of the whole original."""

    pixels: Pixels
    width_px: int
    height_px: int


def read_image(source: str | os.PathLike[str] | BinaryIO | bytes, cover_px: int | None = None) -> Picture:
    """Decode one picture to upright 8-bit RGB, in this process: without a limit of time or memory.

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
    with ignoring_warnings(), _stream(source) as stream:  # decoders warn about odd metadata; only the pixels count
        image = _open(stream)
        try:
            yield image
        finally:
            image.close()


@contextmanager
def _stream(source: str | os.PathLike[str] | BinaryIO | bytes) -> Iterator[BinaryIO]:
    if isinstance(source, str | os.PathLike):
        with open_file(source) as file:
            yield file
    else:
        yield BytesIO(source) if isinstance(source, bytes) else source


def read_pixels(image: Image.Image, cover_px: int | None = None) -> Picture:
    """Decode the pixels of an ``identified`` picture, as ``read_image`` does."""
    import numpy as np

    upright, width, height = read_frame(image, cover_px or 0, "original")
    return Picture(np.asarray(upright), width, height)


def read_frame(image: Image.Image, size_px: int, frame: Frame, box: Box | None = None) -> tuple[Image.Image, int, int]:
    """The wanted ``frame`` of an ``identified`` picture, in RGB; and the width and height of the whole, upright. With a
    ``box``, its region stands for the whole.

    It is (size_px, size_px), except ``original``: that has the size of the file, or of a smaller scale of it whose
    shorter side is ``size_px``, unless that is 0. Raises PictureRefused as ``read_image``.
    """
    return frame_of(read_upright(image, *needed(size_px, frame, box)), size_px, frame, box)


def needed(size_px: int, frame: Frame, box: Box | None) -> tuple[int | None, str]:
    """How large the shorter side of a picture must be for ``read_frame``, None if as large as it is; and its ground."""
    return math.ceil(size_px / _shorter(box)) if size_px else None, GROUNDS.get(frame, "white")


def read_upright(image: Image.Image, cover_px: int | None, ground: str) -> Upright:
    """All of an ``identified`` picture, for frames of it. Raises PictureRefused as ``read_image``."""
    with refusing():
        return Upright(*_decode(image, cover_px, ground))


def frame_of(upright: Upright, size_px: int, frame: Frame, box: Box | None) -> tuple[Image.Image, int, int]:
    """What ``read_frame`` gives, of a picture that was read."""
    with refusing():
        picture, width, height = upright if box is None else _region(*upright, box)
        return _FRAMES[frame](picture, size_px), width, height


def _shorter(box: Box | None) -> float:
    """The shorter side of a box, as a share."""
    left, top, right, bottom = box or EVERYTHING
    return min(right - left, bottom - top) or 1.0


def _region(upright: Image.Image, width: int, height: int, box: Box) -> tuple[Image.Image, int, int]:
    """A region of a picture, and its width and height in a picture of this width and height."""
    if box == NOTHING:
        raise PictureRefused(NO_FACE)
    left, top, right, bottom = box
    wide, high = upright.size
    x, y = min(round(left * wide), wide - 1), min(round(top * high), high - 1)
    right_px, bottom_px = min(max(x + 1, round(right * wide)), wide), min(max(y + 1, round(bottom * high)), high)
    region = upright.crop((x, y, right_px, bottom_px))
    return region, max(1, round((right - left) * width)), max(1, round((bottom - top) * height))


@contextmanager
def refusing() -> Iterator[None]:
    """Raise any exception of a decoder as ``PictureRefused``: third-party decoders raise all kinds."""
    try:
        yield
    except PictureRefused:
        raise
    except Exception as error:
        reason = reason_of(error)
        raise PictureRefused(reason, passing=reason == NO_MEMORY) from error


def _open(source: BinaryIO) -> Image.Image:
    image = _identify(source)
    try:
        _check_stored_size(image)
    except PictureRefused:
        image.close()
        raise
    return image


def _check_stored_size(image: Image.Image) -> None:
    """Refuse what could not be decoded at any scale."""
    if image.format == "MPEG":  # a film, of which Pillow reads the size
        raise PictureRefused(NOT_A_PICTURE)
    if image.format not in SCALED:
        check_size(image)
    elif image.width * image.height > MOST_JPEG_PIXELS:
        raise PictureRefused(TOO_MANY_PIXELS)
    elif image.info.get("progressive") and _coefficient_bytes(image) > MOST_COEFFICIENT_BYTES:
        raise PictureRefused(
            "a progressive JPEG too large to be decoded in memory; saved as a baseline JPEG it is read"
        )


def _coefficient_bytes(image: Image.Image) -> int:
    """What a decoder holds of a progressive JPEG at any scale: 16 bits for each sample of each component."""
    shares = [(across, down) for _, across, down, _ in getattr(image, "layer", [])] or [(1, 1)]
    widest, highest = (max(1, *sizes, 1) for sizes in zip(*shares, strict=True))
    return sum(2 * image.width * image.height * across * down // (widest * highest) for across, down in shares)


def check_size(image: Image.Image) -> None:
    """Refuse what has too many pixels at the scale at which it would be decoded now."""
    if image.width * image.height > MOST_PIXELS:
        raise PictureRefused(TOO_MANY_PIXELS)


def _identify(source: BinaryIO) -> Image.Image:
    try:
        if _head(source, 3) == JPEG_START:
            return _open_jpeg(source)
        return Image.open(source)
    except UnidentifiedImageError:
        return _open_heif(source)
    except Image.DecompressionBombError as error:
        raise PictureRefused(reason_of(error)) from error
    except OSError as error:
        if error.errno is not None:  # an error of the file system
            raise
        raise PictureRefused(reason_of(error)) from error
    except Exception as error:
        raise PictureRefused(reason_of(error)) from error


def _open_jpeg(source: BinaryIO) -> Image.Image:
    """Open a JPEG of any size: Pillow judges by the size that is stored, and most are decoded at a smaller scale."""
    try:
        return Image.open(source)
    except Image.DecompressionBombError:
        source.seek(0)
        return JpegImagePlugin.jpeg_factory(source)


def _open_heif(source: BinaryIO) -> Image.Image:
    """Second try with the HEIF decoder, which is imported only when a file needs it."""
    head = _head(source, 12)
    if not head:
        raise PictureRefused(EMPTY)
    if head[4:8] != b"ftyp":
        raise PictureRefused(NOT_A_PICTURE)
    if head[8:12] not in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        raise PictureRefused(NOT_A_PICTURE)
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise PictureRefused(f"HEIC needs an extra: {pip_line('heif')}", passing=True) from error
    try:
        return HeifImageFile(source)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise PictureRefused(reason_of(error)) from error


def _head(source: BinaryIO, count: int) -> bytes:
    source.seek(0)
    head = source.read(count)
    source.seek(0)
    return head


def _decode(image: Image.Image, cover_px: int | None, ground: str) -> tuple[Image.Image, int, int]:
    """The picture in RGB on a ground, upright, perhaps at a smaller scale; and its full width and height, upright."""
    if image.format in PROGRAMS:
        raise PictureRefused(f"{image.format} is a program that draws, not a picture")
    width, height = image.size
    drafted = None
    if cover_px is not None and image.format in SCALED:
        drafted = image.draft(None, (cover_px, cover_px))
    check_size(image)
    image.load()  # no seek: every format opens at the frame or layer to show
    if drafted is None:
        width, height = image.size
        check_size(image)  # icons have several sizes, and some decoders learn theirs only now
    if not width or not height:
        raise PictureRefused("no pixels")
    # Read only now: TIFF and HEIF are turned while they load, and then lose the tag.
    orientation = orientation_of(image)
    rgb = _over(ground, _to_8_bit(image))
    if orientation in TURNS:
        rgb = rgb.transpose(TURNS[orientation])
    if orientation in ORIENTATIONS_THAT_SWAP:
        width, height = height, width
    return rgb, width, height


def orientation_of(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata: the picture is read, but not turned
        return 1


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Convert 16-bit, 32-bit and floating grey to 8-bit grey; leave other modes unchanged."""
    if not image.mode.startswith(("I", "F")):
        return image
    import numpy as np

    if image.mode.startswith("I;16"):  # v / 257, rounded
        return _in_bands(image, "L", lambda band: _grey((np.asarray(band).astype(np.uint32) + 128) // 257))
    low, high = _levels(image)
    scale = 255.0 / max(high - low, 1e-12)
    return _in_bands(image, "L", lambda band: _grey(np.rint((_values(band) - low) * scale)))


def _levels(image: Image.Image) -> tuple[float, float]:
    """The values that become black and white."""
    extremes = [(float(values.min()), float(values.max())) for values in map(_values, bands(image))]
    low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
    if image.mode == "I" and low >= 0 and 255 < high < 2**16:
        return 0.0, 65535.0  # 16-bit pictures keep their brightness
    if image.mode == "F" and low >= 0 and high <= 1:
        return 0.0, 1.0
    return (0.0, 255.0) if low >= 0 and high <= 255 else (low, high)


def _values(band: Image.Image) -> npt.NDArray[np.float64]:
    import numpy as np

    return np.nan_to_num(np.asarray(band).astype(np.float64), posinf=0, neginf=0)


def _grey(levels: npt.NDArray[Any]) -> Image.Image:
    return Image.fromarray(levels.astype("uint8"), "L")


def _over(ground: str, image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        return _in_bands(image, "RGB", partial(_composited, ground))
    return image if image.mode == "RGB" else image.convert("RGB")


def _composited(ground: str, image: Image.Image) -> Image.Image:
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, ground), rgba).convert("RGB")


def _in_bands(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """The picture converted to ``mode``, band by band if it is large."""
    if image.width * image.height <= BAND_PIXELS:
        return convert(image)
    converted = Image.new(mode, image.size)
    top = 0
    for band in bands(image):
        converted.paste(convert(band), (0, top))
        top += band.height
    return converted


def bands(image: Image.Image) -> Iterator[Image.Image]:
    """The picture in bands of at most ``BAND_PIXELS``, or of one row, from top to bottom."""
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def square(pixels: Pixels, size_px: int) -> Pixels:
    """Crop ``pixels`` (h, w, 3) to the central square and scale it to (size_px, size_px, 3)."""
    return framed(pixels, size_px, "square")


def framed(pixels: Pixels, size_px: int, frame: Frame) -> Pixels:
    """A frame of ``pixels`` uint8 (h, w, 3), as files are read."""
    import numpy as np

    return np.asarray(_FRAMES[frame](Image.fromarray(pixels), size_px))


def letterbox(pixels: Pixels, side_px: int = SIDE_PX) -> Pixels:
    """Scale uint8 (h, w, 3) to fit into (side_px, side_px, 3), and centre it on white."""
    return framed(pixels, side_px, "thumbnail")


def _squared(image: Image.Image, size_px: int) -> Image.Image:
    width, height = image.size
    if height == width == size_px:
        return image
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize(
        (size_px, size_px),
        Image.Resampling.BICUBIC,
        box=(left, top, left + side, top + side),
        reducing_gap=3.0,
    )


def _squeezed(image: Image.Image, size_px: int) -> Image.Image:
    return image.resize((size_px, size_px), Image.Resampling.BICUBIC, reducing_gap=3.0)


def _looked_at(image: Image.Image, size_px: int) -> Image.Image:
    both = Image.new("RGB", (size_px, 2 * size_px))
    both.paste(_squeezed(image, size_px), (0, 0))
    both.paste(_squared(image, size_px), (0, size_px))
    return both


def _fitted(image: Image.Image, size_px: int) -> Image.Image:
    scale = min(1.0, size_px / max(image.size))
    wide, high = (max(1, round(length * scale)) for length in image.size)
    return image.resize((wide, high), Image.Resampling.BICUBIC, reducing_gap=3.0)


def _letterboxed(image: Image.Image, side_px: int) -> Image.Image:
    scale = side_px / max(image.size)
    size = tuple(max(1, round(length * scale)) for length in image.size)
    inner = image.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", (side_px, side_px), "white")
    canvas.paste(inner, ((side_px - size[0]) // 2, (side_px - size[1]) // 2))
    return canvas


_FRAMES: dict[Frame, Callable[[Image.Image, int], Image.Image]] = {
    "square": _squared,
    "thumbnail": _letterboxed,
    "original": lambda image, _: image,
    "look": _fitted,
    "whole": _squeezed,
    "looks": _looked_at,
}


def reason_of(error: BaseException) -> str:
    """The reason for a decoder's error, in words of ours: its own mean nothing to those who have the picture."""
    known = {
        MemoryError: NO_MEMORY,
        struct.error: DAMAGED,
        Image.DecompressionBombError: TOO_MANY_PIXELS,
    }
    for kind, text in known.items():
        if isinstance(error, kind):
            return text
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:  # of the system, not of a decoder
        return f"cannot be read: {os.strerror(error.errno)}"
    message = str(error).lower()
    return next((meaning for words, meaning in WORDS.items() if words in message), UNREADABLE)
