"""What a training is made of: the settings of a run, and the presets that name good sets of them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from retrieval.errors import TrainingError

METHOD_NAMES = ("ogan", "ogan-views", "gan-qp", "bigan-qp", "bigan", "ali", "ae", "vae", "aae", "cvae-gan", "pixelcnn")
OWN_SETTINGS = {  # which methods look at a setting; the others look at all of them
    "adversary": ("ogan", "ogan-views"),
    "head": ("ogan", "ogan-views"),
    "reconstruction": ("ogan", "ogan-views"),
    "correlation_weight": ("ogan", "ogan-views"),
    "views": ("ogan-views",),
    "view_weight": ("ogan-views",),
    "distance": ("gan-qp",),
    "clusters": ("aae",),
    "classes": ("aae", "cvae-gan"),
}
SEED_PX = 4  # side of the last feature map of E and of the first of G
NEED_LABELS = ("cvae-gan",)
CHOICES = {
    "adversary": ("qp", "ns", "ls", "hinge", "wgan-gp"),
    "head": ("avg", "linear"),
    "reconstruction": ("rho", "mse", "none"),
    "distance": ("l1", "l2"),
}


@dataclass(frozen=True)
class ViewStrength:
    """How far a second view may be from its picture."""

    crop: float  # the least share of the side that is kept
    aspect: float  # largest |log| of the stretching
    rotation: float  # largest angle, radians
    light: float  # largest share by which contrast changes; brightness changes by as much of half the range
    colour: float  # largest share by which saturation changes
    grey: float  # probability that colour goes altogether


VIEWS = {
    "gentle": ViewStrength(crop=0.88, aspect=0.0, rotation=0.1, light=0.15, colour=0.3, grey=0.1),
    "strong": ViewStrength(crop=0.45, aspect=0.1, rotation=0.1, light=0.4, colour=0.8, grey=0.1),
}


@dataclass(frozen=True)
class Shape:
    """What the networks of one model share: stages of stride 2 from a picture down to 4 x 4, or back."""

    image_size: int
    width: int
    max_width: int
    kernel: int = 5
    self_modulated: bool = False  # BatchNorm in G

    @property
    def channels(self) -> list[int]:
        """Of each stage from the picture inwards: width, 2 width, 4 width ... capped at ``max_width``."""
        stages = int(math.log2(self.image_size // SEED_PX))
        if SEED_PX * 2**stages != self.image_size or stages < 1:
            raise ValueError(f"image size {self.image_size} px is not 4 px times a power of two")
        return [min(self.width * 2**stage, self.max_width) for stage in range(stages)]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is learnt, apart from the pictures. Saved with every checkpoint."""

    method: str = "ogan"
    image_size: int = 64
    latent_dim: int = 128
    width: int = 32  # channels of the first stage; they double with each
    max_width: int = 256
    kernel: int = 4
    self_modulated: bool = True
    batch_size: int = 64  # pictures a step, over all processes
    learning_rate: float = 2e-4
    warmup_steps: int = 300  # RMSprop has no bias correction
    decay_share: float = 0.5  # the last share of the run, over which the rate falls to zero
    correlation_weight: float = 0.5  # the paper's lambda
    adversary: str = "qp"  # the game that critic and generator play
    head: str = "avg"  # T, from E(x) to the critic's score: avg or linear
    reconstruction: str = "rho"  # what ties E(G(z)) to z: rho, mse or none
    views: str = "gentle"  # how far a second view may be from its picture
    view_weight: float = 0.5  # of the term that compares the two
    distance: str = "l1"  # between a real and a generated picture
    clusters: int = 0  # so many classes are found without labels; 0 for none
    ema_decay: float = 0.999  # 0 switches the average off
    mirror: bool = True
    classes: tuple[str, ...] = ()  # names of the classes of labelled pictures
    seed: int = 0

    @property
    def shape(self) -> Shape:
        return Shape(self.image_size, self.width, self.max_width, self.kernel, self.self_modulated)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))  # a list where it was read from JSON
        positive = ("image_size", "latent_dim", "width", "max_width", "batch_size", "learning_rate")
        for name in positive:
            if not getattr(self, name) > 0:
                raise TrainingError(f"{name} must be above zero, not {getattr(self, name)}")
        if self.image_size not in (32, 64, 128, 256):
            raise TrainingError(f"image_size {self.image_size} is none of 32, 64, 128 and 256")
        if self.method == "pixelcnn" and self.image_size != 32:
            raise TrainingError("method pixelcnn draws one pixel after the other: 32 px only")
        if self.latent_dim < 2:
            raise TrainingError("latent_dim must be two at least: N(v) of one number is 0/0")
        if self.method not in METHOD_NAMES:
            raise TrainingError(f"no method {self.method!r}; there are {', '.join(METHOD_NAMES)}")
        self._check_own_settings()
        if self.kernel not in (4, 5):
            raise TrainingError(f"kernel {self.kernel} is neither 4 nor 5")
        if not 0 <= self.ema_decay < 1:
            raise TrainingError(f"ema_decay must lie in [0, 1), not {self.ema_decay}")
        if not 0 <= self.decay_share <= 1:
            raise TrainingError(f"decay_share must lie in [0, 1], not {self.decay_share}")
        for name in ("warmup_steps", "correlation_weight", "view_weight", "seed"):
            if not getattr(self, name) >= 0:
                raise TrainingError(f"{name} must not be below zero, not {getattr(self, name)}")

    def _check_own_settings(self) -> None:
        for name, choices in {**CHOICES, "views": tuple(VIEWS)}.items():
            if getattr(self, name) not in choices:
                raise TrainingError(f"{name} {getattr(self, name)!r} is none of {', '.join(choices)}")
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name, methods in OWN_SETTINGS.items():
            if self.method not in methods and getattr(self, name) != defaults[name]:
                said = "labels" if name == "classes" else name
                raise TrainingError(f"{said} say nothing to method {self.method}, only to {', '.join(methods)}")
        if self.clusters < 0 or self.clusters == 1:
            raise TrainingError(f"clusters must be two at least, not {self.clusters}")
        if self.clusters and self.classes:
            raise TrainingError("labels name the classes; clusters find them: give one of the two")
        if self.method in NEED_LABELS and not self.classes:
            raise TrainingError(f"method {self.method} draws pictures of a class: it needs --labels")


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


def _slim(size: int, **changes: object) -> Recipe:
    return dataclasses.replace(Recipe(image_size=size), **changes)  # type: ignore[arg-type]


def _paper(size: int, **changes: object) -> Recipe:
    """Reference widths: 64 channels at the first stage, doubling to 4x4 (Su, arXiv 1903.01931, section 4)."""
    reference = Recipe(
        image_size=size,
        width=64,
        max_width=2048,
        kernel=5,
        self_modulated=False,
        learning_rate=1e-4,
        decay_share=0.0,
        ema_decay=0.0,
        mirror=False,
    )
    return dataclasses.replace(reference, **changes)  # type: ignore[arg-type]


PRESETS = {
    "slim-32": _slim(32, width=48),
    "slim-64": _slim(64),
    "slim-128": _slim(128),
    "slim-256": _slim(256, width=16),
    "paper-32": _paper(32),
    "paper-64": _paper(64),
    "paper-128": _paper(128),
    "paper-256": _paper(256, latent_dim=256, batch_size=48, correlation_weight=1.0, ema_decay=0.999),
}


def chosen_by(name: str) -> dict[str, Any]:
    """The settings that the preset ``name`` decides: its size, and where it differs from what is usual.

    Raises:
        TrainingError: there is no such preset.
    """
    own, usual = vars(preset(name)), vars(Recipe())
    return {setting: value for setting, value in own.items() if setting == "image_size" or value != usual[setting]}


def preset(name: str, **changes: object) -> Recipe:
    """The preset ``name`` with ``changes`` that are not None.

    Raises:
        TrainingError: no such preset, or a setting that cannot be.
    """
    if name not in PRESETS:
        raise TrainingError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return changed(PRESETS[name], **{key: value for key, value in changes.items() if value is not None})


def changed(base: Recipe, **changes: Any) -> Recipe:
    """``base`` with ``changes``; of another method, without what ``base`` says to its own alone.

    Raises:
        TrainingError: a setting that cannot be, or that says nothing to the method.
    """
    method = changes.get("method", base.method)
    defaults = {field.name: field.default for field in dataclasses.fields(Recipe)}
    foreign = {name: defaults[name] for name, methods in OWN_SETTINGS.items() if method not in methods}
    return dataclasses.replace(base, **{**foreign, **changes})
