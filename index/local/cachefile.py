"""A cache file: the bytes of FAISS's index, a trailer that names the catalog's state, and a proof of both.

The trailer has these fields in this order, independent of the records that they come from: magic (8 bytes), generation,
stamp (16), whether codes are quantized, lists, probes, candidates, measured at, recall; then keyed BLAKE3 (32 bytes) of
all that. Little-endian.

FAISS believes what it reads: a file can make it write to other files, or read beyond its memory. So it is given no byte
that was not written by this user's own program (``index.trust``), and no name of a file: a folder need not be named in
UTF-8.
"""

from __future__ import annotations

import hmac
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from blake3 import blake3

from index.atomic import replacing
from index.forks import held
from index.local.structures import Quality, Structure
from index.neighbours import import_faiss
from index.trust import DIGEST_BYTES, keyed_hash

TRAILER = struct.Struct("<8sq16s?qqqqd")
TAIL = TRAILER.size + DIGEST_BYTES
MAGIC = b"latentF4"
BLOCK_BYTES = 1 << 22


class CacheUnusable(Exception):
    """A cache file is missing, damaged or not of this user. It is rebuilt; this never leaves the package."""


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


@held()
def write_cache(path: Path, faiss_index: Any, trailer: Trailer) -> None:
    """Write a cache file atomically.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    faiss, proof, packed = import_faiss(), _proof(), trailer.packed()
    with replacing(path) as part, open(part, "wb") as file:

        def write(block: bytes) -> int:
            proof.update(block)
            return file.write(block)

        faiss.write_index(faiss_index, faiss.PyCallbackIOWriter(write, BLOCK_BYTES))
        file.write(packed + proof.update(packed).digest())


@held()
def read_cache(path: Path, dim: int) -> tuple[Any, Trailer]:
    """Read FAISS's index of codes of ``dim`` dimensions and the trailer, after all bytes were checked.

    Raises:
        CacheUnusable: the file is missing, cut off, damaged or not written by this user's program, or is an index of
            another kind than its trailer says.
    """
    try:
        with open(path, "rb") as file:
            trailer = _read_trailer(file)
            if not hmac.compare_digest(file.read(DIGEST_BYTES), _proof_of(file)):
                raise CacheUnusable(f"{path.name}: damaged, not finished, or written by another user")
            file.seek(0)
            faiss = import_faiss()
            faiss_index = faiss.read_index(faiss.PyCallbackIOReader(file.read, BLOCK_BYTES))
    except OSError as error:
        raise CacheUnusable(f"{path.name}: {error.strerror or error}") from error
    except RuntimeError as error:  # FAISS's words name its source files
        raise CacheUnusable(f"{path.name}: not readable by this version of FAISS") from error
    except MemoryError as error:
        raise CacheUnusable(f"{path.name}: there is too little memory to read it") from error
    if not _is_of(faiss_index, trailer.structure, dim):
        raise CacheUnusable(f"{path.name}: not {trailer.structure} codes of {dim} dimensions")
    return faiss_index, trailer


def _is_of(faiss_index: Any, structure: Structure, dim: int) -> bool:
    """Whether an index is of the one type that a structure has."""
    faiss = import_faiss()
    if faiss_index.d != dim:
        return False
    if structure.lists:
        return isinstance(faiss_index, faiss.IndexIVFPQ) and isinstance(
            faiss.downcast_InvertedLists(faiss_index.invlists), faiss.ArrayInvertedLists
        )
    wanted = faiss.IndexPQ if structure.quantized else faiss.IndexFlat
    return isinstance(faiss_index, faiss.IndexIDMap2) and isinstance(faiss.downcast_index(faiss_index.index), wanted)


def trailer_of(path: Path) -> Trailer | None:
    """Read only the trailer, from the last bytes of a cache file, without a proof. None if there is no complete one."""
    try:
        with open(path, "rb") as file:
            return _read_trailer(file)
    except (OSError, CacheUnusable):
        return None


def _read_trailer(file: BinaryIO) -> Trailer:
    """Read the trailer and leave the file positioned before the proof."""
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


def _proof() -> blake3:
    """A running hash that only this user can make."""
    return blake3(key=keyed_hash("cache").digest())


def _proof_of(file: BinaryIO) -> bytes:
    """The proof of all bytes but the last ones, which hold it."""
    proof, left = _proof(), os.fstat(file.fileno()).st_size - DIGEST_BYTES
    file.seek(0)
    while left:
        block = file.read(min(left, BLOCK_BYTES))
        if not block:
            raise CacheUnusable(f"{Path(file.name).name}: cut off")
        proof.update(block)
        left -= len(block)
    return proof.digest()
