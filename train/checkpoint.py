"""What a run must keep to go on to the same bits: written beside and moved over, so it is never half there."""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from retrieval.errors import TrainingError
from train.method import Method
from train.methods import new_method
from train.recipe import Recipe

CHECKPOINT = "checkpoint.pt"


@dataclass
class State:
    """A training in progress. ``average`` is the model that will be exported."""

    recipe: Recipe
    model: Method
    average: AveragedModel
    optimizer: Optimizer
    precision: str
    step: int = 0
    elapsed_s: float = 0.0

    @property
    def averaged(self) -> Method:
        """The average as a model."""
        return cast(Method, self.average.module)


def ema_rule(decay: float) -> Any:
    """Exponential moving average of weights and BatchNorm buffers, debiased by a warm-up of its decay.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so the random start is forgotten at once.
    """

    @torch.no_grad()
    def update(averages: list[Tensor], currents: list[Tensor], updates: Tensor | int) -> None:
        n = int(updates)
        weight = 1 - min(decay, (1 + n) / (10 + n))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, currents, weight)
        else:  # BatchNorm's counters
            torch._foreach_copy_(averages, currents)

    return update


def new_state(recipe: Recipe, device: torch.device, precision: str) -> State:
    torch.manual_seed(recipe.seed)
    model = new_method(recipe).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(model, multi_avg_fn=ema_rule(recipe.ema_decay), use_buffers=True)
    return State(recipe, model, average, model.optimizer(), precision)


def save(state: State, run: Path) -> None:
    """Write the checkpoint, unless a weight is no longer finite: then the last good one stays."""
    if not all(math.isfinite(float(p.sum())) for p in state.model.state_dict().values()):
        return
    content = {
        "recipe": dataclasses.asdict(state.recipe),
        "precision": state.precision,
        "step": state.step,
        "elapsed_s": state.elapsed_s,
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }
    part = run / (CHECKPOINT + ".part")
    with open(part, "wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, run / CHECKPOINT)


def load(run: Path, device: torch.device) -> State:
    """The state of the last checkpoint.

    Raises:
        TrainingError: there is none, or it cannot be read.
    """
    path = run / CHECKPOINT
    if not path.exists():
        raise TrainingError(f"{path} does not exist: nothing to resume (leave --resume away to start)")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        state = new_state(Recipe(**content["recipe"]), device, content["precision"])
        state.model.load_state_dict(content["model"])
        state.average.load_state_dict(content["average"])
        state.optimizer.load_state_dict(content["optimizer"])
    except TrainingError:
        raise
    except Exception as error:  # a damaged file surfaces as anything, from zip errors to KeyError
        raise TrainingError(f"{path} cannot be read ({error}); start again with another -o, or restore it") from error
    state.step, state.elapsed_s = content["step"], content["elapsed_s"]
    return state
