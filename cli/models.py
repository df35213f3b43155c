"""``latent models``, ``sample``, ``reconstruct``, ``swap`` and ``interpolate``: models, and what they decode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.console import (
    Finite,
    OutputFile,
    PictureFile,
    device_option,
    file_stem,
    give_json,
    listed_paths,
    null_option,
    png_only,
    say,
    sheet_option,
    shown_path,
    tell,
)
from retrieval.atomic import write
from retrieval.defaults import DEFAULT_MODEL, Device
from retrieval.text import printable

if TYPE_CHECKING:
    from retrieval.arrays import Pixels

model_option = click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    metavar="NAME|DIR",
    help="A shipped model or a bundle's folder.",
)
output_option = click.option(
    "-o", "--output", type=click.Path(file_okay=False), required=True, metavar="DIR", help="Output folder."
)


@click.command(epilog="\b\nExamples:\n  latent models\n  latent models --format json")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def models(form: str) -> None:
    """List the shipped models."""
    from retrieval import load_model, shipped_models

    opened = [load_model(name) for name in shipped_models()]
    if form == "json":
        give_json({"schema": 1, "models": [model.facts for model in opened]})
        return
    tell(f"{'name':<12}{'method':<10}{'pixels':>7}{'dimensions':>12}  trained on")
    for model in opened:
        data = model.facts.get("training_data", {}).get("name", "?")
        tell(f"{model.name:<12}{model.facts.get('method', '?'):<10}{model.image_size:>7}{model.latent_dim:>12}  {data}")


@click.command(epilog="\b\nExample:\n  latent sample 16 -o samples --seed 7 --sheet samples.png")
@click.argument("count", type=click.IntRange(1, 100_000), metavar="N")
@output_option
@model_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the random codes.")
@click.option("--class", "of_class", metavar="C", help="Only of this class, for models trained with labels.")
@sheet_option
@device_option
def sample(
    count: int, output: str, model: str, seed: int, of_class: str | None, sheet: str | None, device: Device
) -> None:
    """Decode N random codes: new pictures."""
    from retrieval import load_model
    from retrieval.pages.raster import png

    pictures = load_model(model, device).sample(count, seed, of_class=of_class)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"sample-{seed}-{number:05d}.png" for number in range(1, count + 1)]
    for path, pixels in zip(paths, pictures, strict=True):
        write(path, png(pixels))
        tell(shown_path(str(path)))
    if sheet:
        _write_sheet(sheet, [(str(path), pixels, ()) for path, pixels in zip(paths, pictures, strict=True)])


@click.command(epilog="\b\nExample:\n  latent reconstruct face.jpg me.png -o decoded --sheet decoded.png")
@click.argument("images", nargs=-1, required=True, type=PictureFile(allow_dash=True), metavar="IMAGE...")
@output_option
@model_option
@click.option("--scale", type=Finite(), help="Decode G(SCALE x code) without corrections (paper: 0.9).")
@sheet_option
@null_option
@device_option
@click.pass_context
def reconstruct(
    ctx: click.Context,
    images: tuple[str, ...],
    output: str,
    model: str,
    scale: float | None,
    sheet: str | None,
    null: bool,
    device: Device,
) -> None:
    """Decode pictures from their own codes.

    A reconstruction shows what the code keeps of a picture. - reads a list of paths from standard input.
    """
    from retrieval import PictureRefused, load_model
    from retrieval.pages.raster import png
    from retrieval.pictures.thumbnail import thumbnail

    opened, cells = load_model(model, device), []
    paths, folder = listed_paths(images, null), Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(paths, 1):
        try:
            decoded = opened.decode(opened.encode([image]), scale)[0]
        except PictureRefused as refusal:
            say(f"Error: {printable(str(refusal))}")  # the others are still decoded
            continue
        target = folder / f"{number:03d}-{file_stem(image)}.png"
        write(target, png(decoded))
        tell(shown_path(str(target)))
        cells.append((image, thumbnail(image), (decoded,)))
    if sheet and cells:
        _write_sheet(sheet, cells)
    if len(cells) < len(paths):
        ctx.exit(1)


@click.command(epilog="\b\nExample:\n  latent swap cat.jpg --class dog --model runs/pets/bundle -o dog.png")
@click.argument("image", type=PictureFile(), metavar="IMAGE")
@click.option("--class", "to_class", required=True, metavar="C", help="The new class.")
@click.option(
    "-o", "--output", type=OutputFile(), required=True, callback=png_only, metavar="FILE.png", help="The strip."
)
@click.option("--model", required=True, metavar="NAME|DIR", help="A model trained with labels (cvae-gan, cvae, aae).")
@device_option
def swap(image: str, to_class: str, output: str, model: str, device: Device) -> None:
    """Decode a picture as another class.

    The class in the code of IMAGE is replaced by C; the rest of the code is kept. The strip shows the original, its
    reconstruction, and the picture decoded as C.
    """
    from retrieval import load_model
    from retrieval.pages.sheet import strip_png
    from retrieval.pictures.thumbnail import thumbnail

    opened = load_model(model, device)
    opened.class_number(to_class)
    codes = opened.encode([image])
    swapped = opened.decode(opened.with_class(codes, to_class))
    write(output, strip_png([[thumbnail(image)], opened.decode(codes), swapped]))
    tell(shown_path(output))


@click.command(epilog="\b\nExample:\n  latent interpolate mother.jpg child.jpg --steps 8 -o between.png")
@click.argument("start", type=PictureFile(), metavar="A")
@click.argument("end", type=PictureFile(), metavar="B")
@click.option(
    "--steps", type=click.IntRange(2, 64), default=8, show_default=True, help="Decoded pictures, ends included."
)
@click.option(
    "-o", "--output", type=OutputFile(), required=True, callback=png_only, metavar="FILE.png", help="The strip."
)
@model_option
@click.option("--scale", type=Finite(), help="Decode G(SCALE x code) without corrections (paper: 0.9).")
@device_option
def interpolate(start: str, end: str, steps: int, output: str, model: str, scale: float | None, device: Device) -> None:
    """Decode the codes on the straight line between two pictures.

    The strip begins with picture A and ends with picture B, as they are; the decoded pictures are between them.
    """
    from retrieval import load_model
    from retrieval.pages.sheet import strip_png
    from retrieval.pictures.thumbnail import thumbnail

    opened = load_model(model, device)
    codes = opened.encode([start, end])
    between = opened.interpolate(codes[0], codes[1], steps, scale=scale)
    write(output, strip_png([[thumbnail(start)], between, [thumbnail(end)]]))
    tell(shown_path(output))


def _write_sheet(sheet: str, pictures: Sequence[tuple[str, Pixels, Sequence[Pixels]]]) -> None:
    """Write a contact sheet: each picture with its file name, and below it what was decoded."""
    from retrieval.pages.sheet import Cell, grid_png

    cells = [Cell(pixels, under, (Path(path).name,), path) for path, pixels, under in pictures]
    write(sheet, grid_png(cells))
    say(f"wrote {shown_path(sheet)}")
