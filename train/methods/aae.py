"""Adversarial autoencoders: critics match the codes to a prior (Makhzani et al., arXiv 1511.05644)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.errors import TrainingError
from train.adversaries import ADVERSARIES
from train.losses import squared_distance
from train.method import Batch, Method, descend_apart, detached, likely, one_hot, own
from train.networks import Encoder, Generator, dense_layers
from train.recipe import Recipe
from train.settings import OwnSettings, declare

ADVERSARY_WEIGHT = 0.02  # relative to the mean squared error of pixels
CLASS_WEIGHT = 0.1
HEADS_APART = 4.0  # the least distance of two cluster heads in the plane


@dataclass(frozen=True)
class Settings(OwnSettings):
    clusters: int = declare(0, "Find so many classes without labels.")


def cluster_heads(count: int) -> nn.Linear:
    """W of section 7, whose columns are points of a square lattice: apart at once, since steps of the optimizer's rate
    would take tens of thousands to bring them there."""
    heads = nn.Linear(count, 2, bias=False)
    side = math.ceil(math.sqrt(count))
    lattice = torch.cartesian_prod(torch.arange(side), torch.arange(side))[:count].float()
    heads.weight.data = HEADS_APART * (lattice - lattice.mean(dim=0)).T.contiguous()
    return heads


class AAE(Method):
    """Codes are z alone; with labels or clusters, they are z, the style, followed by y, a probability for each class.

    * without labels: a critic matches z to N(0, I) (section 2);
    * all pictures labelled, supervised: G gets the true y (section 4);
    * some pictures labelled, semi-supervised: E predicts y for the others, a second critic matches the predictions to
      one-hot vectors, and cross entropy trains y on the labelled ones (section 5);
    * ``clusters``: no labels, E predicts all y (section 6). If z has two dimensions, the clusters share its plane: G
      gets W y + z, a loss keeps the heads, W's rows, apart (section 7), and this point is the code.
    """

    settings: Settings
    paints_prior = False
    takes_labels = True

    @classmethod
    def check_recipe(cls, recipe: Recipe) -> None:
        settings = recipe.settings
        assert isinstance(settings, Settings)
        if settings.clusters < 0 or settings.clusters == 1:
            raise TrainingError(f"clusters must be two at least, not {settings.clusters}")
        if settings.clusters and recipe.classes:
            raise TrainingError("labels name the classes; clusters find them: give one of the two")

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        d, shape = recipe.latent_dim, recipe.shape
        self.ways = len(recipe.classes) or self.settings.clusters
        self.is_plane = self.settings.clusters > 0 and d == 2
        self.encoder = Encoder(shape, d + self.ways)
        self.generator = Generator(shape, self.code_dim)
        self.style_critic = dense_layers([d, 256, 256, 1])
        self.class_critic = dense_layers([self.ways, 256, 256, 1]) if self.ways else None
        self.heads = cluster_heads(self.ways) if self.is_plane else None

    @property
    def code_dim(self) -> int:
        return self.recipe.latent_dim + (0 if self.is_plane else self.ways)

    @property
    def classes(self) -> Sequence[str]:
        if self.is_plane:
            return ()
        return self.recipe.classes or [f"cluster {number}" for number in range(self.ways)]

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Style z (n, d) and logits of the classes (n, ways)."""
        raw = self.encoder(x)
        return raw[:, : self.recipe.latent_dim], raw[:, self.recipe.latent_dim :]

    def joined(self, z: Tensor, y: Tensor) -> Tensor:
        """The input of G: (n, d), (n, ways) -> (n, code_dim)."""
        return z + self.heads(y) if self.heads is not None else torch.cat([z, y], dim=1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) -> code (n, code_dim), realism and spread of styles near the prior (n,)."""
        z, logits = self.parts(x)
        _, realism, spread = likely(z)
        return self.joined(z, logits.softmax(dim=1)), realism, spread

    def centres(self) -> list[list[float]]:
        return self.heads.weight.T.tolist() if self.heads is not None else []

    def whole_code(self, z: Tensor) -> Tensor:
        y = one_hot(torch.arange(len(z), device=z.device) % max(1, self.ways), self.ways, z.dtype)
        return self.joined(z, y)

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """E and G minimise mean_pixels (x - G(z, y))^2 and play against the critics of z and of y."""
        z, logits = self.parts(batch.x)
        guessed = logits.softmax(dim=1)
        true = one_hot(batch.y, self.ways, guessed.dtype)
        known = batch.y >= 0
        y = torch.where(known[:, None], true, guessed)
        error = squared_distance(batch.x, self.generator(self.joined(z, y))).mean()
        terms = {"error": error}
        if self.ways:
            terms |= self.class_terms(logits, batch.y, known)
        outputs, leaves = [z, guessed] if self.ways else [z], own([z, guessed] if self.ways else [z])
        loss_d, loss_g = self.games(batch, leaves)
        torch.stack(list(terms.values())).sum().backward(retain_graph=True)  # type: ignore[no-untyped-call]
        descend_apart(loss_d, ADVERSARY_WEIGHT * loss_g, leaves, outputs)
        return detached({"loss_d": loss_d, "loss_g": loss_g, **terms})

    def class_terms(self, logits: Tensor, y: Tensor, known: Tensor) -> dict[str, Tensor]:
        """Cross entropy on labelled pictures; in the plane, a penalty on heads that are too close."""
        terms = {}
        if len(self.recipe.classes):
            entropies = F.cross_entropy(logits, y.clamp_min(0), reduction="none")
            terms["classes"] = CLASS_WEIGHT * (entropies * known).sum() / known.sum().clamp_min(1)
        if self.heads is not None:
            heads = self.heads.weight.T
            apart = F.relu(HEADS_APART - F.pdist(heads)).square()
            terms["heads"] = apart.mean()
        return terms

    def games(self, batch: Batch, leaves: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Losses of the critics and of E, for style and classes (section 2, in the non-saturating form)."""
        game, n = ADVERSARIES["ns"], len(batch.x)
        prior_y = one_hot((batch.draws.uniform(1)[:, 0] * self.ways).long(), self.ways, batch.z.dtype)
        pairs = [(self.style_critic, batch.z, leaves[0])]
        if self.class_critic is not None:
            pairs.append((self.class_critic, prior_y, leaves[1]))
        loss_d, loss_g = batch.z.new_zeros(()), batch.z.new_zeros(())
        for critic, prior, guess in pairs:
            scores = critic(torch.cat([prior, guess]))[:, 0].float()
            loss_d = loss_d + game.critic(scores[:n], scores[n:], scores[:n]).mean()
            loss_g = loss_g + game.generator(scores[n:]).mean()
        return loss_d, loss_g
