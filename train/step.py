"""One step of a training: gradients, both updates, the average."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from train.checkpoint import State
from train.data import latents, mirrored, to_signed
from train.devices import Processes
from train.methods.ogan import EncodeBoth, accumulate_gradients


@dataclass
class Trainer:
    """The networks as one step needs them: wrapped for several processes, compiled on a GPU."""

    state: State
    device: torch.device
    processes: Processes
    encode_both: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = field(init=False)
    generate: Callable[[Tensor], Tensor] = field(init=False)

    def __post_init__(self) -> None:
        critic: nn.Module = EncodeBoth(self.state.model.encoder)
        painter: nn.Module = self.state.model.generator
        if self.device.type == "cuda":
            import torch._functorch.config

            torch._functorch.config.donated_buffer = False  # E's graph is walked twice
            critic, painter = torch.compile(critic), torch.compile(painter)  # type: ignore[assignment]
        if self.processes.world > 1:
            # BatchNorm keeps the statistics of its own process; those of the first are saved.
            critic = DistributedDataParallel(critic, broadcast_buffers=False)
            painter = DistributedDataParallel(painter, broadcast_buffers=False)
        self.encode_both, self.generate = critic, painter

    def step(self, pixels: np.ndarray, learning_rate: float) -> dict[str, Tensor]:
        """One update of both networks on uint8 (b, s, s, 3)."""
        state, place = self.state, (self.processes.rank, self.processes.world)
        x = to_signed(pixels, self.device)
        if state.recipe.mirror:
            x = mirrored(x, state.recipe, state.step, *place)
        z = latents(state.recipe, state.step, self.device, *place)
        for optimizer in state.optimizers:
            optimizer.zero_grad(set_to_none=True)
            optimizer.param_groups[0]["lr"] = learning_rate
        half = state.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext():
            figures = accumulate_gradients(self.encode_both, self.generate, x, z, state.recipe.correlation_weight)
        for optimizer in state.optimizers:
            optimizer.step()
        state.average.update_parameters(state.model)
        state.step += 1
        return figures
