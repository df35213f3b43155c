"""The values that a catalog may hold. SQLite stores any type in any column, and a stranger's catalog any value.

A value that no writer writes is damage, whether by a disk or on purpose: it would end in a traceback, in a request for
terabytes, or in a path that leads out of its folder.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np

from index.facts import MOST_KEYWORDS, MOST_TEXT, Facts
from index.local.sums import facts_sum, row_sum, sum_of
from index.records import Meta, Row
from index.roots import is_sane_url, is_url

MOST = 2**62  # of ids, generations and counts
MOST_DIMENSIONS = 1 << 16
MOST_PIXELS = 2**31  # of one side
HASH_BYTES = 64
STAMP_BYTES = 16
SLACK_BYTES = 1 << 20
STATES = frozenset(["found", "skipped", "vanished", "removed"])
NO_NAME = frozenset([b"", b".", b".."])
DOT, SEPARATOR = b"./"
MOST_US = 2**54  # five centuries
NUMBERS = {  # bounds of facts that are whole numbers
    "frames": (1, 2**31),
    "bits": (1, 64),
    "taken_us": (-MOST_US, MOST_US),
    "taken_offset_s": (-86_400, 86_400),
    "iso": (1, 2**31),
    "orientation": (1, 8),
    "rating": (0, 5),
}
MEASURES = {"focal_mm": (0.0, 1e6), "exposure_s": (0.0, 1e7), "latitude": (-90.0, 90.0), "longitude": (-180.0, 180.0)}
TEXTS = {
    "format": MOST_TEXT,
    "mode": MOST_TEXT,
    "camera": MOST_TEXT,
    "lens": MOST_TEXT,
    "title": MOST_TEXT,
    "keywords": MOST_KEYWORDS,
    "burst": MOST_TEXT,
}
TRUTHS = ("has_alpha", "is_raw", "is_screenshot", "is_motion", "has_gain_map")
NEEDED = frozenset(["format", "frames", "bits", "mode", *TRUTHS])
KINDS: dict[str, tuple[type, float, float]] = {
    **{name: (int, *bounds) for name, bounds in NUMBERS.items()},
    **{name: (float, *bounds) for name, bounds in MEASURES.items()},
    **{name: (str, 0, most) for name, most in TEXTS.items()},
    **dict.fromkeys(TRUTHS, (bool, 0, 1)),
}
BOUNDS = [
    (name, *KINDS[name]) for name in Facts._fields
]  # the type of each fact; the least and most, of texts the length


def is_whole(row: Row, kept: object) -> bool:
    """Whether a row is as it was written (``kept`` is its checksum), and could have been written."""
    try:
        return row_sum(row) == kept and is_sane(row)
    except (TypeError, ValueError, AttributeError, struct.error):
        return False


def is_sane(row: Row) -> bool:
    """Whether the facts of a saved row, each of its type, are within their bounds."""
    _, path, size, _, status, content, width, height, realism, spread, _, number, generation, _, unfamiliarity = row
    return (
        0 < (number or 0) < MOST
        and 0 <= generation < MOST
        and size >= 0
        and status in STATES
        and is_inside(path)
        and (content is None or 0 < len(content) <= HASH_BYTES)
        and (width is None or 0 < width < MOST_PIXELS)
        and (height is None or 0 < height < MOST_PIXELS)
        and (realism is None or math.isfinite(realism))
        and (spread is None or math.isfinite(spread))
        and (unfamiliarity is None or 0 <= unfamiliarity <= 1)
        and (status != "found" or not (width is None or height is None or realism is None or spread is None))
    )


def is_inside(path: bytes) -> bool:
    """Whether a relative path stays below its folder, and is spelt in the one normal way."""
    if os.sep != "/":
        path = path.replace(os.sep.encode(), b"/")
        if b":" in path:
            return False
    return b"\0" not in path and NO_NAME.isdisjoint(path.split(b"/"))


def are_inside(paths: Sequence[bytes]) -> bool:
    """As ``is_inside`` of each, for many at once.

    Raises:
        TypeError: one is no bytes.
    """
    joined = np.frombuffer(b"\0" + b"\0".join(paths) + b"\0", np.uint8)
    ends = joined == 0
    if os.sep == "/" and np.count_nonzero(ends) == len(paths) + 1:
        ends |= joined == SEPARATOR
        if not (ends[:-1] & (ends | (joined == DOT))[1:]).any():  # no part is empty or begins with a dot
            return True
    return all(map(is_inside, paths))


def is_sane_root(path: object) -> bool:
    """Whether a root, as stored, is an absolute path, one below the folder of the index, or a URL; spelt normally."""
    if not isinstance(path, bytes) or not path or b"\0" in path:
        return False
    text = os.fsdecode(path)
    if is_url(text):
        return is_sane_url(text)
    return os.path.normpath(text) == text and (os.path.isabs(text) or text == os.curdir or is_inside(path))


def meta_sum(facts: Meta) -> bytes:
    """Checksum of the head row, in the order of the fields of schema 3. What can be counted again is left out."""
    return sum_of(
        facts.model_name,
        facts.model_digest,
        facts.latent_dim,
        int(facts.standardized),
        facts.generation,
        facts.stamp,
        facts.rebuild_from,
        facts.next_id,
    )


def is_sane_meta(facts: Meta, stored_bytes: int) -> bool:
    """Whether the head row can be of a catalog of ``stored_bytes``: each found picture has its code in there."""
    counts = (facts.generation, facts.rebuild_from, facts.found, facts.next_id)
    return (
        all(type(one) is int and 0 <= one < MOST for one in counts)
        and type(facts.latent_dim) is int
        and 0 < facts.latent_dim <= MOST_DIMENSIONS
        and isinstance(facts.model_name, str)
        and isinstance(facts.model_digest, str)
        and isinstance(facts.stamp, bytes)
        and len(facts.stamp) == STAMP_BYTES
        and 4 * facts.latent_dim * facts.found <= stored_bytes + SLACK_BYTES
    )


def are_whole_facts(content_hash: object, facts: Facts, kept: object) -> bool:
    """Whether facts are as they were written (``kept`` is their checksum), and could have been written."""
    return is_content(content_hash) and is_sane_facts(facts) and facts_sum(content_hash, facts) == kept


def is_content(content_hash: object) -> TypeGuard[bytes]:
    """Whether this can be the hash of a content."""
    return isinstance(content_hash, bytes) and 0 < len(content_hash) <= HASH_BYTES


def is_sane_facts(facts: Facts) -> bool:
    """Whether facts have their types and bounds."""
    return all(
        name not in NEEDED
        if value is None
        else type(value) is kind and low <= (len(value) if kind is str else value) <= high  # type: ignore[arg-type,operator]
        for (name, kind, low, high), value in zip(BOUNDS, facts, strict=True)
    )


def is_sane_direction(values: Sequence[object]) -> bool:
    """Whether name, vector, counts and accuracy of a stored direction have their types and bounds.

    Its dimensions are checked elsewhere.
    """
    name, vector, with_count, without_count, accuracy = values
    return (
        isinstance(name, str)
        and isinstance(vector, bytes)
        and len(vector) % 4 == 0
        and bool(np.isfinite(np.frombuffer(vector, "<f4")).all())
        and all(isinstance(one, int) and 0 <= one < MOST for one in (with_count, without_count))
        and (accuracy is None or (isinstance(accuracy, float) and 0 <= accuracy <= 1))
    )
