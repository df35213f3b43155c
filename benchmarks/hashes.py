"""Perceptual hashes to compare with: each finds pairs in a folder, with the limit that its makers name."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Pairs = set[frozenset[str]]


def image_hash(folder: Path, method: str, most_bits: int) -> Pairs:
    import imagehash

    return near_hashes(folder, lambda path: getattr(imagehash, method)(Image.open(path)).hash.ravel(), most_bits)


def pdq(folder: Path, most_bits: int) -> Pairs:
    import pdqhash

    return near_hashes(folder, lambda path: pdqhash.compute(np.asarray(Image.open(path).convert("RGB")))[0], most_bits)


def image_dedup(folder: Path, most_bits: int) -> Pairs:
    from imagededup.methods import PHash

    hasher = PHash(verbose=False)
    return near_hashes(
        folder,
        lambda path: np.array([int(bit) for bit in f"{int(hasher.encode_image(str(path)), 16):064b}"]),
        most_bits,
    )


def czkawka(folder: Path, most_bits: int) -> Pairs:
    from czkawka import ImageSimilarity

    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch  # else it would read the hashes of an earlier run
        finder = ImageSimilarity()
        finder.set_directories([folder])
        finder.set_similarity(most_bits)
        groups = finder.find_similar()
    return {frozenset(map(str, pair)) for group in groups for pair in itertools.combinations(group, 2)}


def near_hashes(folder: Path, hash_of: Callable[[Path], np.ndarray], most_bits: int) -> Pairs:
    """Pairs of pictures whose hashes differ in at most ``most_bits`` bits."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    bits = np.stack([hash_of(path) for path in paths]).astype(np.float32)
    signs = 2 * bits - 1
    differing = (bits.shape[1] - signs @ signs.T) / 2
    rows, columns = np.nonzero(np.triu(differing <= most_bits, 1))
    return {frozenset((str(paths[a]), str(paths[b]))) for a, b in zip(rows, columns, strict=True)}


HASHES: dict[str, tuple[str, Callable[..., Pairs], tuple[Any, ...]]] = {  # name: (module, function, its settings)
    **{f"imagehash pHash, {most} bits": ("imagehash", image_hash, ("phash", most)) for most in (0, 4, 8, 10)},
    "imagehash dHash, 4 bits": ("imagehash", image_hash, ("dhash", 4)),
    "PDQ, 31 bits": ("pdqhash", pdq, (31,)),
    "imagededup PHash, 10 bits": ("imagededup.methods", image_dedup, (10,)),
    **{f"czkawka, {most} bits": ("czkawka", czkawka, (most,)) for most in (0, 5, 10, 15)},
}


FAMILIES = {  # with the limits that their documentation names
    "pHash": "imagehash pHash, 8 bits",
    "PDQ": "PDQ, 31 bits",
    "imagededup": "imagededup PHash, 10 bits",
    "czkawka": "czkawka, 10 bits",
}


def installed(name: str) -> bool:
    """Whether a hash can be computed here."""
    try:
        import_module(HASHES[name][0])
    except Exception:  # not installed, or without a matching torchvision
        return False
    return True
