"""IntroVAE: a variational autoencoder whose encoder is the critic (Huang et al., arXiv 1807.06358)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from train.losses import kl_divergence, squared_distance, std
from train.method import Batch, Method, detached
from train.networks import Encoder, Generator, normal_sample
from train.recipe import Recipe
from train.settings import OwnSettings, declare


@dataclass(frozen=True)
class Settings(OwnSettings):
    margin: float = declare(1.0, "KL per dimension that E wants of generated pictures.", at_least=0, hidden=True)
    critic_weight: float = declare(0.25, "Weight of the adversary (alpha).", at_least=0, hidden=True)
    pixel_weight: float = declare(
        0.5, "Weight of the pixels (beta) at 128 px; larger for smaller ones.", at_least=0, hidden=True
    )


class IntroVAE(Method):
    """E wants codes of real pictures near the prior, and those of generated ones away from it; G wants them near.

    Codes are the means of q(z|x) = N(mu(x), sigma(x)^2).
    """

    settings: Settings
    encoder: Encoder

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.encoder = Encoder(recipe.shape, 2 * recipe.latent_dim)
        self.generator = Generator(recipe.shape, recipe.latent_dim)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) -> code (n, d); realism, minus the KL by which E judges, per dimension (n,); spread."""
        raw = self.encoder(x)
        mean = raw[:, : self.recipe.latent_dim]
        return mean, -kl_divergence(raw) / self.recipe.latent_dim, std(mean)

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """E minimises KL(x) + alpha ([m - KL(x_r)]+ + [m - KL(x_p)]+) + beta L_AE, and G minimises
        alpha (KL(x_r) + KL(x_p)) + beta L_AE, with x_r = G(z), z ~ E(x), and x_p = G(z_p), z_p ~ N(0, I) (Huang et al.,
        eq. 11, 12 and algorithm 1); L_AE = 1/2 |x - x_r|^2 (eq. 9). All is divided by the number of dimensions of z.

        The paper's beta is 0.5 at 128 px, and more for fewer pixels. Its m is 110 at 256 dimensions, each .43,
        less than the KL of real pictures at 32 px, where E would want nothing of generated ones (docs/methods.md).
        """
        d, own = self.recipe.latent_dim, self.settings
        raw = self.encoder(batch.x)
        z = normal_sample(raw, batch.draws.normal(d))
        shown = self.generator(z), self.generator(batch.z)
        leaves = [one.detach().requires_grad_() for one in shown]
        real, fakes = kl_divergence(raw).mean() / d, [kl_divergence(self.encoder(one)).mean() / d for one in leaves]
        away = torch.stack([F.relu(own.margin - fake) for fake in fakes]).sum()
        beta = own.pixel_weight * (128 / self.recipe.image_size) ** 2
        pixels = beta * 0.5 * squared_distance(batch.x, shown[0]).mean() * batch.x[0].numel() / d
        loss_g = own.critic_weight * torch.stack(fakes).sum()
        slopes = torch.autograd.grad(loss_g, leaves, retain_graph=True)
        # E must not be told by the players' loss: only G's weights get what comes back through the pictures.
        weights = list(self.generator.parameters())
        told = torch.autograd.grad(shown, weights, slopes, retain_graph=True)
        (real + own.critic_weight * away + pixels).backward()  # type: ignore[no-untyped-call]
        for weight, gradient in zip(weights, told, strict=True):
            weight.grad = gradient if weight.grad is None else weight.grad + gradient
        return detached({"kl": real, "kl_repainted": fakes[0], "kl_dreamt": fakes[1], "pixels": pixels})
