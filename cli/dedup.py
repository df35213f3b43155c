"""``latent dedup``: find the copies of a collection, and carry out a plan for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from cli.console import FiniteRange, OutputFile, bar, counted, give, index_option, say, shown_path, tell, workers_option
from cli.filters import Filters, filter_options, filtered
from cli.plans import LISTED, outcome, print_act, print_plan, write_csv, write_html
from retrieval.defaults import ACTIONS, KEEP, PROPOSED, Action

if TYPE_CHECKING:
    from retrieval import Retriever
    from retrieval.copies.find import Folders


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
@filter_options
@click.option(
    "--false-matches",
    type=FiniteRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Expected number of wrong pairs, at most.",
)
@click.option("--threshold", type=FiniteRange(min=0), help="The largest distance of two codes.")
@click.option("--mirrored", is_flag=True, help="Look for mirrored copies, too.")
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
    help="What to keep: raw, living (in no bin), detail, facts, size, oldest, path, resolution, camera, rating, taken, "
    "newest. The first rule that differs decides.",
)
@click.option(
    "--kinds",
    default=",".join(PROPOSED),
    show_default=True,
    metavar="KINDS",
    help="Kinds of copies to remove, also: edited, frame, series, variant.",
)
@click.option("-o", "--output", type=OutputFile(), metavar="FILE.json", help="Write the plan as JSON.")
@click.option("--csv", "csv_file", type=OutputFile(), metavar="FILE", help="Write the plan as CSV.")
@click.option("--html", "html_file", type=OutputFile(), metavar="FILE", help="Write the plan as an HTML page.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@workers_option
def find(
    index_folder: str | None,
    filters: Filters,
    false_matches: float,
    threshold: float | None,
    mirrored: bool,
    against: tuple[str, ...],
    folders: Folders,
    keep: str,
    kinds: str,
    output: str | None,
    csv_file: str | None,
    html_file: str | None,
    form: str,
    workers: int | None,
) -> None:
    """Find copies: the same bytes, the same pixels, saved again or scaled.

    Codes propose pairs, and a comparison of the pictures decides. Edited copies, shots of one moment and other pictures
    in one layout are counted, and go only if --kinds names them. In a group, every file is a copy of the one that is
    kept. Update the index first.
    """
    from retrieval import Retriever, find_copies

    with Retriever.open(index_folder) as retriever:
        where = filtered(retriever, filters)
        with bar("picture", "comparing") as report:
            try:
                plan = find_copies(
                    retriever,
                    false_matches,
                    threshold=threshold,
                    mirrored=mirrored,
                    against=against,
                    folders=folders,
                    keep=comma_list(keep),
                    kinds=comma_list(kinds),
                    where=where,
                    workers=workers,
                    report=report,
                )
            except ValueError as error:
                raise click.UsageError(str(error)) from error
        give(plan.as_json() + "\n") if form == "json" else print_plan(plan, LISTED if output or html_file else None)
        if output:
            plan.save(output)
        if csv_file:
            write_csv(plan, csv_file)
        if html_file:
            write_html(plan, html_file)
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
@click.pass_context
def apply(
    ctx: click.Context, plan_file: str, action: Action, to: str | None, yes: bool, index_folder: str | None
) -> None:
    """Carry out a plan: trash, move, link or delete the copies.

    Before each step, every byte of the copy and of the kept file is compared. Files that changed since the plan was
    made, and the last copy of a picture, are left alone. Files such as a.jpg.xmp go with a moved or trashed picture.
    PLAN.json.journal records what was done. move and trash can be undone. Exits with 1 if the system refused a step.
    """
    from retrieval import apply_plan, load_plan

    plan, journal = load_plan(plan_file), plan_file + ".journal"
    acts = []
    with _index_if_any(index_folder, yes) as library:
        for act in apply_plan(plan, action, journal, to=to, dry_run=not yes, library=library):
            acts.append(act)
            print_act(act)
    tell(outcome(acts, "done" if yes else "could be done"))
    if not yes:
        say("Nothing was changed. To do it, add --yes.")
        return
    say(
        f"{shown_path(journal)} records what was done."
        + (" To move the files back: latent dedup undo" if action in ("move", "trash") else "")
    )
    if any(act.failed for act in acts):
        say("Some files could not go." + (" Try --action move --to DIR." if action == "trash" else ""))
        ctx.exit(1)


@contextmanager
def _index_if_any(index_folder: str | None, wanted: bool) -> Iterator[Retriever | None]:
    """The index that is to be told what is gone, if there is one."""
    from retrieval import NoIndex, Retriever

    with ExitStack() as stack:
        library = None
        if wanted:
            try:
                library = stack.enter_context(Retriever.open(index_folder))
            except NoIndex:
                say("No index was found here. Update yours with: latent index update")
        yield library


@dedup.command(epilog="\b\nExample:\n  latent dedup undo plan.json.journal")
@click.argument("journal", type=click.Path(exists=True, dir_okay=False), metavar="PLAN.json.journal")
@index_option
@click.pass_context
def undo(ctx: click.Context, journal: str, index_folder: str | None) -> None:
    """Move files that were moved or trashed back to their places.

    Nothing is overwritten. Exits with 1 if a file could not be moved back.
    """
    from retrieval import undo as move_back

    acts = []
    with _index_if_any(index_folder, True) as library:
        for act in move_back(journal, library):
            acts.append(act)
            print_act(act)
    left, before = sum(bool(act.left) for act in acts), sum(act.before for act in acts)
    back = len(acts) - left - before
    tell(f"back: {counted(back, 'file')}" + (f"; before: {before:,}" if before else "") + f"; left: {left:,}")
    if back:
        say("To add them to the index again: latent index update")
    elif not left:
        say("Nothing was left to do: all files are back already.")
    if left:
        ctx.exit(1)


def comma_list(text: str) -> list[str]:
    """The words of ``a, b``, without blanks and empty ones."""
    return [word.strip() for word in text.split(",") if word.strip()]
