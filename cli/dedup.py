"""``latent dedup``: copies in the collection; ``latent compare``: are these two copies?"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cli.console import (
    FiniteRange,
    OutputFile,
    bar,
    counted,
    device_option,
    index_option,
    say,
    shown_path,
    size,
    workers_option,
)
from retrieval.atomic import write
from retrieval.defaults import ACTIONS, DEFAULT_MODEL, KEEP, Action, Device

if TYPE_CHECKING:
    from retrieval import Plan, Retriever
    from retrieval.copies.find import Folders

FIELDS = ["keep", "remove", "kind", "distance", "likeness", "turned"]

invariant_option = click.option(
    "--invariant",
    default="",
    metavar="WORDS",
    help="What else makes a copy: mirror, rotate (by quarter turns), or both with a comma.",
)


@click.group(epilog="\b\nExample:\n  latent dedup find -o plan.json --html plan.html")
def dedup() -> None:
    """Find copies among the pictures of an index, and carry out a plan for them that was looked through."""


@dedup.command(
    epilog="""\b
Examples:
  latent dedup find -o plan.json --html plan.html      all, to read and look at
  latent dedup find --against archive -o plan.json     what is in the archive stays
  latent dedup find --folders across --against train   do tests leak into train?
"""
)
@index_option
@click.option(
    "--false-matches",
    type=FiniteRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="So many wrong pairs may be expected in this collection.",
)
@click.option("--threshold", type=FiniteRange(min=0), help="A distance of codes instead, for those who know.")
@invariant_option
@click.option(
    "--against",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    metavar="DIR",
    help="An indexed archive, of which nothing may go. Repeatable.",
)
@click.option("--folders", type=click.Choice(["all", "within", "across"]), default="all", show_default=True)
@click.option(
    "--keep",
    default=",".join(KEEP),
    show_default=True,
    metavar="RULES",
    help="Which one to keep: resolution, size, oldest, newest, path; the first that tells decides.",
)
@click.option("-o", "--output", type=OutputFile(), metavar="FILE.json", help="Write the plan.")
@click.option("--csv", "csv_file", type=OutputFile(), metavar="FILE", help="Write it as a table.")
@click.option("--html", "html_file", type=OutputFile(), metavar="FILE", help="Write it as a page.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@workers_option
def find(
    index_folder: str | None,
    false_matches: float,
    threshold: float | None,
    invariant: str,
    against: tuple[str, ...],
    folders: Folders,
    keep: str,
    output: str | None,
    csv_file: str | None,
    html_file: str | None,
    form: str,
    workers: int | None,
) -> None:
    """Find copies: files of the same bytes, of the same pixels, and those that were altered a little.

    Codes propose pairs; a second look at the pictures themselves decides. The threshold is set so that not more than
    --false-matches wrong pairs are to be expected, judged by how near pictures of this very collection come that are
    no copies. Every picture of a group is a copy of the one that is kept. Update the index first.
    """
    from retrieval import Retriever, find_copies

    with Retriever.open(index_folder) as retriever:
        with bar("picture", "comparing") as report:
            try:
                plan = find_copies(
                    retriever,
                    false_matches,
                    threshold=threshold,
                    invariant=_words(invariant),
                    against=against,
                    folders=folders,
                    keep=_words(keep),
                    workers=workers,
                    report=report,
                )
            except ValueError as error:
                raise click.UsageError(str(error)) from error
        click.echo(plan.as_json()) if form == "json" else _print(plan)
        if output:
            plan.save(output)
        if csv_file:
            _write_csv(plan, csv_file)
        if html_file:
            _write_html(plan, retriever, html_file)
    for path in filter(None, (output, csv_file, html_file)):
        say(f"wrote {shown_path(path)}")


@dedup.command(epilog="\b\nExample:\n  latent dedup ignore twins/anna.jpg twins/berta.jpg")
@click.argument("pictures", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False), metavar="A B...")
@index_option
def ignore(pictures: tuple[str, ...], index_folder: str | None) -> None:
    """Remember that these pictures are no copies of one another.

    Later plans leave them apart, wherever they are moved, until one of them is changed.
    """
    from retrieval import Retriever

    if len(pictures) < 2:
        raise click.UsageError("name two pictures or more")
    with Retriever.open(index_folder) as retriever:
        retriever.keep_apart(pictures)
    say(f"remembered: these {len(pictures)} are no copies of one another")


@dedup.command(
    epilog="""\b
Examples:
  latent dedup apply plan.json --action move --to aside         tells what it would do
  latent dedup apply plan.json --action move --to aside --yes   does it
  latent dedup undo plan.json.journal                           takes it back
"""
)
@click.argument("plan_file", type=click.Path(exists=True, dir_okay=False), metavar="PLAN.json")
@click.option(
    "--action", type=click.Choice(ACTIONS), default="trash", show_default=True, help="Links lead to the kept one."
)
@click.option("--to", type=click.Path(file_okay=False), metavar="DIR", help="With move: the folder that takes them.")
@click.option("--yes", is_flag=True, help="Do it. Without this nothing is changed.")
@index_option
def apply(plan_file: str, action: Action, to: str | None, yes: bool, index_folder: str | None) -> None:
    """Carry out a plan: each file that may go is trashed, moved, replaced by a link, or deleted.

    Both files are checked to the last byte before each act: what was changed since the plan was made is left alone, and
    so is the last copy of anything. PLAN.json.journal says what was done; move and trash can be undone.
    """
    from retrieval import apply_plan, load_plan

    plan, journal = load_plan(plan_file), plan_file + ".journal"
    acts = []
    for act in apply_plan(plan, action, journal, to=to, dry_run=not yes):
        acts.append(act)
        where = f" -> {shown_path(act.to)}" if act.to and not act.left else ""
        click.echo(
            f"{'left' if act.left else act.action:<9}{shown_path(act.path)}{where}"
            + (f": {act.left}" if act.left else "")
        )
    done = [act for act in acts if not act.left]
    verb, room = "done" if yes else "could be done", size(sum(act.size_bytes for act in done))
    click.echo(f"{verb}: {counted(len(done), 'file')}, {room}; left alone: {len(acts) - len(done):,}")
    if not yes:
        say("Nothing was changed; --yes does it.")
        return
    _follow(index_folder, [act.path for act in done])
    say(
        f"{shown_path(journal)} says what was done"
        + ("; latent dedup undo takes it back." if action in ("move", "trash") else ".")
    )


def _follow(index_folder: str | None, paths: list[str]) -> None:
    """Have the index know, where there is one."""
    from retrieval import NoIndex, Retriever

    try:
        with Retriever.open(index_folder) as retriever:
            retriever.note_gone(paths)
    except NoIndex:
        say("There is no index here to tell; latent index update, where there is one.")


@dedup.command(epilog="\b\nExample:\n  latent dedup undo plan.json.journal")
@click.argument("journal", type=click.Path(exists=True, dir_okay=False), metavar="PLAN.json.journal")
@click.pass_context
def undo(ctx: click.Context, journal: str) -> None:
    """Bring back what was moved or trashed, each file to where it was; nothing is overwritten.

    Exits with 1 where a file could not be brought back.
    """
    from retrieval import undo as bring_back

    acts = list(bring_back(journal))
    for act in acts:
        click.echo(f"{'left' if act.left else 'back':<9}{shown_path(act.path)}" + (f": {act.left}" if act.left else ""))
    left = sum(bool(act.left) for act in acts)
    click.echo(f"back: {counted(len(acts) - left, 'file')}; left: {left:,}")
    say("latent index update takes them in again.")
    if left:
        ctx.exit(1)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _print(plan: Plan) -> None:
    from retrieval.copies.similarity import ALIKE

    for group in plan.groups:
        click.echo(shown_path(group.keep))
        for one in group.evidence:
            why = f"{one.kind:<7}{one.distance:>7.3f}{one.likeness:>7.3f}"
            click.echo(f"  {why}  {shown_path(one.path)}" + (f"  ({one.turned})" if one.turned else ""))
    gone = [path for group in plan.groups for path in group.remove]
    room = sum(plan.files[path].size_bytes for path in gone)
    click.echo(f"{counted(len(gone), 'file')} beside {len(plan.groups):,} kept could go: {size(room)}")
    expected = plan.expected_false_pairs
    doubt = (
        "too few pictures to tell how many are wrong" if expected is None else f"{expected:.2g} wrong to be expected"
    )
    rule = f"alike by {ALIKE:.2f} within {plan.near:.2f}"
    if plan.threshold > plan.near:
        rule += f", by up to {plan.likeness_at_threshold:.2f} within {plan.threshold:.2f}"
    click.echo(f"pairs {rule}: {doubt}; nothing was changed")
    if plan.estimated_from:
        say(f"Estimated from the {plan.estimated_from:,} nearest pairs of this collection that are no copies.")


def _write_csv(plan: Plan, path: str) -> None:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(FIELDS)
    for group in plan.groups:
        for one in group.evidence:
            table.writerow([group.keep, one.path, one.kind, one.distance, one.likeness, one.turned])
    write(path, text.getvalue())


def _write_html(plan: Plan, retriever: Retriever, path: str) -> None:
    from retrieval.copies.prototypes import paint_prototypes
    from retrieval.pages.plan import plan_html
    from retrieval.pictures.thumbnail import thumbnail

    thumbnails = {path: thumbnail(path) for path in plan.files}
    write(path, plan_html(plan, thumbnails, paint_prototypes(retriever, plan)))


@click.command(
    epilog="\b\nExamples:\n  latent compare a.jpg b.jpg\n  latent compare a.jpg b.jpg --invariant mirror && rm b.jpg"
)
@click.argument("a", type=click.Path(exists=True, dir_okay=False))
@click.argument("b", type=click.Path(exists=True, dir_okay=False))
@invariant_option
@click.option("--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME|DIR")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@device_option
@click.pass_context
def compare(ctx: click.Context, a: str, b: str, invariant: str, model: str, form: str, device: Device) -> None:
    """Tell whether two files are copies of one picture: exit code 0 if they are, 1 if not.

    The same bytes, the same pixels, or a structure so alike (a likeness of 0.85 and more) that one must have been made
    from the other. The distance of their codes is for comparison.
    """
    from retrieval import compare_pictures, load_model

    try:
        found = compare_pictures(a, b, load_model(model, device), invariant=_words(invariant))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if form == "json":
        click.echo(json.dumps({"schema": 1, **asdict(found)}, indent=2))
    else:
        why = {"bytes": "the same bytes", "pixels": "the same pixels", "near": "copies"}.get(found.kind, "not copies")
        click.echo(
            f"{why}: likeness {found.likeness:.3f}, distance {found.distance:.3f}"
            + (f", {found.turned}" if found.turned else "")
        )
    ctx.exit(0 if found.kind else 1)
