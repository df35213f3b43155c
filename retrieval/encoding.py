"""Many files to codes: decoded by worker processes, encoded in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from retrieval.images import Pixels
from retrieval.model import Floats, Model
from retrieval.workers import DecoderPool, Task

ENCODED_AT_ONCE = 256

Refused = Callable[[int, str], None]
"""Called with the place of a file that is no picture, and the reason; what it raises ends everything."""


def encode_files(model: Model, paths: Sequence[str], refused: Refused, workers: int | None = None) -> Floats:
    """Codes float32 (n, d) of files; rows of NaN where one was refused."""
    codes = np.full((len(paths), model.latent_dim), np.nan, np.float32)
    for rows, squares in _decoded(model, paths, refused, workers):
        codes[rows] = model.encode_squares(squares).codes
    return codes


def _decoded(
    model: Model, paths: Sequence[str], refused: Refused, workers: int | None
) -> Iterator[tuple[list[int], Pixels]]:
    """Places and squares uint8 (b, s, s, 3) of the files that are pictures, in batches."""
    rows: list[int] = []
    squares: list[Pixels] = []
    with DecoderPool(model.image_size, workers) as pool:
        for row, decoded in enumerate(pool.map(Task(path) for path in paths)):
            if decoded.pixels is None:
                refused(row, decoded.reason or "")
                continue
            rows.append(row)
            squares.append(decoded.pixels)
            if len(rows) == ENCODED_AT_ONCE:
                yield rows, np.stack(squares)
                rows, squares = [], []
    if rows:
        yield rows, np.stack(squares)
