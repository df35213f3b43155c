"""CGAN: a GAN of pictures given their class (Mirza and Osindero, arXiv 1411.1784). It has no encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from train.adversaries import ADVERSARIES
from train.method import Batch, Method, descend_apart, detached, one_hot, own
from train.methods.cvae import CONDITION_CHANNELS, with_class_planes
from train.networks import Encoder, Generator
from train.recipe import Recipe


class CGAN(Method):
    """G draws a picture of a class, and D tells it from a real one of that class. Nothing maps a picture to a code."""

    has_encoder = False
    takes_labels = needs_labels = True

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        ways = len(recipe.classes)
        self.condition = nn.Linear(ways, CONDITION_CHANNELS, bias=False)
        self.critic = Encoder(recipe.shape, 1, in_channels=3 + CONDITION_CHANNELS)
        self.generator = Generator(recipe.shape, self.code_dim)

    @property
    def code_dim(self) -> int:
        return self.recipe.latent_dim + len(self.classes)

    @property
    def classes(self) -> Sequence[str]:
        return self.recipe.classes

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """min over G and max over D of E log D(x|y) + E log(1 - D(G(z|y)|y)) (Mirza and Osindero, eq. 2).

        G minimises the non-saturating form. Generated pictures have the classes of the real ones.
        """
        y = one_hot(batch.y, len(self.classes), batch.z.dtype)
        fake = self.generator(torch.cat([batch.z, y], dim=1))
        (leaf,) = own([fake])
        condition = self.condition(y)
        d_real, d_fake = (self.critic(with_class_planes(shown, condition))[:, 0] for shown in (batch.x, leaf))
        game = ADVERSARIES["ns"]
        loss_d = game.critic(d_real, d_fake, d_real).mean()
        loss_g = game.generator(d_fake).mean()
        descend_apart(loss_d, loss_g, [leaf], [fake])
        return detached({"loss_d": loss_d, "loss_g": loss_g, "d_real": d_real, "d_fake": d_fake})

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raise NotImplementedError("CGAN has no encoder")
