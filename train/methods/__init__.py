"""One file a family of models."""

from __future__ import annotations

from train.method import Method
from train.methods.ogan import OGAN
from train.methods.ogan_views import OGANViews
from train.recipe import Recipe

METHODS: dict[str, type[Method]] = {"ogan": OGAN, "ogan-views": OGANViews}


def new_method(recipe: Recipe) -> Method:
    """The networks of ``recipe``, with their initial weights."""
    return METHODS[recipe.method](recipe)
