"""FAISS: a cache of the codes in the catalog, rebuilt at will.

A cache file is what ``faiss.write_index`` writes, followed by a trailer that says which generation of the
catalog it holds and how well it was found to answer, and by the hash of all that. A file without them was not
finished.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from index.errors import MissingExtra
from index.local.structures import EXACT, Structure
from index.records import Floats, Ids, Metric

TRAILER = struct.Struct("<8sq16s?qqqqd")  # magic, generation, stamp, structure, quality
DIGEST = struct.Struct("<Q")  # XXH3 of everything before it
TAIL = TRAILER.size + DIGEST.size
MAGIC = b"latentF3"
READ_BYTES = 1 << 22
PART = ".part"
NEAREST = 10  # what recall is measured by
LADDER = (100, 200, 500, 1000, 2000, 5000)  # numbers of candidates to try
WANTED_RECALL = 0.99
MOST_LOST = 0.5  # of the codes' variance, where quantization loses a tenth and another code's place would lose twice it
FAISS_LINE = "searching needs FAISS: pip install 'latent[cpu]' (with an NVIDIA GPU: 'latent[gpu]')"


class CacheUnusable(Exception):
    """A cache file is missing, cut off or damaged. It is rebuilt; nobody outside this package sees this."""


@dataclass(frozen=True)
class Quality:
    """How a cache answers: with ``candidates`` ranked exactly it found ``recall`` of the ten nearest of a sample, when
    it held ``measured_at`` codes. No candidates are needed where every code is looked at in float32.
    """

    candidates: int = 0
    measured_at: int = 0
    recall: float = 1.0


@dataclass
class VectorCache:
    """Codes in FAISS under the catalog's ids, as they stood at ``generation`` of the history that ``stamp`` names."""

    metric: Metric
    faiss_index: Any
    generation: int
    stamp: bytes
    structure: Structure = EXACT
    quality: Quality = Quality()
    _packed: Any = None  # codes as they are scanned, where that is not as they are kept: packed, or on a GPU;
    _ids: Ids = field(default_factory=lambda: np.empty(0, np.int64))  # and whose they are

    @classmethod
    def empty(
        cls,
        metric: Metric,
        dim: int,
        generation: int,
        stamp: bytes,
        structure: Structure = EXACT,
        sample: Floats | None = None,
    ) -> VectorCache:
        """A cache without codes; one that is not exact learns its tables from ``sample`` (n, d)."""
        faiss = import_faiss()
        kind = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
        inner = faiss.index_factory(dim, structure.factory(dim), kind)
        if structure.lists:
            inner.nprobe = structure.probes
        cache = cls(metric, inner if structure.lists else faiss.IndexIDMap2(inner), generation, stamp, structure)
        if structure.quantized:
            assert sample is not None
            inner.train(cache.stored_form(sample))
        return cache

    @classmethod
    def load(cls, path: Path, metric: Metric, dim: int) -> VectorCache:
        """Read a cache file and check it to the last byte.

        Raises:
            CacheUnusable: it is missing, cut off, damaged, or of another shape.
        """
        try:
            with open(path, "rb") as file:
                generation, stamp, structure, quality = _read_trailer(file)
                (digest,) = DIGEST.unpack(file.read(DIGEST.size))
                file.seek(0)
                if _hash(file, os.fstat(file.fileno()).st_size - DIGEST.size) != digest:
                    raise CacheUnusable(f"{path.name}: damaged or not finished")
            faiss_index = import_faiss().read_index(str(path))
        except (OSError, RuntimeError, MemoryError) as error:
            raise CacheUnusable(f"{path.name}: {error}") from error
        if faiss_index.d != dim:
            raise CacheUnusable(f"{path.name}: codes of {faiss_index.d} numbers, not {dim}")
        return cls(metric, faiss_index, generation, stamp, structure, quality)

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
                about = (*astuple(self.structure), *astuple(self.quality))
                file.seek(0, os.SEEK_END)
                file.write(TRAILER.pack(MAGIC, self.generation, self.stamp, *about))
                size = file.tell()
                file.seek(0)
                file.write(DIGEST.pack(_hash(file, size)))
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
        self._packed = None
        if len(ids):
            self.faiss_index.add_with_ids(self.stored_form(codes), ids)

    def remove(self, ids: Iterable[int]) -> None:
        """Remove those of ``ids`` that are there."""
        self._packed = None
        wanted = np.fromiter(ids, dtype=np.int64)
        if len(wanted) and len(self):
            if self.structure.lists:
                self._map_ids(False)  # or FAISS refuses
            self.faiss_index.remove_ids(wanted)

    def search(self, xq: Floats, k: int) -> Ids:
        """Ids (n, min(k, len)) of the nearest codes, best first, for queries (n, d)."""
        k = min(k, len(self))
        if k == 0 or len(xq) == 0:
            return np.empty((len(xq), 0), dtype=np.int64)
        if self._packed is None and self.structure.quantized:
            self._pack()
        if self.structure.lists and self._packed is not None:
            self._packed.nprobe = self.structure.lists if k == len(self) else self.structure.probes
        _, found = (self._packed or self.faiss_index).search(self.stored_form(xq), k)
        if self._packed is None or self.structure.lists:
            return np.asarray(found, dtype=np.int64)
        return np.where(found < 0, -1, self._ids[found])

    def move_to_gpu(self) -> None:
        """Have an exact cache searched on all GPUs, each of which takes a part of the codes.

        Raises:
            MissingExtra: this FAISS knows no GPU, or sees none.
        """
        check_gpu()
        faiss, options = import_faiss(), import_faiss().GpuMultipleClonerOptions()
        options.shard = True
        self._packed = faiss.index_cpu_to_all_gpus(self._inner(), options)
        self._ids = np.array(faiss.vector_to_array(self.faiss_index.id_map), dtype=np.int64)

    def _pack(self) -> None:
        """Arrange quantized codes for vector registers.

        FAISS could keep them so, but forgets itself when packed codes are removed and others added (1.15: additions
        are spoilt, an emptied index is read behind its end).
        """
        faiss, inner = import_faiss(), self._inner()
        if self.structure.lists:
            self._packed = faiss.IndexIVFPQFastScan(inner)
        else:
            self._packed = faiss.IndexPQFastScan(inner)
            self._ids = np.array(faiss.vector_to_array(self.faiss_index.id_map), dtype=np.int64)

    def measure(self, xq: Floats, nearest: Ids) -> None:
        """Find how many candidates it takes to have ``nearest`` (n, k), the true answers to ``xq`` (n, d)."""
        for candidates in LADDER:
            proposed = self.search(xq, candidates)
            recall = float(np.mean([np.isin(*pair).mean() for pair in zip(nearest, proposed, strict=True)]))
            self.quality = Quality(candidates, len(self), recall)
            if recall >= WANTED_RECALL:
                return

    def proposals_for(self, k: int) -> int:
        """How many candidates to rank for the ``k`` nearest."""
        return max(k, math.ceil(self.quality.candidates * math.sqrt(max(1.0, k / NEAREST))))

    def is_outgrown(self, count: int, wanted: Structure) -> bool:
        """Whether ``count`` codes are better searched by ``wanted``, or by tables learnt anew."""
        mine = self.structure
        if (mine.quantized, mine.share) != (wanted.quantized, wanted.share):
            return True
        return mine.quantized and count > 2 * self.quality.measured_at

    def ids(self) -> Ids:
        """Ids (n,) of everything in the cache, ascending."""
        faiss, inner = import_faiss(), self._inner()
        if not isinstance(inner, faiss.IndexIVF):
            return np.sort(np.array(faiss.vector_to_array(self.faiss_index.id_map), dtype=np.int64))
        sizes = [(number, inner.invlists.list_size(number)) for number in range(inner.nlist)]
        lists = [faiss.rev_swig_ptr(inner.invlists.get_ids(number), size) for number, size in sizes if size]
        return np.sort(np.concatenate([np.empty(0, np.int64), *lists]))

    def holds(self, ids: Ids, codes: Floats) -> bool:
        """Whether what is stored under ``ids`` is ``codes`` (n, d), as nearly as the structure can have it."""
        if self.structure.lists:
            self._map_ids(True)
        kept, wanted = self.faiss_index.reconstruct_batch(ids), self.stored_form(codes)
        if not self.structure.quantized:
            return np.array_equal(kept, wanted)
        return bool(((kept - wanted) ** 2).sum() < MOST_LOST * ((wanted - wanted.mean(0)) ** 2).sum() + 1e-6)

    def _map_ids(self, wanted: bool) -> None:
        """Have a table that leads from ids to places in the lists, or none."""
        kind = import_faiss().DirectMap
        if wanted != (self.faiss_index.direct_map.type == kind.Hashtable):
            self.faiss_index.set_direct_map_type(kind.Hashtable if wanted else kind.NoMap)

    def _inner(self) -> Any:
        faiss = import_faiss()
        outer = faiss.downcast_index(self.faiss_index)
        return faiss.downcast_index(outer.index) if isinstance(outer, faiss.IndexIDMap) else outer

    def stored_form(self, codes: Floats) -> Floats:
        """Codes as they are for Euclid; scaled to length 1 for cosine, where the inner product is the cosine."""
        codes = np.ascontiguousarray(codes, dtype=np.float32)
        return codes if self.metric == "euclidean" else unit(codes)


class Truth:
    """The codes truly nearest to some of them, gathered while all are added."""

    def __init__(self, cache: VectorCache, xq: Floats) -> None:
        self.xq = xq
        self._cache, self._stored = cache, cache.stored_form(xq)
        self._ids = np.empty((len(xq), 0), np.int64)
        self._scores = np.empty((len(xq), 0), np.float32)

    def add(self, ids: Ids, codes: Floats) -> None:
        """Take codes (n, d) into account."""
        faiss, k = import_faiss(), min(len(ids), NEAREST + 1)
        scores, rows = faiss.knn(
            self._stored, self._cache.stored_form(codes), k, metric=self._cache.faiss_index.metric_type
        )
        scores = np.concatenate([self._scores, scores], axis=1)
        order = np.argsort(scores if self._cache.metric == "euclidean" else -scores, axis=1, kind="stable")[
            :, : NEAREST + 1
        ]
        self._scores = np.take_along_axis(scores, order, axis=1)
        self._ids = np.take_along_axis(np.concatenate([self._ids, ids[rows]], axis=1), order, axis=1)

    @property
    def ids(self) -> Ids:
        """The ten nearest to each, best first; itself is not among them."""
        return self._ids[:, 1:]


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


def check_gpu() -> None:
    """See that FAISS can search on a GPU here.

    Raises:
        MissingExtra: it is the package for CPUs, or there is no GPU that it can see.
    """
    faiss = import_faiss()
    if not hasattr(faiss, "GpuMultipleClonerOptions"):
        raise MissingExtra(
            "searching on a GPU needs FAISS's package for GPUs: pip uninstall faiss-cpu, "
            "then pip install 'latent[gpu]'; or search on the CPU"
        )
    if not faiss.get_num_gpus():
        raise MissingExtra("FAISS sees no GPU here (nvidia-smi shows what the driver sees); search on the CPU")


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def layout_of(path: Path) -> tuple[Structure, Quality] | None:
    """How the cache in a file is laid out and answers, by its last bytes alone; None where there is no whole one."""
    try:
        with open(path, "rb") as file:
            _, _, structure, quality = _read_trailer(file)
            return structure, quality
    except (OSError, CacheUnusable):
        return None


def _read_trailer(file: Any) -> tuple[int, bytes, Structure, Quality]:
    """Generation, stamp, structure and quality; leaves the file positioned before the hash."""
    size = os.fstat(file.fileno()).st_size - TAIL
    if size < 0:
        raise CacheUnusable(f"{Path(file.name).name}: cut off")
    file.seek(size)
    magic, generation, stamp, *about = TRAILER.unpack(file.read(TRAILER.size))
    if magic != MAGIC:
        raise CacheUnusable(f"{Path(file.name).name}: damaged or not finished")
    return generation, stamp, Structure(*about[:3]), Quality(*about[3:])


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
