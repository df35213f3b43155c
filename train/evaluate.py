"""How good a model's codes are, compared in one table with controls that need no training.

Only the randomly initialised encoder needs torch.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np

from retrieval.arrays import Pixels
from retrieval.errors import MissingExtra, TrainingError, pip_line
from retrieval.models.model import Model, standardize
from train.controls import HASH, Describe, controls
from train.copies import ALTERATIONS, altered, original
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

CODE = "code"
FEWEST = 6  # pictures of each part: density uses the fifth nearest other picture
PROBE_DIM = 1024  # descriptors with more dimensions get no linear probe
GENERATED, SLOWLY = 2000, 64  # samples; of models that generate pixel by pixel

Interval = tuple[float, float, float]
"""Mean and the ends of its 95% interval."""


@dataclass
class Report:
    """``table[descriptor][measure]``, and the measures of generation, which have no control."""

    model: str
    gallery: int
    queries: int
    table: dict[str, dict[str, Interval]] = field(default_factory=dict)
    generation: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {"schema": 1, **dataclasses.asdict(self)}


def _places(pictures: Labelled) -> set[tuple[str, int]]:
    """The places of the pictures: the resolved file, and the offset in it."""
    files = {task.path: os.path.realpath(task.path) for task in pictures.sources}
    return {(files[task.path], task.offset) for task in pictures.sources}


@dataclass(frozen=True)
class Exam:
    """The measures that every descriptor is evaluated by.

    ``numeric`` names the kinds of label that are numbers; in the others, each value is a class. ``copies`` pictures of
    the gallery are altered and searched for in the whole gallery, 0 for none.

    Raises:
        MissingExtra: scikit-learn is not installed.
        TrainingError: fewer than ``FEWEST`` pictures in one part, a picture in both, or unsuitable labels: only one
            class, missing in one part, not numbers.
    """

    gallery: Labelled
    queries: Labelled
    numeric: Sequence[str] = ()
    copies: int = 1000

    def __post_init__(self) -> None:
        if find_spec("sklearn") is None:
            raise MissingExtra(f"evaluating needs scikit-learn: {pip_line('evaluate')}")
        self._check_pictures()
        self._check_labels()

    def _check_pictures(self) -> None:
        if min(len(self.gallery), len(self.queries)) < FEWEST:
            counts = f"{len(self.queries)} queries and {len(self.gallery)} pictures to find"
            raise TrainingError(f"{counts} say nothing; {FEWEST} of each at least")
        if shared := _places(self.gallery) & _places(self.queries):
            where = f"{len(shared)} of the queries lie in the gallery too, in {os.path.dirname(min(shared)[0])}"
            raise TrainingError(f"{where}; they must be other pictures")

    def _check_labels(self) -> None:
        if self.gallery.columns.keys() != self.queries.columns.keys():
            kinds = sorted(self.gallery.columns.keys() ^ self.queries.columns.keys())
            raise TrainingError(f"gallery and queries have different labels: {', '.join(kinds)} in one part alone")
        for kind in self.numeric:
            if kind not in self.gallery.columns:
                known = ", ".join(self.gallery.columns)
                text = f"there is no such label as {kind}, which should be a number, only {known}"
                raise TrainingError(text, "no_such_label", label=kind)
            as_numbers(kind, self.gallery.columns[kind]), as_numbers(kind, self.queries.columns[kind])
        for kind in self.classes:
            values = set(self.gallery.columns[kind])
            if len(values) < 2:
                only = values.pop()
                raise TrainingError(f"label {kind} has a single value, {only!r}: there is nothing to tell apart")

    @property
    def classes(self) -> list[str]:
        return [kind for kind in self.gallery.columns if kind not in self.numeric]

    def sit(self, describe: Describe, with_labels: bool = True) -> dict[str, Interval]:
        """The marks of one descriptor."""
        xb = describe(self.gallery.pixels)
        outcomes = self._of_labels(xb, describe(self.queries.pixels)) if with_labels else {}
        outcomes |= self._of_copies(xb, describe)
        return {measure: interval(values) for measure, values in outcomes.items()}

    def _of_labels(self, xb: Array, xq: Array) -> dict[str, Outcomes]:
        parts: dict[str, list[Outcomes]] = {}
        depth = max(20, *(largest_class(self.gallery.columns[kind]) for kind in self.classes), 0)
        for part, similarities, order in rankings(xb, xq, depth):
            for kind, yb in self.gallery.columns.items():
                yq = self.queries.columns[kind][part]
                if kind in self.numeric:
                    errors = regression_outcomes(order, as_numbers(kind, yb), as_numbers(kind, yq))
                    parts.setdefault(f"{kind} error, 10 nearest", []).append(errors)
                else:
                    for measure, outcome in class_outcomes(similarities, order, yb, yq).items():
                        parts.setdefault(f"{kind} {measure}", []).append(outcome)
        outcomes = {measure: np.concatenate(values) for measure, values in parts.items()}
        for kind in self.classes if xb.shape[1] <= PROBE_DIM else ():
            probed = probe_outcomes(xb, self.gallery.columns[kind], xq, self.queries.columns[kind])
            outcomes[f"{kind} linear probe"] = probed
        return outcomes

    @cached_property
    def _copied(self) -> tuple[np.ndarray, dict[str, Pixels]]:
        """Rows of the gallery, and their pictures altered in each way."""
        rows = np.random.default_rng(0).permutation(len(self.gallery))[: self.copies]
        side = self.gallery.pixels.shape[1]
        sources = [self.gallery.sources[row] for row in rows]
        copies = [altered(original(source), side, source.frame) for source in sources]
        return rows, {name: np.stack([its[name] for its in copies]) for name in ALTERATIONS} if copies else {}

    def _of_copies(self, xb: Array, describe: Describe) -> dict[str, Outcomes]:
        rows, copies = self._copied
        outcomes: dict[str, Outcomes] = {}
        for name, pictures in copies.items():
            distances = 1 - unit(describe(pictures)) @ unit(xb).T
            for k in (1, 10):
                outcomes[f"copy, {name}, recall@{k}"] = copy_outcomes(distances.round(6), rows, k)
        for k in (1, 10) if copies else ():
            every = [values for measure, values in outcomes.items() if measure.endswith(f"recall@{k}")]
            outcomes[f"copy, mean of all, recall@{k}"] = np.mean(every, axis=0)
        return outcomes


def evaluate(model: Model, exam: Exam) -> Report:
    """Measure ``model`` and its controls; for a model without an encoder, only its samples."""
    report = Report(model.name, len(exam.gallery), len(exam.queries))
    if model.has_encoder:
        report.table[CODE] = exam.sit(lambda pictures: model.encode_squares(pictures).codes)
        trained = None if "encoder" in model.facts else model.facts.get("recipe")  # a given one has no shape of ours
        report.table |= marks_of_controls(exam, model.latent_dim, trained)
    if model.has_generator:
        report.generation = generation(model, exam.gallery.pixels, exam.queries.pixels)
    return report


def marks_of_controls(exam: Exam, latent_dim: int, recipe: dict[str, Any] | None) -> dict[str, dict[str, Interval]]:
    """The marks of the controls of such a model; a hash is not measured by labels."""
    describers = controls(exam.gallery.pixels, latent_dim, recipe)
    return {name: exam.sit(describe, with_labels=name != HASH) for name, describe in describers.items()}


def samples_of(model: Model) -> int:
    """How many samples of a model are compared."""
    return SLOWLY if model.facts.get("paints_slowly") else GENERATED


def generation(model: Model, gallery: Pixels, queries: Pixels) -> dict[str, float]:
    """Compare samples with held-out pictures, reconstructions of these with them, and their codes with the prior."""
    count = min(samples_of(model), len(queries), len(gallery))
    z = model.draw_codes(count, seed=12345)
    samples = model.paint(z)
    encoded = at_random(queries, count)
    shown = model.as_painted(encoded)
    figures = {f"sliced Wasserstein x 1000, {px} px": d for px, d in sliced_wasserstein(samples, shown).items()}
    for px, distance in sliced_wasserstein(model.as_painted(at_random(gallery, count)), shown).items():
        figures[f"the same of training pictures, {px} px"] = distance
    if not model.has_encoder:
        return figures
    real, fake = model.encode_squares(encoded).codes, model.encode_painted(samples).codes
    figures["density"], figures["coverage"] = density_and_coverage(real, fake)
    figures["cycle correlation rho(z, E(G(z)))"] = mean_correlation(z, fake)
    figures |= _fidelity("reconstruction", shown, real, model, model.decode(real, model.decode_scale))
    if model.standardized:
        figures |= _fidelity("corrected reconstruction", shown, real, model, model.decode(real))
    values = np.linalg.eigvalsh(np.cov(real.T))
    figures["real codes: root mean square of their mean"] = float(np.sqrt((real.mean(0) ** 2).mean()))
    figures["real codes: largest eigenvalue of covariance"] = float(values[-1])
    figures["real codes: effective dimension"] = float(values.sum() ** 2 / (values**2).sum())
    return figures


def at_random(pictures: Pixels, count: int) -> Pixels:
    """``count`` random pictures, always the same ones: archives are often sorted by label."""
    return np.asarray(pictures[np.random.default_rng(1).permutation(len(pictures))[:count]])


def _fidelity(what: str, originals: Pixels, codes: Array, model: Model, painted: Pixels) -> dict[str, float]:
    """How close decoded pictures (n, s, s, 3) are to their originals, in pixels, and to their codes when encoded."""
    errors = (painted.astype(np.float32) - originals) / 255
    return {
        f"{what}: mean squared error, of 1": float(np.square(errors).mean()),
        f"{what}: correlation of its code": mean_correlation(codes, model.encode_painted(painted).codes),
    }


def mean_correlation(a: Array, b: Array) -> float:
    """Mean rho of corresponding rows, (n, d) twice."""
    return float((standardize(a) * standardize(b)).mean())
