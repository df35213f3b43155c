"""What ``latent train`` and ``latent benchmark`` share: that torch is there, budgets, Ctrl-C, the bar, own settings."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import FrameType
from typing import Any

import click

from cli.console import Finite, say
from retrieval.errors import MissingExtra, pip_line
from train.methods import declared_settings, method_names
from train.settings import Declaration

TORCH_LINE = f"training needs torch: {pip_line('train')}"


def require_torch() -> None:
    """Raises MissingExtra where torch is not installed; finding it takes no time, importing it does."""
    if find_spec("torch") is None:
        raise MissingExtra(TORCH_LINE)


def budget_of(options: dict[str, Any]) -> Any:
    """What ``--steps`` and ``--minutes`` say of when to stop; None where they say nothing."""
    from train.recipe import Budget

    steps, minutes = options["steps"], options["minutes"]
    if steps and minutes:
        raise click.UsageError("--steps and --minutes exclude each other")
    return Budget(steps=steps, minutes=minutes) if steps or minutes else None


def own_setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator: an option for each setting that some methods alone understand, as their files declare them."""
    owners: dict[str, list[str]] = {}
    for method in method_names():
        for name in declared_settings(method):
            owners.setdefault(name, []).append(method)
    for name, methods in reversed(owners.items()):
        command = _option(name, [declared_settings(method)[name] for method in methods], methods)(command)
    return command


def _option(name: str, declared: list[Declaration], methods: list[str]) -> Callable[..., Any]:
    """One option, though several methods may have a setting of this name: what each allows, its recipe checks."""
    first = declared[0]
    flag = f"--{first.option or name.replace('_', '-')}"
    choices = tuple(dict.fromkeys(choice for one in declared for choice in one.choices))
    return click.option(
        f"{flag}/--no-{flag.removeprefix('--')}" if isinstance(first.default, bool) else flag,
        name,
        type=click.Choice(choices)
        if choices
        else Finite()
        if isinstance(first.default, float)
        else type(first.default),
        default=None,
        help=f"{first.about.removesuffix('.')} ({', '.join(methods)}).",
        hidden=all(one.hidden for one in declared),
    )


@contextmanager
def stop_flag() -> Iterator[list[int]]:
    """The first Ctrl-C or termination lets the step finish and saves; the second ends at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        say("", "Stopping as soon as nothing is lost ...")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def training_bar(is_shown: bool) -> Iterator[Any]:
    """A bar with rate and time left on a terminal; elsewhere a line a minute."""
    import time

    from tqdm import tqdm

    on_terminal = sys.stderr.isatty()
    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
    last_line = [time.monotonic()]
    with tqdm(
        total=1.0, desc="training", bar_format=form, disable=not (is_shown and on_terminal), leave=False
    ) as shown:

        def report(progress: Any) -> None:
            left = tqdm.format_interval(progress.seconds_left)
            name = "rho" if "rho" in progress.figures else next(iter(progress.figures))
            losses = f"{name} {progress.figures[name]:.2f}"
            text = f"{left}, step {progress.step:,}, {progress.pictures_per_s:.0f} pictures/s, {losses}"
            shown.set_postfix_str(f"left {text}", refresh=False)
            shown.update(progress.share_done - shown.n)
            if is_shown and not on_terminal and time.monotonic() - last_line[0] > 60:
                say(f"{progress.share_done:.0%}, time left {text}")
                last_line[0] = time.monotonic()

        yield report
