"""Encode many files: worker processes decode them, the model encodes them in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from retrieval.arrays import Floats
from retrieval.models.model import Model
from retrieval.pictures.workers import DecoderPool, Task, stack

ENCODED_AT_ONCE = 256

Refused = Callable[[int, str], None]
"""Called with the position of a file that is not a picture, and the reason. An exception from it ends the encoding."""


def encode_files(model: Model, paths: Sequence[str], refused: Refused, workers: int | None = None) -> Floats:
    """Codes float32 (n, d) of files. The row of a refused file is NaN."""
    codes = np.full((len(paths), model.latent_dim), np.nan, np.float32)
    with DecoderPool(model.image_size, workers) as pool:
        results = enumerate(pool.map(Task(path, frame=model.frame) for path in paths))
        while batch := list(islice(results, ENCODED_AT_ONCE)):
            for row, decoded in batch:
                if decoded.pixels is None:
                    refused(row, decoded.reason or "")
            rows = [row for row, decoded in batch if decoded.pixels is not None]
            if rows:
                codes[rows] = model.encode_squares(stack([decoded for _, decoded in batch])).codes
    return codes
