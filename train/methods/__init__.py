"""One file a family of models."""

from __future__ import annotations

from train.method import Method
from train.methods.aae import AAE
from train.methods.autoencoders import AE, VAE
from train.methods.bigan import ALI, BiGAN
from train.methods.bigan_qp import BiGANQP
from train.methods.cvae_gan import CVAEGAN
from train.methods.gan_qp import GANQP
from train.methods.ogan import OGAN
from train.methods.ogan_views import OGANViews
from train.methods.pixelcnn import PixelGAN
from train.recipe import Recipe

METHODS: dict[str, type[Method]] = {
    "ogan": OGAN,
    "ogan-views": OGANViews,
    "gan-qp": GANQP,
    "bigan-qp": BiGANQP,
    "bigan": BiGAN,
    "ali": ALI,
    "ae": AE,
    "vae": VAE,
    "aae": AAE,
    "cvae-gan": CVAEGAN,
    "pixelcnn": PixelGAN,
}


def new_method(recipe: Recipe) -> Method:
    """The networks of ``recipe``, with their initial weights."""
    return METHODS[recipe.method](recipe)
