"""``latent models``, ``sample``, ``reconstruct``, ``swap`` and ``interpolate``: models, and what they decode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from retrieval.models.description import CHOICES
from retrieval.text import printable

if TYPE_CHECKING:
    from retrieval.arrays import Pixels
    from retrieval.models.model import Model

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


form_option = click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)


@click.group(
    invoke_without_command=True,
    epilog="\b\nExamples:\n  latent models\n  latent models add dinov2-small/ --name dino\n  latent models show dino",
)
@form_option
@click.pass_context
def models(ctx: click.Context, form: str) -> None:
    """List the models, and add encoders from elsewhere.

    Without a command, as `latent models list`.
    """
    if ctx.invoked_subcommand is None:
        _list(form)


@models.command(name="list")
@form_option
def list_models(form: str) -> None:
    """List the models that come with latent, and those that were added."""
    _list(form)


def _list(form: str) -> None:
    from retrieval import added_models, load_model, shipped_models

    opened = [load_model(name) for name in (*shipped_models(), *added_models())]
    if form == "json":
        give_json({"schema": 1, "models": [model.facts for model in opened]})
        return
    tell(f"{'name':<12}{'method':<10}{'pixels':>7}{'dimensions':>12}  trained on")
    for model in opened:
        data = model.facts.get("training_data", {}).get("name", "?")
        tell(f"{model.name:<12}{model.facts.get('method', '?'):<10}{model.image_size:>7}{model.latent_dim:>12}  {data}")


class Three(click.ParamType[tuple[float, float, float]]):
    """Three numbers between commas, or one for all three."""

    name = "R,G,B"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = [float(one) for one in str(value).split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
            self.fail(f"{value!r} is neither a number nor three, such as 0.485,0.456,0.406", param, ctx)
        red, green, blue = numbers if len(numbers) == 3 else numbers * 3
        return red, green, blue


@models.command(
    epilog="\b\nExamples:\n  latent models add dinov2-small/ --name dino\n"
    "  latent models add net.onnx --size 224 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225\n"
    "  latent models add net.onnx --name net-128 --dim 128 --pca ~/Pictures\n"
    "  latent index build ~/Pictures --model dino"
)
@click.argument("source", type=click.Path(exists=True), metavar="FILE.onnx|FOLDER")
@click.option("--name", help="What it is called [default: as the file or folder].")
@click.option("--size", type=click.IntRange(min=1), help="Pixels of a side, if the file takes any.")
@click.option("--layout", type=click.Choice(CHOICES["layout"]), help="Order of the input's axes, if not told.")
@click.option("--scale", type=click.Choice(CHOICES["scale"]), help="Range of the input, before mean and std.")
@click.option("--mean", type=Three(), help="Subtracted from each channel.")
@click.option("--std", type=Three(), help="Each channel is divided by it.")
@click.option("--crop", type=click.Choice(CHOICES["crop"]), help="The central square, or all, squeezed or padded.")
@click.option("--output", "output", metavar="NAME", help="The output that is the code, if there are several.")
@click.option("--pool", type=click.Choice(CHOICES["pool"]), help="Of many vectors, the first or their mean.")
@click.option("--dim", type=click.IntRange(min=2), help="Keep the first numbers of a code (Matryoshka encoders).")
@click.option(
    "--pca",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    metavar="PHOTOS",
    help="Keep the --dim principal components of these pictures' codes instead. Repeatable.",
)
@click.option(
    "--normalise", type=click.Choice(CHOICES["normalise"]), help="Codes: standardized, of length 1, or as they are."
)
@click.option("--licence", default="", help="Its licence, for the model's description.")
def add(source: str, name: str | None, licence: str, folders: tuple[str, ...], **wanted: Any) -> None:
    """Add an encoder from elsewhere: an ONNX file that turns pictures into vectors.

    A folder as Hugging Face has them is read with its preprocessor_config.json. The new model is tried, and compared
    with the file itself, before it is kept. It paints nothing: it has no generator.
    """
    from retrieval import add_model, find_images

    given = {key: value for key, value in wanted.items() if value is not None}
    paths = [file.path for folder in folders for file in find_images(folder)]
    if folders and not paths:
        raise click.UsageError(f"there are no pictures in {', '.join(map(shown_path, folders))}")
    added = add_model(source, name, licence=licence, shorten_by=paths, **given)
    model = added.model
    for line in added.said:
        say(line)
    say(f"Beside the file itself, on the same pixels, codes differ by {added.difference:.1e} at most.")
    shown = printable(model.name)
    tell(f"{shown}: {model.image_size} px, {model.latent_dim} dimensions, kept in {shown_path(str(model.folder))}")
    say(f"Try: latent index build PHOTOS --model {shown}")


@models.command()
@click.argument("name", metavar="NAME|DIR")
@form_option
def show(name: str, form: str) -> None:
    """Show what a model says of itself."""
    from retrieval import load_model

    model = load_model(name)
    if form == "json":
        give_json({"schema": 1, "folder": str(model.folder), **model.facts})
        return
    data = model.facts.get("training_data", {})
    lines = {
        "name": model.name,
        "folder": shown_path(str(model.folder)),
        "method": model.facts.get("method", "?"),
        "pixels": f"{model.image_size} x {model.image_size}, {model.facts.get('preprocess', 'centre')}",
        "dimensions": f"{model.latent_dim:,}, {model.facts['normalisation']}",
        "encoder": _encoder_of(model),
        "generator": f"paints {model.painted_size} x {model.painted_size}" if model.has_generator else "none",
        "samples": _samples_of(model),
        "trained on": data.get("name", "?"),
        "licence": data.get("licence", "?"),
    }
    for key, value in lines.items():
        tell(f"{key:<12}{printable(str(value))}")


def _encoder_of(model: Model) -> str:
    own, given = model.facts["files"].get("encoder.onnx", "none")[:12], model.facts.get("encoder")
    return f"{own}, that of {given.get('name', '?')}" if given else own


def _samples_of(model: Model) -> str:
    """What ``latent sample`` draws from."""
    if not model.has_generator:
        return "none: it paints nothing"
    prior = model.facts.get("prior")
    if prior:
        return f"a Gaussian fitted to the codes of {prior.get('pictures', '?')} pictures"
    return "N(0, I) about one of its centres" if model.facts.get("centres") else "N(0, I)"


@models.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove a model that was added. Indexes keep their own copies."""
    from retrieval import remove_model

    remove_model(name)
    tell(f"removed {printable(name)}")


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
