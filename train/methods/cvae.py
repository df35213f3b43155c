"""CVAE: a variational autoencoder of pictures given their class (Sohn et al., NIPS 2015)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.losses import kl_divergence, squared_distance
from train.method import Batch, Method, detached, likely, one_hot
from train.networks import Encoder, Generator, normal_sample
from train.recipe import Recipe

CONDITION_CHANNELS = 8


class CVAE(Method):
    """E encodes a picture given its class, and G decodes z and class.

    Codes are z, followed by y, the one-hot class. In use, a classifier of its own predicts a picture's class.
    """

    paints_prior = False
    takes_labels = needs_labels = True

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        d, shape = recipe.latent_dim, recipe.shape
        ways = len(recipe.classes)
        self.condition = nn.Linear(ways, CONDITION_CHANNELS, bias=False)
        self.encoder = Encoder(shape, 2 * d, in_channels=3 + CONDITION_CHANNELS)
        self.generator = Generator(shape, d + ways)
        self.classifier = Encoder(shape, ways)

    @property
    def code_dim(self) -> int:
        return self.recipe.latent_dim + len(self.classes)

    @property
    def classes(self) -> Sequence[str]:
        return self.recipe.classes

    def posterior(self, x: Tensor, y: Tensor) -> Tensor:
        """Means and log variances of z given pictures (n, 3, s, s) and classes (n, ways): (n, 2 d)."""
        raw: Tensor = self.encoder(with_class_planes(x, self.condition(y)))
        return raw

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) -> code (n, code_dim), realism and spread of z near the prior (n,)."""
        y = one_hot(self.classifier(x).argmax(dim=1), len(self.classes), x.dtype)
        z, realism, spread = likely(self.posterior(x, y)[:, : self.recipe.latent_dim])
        return torch.cat([z, y], dim=1), realism, spread

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """E and G minimise -E_q log p(x|z, y) + KL(q(z|x, y) | N(0, I)) (Sohn et al., eq. 5, with a prior that does not
        depend on the class), in nats per value and with the best noise level, as ``vae``; the classifier minimises its
        cross entropy."""
        x, y = batch.x, one_hot(batch.y, len(self.classes), batch.z.dtype)
        raw = self.posterior(x, y)
        z = normal_sample(raw, batch.draws.normal(self.recipe.latent_dim))
        error = squared_distance(x, self.generator(torch.cat([z, y], dim=1))).mean()
        kl = kl_divergence(raw).mean()
        loss = 0.5 * error.clamp_min(1e-6).log() + kl / x[0].numel()
        loss_c = F.cross_entropy(self.classifier(x), batch.y)
        (loss + loss_c).backward()  # type: ignore[no-untyped-call]
        return detached({"loss": loss, "error": error, "kl": kl, "loss_c": loss_c})


def with_class_planes(x: Tensor, condition: Tensor) -> Tensor:
    """Pictures (n, 3, s, s) and conditions (n, c) -> (n, 3 + c, s, s): each number of a condition is an even plane."""
    planes = condition[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return torch.cat([x, planes], dim=1)
