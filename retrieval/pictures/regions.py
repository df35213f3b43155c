"""Regions of pictures: a box, and how it is written in an address. Every worker process imports this module.

A box is left, top, right and bottom as shares of the upright picture. In an address it is a media fragment, in percent
(W3C, Media Fragments URI 1.0, section 4.2.2): ``photo.jpg#xywh=percent:12.5,30,8.25,11``.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable

from index.roots import BOX_MARK

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as shares of the upright picture."""

BOX = struct.Struct("<4d")
EVERYTHING: Box = (0.0, 0.0, 1.0, 1.0)
NOTHING: Box = (0.0, 0.0, 0.0, 0.0)  # where a region was looked for, and none was found
MOST = 200  # regions of a picture
DIGITS = 2  # of a percent: a tenth of a pixel of 1,000
FRAGMENT = re.compile(rf"(?P<path>.+){BOX_MARK}(?P<box>\d+(?:\.\d+)?(?:,\d+(?:\.\d+)?){{3}})", re.ASCII | re.DOTALL)


def with_box(path: str, box: Box) -> str:
    """The address of a region of the picture at ``path``."""
    left, top, right, bottom = box
    return f"{path}{BOX_MARK}{','.join(_percent(share) for share in (left, top, right - left, bottom - top))}"


def split_box(path: str) -> tuple[str, Box | None]:
    """The picture of an address, and the box of its region; None if it names no region."""
    found = FRAGMENT.fullmatch(path)
    if found is None:
        return path, None
    left, top, wide, high = (float(number) / 100 for number in found["box"].split(","))
    box = left, top, left + wide, top + high
    return (found["path"], box) if is_sane_box(box) else (path, None)


def rounded(box: Box) -> Box:
    """The box as its address says it."""
    return split_box(with_box("x", box))[1] or box


def largest(boxes: Iterable[Box]) -> Box:
    """The box of the largest area; ``NOTHING`` if there is none."""
    return max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]), default=NOTHING)


def is_sane_box(box: Box) -> bool:
    """Whether a box lies in a picture, a little rounded, and holds something of it."""
    left, top, right, bottom = box
    return all(map(math.isfinite, box)) and 0 <= left < right <= 1.001 and 0 <= top < bottom <= 1.001


def _percent(share: float) -> str:
    return f"{100 * share:.{DIGITS}f}".rstrip("0").rstrip(".")
