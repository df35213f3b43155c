"""The training loop, which reads from top to bottom."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from retrieval.atomic import append, write
from retrieval.errors import Diverged, TrainingError
from train import checkpoint
from train.checkpoint import State
from train.data import Pictures, brought_near, shuffled, taken
from train.devices import Processes, agree, agree_on_time
from train.grid import save_grids
from train.recipe import Budget, Recipe
from train.step import Trainer

LOOK_EVERY = 20  # steps between two reads of the figures: each read waits for the device
RECIPE = "recipe.json"
STATS_EVERY = 100  # steps between two lines of stats.jsonl; a multiple of LOOK_EVERY


@dataclass(frozen=True)
class TrainingProgress:
    """What the loop reports to its caller after each read of the figures."""

    step: int
    share_done: float
    seconds_left: float
    pictures_per_s: float
    figures: dict[str, float]


@dataclass(frozen=True)
class Hooks:
    """Callbacks of the caller: to receive progress, and to stop the run."""

    report: Callable[[TrainingProgress], None] = lambda progress: None
    should_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Pace:
    """Seconds between two checkpoints and between two grids."""

    checkpoint_every_s: float = 120.0
    grid_every_s: float = 180.0


def learning_rate(recipe: Recipe, step: int, share_done: float) -> float:
    """Linear warm-up, then constant, then linear to zero over the last ``decay_share`` of the run."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    left = (1 - share_done) / recipe.decay_share if recipe.decay_share else 1.0
    return recipe.learning_rate * warm * min(1.0, left)


def train(
    state: State,
    pictures: Pictures,
    budget: Budget,
    run: Path,
    device: torch.device,
    processes: Processes | None = None,
    hooks: Hooks | None = None,
    pace: Pace | None = None,
) -> bool:
    """Train until the budget is spent or the caller wants to stop; True if the budget was spent.

    ``run`` receives ``stats.jsonl``, ``grids/*.png`` and ``checkpoint.pt``.

    Raises:
        Diverged: a loss is NaN or infinite; the last good checkpoint stays.
        TrainingError: the pictures cannot be read.
    """
    processes, hooks, pace = processes or Processes(), hooks or Hooks(), pace or Pace()
    state.budget = budget
    recipe, first_step, first_elapsed_s = state.recipe, state.step, state.elapsed_s
    if recipe.batch_size % processes.world:
        raise TrainingError(f"a batch of {recipe.batch_size} cannot be shared by {processes.world} processes")
    if processes.is_first:
        _prepare_run(run, recipe, first_step)

    # Set up what stays the same for all steps.
    trainer = Trainer(state, device, processes)
    order = shuffled(len(pictures), recipe, first_step, processes.rank, processes.world)
    batches = brought_near(pictures, device).batches(order)
    fixed_pictures = _fixed_pictures(pictures, recipe) if processes.is_first else None
    started = last_saved = last_grid = time.monotonic()

    while True:
        # Stop when the budget is spent or the caller says so.
        share_done = budget.share_done(state.step, state.elapsed_s)
        if share_done >= 1 or agree(hooks.should_stop(), processes, device):
            break

        # Take one step.
        figures = trainer.step(next(batches), learning_rate(recipe, state.step, share_done), share_done)
        state.elapsed_s = _elapsed(first_elapsed_s + time.monotonic() - started, budget, processes, device)
        if state.step % LOOK_EVERY:
            continue

        # Read the figures, report to the caller, write statistics, grids and checkpoints.
        values = {name: float(value) for name, value in figures.items()}
        _check_finite(values, state.step, run)
        if not processes.is_first:
            continue
        rate = (state.step - first_step) * recipe.batch_size / max(1e-9, state.elapsed_s - first_elapsed_s)
        share_done = budget.share_done(state.step, state.elapsed_s)
        hooks.report(TrainingProgress(state.step, share_done, _seconds_left(state, budget, rate), rate, values))
        if state.step % STATS_EVERY == 0:
            _append_stats(run, state, rate, values, learning_rate(recipe, state.step, share_done))
        if time.monotonic() - last_grid > pace.grid_every_s:
            save_grids(state, fixed_pictures, run, device)
            last_grid = time.monotonic()
        if time.monotonic() - last_saved > pace.checkpoint_every_s:
            checkpoint.save(state, run)
            last_saved = time.monotonic()

    if state.step > first_step:  # the last read may be many steps back
        _check_finite({name: float(value) for name, value in figures.items()}, state.step, run)
    if processes.is_first and (state.step > first_step or first_step == 0):
        checkpoint.save(state, run)
        save_grids(state, fixed_pictures, run, device)
    return budget.share_done(state.step, state.elapsed_s) >= 1


def _prepare_run(run: Path, recipe: Recipe, first_step: int) -> None:
    """Make the folder; after an interruption, remove the figures of steps that will be repeated."""
    run.mkdir(parents=True, exist_ok=True)
    write(run / RECIPE, json.dumps(asdict(recipe), indent=2) + "\n")
    stats = run / "stats.jsonl"
    lines = stats.read_text().splitlines() if first_step and stats.exists() else []
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= first_step]
    write(stats, "".join(line + "\n" for line in kept))


def _append_stats(run: Path, state: State, rate: float, values: dict[str, float], rate_of_learning: float) -> None:
    line = {
        "step": state.step,
        "pictures": state.step * state.recipe.batch_size,
        "elapsed_s": round(state.elapsed_s, 1),
        "pictures_per_s": round(rate, 1),
        "learning_rate": rate_of_learning,
        **{name: round(value, 6) for name, value in values.items()},
    }
    append(run / "stats.jsonl", json.dumps(line) + "\n")


def _fixed_pictures(pictures: Pictures, recipe: Recipe) -> np.ndarray:
    """Pictures for the grids of reconstructions, the same for the whole run."""
    chosen = np.random.default_rng(recipe.seed).permutation(len(pictures))[:32]
    return taken(pictures, chosen)


def _check_finite(values: dict[str, float], step: int, run: Path) -> None:
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        kept = run / checkpoint.CHECKPOINT
        text = f"step {step}: {', '.join(bad)} is no longer a finite number."
        if kept.exists():
            text += f" The last good checkpoint is kept in {kept}; go on from it with a lower learning rate"
            raise Diverged(text, "diverged_resumable", step=step, run=run)
        raise Diverged(f"{text} Nothing was saved yet; start again with a lower learning rate", "diverged", step=step)


def _seconds_left(state: State, budget: Budget, pictures_per_s: float) -> float:
    if budget.minutes is not None:
        return max(0.0, 60 * budget.minutes - state.elapsed_s)
    assert budget.steps is not None
    return (budget.steps - state.step) * state.recipe.batch_size / max(1e-9, pictures_per_s)


def _elapsed(elapsed_s: float, budget: Budget, processes: Processes, device: torch.device) -> float:
    return elapsed_s if budget.minutes is None else agree_on_time(elapsed_s, processes, device)
