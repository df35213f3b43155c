"""The interface of a method to the loop, the checkpoint and the export; each method is one file in ``methods``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, RMSprop

from retrieval.pictures.tasks import Frame
from train.data import Draws, Pictures
from train.losses import std
from train.recipe import Recipe
from train.settings import OwnSettings

if TYPE_CHECKING:
    from retrieval.models.model import Model


@dataclass(frozen=True)
class Batch:
    """The inputs of one step: pictures ``x`` (n, 3, s, s) in [-1, 1], their class indices ``y`` (n,), -1 where there is
    none, samples ``z`` (n, d) of N(0, I), the other random numbers of the step, and the share of the run before it.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    draws: Draws
    step: int
    share_done: float = 1.0


class Method(nn.Module, ABC):
    """A family of models. Its children are its networks; ``encode`` and ``generator`` are exported."""

    encoder: nn.Module
    generator: nn.Module
    settings: OwnSettings  # the method's own, declared in its file
    takes_labels = False  # whether it can train with labels
    needs_labels = False  # whether it cannot train without labels
    needs_encoder = False  # whether it cannot train without the bundle of an encoder
    has_encoder = True  # a generator alone gives samples but cannot index
    standardized = False  # whether every code has mean 0 and standard deviation 1
    decode_scale = 1.0  # factor of the codes of pictures before they are decoded
    compiles = True  # False for gradients of gradients, which cannot be compiled
    paints_slowly = False  # pixel by pixel: grids and measures then use few pictures
    paints_prior = True  # whether G is trained on z; otherwise on codes of pictures
    painted_once = 10_240  # codes from which BatchNorm of G is estimated before export
    given: Model | None = None  # the bundle whose encoder it keeps as it is; otherwise it trains its own

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.settings = recipe.settings

    @classmethod
    def check_recipe(cls, recipe: Recipe) -> None:
        """Check what depends on more than one setting.

        Raises:
            TrainingError: the method cannot train with this recipe.
        """

    @classmethod
    def settled(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings that follow from the given ones, by name; ``settings`` are all, common and own."""
        return {}

    @classmethod
    def looks_at(cls, recipe: Recipe) -> tuple[int, Frame]:
        """The side in pixels of the pictures that it is trained on, and what of a picture they show."""
        return recipe.image_size, "square"

    def prepare(self, pictures: Pictures, is_new: bool) -> None:
        """Look at the pictures before the first step of a session; ``is_new``: of the whole run.

        Raises:
            TrainingError: the method cannot train on them.
        """

    def further_facts(self, pictures: Pictures) -> dict[str, Any]:
        """Entries of ``model.json`` that this method alone has, or has otherwise."""
        return {}

    @property
    def code_dim(self) -> int:
        """Dimensions of a code: those of z, then one for each class if codes include classes."""
        return self.recipe.latent_dim

    @property
    def classes(self) -> Sequence[str]:
        """The classes that the last dimensions of a code stand for."""
        return ()

    def optimizer(self) -> Optimizer:
        """The optimizer; it leaves parameters without a gradient unchanged."""
        # The reference uses Keras' RMSprop, which smooths with 0.9; the paper's port to torch keeps torch's 0.99.
        return RMSprop(self.parameters(), lr=self.recipe.learning_rate, alpha=0.99, foreach=True)

    @abstractmethod
    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Add one step's gradients to ``.grad``; return the step's figures, detached scalars."""

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) -> code (n, code_dim), realism (n,), spread (n,)."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """Pictures (n, 3, s, s) -> their reconstructions: their codes, decoded by the generator."""
        painted: Tensor = self.generator(self.decode_scale * self.encode(x)[0])
        return painted

    def centres(self) -> list[list[float]]:
        """The centres of the classes among the codes, for methods whose z is relative to them."""
        return []

    def whole_code(self, z: Tensor) -> Tensor:
        """Complete z (n, d) to codes that G decodes, (n, code_dim): with each class in turn, if there are any."""
        if not self.classes:
            return z
        y = torch.arange(len(z), device=z.device) % len(self.classes)
        return torch.cat([z, one_hot(y, len(self.classes), z.dtype)], dim=1)


def likely(code: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Code (n, d) with realism and spread, for methods without a critic of pictures.

    Realism is log N(code; 0, I) / d up to a constant: how close the code is to the mean of the prior.
    """
    return code, -0.5 * code.square().mean(dim=1), std(code)


def one_hot(y: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Class indices (n,) -> (n, classes); all zero where y is -1."""
    return (y[:, None] == torch.arange(classes, device=y.device)).to(dtype)


def own(leaves: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor detached from its graph, as a leaf that takes gradients."""
    return [leaf.detach().requires_grad_() for leaf in leaves]


def descend_apart(
    critic_loss: Tensor, player_loss: Tensor, leaves: Sequence[Tensor], outputs: Sequence[Tensor]
) -> None:
    """Gradients of a game with one pass of the critic: ``critic_loss`` for the critic, ``player_loss`` for the rest.

    The critic has seen ``leaves``, detached copies of the players' ``outputs`` (``own``). The gradients of the
    players' loss stop at the leaves; they are then propagated through the players.
    """
    slopes = torch.autograd.grad(player_loss, leaves, retain_graph=True)
    critic_loss.backward()  # type: ignore[no-untyped-call]
    torch.autograd.backward(outputs, slopes)


def detached(figures: dict[str, Tensor]) -> dict[str, Tensor]:
    """Means, detached from the graph."""
    return {name: value.detach().mean() for name, value in figures.items()}
