"""A collection on a plane, similar pictures near each other, with the decoded average code of each cluster.

Two axes cannot show all of 128 dimensions. PCA keeps the two directions in which the collection varies most; it is
quick and deterministic. UMAP (McInnes et al., 2018) keeps neighbourhoods, but its distances between far pictures mean
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from index import neighbours
from index.records import Found
from retrieval.arrays import Floats, Pixels
from retrieval.defaults import MAP_CELLS as CELLS
from retrieval.errors import MissingExtra, PathError, pip_line
from retrieval.explore.sums import weighted_sum
from retrieval.filters import Filter
from retrieval.models.model import Model
from retrieval.pictures.thumbnail import THUMB_PX
from retrieval.pictures.workers import DecoderPool, Task
from retrieval.progress import OnProgress
from retrieval.quiet import ignoring_warnings
from retrieval.searcher import Searcher

Layout = Literal["pca", "umap"]

MOST = 100_000  # pictures on a map
DRAWN = 4000  # of these that are drawn as pictures; the others are points
CLUSTERS = 12
REACH = 2.5  # standard deviations from the centre to the border; pictures further out are moved to the border
TYPICAL = 0.6  # of a code's length: at full length an average decodes to a caricature, at its own to a blur
NEIGHBOURS = 15  # UMAP's own default


@dataclass(frozen=True)
class Cluster:
    """``count`` pictures around ``position`` (x, y). ``painted`` is their decoded average code, None without G.

    ``members`` are their numbers on the plane, nearest to that average first: the first is the most typical one.
    ``average`` is that average, float32 (d,).
    """

    position: tuple[float, float]
    count: int
    painted: Pixels | None
    members: tuple[int, ...] = ()
    average: Floats | None = None


@dataclass(frozen=True)
class Plane:
    """Pictures at ``positions`` float32 (n, 2), from 0 to 1. ``total`` is the size of the collection."""

    paths: list[str]
    positions: Floats
    clusters: list[Cluster]
    total: int


def lay_out(
    retriever: Searcher,
    layout: Layout = "pca",
    most: int = MOST,
    clusters: int = CLUSTERS,
    seed: int = 0,
    where: Filter | None = None,
) -> Plane:
    """Lay out the pictures of a collection that pass ``where``, or ``most`` of them, drawn at random. Equal seeds give
    equal planes.

    Raises:
        PathError: there are fewer than three pictures.
        MissingExtra: the layout is "umap", and umap-learn is not installed.
        ValueError: there is no such layout.
    """
    if layout not in ("pca", "umap"):
        raise ValueError(f"layout must be pca or umap, not {layout!r}")
    total = retriever.count(where)
    paths: list[str] = []
    codes = np.empty((min(most, total), retriever.latent_dim), np.float32)
    for pictures, batch in sampled(retriever, total, most, seed, where):
        codes[len(paths) : len(paths) + len(batch)] = batch
        paths += [picture.path for picture in pictures]
    codes = codes[: len(paths)]
    if len(paths) < 3:
        raise PathError(f"a map needs three pictures at least, and here are {len(paths)}")
    positions = _filling(placed(codes, layout, seed))
    return Plane(paths, positions, grouped(retriever, codes, positions, clusters, seed), total)


def sampled(
    retriever: Searcher, total: int, most: int = MOST, seed: int = 0, where: Filter | None = None
) -> Iterator[tuple[list[Found], Floats]]:
    """Yield the first ``total`` pictures that pass ``where``, or ``most`` of them, drawn at random, with codes (b, d):
    by id, and some thousand at a time."""
    start = 0
    wanted = np.sort(np.random.default_rng(seed).permutation(total)[:most])
    for rows, batch in retriever.found(where):
        here = wanted[(wanted >= start) & (wanted < start + len(rows))] - start
        yield [rows[place] for place in here], batch[here]
        start += len(rows)


def placed(codes: Floats, layout: Layout = "pca", seed: int = 0) -> Floats:
    """Where pictures with ``codes`` (n, d) lie: float32 (n, 2), in no unit. Raises as ``lay_out``."""
    return _by_umap(codes, seed) if layout == "umap" else neighbours.pca(codes, 2)


def drawn(plane: Plane, most: int = DRAWN) -> list[int]:
    """Numbers of the pictures to draw, at most ``most``: those typical of a cluster, then the nearest to the middle of
    each cell, then the next ones.
    """
    cells = np.minimum((plane.positions * CELLS).astype(int), CELLS - 1)
    away = np.abs(plane.positions * CELLS - cells - 0.5).max(1)
    flat = cells[:, 0] * CELLS + cells[:, 1]
    order = np.lexsort((away, flat))
    starts = np.searchsorted(flat[order], flat[order])
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order)) - starts  # within its cell
    rank[[cluster.members[0] for cluster in plane.clusters if cluster.members]] = -1
    return sorted(np.argsort(rank, kind="stable")[:most].tolist())


def thumbnails(
    paths: Sequence[str], workers: int | None = None, report: OnProgress | None = None
) -> list[Pixels | None]:
    """The central squares of pictures, uint8 (64, 64, 3); None if one cannot be read any more."""
    thumbs: list[Pixels | None] = []
    with DecoderPool(THUMB_PX, workers) as pool:
        for decoded in pool.map(Task(path) for path in paths):
            thumbs.append(decoded.pixels)
            if report is not None:
                report(len(thumbs), len(paths))
    return thumbs


def _by_umap(codes: Floats, seed: int) -> Floats:
    with ignoring_warnings():  # it warns of its own parts that are not installed
        try:
            from umap import UMAP
        except ImportError as error:
            raise MissingExtra(
                f"UMAP needs umap-learn: {pip_line('map')}; PCA needs nothing", code="no_umap"
            ) from error
        plane = UMAP(n_neighbors=min(NEIGHBOURS, len(codes) - 1), init="pca", random_state=seed, n_jobs=1)
        return np.asarray(plane.fit_transform(codes), np.float32)


def _filling(points: Floats) -> Floats:
    """Move and scale points (n, 2) to fill the unit square."""
    spread = np.maximum(points.std(0), 1e-6)
    return np.asarray(np.clip(0.5 + (points - points.mean(0)) / spread / (2 * REACH), 0, 1), np.float32)


def _average(codes: Floats, standardized: bool) -> Floats:
    """The average code (d,), scaled to the length of codes; the first code if they cancel out."""
    try:
        return weighted_sum(codes, [1 / len(codes)] * len(codes), standardized)
    except ValueError:
        return np.asarray(codes[0])


def grouped(
    retriever: Searcher, codes: Floats, positions: Floats, count: int = CLUSTERS, seed: int = 0
) -> list[Cluster]:
    """Clusters of pictures with ``codes`` (n, d) at ``positions`` (n, 2), by k-means, largest first."""
    means, nearest = neighbours.kmeans(codes, count, seed=seed)
    members = [np.flatnonzero(nearest == number) for number in range(len(means))]
    members = sorted((its for its in members if len(its)), key=lambda its: (-len(its), its[0]))
    averages = np.stack([_average(codes[its], retriever.model.standardized) for its in members])
    model = retriever.model
    painted = model.decode(averages, paint_scale(model)) if model.has_generator else [None] * len(members)
    middles = [positions[its].mean(0) for its in members]
    typical = [
        its[np.argsort(np.linalg.norm(codes[its] - average, axis=1), kind="stable")]
        for its, average in zip(members, averages, strict=True)
    ]
    return [
        Cluster((float(x), float(y)), len(its), pixels, tuple(its.tolist()), average)
        for (x, y), its, pixels, average in zip(middles, typical, painted, averages, strict=True)
    ]


def paint_scale(model: Model) -> float:
    """The factor of a cluster's average code when it is painted: ``model.decode(average, scale)``."""
    return TYPICAL * model.decode_scale
