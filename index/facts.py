"""What is known of a picture's content beside its pixels. Without numpy: every worker process imports this."""

from __future__ import annotations

from typing import NamedTuple

MOST_TEXT = 200  # characters
MOST_KEYWORDS = 1000  # characters of all of them, with a newline between two


class Facts(NamedTuple):
    """Facts of a content; None is what its file does not tell.

    ``format``, ``mode``: in Pillow's words. ``frames``: frames, pages or layers. ``bits``: per sample, as stored.
    ``taken_us``: microseconds of the camera's own clock since 1970-01-01, whatever its time zone;
    ``taken_offset_s``: the offset of that clock from UTC. ``latitude``, ``longitude``: degrees of WGS84, north and east
    are positive. ``orientation``: EXIF's, 1 to 8. ``rating``: 0 to 5. ``keywords``: one a line. ``burst``: the same for
    all pictures of a burst. ``is_raw``: what a sensor saw. ``is_motion``: a Live Photo, or one with a film behind it.
    ``has_gain_map``: it is brighter on a display that can be.
    """

    format: str
    frames: int = 1
    bits: int = 8
    mode: str = "RGB"
    has_alpha: bool = False
    taken_us: int | None = None
    taken_offset_s: int | None = None
    camera: str | None = None
    lens: str | None = None
    focal_mm: float | None = None
    exposure_s: float | None = None
    iso: int | None = None
    latitude: float | None = None
    longitude: float | None = None
    orientation: int | None = None
    rating: int | None = None
    title: str | None = None
    keywords: str | None = None
    burst: str | None = None
    is_raw: bool = False
    is_screenshot: bool = False
    is_motion: bool = False
    has_gain_map: bool = False
