"""The methods, one file each, named after the method. Adding a file adds a method.

A file has one subclass of ``Method`` and, if the method has settings of its own, a dataclass ``Settings``. Names and
settings are read without running a file: the command line needs them at once, and running a file imports torch.
"""

from __future__ import annotations

import ast
import functools
import pkgutil
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from retrieval.errors import TrainingError
from train.settings import Declaration, OwnSettings

if TYPE_CHECKING:
    from train.method import Method
    from train.recipe import Recipe

SETTINGS = "Settings"


@functools.cache
def method_names() -> tuple[str, ...]:
    """All methods, in alphabetical order."""
    return tuple(sorted(one.name.replace("_", "-") for one in pkgutil.iter_modules(__path__)))


@functools.cache
def declared_settings(method: str) -> dict[str, Declaration]:
    """The settings of ``method`` that are not common to all methods, inherited ones included, by name.

    Read from the source: ``class Settings(OwnSettings)`` or ``class Settings(OTHER_METHOD.Settings)``, in which each
    line is ``name: kind = declare(...)`` with literals.

    Raises:
        TrainingError: there is no such method.
    """
    _check_name(method)
    tree = ast.parse(Path(__path__[0], f"{_module_name(method)}.py").read_text(encoding="utf-8"))
    found: dict[str, Declaration] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == SETTINGS:
            for part in (*node.bases, *node.body):
                match part:
                    case ast.Attribute(value=ast.Name(id=other)):
                        found |= declared_settings(other.replace("_", "-"))
                    case ast.AnnAssign(target=ast.Name(id=name), value=ast.Call() as call):
                        found[name] = _read(call)
    return found


def _read(call: ast.Call) -> Declaration:
    words: dict[str, Any] = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    return Declaration(*map(ast.literal_eval, call.args), **words)


def methods_with(setting: str) -> list[str]:
    """The methods that declare or inherit a setting of this name."""
    return [name for name in method_names() if setting in declared_settings(name)]


def method_class(name: str) -> type[Method]:
    """The class of a method. Imports torch.

    Raises:
        TrainingError: there is no such method.
    """
    from train.method import Method

    module = _module(name)
    own = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
    (found,) = [one for one in own if issubclass(one, Method)]  # one method per file
    return found


def settings_class(name: str) -> type[OwnSettings]:
    """The class of a method's own settings. Imports torch.

    Raises:
        TrainingError: there is no such method.
    """
    found: type[OwnSettings] = getattr(_module(name), SETTINGS, OwnSettings)
    return found


def new_method(recipe: Recipe) -> Method:
    """The networks of ``recipe``, with their initial weights."""
    return method_class(recipe.method)(recipe)


def _module(name: str) -> ModuleType:
    _check_name(name)
    return import_module(f"{__name__}.{_module_name(name)}")


def _module_name(method: str) -> str:
    return method.replace("-", "_")


def _check_name(method: str) -> None:
    if method not in method_names():
        text = f"no method {method!r}; there are {', '.join(method_names())}"
        raise TrainingError(text, "no_method", method=method)
