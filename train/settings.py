"""Settings: their kinds, their form as text, and how a method declares its own."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval.errors import TrainingError

KINDS = {bool: "yes or no", int: "a whole number", float: "a finite number", str: "a word", tuple: "names"}
TRUTH = {
    **dict.fromkeys(("yes", "y", "true", "t", "on", "1"), True),
    **dict.fromkeys(("no", "n", "false", "f", "off", "0"), False),
}


@dataclass(frozen=True)
class Declaration:
    """A method's declaration of one of its settings: see ``declare``."""

    default: Any
    about: str
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    below: float | None = None
    option: str = ""
    hidden: bool = False

    def check(self, name: str, value: Any) -> None:
        """
        Raises:
            TrainingError: ``value`` is invalid.
        """
        check_kind(name, value, self.default)
        if self.choices and value not in self.choices:
            raise _refused(f"{name} {value!r} is none of {', '.join(self.choices)}", name)
        if self.at_least is not None and not value >= self.at_least:
            raise _refused(f"{name} must be {self.at_least:g} at least, not {value}", name)
        if self.below is not None and not value < self.below:
            raise _refused(f"{name} must be below {self.below:g}, not {value}", name)


def declare(default: Any, about: str, **more: Any) -> Any:
    """Declare a field of ``OwnSettings``. All arguments must be literals, since they are also read from the source.

    Args:
        default: a bool, a number, or a word; it determines the setting's kind.
        about: one line of help.
        more: ``choices``, the allowed words; ``at_least`` and ``below``, the bounds; ``option``, its name on the
            command line if that differs; ``hidden``, whether the first page of help omits it.
    """
    return dataclasses.field(default=default, metadata={"declaration": Declaration(default, about, **more)})


@dataclass(frozen=True)
class OwnSettings:
    """The settings of one method alone; this base class is for methods without any.

    Raises:
        TrainingError: an invalid setting.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))
            field.metadata["declaration"].check(field.name, getattr(self, field.name))


def plain(value: Any) -> Any:
    """``value`` with Python's own numbers and words in place of numpy's, which a checkpoint cannot be read with."""
    if isinstance(value, (tuple, list, np.ndarray)):
        return tuple(map(plain, value))
    return value.item() if isinstance(value, np.generic) else value


def check_kind(name: str, value: Any, default: Any) -> None:
    """
    Raises:
        TrainingError: ``value`` is not of the kind of ``default``: bool, int, finite number, word, or words.
    """
    kind = type(default)
    fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
    fits = fits and (kind is not tuple or all(isinstance(one, str) for one in value))
    is_truth_for_a_number = isinstance(value, bool) and kind is not bool
    if not fits or is_truth_for_a_number or (kind is float and not math.isfinite(value)):
        raise _refused(f"{name} must be {KINDS[kind]}, not {value!r}", name)


def parse(name: str, text: str, default: Any) -> Any:
    """Parse ``text`` as a value of the kind of ``default``.

    Raises:
        TrainingError: ``text`` is not such a value.
    """
    kind = type(default)
    try:
        value = TRUTH[text.strip().lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise _refused(f"{name} cannot be {text!r}: it takes {KINDS[kind]}", name) from error
    check_kind(name, value, default)
    return value


def _refused(text: str, name: str) -> TrainingError:
    return TrainingError(text, "setting_refused", setting=name)
