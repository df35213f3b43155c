"""Comparison of several methods on the same pictures, with the same budget, shapes and dimensions, in one table."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.arrays import Pixels
from retrieval.atomic import write
from retrieval.defaults import DEFAULT_MODEL
from retrieval.errors import TrainingError
from retrieval.models.model import Model, load_model
from retrieval.pages.sheet import Cell, SheetRow, sheet_png
from train.checkpoint import CHECKPOINT
from train.data import CachedPictures
from train.evaluate import Exam, Interval, at_random, generation, marks_of_controls, samples_of
from train.labelled import Labelled
from train.loop import Hooks
from train.measures import density_and_coverage
from train.methods import method_class, method_names, methods_with
from train.networks import count_parameters
from train.recipe import Budget, Recipe, changed, defaults_of, read_recipe
from train.session import BUNDLE, Setting, new_run, resumed_run, run_session
from train.settings import parse

GIVEN = ("method", "classes", "image_size", "seed")  # set by the comparison, not by an entry
RESULT = "result.json"
HELD_OUT_SHARE, HELD_OUT_MOST = 0.1, 3000
SHOWN = 10  # pictures of each method on a sheet

Marks = dict[str, float]


@dataclass(frozen=True)
class Entry:
    """A line of the table: a recipe, named by the words that requested it."""

    name: str
    recipe: Recipe


def compared_by_default() -> list[str]:
    """The methods that encode, train without labels, and do not need hours to generate their pictures."""
    classes = {name: method_class(name) for name in method_names()}
    return [
        name
        for name, one in classes.items()
        if one.has_encoder and not (one.needs_labels or one.needs_encoder or one.paints_slowly)
    ]


def entry(words: str, base: Recipe, classes: Sequence[str] = ()) -> Entry:
    """Parse ``METHOD`` or ``METHOD:setting=value,...`` into a recipe that otherwise equals ``base``.

    Raises:
        TrainingError: no such method or setting, or an invalid value.
    """
    method, _, rest = words.partition(":")
    changes: dict[str, Any] = {"method": method}
    settings = {name: default for name, default in defaults_of(method).items() if name not in GIVEN}
    for pair in filter(None, rest.split(",")):
        name, _, value = pair.partition("=")
        if name in changes and name != "method":
            raise TrainingError(f"{words}: {name} is named twice")
        if name not in settings and (name in GIVEN or not methods_with(name)):
            raise TrainingError(f"{words}: there is no setting {name!r}; there are {', '.join(sorted(settings))}")
        changes[name] = parse(name, value, settings[name]) if name in settings else value
    if method_class(method).needs_labels:
        changes["classes"] = tuple(classes)
    return Entry(words, changed(base, **changes))


def split(pictures: Labelled, seed: int = 0) -> tuple[Labelled, Labelled]:
    """A gallery to train on, and held-out queries: a tenth of the pictures, 3,000 at most."""
    order = np.random.default_rng(seed).permutation(len(pictures))
    held_out = min(HELD_OUT_MOST, int(HELD_OUT_SHARE * len(pictures)))
    return pictures.rows(np.sort(order[held_out:])), pictures.rows(np.sort(order[:held_out]))


@dataclass
class Comparison:
    """Runs entries one after another into ``folder``; finished runs are read from there."""

    exam: Exam
    folder: Path
    setting: Setting
    budget: Budget  # of each run
    say: Callable[[str], None] = lambda text: None

    def run(self, entries: Sequence[Entry], seeds: Sequence[int], hooks: Hooks) -> dict[str, list[Marks]]:
        """The marks of each entry, one for each seed, controls first.

        Raises:
            TrainingError: the folder has a run with other settings, or a training failed.
        """
        self._check_it_is_the_same(entries[0].recipe)
        table = {name: [marks] for name, marks in self._of_controls(entries[0].recipe).items()}
        for seed in seeds:
            for one in entries:
                table.setdefault(one.name, []).append(self._marks(one, seed, hooks))
        return table

    def _check_it_is_the_same(self, recipe: Recipe) -> None:
        """Check that the folder's earlier results use the same measures, pictures and budget."""
        exam, digest = self.exam, hashlib.sha256()
        for part in (exam.gallery, exam.queries):
            digest.update(repr(sorted((task.path, task.offset) for task in part.sources)).encode(errors="replace"))
        about = {
            "pictures": digest.hexdigest(),
            "labels": sorted(exam.gallery.columns),
            "copies": exam.copies,
            "size and dimension": [recipe.image_size, recipe.latent_dim],
            "budget": str(self.budget),
        }
        path = self.folder / "exam.json"
        if path.exists() and json.loads(path.read_text()) != about:
            text = f"{self.folder} compares other pictures, sizes or budgets"
            raise TrainingError(text, "comparison_differs", run=self.folder)
        _write_json(path, about)

    def _marks(self, one: Entry, seed: int, hooks: Hooks) -> Marks:
        run = self.folder / run_name(one.name, seed)
        recipe = dataclasses.replace(one.recipe, seed=seed)
        if (run / RESULT).exists():
            model, result = load_model(run / BUNDLE, "cpu"), json.loads((run / RESULT).read_text())
            steps = model.facts["steps"]
            if read_recipe(model.facts["recipe"]) != recipe or self.budget.steps not in (None, steps):
                text = f"{run} was made with other settings"
                raise TrainingError(text, "comparison_differs", run=run)
            return dict(result)
        self.say(f"{one.name}, seed {seed}")
        model, elapsed_s, parameters = self._trained(recipe, run, hooks)
        marks = self._judged(model)
        marks["training, s a thousand pictures"] = 1000 * elapsed_s / (model.facts["steps"] * recipe.batch_size)
        marks["parameters, millions"] = parameters / 1e6
        _write_json(run / RESULT, marks)
        return marks

    def _trained(self, recipe: Recipe, run: Path, hooks: Hooks) -> tuple[Model, float, int]:
        setting = dataclasses.replace(self.setting, run=run)
        begun = (run / CHECKPOINT).exists()
        state = resumed_run(recipe.flat(), setting) if begun else new_run(recipe, setting)
        labels = None
        if recipe.classes:
            numbers = {name: number for number, name in enumerate(recipe.classes)}
            labels = np.array([numbers[label] for label in self.exam.gallery.columns[self.exam.classes[0]]], np.int64)
        pictures = CachedPictures(self.exam.gallery.pixels, labels)
        model = run_session(state, pictures, self.budget, setting, hooks, {})
        if model is None:
            raise KeyboardInterrupt
        return model, state.elapsed_s, count_parameters(state.model)

    def _judged(self, model: Model) -> Marks:
        marks: Marks = {}
        if model.has_encoder:
            marks = _means(self.exam.sit(lambda pictures: model.encode_squares(pictures).codes))
        marks |= generation(model, self.exam.gallery.pixels, self.exam.queries.pixels)
        return marks | seen_by_another(model, self.exam.queries.pixels)

    def _of_controls(self, recipe: Recipe) -> dict[str, Marks]:
        path = self.folder / "controls.json"
        if not path.exists():
            self.say("controls")
            shapes = ("image_size", "latent_dim", "width", "max_width", "kernel")
            plain = {name: getattr(recipe, name) for name in shapes}
            found = marks_of_controls(self.exam, recipe.latent_dim, plain)
            _write_json(path, {name: _means(cells) for name, cells in found.items()})
        return dict(json.loads(path.read_text()))

    def draw(self, entries: Sequence[Entry], seed: int) -> Iterator[Path]:
        """Draw sheets of each method's samples, and of held-out pictures above their reconstructions."""
        queries = self.exam.queries.pixels
        models = {one.name: load_model(self.folder / run_name(one.name, seed) / BUNDLE, "cpu") for one in entries}
        return draw_methods(models, queries[np.linspace(0, len(queries) - 1, SHOWN).astype(int)], self.folder)


def draw_methods(models: dict[str, Model], originals: Pixels, folder: Path) -> Iterator[Path]:
    """Write ``samples.png``, and ``reconstructions.png`` with ``originals`` above each model's reconstructions."""
    samples, repainted = [], []
    for name, model in models.items():
        caption = tuple(filter(None, name.split(":")))
        drawn = [Cell(pixels, (), caption if not n else ()) for n, pixels in enumerate(model.sample(len(originals)))]
        samples.append(SheetRow(drawn[0], drawn[1:]))
        if model.has_encoder:
            codes = model.encode_squares(originals).codes
            pairs = zip(originals, model.decode(codes, model.decode_scale), strict=True)  # as measured for the table
            cells = [Cell(real, [made], caption if not n else ()) for n, (real, made) in enumerate(pairs)]
            repainted.append(SheetRow(cells[0], cells[1:]))
    for name, rows in (("samples", samples), ("reconstructions", repainted)):
        write(folder / f"{name}.png", sheet_png(rows))
        yield folder / f"{name}.png"


def seen_by_another(model: Model, queries: Pixels) -> Marks:
    """Density and coverage of a model's samples in the codes of an independent model, the same for all methods."""
    judge, count = load_model(DEFAULT_MODEL, "cpu"), min(len(queries), samples_of(model))
    density, coverage = density_and_coverage(
        judge.encode(at_random(queries, count)), judge.encode(model.sample(count, seed=12345))
    )
    return {f"density, seen by {DEFAULT_MODEL}": density, f"coverage, seen by {DEFAULT_MODEL}": coverage}


def _means(cells: dict[str, Interval]) -> Marks:
    return {measure: mean for measure, (mean, _, _) in cells.items()}


def _write_json(path: Path, content: object) -> None:
    write(path, json.dumps(content, indent=2) + "\n")


def run_name(words: str, seed: int) -> str:
    """The folder of an entry's run."""
    return "".join(letter if letter.isalnum() or letter in "-_=" else "-" for letter in words) + f"-seed{seed}"


def mean_marks(table: dict[str, list[Marks]]) -> dict[str, Marks]:
    """Means over seeds."""
    return {
        name: {measure: float(np.mean([marks[measure] for marks in runs])) for measure in runs[0]}
        for name, runs in table.items()
    }


def as_markdown(table: dict[str, list[Marks]], columns: dict[str, str]) -> str:
    """One line per method, one column for each of ``columns``; with several seeds, the mean (lowest-highest)."""
    lines = ["| method | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, runs in table.items():
        cells = [_cell([marks[measure] for marks in runs if measure in marks]) for measure in columns.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    digits = 3 if abs(values[0]) <= 1 else 1
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def columns_of(exam: Exam) -> dict[str, str]:
    """Headings of the comparison's table, each with its measure."""
    side = exam.gallery.pixels.shape[1]
    columns = {}
    for kind in exam.classes:
        for measure in ("kNN-20", "P@10", "mAP@R", "linear probe"):
            columns[f"{kind} {measure}"] = f"{kind} {measure}"
    columns |= {f"{kind} error": f"{kind} error, 10 nearest" for kind in exam.numeric}
    return columns | {
        "copies, recall@1": "copy, mean of all, recall@1",
        "reconstruction MSE": "reconstruction: mean squared error, of 1",
        "sliced Wasserstein, 16 px": "sliced Wasserstein x 1000, 16 px",
        f"sliced Wasserstein, {side} px": f"sliced Wasserstein x 1000, {side} px",
        "coverage": f"coverage, seen by {DEFAULT_MODEL}",
        "cycle": "cycle correlation rho(z, E(G(z)))",
        "training, s a thousand pictures": "training, s a thousand pictures",
        "parameters, millions": "parameters, millions",
    }
