"""``latent index``: build, update, status, verify, remove."""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.console import (
    bar,
    claims,
    counted,
    device_option,
    give_json,
    index_option,
    index_to_build_option,
    say,
    shown_path,
    size,
    tell,
    warned,
    workers_option,
)
from cli.listing import list_pictures
from retrieval.defaults import DEFAULT_MODEL, Device
from retrieval.text import printable

if TYPE_CHECKING:
    from retrieval import Budget, Library, Status, Summary

REASONS_SHOWN = 12
LINKS_SHOWN = 3
FAULTS_SHOWN = 10

SIZES = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
TIMES = {"ms": 1e-3, "s": 1.0}
ANY = "any"


class Quantity(click.ParamType[float]):
    """A number with a unit, such as 2GB or 10ms; ``any`` is infinite."""

    def __init__(self, name: str, units: dict[str, float]) -> None:
        self.name = name
        self.units = units

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if value == ANY:
            return math.inf
        words = re.fullmatch(r"([\d.]+)\s*([a-zA-Z]+)", value)
        factors = {name.lower(): factor for name, factor in self.units.items()}
        try:
            found = float(words[1]) * factors[words[2].lower()] if words else 0.0
        except (ValueError, KeyError):
            found = 0.0
        if not 0 < found < math.inf:
            self.fail(
                f"{value!r} is not a {self.name}; give a number above 0 and one of {', '.join(self.units)}, or {ANY}",
                param,
            )
        return found


memory_option = click.option(
    "--memory", type=Quantity("size", SIZES), help="Memory limit for searching, such as 2GB, or any."
)
latency_option = click.option(
    "--latency", type=Quantity("time", TIMES), help="Time limit for one search, such as 10ms, or any."
)
strict_option = click.option("--strict", is_flag=True, help="Exit with 1 if pictures could not be read.")
retry_option = click.option("--retry", is_flag=True, help="Read skipped files again.")


def _patterns(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...] | None:
    """A click callback: None if no pattern was given, and the index keeps its own."""
    from retrieval.pictures.leaving_out import chosen_patterns

    try:
        chosen_patterns(values)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return tuple(value for value in values if value) if values else None


exclude_option = click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    callback=_patterns,
    help="Leave out files or folders, as in .gitignore; repeatable. Kept for updates until given anew; '' ends it.",
)
reread_option = click.option("--reread", is_flag=True, help="Read all files again, also unchanged ones.")
follow_links_option = click.option(
    "--follow-links", is_flag=True, help="Follow links that lead out of the folders, too."
)


@click.group()
def index() -> None:
    """Build, update and check an index of pictures.

    The index is a folder, .latent, with a catalog, a copy of the model and the search caches. These commands never
    change a picture.
    """


@index.command(
    epilog="\b\nExamples:\n  latent index build ~/Pictures\n  latent index build holidays family --model faces-64"
)
@click.argument("photos", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False))
@index_to_build_option
@click.option("--name", metavar="NAME", help="Keep the index among your data under this name, instead of in a folder.")
@click.option("--model", metavar="NAME|DIR", help=f"A shipped model or a bundle's folder [default: {DEFAULT_MODEL}].")
@workers_option
@device_option
@retry_option
@reread_option
@follow_links_option
@exclude_option
@memory_option
@latency_option
@click.option("--no-generator", is_flag=True, help="Leave out the generator: the index cannot decode its codes.")
@strict_option
@click.pass_context
def build(
    ctx: click.Context,
    photos: tuple[str, ...],
    index_folder: str | None,
    name: str | None,
    model: str | None,
    workers: int | None,
    device: Device,
    retry: bool,
    reread: bool,
    follow_links: bool,
    exclude: tuple[str, ...] | None,
    memory: float | None,
    latency: float | None,
    no_generator: bool,
    strict: bool,
) -> None:
    """Index all pictures in the folders PHOTOS and below.

    Run it again to add new files, read changed ones and drop missing ones, or to continue a build that was stopped.
    The index stores --memory and --latency; if only one is given, the other is not limited. Files named .latentignore
    leave out what they name in gitignore's grammar.
    """
    from retrieval import Library

    started, place = time.monotonic(), _place(photos, index_folder, name)
    with bar("file", "indexing") as report:
        library = Library.build(
            photos,
            place,
            model=model,
            workers=workers,
            device=device,
            report=report,
            retry=retry,
            reread=reread,
            follow_links=follow_links,
            budget=_budget(memory, latency),
            exclude=exclude,
            generator=not no_generator,
        )
    with library:
        assert library.summary is not None
        _tell(library, library.summary, time.monotonic() - started, _budget(memory, latency))
        if library.summary.encoded:
            _warn_of_wrong_model(library)
        if index_folder is None and isinstance(place, Path):
            say(f"This index is called {printable(place.name)}. Where no other index is, commands use it.")
        _finish(ctx, library.summary, strict)


def _place(photos: tuple[str, ...], index_folder: str | None, name: str | None) -> Path | str | None:
    """The folder or the address of the index to build, if it is not the nearest one."""
    from retrieval.places import index_to_build, place_of_name

    if name is None:
        return index_to_build(photos) if index_folder is None else index_folder
    if index_folder is not None:
        raise click.UsageError("--index and --name exclude each other")
    if (place := place_of_name(name)) is None:
        raise click.UsageError("there is no place for data of this user; name a folder with --index DIR")
    return place


def _warn_of_wrong_model(library: Library) -> None:
    """Say so if most of a collection is unlike what its model learnt."""
    from retrieval.explore.fitting import MOST, fitting_model, share_unlike

    share = share_unlike(library)
    if share is None or share <= MOST:
        return
    name = printable(library.model.name)
    say(f"Warning: most of these pictures ({share:.0%}) are unlike what {name} learnt; their codes mean little.")
    if fitting := fitting_model(library, share):
        say(f"{fitting} fits more: latent index build PHOTOS --index DIR --model {fitting}")
    else:
        say("No shipped model fits more; train one of your own: latent train PHOTOS -o RUN")


@index.command(epilog="\b\nExamples:\n  latent index update\n  latent index update --facts")
@index_option
@workers_option
@device_option
@retry_option
@reread_option
@follow_links_option
@exclude_option
@memory_option
@latency_option
@strict_option
@click.option("--facts", is_flag=True, help="Only read the facts that an index of an older version lacks.")
@click.pass_context
def update(
    ctx: click.Context,
    index_folder: str | None,
    workers: int | None,
    device: Device,
    retry: bool,
    reread: bool,
    follow_links: bool,
    exclude: tuple[str, ...] | None,
    memory: float | None,
    latency: float | None,
    strict: bool,
    facts: bool,
) -> None:
    """Update the index to the current state of its folders.

    Files whose size and dates did not change are not read. Renamed files are recognised by their content. With --facts
    nothing is encoded: the facts of indexed pictures that have none yet are read, and nothing else is done.
    """
    from retrieval import Library

    if facts:
        if retry or reread or follow_links or memory is not None or latency is not None:
            raise click.UsageError("--facts takes only --index, --workers and --strict beside it")
        _read_facts(ctx, index_folder, workers, strict)
        return
    started = time.monotonic()
    with Library.open(index_folder, device=device) as library:
        budget = _budget(memory, latency)
        with bar("file", "updating") as report:
            summary = library.update(
                workers,
                report,
                retry=retry,
                reread=reread,
                follow_links=follow_links,
                budget=_budget(memory, latency),
                exclude=exclude,
            )
        _tell(library, summary, time.monotonic() - started, budget)
        _finish(ctx, summary, strict)


def _read_facts(ctx: click.Context, index_folder: str | None, workers: int | None, strict: bool) -> None:
    from retrieval import Library

    with Library.open(index_folder) as library, bar("picture", "reading facts") as report:
        summary = library.read_facts(workers, report)
    tell(f"facts of {counted(summary.read, 'picture')} were read")
    if summary.left:
        say(
            f"{counted(summary.left, 'picture')} changed, vanished, or cannot be read now; after latent index update, "
            "run this again"
        )
    if strict and summary.left:
        ctx.exit(1)


def _budget(memory: float | None, latency: float | None) -> Budget | None:
    """None if neither is given; the index then keeps its budget."""
    from retrieval import Budget

    if memory is None and latency is None:
        return None
    return Budget(
        None if memory is None or math.isinf(memory) else int(memory),
        None if latency is None or math.isinf(latency) else latency,
    )


def _searching(facts: Status) -> str:
    """The search structure in words, its memory, its time per query, its recall."""
    time_ms = 1000 * facts.search_latency_s
    cost = f"{size(facts.search_memory_bytes)}, {f'about {time_ms:.1f}' if time_ms >= 0.1 else 'under 0.1'} ms a query"
    found = f"finds {facts.search_recall:.1%} of the ten nearest" if facts.search != "exact" else "finds all"
    return f"{facts.search} ({_layout(facts.search)}): {cost}, {found}"


def _layout(search: str) -> str:
    """What the name of a search structure means."""
    if search == "exact":
        return "every code is compared"
    part = "codes of the nearest lists" if "lists" in search else "codes"
    return f"{part} in 32 bytes propose candidates, whole codes rank them"


def _within(budget: Budget | None) -> str:
    """The limits that were just set."""
    if budget is None:
        return ""
    memory = "any memory" if budget.memory_bytes is None else f"at most {size(budget.memory_bytes)}"
    latency = "any time" if budget.latency_s is None else f"at most {1000 * budget.latency_s:g} ms"
    return f"; asked for: {memory}, {latency}"


def _tell(library: Library, summary: Summary, seconds: float, budget: Budget | None = None) -> None:
    words = ("added", "changed", "renamed", "removed", "unchanged", "skipped")
    tell("  ".join(f"{word} {getattr(summary, word):,}" for word in words))
    for reason, count in summary.reasons.most_common(REASONS_SHOWN):
        tell(f"  skipped {count:,}: {printable(reason)} ({_some(summary.examples.get(reason, []), count)})")
    if len(summary.reasons) > REASONS_SHOWN:
        tell(f"  and {len(summary.reasons) - REASONS_SHOWN} other reasons; see: latent index status --skipped")
    _tell_what_is_not_there(summary)
    if summary.skipped:
        say("Skipped files are read again when they change, or with --retry.")
    for folder in summary.missing_folders:
        shown = shown_path(folder)
        say(f"Warning: {shown} is not there; its pictures are kept. To remove them: latent index remove {shown}")
    for folder in summary.unreadable_folders:
        say(f"Warning: no permission to list {shown_path(folder)}; its pictures are kept.")
    if outside := summary.links_outside:
        shown = _some(outside[:LINKS_SHOWN], len(outside))
        say(f"Not followed, since they lead out of their folder: {counted(len(outside), 'link')} ({shown})")
        say("To follow such links: --follow-links")
    found = len(library)
    rate = f", {summary.encoded / seconds:,.0f} pictures/s" if summary.encoded else ""
    tell(f"{counted(found, 'picture')} in {shown_path(library.index.address)} ({seconds:.1f} s{rate})")
    facts = library.status()
    if facts.search != "exact" or budget is not None:
        tell(f"search: {_searching(facts)}" + _within(budget))
    if not facts.search_fits:
        say("Warning: no search structure fits --memory and --latency for so many pictures; the nearest is used.")
    if not found:
        say("No pictures were found. Is this the right folder?")


def _tell_what_is_not_there(summary: Summary) -> None:
    """Other files, what was left out, and what is wrong with patterns."""
    if summary.other_files:
        tell(f"other files {summary.other_files:,}: {_kinds(summary.other_kinds)}")
    if videos := summary.other_kinds["video"]:
        say(f"{counted(videos, 'video')} cannot be indexed; single frames that are saved as pictures can.")
    left_out = summary.left_out
    if folders := left_out.system_folders:
        names = ", ".join(f"{count:,} {name}" for name, count in folders.most_common())
        tell(f"left out {counted(folders.total(), 'system folder')}: {names}")
    if left_out.by_patterns:
        tell(f"left out files and folders by --exclude and .latentignore: {left_out.by_patterns:,}")
    for fault in left_out.faults[:FAULTS_SHOWN]:
        say(f"Warning: {shown_path(fault)}; the rest holds.")
    if len(left_out.faults) > FAULTS_SHOWN:
        say(f"Warning: and more of these, {len(left_out.faults)} at least.")


def _some(paths: list[str], count: int) -> str:
    return ", ".join(map(shown_path, paths)) + (", ..." if count > len(paths) else "")


def _kinds(kinds: Mapping[str, int]) -> str:
    most_first = sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{count:,} unknown" if kind == "unknown" else counted(count, kind) for kind, count in most_first)


def _finish(ctx: click.Context, summary: Summary, strict: bool) -> None:
    if strict and summary.skipped:
        ctx.exit(1)


@index.command(epilog="\b\nExamples:\n  latent index status\n  latent index status --skipped --format json")
@index_option
@click.option("--skipped", is_flag=True, help="List each picture that could not be read, with the reason.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(index_folder: str | None, skipped: bool, form: str) -> None:
    """Show the counts, model, sizes on disk and generation of an index."""
    from retrieval import Library

    with Library.open(index_folder) as library:
        facts = library.status()
        files = library.skipped() if skipped else []
    if form == "json":
        more = {"skipped_files": [{"path": path, "reason": reason} for path, reason in files]} if skipped else {}
        give_json({"schema": 1, **dataclasses.asdict(facts), **more})
        return
    sizes = {"catalog": facts.catalog_bytes, "caches": facts.caches_bytes, "model": facts.model_bytes}
    lines = {
        "index": shown_path(facts.folder),
        "folders": ", ".join(map(shown_path, facts.roots)),
        "model": f"{facts.model_name}, {facts.latent_dim} dimensions ({facts.model_digest[:12]})",
        "generation": str(facts.generation),
        "pictures": f"{facts.found:,}",
        "search": _searching(facts),
        "skipped": f"{facts.skipped:,}",
        "vanished": f"{facts.vanished:,}",
        "removed": f"{facts.removed:,}",
        "on disk": ", ".join(f"{what} {size(count)}" for what, count in sizes.items()),
    }
    for name, value in lines.items():
        tell(f"{name:<12}{value}")
    if facts.excluded:
        tell(f"{'excluded':<12}{'  '.join(facts.excluded)}")
    if facts.other_files:
        tell(f"{'other files':<12}{facts.other_files:,}: {_kinds(facts.other_kinds)}")
    for reason, count in facts.reasons.items():
        tell(f"  skipped {count:,}: {printable(reason)}")
    for path, reason in files:
        tell(f"{shown_path(path)}\t{printable(reason)}")


@index.command(epilog="\b\nExamples:\n  latent index trust\n  latent index trust /mnt/family/.latent")
@click.argument("folder", required=False, type=click.Path(file_okay=False), metavar="[DIR]")
@click.option("--forget", is_flag=True, help="Trust it no more.")
def trust(folder: str | None, forget: bool) -> None:
    """Trust an index that was made elsewhere or by another user, and print what is trusted.

    DIR is the index itself [default: $LATENT_INDEX, else .latent here or in the nearest parent].

    An index that you have not made here is only opened if you name it with --index; one of another user is not
    opened at all. An index that was moved counts as made elsewhere.
    """
    from retrieval import Library, trust_index

    trusted = trust_index(folder, forget=forget)
    if forget:
        tell(f"{shown_path(str(trusted))} is not trusted any more")
        return
    with Library.open(trusted) as library:
        tell(f"{shown_path(str(trusted))} is trusted from now on:", *claims(library.status()))


@index.command(epilog="\b\nExamples:\n  latent index verify\n  latent index verify --repair")
@index_option
@click.option(
    "--repair", is_flag=True, help="Rebuild caches, counts and the copy of a shipped model, and mark damaged pictures."
)
@click.pass_context
def verify(ctx: click.Context, index_folder: str | None, repair: bool) -> None:
    """Check that catalog, caches, model and files agree.

    Pictures that --repair marks are read again by the next latent index update.

    Exits with 1 if there are faults; with --repair, if faults remain.
    """
    from retrieval import Library

    with Library.open(index_folder) as library:
        faults = library.verify(repair)
        for fault in faults:
            tell(printable(fault))
        if faults and repair:
            faults = library.verify()
            tell(f"after repair: {counted(len(faults), 'fault')}")
            for fault in faults:
                tell(printable(fault))
        if not faults:
            tell(f"all is well: {counted(len(library), 'picture')} checked")
    if faults:
        ctx.exit(1)


@index.command(epilog="\b\nExamples:\n  latent index remove holidays/private.jpg\n  latent index remove old-phone")
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH...")
@index_option
def remove(paths: tuple[str, ...], index_folder: str | None) -> None:
    """Remove pictures or folders from the index, never from the disk.

    A later update does not add these files again unless they are renamed. To add them again, run latent index build
    with their folder.
    """
    from retrieval import Library

    with Library.open(index_folder) as library:
        gone = library.remove(paths)
        tell(f"removed {counted(gone, 'file')} from the index; {counted(len(library), 'picture')} left")


@index.command(
    name="copy",
    epilog="\b\nExamples:\n  latent index copy .latent postgresql://me@db.example/photos\n"
    "  latent index copy postgresql://me@db.example/photos copy.latent",
)
@click.argument("source", metavar="SRC", type=click.Path(file_okay=False), callback=warned)
@click.argument("target", metavar="DST", type=click.Path(file_okay=False))
def copy_(source: str, target: str) -> None:
    """Copy an index to another folder or server, and compare both row by row.

    No picture is copied, and the folders of pictures keep their paths. A copy that was stopped goes on where it was.
    """
    from retrieval import Library

    with Library.open(source) as library, bar("row", "copying") as report:
        count = library.copy_to(target, report)
    tell(f"copied {counted(count, 'row')} to {shown_path(target)}, and compared them")


index.add_command(list_pictures)
