"""Where a training runs: its processes, device and precision."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

from retrieval.errors import TrainingError

PATIENCE = timedelta(hours=12)  # the others wait while the first process decodes the pictures


@dataclass(frozen=True)
class Processes:
    """This process' rank among those that ``torchrun`` started; alone by default."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        return self.rank == 0


def join_processes(device_name: str) -> Processes:
    """Join the process group of ``torchrun``, if it started this process."""
    if "RANK" not in os.environ:
        return Processes()
    on_gpus = device_name != "cpu" and torch.cuda.is_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo", timeout=PATIENCE)
    return Processes(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))


def leave_processes(processes: Processes) -> None:
    """Leave the process group: a process that exits with open connections may be aborted."""
    if processes.world > 1:
        dist.destroy_process_group()


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """The device called ``name``; ``auto`` takes a GPU if there is one.

    Raises:
        TrainingError: a GPU was requested, but torch finds none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("torch sees no GPU here", "no_cuda")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def is_for_absent_gpu(cuda: str | None, has_gpu: bool) -> bool:
    """Whether torch was built for GPUs (of the version ``cuda``) and there is none: gigabytes for nothing."""
    return cuda is not None and not has_gpu


def pick_precision(name: str, device: torch.device) -> str:
    """The precision called ``name``; ``auto`` takes bfloat16 if the hardware multiplies in it."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"


def agree(wish: bool, processes: Processes, device: torch.device) -> bool:
    """Whether any process has this wish, so that all of them stop at the same step."""
    if processes.world == 1:
        return wish
    wishes = torch.tensor([float(wish)], device=device)
    dist.all_reduce(wishes, op=dist.ReduceOp.MAX)
    return bool(wishes.item())


def share_gradients(module: nn.Module, processes: Processes) -> None:
    """Replace each process' gradients with the mean over all processes, in one message."""
    if processes.world == 1:
        return
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    message = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(message)
    message /= processes.world
    for gradient, mean in zip(gradients, torch.split(message, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def agree_on_time(elapsed_s: float, processes: Processes, device: torch.device) -> float:
    """The first process' elapsed time, for all processes, since clocks differ."""
    if processes.world == 1:
        return elapsed_s
    clock = torch.tensor([elapsed_s], device=device, dtype=torch.float64)
    dist.broadcast(clock, src=0)
    return float(clock.item())
