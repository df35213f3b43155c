"""One session of a training run, from the pictures to the bundle: set up, train, export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from retrieval.errors import TrainingError
from retrieval.models.model import Model
from retrieval.progress import OnProgress
from train import checkpoint
from train.checkpoint import CHECKPOINT, State
from train.data import Pictures, open_pictures
from train.devices import Processes
from train.export import export
from train.loop import RECIPE, Hooks, train
from train.methods import method_class
from train.recipe import Budget, Recipe, changed, chosen_by
from train.sources import ClassOf

BUNDLE = "bundle"


@dataclass(frozen=True)
class Setting:
    """Where and how a session runs. Only ``precision`` affects the model; a resumed run keeps its own."""

    run: Path
    device: torch.device
    precision: str
    processes: Processes
    cache_dir: Path
    cache_budget_bytes: int
    workers: int | None = None


def new_run(recipe: Recipe, setting: Setting) -> State:
    """The initial state of a new run.

    Raises:
        TrainingError: the run's folder already has a training, or something else.
    """
    if (setting.run / CHECKPOINT).exists():
        raise TrainingError(f"{setting.run} holds a training already", "run_exists", run=setting.run)
    if (
        setting.run.is_dir()
        and not (setting.run / RECIPE).exists()
        and {one.name for one in setting.run.iterdir()} - {"cache"}
    ):
        raise TrainingError(f"{setting.run} holds something else than a training", "run_is_no_run", run=setting.run)
    return checkpoint.new_state(recipe, setting.device, setting.precision)


def resumed_run(changes: dict[str, Any], setting: Setting, preset_name: str | None = None) -> State:
    """The state of the last checkpoint. Of its settings only the learning rate may be changed.

    Args:
        changes: requested settings, common ones and the method's own side by side; None for those not requested.
        preset_name: a preset that was also requested; its learning rate is ignored.

    Raises:
        TrainingError: there is no checkpoint, or its settings differ from the requested ones.
    """
    state = checkpoint.load(setting.run, setting.device)
    said = chosen_by(preset_name, state.recipe.method) if preset_name else {}
    said.pop("learning_rate", None)
    said |= {name: value for name, value in changes.items() if value is not None}
    begun_with = state.recipe.flat()
    for name, value in said.items():
        if name != "learning_rate" and value != begun_with.get(name, value):
            text = f"{setting.run} was begun with {name} {begun_with[name]}, not {value}"
            raise TrainingError(text, "run_differs", run=setting.run, setting=name)
    state.recipe = changed(state.recipe, **said)
    return state


def open_together(
    photos: Sequence[str | Path],
    recipe: Recipe,
    setting: Setting,
    on_progress: OnProgress | None = None,
    label_of: ClassOf | None = None,
) -> Pictures:
    """Open the training pictures; with several processes, the first decodes them and the others wait.

    Raises:
        TrainingError: no pictures to train on, or the recipe needs labels and ``label_of`` is missing.
    """
    if recipe.classes and label_of is None:
        raise TrainingError(f"{setting.run} learns from labels, and none are given", "labels_again", run=setting.run)
    if not setting.processes.is_first:
        dist.barrier()
    size_px, frame = method_class(recipe.method).looks_at(recipe)
    pictures = open_pictures(
        photos,
        size_px,
        setting.cache_dir,
        setting.cache_budget_bytes,
        setting.workers,
        on_progress,
        left_out=setting.run,
        label_of=label_of,
        only_labelled=method_class(recipe.method).needs_labels,
        frame=frame,
    )
    if setting.processes.is_first and setting.processes.world > 1:
        dist.barrier()
    return pictures


def run_session(
    state: State, pictures: Pictures, budget: Budget, setting: Setting, hooks: Hooks, facts: dict[str, Any]
) -> Model | None:
    """Train and, once the budget is spent, export to ``RUN/bundle``; None if the caller stopped the run before.

    Raises:
        Diverged, TrainingError: see ``train.loop.train`` and ``train.export.export``.
    """
    state.model.prepare(pictures, is_new=state.step == 0)
    finished = train(state, pictures, budget, setting.run, setting.device, setting.processes, hooks)
    if not finished or not setting.processes.is_first:
        return None
    return export(state, pictures, setting.run / BUNDLE, {"name": setting.run.absolute().name, **facts}, setting.device)
