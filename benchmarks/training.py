"""How fast a training step is, compared with the reference's in the same run.

* ours: two passes of E, in the device's native precision, compiled on a GPU;
* three passes: the reference's joint loss, E(x), E(G(z)) and E(sg G(z)), otherwise as ours but never compiled;
* reference: three passes, float32, eager: what a port of the reference does;
* loader: only batches of decoded pictures, ready for a step.

The first three include the optimizer and the average. The share of the peak is (FLOPs of a step) / time / (FLOP/s of a
large matrix product in the same precision, measured here). Times are medians of rounds in which the sides alternate.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from beside import Line, arguments_of, tell
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from train import checkpoint
from train.checkpoint import State
from train.data import CachedPictures, Examples, brought_near, latents, no_labels, shuffled, to_signed
from train.devices import Processes, pick_device, pick_precision
from train.losses import avg, correlation, critic_qp, squared_distance
from train.methods import new_method
from train.recipe import Recipe, preset
from train.step import Trainer


def three_pass_step(state: State, device: torch.device, pixels: np.ndarray) -> None:
    """One update with the reference's joint loss and one backward pass."""
    encoder, generator = state.model.encoder, state.model.generator
    x, z = to_signed(pixels, device), latents(state.recipe, state.step, device)
    state.optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device.type, torch.bfloat16, enabled=state.precision == "bfloat16"):
        fake = generator(z)
        real, moving, still = encoder(x), encoder(fake), encoder(fake.detach())
        adversary = critic_qp(avg(real), avg(still), squared_distance(x, fake.detach()))
        joint = adversary + avg(moving) - avg(still) - state.recipe.settings.correlation_weight * correlation(z, moving)
        joint.mean().backward()
    state.optimizer.step()
    state.follow()
    state.step += 1


def synchronised_s(device: torch.device, work: Callable[[], None]) -> float:
    """Seconds until the device has done ``work``."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_flops(device: torch.device, precision: str) -> float:
    """FLOP/s (multiplications and additions) of a large matrix product."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=getattr(torch, precision)) for _ in range(2))
    product: list[Tensor] = [a @ b]

    def multiply() -> None:
        product[0] = a @ b

    return 2 * side**3 / statistics.median(synchronised_s(device, multiply) for _ in range(7))


def step_flops(recipe: Recipe) -> float:
    """FLOPs (multiplications and additions) of one of our steps, from those of one forward pass.

    The backward pass costs one forward pass for the weights and one for the inputs. In forward passes, E costs 3 for
    real pictures and 4 for generated ones, since both losses need the gradients at their inputs; G costs 3.
    """
    model = new_method(recipe).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as of_encoder:
        model.encoder(torch.zeros(1, 3, recipe.image_size, recipe.image_size))
    with torch.no_grad(), FlopCounterMode(display=False) as of_generator:
        model.generator(torch.zeros(1, recipe.latent_dim))
    return recipe.batch_size * (7 * of_encoder.get_total_flops() + 3 * of_generator.get_total_flops())


def noise(recipe: Recipe) -> np.ndarray:
    shape = (recipe.batch_size, recipe.image_size, recipe.image_size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def measure(recipe: Recipe, device: torch.device, rounds: int, steps: int) -> list[Line]:
    precision, pixels = pick_precision("auto", device), noise(recipe)
    states = [checkpoint.new_state(recipe, device, kind) for kind in (precision, precision, "float32")]
    trainer = Trainer(states[0], device, Processes())  # only this one is compiled
    batches = brought_near(CachedPictures(np.repeat(pixels, 64, axis=0)), device).batches(
        shuffled(64 * len(pixels), recipe, 0)
    )
    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: trainer.step(Examples(pixels, no_labels(len(pixels))), 1e-6),
        "three": lambda: three_pass_step(states[1], device, pixels),
        "reference": lambda: three_pass_step(states[2], device, pixels),
        "loader": lambda: to_signed(next(batches).pixels, device),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for step in sides.values():
        step(), step()  # warm up, compile
    memory_gb = {name: _memory_gb(device, step) for name, step in sides.items()}
    for _ in range(rounds):
        for name, step in sides.items():
            seconds[name].append(synchronised_s(device, lambda step=step: [step() for _ in range(steps)]))
    rates = {name: steps * recipe.batch_size / statistics.median(values) for name, values in seconds.items()}
    ours, shape = rates["ours"], f"{recipe.image_size} px, batch {recipe.batch_size}, {precision}"
    peak = rates["ours"] / recipe.batch_size * step_flops(recipe) / peak_flops(device, precision)
    lines = [
        Line(f"step, {shape}", f"{ours:,.0f}/s", f"three passes {rates['three']:,.0f}/s", ours / rates["three"], 1.25),
        Line(
            "the same",
            f"{ours:,.0f}/s",
            f"reference {rates['reference']:,.0f}/s",
            ours / rates["reference"],
            4.0 if device.type == "cuda" else None,
        ),
        Line("the same, of the machine's largest product", f"{peak:.2f}", "1", peak),
        Line("loader alone", f"{rates['loader']:,.0f}/s", f"step {ours:,.0f}/s", rates["loader"] / ours, 3.0),
    ]
    if device.type == "cuda":
        a, b = memory_gb["ours"], memory_gb["reference"]
        lines.append(Line("memory", f"{a:.2f} GB", f"reference {b:.2f} GB", a / b))
    return lines


def _memory_gb(device: torch.device, step: Callable[[], object]) -> float:
    if device.type != "cuda":
        return 0.0
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() / 1e9


def main() -> None:
    arguments = arguments_of(
        __doc__,
        device=("auto", "auto, cpu or cuda"),
        preset=("slim-64", "shapes and rates"),
        batch=(0, "pictures a step; 0: the preset's"),
        rounds=(5, "rounds"),
        steps=(10, "steps a round"),
    )
    device = pick_device(arguments.device)
    recipe = preset(arguments.preset, batch_size=arguments.batch or None)
    tell(f"training {arguments.preset}", measure(recipe, device, arguments.rounds, arguments.steps), arguments)


if __name__ == "__main__":
    main()
