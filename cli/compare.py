"""``latent compare``: whether two files are copies."""

from __future__ import annotations

from dataclasses import asdict

import click

from cli.console import device_option, give_json, tell
from cli.dedup import comma_list, invariant_option
from retrieval.defaults import DEFAULT_MODEL, Device


@click.command(
    epilog="\b\nExamples:\n  latent compare a.jpg b.jpg\n  latent compare a.jpg b.jpg --invariant mirror && rm b.jpg"
)
@click.argument("a", type=click.Path(exists=True, dir_okay=False))
@click.argument("b", type=click.Path(exists=True, dir_okay=False))
@invariant_option
@click.option("--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME|DIR", help="The model of the codes.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@device_option
@click.pass_context
def compare(ctx: click.Context, a: str, b: str, invariant: str, model: str, form: str, device: Device) -> None:
    """Check whether two files are copies: exit code 0 if so, 1 if not.

    Copies have the same bytes, the same pixels, or a likeness of 0.85 or more: one was made from the other. The
    distance of their codes is printed for comparison.
    """
    from retrieval import compare_pictures, load_model

    try:
        found = compare_pictures(a, b, load_model(model, device), invariant=comma_list(invariant))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if form == "json":
        give_json({"schema": 1, **asdict(found)})
    else:
        why = {"bytes": "the same bytes", "pixels": "the same pixels", "near": "copies"}.get(found.kind, "not copies")
        tell(
            f"{why}: likeness {found.likeness:.3f}, distance {found.distance:.3f}"
            + (f", {found.turned}" if found.turned else "")
        )
    ctx.exit(0 if found.kind else 1)
