"""Picture grids of a training run: samples of fixed z, and pairs picture | reconstruction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from retrieval.arrays import Pixels
from retrieval.atomic import write
from retrieval.pages.raster import png
from retrieval.pictures.decode import framed
from train.checkpoint import State
from train.data import to_signed
from train.method import Method

COLUMNS = 8
PLANE = 20  # pictures along each side of a picture of the plane


@torch.no_grad()
def save_grids(state: State, fixed_pictures: Pixels | None, run: Path, device: torch.device) -> None:
    """Write ``grids/samples-<step>.png`` and ``grids/pairs-<step>.png``, decoded by the averaged model."""
    folder = run / "grids"
    folder.mkdir(parents=True, exist_ok=True)
    model = state.average
    model.eval()
    z = np.random.default_rng(state.recipe.seed).standard_normal((64, state.recipe.latent_dim), dtype=np.float32)
    if model.paints_slowly:
        z, fixed_pictures = z[:COLUMNS], fixed_pictures[: COLUMNS // 2] if fixed_pictures is not None else None
    samples = to_pixels(model.generator(model.whole_code(torch.from_numpy(z).to(device))))
    write(folder / f"samples-{state.step:08d}.png", png(tile(samples, COLUMNS)))
    if model.code_dim == 2:
        lattice = to_pixels(model.generator(plane(model).to(device)))
        write(folder / f"plane-{state.step:08d}.png", png(tile(lattice, PLANE)))
    if fixed_pictures is not None and model.has_encoder:
        repainted = to_pixels(model.reconstruct(to_signed(fixed_pictures, device)))
        shown = np.stack([framed(one, repainted.shape[1], "square") for one in fixed_pictures])
        pairs = np.stack([shown, repainted], axis=1).reshape(-1, *shown.shape[1:])
        write(folder / f"pairs-{state.step:08d}.png", png(tile(pairs, COLUMNS)))


def plane(model: Method) -> Tensor:
    """Codes on a square lattice that spans the prior, row by row from the upper left: (PLANE^2, 2)."""
    centres = torch.tensor(model.centres() or [[0.0, 0.0]])
    low, high = centres.amin(0) - 2, centres.amax(0) + 2
    xs, ys = (torch.linspace(float(low[axis]), float(high[axis]), PLANE) for axis in range(2))
    return torch.cartesian_prod(ys.flip(0), xs).flip(1)


def to_pixels(x: Tensor) -> Pixels:
    """float (n, 3, s, s) in [-1, 1] -> uint8 (n, s, s, 3)."""
    rounded = x.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return np.asarray(rounded.permute(0, 2, 3, 1).cpu().numpy())


def tile(pictures: Pixels, columns: int) -> Pixels:
    """Arrange (n, s, s, 3) in rows of ``columns`` on white."""
    count, side = len(pictures), pictures.shape[1]
    rows = -(-count // columns)
    canvas = np.full((rows * columns, side, side, 3), 255, np.uint8)
    canvas[:count] = pictures
    sheet = canvas.reshape(rows, columns, side, side, 3).transpose(0, 2, 1, 3, 4)
    return sheet.reshape(rows * side, columns * side, 3)
