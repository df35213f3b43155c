"""The adversarial losses of a critic and a generator, in one convention: a score is low for real, high for generated.

For papers with the opposite sign, D = -score. All losses map (n,) -> (n,), in float32 at least.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from train.losses import at_least_float32, critic_qp

PENALTY_WEIGHT = 10.0


@dataclass(frozen=True)
class Adversary:
    """The critic minimises ``critic(real, fake, distance)``, the generator minimises ``generator(fake)``.

    ``distance`` (n,) is that between the i-th real and the i-th generated picture; only GAN-QP uses it.
    """

    critic: Callable[[Tensor, Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def _score(fake: Tensor) -> Tensor:
    return fake


def critic_ns(real: Tensor, fake: Tensor, distance: Tensor) -> Tensor:
    """-log sigmoid D(x) - log(1 - sigmoid D(x')) (Goodfellow et al., arXiv 1406.2661, eq. 1)."""
    return F.softplus(real) + F.softplus(-fake)


def critic_ls(real: Tensor, fake: Tensor, distance: Tensor) -> Tensor:
    """1/2 (D(x) - 1)^2 + 1/2 (D(x') + 1)^2 (Mao et al., arXiv 1611.04076, eq. 8)."""
    return 0.5 * (real + 1).square() + 0.5 * (fake - 1).square()


def critic_hinge(real: Tensor, fake: Tensor, distance: Tensor) -> Tensor:
    """max(0, 1 - D(x)) + max(0, 1 + D(x')) (Lim and Ye, arXiv 1705.02894)."""
    return F.relu(1 + real) + F.relu(1 - fake)


def critic_wasserstein(real: Tensor, fake: Tensor, distance: Tensor) -> Tensor:
    """D(x') - D(x); needs ``gradient_penalty`` as well (Gulrajani et al., arXiv 1704.00028, eq. 3)."""
    return real - fake


ADVERSARIES = {
    "qp": Adversary(critic_qp, _score),
    "ns": Adversary(critic_ns, F.softplus),  # -log sigmoid D(x'): the non-saturating form
    "ls": Adversary(critic_ls, lambda fake: 0.5 * fake.square()),  # 1/2 D(x')^2
    "hinge": Adversary(critic_hinge, _score),
    "wgan-gp": Adversary(critic_wasserstein, _score),
}


def gradient_penalty(score: Callable[[Tensor], Tensor], x: Tensor, fake: Tensor, u: Tensor) -> Tensor:
    """10 (|grad D(v)| - 1)^2 at v = u x + (1 - u) x', u (n, 1) uniform: (n,) (Gulrajani et al., eq. 3).

    The critic must treat each picture alone: with BatchNorm, a picture's gradient depends on the whole batch.
    """
    u = u[:, :, None, None].to(x.dtype)
    between = (u * x + (1 - u) * fake).detach().requires_grad_()
    (slopes,) = torch.autograd.grad(score(between).sum(), between, create_graph=True)
    norms = at_least_float32(slopes).flatten(1).norm(dim=1)
    penalty: Tensor = PENALTY_WEIGHT * (norms - 1).square()
    return penalty
