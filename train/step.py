"""One step of a training: gradients, update, average."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from train.checkpoint import State
from train.data import METHOD_STREAM, Draws, Examples, latents, mirrored, to_signed
from train.devices import Processes, share_gradients
from train.method import Batch


@dataclass
class Trainer:
    """A state, its device, and the processes that share the work."""

    state: State
    device: torch.device
    processes: Processes

    def __post_init__(self) -> None:
        if self.device.type == "cuda" and self.state.model.compiles:
            import torch._functorch.config

            torch._functorch.config.donated_buffer = False  # a critic's graph is traversed twice
            for network in self.state.model.children():
                network.compile()

    def step(self, examples: Examples, learning_rate: float, share_done: float = 1.0) -> dict[str, Tensor]:
        """One update on this process' share of the batch, after ``share_done`` of the run."""
        state = self.state
        state.optimizer.zero_grad(set_to_none=True)
        state.optimizer.param_groups[0]["lr"] = learning_rate
        half = state.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext():
            figures = state.model.accumulate_gradients(self._batch(examples, share_done))
        # Each process has its own BatchNorm statistics; those of the first are saved.
        share_gradients(state.model, self.processes)
        state.optimizer.step()
        state.follow()
        state.step += 1
        return figures

    def _batch(self, examples: Examples, share_done: float) -> Batch:
        recipe, step, place = self.state.recipe, self.state.step, (self.processes.rank, self.processes.world)
        x = to_signed(examples.pixels, self.device)
        if recipe.mirror:
            x = mirrored(x, recipe, step, *place)
        draws = Draws(recipe, METHOD_STREAM, step, self.device, *place)
        y = torch.from_numpy(examples.labels).to(self.device)
        return Batch(x, y, latents(recipe, step, self.device, *place), draws, step, share_done)
