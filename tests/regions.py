"""What tests of faces and of tiles share: which regions an index holds, and whether a box is where it should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retrieval import Searcher


def rows_of(index: Path) -> dict[str, bytes]:
    """The content hashes of all regions of an index, by their addresses."""
    with Searcher.open(index) as searcher:
        return {found.path: found.content_hash for found in searcher.pictures()}


def overlap(box: tuple[float, ...], square: tuple[int, int, int], size: tuple[int, int]) -> float:
    """Intersection over union of a box, in shares of a picture of that size, and a square: left, top and side."""
    left, top, right, bottom = np.multiply(box, (*size, *size))
    x, y, side = square
    wide, high = min(right, x + side) - max(left, x), min(bottom, y + side) - max(top, y)
    both = max(0.0, wide) * max(0.0, high)
    return float(both / ((right - left) * (bottom - top) + side**2 - both))
