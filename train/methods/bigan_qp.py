"""BiGAN-QP: GAN-QP on pairs of picture and code (Su, "BiGAN-QP", post of 2018-12-10)."""

from __future__ import annotations

from torch import Tensor
from torch.optim import Adam, Optimizer

from train.losses import absolute_distance, at_least_float32, critic_qp, squared_distance
from train.method import Batch, Method, descend_apart, detached, likely, own
from train.networks import Encoder, Generator, JointCritic
from train.recipe import Recipe

GUIDES = {32: (2.0, 3.0), 64: (2.0, 3.0), 128: (2.0, 3.0), 256: (4.0, 6.0)}  # (b1, b2) by image size


class BiGANQP(Method):
    """An encoder, a generator, and a critic of pairs without bias terms."""

    encoder: Encoder

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        d, shape = recipe.latent_dim, recipe.shape
        self.encoder = Encoder(shape, d)
        self.generator = Generator(shape, d)
        self.critic = JointCritic(shape, d, normalised=False, biased=False)

    def optimizer(self) -> Optimizer:
        return Adam(self.parameters(), lr=self.recipe.learning_rate, betas=(0.5, 0.999), foreach=True)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) -> code E(x) (n, d), realism and spread of codes near the prior (n,)."""
        return likely(self.encoder(x))

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """T maximises dT - dT^2 / (2 d), dT = T(x, E(x)) - T(G(z), z), d = 10 (mean |x - G(z)| + mean |E(x) - z|);
        G and E minimise dT + b1 |z - E(sg G(z))|^2 + b2 |x - G(sg E(x))|^2 (BiGAN-QP); here score = -T.
        """
        x, z = batch.x, batch.z
        code, fake = self.encoder(x), self.generator(z)
        code_leaf, fake_leaf = own([code, fake])
        d_real, d_fake = self.critic(x, code_leaf), self.critic(fake_leaf, z)
        apart = absolute_distance(x, fake.detach()) + (code.detach() - z).abs().mean(dim=1)
        loss_d = critic_qp(d_real, d_fake, 5 * apart).mean()
        descend_apart(loss_d, (d_fake - d_real).mean(), [code_leaf, fake_leaf], [code, fake])

        b1, b2 = GUIDES[self.recipe.image_size]
        of_code = (z - self.encoder(fake.detach())).square().mean(dim=1)
        of_picture = squared_distance(x, self.generator(code.detach()))
        (b1 * of_code + b2 * of_picture).mean().backward()
        return detached({"loss_d": loss_d, "of_code": at_least_float32(of_code), "of_picture": of_picture})
