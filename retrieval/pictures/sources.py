"""Where facts stand in a file: EXIF with a camera's own notes, XMP, IPTC, and the text of a PNG.

Each is read alone, so that a damaged one costs itself, and each of its values is asked for alone, too (``facts.py``).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

from retrieval.pictures.exif import directory_at
from retrieval.pictures.xmp import Properties, properties_of

EPOCH = datetime(1970, 1, 1)
MOMENT = re.compile(
    r"(\d{4})[:-](\d\d)[:-](\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?\s*(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
ANGLE = re.compile(r"([\d.]+)(?:,([\d.]+))?(?:,([\d.]+))?([NSEW])", re.ASCII)
APPLE, ASCII = b"Apple iOS\0", 2
APPLE_BURST, APPLE_ASSET = 0x0B, 0x11  # of the burst; of a Live Photo, whose film has the same
XP_TITLE, XP_KEYWORDS = 0x9C9B, 0x9C9E
IPTC_TITLE, IPTC_KEYWORD, IPTC_DATE, IPTC_TIME = (2, 5), (2, 25), (2, 55), (2, 60)
IPTC_IN_TIFF = 33723

Moment = tuple[int, int | None]
"""Microseconds of a clock since 1970, and its offset from UTC in seconds."""


@dataclass
class Sources:
    """What a file tells, in the words of each source; empty where there is none."""

    info: dict[Any, Any]
    exif: Mapping[int, Any] = field(default_factory=dict)
    shot: Mapping[int, Any] = field(default_factory=dict)
    gps: Mapping[int, Any] = field(default_factory=dict)
    apple: dict[int, str] = field(default_factory=dict)
    xmp: Properties = field(default_factory=dict)
    iptc: dict[tuple[int, int], Any] = field(default_factory=dict)


def sources_of(image: Image.Image) -> Sources:
    """All sources of a picture whose pixels were decoded: a PNG may hold them behind its pixels."""
    told = Sources(image.info)
    with suppress(Exception):
        exif = image.getexif()
        told.exif = exif
        if ExifTags.IFD.Exif in exif:
            told.shot = _below(image, exif, ExifTags.IFD.Exif)
            told.apple = _apple_notes(told.shot.get(ExifTags.Base.MakerNote))
    with suppress(Exception):
        if ExifTags.IFD.GPSInfo in told.exif:
            told.gps = _below(image, exif, ExifTags.IFD.GPSInfo)
    with suppress(Exception):
        told.xmp = properties_of(image)
    with suppress(Exception):
        told.iptc = _iptc(image)
    return told


def _below(image: Image.Image, exif: Image.Exif, tag: ExifTags.IFD) -> Mapping[int, Any]:
    """A directory that the first one points to; of TIFF files, whose first directory is the file's, by Pillow."""
    found = directory_at(image.info.get("exif"), exif[tag])
    return exif.get_ifd(tag) if found is None else found


def _apple_notes(note: object) -> dict[int, str]:
    """The texts among the notes of an iPhone: a directory as of a TIFF, with offsets from its own start."""
    if not isinstance(note, bytes) or not note.startswith(APPLE):
        return {}
    order, notes = ">" if note[12:14] == b"MM" else "<", dict[int, str]()
    (count,) = struct.unpack_from(f"{order}H", note, 14)
    for place in range(16, min(16 + 12 * count, len(note) - 11), 12):
        tag, kind, length, offset = struct.unpack_from(f"{order}HHII", note, place)
        if kind == ASCII:
            start = place + 8 if length <= 4 else offset
            notes[tag] = plain(note[start : start + length]) or ""
    return notes


def _iptc(image: Image.Image) -> dict[tuple[int, int], Any]:
    if not image.info.get("photoshop") and IPTC_IN_TIFF not in getattr(image, "tag_v2", ()):
        return {}
    from PIL.IptcImagePlugin import getiptcinfo

    return getiptcinfo(image) or {}  # type: ignore[arg-type]


def plain(value: object) -> str | None:
    """The text of a value: EXIF's is of ASCII by its standard, and of UTF-8 or Latin-1 in the world."""
    if not isinstance(value, bytes | str):
        return None
    text = value if isinstance(value, str) else value.decode("latin-1")
    with suppress(UnicodeError):  # as which Pillow reads it
        text = text.encode("latin-1").decode()
    return text.split("\0")[0].strip() or None


def wide(value: object) -> str | None:
    """The text of a tag that Windows writes, in UTF-16."""
    data = bytes(value) if isinstance(value, bytes | tuple) else b""
    return data.decode("utf-16-le", "replace").split("\0")[0].strip() or None


def comment(value: object) -> str | None:
    """EXIF's UserComment: eight bytes name its encoding."""
    if isinstance(value, bytes):
        is_wide = value.startswith(b"UNICODE\0")
        return wide(value[8:]) if is_wide else plain(value[8:] if b"\0" in value[:8] else value)
    return plain(value)


def all_plain(value: object) -> list[str]:
    """The texts of one value of IPTC, or of several."""
    values = value if isinstance(value, list) else [value]
    return [text for one in values if (text := plain(one))]


def moment(text: str | None, parts: str | None = None, offset: str | None = None) -> Moment | None:
    """A date of EXIF or XMP. ``parts``: of a second, as decimals; ``offset``: from UTC, if they stand apart."""
    if not text or not (found := MOMENT.match(text)):
        return None
    year, month, day, *clock = found.groups()[:6]
    hour, minute, second = (int(one or 0) for one in clock)
    since = datetime(int(year), int(month), int(day), hour, minute, second) - EPOCH
    fraction = (parts or found[7] or "")[:6]
    micro = int(fraction.ljust(6, "0")) if fraction.isascii() and fraction.isdecimal() else 0
    return (since.days * 86_400 + since.seconds) * 1_000_000 + micro, _offset_s(offset or found[8])


def _offset_s(text: str | None) -> int | None:
    if text == "Z":
        return 0
    found = re.fullmatch(r"([+-])(\d\d):?(\d\d)", text or "", re.ASCII)
    return None if not found else int(f"{found[1]}1") * 60 * (60 * int(found[2]) + int(found[3]))


def iptc_moment(day: str | None, clock: str | None) -> Moment | None:
    """IPTC's 20240131 and 123000+0200."""
    if not day:
        return None
    time = f" {clock[:2]}:{clock[2:4]}:{clock[4:6]}{clock[6:]}" if clock else ""
    return moment(f"{day[:4]}-{day[4:6]}-{day[6:8]}{time}")


def degrees(values: Any, side: object) -> float | None:
    """EXIF's degrees, minutes and seconds, and N, S, E or W."""
    sign = _sign(plain(side))
    whole = sum(float(one) / 60**place for place, one in enumerate(values))
    return None if sign is None else sign * whole


def angle(text: str | None) -> float | None:
    """XMP's "48,12,30N" or "48,12.5N"."""
    found = ANGLE.fullmatch(text or "")
    if not found:
        return None
    return degrees([float(one or 0) for one in found.groups()[:3]], found[4])


def _sign(side: str | None) -> int | None:
    return {"N": 1, "E": 1, "S": -1, "W": -1}.get((side or "")[:1].upper())


def number(value: Any) -> float:
    """A number, a rational one, the first of several, or one as text: "1/60"."""
    if isinstance(value, str):
        above, _, below = value.partition("/")
        return float(above) / float(below or 1)
    return float(value[0] if isinstance(value, tuple) else value)


def camera(make: str | None, model: str | None) -> str | None:
    """Maker and model; most models name their maker already."""
    if make and model and make.split()[0].casefold() == model.split()[0].casefold():
        return model
    return " ".join(one for one in (make, model) if one) or None
