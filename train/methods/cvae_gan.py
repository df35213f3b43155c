"""CVAE-GAN: pictures given a class, with a code for everything else (Bao et al., arXiv 1703.10155)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from train.adversaries import ADVERSARIES
from train.losses import at_least_float32, kl_divergence
from train.method import Batch, detached, one_hot
from train.methods.cvae import CVAE
from train.networks import Encoder, normal_sample
from train.recipe import Recipe

# KL, reconstruction, and matching the means of D's and of C's features (section 3.5)
KL_WEIGHT, RECONSTRUCTION_WEIGHT, CRITIC_WEIGHT, CLASS_WEIGHT = 3.0, 1.0, 1e-3, 1e-3


class CVAEGAN(CVAE):
    """E encodes a picture given its class, G decodes z and class, C predicts the class, D tells real from generated.

    Codes are z, followed by y, the one-hot class. In use, C predicts a picture's class.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.critic = Encoder(recipe.shape, 1)

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """D and C minimise their cross entropies; E and G
        3 KL + 1/2 (|x - x_f|^2 + |f_D(x) - f_D(x_f)|^2 + |f_C(x) - f_C(x_f)|^2)
        + 10^-3 1/2 |E f_D(x) - E f_D(x_p)|^2 + 10^-3 1/2 sum_c |E_c f_C(x) - E_c f_C(x_p)|^2
        with x_f = G(z, c), z ~ E(x, c), and x_p = G(z', c), z' ~ N(0, I) (CVAE-GAN, algorithm 1), all divided by the
        number of values in a picture.
        """
        x, y = batch.x, one_hot(batch.y, len(self.classes), batch.z.dtype)
        raw = self.posterior(x, y)
        z = normal_sample(raw, batch.draws.normal(self.recipe.latent_dim))
        drawn = self.generator(torch.cat([torch.cat([z, y], 1), torch.cat([batch.z, y], 1)]))
        shown = (x, *drawn.chunk(2))  # real, x_f, x_p: separate batches, since BatchNorm must not mix them
        scores, features_d = zip(*(seen_by(self.critic, pictures) for pictures in shown), strict=True)
        logits, features_c = zip(*(seen_by(self.classifier, pictures) for pictures in shown), strict=True)
        loss_d = self.game(*(score[:, 0] for score in scores))
        loss_c = F.cross_entropy(logits[0], batch.y)
        kl = kl_divergence(raw).mean()
        close = [sum_of_squares(real.detach(), painted).mean() for real, painted, _ in (shown, features_d, features_c)]
        everyone = torch.ones_like(y[:, :1])
        means = CRITIC_WEIGHT * mean_matching(features_d[0], features_d[2], everyone)
        means = means + CLASS_WEIGHT * mean_matching(features_c[0], features_c[2], y)
        loss_g = (KL_WEIGHT * kl + RECONSTRUCTION_WEIGHT * 0.5 * torch.stack(close).sum() + means) / x[0].numel()
        self.share_out(loss_d, loss_c, loss_g)
        return detached({"loss_d": loss_d, "loss_c": loss_c, "loss_g": loss_g, "kl": kl})

    def game(self, real: Tensor, repainted: Tensor, dreamt: Tensor) -> Tensor:
        """D's cross entropy; half of the generated pictures are reconstructions x_f, half are samples x_p."""
        critic = ADVERSARIES["ns"].critic
        return 0.5 * (critic(real, repainted, real) + critic(real, dreamt, real)).mean()

    def share_out(self, loss_d: Tensor, loss_c: Tensor, loss_g: Tensor) -> None:
        """Give each network the gradient of its own loss alone."""
        players = [self.encoder, self.condition, self.generator]
        for loss, networks in ((loss_d, [self.critic]), (loss_c, [self.classifier]), (loss_g, players)):
            weights = [p for network in networks for p in network.parameters()]
            for p, gradient in zip(weights, torch.autograd.grad(loss, weights, retain_graph=True), strict=True):
                p.grad = gradient


def seen_by(network: Encoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """A network's output for pictures, and its last features, flattened."""
    features = network.features(x).flatten(1)
    return network.head(at_least_float32(features)), features


def sum_of_squares(a: Tensor, b: Tensor) -> Tensor:
    """|a - b|^2 of each picture: (n, ...) twice -> (n,)."""
    return (at_least_float32(a) - at_least_float32(b)).square().flatten(1).sum(dim=1)


def mean_matching(real: Tensor, dreamt: Tensor, y: Tensor) -> Tensor:
    """1/2 sum_c |E_c f(x) - E_c f(x_p)|^2: features (n, m) twice, classes (n, c) -> scalar."""
    counts = y.sum(dim=0).clamp_min(1)[:, None]
    apart = y.T @ (at_least_float32(real).detach() - at_least_float32(dreamt)) / counts
    return 0.5 * apart.square().sum()
