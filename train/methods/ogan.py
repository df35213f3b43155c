"""O-GAN: a GAN whose discriminator is also an encoder (Su, arXiv 1903.01931)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from retrieval.defaults import DECODE_SCALE
from train.adversaries import ADVERSARIES, gradient_penalty
from train.losses import avg, correlation, squared_distance, standardize, std
from train.method import Batch, Method, descend_apart, detached, own
from train.networks import Encoder, Generator, initialise
from train.recipe import Recipe
from train.settings import OwnSettings, declare


@dataclass(frozen=True)
class Settings(OwnSettings):
    adversary: str = declare("qp", "The game of critic and generator.", choices=("qp", "ns", "ls", "hinge", "wgan-gp"))
    head: str = declare("avg", "From E(x) to the critic's score.", choices=("avg", "linear"))
    reconstruction: str = declare("rho", "What ties E(G(z)) to z.", choices=("rho", "mse", "none"))
    correlation_weight: float = declare(
        0.5, "Weight of the correlation, the paper's lambda.", at_least=0, option="lambda", hidden=True
    )


class OGAN(Method):
    """E's codes are standardized to N(E(x)); the critic is avg E(x), or T(E(x)) with a linear T.

    ``reconstruction`` "mse" is the papers' negative control: codes are E(x) itself, compared by |z - E(G(z))|^2.
    """

    settings: Settings
    encoder: Encoder
    decode_scale = DECODE_SCALE

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        d, shape = recipe.latent_dim, recipe.shape
        self.compiles = self.settings.adversary != "wgan-gp"
        self.encoder = Encoder(shape, d, normalised=self.settings.adversary != "wgan-gp")
        self.generator = Generator(shape, d)
        self.head = nn.Linear(recipe.latent_dim, 1).apply(initialise) if self.settings.head == "linear" else None
        self.standardized = self.settings.reconstruction != "mse"
        self.decode_scale = DECODE_SCALE if self.standardized else 1.0

    def score(self, raw: Tensor) -> Tensor:
        """T(E(x)): raw codes (n, d) -> (n,). Real scores low, generated high."""
        return avg(raw) if self.head is None else self.head(raw)[:, 0]

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) -> code N(E(x)) (n, d), realism -T(E(x)) (n,), spread std(E(x)) (n,)."""
        raw = self.encoder(x)
        return standardize(raw) if self.standardized else raw, -self.score(raw), std(raw)

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """One step's gradients of both networks, with two passes of E instead of three.

        E minimises f(T(E(x)), T(E(x'))) - lambda rho(z, E(x')),
        G minimises h(T(E(x'))) - lambda rho(z, E(x')), where x' = G(z) (O-GAN, the general objective).
        By default T = avg, f is GAN-QP's and h the identity (O-GAN, the headless objective).

        The reference adds both losses and computes E(G(z)) and E(sg G(z)) separately; their adversarial gradients
        cancel on E. Here E sees the detached x' once. Real and generated pictures go through E in separate batches,
        since BatchNorm must not mix them.
        """
        x, z, game = batch.x, batch.z, ADVERSARIES[self.settings.adversary]
        fake = self.generator(z)
        (leaf,) = own([fake])
        raw_real, raw_fake = self.encoder(x), self.encoder(leaf)
        assert raw_real.shape == raw_fake.shape == z.shape, (raw_real.shape, raw_fake.shape, z.shape)

        d_real, d_fake = self.score(raw_real), self.score(raw_fake)
        bound = self.settings.correlation_weight * self.disagreement(z, raw_fake)
        loss_g = (game.generator(d_fake) + bound).mean()
        adversary = game.critic(d_real, d_fake, squared_distance(x, leaf.detach()))
        further = self.further_terms(batch, raw_real, leaf)
        loss_e = (adversary + bound).mean() + sum(further.values())
        descend_apart(loss_e, loss_g, [leaf], [fake])
        rho = correlation(z, raw_fake)
        return detached({"loss_e": loss_e, "loss_g": loss_g, "rho": rho, "d_real": d_real, "d_fake": d_fake, **further})

    def disagreement(self, z: Tensor, raw_fake: Tensor) -> Tensor:
        """The loss that ties codes to z, (n,): -rho(z, E(x')), or one of its controls."""
        if self.settings.reconstruction == "rho":
            return -correlation(z, raw_fake)
        if self.settings.reconstruction == "mse":
            return (z - raw_fake).square().mean(dim=1)
        return raw_fake.new_zeros(len(z))

    def further_terms(self, batch: Batch, raw_real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Further terms of E's loss, scalars by name, already weighted."""
        if self.settings.adversary != "wgan-gp":
            return {}
        penalty = gradient_penalty(lambda v: self.score(self.encoder(v)), batch.x, fake, batch.draws.uniform(1))
        return {"penalty": penalty.mean()}
