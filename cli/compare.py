"""``latent compare``: whether two files are copies."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cli.console import device_option, give_json, tell
from retrieval.defaults import DEFAULT_MODEL, Device
from retrieval.pages.words import WORDS, differences

if TYPE_CHECKING:
    from retrieval.copies.compare import Compared

CODES = {"yes": 0, "no": 1, "unsure": 4}


@click.command(
    epilog="""\b
Examples:
  latent compare a.jpg b.jpg
  latent compare scan.png print.jpg --format json

\b
Exit codes:
  0  copies                    2  wrong arguments
  1  not copies, or an error   4  cannot tell
"""
)
@click.argument("a", type=click.Path(exists=True, dir_okay=False))
@click.argument("b", type=click.Path(exists=True, dir_okay=False))
@click.option("--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME|DIR", help="The model of the codes.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@device_option
@click.pass_context
def compare(ctx: click.Context, a: str, b: str, model: str, form: str, device: Device) -> None:
    """Say whether two files are copies of one picture, and what differs.

    Copies have the same bytes or the same pixels, were saved again or scaled, or were edited: cropped, turned, toned,
    written on. The distance of their codes is printed for comparison.
    """
    from retrieval import compare_pictures, load_model

    found = compare_pictures(a, b, load_model(model, device))
    if form == "json":
        give_json({"schema": 2, **asdict(found)})
    else:
        tell(_sentence(found))
    ctx.exit(CODES[found.copies])


def _sentence(found: Compared) -> str:
    if found.copies == "unsure":
        what = "cannot tell"
    else:
        words = {"yes": WORDS.get(found.kind, ""), "no": f"not copies{_in_common(found.kind)}"}
        what = words[found.copies]
    differs = differences(found.differs)
    return f"{what}{f' ({differs})' if differs else ''}: {found.alike:.0%} agree, distance {found.distance:.3f}"


def _in_common(kind: str) -> str:
    return {
        "frame": ", only the first frame is the same",
        "series": ", two shots of one moment",
        "variant": ", one layout with other content",
    }.get(kind, "")
