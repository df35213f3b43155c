"""A generator for an encoder that is given: it learns to paint pictures whose codes are those that it was asked for.

The idea is that of O-GAN (Su, arXiv 1903.01931), where the correlation of a code with the code of what was painted from
it makes the critic an encoder. Here the encoder stays as it is, and a critic of its own judges the pictures.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from retrieval.errors import TrainingError
from retrieval.models.model import load_model
from retrieval.models.prior import fitted
from retrieval.pictures.tasks import Frame
from train.adversaries import ADVERSARIES
from train.data import Draws, Pictures, taken
from train.frozen import FrozenEncoder, resized
from train.losses import avg, correlation, squared_distance
from train.method import Batch, Method, descend_apart, detached, likely, own
from train.networks import Encoder, Generator
from train.recipe import Recipe, Shape
from train.settings import OwnSettings, declare

CRITIC_DIM = 128  # numbers whose average is the score, as O-GAN's; a single one would be learnt too fast
MEASURED, FITTED = 1024, 4096  # pictures: for the scale of the codes, and for the prior
LEAST_SPREAD = 0.1  # of a number of the code, relative to all numbers: so that G sees no noise of dead ones


@dataclass(frozen=True)
class Settings(OwnSettings):
    encoder: str = declare("", "The model whose codes are painted.")
    encoder_digest: str = declare("", "SHA-256 of that encoder.", hidden=True)
    adversary: str = declare("qp", "The game of critic and generator.", choices=("qp", "ns", "ls", "hinge"))
    correlation_weight: float = declare(
        0.5, "Weight of the correlation, the paper's lambda.", at_least=0, option="lambda", hidden=True
    )
    pixel_weight: float = declare(0.0, "Weight of the distance of pixels.", at_least=0, hidden=True)
    mixtures: float = declare(0.5, "Share of the codes that lie between two pictures'.", at_least=0, hidden=True)


class ScaledGenerator(nn.Module):
    """G of codes of any scale: codes (n, d) -> pictures (n, 3, s, s) of (c - mean) / spread, number by number."""

    mean: Tensor
    spread: Tensor

    def __init__(self, shape: Shape, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("spread", torch.ones(latent_dim))
        self.painter = Generator(shape, latent_dim)

    def forward(self, code: Tensor) -> Tensor:
        painted: Tensor = self.painter((code - self.mean) / self.spread)
        return painted

    def measure(self, codes: Tensor) -> None:
        """Take mean and standard deviation from codes (n, d)."""
        spread = codes.std(dim=0, unbiased=False)
        self.mean.copy_(codes.mean(dim=0))
        self.spread.copy_(spread.clamp_min(LEAST_SPREAD * float(spread.square().mean().sqrt())))


class Decoder(Method):
    """E is a bundle's, and is not trained; G paints its codes, and avg D tells pictures from what G paints."""

    settings: Settings
    generator: ScaledGenerator
    needs_encoder = True
    paints_prior = False
    painted_once = 2048

    @classmethod
    def settled(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """The length of a code, and the encoder itself, which a run may not change.

        Raises:
            ModelError: there is no such model, or it has no encoder.
            TrainingError: none was named, or it cannot be painted for.
        """
        if not settings["encoder"]:
            raise TrainingError("method decoder paints the codes of an encoder: it needs one", "needs_encoder")
        bundle = load_model(settings["encoder"], "cpu")
        if bundle.looks > 1 or bundle.classes:
            raise TrainingError(f"model {bundle.name} has two looks or classes; name one with neither")
        if settings["encoder_digest"] not in ("", bundle.digest):
            raise TrainingError(f"the encoder of {settings['encoder']} is another one than this run was begun with")
        return {"latent_dim": bundle.latent_dim, "encoder_digest": bundle.digest}

    @classmethod
    def looks_at(cls, recipe: Recipe) -> tuple[int, Frame]:
        """Pictures as the encoder sees them: their codes are those of an index. G learns from them scaled down."""
        assert isinstance(recipe.settings, Settings)
        bundle = load_model(recipe.settings.encoder, "cpu")
        return bundle.image_size, bundle.frame

    @classmethod
    def check_recipe(cls, recipe: Recipe) -> None:
        own = recipe.settings
        assert isinstance(own, Settings)
        if not own.mixtures <= 1:
            raise TrainingError(f"mixtures must lie in [0, 1], not {own.mixtures}")
        if (told := cls.settled(recipe.flat()))["latent_dim"] != recipe.latent_dim:
            raise TrainingError(f"a code of {own.encoder} has {told['latent_dim']} numbers, not {recipe.latent_dim}")

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.given = load_model(self.settings.encoder, "cpu")
        self.seen_by = FrozenEncoder(self.given)
        self.difference = 0.0
        self.standardized = self.given.standardized
        self.generator = ScaledGenerator(recipe.shape, recipe.latent_dim)
        self.critic = Encoder(recipe.shape, CRITIC_DIM)

    def prepare(self, pictures: Pictures, is_new: bool) -> None:
        """Check the encoder's codes in torch, and take their scale.

        Raises:
            ModelError: a code is no number.
            TrainingError: codes differ from those of ONNX Runtime, or are the same for all pictures.
        """
        some = taken(pictures, np.random.default_rng(0).permutation(len(pictures))[:MEASURED])
        self.difference = self.seen_by.difference(some)
        if not is_new:
            return
        given = self.seen_by.bundle
        codes = given.encode_squares(some).codes
        if np.ptp(codes, axis=0).max() <= 1e-6 * np.abs(codes).max():
            raise TrainingError(f"model {given.name} gives all pictures the same code, so there is nothing to paint")
        self.generator.measure(torch.from_numpy(codes))

    def further_facts(self, pictures: Pictures) -> dict[str, Any]:
        """What the given bundle says of its encoder, which one it is, and the prior that samples are drawn from."""
        given = self.seen_by.bundle
        some = taken(pictures, np.random.default_rng(0).permutation(len(pictures))[:FITTED])
        said = ("image_size", "normalisation", "preprocess", "batch", "learnt", "encoder_bits", "encoder_cosine")
        recipe = dataclasses.asdict(self.recipe)
        recipe["settings"]["encoder"] = given.name  # and not where it was found
        return {
            **{name: given.facts[name] for name in said if name in given.facts},
            "painted_size": self.recipe.image_size,
            "recipe": recipe,
            "encoder": {"name": given.name, "digest": given.digest},
            "encoder_difference": self.difference,
            "prior": fitted(given.encode_squares(some).codes),
        }

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) of any side -> code (n, d), realism and spread of codes near a prior (n,)."""
        with torch.no_grad():
            return likely(self.seen_by(x))

    def whole_code(self, z: Tensor) -> Tensor:
        """Codes with mean and spread of the pictures', number by number, for the grids of a run."""
        return self.generator.mean + self.generator.spread * z

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """D minimises f(avg D(x), avg D(x')), G minimises h(avg D(x')) - lambda rho(c - m, E(x') - m) + mu |x - x'|^2.

        x' = G(c), c = E(x) or a mixture of two such codes, and m is the mean code. What all pictures have in common
        would make any two codes correlate, so it is taken away. The pixels of mixtures are nobody's.

        GAN-QP divides by the distance of a real picture to a painted one. x' is painted from x, so that distance would
        shrink as G learns; each picture is held against what was painted from another one.
        """
        with torch.no_grad():
            seen = self.seen_by(batch.x)
        x = resized(batch.x, self.recipe.image_size)
        code, is_own = self.mixed(seen, batch.draws)
        fake = self.generator(code)
        (leaf,) = own([fake])
        others, game = x.roll(1, 0), ADVERSARIES[self.settings.adversary]
        d_real, d_fake = avg(self.critic(others)), avg(self.critic(leaf))
        loss_d = game.critic(d_real, d_fake, squared_distance(others, leaf.detach())).mean()

        mean = self.generator.mean
        rho = correlation(code - mean, self.seen_by(leaf) - mean).mean()
        pixels = (is_own * squared_distance(x, leaf)).sum() / is_own.sum().clamp_min(1)
        loss_g = game.generator(d_fake).mean()
        loss_g = loss_g - self.settings.correlation_weight * rho + self.settings.pixel_weight * pixels
        descend_apart(loss_d, loss_g, [leaf], [fake])
        return detached({"loss_d": loss_d, "loss_g": loss_g, "rho": rho, "pixels": pixels, "d_fake": d_fake})

    def mixed(self, codes: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Codes (n, d), of which a share are mixtures t a + (1 - t) b, and 1 for each that is a picture's own (n,).

        A mixture is as long as a and b are on average, so it stays on a sphere that all codes are on.
        """
        t = draws.uniform(2).to(codes.dtype)
        t = torch.where(t[:, 0] < self.settings.mixtures, t[:, 1], 1.0)[:, None]
        other = codes.roll(1, 0)
        between = t * codes + (1 - t) * other
        long = t * codes.norm(dim=1, keepdim=True) + (1 - t) * other.norm(dim=1, keepdim=True)
        return between * long / between.norm(dim=1, keepdim=True).clamp_min(1e-12), (t[:, 0] == 1).to(codes.dtype)
