"""A few properties of an XMP packet, by an XML parser that knows no entities and no document types.

A packet is bounded, and one that breaks off tells what stood before.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from PIL import Image

MOST_BYTES = 1 << 18  # a packet in a JPEG has 64 KB at most
MOST_VALUES = 200  # of one property
MOST_TEXT = 2000  # characters of one value
NAMESPACES = {
    "http://purl.org/dc/elements/1.1/": {"title": "title", "subject": "subject"},
    "http://ns.adobe.com/xap/1.0/": {"Rating": "rating"},
    "http://ns.adobe.com/photoshop/1.0/": {"DateCreated": "created"},
    "http://ns.adobe.com/tiff/1.0/": {"Make": "make", "Model": "model"},
    "http://ns.adobe.com/exif/1.0/": {
        "DateTimeOriginal": "taken",
        "GPSLatitude": "latitude",
        "GPSLongitude": "longitude",
        "FocalLength": "focal",
        "ExposureTime": "exposure",
        "ISOSpeedRatings": "iso",
        "UserComment": "comment",
    },
    "http://ns.adobe.com/exif/1.0/aux/": {"Lens": "lens"},
    "http://cipa.jp/exif/1.0/": {"LensModel": "lens"},
    "http://ns.google.com/photos/1.0/camera/": {
        "BurstID": "burst",
        "MotionPhoto": "motion",
        "MicroVideo": "motion",
    },
    "http://ns.adobe.com/hdr-gain-map/1.0/": {"Version": "gain map"},
    "http://ns.apple.com/HDRGainMap/1.0/": {"HDRGainMapVersion": "gain map"},
}
WANTED = {f"{space} {name}": ours for space, names in NAMESPACES.items() for name, ours in names.items()}
DEPTH = 4  # a value in a list in a property, and one for what writers may put between

Properties = dict[str, list[str]]
"""The values of each property, by our name of it."""


class _Refused(Exception):
    """The packet declares what none needs."""


def properties_of(image: Image.Image) -> Properties:
    """What the XMP packet of a picture says; nothing if it has none."""
    packet = image.info.get("xmp", b"")
    return properties(packet.encode() if isinstance(packet, str) else bytes(packet))


def properties(packet: bytes) -> Properties:
    """What an XMP packet says, as far as it can be read."""
    if not packet or len(packet) > MOST_BYTES:
        return {}
    from xml.parsers import expat

    reader, parser = _Reader(), expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refuse
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.text
    with suppress(expat.ExpatError, _Refused, ValueError):
        parser.Parse(packet.rstrip(b"\0"), True)
    return reader.found


def _refuse(*_: Any) -> None:
    raise _Refused


class _Reader:
    """Gathers the values of wanted properties: attributes, elements, and members of lists in elements."""

    def __init__(self) -> None:
        self.found: Properties = {}
        self._path: list[str | None] = []
        self._text: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(WANTED.get(name))
        self._text = []
        for key, value in attributes.items():
            if key in WANTED:
                self._add(WANTED[key], value)

    def text(self, data: str) -> None:
        self._text.append(data)

    def end(self, name: str) -> None:
        owner = next((one for one in reversed(self._path[-DEPTH:]) if one), None)
        self._path.pop()
        if owner and (value := "".join(self._text).strip()):
            self._add(owner, value)
        self._text = []

    def _add(self, name: str, value: str) -> None:
        values = self.found.setdefault(name, [])
        if len(values) < MOST_VALUES:
            values.append(value[:MOST_TEXT])
