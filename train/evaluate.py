"""How good a model's codes are, always beside controls that cost nothing, in one table.

Gallery and queries are different pictures. Without torch, but for the randomly initialised encoder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np

from retrieval.errors import MissingExtra, TrainingError
from retrieval.images import Pixels
from retrieval.model import Model
from retrieval.workers import Task
from train.copies import ALTERATIONS, altered, difference_hash, original
from train.labelled import Labelled, as_numbers
from train.measures import (
    Array,
    Outcomes,
    class_outcomes,
    copy_outcomes,
    density_and_coverage,
    interval,
    largest_class,
    probe_outcomes,
    rankings,
    regression_outcomes,
    sliced_wasserstein,
    unit,
)

CODE, HASH = "code", "perceptual hash (dHash, 64 bit)"
PROBE_DIM = 1024  # descriptors of more numbers get no linear probe
GENERATED = 2000

Describe = Callable[[Pixels], Array]
Cell = tuple[float, float, float]
"""Mean and the ends of its 95% interval."""


@dataclass
class Report:
    """``table[descriptor][measure]``, and figures of generation that have no control."""

    model: str
    gallery: int
    queries: int
    table: dict[str, dict[str, Cell]] = field(default_factory=dict)
    generation: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {"schema": 1, **dataclasses.asdict(self)}


def evaluate(
    model: Model, gallery: Labelled, queries: Labelled, numeric: Sequence[str] = (), copies: int = 1000
) -> Report:
    """Measure ``model`` and its controls.

    Args:
        numeric: kinds of label that are numbers; of the others each value is a class.
        copies: so many pictures of the gallery are altered and looked for among all of it; 0 for none.

    Raises:
        MissingExtra: scikit-learn is not installed.
        TrainingError: labels that do not fit: of one class, missing in one part, no numbers.
    """
    if find_spec("sklearn") is None:
        raise MissingExtra("evaluating needs scikit-learn: pip install 'latent[evaluate]'")
    _check_labels(gallery, queries, numeric)
    report = Report(model.name, len(gallery), len(queries))
    describers = _describers(model, gallery.pixels)
    sample = _copied(gallery, copies)
    for name, describe in describers.items():
        xb = describe(gallery.pixels)
        outcomes = {} if name == HASH else _labels_outcomes(xb, describe(queries.pixels), gallery, queries, numeric)
        outcomes |= _copies_outcomes(xb, describe, sample, model.image_size)
        report.table[name] = {measure: interval(values) for measure, values in outcomes.items()}
    if model.has_generator:
        report.generation = _generation(model, gallery.pixels, queries.pixels)
    return report


def _check_labels(gallery: Labelled, queries: Labelled, numeric: Sequence[str]) -> None:
    for kind in numeric:
        if kind not in gallery.columns:
            raise TrainingError(f"--numeric {kind}: there is no such label, only {', '.join(gallery.columns)}")
        as_numbers(kind, gallery.columns[kind]), as_numbers(kind, queries.columns[kind])
    for kind, labels in gallery.columns.items():
        if kind not in numeric and len(set(labels)) < 2:
            raise TrainingError(f"label {kind} has a single value, {labels[0]!r}: there is nothing to tell apart")


def _describers(model: Model, gallery: Pixels) -> dict[str, Describe]:
    """What turns pictures into numbers: the model, and its controls at the same dimension."""
    describers: dict[str, Describe] = {CODE: lambda pictures: model.encode_squares(pictures).codes}
    describers["raw pixels"] = _flat
    describers |= _principal_components(gallery, model.latent_dim)
    if find_spec("torch") is not None and "recipe" in model.facts:
        describers["random encoder"] = _random_encoder(model, gallery)
    describers[HASH] = difference_hash
    return describers


def _flat(pictures: Pixels) -> Array:
    return pictures.reshape(len(pictures), -1).astype(np.float32)


def _principal_components(gallery: Pixels, dim: int) -> dict[str, Describe]:
    """PCA of pixels, each number divided by the root of its standard deviation, or by all of it.

    Whitened fully it ranks as ZCA does, which is the same but for a rotation.
    """
    from sklearn.decomposition import PCA

    sample = gallery[np.random.default_rng(0).permutation(len(gallery))[:5000]]
    pca = PCA(min(dim, *_flat(sample).shape), svd_solver="randomized", random_state=0).fit(_flat(sample))
    scales = np.sqrt(pca.explained_variance_)

    def describe(pictures: Pixels, power: float) -> Array:
        parts = [pca.transform(_flat(pictures[i : i + 2000])) for i in range(0, len(pictures), 2000)]
        return np.asarray(np.concatenate(parts) / scales**power, np.float32)

    return {
        f"PCA-{dim} of pixels, half-whitened": lambda pictures: describe(pictures, 0.5),
        f"PCA-{dim} of pixels, whitened (ranks as ZCA)": lambda pictures: describe(pictures, 1.0),
    }


def _random_encoder(model: Model, gallery: Pixels) -> Describe:
    """An encoder of the model's shape with its initial weights, BatchNorm estimated on the gallery."""
    import torch

    from train.data import CachedPictures, to_signed
    from train.export import re_estimate
    from train.methods import new_method
    from train.recipe import Recipe

    torch.manual_seed(0)
    random = new_method(Recipe(**model.facts["recipe"]))
    cpu = torch.device("cpu")
    some = gallery[np.random.default_rng(0).permutation(len(gallery))[:4096]]
    re_estimate(random, CachedPictures(some), cpu)
    random.eval()

    @torch.no_grad()
    def describe(pictures: Pixels) -> Array:
        batches = (to_signed(pictures[i : i + 256].copy(), cpu) for i in range(0, len(pictures), 256))
        return np.concatenate([random.encode(batch)[0].numpy() for batch in batches])

    return describe


def _labels_outcomes(
    xb: Array, xq: Array, gallery: Labelled, queries: Labelled, numeric: Sequence[str]
) -> dict[str, Outcomes]:
    parts: dict[str, list[Outcomes]] = {}
    classes = [labels for kind, labels in gallery.columns.items() if kind not in numeric]
    for part, similarities, order in rankings(xb, xq, max(20, *map(largest_class, classes))):
        for kind, yb in gallery.columns.items():
            yq = queries.columns[kind][part]
            if kind in numeric:
                errors = regression_outcomes(order, as_numbers(kind, yb), as_numbers(kind, yq))
                parts.setdefault(f"{kind} error, 10 nearest", []).append(errors)
            else:
                for measure, outcome in class_outcomes(similarities, order, yb, yq).items():
                    parts.setdefault(f"{kind} {measure}", []).append(outcome)
    outcomes = {measure: np.concatenate(values) for measure, values in parts.items()}
    for kind, yb in gallery.columns.items():
        if kind not in numeric and xb.shape[1] <= PROBE_DIM:
            outcomes[f"{kind} linear probe"] = probe_outcomes(xb, yb, xq, queries.columns[kind])
    return outcomes


def _copied(gallery: Labelled, count: int) -> tuple[np.ndarray, list[Task]]:
    rows = np.random.default_rng(0).permutation(len(gallery))[:count]
    return rows, [gallery.sources[row] for row in rows]


def _copies_outcomes(
    xb: Array, describe: Describe, sample: tuple[np.ndarray, list[Task]], size_px: int
) -> dict[str, Outcomes]:
    rows, tasks = sample
    outcomes: dict[str, Outcomes] = {}
    if not len(rows):
        return outcomes
    originals = [original(task) for task in tasks]
    for name, alter in ALTERATIONS.items():
        distances = 1 - unit(describe(altered(originals, alter, size_px))) @ unit(xb).T
        for k in (1, 10):
            outcomes[f"copy, {name}, recall@{k}"] = copy_outcomes(distances.round(6), rows, k)
    for k in (1, 10):
        every = [values for measure, values in outcomes.items() if measure.endswith(f"recall@{k}")]
        outcomes[f"copy, mean of all, recall@{k}"] = np.mean(every, axis=0)
    return outcomes


def _generation(model: Model, gallery: Pixels, queries: Pixels) -> dict[str, float]:
    """Samples against pictures that were not learnt from, and codes of real pictures against the prior."""
    count = min(GENERATED, len(queries), len(gallery))
    z = np.random.default_rng(12345).standard_normal((count, model.latent_dim), dtype=np.float32)
    samples = model.decode(z, scale=1.0)
    real, fake = model.encode_squares(queries[:count]).codes, model.encode_squares(samples).codes
    figures = {f"sliced Wasserstein x 1000, {px} px": d for px, d in sliced_wasserstein(samples, queries).items()}
    some = gallery[np.random.default_rng(1).permutation(len(gallery))[:count]]
    for px, distance in sliced_wasserstein(np.asarray(some), queries).items():
        figures[f"the same of training pictures, {px} px"] = distance
    figures["density"], figures["coverage"] = density_and_coverage(real, fake)
    standard = (z - z.mean(1, keepdims=True)) / z.std(1, keepdims=True)
    figures["cycle correlation rho(z, E(G(z)))"] = float((standard * fake).mean())
    values = np.linalg.eigvalsh(np.cov(real.T))
    figures["real codes: root mean square of their mean"] = float(np.sqrt((real.mean(0) ** 2).mean()))
    figures["real codes: largest eigenvalue of covariance"] = float(values[-1])
    figures["real codes: effective dimension"] = float(values.sum() ** 2 / (values**2).sum())
    return figures
