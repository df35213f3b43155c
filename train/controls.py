"""Controls that need no training, to compare codes with: pixels, their PCA, an untrained encoder, a hash."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from retrieval.arrays import Pixels
from train.copies import difference_hash
from train.measures import Array

LARGEST_PX, SMALLER_PX = 128, 64  # of a side
HASH = "perceptual hash (dHash, 64 bit)"

Describe = Callable[[Pixels], Array]
"""Pictures uint8 (n, s, s, 3) -> descriptors float32 (n, d)."""


def controls(gallery: Pixels, latent_dim: int, recipe: dict[str, Any] | None) -> dict[str, Describe]:
    """The controls of a model of ``latent_dim`` dimensions; with ``recipe`` and torch, also its untrained encoder."""
    pixels = {"raw pixels": _flat, **_principal_components(_smaller(gallery), latent_dim)}
    describers: dict[str, Describe] = {name: _of_smaller(describe) for name, describe in pixels.items()}
    if find_spec("torch") is not None and recipe is not None:
        describers["random encoder"] = _random_encoder(recipe, gallery)
    describers[HASH] = difference_hash
    return describers


def _of_smaller(describe: Describe) -> Describe:
    return lambda pictures: describe(_smaller(pictures))


def _smaller(pictures: Pixels) -> Pixels:
    """Pictures of more than ``LARGEST_PX``, as encoders from elsewhere see them, at ``SMALLER_PX``: their numbers would
    fill the memory, and fine detail makes distances of pixels no better."""
    high, wide = pictures.shape[1:3]
    if wide <= LARGEST_PX:
        return pictures
    size = SMALLER_PX, round(SMALLER_PX * high / wide)
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX)) for one in pictures])


def _flat(pictures: Pixels) -> Array:
    return pictures.reshape(len(pictures), -1).astype(np.float32)


def _principal_components(gallery: Pixels, dim: int) -> dict[str, Describe]:
    """PCA of pixels, each component divided by the root of its standard deviation, or by the standard deviation.

    Full whitening ranks as ZCA with as many components does, since the two differ by a rotation. Fitted on 5,000
    pictures. With n pictures, the n-th component is only rounding error.
    """
    from sklearn.decomposition import PCA

    sample = gallery[np.random.default_rng(0).permutation(len(gallery))[:5000]]
    dim = min(dim, len(sample) - 1, sample[0].size)
    pca = PCA(dim, svd_solver="randomized", random_state=0).fit(_flat(sample))
    scales = np.sqrt(pca.explained_variance_)

    def describe(pictures: Pixels, power: float) -> Array:
        parts = [pca.transform(_flat(pictures[i : i + 2000])) for i in range(0, len(pictures), 2000)]
        return np.asarray(np.concatenate(parts) / scales**power, np.float32)

    return {
        f"PCA-{dim} of pixels, half-whitened": lambda pictures: describe(pictures, 0.5),
        f"PCA-{dim} of pixels, whitened (ranks as ZCA)": lambda pictures: describe(pictures, 1.0),
    }


def _random_encoder(recipe: dict[str, Any], gallery: Pixels) -> Describe:
    """An encoder of the model's shape with its initial weights, BatchNorm estimated on the gallery."""
    import torch

    from train.data import CachedPictures, to_signed
    from train.export import re_estimate
    from train.methods import new_method
    from train.recipe import read_recipe

    torch.manual_seed(0)
    random = new_method(read_recipe(recipe))
    cpu = torch.device("cpu")
    some = gallery[np.random.default_rng(0).permutation(len(gallery))[:4096]]
    re_estimate(random, CachedPictures(some), cpu)
    random.eval()

    @torch.no_grad()
    def describe(pictures: Pixels) -> Array:
        batches = (to_signed(pictures[i : i + 256].copy(), cpu) for i in range(0, len(pictures), 256))
        return np.concatenate([random.encode(batch)[0].numpy() for batch in batches])

    return describe
