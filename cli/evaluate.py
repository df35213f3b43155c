"""``latent evaluate``: measure a model's codes beside controls that cost nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from cli.console import OutputFile, bar, device_option, say, shown_path, tell, workers_option
from retrieval.atomic import write
from retrieval.defaults import Device

if TYPE_CHECKING:
    from train.evaluate import Interval, Report

NAME_WIDTH = 54


@click.command(
    epilog="""\b
Examples:
  latent evaluate runs/mine/bundle --gallery train --queries test --labels folder
  latent evaluate faces-64 --gallery train.tar --queries test.tar --numeric age \\
      --labels 'filename:(?P<age>\\d+)_(?P<gender>\\d)_(?P<race>\\d)_' -o report.json --html report.html
"""
)
@click.argument("model", metavar="MODEL")
@click.option(
    "--gallery", multiple=True, required=True, type=click.Path(exists=True), metavar="PHOTOS", help="Repeatable."
)
@click.option(
    "--queries", multiple=True, required=True, type=click.Path(exists=True), metavar="PHOTOS", help="Repeatable."
)
@click.option("--labels", required=True, metavar="SPEC", help="folder, filename:REGEX, or a CSV with a column path.")
@click.option("--numeric", multiple=True, metavar="NAME", help="A label that is a number. Repeatable.")
@click.option("--copies", type=click.IntRange(min=0), default=1000, show_default=True, help="Copies to look for.")
@click.option("-o", "--output", type=OutputFile(), metavar="FILE.json", help="Write the report as JSON.")
@click.option("--html", "html_file", type=OutputFile(), metavar="FILE", help="Write it as one HTML page.")
@click.option("--record", is_flag=True, help="Write the code's figures into the bundle's model.json.")
@workers_option
@device_option
def evaluate(
    model: str,
    gallery: tuple[str, ...],
    queries: tuple[str, ...],
    labels: str,
    numeric: tuple[str, ...],
    copies: int,
    output: str | None,
    html_file: str | None,
    record: bool,
    workers: int | None,
    device: Device,
) -> None:
    """Measure how well MODEL's codes retrieve, beside pixels, whitened pixels, a random encoder and a hash.

    Gallery and queries are folders or .tar archives of different pictures; both options can be repeated. Figures of
    retrieval come with their 95% intervals.
    """
    from retrieval import load_model
    from retrieval.models.bundle import seal
    from retrieval.pages.report import report_html
    from train.evaluate import CODE, Exam
    from train.evaluate import evaluate as measure
    from train.labelled import read_labelled
    from train.labels import label_reader

    bundle, label_of = load_model(model, device).with_looks(1), label_reader(labels)
    with bar("file", "decoding") as progress:
        xb = read_labelled(gallery, bundle.image_size, label_of, workers, progress, bundle.frame)
        xq = read_labelled(queries, bundle.image_size, label_of, workers, progress, bundle.frame)
    say(f"{len(xq):,} queries against {len(xb):,} pictures; measuring ...")
    report = measure(bundle, Exam(xb, xq, numeric, copies))
    tell(*_as_text(report).splitlines())
    if record:
        figures = {name: round(cell[0], 4) for name, cell in report.table.get(CODE, {}).items()}
        generation = {name: round(value, 4) for name, value in report.generation.items()}
        seal(bundle.folder, {**bundle.facts, "metrics": {**figures, **generation}})
    if output:
        write(output, json.dumps(report.as_dict(), indent=2) + "\n")
        say(f"wrote {shown_path(output)}")
    if html_file:
        write(html_file, report_html(_title(report), report.table, report.generation))
        say(f"wrote {shown_path(html_file)}")


def _as_text(report: Report) -> str:
    """A block for each measure: 80 columns hold no table of seven descriptors."""
    lines = [_title(report)]
    for measure in _measures(report):
        lines.append(f"\n{measure}")
        for name, row in report.table.items():
            if measure in row:
                lines.append(f"  {name:<{NAME_WIDTH}}{_cell(row[measure])}")
    if report.generation:
        lines.append("\ngeneration")
        lines += [f"  {name:<{NAME_WIDTH}}{value:.3f}" for name, value in report.generation.items()]
    return "\n".join(lines)


def _title(report: Report) -> str:
    return f"{report.model}: {report.queries:,} queries against {report.gallery:,} pictures"


def _measures(report: Report) -> list[str]:
    return list(dict.fromkeys(measure for row in report.table.values() for measure in row))


def _cell(cell: Interval) -> str:
    mean, low, high = cell
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"
