"""``latent query``: ask an index which pictures look like these."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.speech import (
    device_option,
    file_stem,
    index_option,
    listed_paths,
    null_option,
    png_only,
    say,
    sheet_option,
    short_path,
    shown_path,
)
from retrieval.names import Device, printable

if TYPE_CHECKING:
    from retrieval import Hit, Retriever
    from retrieval.arithmetic import Term
    from retrieval.model import Floats

FORMATS = ["table", "json", "jsonl", "csv", "paths"]
FIELDS = ["rank", "path", "distance", "similarity", "realism", "width", "height"]


@dataclass
class Answer:
    """One query with its code (d,), its hits as plain records, and the hits themselves."""

    query: str
    code: Floats
    records: list[dict[str, Any]]
    hits: list[Hit]


@click.command(
    epilog="""\b
Examples:
  latent query face.jpg                       ten pictures that look like it
  latent query a.jpg b.jpg --sheet hits.png   as one picture, with what G paints
  latent query face.jpg + smile.jpg - 0.5*frown.jpg --preview sum.png
  latent query face.jpg --format paths -0 | xargs -0 -I{} cp {} found/
  find new -name '*.jpg' | latent query - --format jsonl
"""
)
@click.argument("images", nargs=-1, required=True, type=click.Path(allow_dash=True), metavar="IMAGE...")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Hits for each picture.")
@click.option("--metric", type=click.Choice(["euclidean", "cosine"]), default="euclidean", show_default=True)
@index_option
@click.option(
    "--decode", "decode_dir", type=click.Path(file_okay=False), metavar="DIR", help="Paint each hit into DIR."
)
@click.option(
    "--preview", type=click.Path(dir_okay=False), callback=png_only, metavar="FILE.png", help="Paint what is asked for."
)
@click.option("--decode-scale", type=float, help="Codes are multiplied by it [default: the model's].")
@sheet_option
@click.option("--html", "html_file", type=click.Path(dir_okay=False), metavar="FILE", help="Write it as one HTML page.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@null_option
@device_option
@click.pass_context
def query(
    ctx: click.Context,
    images: tuple[str, ...],
    k: int,
    metric: str,
    index_folder: str | None,
    decode_dir: str | None,
    preview: str | None,
    decode_scale: float | None,
    sheet: str | None,
    html_file: str | None,
    form: str,
    null: bool,
    device: Device,
) -> None:
    """Find the pictures that look most like IMAGE; - reads a list of paths from standard input.

    A picture that is in the index itself is left out of its own hits. Both numbers stand in every hit: the
    Euclidean distance of the codes (smaller is nearer) and their cosine similarity. With signs between them pictures
    are added up to one query: a.jpg + b.jpg - 0.5*c.jpg.
    """
    from retrieval import PictureRefused, Retriever
    from retrieval.arithmetic import parse_terms

    try:
        terms = parse_terms(images)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    paths = [" ".join(images)] if terms else listed_paths(images, null)
    answers: list[Answer] = []
    with Retriever.open(index_folder, device) as retriever:
        for number, path in enumerate(paths, 1):
            try:
                code, own = _asked(retriever, path, terms)
            except PictureRefused as refusal:
                say(f"Error: {printable(str(refusal))}")  # a bad file costs itself
                continue
            hits = retriever.query_codes(code[None], k, metric, [own])[0]  # type: ignore[arg-type]
            records = [_record(hit) for hit in hits]
            if decode_dir is not None:
                _decode_into(
                    Path(decode_dir), retriever, hits, records, decode_scale, number if len(paths) > 1 else None
                )
            answers.append(Answer(path, code, records, hits))
        if preview and answers:
            _preview(retriever, answers, terms, preview, decode_scale)
        _print(answers, form, metric, null)
        if answers and (sheet or html_file):
            _draw(retriever, answers, sheet, html_file, decode_scale)
    if len(answers) < len(paths):
        ctx.exit(1)


def _asked(retriever: Retriever, path: str, terms: list[Term] | None) -> tuple[Floats, set[int]]:
    """The code (d,) that is looked for, and what must not be found."""
    from retrieval.arithmetic import combined

    if not terms:
        return retriever.look_at(path).codes[0], retriever.ids_of(path)
    try:
        return combined(retriever, terms), {i for term in terms for i in retriever.ids_of(term.path)}
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def _preview(
    retriever: Retriever, answers: list[Answer], terms: list[Term] | None, path: str, scale: float | None
) -> None:
    """Of one sum its pictures and what G paints for it; of several queries what G paints for each."""
    import numpy as np

    from retrieval.sheet import draw_strip, thumbnail

    painted = list(retriever.decode(np.stack([answer.code for answer in answers]), scale))
    given = [thumbnail(term.path) for term in terms] if terms else []
    draw_strip([*given, *painted], path)
    say(f"drew {shown_path(path)}")


def _record(hit: Hit) -> dict[str, Any]:
    record = {field: getattr(hit, field) for field in FIELDS}
    return record | {"path": short_path(hit.path)}


def _decode_into(
    folder: Path,
    retriever: Retriever,
    hits: list[Hit],
    records: list[dict[str, Any]],
    scale: float | None,
    number: int | None,
) -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    prefix = "" if number is None else f"{number:03d}-"
    for hit, record, pixels in zip(hits, records, retriever.decode(hits, scale), strict=True):
        target = folder / f"{prefix}{hit.rank:03d}-{file_stem(hit.path)}.png"
        Image.fromarray(pixels).save(target)
        record["decoded"] = str(target)


def _draw(
    retriever: Retriever, answers: Sequence[Answer], sheet: str | None, html_file: str | None, scale: float | None
) -> None:
    from retrieval.sheet import Row, draw_html, draw_png

    rows = [Row(*_cells(retriever, answer, scale)) for answer in answers]
    if sheet:
        draw_png(rows, sheet)
        say(f"drew {shown_path(sheet)}")
    if html_file:
        draw_html(rows, html_file)
        say(f"wrote {shown_path(html_file)}")


def _cells(retriever: Retriever, answer: Answer, scale: float | None) -> tuple[Any, list[Any]]:
    from retrieval.sheet import Cell, thumbnail

    can_paint = retriever.model.has_generator
    painted = retriever.decode(answer.code[None], scale)[0] if can_paint else None
    picture = thumbnail(answer.query) if os.path.exists(answer.query) or painted is None else painted
    query_cell = Cell(picture, painted, ("query", os.path.basename(answer.query)), answer.query)
    paintings = list(retriever.decode(answer.hits, scale)) if can_paint else [None] * len(answer.hits)
    cells = [
        Cell(
            thumbnail(hit.path),
            painting,
            (f"{hit.rank}   d {hit.distance:.2f}   cos {hit.similarity:.3f}", os.path.basename(hit.path)),
            hit.path,
        )
        for hit, painting in zip(answer.hits, paintings, strict=True)
    ]
    return query_cell, cells


def _print(answers: list[Answer], form: str, metric: str, null: bool) -> None:
    if form == "json":
        queries = [{"query": answer.query, "hits": answer.records} for answer in answers]
        click.echo(json.dumps({"schema": 1, "metric": metric, "queries": queries}, indent=2))
    elif form == "jsonl":
        for answer in answers:
            for record in answer.records:
                click.echo(json.dumps({"query": answer.query, **record}))
    elif form == "csv":
        click.echo(_csv(answers), nl=False)
    elif form == "paths":
        for answer in answers:
            for record in answer.records:
                click.echo(os.fsencode(record["path"]) + (b"\0" if null else b"\n"), nl=False)
    else:
        for answer in answers:
            _print_table(answer, titled=len(answers) > 1)


def _csv(answers: list[Answer]) -> str:
    text = io.StringIO(newline="")
    fields = ["query", *FIELDS, *(["decoded"] if any("decoded" in r for a in answers for r in a.records) else [])]
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    for answer in answers:
        writer.writerows({"query": answer.query, **record} for record in answer.records)
    return text.getvalue()


def _print_table(answer: Answer, titled: bool) -> None:
    if titled:
        click.echo(f"{shown_path(answer.query)}:")
    click.echo(f"{'rank':>4}  {'distance':>8}  {'similarity':>10}  {'realism':>7}  {'size':>11}  path")
    for hit in answer.hits:
        pixels = f"{hit.width}x{hit.height}"
        numbers = f"{hit.rank:>4}  {hit.distance:>8.3f}  {hit.similarity:>10.4f}  {hit.realism:>7.2f}  {pixels:>11}"
        click.echo(f"{numbers}  {shown_path(hit.path)}")
