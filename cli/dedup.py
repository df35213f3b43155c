"""``latent dedup``: find the copies of a collection, and carry out a plan for them."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import click

from cli.console import (
    FiniteRange,
    OutputFile,
    bar,
    counted,
    index_option,
    say,
    shown_path,
    size,
    workers_option,
)
from retrieval.atomic import write
from retrieval.defaults import ACTIONS, KEEP, Action

if TYPE_CHECKING:
    from retrieval import Plan, Retriever
    from retrieval.copies.find import Folders

FIELDS = ["keep", "remove", "kind", "distance", "likeness", "turned"]

invariant_option = click.option(
    "--invariant",
    default="",
    metavar="WORDS",
    help="Accept copies that are mirrored (mirror), turned by quarters (rotate), or mirror,rotate.",
)


@click.group(epilog="\b\nExample:\n  latent dedup find -o plan.json --html plan.html")
def dedup() -> None:
    """Find copies, and trash, move, link or delete them.

    find writes a plan. Read and edit it, then carry it out with apply. undo moves the files back.
    """


@dedup.command(
    epilog="""\b
Examples:
  latent dedup find -o plan.json --html plan.html      in all folders
  latent dedup find --against archive -o plan.json     never remove from archive
  latent dedup find --folders across --against train   copies of train elsewhere
"""
)
@index_option
@click.option(
    "--false-matches",
    type=FiniteRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Expected number of wrong pairs, at most.",
)
@click.option("--threshold", type=FiniteRange(min=0), help="Instead: the largest distance of two codes.")
@invariant_option
@click.option(
    "--against",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    metavar="DIR",
    help="An indexed folder that keeps all its files. Repeatable.",
)
@click.option(
    "--folders",
    type=click.Choice(["all", "within", "across"]),
    default="all",
    show_default=True,
    help="Pairs in all folders, within one folder, or across folders.",
)
@click.option(
    "--keep",
    default=",".join(KEEP),
    show_default=True,
    metavar="RULES",
    help="The file to keep: resolution, size, oldest, newest, path. The first rule that differs decides.",
)
@click.option("-o", "--output", type=OutputFile(), metavar="FILE.json", help="Write the plan as JSON.")
@click.option("--csv", "csv_file", type=OutputFile(), metavar="FILE", help="Write the plan as CSV.")
@click.option("--html", "html_file", type=OutputFile(), metavar="FILE", help="Write the plan as an HTML page.")
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
    """Find copies: the same bytes, the same pixels, or slightly altered.

    Codes propose pairs, and a comparison of the pictures decides. The threshold is estimated from pictures of this
    collection that are no copies, so that at most --false-matches wrong pairs are to be expected. In a group, every
    file is a copy of the one that is kept. Update the index first.
    """
    from retrieval import Retriever, find_copies

    with Retriever.open(index_folder) as retriever:
        with bar("picture", "comparing") as report:
            try:
                plan = find_copies(
                    retriever,
                    false_matches,
                    threshold=threshold,
                    invariant=comma_list(invariant),
                    against=against,
                    folders=folders,
                    keep=comma_list(keep),
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
    """Remember that these pictures are not copies of one another.

    Later plans never pair them, also after they are moved or renamed, until their content changes.
    """
    from retrieval import Retriever

    if len(pictures) < 2:
        raise click.UsageError("give two pictures or more")
    with Retriever.open(index_folder) as retriever:
        retriever.keep_apart(pictures)
    say(f"stored: these {len(pictures)} are not copies of one another")


@dedup.command(
    epilog="""\b
Examples:
  latent dedup apply plan.json --action move --to aside         only shows it
  latent dedup apply plan.json --action move --to aside --yes   does it
  latent dedup undo plan.json.journal                           moves the files back
"""
)
@click.argument("plan_file", type=click.Path(exists=True, dir_okay=False), metavar="PLAN.json")
@click.option(
    "--action", type=click.Choice(ACTIONS), default="trash", show_default=True, help="Links point to the kept file."
)
@click.option("--to", type=click.Path(file_okay=False), metavar="DIR", help="With move: the target folder.")
@click.option("--yes", is_flag=True, help="Do it. Without --yes nothing is changed.")
@index_option
def apply(plan_file: str, action: Action, to: str | None, yes: bool, index_folder: str | None) -> None:
    """Carry out a plan: trash, move, link or delete the copies.

    Before each step, every byte of the copy and of the kept file is checked. Files that changed since the plan was
    made, and the last copy of a picture, are left alone. PLAN.json.journal records what was done. move and trash can
    be undone.
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
        say("Nothing was changed. To do it, add --yes.")
        return
    _follow(index_folder, [act.path for act in done])
    say(
        f"{shown_path(journal)} records what was done."
        + (" To move the files back: latent dedup undo" if action in ("move", "trash") else "")
    )


def _follow(index_folder: str | None, paths: list[str]) -> None:
    """Mark the files as gone in the index, if there is one."""
    from retrieval import NoIndex, Retriever

    try:
        with Retriever.open(index_folder) as retriever:
            retriever.note_gone(paths)
    except NoIndex:
        say("No index was found here. Update yours with: latent index update")


@dedup.command(epilog="\b\nExample:\n  latent dedup undo plan.json.journal")
@click.argument("journal", type=click.Path(exists=True, dir_okay=False), metavar="PLAN.json.journal")
@click.pass_context
def undo(ctx: click.Context, journal: str) -> None:
    """Move files that were moved or trashed back to their places.

    Nothing is overwritten. Exits with 1 if a file could not be moved back.
    """
    from retrieval import undo as move_back

    acts = list(move_back(journal))
    for act in acts:
        click.echo(f"{'left' if act.left else 'back':<9}{shown_path(act.path)}" + (f": {act.left}" if act.left else ""))
    left = sum(bool(act.left) for act in acts)
    click.echo(f"back: {counted(len(acts) - left, 'file')}; left: {left:,}")
    say("To add them to the index again: latent index update")
    if left:
        ctx.exit(1)


def comma_list(text: str) -> list[str]:
    """The words of ``a, b``, without blanks and empty ones."""
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
    click.echo(f"{counted(len(gone), 'file')} can be removed, {size(room)}; {len(plan.groups):,} kept")
    expected = plan.expected_false_pairs
    doubt = (
        "too few pictures to estimate how many are wrong"
        if expected is None
        else f"{expected:.2g} wrong to be expected"
    )
    rule = f"with a likeness of {ALIKE:.2f} or more within distance {plan.near:.2f}"
    if plan.threshold > plan.near:
        rule += f", rising to {plan.likeness_at_threshold:.2f} at distance {plan.threshold:.2f}"
    click.echo(f"pairs {rule}: {doubt}; nothing was changed")
    if plan.estimated_from:
        say(f"Estimated from the {plan.estimated_from:,} nearest pairs of this collection that are not copies.")


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
