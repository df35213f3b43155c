"""Recipes: the settings of a training run, and presets, which name good sets of them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from retrieval.errors import TrainingError
from train.methods import method_class, method_names, methods_with, settings_class
from train.settings import OwnSettings, check_kind, plain

DEFAULT_METHOD = "ogan"
FLAT = ("adversary", "head", "reconstruction", "correlation_weight", "views", "view_weight", "distance", "clusters")
NO_SETTINGS = OwnSettings()
SEED_PX = 4  # side of the last feature map of E and of the first of G


@dataclass(frozen=True)
class Shape:
    """The shape that all networks of a model share: stages of stride 2 from a picture down to 4 x 4, or back."""

    image_size: int
    width: int
    max_width: int
    kernel: int = 5
    self_modulated: bool = False  # BatchNorm in G

    @property
    def channels(self) -> list[int]:
        """Channels of each stage, starting at the picture: width, 2 width, 4 width ... up to ``max_width``."""
        stages = int(math.log2(self.image_size // SEED_PX))
        if SEED_PX * 2**stages != self.image_size or stages < 1:
            raise ValueError(f"image size {self.image_size} px is not 4 px times a power of two")
        return [min(self.width * 2**stage, self.max_width) for stage in range(stages)]


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the trained model, apart from the pictures. Saved with every checkpoint.

    ``settings`` are the method's own, by default its defaults. Creating a recipe imports torch.

    Raises:
        TrainingError: no such method, or an invalid setting.
    """

    method: str = DEFAULT_METHOD
    image_size: int = 64
    latent_dim: int = 128
    width: int = 32  # channels of the first stage; they double with each
    max_width: int = 256
    kernel: int = 4
    self_modulated: bool = True
    batch_size: int = 64  # pictures per step, over all processes
    learning_rate: float = 2e-4
    warmup_steps: int = 300  # RMSprop has no bias correction
    decay_share: float = 0.5  # the last share of the run, in which the learning rate falls to zero
    ema_decay: float = 0.999  # 0 switches the average off
    mirror: bool = True
    classes: tuple[str, ...] = ()  # names of the classes of labelled pictures
    seed: int = 0
    settings: OwnSettings = NO_SETTINGS

    @property
    def shape(self) -> Shape:
        return Shape(self.image_size, self.width, self.max_width, self.kernel, self.self_modulated)

    def __post_init__(self) -> None:
        self._check_common()
        self._check_method()

    def _check_common(self) -> None:
        for name, default in COMMON.items():
            object.__setattr__(self, name, plain(getattr(self, name)))  # classes are a list when read from JSON
            check_kind(name, getattr(self, name), default)
        for name in ("width", "max_width", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise TrainingError(f"{name} must be above zero, not {getattr(self, name)}")
        for name in ("warmup_steps", "seed"):
            if getattr(self, name) < 0:
                raise TrainingError(f"{name} must not be below zero, not {getattr(self, name)}")
        if self.image_size not in (32, 64, 128, 256):
            raise TrainingError(f"image_size {self.image_size} is none of 32, 64, 128 and 256")
        if self.latent_dim < 2:
            raise TrainingError("latent_dim must be two at least: N(v) of one number is 0/0")
        if self.kernel not in (4, 5):
            raise TrainingError(f"kernel {self.kernel} is neither 4 nor 5")
        if not 0 <= self.ema_decay < 1:
            raise TrainingError(f"ema_decay must lie in [0, 1), not {self.ema_decay}")
        if not 0 <= self.decay_share <= 1:
            raise TrainingError(f"decay_share must lie in [0, 1], not {self.decay_share}")

    def _check_method(self) -> None:
        method, own = method_class(self.method), settings_class(self.method)
        if type(self.settings) is OwnSettings:
            object.__setattr__(self, "settings", own())
        elif type(self.settings) is not own:
            raise TrainingError(f"these are no settings of method {self.method}: {self.settings}")
        if self.classes and not method.takes_labels:
            others = [name for name in method_names() if method_class(name).takes_labels]
            raise TrainingError(f"labels say nothing to method {self.method}, only to {', '.join(others)}")
        if method.needs_labels and not self.classes:
            text = f"method {self.method} draws pictures of a class: it needs labels"
            raise TrainingError(text, "needs_labels", method=self.method)
        method.check_recipe(self)

    def flat(self) -> dict[str, Any]:
        """All settings side by side, common and own."""
        return {name: getattr(self, name) for name in COMMON} | vars(self.settings)


COMMON = {field.name: field.default for field in dataclasses.fields(Recipe) if field.name != "settings"}
"""The settings that all methods share, and their defaults."""


@dataclass(frozen=True)
class Budget:
    """When to stop: after ``steps``, or after ``minutes`` of training, over all sessions of the run."""

    steps: int | None = None
    minutes: float | None = None

    def share_done(self, step: int, elapsed_s: float) -> float:
        if self.steps is not None:
            return min(1.0, step / self.steps)
        assert self.minutes is not None
        return min(1.0, elapsed_s / (60 * self.minutes))

    def __str__(self) -> str:
        return f"{self.minutes:g} minutes" if self.steps is None else f"{self.steps:,} steps"


def _slim(size: int, **more: Any) -> dict[str, Any]:
    return {"image_size": size, **more}


def _paper(size: int, **more: Any) -> dict[str, Any]:
    """Reference widths: 64 channels at the first stage, doubling to 4x4 (Su, arXiv 1903.01931, section 4)."""
    reference = {
        "image_size": size,
        "width": 64,
        "max_width": 2048,
        "kernel": 5,
        "self_modulated": False,
        "learning_rate": 1e-4,
        "decay_share": 0.0,
        "ema_decay": 0.0,
        "mirror": False,
    }
    return {**reference, **more}


PRESETS: dict[str, dict[str, Any]] = {
    "slim-32": _slim(32, width=48),
    "slim-64": _slim(64),
    "slim-128": _slim(128),
    "slim-256": _slim(256, width=16),
    "paper-32": _paper(32),
    "paper-64": _paper(64),
    "paper-128": _paper(128),
    "paper-256": _paper(256, latent_dim=256, batch_size=48, correlation_weight=1.0, ema_decay=0.999),
}
"""The settings of each preset, common ones and methods' own side by side."""


def chosen_by(name: str, method: str) -> dict[str, Any]:
    """The settings of ``method`` that the preset ``name`` sets: the image size, and all that differ from the defaults.

    Raises:
        TrainingError: there is no such preset.
    """
    usual = defaults_of(method)
    chosen = _preset(name)
    return {one: chosen[one] for one in usual if one in chosen and (one == "image_size" or chosen[one] != usual[one])}


def preset(name: str, **changes: Any) -> Recipe:
    """The preset ``name`` with ``changes`` that are not None, the method's own settings among them.

    Raises:
        TrainingError: no such preset, or an invalid setting.
    """
    return _recipe(_preset(name), {key: value for key, value in changes.items() if value is not None})


def changed(base: Recipe, **changes: Any) -> Recipe:
    """``base`` with ``changes``; if these change the method, settings of the old method alone are dropped.

    Raises:
        TrainingError: an invalid setting, or one that the method does not have.
    """
    return _recipe(base.flat(), changes)


def _preset(name: str) -> dict[str, Any]:
    if name not in PRESETS:
        raise TrainingError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def _recipe(usual: dict[str, Any], said: dict[str, Any]) -> Recipe:
    """The settings ``said``, completed by those of ``usual`` that the method has."""
    method = said.get("method", usual.get("method", DEFAULT_METHOD))
    known = defaults_of(method)
    for name in sorted(said.keys() - known):
        others = methods_with(name)
        if not others:
            raise TrainingError(f"there is no setting {name!r}; there are {', '.join(sorted(known))}")
        raise TrainingError(f"{name} say nothing to method {method}, only to {', '.join(others)}")
    values = {name: value for name, value in {**usual, **said}.items() if name in known}
    for name, value in method_class(method).settled(known | values).items():
        if said.get(name, value) != value:
            text = f"{name} is {value} with what else was said, not {said[name]}"
            raise TrainingError(text, "setting_settled", setting=name)
        values[name] = value
    own = {name: values.pop(name) for name in values.keys() - COMMON.keys()}
    return Recipe(**values, settings=settings_class(method)(**own))


def defaults_of(method: str) -> dict[str, Any]:
    """All settings of ``method``, common and own, and their defaults.

    Raises:
        TrainingError: there is no such method.
    """
    own = {field.name: field.default for field in dataclasses.fields(settings_class(method))}
    assert not own.keys() & COMMON, f"method {method} names settings that all methods have: {own.keys() & COMMON}"
    return COMMON | own


def read_recipe(saved: dict[str, Any]) -> Recipe:
    """The recipe saved in a checkpoint, a run or a bundle: ``dataclasses.asdict``, perhaps through JSON.

    An older one has the settings of all methods side by side (``FLAT``).

    Raises:
        TrainingError: it is not a recipe.
    """
    try:
        said = dict(saved)
        own = said.pop("settings", None)
        if own is None:
            return _recipe({name: said.pop(name) for name in FLAT if name in said}, said)
        return _recipe({}, {**said, **own})
    except TypeError as error:
        raise TrainingError(f"no recipe: {error}") from error
