"""``latent map``: the collection on a plane, similar pictures near each other."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import click

from cli.console import OutputFile, bar, device_option, index_option, say, shown_path, tell, workers_option
from cli.filters import Filters, filter_options, filtered
from retrieval.atomic import write
from retrieval.defaults import Device
from retrieval.text import csv_cell

if TYPE_CHECKING:
    from retrieval.explore.plane import Layout, Plane


def _html_or_png(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    if not value.lower().endswith((".html", ".png")):
        raise click.BadParameter(f"{value} ends neither with .html nor with .png")
    return value


@click.command(
    "map",
    epilog="""\b
Examples:
  latent map -o map.html                   interactive
  latent map -o map.png --clusters 24      for print
  latent map -o map.html --layout umap     keeps neighbourhoods; extra map
""",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=OutputFile(),
    callback=_html_or_png,
    metavar="FILE",
    help="FILE.html or FILE.png.",
)
@click.option(
    "--layout", type=click.Choice(["pca", "umap"]), default="pca", show_default=True, help="UMAP needs the extra map."
)
@click.option(
    "--most",
    type=click.IntRange(3, 100_000),
    default=100_000,
    show_default=True,
    help="At most this many pictures, chosen at random.",
)
@click.option("--members", type=OutputFile(), metavar="FILE.csv", help="Write which pictures are in which cluster.")
@click.option("--clusters", type=click.IntRange(1, 1000), default=12, show_default=True, help="Number of clusters.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Seed of the random choice and of the layout.",
)
@index_option
@filter_options
@workers_option
@device_option
def map_(
    output: str,
    layout: Layout,
    most: int,
    members: str | None,
    clusters: int,
    seed: int,
    index_folder: str | None,
    filters: Filters,
    workers: int | None,
    device: Device,
) -> None:
    """Show the collection on a plane, as an HTML page or a PNG.

    Similar pictures are near each other. Below the map is the average code of each cluster, decoded, and beside it the
    cluster's most typical picture. Some thousand pictures are drawn, the others are points.

    On the page, the wheel zooms and dragging moves the map; a click on a picture opens it, and a click on a decoded
    average moves to its cluster.
    """
    from retrieval import Searcher
    from retrieval.explore.plane import drawn, lay_out, thumbnails
    from retrieval.pages.map import map_html, map_png

    with Searcher.open(index_folder, device=device) as retriever:
        where = filtered(retriever, filters)
        count = retriever.count(where)
        say(f"laying out {min(most, count):,} pictures ...")
        plane = lay_out(retriever, layout, most, clusters, seed, where)
    if members:
        write(members, _members_csv(plane))
    chosen = drawn(plane)
    with bar("picture", "reading") as report:
        read = dict(zip(chosen, thumbnails([plane.paths[number] for number in chosen], workers, report), strict=True))
    thumbs = [read.get(number) for number in range(len(plane.paths))]
    if output.lower().endswith(".html"):
        write(output, map_html(plane, thumbs))
        shown = len(plane.paths)
    else:
        picture, shown = map_png(plane, thumbs)
        write(output, picture)
    tell(shown_path(output))
    say(f"{shown:,} of {plane.total:,} pictures")
    if lost := sum(thumb is None for thumb in read.values()):
        say(f"{lost:,} cannot be read any more; update the index with: latent index update")


def _members_csv(plane: Plane) -> str:
    """A line for each picture: its cluster, as numbered on the map, its rank from typical to untypical, its path."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["cluster", "rank", "path"])
    for number, cluster in enumerate(plane.clusters, 1):
        for rank, member in enumerate(cluster.members, 1):
            writer.writerow([number, rank, csv_cell(plane.paths[member])])
    return text.getvalue()
