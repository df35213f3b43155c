"""What the loop, the checkpoint and the export know of a family of models; each family is one file in ``methods``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Optimizer, RMSprop

from train.data import Draws
from train.networks import Generator
from train.recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """What one step learns from: pictures ``x`` (n, 3, s, s) in [-1, 1], numbers ``y`` (n,) of their classes, -1 where
    there is none, samples ``z`` (n, d) of N(0, I), and the other random numbers of the step.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    draws: Draws


class Method(nn.Module, ABC):
    """A family of models. Its children are its networks; what is exported are ``encode`` and ``generator``."""

    encoder: nn.Module
    generator: Generator

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe

    def optimizer(self) -> Optimizer:
        """What turns gradients into updates; parameters without a gradient are left as they are."""
        # Keras' RMSprop, the reference's, smooths with 0.9; the paper's port to torch keeps torch's 0.99.
        return RMSprop(self.parameters(), lr=self.recipe.learning_rate, alpha=0.99, foreach=True)

    @abstractmethod
    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Add one step's gradients to ``.grad``; returns the step's figures, detached scalars."""

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) -> code (n, d), realism (n,), spread (n,)."""

    @abstractmethod
    def reconstruct(self, x: Tensor) -> Tensor:
        """Pictures (n, 3, s, s) -> what the generator paints for their codes."""
