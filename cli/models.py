"""``latent models``, ``latent sample`` and ``latent reconstruct``: what a model is, and what it paints."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cli.speech import counted, device_option, say, shown_path
from retrieval.names import DECODE_SCALE, DEFAULT_MODEL, Device, printable

model_option = click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    metavar="NAME|DIR",
    help="A shipped model or a bundle's folder.",
)
output_option = click.option(
    "-o", "--output", type=click.Path(file_okay=False), required=True, metavar="DIR", help="Where the pictures go."
)


@click.command(epilog="\b\nExamples:\n  latent models\n  latent models --format json")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def models(form: str) -> None:
    """List the models that ship."""
    from retrieval import load_model, shipped_models

    opened = [load_model(name) for name in shipped_models()]
    if form == "json":
        click.echo(json.dumps({"schema": 1, "models": [model.facts for model in opened]}, indent=2))
        return
    click.echo(f"{'name':<12}{'method':<10}{'pixels':>7}{'numbers':>9}  learnt from")
    for model in opened:
        data = model.facts.get("training_data", {}).get("name", "?")
        click.echo(
            f"{model.name:<12}{model.facts.get('method', '?'):<10}{model.image_size:>7}{model.latent_dim:>9}  {data}"
        )


@click.command(epilog="\b\nExample:\n  latent sample 16 -o dreams --seed 7")
@click.argument("count", type=click.IntRange(min=1), metavar="N")
@output_option
@model_option
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same pictures.")
@device_option
def sample(count: int, output: str, model: str, seed: int, device: Device) -> None:
    """Paint N pictures that never were, from random codes."""
    from PIL import Image

    from retrieval import load_model

    pictures = load_model(model, device).sample(count, seed)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(pictures, 1):
        path = folder / f"sample-{seed}-{number:05d}.png"
        Image.fromarray(pixels).save(path)
        click.echo(shown_path(str(path)))


@click.command(epilog="\b\nExample:\n  latent reconstruct face.jpg me.png -o repainted --sheet repainted.png")
@click.argument("images", nargs=-1, required=True, type=click.Path(), metavar="IMAGE...")
@output_option
@model_option
@click.option("--scale", type=float, default=DECODE_SCALE, show_default=True, help="Codes are multiplied by it.")
@click.option("--sheet", type=click.Path(dir_okay=False), metavar="FILE.png", help="Draw originals above paintings.")
@device_option
@click.pass_context
def reconstruct(
    ctx: click.Context,
    images: tuple[str, ...],
    output: str,
    model: str,
    scale: float,
    sheet: str | None,
    device: Device,
) -> None:
    """Paint pictures from their own codes: what the model keeps of them."""
    from PIL import Image

    from retrieval import PictureRefused, load_model
    from retrieval.sheet import Cell, Row, draw_png, thumbnail

    painter, cells = load_model(model, device), []
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, 1):
        try:
            painted = painter.decode(painter.encode([image]), scale)[0]
        except PictureRefused as refusal:
            say(f"Error: {printable(str(refusal))}")
            continue
        path = folder / f"{number:03d}-{printable(Path(image).stem)[:80]}.png"
        Image.fromarray(painted).save(path)
        click.echo(shown_path(str(path)))
        cells.append(Cell(thumbnail(image), painted, (Path(image).name,), image))
    if sheet and cells:
        draw_png([Row(cells[0], cells[1:])], sheet)
        say(f"drew {shown_path(sheet)}")
    if len(cells) < len(images):
        say(f"{counted(len(images) - len(cells), 'picture')} could not be read")
        ctx.exit(1)
