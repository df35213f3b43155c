"""The facts of a picture: read in a worker process, checked again by its parent, and stored by an index.

Damaged or hostile metadata costs itself. Facts are sent as a fixed struct and bounded texts (``wire.py``).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from PIL import ExifTags, Image

from index.facts import MOST_KEYWORDS, MOST_TEXT, Facts
from retrieval.pictures.samples import RAW_VERSION, holds_more
from retrieval.pictures.sources import (
    APPLE_ASSET,
    APPLE_BURST,
    IPTC_DATE,
    IPTC_KEYWORD,
    IPTC_TIME,
    IPTC_TITLE,
    XP_KEYWORDS,
    XP_TITLE,
    Moment,
    Sources,
    all_plain,
    angle,
    camera,
    comment,
    degrees,
    iptc_moment,
    moment,
    number,
    plain,
    sources_of,
    wide,
)
from retrieval.text import short_line

__all__ = ["MOST_FACTS_BYTES", "Facts", "Stored", "facts_of", "packed_facts", "read_facts", "stored_as"]

Tags = ExifTags.Base
RATING, ISO, ISO_INDEX = 0x4746, 0x8827, 0x8832
EARLIEST_US, LATEST_US = -5_364_662_400_000_000, 7_258_118_400_000_000  # the years 1800 and 2200
ISO_MAP = b"urn:iso:std:iso:ts:21496:-1"  # a segment of a JPEG with a gain map
INFO = ("Title", "Comment", "Software")  # texts of a PNG
MODE_BITS = {"1": 1, "I": 32, "F": 32}


class Stored(NamedTuple):
    """What only the header of a file tells: some decoders forget it while they load."""

    format: str
    bits: int
    mode: str
    has_alpha: bool
    orientation: int | None


def stored_as(image: Image.Image) -> Stored:
    """How an ``identified`` picture is stored. To be called before its pixels are decoded."""
    bits, alpha, turn = 8, False, None
    with suppress(Exception):
        bits = _bits(image)
    with suppress(Exception):
        alpha = image.has_transparency_data
    with suppress(Exception):
        if image.format != "PNG":  # which may hold EXIF behind its pixels
            turn = image.info.get("original_orientation") or image.getexif().get(Tags.Orientation)
    return Stored(image.format or "", bits, image.mode, alpha, turn)


def _bits(image: Image.Image) -> int:
    tags = getattr(image, "tag_v2", None)
    if tags is not None and image.format == "TIFF":
        return int(max(tags.get(Tags.BitsPerSample, (1,))))
    if image.format == "PNG":
        raw = str(image.tile[0][3])  # type: ignore[attr-defined]
        found = raw.partition(";")[2].rstrip("BNLSR")
        return int(found) if found else MODE_BITS.get(raw, 8)
    if image.mode.startswith("I;"):
        return 16
    return int(image.info.get("bit_depth") or MODE_BITS.get(image.mode, 8))


def facts_of(image: Image.Image, stored: Stored) -> Facts:
    """The facts of a picture whose pixels were decoded, as far as it tells any. Never raises."""
    told = sources_of(image)
    known: dict[str, Any] = {}
    if told.exif or told.xmp or told.iptc or any(name in told.info for name in INFO):
        for name, ways in WAYS.items():
            if (value := _asked(name, ways, told)) is not None:
                known[name] = value
        known["taken_us"], known["taken_offset_s"] = known.pop("taken", (None, None))
        known["latitude"], known["longitude"] = known.pop("place", (None, None))
        known |= _kinds(image, told)
    known["has_gain_map"] = _has_gain_map(image, told)
    if stored.orientation is not None:
        known["orientation"] = stored.orientation
    return cleaned(Facts(stored.format, _frames(image), stored.bits, stored.mode, stored.has_alpha, **known))


def _asked(name: str, ways: tuple[Callable[[Sources], Any], ...], told: Sources) -> Any:
    """The first answer that can be this fact; whatever is wrong in one place costs no other."""
    clean = CLEAN[name]
    for way in ways:
        try:
            value = clean(way(told))
        except Exception:  # a value that is missing or damaged
            continue
        if value is not None:
            return value
    return None


def _frames(image: Image.Image) -> int:
    with suppress(Exception):
        return int(getattr(image, "n_frames", 1))
    return 1


def _first(told: Sources, name: str) -> str | None:
    """The first value of a property of XMP."""
    return told.xmp[name][0] if name in told.xmp else None


def _iso(told: Sources) -> int:
    values = [number(told.shot[tag]) for tag in (ISO, ISO_INDEX) if tag in told.shot]
    return int(values[-1 if values[0] == 65_535 else 0])  # EXIF's first field for it has 16 bits


def _exif_place(told: Sources) -> tuple[float | None, float | None]:
    here = ExifTags.GPS
    return (
        degrees(told.gps[here.GPSLatitude], told.gps[here.GPSLatitudeRef]),
        degrees(told.gps[here.GPSLongitude], told.gps[here.GPSLongitudeRef]),
    )


def _exif_moment(told: Sources) -> Moment | None:
    wanted = (Tags.DateTimeOriginal, Tags.SubsecTimeOriginal, Tags.OffsetTimeOriginal)
    return moment(*(plain(told.shot.get(tag)) for tag in wanted))


def _keywords(told: Sources) -> str:
    windows = (wide(told.exif.get(XP_KEYWORDS)) or "").split(";")
    found = [*told.xmp.get("subject", []), *all_plain(told.iptc.get(IPTC_KEYWORD)), *windows]
    return "\n".join(found)


def _info(told: Sources, name: str) -> str | None:
    value = told.info.get(name)
    return value if isinstance(value, str) else None


WAYS: dict[str, tuple[Callable[[Sources], Any], ...]] = {  # where a fact may stand; the first that is one counts
    "taken": (
        _exif_moment,
        lambda told: moment(_first(told, "taken")),
        lambda told: moment(_first(told, "created")),
        lambda told: iptc_moment(plain(told.iptc.get(IPTC_DATE)), plain(told.iptc.get(IPTC_TIME))),
    ),
    "camera": (
        lambda told: camera(plain(told.exif.get(Tags.Make)), plain(told.exif.get(Tags.Model))),
        lambda told: camera(_first(told, "make"), _first(told, "model")),
    ),
    "lens": (lambda told: plain(told.shot.get(Tags.LensModel)), lambda told: _first(told, "lens")),
    "focal_mm": (lambda told: number(told.shot[Tags.FocalLength]), lambda told: number(_first(told, "focal"))),
    "exposure_s": (lambda told: number(told.shot[Tags.ExposureTime]), lambda told: number(_first(told, "exposure"))),
    "iso": (_iso, lambda told: int(number(_first(told, "iso")))),
    "place": (_exif_place, lambda told: (angle(_first(told, "latitude")), angle(_first(told, "longitude")))),
    "orientation": (lambda told: told.exif.get(Tags.Orientation),),
    "rating": (lambda told: int(number(_first(told, "rating"))), lambda told: told.exif.get(RATING)),
    "title": (
        lambda told: _first(told, "title"),
        lambda told: plain(told.iptc.get(IPTC_TITLE)),
        lambda told: wide(told.exif.get(XP_TITLE)),
        lambda told: plain(told.exif.get(Tags.ImageDescription)),
        lambda told: _info(told, "Title"),
    ),
    "keywords": (_keywords,),
    "burst": (lambda told: told.apple.get(APPLE_BURST), lambda told: _first(told, "burst")),
}


def _kinds(image: Image.Image, told: Sources) -> dict[str, bool]:
    """What kind of picture it is."""
    found = {}
    for name, tells in KINDS.items():
        with suppress(Exception):
            found[name] = tells(image, told)
    return found


def _is_raw(image: Image.Image, told: Sources) -> bool:
    """A DNG, or a TIFF as cameras make it: its first picture is a small one, and the others hang below it."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return False
    return RAW_VERSION in tags or (image.format == "TIFF" and holds_more(image) and _frames(image) == 1)


def _is_screenshot(image: Image.Image, told: Sources) -> bool:
    comments = (comment(told.shot.get(Tags.UserComment)), _first(told, "comment"), _info(told, "Comment"))
    programs = (plain(told.exif.get(Tags.Software)), _info(told, "Software"))
    return any(one == "Screenshot" for one in comments) or any("screenshot" in (one or "").lower() for one in programs)


def _is_motion(image: Image.Image, told: Sources) -> bool:
    return "1" in told.xmp.get("motion", []) or bool(told.apple.get(APPLE_ASSET))


KINDS: dict[str, Callable[[Image.Image, Sources], bool]] = {
    "is_raw": _is_raw,
    "is_screenshot": _is_screenshot,
    "is_motion": _is_motion,
}


def _has_gain_map(image: Image.Image, told: Sources) -> bool:
    with suppress(Exception):
        segments = getattr(image, "applist", [])
        behind = any("hdrgainmap" in str(one).lower() for one in image.info.get("aux", ()))
        return "gain map" in told.xmp or behind or any(data.startswith(ISO_MAP) for _, data in segments)
    return False


# What a fact may be


def cleaned(facts: Facts) -> Facts:
    """Facts without what none can be. Those that a worker process sends may be anything of the right types."""
    known: dict[str, Any] = dict(zip(Facts._fields, facts, strict=True))
    for name in PLAIN:
        if known[name] is not None:
            known[name] = CLEAN[name](known[name])
    known["latitude"], known["longitude"] = _place((facts.latitude, facts.longitude)) or (None, None)
    known["taken_us"], known["taken_offset_s"] = _taken((facts.taken_us, facts.taken_offset_s)) or (None, None)
    for name, least in (("format", "?"), ("mode", "?"), ("frames", 1), ("bits", 8)):
        known[name] = known[name] or least
    return Facts(**known)


def _text(value: Any) -> str | None:
    return short_line(value, MOST_TEXT).strip() or None if isinstance(value, str) else None


def _lines(value: Any) -> str | None:
    """Different texts, one a line, as many as there is room for."""
    lines: dict[str, None] = {}
    room = MOST_KEYWORDS
    for line in value.split("\n") if isinstance(value, str) else ():
        text = short_line(line, MOST_TEXT).strip()
        if text and text not in lines and len(text) <= room:
            lines[text] = None
            room -= len(text) + 1
    return "\n".join(lines) or None


def _whole(least: int, most: int) -> Callable[[Any], int | None]:
    return lambda value: (
        value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most else None
    )


def _measure(most: float) -> Callable[[Any], float | None]:
    return lambda value: value if isinstance(value, float) and 0 < value <= most else None


def _place(value: Any) -> tuple[float, float] | None:
    """Both or none. Cameras without a signal write zeros."""
    latitude, longitude = value
    if not isinstance(latitude, float) or not isinstance(longitude, float):
        return None
    is_one = abs(latitude) <= 90 and abs(longitude) <= 180 and not latitude == longitude == 0
    return (latitude, longitude) if is_one and math.isfinite(latitude + longitude) else None


def _taken(value: Any) -> Moment | None:
    if value is None or value[0] is None or not EARLIEST_US <= value[0] < LATEST_US:
        return None
    return value[0], value[1] if value[1] is not None and abs(value[1]) < 86_400 else None


CLEAN: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("format", "mode", "camera", "lens", "title", "burst"), _text),
    "keywords": _lines,
    "frames": _whole(1, 2**31 - 1),
    "bits": _whole(1, 64),
    "iso": _whole(1, 2**31 - 1),
    "orientation": _whole(1, 8),
    "rating": _whole(0, 5),
    "focal_mm": _measure(1e5),
    "exposure_s": _measure(1e6),
    "place": _place,
    "taken": _taken,
}

PLAIN = tuple(name for name in CLEAN if name in Facts._fields)  # facts that are judged alone

# How they are sent

NUMBERS = ("frames", "bits", "taken_us", "taken_offset_s", "iso", "orientation", "rating")
MEASURES = ("focal_mm", "exposure_s", "latitude", "longitude")
TRUTHS = ("has_alpha", "is_raw", "is_screenshot", "is_motion", "has_gain_map")
TEXTS = ("format", "mode", "camera", "lens", "title", "keywords", "burst")
FIXED = struct.Struct(f"<{len(NUMBERS)}q{len(MEASURES)}d{len(TRUTHS)}?{len(TEXTS)}h")  # the last: lengths of texts
NOTHING, NO_TEXT = -(2**63), -1
MOST_FACTS_BYTES = FIXED.size + 4 * ((len(TEXTS) - 1) * MOST_TEXT + MOST_KEYWORDS)


def packed_facts(facts: Facts) -> bytes:
    its: dict[str, Any] = dict(zip(Facts._fields, facts, strict=True))
    texts = [None if its[name] is None else its[name].encode() for name in TEXTS]
    head = FIXED.pack(
        *(NOTHING if its[name] is None else its[name] for name in NUMBERS),
        *(math.nan if its[name] is None else its[name] for name in MEASURES),
        *(its[name] for name in TRUTHS),
        *(NO_TEXT if text is None else len(text) for text in texts),
    )
    return head + b"".join(text or b"" for text in texts)


def read_facts(data: bytes) -> Facts:
    """Facts that a worker process sent, cleaned.

    Raises:
        ValueError: this is none.
    """
    if len(data) < FIXED.size:
        raise ValueError("too short for facts")
    values = iter(FIXED.unpack_from(data))
    its: dict[str, Any] = {name: None if (value := next(values)) == NOTHING else value for name in NUMBERS}
    its |= {name: None if math.isnan(value := next(values)) else value for name in MEASURES}
    its |= {name: next(values) for name in TRUTHS}
    place = FIXED.size
    for name, length in zip(TEXTS, values, strict=True):
        its[name] = None if length < 0 else data[place : place + length].decode(errors="replace")
        place += max(length, 0)
    if place != len(data):
        raise ValueError("texts of another length")
    return cleaned(Facts(**its))
