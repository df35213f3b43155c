"""O-GAN: a GAN whose discriminator, cut open, is also an encoder (Su, arXiv 1903.01931)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from retrieval.names import DECODE_SCALE
from train.losses import avg, correlation, critic_qp, squared_distance, standardize, std
from train.networks import Encoder, Generator
from train.recipe import Recipe


class EncodeBoth(nn.Module):
    """E on real and on generated pictures, as batches of their own, since BatchNorm must not mix them.

    One module with one forward pass a step, so that DistributedDataParallel can wrap it.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder(real), self.encoder(fake)


class OGAN(nn.Module):
    """The two networks of an O-GAN and what they are for."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        shape = (recipe.image_size, recipe.latent_dim, recipe.width, recipe.max_width, recipe.kernel)
        self.encoder = Encoder(*shape)
        self.generator = Generator(*shape, self_modulated=recipe.self_modulated)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) -> code N(E(x)) (n, d), realism -avg(E(x)) (n,), spread std(E(x)) (n,)."""
        raw = self.encoder(x)
        return standardize(raw), -avg(raw), std(raw)

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.generator(DECODE_SCALE * self.encode(x)[0])  # type: ignore[no-any-return]


def accumulate_gradients(
    encode_both: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    generate: Callable[[Tensor], Tensor],
    x: Tensor,
    z: Tensor,
    correlation_weight: float,
) -> dict[str, Tensor]:
    """One step's gradients of both networks, added to their ``.grad``, with two passes of E instead of three.

    E minimises avg E(x) - avg E(x') + (avg E(x) - avg E(x'))^2 / (4 d(x, x')) - lambda rho(z, E(x')),
    G minimises avg E(x') - lambda rho(z, E(x')), where x' = G(z) (O-GAN, the headless objective).

    The reference adds both losses up with E(G(z)) and E(sg G(z)) computed apart, where the adversarial
    gradients of the two cancel on E. Here E sees the detached x' once: the gradient of G's loss is taken
    at x', where it stops, and carried on through G by hand.

    Args:
        encode_both: (n, 3, s, s), (n, 3, s, s) -> raw codes (n, d), (n, d).
        generate: (n, d) -> (n, 3, s, s).
        x: real pictures (n, 3, s, s) in [-1, 1].
        z: samples of N(0, I), (n, d).

    Returns:
        The step's figures, scalars on the same device, detached.
    """
    fake = generate(z)
    fake_leaf = fake.detach().requires_grad_()
    raw_real, raw_fake = encode_both(x, fake_leaf)
    assert raw_real.shape == raw_fake.shape == z.shape, (raw_real.shape, raw_fake.shape, z.shape)

    d_real, d_fake = avg(raw_real), avg(raw_fake)
    rho = correlation(z, raw_fake)
    loss_g = (d_fake - correlation_weight * rho).mean()
    adversary = critic_qp(d_real, d_fake, squared_distance(x, fake_leaf.detach()))
    loss_e = (adversary - correlation_weight * rho).mean()

    (slope,) = torch.autograd.grad(loss_g, fake_leaf, retain_graph=True)
    loss_e.backward()  # type: ignore[no-untyped-call]
    fake.backward(slope)  # type: ignore[no-untyped-call]
    figures = {"loss_e": loss_e, "loss_g": loss_g, "rho": rho.mean(), "d_real": d_real.mean(), "d_fake": d_fake.mean()}
    return {name: value.detach() for name, value in figures.items()}
