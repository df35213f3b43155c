"""How an encoder from elsewhere wants its pictures, and what of its outputs is a code; and the same in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.arrays import Floats, Pixels
from retrieval.models.description import Crop, Layout, Normalise, Pool, Scale
from retrieval.models.model import standardize

Array = npt.NDArray[np.generic]

AS_FLOAT = {"0..1": (1 / 255, 0.0), "-1..1": (2 / 255, -1.0), "0..255": (1.0, 0.0)}  # factor, and what is added


@dataclass(frozen=True)
class Projection:
    """Codes (n, d) on fewer axes, (n, k): without ``mean`` (d,), times ``axes`` (d, k); float32."""

    mean: Floats
    axes: Floats

    def of(self, codes: Floats) -> Floats:
        return np.asarray((codes - self.mean) @ self.axes, np.float32)


@dataclass(frozen=True)
class Recipe:
    """How an encoder wants its pictures, and what of its outputs is the code. None: what the graph says.

    ``mean`` and ``std`` are of three channels, after ``scale``. ``dim`` keeps the first numbers of each code, for
    encoders that were taught so (Matryoshka, Kusupati et al., arXiv 2205.13147); with a ``projection``, codes are
    projected instead.
    """

    size: int | None = None
    layout: Layout | None = None
    scale: Scale = "0..1"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    crop: Crop = "centre"
    output: str | None = None
    pool: Pool | None = None
    dim: int | None = None
    projection: Projection | None = None
    normalise: Normalise = "standardize"


@dataclass(frozen=True)
class Entrance:
    """The input of a graph: its ``name``; ``dtype`` float32, float16 or uint8; its layout; the side of its pictures in
    pixels; and how many it takes at a time, if that is fixed."""

    name: str
    dtype: str
    layout: Layout
    size: int
    batch: int | None

    @property
    def is_nchw(self) -> bool:
        return self.layout == "nchw"


def prepared(pixels: Pixels, entrance: Entrance, recipe: Recipe) -> Array:
    """What the encoder's own programs would give it for uint8 (n, s, s, 3)."""
    values: Array = pixels
    if entrance.dtype != "uint8":
        factor, shift = AS_FLOAT[recipe.scale]
        values = (pixels.astype(np.float64) * factor + shift - np.array(recipe.mean)) / np.array(recipe.std)
    return (values.transpose(0, 3, 1, 2) if entrance.is_nchw else values).astype(entrance.dtype)


def pool_of(output: Array, recipe: Recipe) -> Pool:
    """Transformers put what the whole picture shows first; convolutions have it everywhere."""
    return recipe.pool or ("first" if output.ndim == 3 else "mean")


def raw_codes(output: Array, entrance: Entrance, recipe: Recipe) -> Floats:
    """Codes float32 (n, d) before they are normalised: of vectors for each place, the first or the mean."""
    rows = output.astype(np.float64)
    if rows.ndim == 4:
        by_place = rows.transpose(0, 2, 3, 1) if entrance.is_nchw else rows
        rows = by_place.reshape(len(rows), -1, by_place.shape[-1])
    if rows.ndim == 3:
        rows = rows.mean(1) if pool_of(output, recipe) == "mean" else rows[:, 0]
    if recipe.projection is not None:
        return recipe.projection.of(np.asarray(rows, np.float32))
    return np.asarray(rows[:, : recipe.dim], np.float32)


def normalised(codes: Floats, how: Normalise) -> Floats:
    """Codes (n, d) as the index gets them."""
    if how == "standardize":
        return standardize(codes)
    return codes / np.linalg.norm(codes, axis=1, keepdims=True) if how == "unit" else codes
