"""An autoencoder of pixels."""

from __future__ import annotations

from torch import Tensor

from train.losses import squared_distance
from train.method import Batch, Method, detached, likely
from train.networks import Encoder, Generator
from train.recipe import Recipe


class AE(Method):
    """Codes are trained only so that G reconstructs the picture."""

    encoder: Encoder
    paints_prior = False

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.encoder = Encoder(recipe.shape, self.raw_dim)
        self.generator = Generator(recipe.shape, recipe.latent_dim)

    @property
    def raw_dim(self) -> int:
        """Number of E's outputs."""
        return self.recipe.latent_dim

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) -> code (n, d), for the VAE the mean; realism and spread (n,)."""
        return likely(self.encoder(x)[:, : self.recipe.latent_dim])

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """E and G minimise mean_pixels (x - G(E(x)))^2."""
        loss = squared_distance(batch.x, self.generator(self.encoder(batch.x))).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return detached({"loss": loss})
