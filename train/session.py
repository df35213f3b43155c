"""One session of a training, from the pictures to the bundle: set up, train, export."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from retrieval.errors import TrainingError
from retrieval.models.model import Model
from train import checkpoint
from train.checkpoint import CHECKPOINT, State
from train.data import LabelOf, Pictures, open_pictures
from train.devices import Processes
from train.export import export
from train.loop import RECIPE, Hooks, train
from train.recipe import NEED_LABELS, Budget, Recipe
from train.sources import Report

BUNDLE = "bundle"


@dataclass(frozen=True)
class Setting:
    """Where and how a session runs; of it only ``precision`` has a part in what is learnt, and a run keeps its own."""

    run: Path
    device: torch.device
    precision: str
    processes: Processes
    cache_dir: Path
    cache_budget_bytes: int
    workers: int | None = None


def new_run(recipe: Recipe, setting: Setting) -> State:
    """A fresh start.

    Raises:
        TrainingError: the run's folder holds a training already, or something else.
    """
    if (setting.run / CHECKPOINT).exists():
        raise TrainingError(f"{setting.run} holds a training already: go on with --resume, or choose another -o")
    if (
        setting.run.is_dir()
        and not (setting.run / RECIPE).exists()
        and {one.name for one in setting.run.iterdir()} - {"cache"}
    ):
        raise TrainingError(f"{setting.run} holds something else than a training; choose another -o")
    return checkpoint.new_state(recipe, setting.device, setting.precision)


def resumed_run(changes: dict[str, Any], setting: Setting) -> State:
    """The state of the last checkpoint. Of its settings only the learning rate may be changed.

    Raises:
        TrainingError: there is no checkpoint, or ``changes`` has another setting than it.
    """
    state = checkpoint.load(setting.run, setting.device)
    for name, value in changes.items():
        if value is not None and value != getattr(state.recipe, name) and name != "learning_rate":
            raise TrainingError(
                f"{setting.run} was begun with {name} {getattr(state.recipe, name)}, not {value}; "
                "leave that option away to go on, or start another run with another -o"
            )
    rate = changes.get("learning_rate") or state.recipe.learning_rate
    state.recipe = dataclasses.replace(state.recipe, learning_rate=rate)
    return state


def open_together(
    photos: Sequence[str | Path],
    recipe: Recipe,
    setting: Setting,
    report: Report | None = None,
    label_of: LabelOf | None = None,
) -> Pictures:
    """The training pictures; of several processes the first decodes them, the others wait for it.

    Raises:
        TrainingError: nothing there to learn from, or labels are wanted and there is no ``label_of``.
    """
    if recipe.classes and label_of is None:
        raise TrainingError(f"{setting.run} learns from labels: name them again with --labels")
    if not setting.processes.is_first:
        dist.barrier()
    pictures = open_pictures(
        photos,
        recipe.image_size,
        setting.cache_dir,
        setting.cache_budget_bytes,
        setting.workers,
        report,
        left_out=setting.run,
        label_of=label_of,
        only_labelled=recipe.method in NEED_LABELS,
    )
    if setting.processes.is_first and setting.processes.world > 1:
        dist.barrier()
    return pictures


def run_session(
    state: State, pictures: Pictures, budget: Budget, setting: Setting, hooks: Hooks, facts: dict[str, Any]
) -> Model | None:
    """Train, and where the budget is spent, export to ``RUN/bundle``; None where the caller stopped it before.

    Raises:
        Diverged, TrainingError: see ``train.loop.train`` and ``train.export.export``.
    """
    finished = train(state, pictures, budget, setting.run, setting.device, setting.processes, hooks)
    if not finished or not setting.processes.is_first:
        return None
    return export(state, pictures, setting.run / BUNDLE, {"name": setting.run.absolute().name, **facts}, setting.device)
