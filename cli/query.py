"""``latent query``: find the pictures of an index that look like given ones."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from cli.console import (
    Finite,
    FiniteRange,
    OutputFile,
    PictureFile,
    bar,
    counted,
    device_option,
    file_stem,
    give,
    give_csv,
    give_json,
    give_path,
    indexes_option,
    listed_paths,
    null_option,
    png_only,
    say,
    search_option,
    sheet_option,
    short_path,
    shown_path,
    tell,
)
from cli.filters import Filters, filter_options, say_what_left_nothing, together
from retrieval.atomic import write
from retrieval.defaults import NOVEL, Device
from retrieval.roots.regions import name_of, region_at
from retrieval.text import printable

if TYPE_CHECKING:
    from retrieval import Hit, Searcher
    from retrieval.arrays import Pixels
    from retrieval.pages.sheet import SheetRow
    from retrieval.questions import Answer, Question, Term

FORMATS = ["table", "json", "jsonl", "csv", "paths"]
FIELDS = ["rank", "path", "distance", "similarity", "realism", "width", "height"]

Records = list[dict[str, Any]]
"""The hits of one answer, as printed."""


@click.command(
    epilog="""\b
Examples:
  latent query face.jpg                       ten pictures that look like it
  latent query a.jpg b.jpg --sheet hits.png   two queries, one contact sheet
  latent query a.jpg + b.jpg - 0.5*c.jpg      a weighted sum of codes
  latent query -- '-1*face.jpg'               pictures least like it
  latent query face.jpg --format paths -0 | xargs -0 -I{} cp {} found/
  latent query face.jpg --plus smile --explain --html why.html
  latent query sea.jpg --after 2024-06 --in Trips --where 'width >= 2000'
  latent query sea.jpg --like 4.jpg --unlike 7.jpg --preview moved.png
  latent query face.jpg --index 2023.latent --index http://127.0.0.1:8765
  find new -name '*.jpg' | latent query - --format jsonl
"""
)
@click.argument("images", nargs=-1, required=True, type=PictureFile(allow_dash=True), metavar="IMAGE...")
@click.option("-k", type=click.IntRange(min=1), help="Hits per query [default: 10; all with --within].")
@click.option(
    "--face",
    type=click.IntRange(min=1),
    metavar="N",
    help="Ask with the N-th face from the left [default: the largest, where faces are indexed].",
)
@click.option("--within", type=FiniteRange(min=0), metavar="DISTANCE", help="Only hits within a Euclidean distance.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Leave out the first so many hits.")
@filter_options
@click.option("--prefer", metavar="WORDS", help="Pictures with these words in path, title or keywords move up.")
@click.option(
    "--like", multiple=True, type=PictureFile(), metavar="IMAGE", help="Move the query towards IMAGE. Repeatable."
)
@click.option(
    "--unlike", multiple=True, type=PictureFile(), metavar="IMAGE", help="Move the query away from IMAGE. Repeatable."
)
@click.option(
    "--metric",
    type=click.Choice(["euclidean", "cosine"]),
    default="euclidean",
    show_default=True,
    help="The order of hits.",
)
@click.option(
    "--copies",
    type=click.Choice(["show", "collapse"]),
    default="collapse",
    show_default=True,
    help="Whether one hit stands for all copies of a picture that were saved again or scaled.",
)
@indexes_option
@click.option(
    "--model",
    metavar="NAME|DIR",
    help="The model of an index that is served elsewhere, if it is not a shipped one: a bundle's folder.",
)
@click.option("--strict", is_flag=True, help="Fail if one of several indexes does not answer; else it is left out.")
@click.option(
    "--timeout",
    type=FiniteRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long one of several indexes may take to answer [default: 30].",
)
@click.option(
    "--decode", "decode_dir", type=click.Path(file_okay=False), metavar="DIR", help="Decode each hit into DIR."
)
@click.option(
    "--preview", type=OutputFile(), callback=png_only, metavar="FILE.png", help="Decode the query into FILE.png."
)
@click.option("--plus", multiple=True, metavar="[W*]NAME", help="Move the query along a learnt direction. Repeatable.")
@click.option("--minus", multiple=True, metavar="[W*]NAME", help="Move it against one. Repeatable.")
@click.option(
    "--explain",
    is_flag=True,
    help="With --sheet or --html: show where each decoded hit differs from the decoded query.",
)
@click.option("--decode-scale", type=Finite(), help="Decode G(SCALE x code) without corrections (paper: 0.9).")
@sheet_option
@click.option("--html", "html_file", type=OutputFile(), metavar="FILE", help="Write the contact sheet as an HTML page.")
@click.option(
    "--table",
    type=OutputFile(),
    metavar="FILE",
    help="Write all hits to FILE.parquet or FILE.csv, as they are found, and print none.",
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@null_option
@device_option
@search_option
@click.pass_context
def query(
    ctx: click.Context,
    images: tuple[str, ...],
    k: int | None,
    face: int | None,
    within: float | None,
    offset: int,
    filters: Filters,
    prefer: str | None,
    like: tuple[str, ...],
    unlike: tuple[str, ...],
    metric: str,
    copies: str,
    index_folders: list[str],
    model: str | None,
    strict: bool,
    timeout: float | None,
    decode_dir: str | None,
    preview: str | None,
    plus: tuple[str, ...],
    minus: tuple[str, ...],
    explain: bool,
    decode_scale: float | None,
    sheet: str | None,
    html_file: str | None,
    table: str | None,
    form: str,
    null: bool,
    device: Device,
    search_on: Literal["cpu", "gpu"],
) -> None:
    """Find the pictures that look most like IMAGE.

    Each IMAGE is a query; - reads a list of paths from standard input. An indexed picture is left out of its own hits.
    Each hit has the Euclidean distance of the codes (smaller is nearer) and their cosine similarity. Signs between
    pictures add their codes to one query: a.jpg + b.jpg - 0.5*c.jpg. --like and --unlike mark pictures of an answer to
    get a better one. docs/filters.md has all fields of --where. A picture that is more novel than 99% of the collection
    gets a warning.
    """
    from retrieval import Searcher
    from retrieval.pictures import shared
    from retrieval.questions import Question, refined

    if explain and not (sheet or html_file):
        raise click.UsageError("--explain needs --sheet FILE.png or --html FILE")
    if table and (decode_dir or preview or sheet or html_file):
        raise click.UsageError("--table writes hits alone; leave out --decode, --preview, --sheet and --html")
    words = _terms(images, null, plus, minus)
    shared.start()  # while index and model are opened
    with Searcher.open(
        index_folders or None, device=device, search_on=search_on, strict=strict, timeout_s=timeout, model=model
    ) as retriever:
        conditions = filters.conditions(retriever)
        if face is not None:
            words = [tuple(_with_face(term, face) for term in terms) for terms in words]
        questions = [
            refined(
                Question(terms, k, metric, together(conditions), copies, within, offset, prefer),  # type: ignore[arg-type]
                like,
                unlike,
            )
            for terms in words
        ]
        if table:
            refused = _write_table(retriever, questions, table)
            _say_who_is_absent(retriever)
            if refused:
                ctx.exit(1)
            return
        answers = _answers(retriever, questions)
        told = list(answers.values())
        records = [[_record(hit) for hit in answer.hits] for answer in told]
        if decode_dir is not None:
            prefixes = [f"{number:03d}-" if len(questions) > 1 else "" for number in answers]
            _decode_into(Path(decode_dir), retriever, told, records, decode_scale, prefixes)
        if preview and told:
            _preview(retriever, told, preview, decode_scale)
        _print(told, records, form, metric, null, retriever.absent)
        _say_who_is_absent(retriever)
        if told and (sheet or html_file):
            _write_sheets(retriever, told, sheet, html_file, decode_scale, explain)
        is_empty = told and not any(answer.hits for answer in told)
        if is_empty and not say_what_left_nothing(retriever, conditions):
            _say_what_is_left_out(offset, within)
    if gone := {record["path"] for some in records for record in some if record["gone"]}:
        say(f"gone since they were indexed: {counted(len(gone), 'hit')}; update the index with: latent index update")
    if len(answers) < len(questions):
        ctx.exit(1)


def _say_what_is_left_out(offset: int, within: float | None) -> None:
    """Why nothing is found, where no filter is to blame."""
    limits = [] if within is None else [f"closer than {within:g}"]
    limits += [f"after the first {offset:,}"] if offset else []
    if limits:
        say(f"There is no hit {' and '.join(limits)}.")


def _terms(
    images: tuple[str, ...], null: bool, plus: tuple[str, ...], minus: tuple[str, ...]
) -> list[tuple[Term, ...]]:
    """The terms of each question."""
    from retrieval.questions import parse_directions, parse_terms

    try:
        terms = parse_terms(images)
        ways = parse_directions(plus, minus)
        sums = [terms] if terms else [[term] for word in images for term in _single_terms(word, null)]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return [(*one, *ways) for one in sums]


def _with_face(term: Term, number: int) -> Term:
    """A term with the ``number``-th face of its picture in place of the picture."""
    from retrieval import PictureRefused
    from retrieval.roots.faces import face_of

    path = term.operand
    if term.is_direction or not isinstance(path, str) or not os.path.isfile(path):
        return term
    try:
        return replace(term, operand=face_of(path, number))
    except PictureRefused as refusal:
        raise click.ClickException(printable(str(refusal))) from refusal


def _say_without_a_face(answer: Answer) -> None:
    """Where faces are indexed, which pictures were asked with whole."""
    for term in answer.question.terms:
        if not term.is_direction and os.path.isfile(term.name):
            say(f"{shown_path(term.name)}: no face was found in it; asked with all of it")


def _single_terms(word: str, null: bool) -> list[Term]:
    """One picture, weighted or not; for ``-``, the paths on standard input."""
    from retrieval.questions import Term, parse_term

    return [Term(1.0, path) for path in listed_paths([word], null)] if word == "-" else [parse_term(word)]


def _answers(retriever: Searcher, questions: Sequence[Question]) -> dict[int, Answer]:
    """The answers by the number of their question, from 1, without those whose picture cannot be read."""
    from retrieval import PictureRefused
    from retrieval.questions import ask_all

    try:
        results = ask_all(retriever, questions)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    of_faces = retriever.holds("faces")
    answers: dict[int, Answer] = {}
    for number, result in enumerate(results, 1):
        if isinstance(result, PictureRefused):
            say(f"Error: {printable(str(result))}")
            continue
        answers[number] = result
        if of_faces:
            _say_without_a_face(result)
        if result.is_novel:
            say(
                f"Warning: {shown_path(result.title)} is more novel than {100 * NOVEL:.0f}% of this collection; "
                "the model may not know such pictures, and the hits mean less"
            )
        if result.is_unfamiliar:
            say(
                f"Warning: {shown_path(result.title)} is unlike what {printable(retriever.model.name)} learnt "
                f"(more than {100 * NOVEL:.0f}% of it); its code and the hits mean little"
            )
    return answers


def _write_table(retriever: Searcher, questions: Sequence[Question], table: str) -> int:
    """Write all hits. Returns how many pictures could not be read."""
    from retrieval.explore.answers import write_hits

    refused: list[str] = []

    def note(refusal: Exception) -> None:
        refused.append(str(refusal))
        say(f"Error: {printable(str(refusal))}")

    with bar("picture", "querying") as report:
        count = write_hits(retriever, questions, table, note, report)
    tell(shown_path(table))
    say(f"{counted(count, 'hit')} of {counted(len(questions) - len(refused), 'picture')}")
    return len(refused)


def _preview(retriever: Searcher, answers: Sequence[Answer], path: str, scale: float | None) -> None:
    """Write the decoded query, after the pictures of a sum; of several queries, each decoded."""
    import numpy as np

    from retrieval.pages.sheet import strip_png
    from retrieval.pictures.thumbnail import thumbnail

    decoded = retriever.decode(np.stack([answer.code for answer in answers]), scale)
    question = answers[0].question
    terms = question.terms if len(answers) == 1 and question.is_sum else ()
    write(path, strip_png([[thumbnail(term.name) for term in terms if not term.is_direction], decoded]))
    say(f"wrote {shown_path(path)}")


def _record(hit: Hit) -> dict[str, Any]:
    record = {field: getattr(hit, field) for field in FIELDS}
    copies = {"copies": [short_path(path) for path in hit.copies]} if hit.copies else {}
    file, box = region_at(hit.path)
    region = {"file": file, "box": [round(share, 6) for share in box]} if box else {}
    return record | {"path": short_path(hit.path), "gone": hit.is_gone} | region | copies


def _decode_into(
    folder: Path,
    retriever: Searcher,
    answers: Sequence[Answer],
    records: Sequence[Records],
    scale: float | None,
    prefixes: Sequence[str],
) -> None:
    """Write each hit decoded, and add the path to its record; with two looks, its centre beside it."""
    from retrieval.pages.raster import png

    folder.mkdir(parents=True, exist_ok=True)
    for answer, its_records, prefix in zip(answers, records, prefixes, strict=True):
        for look in range(retriever.model.looks):
            decoded = retriever.decode(answer.hits, scale, look=look)
            for hit, record, pixels in zip(answer.hits, its_records, decoded, strict=True):
                name = f"{prefix}{hit.rank:03d}-{file_stem(hit.path)}"
                target = folder / f"{name}{'-centre' if look else ''}.png"
                write(target, png(pixels))
                record.setdefault("decoded", str(target))


def _write_sheets(
    retriever: Searcher,
    answers: Sequence[Answer],
    sheet: str | None,
    html_file: str | None,
    scale: float | None,
    explain: bool,
) -> None:
    from retrieval.pages.sheet import ABOUT, ABOUT_HEAT, sheet_html, sheet_png

    rows = [_row(retriever, answer, scale, explain) for answer in answers]
    if elsewhere := sum(hit.is_elsewhere for answer in answers for hit in answer.hits):
        say(f"{counted(elsewhere, 'hit')} of served indexes: the sheet shows what the model decodes, not the files")
    if sheet:
        write(sheet, sheet_png(rows))
        say(f"wrote {shown_path(sheet)}")
    if html_file:
        write(html_file, sheet_html(rows, about=ABOUT + ABOUT_HEAT if explain else ABOUT))
        say(f"wrote {shown_path(html_file)}")


def _row(retriever: Searcher, answer: Answer, scale: float | None, explain: bool) -> SheetRow:
    from retrieval.explore.explain import answer_row
    from retrieval.pictures.thumbnail import thumbnail

    asked: Pixels | None = None if answer.question.is_sum else thumbnail(answer.title)  # a sum has no file
    heading = "query"
    if explain and answer.realism is not None:
        heading = f"realism {answer.realism:.2f}"
        if answer.novelty is not None:
            heading += f"   > {100 * answer.novelty:.0f}%"
    words = (heading, name_of(answer.title))
    return answer_row(retriever, asked, words, answer.code, answer.hits, scale, explain, answer.title)


def _say_who_is_absent(retriever: Searcher) -> None:
    for address, reason in retriever.absent.items():
        say(f"Warning: the answer is partial, without {shown_path(address)}: {printable(reason)}")


def _print(
    answers: Sequence[Answer],
    records: Sequence[Records],
    form: str,
    metric: str,
    null: bool,
    absent: Mapping[str, str],
) -> None:
    pairs = list(zip(answers, records, strict=True))
    if form == "json":
        queries = [_json(answer, its_records) for answer, its_records in pairs]
        partial = {"absent": dict(absent)} if absent else {}
        give_json({"schema": 1, "metric": metric, "queries": queries, **partial})
    elif form == "jsonl":
        for answer, its_records in pairs:
            for record in its_records:
                give(json.dumps({"query": answer.title, **record}) + "\n")
    elif form == "csv":
        _give_csv(pairs)
    elif form == "paths":
        for record in (record for _, its_records in pairs for record in its_records):
            give_path(record["path"], null)
    else:
        for answer in answers:
            _print_table(answer, titled=len(answers) > 1)


def _json(answer: Answer, records: Records) -> dict[str, Any]:
    return {
        "query": answer.title,
        "realism": answer.realism,
        "novelty": answer.novelty,
        "unfamiliarity": answer.unfamiliarity,
        "strangeness": answer.novelty,  # its name in the first releases of schema 1
        "hits": records,
    }


def _give_csv(pairs: Sequence[tuple[Answer, Records]]) -> None:
    is_decoded = any("decoded" in record for _, records in pairs for record in records)
    rows = ({"query": answer.title, **record} for answer, records in pairs for record in records)
    give_csv(["query", *FIELDS, *(["decoded"] if is_decoded else [])], rows)


def _print_table(answer: Answer, titled: bool) -> None:
    if titled:
        tell(f"{shown_path(answer.title)}:")
    tell(f"{'rank':>4}  {'distance':>8}  {'similarity':>10}  {'realism':>7}  {'size':>11}  path")
    for hit in answer.hits:
        pixels = f"{hit.width}x{hit.height}"
        numbers = f"{hit.rank:>4}  {hit.distance:>8.3f}  {hit.similarity:>10.4f}  {hit.realism:>7.2f}  {pixels:>11}"
        more = f"  (+{len(hit.copies):,} {'copy' if len(hit.copies) == 1 else 'copies'})" if hit.copies else ""
        tell(f"{numbers}  {shown_path(hit.path)}{more}" + ("  (gone)" if hit.is_gone else ""))
