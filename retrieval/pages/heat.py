"""Heat maps: where pictures differ from one picture.

The generator decodes what a code holds, so a difference of decoded pictures shows a difference of codes.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from retrieval.arrays import Pixels

LEAST = 64.0  # smallest difference, of 255 grey levels, shown as white: a faint difference must look faint


def heat_maps(query: Pixels, hits: Pixels) -> list[Pixels]:
    """Where each of ``hits`` uint8 (n, s, s, 3) differs from ``query`` (s, s, 3): black nowhere, white most.

    The difference is the root mean square over the colours. All hits share one scale, so they can be compared.
    """
    apart = np.sqrt(np.square(hits.astype(np.float32) - query).mean(-1))
    levels = np.rint(apart * (255 / max(LEAST, float(apart.max(initial=0.0))))).astype(np.uint8)
    return [_coloured(one) for one in levels]


def _coloured(levels: Pixels) -> Pixels:
    return np.asarray(ImageOps.colorize(Image.fromarray(levels, "L"), "black", "white", "#d9381e"))
