"""A cache file: the bytes of FAISS's index, a trailer that names the state of the catalog, and a hash of all before it.

The trailer has these fields in this order, independent of the records that they come from: magic (8 bytes), generation,
stamp (16), whether codes are quantized, lists, probes, candidates, measured at, recall; then XXH3 of everything before
it. Little-endian.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import xxhash

from index.atomic import replacing
from index.local.structures import Quality, Structure
from index.neighbours import import_faiss

TRAILER = struct.Struct("<8sq16s?qqqqd")
DIGEST = struct.Struct("<Q")
TAIL = TRAILER.size + DIGEST.size
MAGIC = b"latentF3"
READ_BYTES = 1 << 22


class CacheUnusable(Exception):
    """A cache file is missing, cut off or damaged. It is rebuilt; this never leaves the package."""


class Trailer(NamedTuple):
    """The state of the catalog that a cache holds, its structure, and its quality."""

    generation: int
    stamp: bytes
    structure: Structure
    quality: Quality

    def packed(self) -> bytes:
        structure, quality = self.structure, self.quality
        return TRAILER.pack(
            MAGIC,
            self.generation,
            self.stamp,
            structure.quantized,
            structure.lists,
            structure.probes,
            quality.candidates,
            quality.measured_at,
            quality.recall,
        )


def write_cache(path: Path, faiss_index: Any, trailer: Trailer) -> None:
    """Write a cache file atomically.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    with replacing(path) as part:
        try:
            import_faiss().write_index(faiss_index, str(part))
        except RuntimeError as error:  # FAISS wraps the system's error
            raise OSError(f"{path} cannot be written: {error}") from error
        with open(part, "r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(trailer.packed())
            size = file.tell()
            file.seek(0)
            file.write(DIGEST.pack(_hash(file, size)))


def read_cache(path: Path, dim: int) -> tuple[Any, Trailer]:
    """Read FAISS's index of codes of ``dim`` dimensions and the trailer, and check all bytes.

    Raises:
        CacheUnusable: the file is missing, cut off or damaged, or its codes have other dimensions.
    """
    try:
        with open(path, "rb") as file:
            trailer = _read_trailer(file)
            (digest,) = DIGEST.unpack(file.read(DIGEST.size))
            file.seek(0)
            if _hash(file, os.fstat(file.fileno()).st_size - DIGEST.size) != digest:
                raise CacheUnusable(f"{path.name}: damaged or not finished")
        faiss_index = import_faiss().read_index(str(path))
    except (OSError, RuntimeError, MemoryError) as error:
        raise CacheUnusable(f"{path.name}: {error}") from error
    if faiss_index.d != dim:
        raise CacheUnusable(f"{path.name}: codes of {faiss_index.d} dimensions, not {dim}")
    return faiss_index, trailer


def trailer_of(path: Path) -> Trailer | None:
    """Read only the trailer, from the last bytes of a cache file. None if there is no complete one."""
    try:
        with open(path, "rb") as file:
            return _read_trailer(file)
    except (OSError, CacheUnusable):
        return None


def _read_trailer(file: BinaryIO) -> Trailer:
    """Read the trailer and leave the file positioned before the hash."""
    size = os.fstat(file.fileno()).st_size - TAIL
    if size < 0:
        raise CacheUnusable(f"{Path(file.name).name}: cut off")
    file.seek(size)
    magic, generation, stamp, quantized, lists, probes, candidates, measured_at, recall = TRAILER.unpack(
        file.read(TRAILER.size)
    )
    if magic != MAGIC:
        raise CacheUnusable(f"{Path(file.name).name}: damaged or not finished")
    return Trailer(generation, stamp, Structure(quantized, lists, probes), Quality(candidates, measured_at, recall))


def _hash(file: BinaryIO, size: int) -> int:
    """XXH3 of the next ``size`` bytes. Leaves the file positioned behind them."""
    digest, left = xxhash.xxh3_64(), size
    while left:
        block = file.read(min(left, READ_BYTES))
        if not block:
            raise CacheUnusable("cut off")
        digest.update(block)
        left -= len(block)
    return digest.intdigest()
