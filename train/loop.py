"""The training loop: set up, print the plan, run. It reads from top to bottom."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from retrieval.errors import Diverged, TrainingError
from train import checkpoint
from train.checkpoint import State
from train.data import Pictures, latents, mirrored, shuffled, to_signed
from train.grid import save_grids
from train.methods.ogan import EncodeBoth, accumulate_gradients
from train.networks import count_parameters
from train.recipe import Recipe

LOOK_EVERY = 20  # steps between two looks at the figures: each look waits for the device
STATS_EVERY = 100  # steps between two lines of stats.jsonl; a multiple of LOOK_EVERY


@dataclass(frozen=True)
class Budget:
    """When to stop: after ``steps``, or after ``minutes`` of training, over all sessions of the run."""

    steps: int | None = None
    minutes: float | None = None

    def share_done(self, step: int, elapsed_s: float) -> float:
        if self.steps is not None:
            return min(1.0, step / self.steps)
        assert self.minutes is not None
        return min(1.0, elapsed_s / (60 * self.minutes))


@dataclass(frozen=True)
class Progress:
    """What the loop tells its caller after each look at the figures."""

    step: int
    share_done: float
    seconds_left: float
    pictures_per_s: float
    figures: dict[str, float]


@dataclass(frozen=True)
class Hooks:
    """The caller's ears and hands."""

    report: Callable[[Progress], None] = lambda progress: None
    should_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Pace:
    """How often the run leaves something behind, in seconds."""

    checkpoint_every_s: float = 120.0
    grid_every_s: float = 180.0


@dataclass(frozen=True)
class Processes:
    """This process' place among those that ``torchrun`` started; alone by default."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        return self.rank == 0


def join_processes(device_name: str) -> Processes:
    """Meet the other processes that ``torchrun`` started, if it did."""
    if "RANK" not in os.environ:
        return Processes()
    dist.init_process_group("nccl" if device_name == "cuda" else "gloo")
    return Processes(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """``auto`` takes a GPU where there is one.

    Raises:
        TrainingError: a GPU was asked for, and torch sees none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: torch sees no GPU here; use --device cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def pick_precision(name: str, device: torch.device) -> str:
    """``auto`` takes bfloat16 where the hardware multiplies in it."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"


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
    """Train until the budget is spent or the caller wants to stop; True where the budget was spent.

    ``run`` receives ``stats.jsonl``, ``grids/*.png`` and ``checkpoint.pt``.

    Raises:
        Diverged: a loss is NaN or infinite; the last good checkpoint stays.
        TrainingError: the pictures cannot be read.
    """
    processes, hooks, pace = processes or Processes(), hooks or Hooks(), pace or Pace()
    recipe, first_step, first_elapsed_s = state.recipe, state.step, state.elapsed_s
    if recipe.batch_size % processes.world:
        raise TrainingError(f"a batch of {recipe.batch_size} cannot be shared by {processes.world} processes")
    if processes.is_first:
        _prepare_run(run, recipe, first_step)

    # What stays the same from step to step.
    trainer = Trainer(state, device, processes)
    order = shuffled(len(pictures), recipe, first_step, processes.rank, processes.world)
    batches = pictures.batches(order)
    fixed_pictures = _fixed_pictures(pictures, recipe) if processes.is_first else None
    started = last_saved = last_grid = time.monotonic()

    while True:
        # Is it time to go?
        share_done = budget.share_done(state.step, state.elapsed_s)
        if share_done >= 1 or _agree(hooks.should_stop(), processes, device):
            break

        # One step.
        figures = trainer.step(next(batches), learning_rate(recipe, state.step, share_done))
        state.elapsed_s = _agree_on_time(first_elapsed_s + time.monotonic() - started, budget, processes, device)
        if state.step % LOOK_EVERY:
            continue

        # Look at the figures, tell the caller, leave traces.
        values = {name: float(value) for name, value in figures.items()}
        _check_finite(values, state.step, run)
        if not processes.is_first:
            continue
        rate = (state.step - first_step) * recipe.batch_size / max(1e-9, state.elapsed_s - first_elapsed_s)
        share_done = budget.share_done(state.step, state.elapsed_s)
        hooks.report(Progress(state.step, share_done, _seconds_left(state, budget, rate), rate, values))
        if state.step % STATS_EVERY == 0:
            _append_stats(run, state, rate, values, learning_rate(recipe, state.step, share_done))
        if time.monotonic() - last_grid > pace.grid_every_s:
            save_grids(state, fixed_pictures, run, device)
            last_grid = time.monotonic()
        if time.monotonic() - last_saved > pace.checkpoint_every_s:
            checkpoint.save(state, run)
            last_saved = time.monotonic()

    if state.step > first_step:  # the last look may be many steps back
        _check_finite({name: float(value) for name, value in figures.items()}, state.step, run)
    if processes.is_first and (state.step > first_step or first_step == 0):
        checkpoint.save(state, run)
        save_grids(state, fixed_pictures, run, device)
    return budget.share_done(state.step, state.elapsed_s) >= 1


def plan(recipe: Recipe, pictures_found: int, device: torch.device, precision: str) -> dict[str, Any]:
    """What ``--dry-run`` prints: sizes in bytes, times in seconds, the rate measured on a few steps of noise."""
    seconds_per_step = time_step(recipe, device, precision)
    state = checkpoint.new_state(recipe, torch.device("cpu"), precision)
    encoder, generator = count_parameters(state.model.encoder), count_parameters(state.model.generator)
    activations = sum(_activation_bytes(recipe, precision))
    return {
        "pictures": pictures_found,
        "cache_bytes": pictures_found * recipe.image_size**2 * 3,
        "encoder_parameters": encoder,
        "generator_parameters": generator,
        # weights, gradients, RMSprop's squares and the average, in float32
        "memory_bytes": 4 * 4 * (encoder + generator) + activations,
        "device": str(device),
        "precision": precision,
        "seconds_per_step": seconds_per_step,
        "pictures_per_s": recipe.batch_size / seconds_per_step,
    }


def _activation_bytes(recipe: Recipe, precision: str) -> list[int]:
    """Feature maps that one step keeps for the backward pass: two passes of E, one of G, two maps a stage."""
    bytes_each = 2 if precision == "bfloat16" else 4
    side, channels, stages = recipe.image_size // 2, recipe.width, []
    while side >= 4:
        stages.append(3 * 2 * recipe.batch_size * min(channels, recipe.max_width) * side**2 * bytes_each)
        side, channels = side // 2, channels * 2
    return stages


def time_step(recipe: Recipe, device: torch.device, precision: str, steps: int = 5) -> float:
    """Median seconds of one step on noise."""
    trainer = Trainer(checkpoint.new_state(recipe, device, precision), device, Processes())
    noise = np.random.default_rng(0).integers(
        0, 256, (recipe.batch_size, recipe.image_size, recipe.image_size, 3), np.uint8
    )
    seconds = []
    for _ in range(steps + 2):
        start = time.perf_counter()
        float(trainer.step(noise, 1e-6)["loss_e"])
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[2:]))


def _prepare_run(run: Path, recipe: Recipe, first_step: int) -> None:
    """Make the folder; of an interrupted run, forget the figures of steps that will be taken again."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    stats = run / "stats.jsonl"
    lines = stats.read_text().splitlines() if stats.exists() else []
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= first_step]
    stats.write_text("".join(line + "\n" for line in kept))


def _append_stats(run: Path, state: State, rate: float, values: dict[str, float], rate_of_learning: float) -> None:
    line = {
        "step": state.step,
        "pictures": state.step * state.recipe.batch_size,
        "elapsed_s": round(state.elapsed_s, 1),
        "pictures_per_s": round(rate, 1),
        "learning_rate": rate_of_learning,
        **{name: round(value, 6) for name, value in values.items()},
    }
    with open(run / "stats.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")


def _fixed_pictures(pictures: Pictures, recipe: Recipe) -> np.ndarray:
    """Pictures for the grids of reconstructions, the same ones for the whole run."""
    chosen = np.random.default_rng(recipe.seed).permutation(len(pictures))[:32]
    return next(iter(pictures.batches(iter([chosen]))))


def _check_finite(values: dict[str, float], step: int, run: Path) -> None:
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        kept = run / checkpoint.CHECKPOINT
        advice = (
            f"The last good checkpoint is kept in {kept}; go on from it with --resume and a lower --learning-rate"
            if kept.exists()
            else "Nothing was saved yet; start again with a lower --learning-rate"
        )
        raise Diverged(f"step {step}: {', '.join(bad)} is no longer a finite number. {advice}")


def _seconds_left(state: State, budget: Budget, pictures_per_s: float) -> float:
    if budget.minutes is not None:
        return max(0.0, 60 * budget.minutes - state.elapsed_s)
    assert budget.steps is not None
    return (budget.steps - state.step) * state.recipe.batch_size / max(1e-9, pictures_per_s)


def _agree(wish: bool, processes: Processes, device: torch.device) -> bool:
    """All processes stop at the same step, as soon as one of them wants to."""
    if processes.world == 1:
        return wish
    wishes = torch.tensor([float(wish)], device=device)
    dist.all_reduce(wishes, op=dist.ReduceOp.MAX)
    return bool(wishes.item())


def _agree_on_time(elapsed_s: float, budget: Budget, processes: Processes, device: torch.device) -> float:
    """Clocks differ; where the time decides, the first process' clock counts."""
    if processes.world == 1 or budget.minutes is None:
        return elapsed_s
    clock = torch.tensor([elapsed_s], device=device, dtype=torch.float64)
    dist.broadcast(clock, src=0)
    return float(clock.item())
