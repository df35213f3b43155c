"""A variational autoencoder of pixels (Kingma and Welling, arXiv 1312.6114)."""

from __future__ import annotations

from torch import Tensor

from train.losses import kl_divergence, squared_distance
from train.method import Batch, detached
from train.methods.ae import AE
from train.networks import normal_sample


class VAE(AE):
    """Codes are the means of q(z|x) = N(mu(x), sigma(x)^2)."""

    @property
    def raw_dim(self) -> int:
        return 2 * self.recipe.latent_dim

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """E and G minimise -E_q log p(x|z) + KL(q(z|x) | N(0, I)) (Kingma and Welling, eq. 3), in nats per value.

        p(x|z) = N(G(z), s^2) with the optimal s: then -log p = D/2 log mean (x - G(z))^2 up to a constant, for D values
        in a picture (Rybkin et al., arXiv 2006.13202, eq. 4), and no weight has to be tuned.
        """
        raw = self.encoder(batch.x)
        z = normal_sample(raw, batch.draws.normal(self.recipe.latent_dim))
        error = squared_distance(batch.x, self.generator(z)).mean()
        numbers = batch.x[0].numel()
        kl = kl_divergence(raw).mean()
        loss = 0.5 * error.clamp_min(1e-6).log() + kl / numbers
        loss.backward()  # type: ignore[no-untyped-call]
        return detached({"loss": loss, "error": error, "kl": kl})
