"""FAISS on plain arrays: nearest neighbours, k-means, principal components. FAISS is imported on first use."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from index.errors import LatentError, MissingExtra, pip_line
from index.forks import held, watch
from index.records import Floats, Ids

POINT_LISTS, POINTS_MOST = 8, 8192  # lists, and descriptors in them, that are looked at for a descriptor
POINT_LINKS = 16  # of a centre to others
POINTS_AT_ONCE = 1 << 20  # that are added
EXACT_MOST = 100_000  # codes among which all are looked at
LEARN_FROM = 64  # codes a list
PROBED = 0.01  # share of the lists that are searched
FAISS_LINE = f"searching needs FAISS: {pip_line('cpu')} (with an NVIDIA GPU: {pip_line('gpu')})"


class Nearest:
    """Nearest neighbours among codes (m, d): exact, or, of very many, in the nearest of many lists (FAISS's IVF).

    Call it with ``xq`` (n, d) and k for Euclidean distances float32 (n, k) and rows int64 (n, k), nearest first. Rows
    are -1, at infinite distances, if too few are in the lists.
    """

    @held()
    def __init__(self, xb: Floats) -> None:
        faiss = import_faiss()
        xb = np.ascontiguousarray(xb)
        self._index = flat = faiss.IndexFlatL2(xb.shape[1])
        if len(xb) > EXACT_MOST:
            self._index = faiss.IndexIVFFlat(flat, xb.shape[1], int(4 * np.sqrt(len(xb))))
            sample = np.random.default_rng(0).permutation(len(xb))[: LEARN_FROM * self._index.nlist]
            self._index.cp.niter = 10
            self._index.train(xb[np.sort(sample)])
            self._index.nprobe = max(1, round(PROBED * self._index.nlist))
        self._index.add(xb)

    @held()
    def __call__(self, xq: Floats, k: int) -> tuple[Floats, Ids]:
        squares, rows = self._index.search(np.ascontiguousarray(xq), k)
        return np.sqrt(np.maximum(squares, 0)), rows


class NearestPoints:
    """Nearest neighbours among binary descriptors uint8 (m, bytes), of which some are missed.

    Each is looked for in the nearest of many lists (FAISS's IndexBinaryIVF). The centres of the lists are descriptors
    that were drawn: there are so many that this is as good as learning them, and a graph leads to the nearest (HNSW:
    Malkov and Yashunin, TPAMI 2020), since to compare each descriptor with all centres would take time in m^1.5. Call
    it with ``xq`` (n, bytes) and k for differing bits and rows, int64 (n, k).
    """

    @held()
    def __init__(self, xb: npt.NDArray[np.uint8]) -> None:
        faiss = import_faiss()
        lists = max(1, min(len(xb), int(16 * np.sqrt(len(xb)))))
        self._centres = faiss.IndexBinaryHNSW(8 * xb.shape[1], POINT_LINKS)
        self._centres.add(np.ascontiguousarray(xb[np.random.default_rng(0).permutation(len(xb))[:lists]]))
        self._index = faiss.IndexBinaryIVF(self._centres, 8 * xb.shape[1], lists)
        self._index.is_trained, self._index.nprobe, self._index.max_codes = True, min(lists, POINT_LISTS), POINTS_MOST
        for start in range(0, len(xb), POINTS_AT_ONCE):
            self._index.add(np.ascontiguousarray(xb[start : start + POINTS_AT_ONCE]))

    @held()
    def __call__(self, xq: npt.NDArray[np.uint8], k: int) -> tuple[Ids, Ids]:
        bits, rows = self._index.search(np.ascontiguousarray(xq), k)
        return bits.astype(np.int64), rows


@held()
def kmeans(xb: Floats, k: int, iterations: int = 25, seed: int = 0) -> tuple[Floats, Ids]:
    """Centroids float32 (k, d) of codes (n, d), k at most n, and the nearest centroid of each code, int64 (n,)."""
    xb = np.ascontiguousarray(xb)
    means = import_faiss().Kmeans(xb.shape[1], min(k, len(xb)), niter=iterations, seed=seed, min_points_per_centroid=1)
    means.train(xb)
    _, nearest = means.index.search(xb, 1)
    return np.asarray(means.centroids, np.float32), np.asarray(nearest[:, 0], np.int64)


@held()
def pca(xb: Floats, dims: int) -> Floats:
    """Project codes (n, d) on their first ``dims`` principal components: float32 (n, dims)."""
    xb = np.ascontiguousarray(xb)
    matrix = import_faiss().PCAMatrix(xb.shape[1], dims)
    matrix.train(xb)
    return np.asarray(matrix.apply(xb), np.float32)


def unit(codes: Floats) -> Floats:
    """Scale rows to length 1. For standardized codes, whose length is sqrt(d), this is N/sqrt(d)."""
    norms = np.linalg.norm(codes, axis=1, keepdims=True)
    return np.asarray(codes / np.maximum(norms, np.finfo(np.float32).tiny), dtype=np.float32)


class _Threads:
    """OpenMP's threads do not survive a fork, and FAISS would wait for them: a child searches with one thread."""

    def after_fork(self) -> None:
        if "faiss" in sys.modules:
            sys.modules["faiss"].omp_set_num_threads(1)


_threads = _Threads()
watch(_threads)


def import_faiss() -> Any:
    """Import and return the faiss module.

    Raises:
        MissingExtra: FAISS is not installed.
        LatentError: it cannot be loaded, as where there is too little memory.
    """
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise MissingExtra(FAISS_LINE) from error
    except ImportError as error:
        raise LatentError(f"FAISS cannot be loaded ({error})", code="not_loaded") from error
    return faiss


def check_faiss() -> None:
    """Check that FAISS is installed, before any work is done for it.

    Raises:
        MissingExtra: neither of its packages is installed, or both are: they overwrite each other's files.
    """
    if find_spec("faiss") is None:
        raise MissingExtra(FAISS_LINE)
    both = [name for name in ("faiss-cpu", "faiss-gpu-cu12") if _installed(name)]
    if len(both) > 1:
        raise MissingExtra(
            "faiss-cpu and faiss-gpu-cu12 overwrite each other: pip uninstall faiss-cpu faiss-gpu-cu12, "
            f"then {pip_line('cpu', 'gpu')}"
        )


def check_gpu() -> None:
    """Check that FAISS can search on a GPU.

    Raises:
        MissingExtra: FAISS is the package for CPUs, or sees no GPU.
    """
    faiss = import_faiss()
    if not hasattr(faiss, "GpuMultipleClonerOptions"):
        raise MissingExtra(
            "searching on a GPU needs FAISS's package for GPUs: pip uninstall faiss-cpu, "
            f"then {pip_line('gpu')}; or search on the CPU"
        )
    if not faiss.get_num_gpus():
        raise MissingExtra("FAISS sees no GPU here (nvidia-smi shows what the driver sees); search on the CPU")


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
