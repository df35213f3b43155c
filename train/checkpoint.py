"""Checkpoints: all that a run needs to resume bit for bit."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Optimizer

from retrieval.atomic import replacing
from retrieval.errors import TrainingError
from train.method import Method
from train.methods import new_method
from train.recipe import Budget, Recipe, read_recipe

CHECKPOINT = "checkpoint.pt"


@dataclass
class State:
    """A training in progress. ``average`` is the model that will be exported."""

    recipe: Recipe
    model: Method
    average: Method
    optimizer: Optimizer
    precision: str
    step: int = 0
    elapsed_s: float = 0.0
    budget: Budget | None = None  # of the last session

    def follow(self) -> None:
        """Update the average of weights and of BatchNorm's statistics; a warm-up of the decay removes the bias.

        After n updates the decay is min(decay, (1 + n) / (10 + n)), so the average forgets the random start at once.
        torch's AveragedModel counts its updates on the device, which forces a wait; this counts steps.
        """
        n, decay = self.step, self.recipe.ema_decay
        weight = 1 - min(decay, (1 + n) / (10 + n)) if n else 1.0
        pairs = list(zip(_tensors(self.average), _tensors(self.model), strict=True))
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        counters = [pair for pair in pairs if not pair[0].is_floating_point()]
        with torch.no_grad():
            torch._foreach_lerp_([mean for mean, _ in floating], [now for _, now in floating], weight)
            for mean, now in counters:
                mean.copy_(now)


def _tensors(model: Method) -> list[Tensor]:
    return [tensor.detach() for tensor in (*model.parameters(), *model.buffers())]


def new_state(recipe: Recipe, device: torch.device, precision: str) -> State:
    torch.manual_seed(recipe.seed)
    model = new_method(recipe).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(model).requires_grad_(False)
    return State(recipe, model, average, model.optimizer(), precision)


def save(state: State, run: Path) -> None:
    """Write the checkpoint; if a weight is not finite, keep the last good one instead."""
    if not all(math.isfinite(float(p.sum())) for p in state.model.state_dict().values()):
        return
    content = {
        "recipe": dataclasses.asdict(state.recipe),
        "precision": state.precision,
        "step": state.step,
        "elapsed_s": state.elapsed_s,
        "budget": dataclasses.asdict(state.budget) if state.budget else None,
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }
    with replacing(run / CHECKPOINT) as part, open(part, "wb") as file:  # torch would store the random name of a path
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch's own, after the system refused to write
            if isinstance(refused := error.__context__, OSError):
                raise OSError(refused.errno, refused.strerror, str(run / CHECKPOINT)) from error
            raise


def load(run: Path, device: torch.device) -> State:
    """The state of the last checkpoint.

    Raises:
        TrainingError: there is no checkpoint, or it cannot be read.
    """
    path = run / CHECKPOINT
    if not path.exists():
        raise TrainingError(f"{path} does not exist: nothing to resume", "nothing_to_resume", run=run)
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        state = new_state(read_recipe(content["recipe"]), device, content["precision"])
        state.model.load_state_dict(content["model"])
        state.average.load_state_dict(content["average"])
        state.optimizer.load_state_dict(content["optimizer"])
    except TrainingError:
        raise
    except Exception as error:  # a damaged file can raise anything, from zip errors to KeyError
        said = str(error).split("\n")[0].split(". ")[0]  # torch goes on with advice for programmers
        raise TrainingError(f"{path} cannot be read ({said})", "checkpoint_damaged", run=run) from error
    state.step, state.elapsed_s = content["step"], content["elapsed_s"]
    state.budget = Budget(**content["budget"]) if content.get("budget") else None  # older checkpoints have none
    return state
