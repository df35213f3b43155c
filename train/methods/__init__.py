"""One file a family of models."""

from __future__ import annotations

from retrieval.errors import TrainingError
from train.method import Method
from train.methods.ogan import OGAN
from train.recipe import Recipe

METHODS: dict[str, type[Method]] = {"ogan": OGAN}


def new_method(recipe: Recipe) -> Method:
    """The networks of ``recipe``, with their initial weights.

    Raises:
        TrainingError: there is no such method.
    """
    if recipe.method not in METHODS:
        raise TrainingError(f"no method {recipe.method!r}; there are {', '.join(METHODS)}")
    return METHODS[recipe.method](recipe)
