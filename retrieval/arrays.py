"""Types of the arrays that hold pictures and codes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from index.records import Floats, Ids

__all__ = ["Floats", "Ids", "Pixels"]

Pixels = npt.NDArray[np.uint8]
"""uint8 (h, w, 3) RGB, or (n, h, w, 3)."""
