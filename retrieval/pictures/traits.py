"""What copies are compared by beside their facts: the detail of a picture, and how much its file tells."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import NamedTuple

from PIL import ExifTags, Image, ImageChops

from index.facts import Facts
from retrieval.pictures.decode import refusing
from retrieval.pictures.facts import facts_of, stored_as
from retrieval.pictures.samples import holds_more
from retrieval.pictures.tasks import MOST_PIXELS

TRAITS = struct.Struct("<fH?")
DETAIL_PX = 512  # the middle of a picture, in which detail is measured
HALVINGS, SMALLEST_PX = 3, 64
NOISE = 2.0  # grey levels: deviation that compression alone may give to the finest octave
ENLARGED = 0.14  # power of the finest octave, as a share of the next: pictures that were enlarged have less
BORDER_LEVELS = 8  # by which a border of one colour may differ from its corner
BORDERED = 0.95  # compression blurs the edge of a border, so a little of it counts as inside
NO_FACTS = Facts("?")


class Traits(NamedTuple):
    """``detail``: the share of the pixels that hold any: 1/4 if the picture was enlarged to twice its sides; bars and
    borders hold none. ``known``: how many tags it carries. ``holds_more``: it has other frames, pages or layers, or
    hides what is no frame.
    """

    facts: Facts = NO_FACTS
    detail: float = 1.0
    known: int = 0
    holds_more: bool = False


def packed_traits(traits: Traits) -> bytes:
    """All but the facts, which are sent beside it."""
    return TRAITS.pack(traits.detail, traits.known, traits.holds_more)


def read_traits(data: bytes, facts: Facts) -> Traits:
    """The traits of a struct of ``TRAITS.size`` bytes."""
    detail, known, more = TRAITS.unpack(data)
    return Traits(facts, detail if 0 < detail <= 1 else 1.0, known, more)  # NaN is none of these


def traits_of(image: Image.Image) -> Traits:
    """The traits of an ``identified`` picture.

    Raises:
        PictureRefused: its pixels cannot be decoded.
    """
    stored = stored_as(image)
    is_whole = image.width * image.height <= MOST_PIXELS  # a larger JPEG is decoded at a smaller scale only
    with refusing():
        detail = _detail(image) if is_whole else 1.0
    return Traits(facts_of(image, stored), detail, _known(image), holds_more(image))


def _known(image: Image.Image) -> int:
    known = 0
    with suppress(Exception):  # damaged metadata
        exif = image.getexif()
        known = len(exif)
        known += len(exif.get_ifd(ExifTags.IFD.Exif)) + len(exif.get_ifd(ExifTags.IFD.GPSInfo))
    return min(known, 65_535)


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
