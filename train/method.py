"""What the loop, the checkpoint and the export know of a family of models; each family is one file in ``methods``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, RMSprop

from train.data import Draws
from train.losses import std
from train.recipe import Recipe
from train.settings import OwnSettings


@dataclass(frozen=True)
class Batch:
    """What one step learns from: pictures ``x`` (n, 3, s, s) in [-1, 1], numbers ``y`` (n,) of their classes, -1 where
    there is none, samples ``z`` (n, d) of N(0, I), and the other random numbers of the step.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    draws: Draws
    step: int


class Method(nn.Module, ABC):
    """A family of models. Its children are its networks; what is exported are ``encode`` and ``generator``."""

    encoder: nn.Module
    generator: nn.Module
    settings: OwnSettings  # the method's own; its file says which
    takes_labels = False  # whether it can learn from labels
    needs_labels = False  # whether it learns from nothing else
    has_encoder = True  # a generator alone draws samples, and cannot be indexed with
    standardized = False  # whether every code has average 0 and standard deviation 1
    decode_scale = 1.0  # what codes of pictures are multiplied by before they are painted
    compiles = True  # gradients of gradients cannot be compiled
    paints_slowly = False  # pixel by pixel: grids and measures are content with a few pictures
    paints_prior = True  # whether G learns from z; otherwise from codes of pictures

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.settings = recipe.settings

    @classmethod
    def check_recipe(cls, recipe: Recipe) -> None:
        """What no setting alone can tell.

        Raises:
            TrainingError: the method cannot learn by this recipe.
        """

    @property
    def code_dim(self) -> int:
        """How many numbers a code has: z, then one for each class where codes name classes."""
        return self.recipe.latent_dim

    @property
    def classes(self) -> Sequence[str]:
        """The classes that the last numbers of a code stand for."""
        return ()

    def optimizer(self) -> Optimizer:
        """What turns gradients into updates; parameters without a gradient are left as they are."""
        # Keras' RMSprop, the reference's, smooths with 0.9; the paper's port to torch keeps torch's 0.99.
        return RMSprop(self.parameters(), lr=self.recipe.learning_rate, alpha=0.99, foreach=True)

    @abstractmethod
    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Add one step's gradients to ``.grad``; returns the step's figures, detached scalars."""

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) -> code (n, code_dim), realism (n,), spread (n,)."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """Pictures (n, 3, s, s) -> what the generator paints for their codes."""
        painted: Tensor = self.generator(self.decode_scale * self.encode(x)[0])
        return painted

    def centres(self) -> list[list[float]]:
        """Where in the space of codes the classes lie, where z is counted from there."""
        return []

    def whole_code(self, z: Tensor) -> Tensor:
        """What G paints for z alone, (n, d) -> (n, code_dim): each class in turn, where there are any."""
        if not self.classes:
            return z
        y = torch.arange(len(z), device=z.device) % len(self.classes)
        return torch.cat([z, one_hot(y, len(self.classes), z.dtype)], dim=1)


def likely(code: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Code (n, d) with realism and spread, of methods without a critic of pictures.

    Realism is log N(code; 0, I) / d but for a constant: how near the prior's middle the picture lies.
    """
    return code, -0.5 * code.square().mean(dim=1), std(code)


def one_hot(y: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Numbers of classes (n,) -> (n, classes); all zero where y is -1."""
    return (y[:, None] == torch.arange(classes, device=y.device)).to(dtype)


def own(leaves: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor cut off its graph, to take gradients at."""
    return [leaf.detach().requires_grad_() for leaf in leaves]


def descend_apart(
    critic_loss: Tensor, player_loss: Tensor, leaves: Sequence[Tensor], outputs: Sequence[Tensor]
) -> None:
    """Gradients of a game with one pass of the critic: ``critic_loss``' on the critic, ``player_loss``' on the others.

    The critic has seen ``leaves``, copies of the players' ``outputs`` that are cut off their graphs (``own``). The
    slopes of the players' loss are taken there, where they stop, and carried on through the players.
    """
    slopes = torch.autograd.grad(player_loss, leaves, retain_graph=True)
    critic_loss.backward()  # type: ignore[no-untyped-call]
    torch.autograd.backward(outputs, slopes)


def detached(figures: dict[str, Tensor]) -> dict[str, Tensor]:
    """Means, cut off the graph."""
    return {name: value.detach().mean() for name, value in figures.items()}
