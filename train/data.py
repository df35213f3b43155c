"""Training pictures: decoded once into a memory-mapped uint8 array, or streamed if that would be too big.

The order of pictures, their mirroring and the latents z depend only on (seed, step), so a resumed run sees exactly
what an uninterrupted one would have seen.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from retrieval.arrays import Pixels
from retrieval.atomic import replacing, write
from retrieval.errors import TrainingError
from retrieval.pictures.tasks import Frame
from retrieval.pictures.workers import Decoded, DecoderPool, Task
from retrieval.progress import OnProgress
from train.recipe import Recipe
from train.sources import ClassOf, find_sources

CACHE_VERSION = 1  # increase it when retrieval.pictures.decode changes its output
GPU_SHARE = 0.3  # of a GPU's free memory that pictures may use
MIRROR_STREAM, LATENT_STREAM, ORDER_STREAM, METHOD_STREAM = 1, 2, 3, 4  # independent random streams of one seed

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """``pixels`` uint8 (b, s, s, 3) and ``labels`` (b,), class indices, -1 where a picture has none."""

    pixels: Pixels | Tensor
    labels: Labels

    def __len__(self) -> int:
        return len(self.pixels)


class Pictures(Protocol):
    """Batches of training pictures."""

    def __len__(self) -> int: ...

    def batches(self, order: Iterator[np.ndarray]) -> Iterator[Examples]:
        """The pictures of each array of indices (b,)."""
        ...


class CachedPictures:
    """All pictures, decoded: ``pixels`` uint8 (n, s, s, 3), memory-mapped; without ``labels``, no picture has one."""

    def __init__(self, pixels: Pixels, labels: Labels | None = None) -> None:
        self.pixels = pixels
        self.labels = no_labels(len(pixels)) if labels is None else labels

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(self, order: Iterator[np.ndarray]) -> Iterator[Examples]:
        for indices in order:
            yield Examples(self.pixels[indices], self.labels[indices])


class DevicePictures:
    """Decoded pictures in the memory of the training device, so that no step waits for a copy."""

    def __init__(self, pictures: CachedPictures, device: torch.device) -> None:
        self.pixels = torch.from_numpy(np.array(pictures.pixels)).to(device)
        self.labels = pictures.labels

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(self, order: Iterator[np.ndarray]) -> Iterator[Examples]:
        for indices in order:
            rows = torch.from_numpy(indices).to(self.pixels.device, non_blocking=True)
            yield Examples(self.pixels[rows], self.labels[indices])


def brought_near(pictures: Pictures, device: torch.device) -> Pictures:
    """Move the pictures to the device if it is a GPU with enough free memory; else return them unchanged."""
    if device.type != "cuda" or not isinstance(pictures, CachedPictures):
        return pictures
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return DevicePictures(pictures, device) if pictures.pixels.nbytes < GPU_SHARE * free_bytes else pictures


def taken(pictures: Pictures, indices: np.ndarray) -> Pixels:
    """Some pictures as an array uint8 (b, s, s, 3)."""
    (examples,) = pictures.batches(iter([indices]))
    return np.asarray(examples.pixels)


def no_labels(count: int) -> Labels:
    return np.full(count, -1, np.int64)


@dataclass(frozen=True)
class StreamedPictures:
    """Pictures that worker processes decode each time they are needed, ahead of the training."""

    sources: list[Task]
    labels: Labels
    size_px: int
    workers: int | None = None

    def __len__(self) -> int:
        return len(self.sources)

    def batches(self, order: Iterator[np.ndarray]) -> Iterator[Examples]:
        asked: list[np.ndarray] = []

        def wanted() -> Iterator[Task]:
            for indices in order:
                asked.append(indices)
                yield from (self.sources[index] for index in indices)

        with DecoderPool(self.size_px, self.workers) as pool:
            stream = pool.map(wanted())
            for first in stream:
                batch = [first]
                while len(batch) < len(asked[0]):
                    batch.append(next(stream))
                yield _fill_gaps(batch, self.labels[asked.pop(0)])


def _fill_gaps(batch: list[Decoded], labels: Labels) -> Examples:
    """Replace a picture that cannot be decoded by another of its batch, always the same one."""
    good = [(one.pixels, label) for one, label in zip(batch, labels, strict=True) if one.pixels is not None]
    if not good:
        raise TrainingError(f"none of {len(batch)} files could be decoded; the first: {batch[0].reason}")
    shown = [good[index % len(good)] for index in range(len(batch))]
    return Examples(np.stack([pixels for pixels, _ in shown]), np.array([label for _, label in shown], np.int64))


def open_pictures(
    paths: Sequence[str | Path],
    size_px: int,
    cache_dir: Path,
    budget_bytes: int,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
    left_out: Path | None = None,
    label_of: ClassOf | None = None,
    only_labelled: bool = False,
    frame: Frame = "square",
) -> Pictures:
    """Open the pictures of ``paths`` at ``size_px``, cached in ``cache_dir`` if all of them fit ``budget_bytes``.

    ``left_out``, a run's own folder, is skipped if it is inside them. ``label_of`` gives a picture's class index;
    with ``only_labelled``, pictures without one are left out. ``frame`` is what of a picture is wanted.

    Raises:
        TrainingError: no pictures were found, or fewer than two could be decoded.
    """
    sources = [source._replace(frame=frame) for source in find_sources(paths, left_out)]
    if label_of and only_labelled:
        sources = [source for source in sources if label_of(source) >= 0]
    if len(sources) * size_px**2 * 3 > budget_bytes:
        return StreamedPictures(sources, _labels(sources, label_of), size_px, workers)
    cached = cache_dir / f"pictures-{_fingerprint(sources, size_px)}.npy"
    if not cached.exists():
        _fill_cache(cached, sources, size_px, workers, on_progress or (lambda done, total: None))
    pixels = np.load(cached, mmap_mode="r")
    if len(pixels) < 2:
        raise TrainingError(f"only {len(pixels)} of {len(sources)} files could be decoded; see {_refusals(cached)}")
    refused = json.loads(_refusals(cached).read_text()) if _refusals(cached).exists() else {}
    kept = [source for source in sources if _spot(source) not in refused]
    return CachedPictures(pixels, _labels(kept, label_of))


def _labels(sources: list[Task], label_of: ClassOf | None) -> Labels:
    if label_of is None:
        return no_labels(len(sources))
    return np.array([label_of(source) for source in sources], np.int64)


def _fingerprint(sources: list[Task], size_px: int) -> str:
    """A hash that changes whenever a file of the set, the size or the decoding does."""
    digest = hashlib.sha256(f"{CACHE_VERSION} {size_px}".encode())
    for source in sources:
        facts = os.stat(source.path)
        line: tuple[object, ...] = (os.path.abspath(source.path), source.offset, facts.st_size, facts.st_mtime_ns)
        line += () if source.frame == "square" else (source.frame,)
        digest.update(repr(line).encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _fill_cache(cached: Path, sources: list[Task], size_px: int, workers: int | None, on_progress: OnProgress) -> None:
    cached.parent.mkdir(parents=True, exist_ok=True)
    refused, good, shape = {}, 0, (len(sources), size_px, size_px, 3)
    with replacing(cached) as part, DecoderPool(size_px, workers) as pool, open(part, "wb") as file:
        np.lib.format.write_array_header_1_0(file, _header(shape))
        start = file.tell()
        for done, decoded in enumerate(pool.map(sources), 1):
            if decoded.pixels is None:
                refused[_spot(decoded.task)] = decoded.reason
            else:
                file.write(decoded.pixels.tobytes())
                good += 1
            on_progress(done, len(sources))
        file.seek(0)  # the header is padded, so the true count has the same length
        np.lib.format.write_array_header_1_0(file, _header((good, *shape[1:])))
        if file.tell() != start:
            raise AssertionError("the array's header changed its length")
        if refused:
            write(_refusals(cached), json.dumps(refused, indent=1))


def _refusals(cached: Path) -> Path:
    """The file that lists the pictures that could not be decoded, and why."""
    return cached.with_suffix(".npy.refused.json")


def _spot(source: Task) -> str:
    return f"{source.path}@{source.offset}"


def _header(shape: tuple[int, ...]) -> dict[str, object]:
    return {"descr": "|u1", "fortran_order": False, "shape": shape}


def shuffled(n: int, recipe: Recipe, first_step: int, rank: int = 0, world: int = 1) -> Iterator[np.ndarray]:
    """Indices (batch_size / world,) for each step from ``first_step`` on: one permutation of n after another."""
    epoch, permutation = -1, np.empty(0, dtype=np.int64)
    for step in count(first_step):
        positions = np.arange(step * recipe.batch_size, (step + 1) * recipe.batch_size)[rank::world]
        indices = np.empty(len(positions), dtype=np.int64)
        for row, position in enumerate(positions):
            if position // n != epoch:
                epoch = int(position // n)
                permutation = np.random.default_rng((recipe.seed, ORDER_STREAM, epoch)).permutation(n)
            indices[row] = permutation[position % n]
        yield indices


def to_signed(pixels: Pixels | Tensor, device: torch.device) -> Tensor:
    """uint8 (n, s, s, 3) -> float32 (n, 3, s, s) in [-1, 1], channels last in memory."""
    here = pixels if isinstance(pixels, Tensor) else torch.from_numpy(np.ascontiguousarray(pixels))
    batch = here.to(device, non_blocking=True)
    return batch.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def mirrored(x: Tensor, recipe: Recipe, step: int, rank: int = 0, world: int = 1) -> Tensor:
    """Mirror each picture with probability 1/2."""
    flips = Draws(recipe, MIRROR_STREAM, step, x.device, rank, world).uniform(1)[:, 0] < 0.5
    return torch.where(flips[:, None, None, None], x.flip(3), x)


def latents(recipe: Recipe, step: int, device: torch.device, rank: int = 0, world: int = 1) -> Tensor:
    """z ~ N(0, I), float32 (batch_size / world, d)."""
    return Draws(recipe, LATENT_STREAM, step, device, rank, world).normal(recipe.latent_dim)


class Draws:
    """Random numbers of one step: a picture gets the same ones however many processes share the batch."""

    def __init__(
        self, recipe: Recipe, stream: int, step: int, device: torch.device, rank: int = 0, world: int = 1
    ) -> None:
        self._generator = np.random.default_rng((recipe.seed, stream, step))
        self._batch_size, self._own, self._device = recipe.batch_size, slice(rank, None, world), device

    def uniform(self, columns: int) -> Tensor:
        """The next numbers in [0, 1), float32 (batch_size / world, columns)."""
        return self._share(self._generator.random((self._batch_size, columns)))

    def normal(self, columns: int) -> Tensor:
        """The next samples of N(0, I), float32 (batch_size / world, columns)."""
        return self._share(self._generator.standard_normal((self._batch_size, columns), dtype=np.float32))

    def _share(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(numbers[self._own].astype(np.float32)).to(self._device)
