"""The texture of pictures: how much of what varies in them does so at each scale, and how sparse that is.

A pyramid of halved pictures (Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983): at each level,
what a picture loses when it is halved, in brightness and two differences of colours (BT.601). Photographs have these
statistics in common (Ruderman, The statistics of natural images, 1994); text, drawings and noise have others.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrieval.arrays import Floats, Pixels

COARSEST_PX = 4  # side of the last level
OF_A_LEVEL = 6  # numbers: log energy and sparseness of three channels
LEAST = np.float32(0.003)  # of an energy, where a picture's range is [-1, 1]
CHANNELS = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], np.float32)
AT_ONCE = 32  # pictures: as float32 they nearly stay in a processor's cache

Planes = npt.NDArray[np.float32]


def levels(side: int) -> int:
    """How often a square of ``side`` pixels is halved."""
    count = 0
    while side >= COARSEST_PX and side % 2 == 0:
        side, count = side // 2, count + 1
    return count


def texture(squares: Pixels) -> Floats:
    """Pictures uint8 (n, s, s, 3) -> float32 (n, 6 levels): log energy and sparseness of each channel, finest first."""
    parts = [_texture(squares[start : start + AT_ONCE]) for start in range(0, len(squares), AT_ONCE)]
    return np.concatenate([np.empty((0, OF_A_LEVEL * levels(squares.shape[1])), np.float32), *parts])


def _texture(squares: Pixels) -> Planes:
    n, side = squares.shape[:2]
    colours = squares.transpose(0, 3, 1, 2).astype(np.float32).reshape(n, 3, -1)
    seen = (CHANNELS @ (colours / np.float32(127.5) - 1)).reshape(3 * n, side, side)
    numbers: list[Planes] = []
    for _ in range(levels(side)):
        quarters = np.stack([seen[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], axis=1)
        halved = quarters.mean(1)
        lost = (quarters - halved[:, None]).reshape(3 * n, -1)
        energy = np.sqrt(np.einsum("ci,ci->c", lost, lost) / lost.shape[1])
        sparseness = np.abs(lost, out=lost).mean(1) / (energy + LEAST)
        numbers += [np.log(energy + LEAST).reshape(n, 3), sparseness.reshape(n, 3)]
        seen = halved
    return np.concatenate(numbers, axis=1)
