"""The terms of the losses, each with its equation, in float32 at least, whatever the precision of the networks.

Sources: Su, "O-GAN: Extremely Concise Approach for Auto-Encoding Generative Adversarial Networks"
(arXiv 1903.01931); Su, "GAN-QP" (arXiv 1811.07296); Zbontar et al., "Barlow Twins" (arXiv 2103.03230).
"""

from __future__ import annotations

import torch
from torch import Tensor

STD_FLOOR = 1e-8
TWIN_FLOOR = 1e-4  # for a dimension that is constant over the batch


def at_least_float32(v: Tensor) -> Tensor:
    """Half precision becomes float32; float64 stays what it is."""
    return v.to(torch.promote_types(v.dtype, torch.float32))


def avg(v: Tensor) -> Tensor:
    """avg(v) = 1/d sum_i v_i: (n, d) -> (n,). avg E(x) is the headless critic: low means real."""
    return v.mean(dim=1)


def std(v: Tensor) -> Tensor:
    """std(v) = sqrt(1/d sum_i (v_i - avg v)^2), the population's: (n, d) -> (n,)."""
    return v.std(dim=1, unbiased=False)


def standardize(v: Tensor) -> Tensor:
    """N(v) = (v - avg v) / std v, so that |N(v)|^2 = d: (n, d) -> (n, d) (O-GAN)."""
    return (v - avg(v)[:, None]) / std(v).clamp_min(STD_FLOOR)[:, None]


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """rho(a, b) = 1/d sum_i N(a)_i N(b)_i, Pearson's correlation of each row: (n, d), (n, d) -> (n,) (O-GAN)."""
    assert a.shape == b.shape and a.ndim == 2, (a.shape, b.shape)
    return (standardize(a) * standardize(b)).mean(dim=1)


def squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """d(x, y) = mean_pixels (x - y)^2: (n, c, h, w) twice -> (n,)."""
    assert x.shape == y.shape and x.ndim == 4, (x.shape, y.shape)
    return (at_least_float32(x) - at_least_float32(y)).square().mean(dim=(1, 2, 3))


def absolute_distance(x: Tensor, y: Tensor) -> Tensor:
    """mean_pixels |x - y|: (n, c, h, w) twice -> (n,)."""
    assert x.shape == y.shape and x.ndim == 4, (x.shape, y.shape)
    return (at_least_float32(x) - at_least_float32(y)).abs().mean(dim=(1, 2, 3))


def kl_divergence(raw: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) | N(0, I)) = 1/2 sum (mu^2 + sigma^2 - 1 - log sigma^2): (n, 2 d) -> (n,) (VAE, appendix B).

    ``raw`` holds mu, then log sigma^2.
    """
    mean, log_variance = raw.chunk(2, dim=1)
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


def critic_qp(real: Tensor, fake: Tensor, distance: Tensor) -> Tensor:
    """L_D = D(x) - D(G(z)) + (D(x) - D(G(z)))^2 / (4 d(x, G(z))): (n,) three times -> (n,) (GAN-QP).

    Real scores low, fake high. Only the critic has the quadratic term: a generator that saw it
    would shrink d instead of learning.
    """
    assert real.shape == fake.shape == distance.shape and real.ndim == 1, (real.shape, fake.shape, distance.shape)
    difference = real - fake
    return difference + 0.25 * difference.square() / distance.clamp_min(STD_FLOOR)


def twin_loss(a: Tensor, b: Tensor, redundancy: float) -> Tensor:
    """1/d [sum_i (1 - C_ii)^2 + redundancy sum_{i != j} C_ij^2]: (n, d), (n, d) -> scalar (Barlow Twins, eq. 1).

    C_ij is the correlation, over the batch, of dimension i of ``a`` with dimension j of ``b``.
    """
    assert a.shape == b.shape and a.ndim == 2, (a.shape, b.shape)
    c = over_batch(a).T @ over_batch(b) / len(a)
    own = c.diagonal()
    others = c.square().sum() - own.square().sum()
    return ((1 - own).square().sum() + redundancy * others) / a.shape[1]


def over_batch(v: Tensor) -> Tensor:
    """Standardize each dimension over the batch: (n, d) -> (n, d)."""
    return (v - v.mean(dim=0)) / v.std(dim=0, unbiased=False).clamp_min(TWIN_FLOOR)
