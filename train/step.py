"""One step of a training: gradients, update, the average."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from train.checkpoint import State
from train.data import METHOD_STREAM, Draws, latents, mirrored, to_signed
from train.devices import Processes, share_gradients
from train.method import Batch


@dataclass
class Trainer:
    """A state, where it is trained, and the processes that share the work."""

    state: State
    device: torch.device
    processes: Processes

    def __post_init__(self) -> None:
        if self.device.type == "cuda":
            import torch._functorch.config

            torch._functorch.config.donated_buffer = False  # O-GAN walks E's graph twice
            for network in self.state.model.children():
                network.compile()

    def step(self, pixels: np.ndarray, learning_rate: float) -> dict[str, Tensor]:
        """One update on uint8 (b, s, s, 3), this process' share of the batch."""
        state = self.state
        state.optimizer.zero_grad(set_to_none=True)
        state.optimizer.param_groups[0]["lr"] = learning_rate
        half = state.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext():
            figures = state.model.accumulate_gradients(self._batch(pixels))
        # BatchNorm keeps the statistics of its own process; those of the first are saved.
        share_gradients(state.model, self.processes)
        state.optimizer.step()
        state.average.update_parameters(state.model)
        state.step += 1
        return figures

    def _batch(self, pixels: np.ndarray) -> Batch:
        recipe, step, place = self.state.recipe, self.state.step, (self.processes.rank, self.processes.world)
        x = to_signed(pixels, self.device)
        if recipe.mirror:
            x = mirrored(x, recipe, step, *place)
        draws = Draws(recipe, METHOD_STREAM, step, self.device, *place)
        return Batch(x, latents(recipe, step, self.device, *place), draws)
