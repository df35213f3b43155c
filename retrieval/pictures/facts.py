"""What a file tells of a picture beside its pixels: when and by what it was taken, how it was rated, its detail.

Damaged or hostile metadata costs itself: then there are no facts. The facts of a picture are a fixed struct, which a
worker process sends to its parent (``wire.py``).
"""

from __future__ import annotations

import struct
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from PIL import ExifTags, Image, ImageChops

from retrieval.pictures.decode import refusing
from retrieval.pictures.samples import RAW_VERSION, holds_more
from retrieval.pictures.tasks import MOST_PIXELS
from retrieval.text import short_line

UNKNOWN = -(2**63)
CAMERA_BYTES = 64
FACTS = struct.Struct(f"<qfHb??{CAMERA_BYTES}s")
RATING = 0x4746  # EXIF tag of stars, 0 to 5
EPOCH = datetime(1970, 1, 1)
DETAIL_PX = 512  # the middle of a picture, in which detail is measured
HALVINGS, SMALLEST_PX = 3, 64
NOISE = 2.0  # grey levels: deviation that compression alone may give to the finest octave
ENLARGED = 0.14  # power of the finest octave, as a share of the next: pictures that were enlarged have less
BORDER_LEVELS = 8  # by which a border of one colour may differ from its corner
BORDERED = 0.95  # compression blurs the edge of a border, so a little of it counts as inside


class Facts(NamedTuple):
    """``taken_us``: microseconds of the camera's clock since 1970, or ``UNKNOWN``. ``detail``: the share of the pixels
    that hold any: 1/4 if the picture was enlarged to twice its sides; bars and borders hold none. ``known``: how many
    tags it carries. ``rating``: 0 to 5, or -1. ``is_raw``: it holds what the sensor saw. ``holds_more``: it has other
    frames, pages or layers, or hides what is no frame.
    """

    taken_us: int = UNKNOWN
    detail: float = 1.0
    known: int = 0
    rating: int = -1
    is_raw: bool = False
    holds_more: bool = False
    camera: str = ""


def packed_facts(facts: Facts) -> bytes:
    name = facts.camera.encode()[:CAMERA_BYTES]
    return FACTS.pack(facts.taken_us, facts.detail, facts.known, facts.rating, facts.is_raw, facts.holds_more, name)


def read_facts(data: bytes) -> Facts:
    """The facts of a struct of ``FACTS.size`` bytes."""
    taken_us, detail, known, rating, is_raw, more, name = FACTS.unpack(data)
    detail = detail if 0 < detail <= 1 else 1.0  # NaN is none of these
    return Facts(
        taken_us,
        detail,
        known,
        rating,
        is_raw,
        more,
        short_line(name.rstrip(b"\0").decode(errors="replace"), CAMERA_BYTES),
    )


def facts_of(image: Image.Image) -> Facts:
    """The facts of an ``identified`` picture.

    Raises:
        PictureRefused: its pixels cannot be decoded.
    """
    facts = Facts()
    with suppress(Exception):  # damaged metadata
        exif = image.getexif()
        shot = exif.get_ifd(ExifTags.IFD.Exif)
        name = " ".join(str(exif.get(tag, "")).strip("\0 ") for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
        facts = facts._replace(
            taken_us=_taken_us(shot),
            known=min(len(exif) + len(shot) + len(exif.get_ifd(ExifTags.IFD.GPSInfo)), 65_535),
            rating=_rating(exif.get(RATING)),
            camera=short_line(name.strip(), CAMERA_BYTES // 4),
        )
    with suppress(Exception):
        tags = getattr(image, "tag_v2", None)
        facts = facts._replace(
            holds_more=holds_more(image), is_raw=tags is not None and (RAW_VERSION in tags or _is_negative(image))
        )
    if image.width * image.height > MOST_PIXELS:  # a JPEG that is decoded at a smaller scale only
        return facts
    with refusing():
        return facts._replace(detail=_detail(image))


def _is_negative(image: Image.Image) -> bool:
    """Whether a TIFF is a camera's raw file: its first picture is a small one, and the others hang below it."""
    return image.format == "TIFF" and holds_more(image) and getattr(image, "n_frames", 1) == 1


def _taken_us(shot: Image.Exif | dict[int, object]) -> int:
    text = str(shot.get(ExifTags.Base.DateTimeOriginal, "")).strip("\0 ")
    with suppress(ValueError):
        moment = datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S")
        parts = str(shot.get(ExifTags.Base.SubsecTimeOriginal, "")).strip("\0 ")
        fraction = float(f"0.{parts}") if parts.isdecimal() else 0.0
        return round(((moment - EPOCH).total_seconds() + fraction) * 1e6)
    return UNKNOWN


def _rating(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= 5 else -1


def _detail(image: Image.Image) -> float:
    """The share of the pixels that hold detail: an octave nearly without any was made by enlarging.

    In pictures of the world all octaves are about as strong (Field, JOSA A 1987).
    """
    share, image = _without_border(image)
    left, top = (max(0, (length - DETAIL_PX) // 2) for length in image.size)
    grey = image.crop((left, top, min(image.width, left + DETAIL_PX), min(image.height, top + DETAIL_PX))).convert("L")
    for halvings in range(HALVINGS):
        if min(grey.size) < SMALLEST_PX:
            break
        if _has_detail(grey):
            return share * float(0.25**halvings)
        grey = grey.reduce(2)
    return share  # smooth at all scales, which says nothing of its size


def _without_border(image: Image.Image) -> tuple[float, Image.Image]:
    """The part of a picture inside a border of one colour, and what share of it that is."""
    image.load()
    plain = image.convert("L")
    apart = ImageChops.difference(plain, Image.new("L", plain.size, plain.getpixel((0, 0))))
    box = apart.point(lambda level: 255 * (level > BORDER_LEVELS)).getbbox() or (0, 0, *image.size)
    inside = plain.crop(box)
    share = inside.width * inside.height / (image.width * image.height)
    return share if inside.size == image.size else BORDERED * share, inside


def _has_detail(grey: Image.Image) -> bool:
    """Whether the finest octave of the spectrum has what enlarging leaves out, and more than noise of compression."""
    import numpy as np

    values = np.asarray(grey, np.float32)
    window = np.outer(*(np.hanning(length) for length in values.shape))
    power = np.abs(np.fft.fft2((values - values.mean()) * window)) ** 2
    power /= values.size**2 * (window**2).mean()  # the sum is the variance
    down, across = (2 * np.abs(np.fft.fftfreq(length)) for length in values.shape)
    octave = np.maximum(down[:, None], across[None])
    finest, coarser = power[octave >= 0.5].sum(), power[(octave >= 0.25) & (octave < 0.5)].sum()
    return bool(finest >= NOISE**2 and finest >= ENLARGED * coarser)
