"""O-GAN: a GAN whose discriminator, cut open, is also an encoder (Su, arXiv 1903.01931)."""

from __future__ import annotations

import torch
from torch import Tensor

from retrieval.names import DECODE_SCALE
from train.losses import avg, correlation, critic_qp, squared_distance, standardize, std
from train.method import Batch, Method
from train.networks import Encoder, Generator
from train.recipe import Recipe


class OGAN(Method):
    """The headless form: D(x) = avg E(x) is the critic, N(E(x)) the code."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        shape = (recipe.image_size, recipe.latent_dim, recipe.width, recipe.max_width, recipe.kernel)
        self.encoder = Encoder(*shape)
        self.generator = Generator(*shape, self_modulated=recipe.self_modulated)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) -> code N(E(x)) (n, d), realism -avg(E(x)) (n,), spread std(E(x)) (n,)."""
        raw = self.encoder(x)
        return standardize(raw), -avg(raw), std(raw)

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.generator(DECODE_SCALE * self.encode(x)[0])  # type: ignore[no-any-return]

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """One step's gradients of both networks, with two passes of E instead of three.

        E minimises avg E(x) - avg E(x') + (avg E(x) - avg E(x'))^2 / (4 d(x, x')) - lambda rho(z, E(x')),
        G minimises avg E(x') - lambda rho(z, E(x')), where x' = G(z) (O-GAN, the headless objective).

        The reference adds both losses up with E(G(z)) and E(sg G(z)) computed apart, where the adversarial
        gradients of the two cancel on E. Here E sees the detached x' once: the gradient of G's loss is taken
        at x', where it stops, and carried on through G by hand. Real and generated pictures go through E as
        batches of their own, since BatchNorm must not mix them.
        """
        x, z = batch.x, batch.z
        fake = self.generator(z)
        fake_leaf = fake.detach().requires_grad_()
        raw_real, raw_fake = self.encoder(x), self.encoder(fake_leaf)
        assert raw_real.shape == raw_fake.shape == z.shape, (raw_real.shape, raw_fake.shape, z.shape)

        d_real, d_fake = avg(raw_real), avg(raw_fake)
        rho = correlation(z, raw_fake)
        loss_g = (d_fake - self.recipe.correlation_weight * rho).mean()
        adversary = critic_qp(d_real, d_fake, squared_distance(x, fake_leaf.detach()))
        further = self.further_terms(batch, raw_real)
        loss_e = (adversary - self.recipe.correlation_weight * rho).mean() + sum(further.values())

        (slope,) = torch.autograd.grad(loss_g, fake_leaf, retain_graph=True)
        loss_e.backward()  # type: ignore[no-untyped-call]
        fake.backward(slope)
        figures = {"loss_e": loss_e, "loss_g": loss_g, "rho": rho, "d_real": d_real, "d_fake": d_fake, **further}
        return {name: value.detach().mean() for name, value in figures.items()}

    def further_terms(self, batch: Batch, raw_real: Tensor) -> dict[str, Tensor]:
        """Terms of E's loss that a kin of this method adds, scalars by their names, already weighted."""
        return {}
