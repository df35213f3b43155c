"""``latent demo``: the whole workflow on pictures that a shipped model generates."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from cli.console import say, shown_path
from retrieval.atomic import write

LIBRARY, SMALL_LIBRARY = 500, 60
MODEL = "faces-128"  # it has the best samples
SEED = 2026
CHOSEN = 42  # the picture that is altered and searched for


@click.command(epilog="\b\nExamples:\n  latent demo -o latent-demo\n  latent demo --serve")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False),
    default="latent-demo",
    show_default=True,
    metavar="DIR",
    help="Output folder.",
)
@click.option("--small", is_flag=True, help=f"Generate {SMALL_LIBRARY} pictures instead of {LIBRARY}.")
@click.option("--serve", "serves", is_flag=True, help="At the end, open the page of latent serve. Needs the extra web.")
@click.pass_context
def demo(ctx: click.Context, output: str, small: bool, serves: bool) -> None:
    """Run the whole workflow on generated pictures.

    It generates a library of pictures, indexes them, alters one, searches for it, and writes the hits as a contact
    sheet and as an HTML page. All files are in DIR. The command can be run again.
    """
    from cli.index import build
    from cli.query import query
    from cli.serve import serve

    if serves:
        from serve.extra import check_extra

        check_extra()

    folder = Path(output)
    library, count = folder / "photos", SMALL_LIBRARY if small else LIBRARY
    say(f"1. Generating {count} pictures with {MODEL} in {shown_path(str(library))}")
    original = _generate_library(library, count)
    altered = folder / "altered.jpg"
    say(f"2. Altering one of them: {original.name} is cropped by 4%, brightened and recompressed")
    _alter(original, altered)
    say(f"3. latent index build {shown_path(str(library))} --model {MODEL}")
    index = folder / ".latent"
    ctx.invoke(build, photos=(str(library),), index_folder=str(index), model=MODEL)
    say(f"4. latent query {shown_path(str(altered))} -k 8")
    sheet, page = folder / "hits.png", folder / "hits.html"
    ctx.invoke(query, images=(str(altered),), k=8, index_folders=[str(index)], sheet=str(sheet), html_file=str(page))
    here = {name: shlex.quote(shown_path(str(path))) for name, path in (("library", library), ("index", index))}
    text = f"""
The original was {original.name}. See {shown_path(str(sheet))} or {shown_path(str(page))}:
each picture, and below it the picture decoded from its code.

Try next:
  latent query {here["library"]}/face-00007.jpg --index {here["index"]}
  latent sample 16 -o samples --model {MODEL} --sheet samples.png
  latent index build ~/Pictures
  latent query some-photo.jpg -k 10 --html hits.html
  latent serve --index {here["index"]}
  latent --help"""
    say(*text.splitlines())
    if serves:
        say("", "5. latent serve")
        ctx.invoke(serve, index_folder=str(index), port=0)


def _generate_library(library: Path, count: int) -> Path:
    """Write the pictures that are not there yet. Returns the path of the one to search for."""
    from retrieval import load_model
    from retrieval.pages.raster import jpeg

    library.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(load_model(MODEL).sample(count, SEED)):
        path = library / f"face-{number:05d}.jpg"
        if not path.exists():
            write(path, jpeg(pixels, quality=92))
    return library / f"face-{CHOSEN:05d}.jpg"


def _alter(original: Path, altered: Path) -> None:
    import numpy as np
    from PIL import Image, ImageEnhance

    from retrieval.pages.raster import jpeg

    with Image.open(original) as image:
        width, height = image.size
        margin = max(1, round(0.02 * width))
        cropped = image.crop((margin, margin, width - margin, height - margin))
        brighter = ImageEnhance.Brightness(cropped).enhance(1.15)
    write(altered, jpeg(np.asarray(brighter), quality=60))
