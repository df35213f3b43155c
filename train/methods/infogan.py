"""InfoGAN: a GAN that says which code a picture was drawn from (Chen et al., arXiv 1606.03657)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.errors import TrainingError
from train.adversaries import ADVERSARIES
from train.losses import at_least_float32, std
from train.method import Batch, Method, descend_apart, detached, one_hot, own
from train.networks import Encoder, Generator
from train.recipe import Recipe
from train.settings import OwnSettings, declare


@dataclass(frozen=True)
class Settings(OwnSettings):
    categories: int = declare(10, "Categories to find; 0: none.", at_least=0)
    noise: int = declare(32, "Further inputs of G, which no code describes.", at_least=0, hidden=True)
    information_weight: float = declare(1.0, "Weight of the mutual information.", at_least=0, hidden=True)


class NoisyGenerator(nn.Module):
    """G of code and noise. In use there is no noise: G gets its mean."""

    def __init__(self, recipe: Recipe, code_dim: int, noise: int) -> None:
        super().__init__()
        self.noise = noise
        self.painter = Generator(recipe.shape, code_dim + noise)

    def forward(self, code: Tensor, noise: Tensor | None = None) -> Tensor:
        """Codes (n, code_dim), and noise (n, m) or none -> pictures (n, 3, s, s)."""
        whole = F.pad(code, (0, self.noise)) if noise is None else torch.cat([code, noise], dim=1)
        painted: Tensor = self.painter(whole)
        return painted


class InfoGAN(Method):
    """D and Q share all layers but the last. Codes are the means of Q(c|x), then a probability for each category."""

    settings: Settings

    @classmethod
    def check_recipe(cls, recipe: Recipe) -> None:
        settings = recipe.settings
        assert isinstance(settings, Settings)
        if settings.categories == 1:
            raise TrainingError("categories must be two at least, or 0 for none")

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.encoder = Encoder(recipe.shape, 1 + 2 * recipe.latent_dim + self.settings.categories)
        self.generator = NoisyGenerator(recipe, self.code_dim, self.settings.noise)

    @property
    def code_dim(self) -> int:
        return self.recipe.latent_dim + self.settings.categories

    @property
    def classes(self) -> Sequence[str]:
        return [f"category {number}" for number in range(self.settings.categories)]

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) -> D's score (n,), Q's means and log variances (n, d), logits of categories (n, m)."""
        d = self.recipe.latent_dim
        raw = self.encoder(x)
        return raw[:, 0], raw[:, 1 : 1 + d], raw[:, 1 + d : 1 + 2 * d], raw[:, 1 + 2 * d :]

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) -> code (n, code_dim); realism, by D (n,), and spread of the means (n,)."""
        score, mean, _, logits = self.parts(x)
        return torch.cat([mean, logits.softmax(dim=1)], dim=1), -score, std(mean)

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """min over G, Q and max over D of V(D, G) - lambda L_I(G, Q) (Chen et al., eq. 6), with V not saturating.

        L_I = E log Q(c|G(z, c)) up to a constant (eq. 5), here a mean over the continuous numbers plus the category's:
        these have entropies of about the same size. Q is a Gaussian with diagonal covariance, and a softmax.
        """
        y = self.drawn_categories(batch)
        fake = self.generator(torch.cat([batch.z, y], dim=1), batch.draws.normal(self.settings.noise).to(batch.z.dtype))
        (leaf,) = own([fake])
        d_real, (d_fake, mean, log_variance, logits) = self.parts(batch.x)[0], self.parts(leaf)
        game = ADVERSARIES["ns"]
        surprise = self.settings.information_weight * self.surprise(batch.z, y, mean, log_variance, logits)
        loss_d = game.critic(d_real, d_fake, d_real).mean()
        loss_g = game.generator(d_fake).mean()
        descend_apart(loss_d + surprise, loss_g + surprise, [leaf], [fake])
        return detached({"loss_d": loss_d, "loss_g": loss_g, "surprise": surprise})

    def drawn_categories(self, batch: Batch) -> Tensor:
        """One category for each sample, one-hot (n, m)."""
        ways = self.settings.categories
        return one_hot((batch.draws.uniform(1)[:, 0] * ways).long(), ways, batch.z.dtype)

    @staticmethod
    def surprise(z: Tensor, y: Tensor, mean: Tensor, log_variance: Tensor, logits: Tensor) -> Tensor:
        """-log Q(c|x) of the codes that were drawn, in nats without the constant: scalar."""
        mean, log_variance = at_least_float32(mean), at_least_float32(log_variance)
        told = 0.5 * (log_variance + (z - mean).square() * (-log_variance).exp()).mean()
        return told + F.cross_entropy(logits, y) if y.shape[1] else told
