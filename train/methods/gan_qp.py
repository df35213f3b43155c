"""GAN-QP: a GAN without vanishing gradients or a Lipschitz constraint (Su, arXiv 1811.07296). It has no encoder."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.optim import Adam, Optimizer

from train.losses import absolute_distance, critic_qp, squared_distance
from train.method import Batch, Method, descend_apart, detached, own
from train.networks import Encoder, Generator
from train.recipe import Recipe
from train.settings import OwnSettings, declare

CRITIC_STEPS = 2  # per step of the generator


@dataclass(frozen=True)
class Settings(OwnSettings):
    distance: str = declare("l1", "Between a real and a generated picture.", choices=("l1", "l2"))


class GANQP(Method):
    """A critic T of pictures and a generator; nothing maps a picture to a code."""

    settings: Settings
    has_encoder = False

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.critic = Encoder(recipe.shape, 1, normalised=False)
        self.generator = Generator(recipe.shape, recipe.latent_dim)

    def optimizer(self) -> Optimizer:
        return Adam(self.parameters(), lr=self.recipe.learning_rate, betas=(0.5, 0.999), foreach=True)

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """T maximises dT - dT^2 / (2 lambda d(x, x')) with dT = T(x) - T(x'), G minimises dT; here score = -T.

        lambda d is 10 mean |x - x'| (L1) or 10 (mean (x - x')^2)^(1/2) (L2) (GAN-QP).
        """
        fake = self.generator(batch.z)
        (leaf,) = own([fake])
        d_real, d_fake = self.critic(batch.x)[:, 0], self.critic(leaf)[:, 0]
        loss_d = critic_qp(d_real, d_fake, self.half_distance(batch.x, leaf.detach())).mean()
        loss_g = d_fake.mean()
        if batch.step % CRITIC_STEPS:
            loss_d.backward()  # type: ignore[no-untyped-call]
        else:
            descend_apart(loss_d, loss_g, [leaf], [fake])
        return detached({"loss_d": loss_d, "loss_g": loss_g, "d_real": d_real, "d_fake": d_fake})

    def half_distance(self, x: Tensor, fake: Tensor) -> Tensor:
        """lambda d / 2, (n,), since ``critic_qp`` divides by 4 d."""
        if self.settings.distance == "l1":
            return 5 * absolute_distance(x, fake)
        return 5 * squared_distance(x, fake).sqrt()

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raise NotImplementedError("GAN-QP has no encoder")
