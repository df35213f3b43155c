"""FAISS: a cache of the codes in the catalog, rebuilt at will.

A cache file is what ``faiss.write_index`` writes, followed by a trailer that says which generation of the
catalog it holds and how the bytes before it hash. A file without a whole trailer was not finished.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xxhash

from index.errors import MissingExtra

Metric = Literal["euclidean", "cosine"]
Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

TRAILER = struct.Struct("<8sq16sQ")  # magic, generation and its stamp, XXH3 of everything before the trailer
MAGIC = b"latentF2"
READ_BYTES = 1 << 22
PART = ".part"
FAISS_LINE = "searching needs FAISS: pip install 'latent[cpu]' (with an NVIDIA GPU: 'latent[gpu]')"


class CacheUnusable(Exception):
    """A cache file is missing, cut off or damaged. It is rebuilt; nobody outside this package sees this."""


@dataclass
class VectorCache:
    """Codes in FAISS under the catalog's ids, as they stood at ``generation`` of the history that ``stamp`` names."""

    metric: Metric
    faiss_index: Any
    generation: int
    stamp: bytes

    @classmethod
    def empty(cls, metric: Metric, dim: int, generation: int, stamp: bytes) -> VectorCache:
        faiss = import_faiss()
        flat = faiss.IndexFlatL2(dim) if metric == "euclidean" else faiss.IndexFlatIP(dim)
        return cls(metric, faiss.IndexIDMap2(flat), generation, stamp)

    @classmethod
    def load(cls, path: Path, metric: Metric, dim: int) -> VectorCache:
        """Read a cache file and check it to the last byte.

        Raises:
            CacheUnusable: it is missing, cut off, damaged, or of another shape.
        """
        try:
            generation, stamp = _read_trailer(path)
            faiss_index = import_faiss().read_index(str(path))
        except (OSError, RuntimeError, MemoryError) as error:
            raise CacheUnusable(f"{path.name}: {error}") from error
        if faiss_index.d != dim:
            raise CacheUnusable(f"{path.name}: codes of {faiss_index.d} numbers, not {dim}")
        return cls(metric, faiss_index, generation, stamp)

    def save(self, path: Path) -> None:
        """Write beside ``path`` and move over it, so that it is never half there.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        part = path.with_name(f"{path.name}.{os.getpid()}{PART}")  # two readers may rebuild at once
        try:
            try:
                import_faiss().write_index(self.faiss_index, str(part))
            except RuntimeError as error:  # FAISS wraps the system's error in its own
                raise OSError(f"{part} cannot be written: {error}") from error
            with open(part, "r+b") as file:
                digest = _hash(file, part.stat().st_size)
                file.write(TRAILER.pack(MAGIC, self.generation, self.stamp, digest))
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise

    def __len__(self) -> int:
        return int(self.faiss_index.ntotal)

    def add(self, ids: Ids, codes: Floats) -> None:
        """Add codes (n, d) under ``ids`` (n,), which must be new."""
        if len(ids):
            self.faiss_index.add_with_ids(self.stored_form(codes), ids)

    def remove(self, ids: Iterable[int]) -> None:
        """Remove those of ``ids`` that are there."""
        wanted = np.fromiter(ids, dtype=np.int64)
        if len(wanted) and len(self):
            self.faiss_index.remove_ids(wanted)

    def search(self, xq: Floats, k: int) -> Ids:
        """Ids (n, min(k, len)) of the nearest codes, best first, for queries (n, d)."""
        k = min(k, len(self))
        if k == 0 or len(xq) == 0:
            return np.empty((len(xq), 0), dtype=np.int64)
        _, ids = self.faiss_index.search(self.stored_form(xq), k)
        return np.asarray(ids, dtype=np.int64)

    def contents(self) -> tuple[Ids, Floats]:
        """Everything in the cache: ids (n,) ascending and the vectors as stored (n, d)."""
        faiss = import_faiss()
        ids = np.array(faiss.vector_to_array(self.faiss_index.id_map), dtype=np.int64)
        flat = faiss.downcast_index(self.faiss_index.index)
        vectors = faiss.rev_swig_ptr(flat.get_xb(), len(ids) * flat.d).reshape(-1, flat.d)
        order = np.argsort(ids, kind="stable")
        return ids[order], np.array(vectors[order])

    def stored_form(self, codes: Floats) -> Floats:
        """Codes as they are for Euclid; scaled to length 1 for cosine, where the inner product is the cosine."""
        codes = np.ascontiguousarray(codes, dtype=np.float32)
        return codes if self.metric == "euclidean" else unit(codes)


def unit(codes: Floats) -> Floats:
    """Rows scaled to length 1; for standardized codes, whose length is sqrt(d), this is N/sqrt(d)."""
    norms = np.linalg.norm(codes, axis=1, keepdims=True)
    return np.asarray(codes / np.maximum(norms, np.finfo(np.float32).tiny), dtype=np.float32)


def import_faiss() -> Any:
    """The faiss module, which costs its import only where it is needed.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtra(FAISS_LINE) from error
    return faiss


def check_faiss() -> None:
    """See that FAISS is there, before any work is done for it.

    Raises:
        MissingExtra: neither of its packages is installed, or both: they overwrite each other's files.
    """
    if find_spec("faiss") is None:
        raise MissingExtra(FAISS_LINE)
    both = [name for name in ("faiss-cpu", "faiss-gpu-cu12") if _installed(name)]
    if len(both) > 1:
        raise MissingExtra(
            "faiss-cpu and faiss-gpu-cu12 overwrite each other: pip uninstall faiss-cpu faiss-gpu-cu12, "
            "then pip install 'latent[cpu]' or 'latent[gpu]'"
        )


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _read_trailer(path: Path) -> tuple[int, bytes]:
    """Generation and stamp of a whole cache file."""
    with open(path, "rb") as file:
        size = path.stat().st_size - TRAILER.size
        if size < 0:
            raise CacheUnusable(f"{path.name}: cut off")
        digest = _hash(file, size)
        magic, generation, stamp, expected = TRAILER.unpack(file.read(TRAILER.size))
    if magic != MAGIC or digest != expected:
        raise CacheUnusable(f"{path.name}: damaged or not finished")
    return int(generation), bytes(stamp)


def _hash(file: Any, size: int) -> int:
    """XXH3 of the first ``size`` bytes; leaves the file positioned behind them."""
    digest, left = xxhash.xxh3_64(), size
    while left:
        block = file.read(min(left, READ_BYTES))
        if not block:
            raise CacheUnusable("cut off")
        digest.update(block)
        left -= len(block)
    return digest.intdigest()
