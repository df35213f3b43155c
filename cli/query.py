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

from cli.console import (
    Finite,
    OutputFile,
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
from retrieval.defaults import STRANGE, Device, printable

if TYPE_CHECKING:
    from index.records import Metric
    from retrieval import Hit, Retriever
    from retrieval.arrays import Floats
    from retrieval.ask import Term
    from retrieval.pages.sheet import Row

FORMATS = ["table", "json", "jsonl", "csv", "paths"]
FIELDS = ["rank", "path", "distance", "similarity", "realism", "width", "height"]


@dataclass
class Answer:
    """A question with its code (d,), what the critic says of its picture, its hits as plain records, and the hits."""

    query: str
    terms: list[Term]
    code: Floats
    realism: float | None
    strangeness: float | None
    records: list[dict[str, Any]]
    hits: list[Hit]


@click.command(
    epilog="""\b
Examples:
  latent query face.jpg                       ten pictures that look like it
  latent query a.jpg b.jpg --sheet hits.png   as a picture, with what G paints
  latent query face.jpg + smile.jpg - 0.5*frown.jpg --preview sum.png
  latent query face.jpg --format paths -0 | xargs -0 -I{} cp {} found/
  latent query face.jpg --plus smile --explain --html why.html
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
@click.option("--preview", type=OutputFile(), callback=png_only, metavar="FILE.png", help="Paint what is asked for.")
@click.option(
    "--plus", multiple=True, metavar="[W*]NAME", help="Go along a direction that latent direction learnt. Repeatable."
)
@click.option("--minus", multiple=True, metavar="[W*]NAME", help="Go against it. Repeatable.")
@click.option(
    "--explain", is_flag=True, help="With --sheet or --html: where each hit's painting differs from the query's."
)
@click.option("--decode-scale", type=Finite(), help="Paint G(SCALE x code), uncorrected (the paper: 0.9).")
@sheet_option
@click.option("--html", "html_file", type=OutputFile(), metavar="FILE", help="Write it as one HTML page.")
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
    plus: tuple[str, ...],
    minus: tuple[str, ...],
    explain: bool,
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
    are added up to one query: a.jpg + b.jpg - 0.5*c.jpg. A picture that is stranger than nearly all of the collection
    is answered with a warning.
    """
    from retrieval import PictureRefused, Retriever

    if explain and not (sheet or html_file):
        raise click.UsageError("--explain draws: say where with --sheet FILE.png or --html FILE")
    questions = _questions(images, null, plus, minus)
    answers: list[Answer] = []
    with Retriever.open(index_folder, device) as retriever:
        for number, terms in enumerate(questions, 1):
            try:
                answer = _answer(retriever, terms, k, metric)  # type: ignore[arg-type]
            except PictureRefused as refusal:
                say(f"Error: {printable(str(refusal))}")  # a bad file costs itself
                continue
            if decode_dir is not None:
                _decode_into(Path(decode_dir), retriever, answer, decode_scale, number if len(questions) > 1 else None)
            answers.append(answer)
        if preview and answers:
            _preview(retriever, answers, preview, decode_scale)
        _print(answers, form, metric, null)
        if answers and (sheet or html_file):
            _draw(retriever, answers, sheet, html_file, decode_scale, explain)
    if len(answers) < len(questions):
        ctx.exit(1)


def _questions(images: tuple[str, ...], null: bool, plus: tuple[str, ...], minus: tuple[str, ...]) -> list[list[Term]]:
    """Each as the terms that it adds up."""
    from retrieval.ask import Term, parse_directions, parse_terms

    try:
        terms = parse_terms(images)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    questions = [terms] if terms else [[Term(1.0, path)] for path in listed_paths(images, null)]
    return [[*question, *parse_directions(plus, minus)] for question in questions]


def _answer(retriever: Retriever, terms: list[Term], k: int, metric: Metric) -> Answer:
    from retrieval.ask import combined

    realism = strangeness = None
    if len(terms) == 1:
        seen = retriever.look_at(terms[0].name)
        code, own = seen.code, seen.ids
        realism, strangeness = seen.realism, retriever.strangeness(seen)
    else:
        try:
            code, own = combined(retriever, terms)
        except ValueError as error:
            raise click.ClickException(str(error)) from error
    title = terms[0].name if len(terms) == 1 else " ".join(map(str, terms)).removeprefix("+ ")
    if strangeness is not None and strangeness > STRANGE:
        say(
            f"{shown_path(title)} is stranger than {100 * STRANGE:.0f}% of this collection: "
            "such pictures the model may not know, and its hits mean less"
        )
    hits = retriever.query_codes(code[None], k, metric, [own])[0]
    return Answer(title, terms, code, realism, strangeness, [_record(hit) for hit in hits], hits)


def _preview(retriever: Retriever, answers: list[Answer], path: str, scale: float | None) -> None:
    """Of one sum its pictures and what G paints for it; of several questions what G paints for each."""
    import numpy as np

    from retrieval.pages.sheet import draw_strip, thumbnail

    painted = retriever.decode(np.stack([answer.code for answer in answers]), scale)
    summed = answers[0].terms if len(answers) == 1 and len(answers[0].terms) > 1 else []
    draw_strip([[thumbnail(term.name) for term in summed if not term.is_direction], painted], path)
    say(f"drew {shown_path(path)}")


def _record(hit: Hit) -> dict[str, Any]:
    record = {field: getattr(hit, field) for field in FIELDS}
    return record | {"path": short_path(hit.path)}


def _decode_into(folder: Path, retriever: Retriever, answer: Answer, scale: float | None, number: int | None) -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    prefix = "" if number is None else f"{number:03d}-"
    paintings = retriever.decode(answer.hits, scale)
    for hit, record, pixels in zip(answer.hits, answer.records, paintings, strict=True):
        target = folder / f"{prefix}{hit.rank:03d}-{file_stem(hit.path)}.png"
        Image.fromarray(pixels).save(target)
        record["decoded"] = str(target)


def _draw(
    retriever: Retriever,
    answers: Sequence[Answer],
    sheet: str | None,
    html_file: str | None,
    scale: float | None,
    explain: bool,
) -> None:
    from retrieval.pages.sheet import ABOUT, ABOUT_HEAT, draw_html, draw_png

    rows = [_row(retriever, answer, scale, explain) for answer in answers]
    if sheet:
        draw_png(rows, sheet)
        say(f"drew {shown_path(sheet)}")
    if html_file:
        draw_html(rows, html_file, about=ABOUT + ABOUT_HEAT if explain else ABOUT)
        say(f"wrote {shown_path(html_file)}")


def _row(retriever: Retriever, answer: Answer, scale: float | None, explain: bool) -> Row:
    from retrieval.pages.explain import answer_row
    from retrieval.pages.sheet import thumbnail

    asked = thumbnail(answer.query) if len(answer.terms) == 1 else None  # a sum is no file
    heading = "query"
    if explain and answer.realism is not None:
        heading = f"realism {answer.realism:.2f}"
        if answer.strangeness is not None:
            heading += f"   > {100 * answer.strangeness:.0f}%"
    words = (heading, os.path.basename(answer.query))
    return answer_row(retriever, asked, words, answer.code, answer.hits, scale, explain, answer.query)


def _print(answers: list[Answer], form: str, metric: str, null: bool) -> None:
    if form == "json":
        queries = [
            {
                "query": answer.query,
                "realism": answer.realism,
                "strangeness": answer.strangeness,
                "hits": answer.records,
            }
            for answer in answers
        ]
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
