"""BiGAN: a GAN on pairs of picture and code (Donahue et al., arXiv 1605.09782)."""

from __future__ import annotations

from torch import Tensor

from train.adversaries import ADVERSARIES
from train.method import Batch, Method, descend_apart, detached, likely, own
from train.networks import Encoder, Generator, JointCritic, normal_sample
from train.recipe import Recipe


class BiGAN(Method):
    """A deterministic encoder, a generator, and a critic that tells (x, E(x)) from (G(z), z)."""

    encoder: Encoder
    stochastic = False

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        d, shape = recipe.latent_dim, recipe.shape
        self.encoder = Encoder(shape, 2 * d if self.stochastic else d)
        self.generator = Generator(shape, d)
        self.critic = JointCritic(shape, d)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) -> code (n, d), for ALI the mean; realism and spread of codes near the prior (n,)."""
        return likely(self.encoder(x)[:, : self.recipe.latent_dim])

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """min over G, E and max over D of E log D(x, E(x)) + E log(1 - D(G(z), z)) (BiGAN, eq. 2; ALI, eq. 1).

        G and E minimise the non-saturating form, with labels swapped, as in both papers.
        """
        code = self.encoder(batch.x)
        if self.stochastic:
            code = normal_sample(code, batch.draws.normal(self.recipe.latent_dim))
        fake = self.generator(batch.z)
        code_leaf, fake_leaf = own([code, fake])
        d_real, d_fake = self.critic(batch.x, code_leaf), self.critic(fake_leaf, batch.z)
        game = ADVERSARIES["ns"]
        loss_d = game.critic(d_real, d_fake, d_real).mean()
        loss_g = game.critic(d_fake, d_real, d_real).mean()
        descend_apart(loss_d, loss_g, [code_leaf, fake_leaf], [code, fake])
        return detached({"loss_d": loss_d, "loss_g": loss_g, "d_real": d_real, "d_fake": d_fake})
