"""The plan of a training run: the memory and time that it would need, before it starts."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from train import checkpoint
from train.data import Examples, no_labels
from train.devices import Processes
from train.methods import method_class
from train.networks import count_parameters
from train.recipe import Recipe
from train.step import Trainer


def plan(recipe: Recipe, pictures_found: int, device: torch.device, precision: str) -> dict[str, Any]:
    """Sizes in bytes, times in seconds, and the rate, measured on a few steps of noise."""
    side, _ = method_class(recipe.method).looks_at(recipe)
    seconds_per_step = time_step(recipe, device, precision)
    state = checkpoint.new_state(recipe, torch.device("cpu"), precision)
    parameters = {name: count_parameters(network) for name, network in state.model.named_children()}
    activations = sum(_activation_bytes(recipe, precision))
    return {
        "pictures": pictures_found,
        "cache_bytes": pictures_found * side**2 * 3,
        "parameters": parameters,
        # weights, gradients, the optimizer's squares and the average, in float32
        "memory_bytes": 4 * 4 * sum(parameters.values()) + activations,
        "device": str(device),
        "precision": precision,
        "seconds_per_step": seconds_per_step,
        "pictures_per_s": recipe.batch_size / seconds_per_step,
    }


def _activation_bytes(recipe: Recipe, precision: str) -> list[int]:
    """Feature maps that one step keeps for the backward pass: two passes of E, one of G, two maps per stage."""
    bytes_each = 2 if precision == "bfloat16" else 4
    side, channels, stages = recipe.image_size // 2, recipe.width, []
    while side >= 4:
        stages.append(3 * 2 * recipe.batch_size * min(channels, recipe.max_width) * side**2 * bytes_each)
        side, channels = side // 2, channels * 2
    return stages


def time_step(recipe: Recipe, device: torch.device, precision: str, steps: int = 5) -> float:
    """Median seconds of one step on noise."""
    trainer = Trainer(checkpoint.new_state(recipe, device, precision), device, Processes())
    side, _ = method_class(recipe.method).looks_at(recipe)
    shape = (recipe.batch_size, side, side, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    count = recipe.batch_size
    labels = np.arange(count) % len(recipe.classes) if recipe.classes else no_labels(count)
    seconds = []
    for _ in range(steps + 2):
        start = time.perf_counter()
        float(next(iter(trainer.step(Examples(noise, labels), 1e-6).values())))  # waits for the device
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[2:]))
