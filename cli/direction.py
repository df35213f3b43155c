"""``latent direction``: learn a direction in the latent space from examples, and show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.console import (
    FiniteRange,
    OutputFile,
    counted,
    device_option,
    give_json,
    index_option,
    png_only,
    say,
    shown_path,
    tell,
    workers_option,
)
from retrieval.atomic import write
from retrieval.defaults import Device

if TYPE_CHECKING:
    from retrieval import Direction, Retriever

POOR = 0.6  # accuracy; chance is one half


@click.command(
    epilog="""\b
Examples:
  latent direction smile --with smiling --without serious     learn it
  latent direction smile --along face.jpg -o strip.png        show it
  latent query face.jpg --plus smile --minus 0.5*glasses      search along it
  latent direction                                            list them
"""
)
@click.argument("name", required=False)
@click.option(
    "--with", "with_folder", type=click.Path(exists=True, file_okay=False), metavar="DIR", help="Pictures with it."
)
@click.option(
    "--without",
    "without_folder",
    type=click.Path(exists=True, file_okay=False),
    metavar="DIR",
    help="Pictures without it, otherwise alike.",
)
@click.option(
    "--along",
    type=click.Path(exists=True, dir_okay=False),
    metavar="IMAGE",
    help="Decode this picture's code, moved along it.",
)
@click.option(
    "-o", "--output", type=OutputFile(), callback=png_only, metavar="FILE.png", help="With --along: the strip."
)
@click.option(
    "--reach", type=FiniteRange(min=0, min_open=True), default=2.0, show_default=True, help="Steps to each side."
)
@click.option("--steps", type=click.IntRange(2, 64), default=9, show_default=True, help="Decoded pictures.")
@click.option("--forget", is_flag=True, help="Remove it from the index.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@index_option
@workers_option
@device_option
def direction(
    name: str | None,
    with_folder: str | None,
    without_folder: str | None,
    along: str | None,
    output: str | None,
    reach: float,
    steps: int,
    forget: bool,
    form: str,
    index_folder: str | None,
    workers: int | None,
    device: Device,
) -> None:
    """Learn, show, forget or list directions.

    A direction is learnt from pictures with something and pictures without it, and is stored in the index. Its
    accuracy on pictures that it was not learnt from is printed; chance is 50%. --along decodes the code of IMAGE moved
    from -REACH to +REACH steps. One step leads from the average code without it to the average code with it.
    """
    from retrieval import Retriever

    learning = with_folder is not None or without_folder is not None
    _check(name, learning and not (with_folder and without_folder), learning + bool(along) + forget, along, output)
    with Retriever.open(index_folder, device=device) as retriever:
        if name is None:
            _list(retriever, form)
        elif with_folder and without_folder:
            _learn(retriever, name, with_folder, without_folder, workers)
        elif along and output:
            _show(retriever, retriever.direction(name), along, output, reach, steps)
        elif forget:
            retriever.direction(name)
            retriever.forget_direction(name)
        else:
            _print([retriever.direction(name)], form)


def _check(name: str | None, is_half: bool, wishes: int, along: str | None, output: str | None) -> None:
    if name is None and wishes:
        raise click.UsageError("give the name of the direction: latent direction NAME ...")
    if is_half:
        raise click.UsageError("a direction is learnt from two folders; give --with DIR and --without DIR")
    if wishes > 1:
        raise click.UsageError("give one of --with and --without, --along, --forget")
    if bool(along) != bool(output):
        raise click.UsageError("--along IMAGE and -o FILE.png go together")


def _learn(retriever: Retriever, name: str, with_folder: str, without_folder: str, workers: int | None) -> None:
    from retrieval import learn_direction

    try:
        learnt = learn_direction(retriever.model, name, with_folder, without_folder, workers=workers)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    retriever.keep_direction(learnt)
    _print([learnt], "table")
    if learnt.accuracy is None:
        say("Too few pictures to measure its accuracy; give some dozens on each side.")
    elif learnt.accuracy < POOR:
        say("Warning: the model hardly tells them apart; this direction will change other things too.")


def _show(retriever: Retriever, way: Direction, picture: str, output: str, reach: float, steps: int) -> None:
    import numpy as np

    from retrieval.explore.directions import along
    from retrieval.pages.sheet import strip_png
    from retrieval.pictures.thumbnail import thumbnail

    code = retriever.look_at(picture).code
    try:
        codes = along(way, code, np.linspace(-reach, reach, steps).tolist(), retriever.model.standardized)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    write(output, strip_png([[thumbnail(picture)], retriever.decode(codes)]))
    tell(shown_path(output))


def _list(retriever: Retriever, form: str) -> None:
    known = list(retriever.directions().values())
    _print(known, form)
    if not known:
        say("This index has no directions yet. Learn one with: latent direction NAME --with DIR --without DIR")


def _print(ways: list[Direction], form: str) -> None:
    if form == "json":
        fields = ("name", "with_count", "without_count", "accuracy")
        entries = [{field: getattr(one, field) for field in fields} for one in ways]
        give_json({"schema": 1, "directions": entries})
        return
    for one in ways:
        accuracy = "" if one.accuracy is None else f", accuracy {100 * one.accuracy:.0f}% on other pictures"
        tell(f"{one.name}: {counted(one.with_count, 'picture')} with, {one.without_count:,} without{accuracy}")
