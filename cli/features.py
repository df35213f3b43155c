"""``latent features``: codes as a table for other programs."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import click

from cli.console import OutputFile, bar, counted, device_option, index_option, say, shown_path, tell, workers_option
from cli.filters import Filters, filter_options, filtered
from retrieval.defaults import DEFAULT_MODEL, Device


@click.command(
    epilog="""\b
Examples:
  latent features -o codes.parquet                  all pictures of the index
  latent features ~/Pictures -o codes.csv --model runs/mine/bundle
  latent features flowers -o flowers.npz
  latent features --where 'rating >= 4' -o best.parquet
"""
)
@click.argument("photos", nargs=-1, type=click.Path(exists=True, file_okay=False), metavar="[PHOTOS]...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=OutputFile(),
    metavar="FILE",
    help="FILE.parquet, FILE.csv or FILE.npz.",
)
@index_option
@filter_options
@click.option(
    "--model", metavar="NAME|DIR", help=f"With PHOTOS: a shipped model or a bundle's folder [default: {DEFAULT_MODEL}]."
)
@workers_option
@device_option
def features(
    photos: tuple[str, ...],
    output: str,
    index_folder: str | None,
    filters: Filters,
    model: str | None,
    workers: int | None,
    device: Device,
) -> None:
    """Write codes as a table for other programs.

    Each row holds the path, content hash, size, realism, spread and code of one picture. Without PHOTOS, the rows are
    the pictures of the index, as they were last read. With PHOTOS, these folders are indexed in a temporary index
    beside FILE, which is deleted at the end. If the command is stopped, run it again to continue.
    """
    from retrieval import Retriever
    from retrieval.explore.tables import check_target, write_features

    check_target(output)
    if photos and index_folder:
        raise click.UsageError("give PHOTOS or --index, not both")
    if model and not photos:
        raise click.UsageError("--model needs PHOTOS; an index has its own model")
    scratch = _scratch(output, photos, model)
    if photos:
        with bar("file", "encoding") as progress:
            retriever = Retriever.build(photos, scratch, model=model, workers=workers, device=device, report=progress)
        if skipped := retriever.skipped():
            say(f"skipped {counted(len(skipped), 'file')} that could not be read, such as {shown_path(skipped[0][0])}")
    else:
        retriever = Retriever.open(index_folder, device=device)
    with retriever:
        where = filtered(retriever, filters)
        with bar("picture", "writing") as progress:
            count, dim = write_features(retriever, output, where=where, report=progress), retriever.latent_dim
    if photos:
        shutil.rmtree(scratch)
    tell(shown_path(output))
    say(f"{counted(count, 'picture')}, {dim} dimensions each")


def _scratch(output: str, photos: tuple[str, ...], model: str | None) -> Path:
    """The temporary index. Its name follows from model and folders, so that only the same command continues it."""
    about = "\0".join([model or "", *sorted(map(os.path.realpath, photos))])
    return Path(f"{output}.{hashlib.sha256(os.fsencode(about)).hexdigest()[:8]}.latent")
