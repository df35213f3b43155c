"""Directories below the first one of an EXIF block. Values are decoded when they are asked for.

Of the forty tags that a camera writes, twenty are facts, and Pillow decodes all of a directory: that takes as long as
to decode a small JPEG. Values are the same as Pillow's.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any

PREFIX = b"Exif\0\0"
ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
BYTE, ASCII, UNDEFINED = 1, 2, 7
RATIONALS = frozenset([5, 10])
FORMS = {1: "s", 2: "s", 3: "H", 4: "L", 5: "LL", 6: "b", 7: "s", 8: "h", 9: "l", 10: "ll", 11: "f", 12: "d", 13: "L"}
SIZES = {kind: struct.calcsize(f"={form}") for kind, form in FORMS.items()}


class Directory(Mapping[int, Any]):
    """The values of a directory by tag: texts in Latin-1, bytes, numbers, or tuples of several numbers.

    A value of a type that EXIF has not is missing, and so is one that is not wholly there.
    """

    def __init__(self, block: bytes, order: str, start: int) -> None:
        """Raises struct.error: there is no directory at ``start``."""
        self._block, self._order = block, order
        (count,) = struct.unpack_from(f"{order}H", block, start)
        entries = block[start + 2 : start + 2 + 12 * count]
        self._entries = {
            tag: (kind, length, place)
            for tag, kind, length, place in struct.iter_unpack(f"{order}HHL4s", entries[: len(entries) // 12 * 12])
        }

    def __getitem__(self, tag: int) -> Any:
        kind, length, place = self._entries[tag]
        size = length * SIZES[kind]
        if size > len(place):
            (offset,) = struct.unpack(f"{self._order}L", place)
            place = self._block[offset : offset + size]
        if len(place) < size:
            raise KeyError(tag)
        return _value(kind, place[:size], self._order)

    def __contains__(self, tag: object) -> bool:
        return tag in self._entries

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _value(kind: int, data: bytes, order: str) -> Any:
    if kind in (BYTE, UNDEFINED):
        return data
    if kind == ASCII:
        return data.removesuffix(b"\0").decode("latin-1")
    parts = struct.iter_unpack(order + FORMS[kind], data)
    if kind in RATIONALS:
        values = tuple(above / below if below else math.nan for above, below in parts)
    else:
        values = tuple(value for (value,) in parts)
    return values[0] if len(values) == 1 else values


def directory_at(block: object, start: object) -> Directory | None:
    """The directory at ``start`` of an EXIF block; None if the block is no TIFF of 32 bits.

    Raises:
        struct.error, TypeError: there is none.
    """
    if not isinstance(block, bytes):
        return None
    block = block.removeprefix(PREFIX).removeprefix(PREFIX)  # some programs write it twice
    order = ORDERS.get(block[:4])
    return None if order is None else Directory(block, order, start)  # type: ignore[arg-type]
