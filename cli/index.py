"""``latent index``: build, update, status, verify, remove."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time
from typing import TYPE_CHECKING, Any

import click

from cli.console import bar, counted, device_option, index_option, say, shown_path, size, workers_option
from retrieval.defaults import DEFAULT_MODEL, Device
from retrieval.text import printable

if TYPE_CHECKING:
    from retrieval import Budget, Library, Status, Summary

REASONS_SHOWN = 12

SIZES = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
TIMES = {"ms": 1e-3, "s": 1.0}
ANY = "any"


class Quantity(click.ParamType[float]):
    """A number with a unit, as 2GB or 10ms; ``any`` is infinite."""

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
                f"{value!r} is no {self.name}: a number above 0 and one of {', '.join(self.units)}, or {ANY}", param
            )
        return found


memory_option = click.option(
    "--memory", type=Quantity("size", SIZES), help="Searching may take so much memory, as 2GB; any for no limit."
)
latency_option = click.option(
    "--latency", type=Quantity("time", TIMES), help="One query may take so long, as 10ms; any for no limit."
)
strict_option = click.option("--strict", is_flag=True, help="Exit with 1 where files were skipped.")
retry_option = click.option("--retry", is_flag=True, help="Read files again that were skipped before.")
reread_option = click.option(
    "--reread", is_flag=True, help="Read all files again, also those that seem unchanged by size and dates."
)


@click.group()
def index() -> None:
    """Make an index of folders of pictures, and keep it true.

    The index is a folder, .latent, that holds a catalog, a copy of the model, and caches for searching. It
    never changes a picture.
    """


@index.command(
    epilog="\b\nExamples:\n  latent index build ~/Pictures\n  latent index build holidays family --model faces-64"
)
@click.argument("photos", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False))
@index_option
@click.option("--model", metavar="NAME|DIR", help=f"A shipped model or a bundle's folder [default: {DEFAULT_MODEL}].")
@workers_option
@device_option
@retry_option
@reread_option
@memory_option
@latency_option
@click.option("--no-generator", is_flag=True, help="An index that cannot paint what it holds, for good.")
@strict_option
@click.pass_context
def build(
    ctx: click.Context,
    photos: tuple[str, ...],
    index_folder: str | None,
    model: str | None,
    workers: int | None,
    device: Device,
    retry: bool,
    reread: bool,
    memory: float | None,
    latency: float | None,
    no_generator: bool,
    strict: bool,
) -> None:
    """Index every picture below the folders PHOTOS.

    Run again, it takes in what is new, changed or gone. It can be stopped at any moment and goes on where it
    was. Of --memory and --latency, which the index keeps, the one that is left away is not limited.
    """
    from retrieval import Library

    started = time.monotonic()
    with bar("file", "indexing") as report:
        library = Library.build(
            photos,
            index_folder,
            model=model,
            workers=workers,
            device=device,
            report=report,
            retry=retry,
            reread=reread,
            budget=_budget(memory, latency),
            generator=not no_generator,
        )
    with library:
        assert library.summary is not None
        _tell(library, library.summary, time.monotonic() - started)
        _finish(ctx, library.summary, strict)


@index.command(epilog="\b\nExample:\n  latent index update")
@index_option
@workers_option
@device_option
@retry_option
@reread_option
@memory_option
@latency_option
@strict_option
@click.pass_context
def update(
    ctx: click.Context,
    index_folder: str | None,
    workers: int | None,
    device: Device,
    retry: bool,
    reread: bool,
    memory: float | None,
    latency: float | None,
    strict: bool,
) -> None:
    """Bring the index up to date with its folders.

    Unchanged files are passed over by date and size, renamed ones are recognised by their content.
    """
    from retrieval import Library

    started = time.monotonic()
    with Library.open(index_folder, device=device) as library:
        with bar("file", "updating") as report:
            budget = _budget(memory, latency)
            summary = library.update(workers, report, retry=retry, reread=reread, budget=budget)
        _tell(library, summary, time.monotonic() - started)
        _finish(ctx, summary, strict)


def _budget(memory: float | None, latency: float | None) -> Budget | None:
    """None where nothing was said, so that the index keeps what it has."""
    from retrieval import Budget

    if memory is None and latency is None:
        return None
    return Budget(
        None if memory is None or math.isinf(memory) else int(memory),
        None if latency is None or math.isinf(latency) else latency,
    )


def _searching(facts: Status) -> str:
    """How it is searched, and what that costs."""
    cost = f"{size(facts.search_memory_bytes)}, about {1000 * facts.search_latency_s:.1f} ms a query"
    return f"{facts.search}: {cost}" + (f", recall {facts.search_recall:.3f}" if facts.search != "exact" else "")


def _tell(library: Library, summary: Summary, seconds: float) -> None:
    words = ("added", "changed", "renamed", "removed", "unchanged", "skipped")
    click.echo("  ".join(f"{word} {getattr(summary, word):,}" for word in words))
    for reason, count in summary.reasons.most_common(REASONS_SHOWN):
        click.echo(f"  skipped {count:,}: {printable(reason)}")
    if len(summary.reasons) > REASONS_SHOWN:
        click.echo(f"  and {len(summary.reasons) - REASONS_SHOWN} other reasons: latent index status --skipped")
    if summary.skipped:
        say("Skipped files are read again when they change, or with --retry.")
    for folder in summary.missing_folders:
        shown = shown_path(folder)
        say(f"Warning: {shown} is not there; its pictures are kept. Gone for good? latent index remove {shown}")
    for folder in summary.unreadable_folders:
        say(f"Warning: {shown_path(folder)} may not be listed; what is known of it is kept.")
    found = len(library)
    rate = f", {summary.encoded / seconds:,.0f} pictures/s" if summary.encoded else ""
    click.echo(f"{counted(found, 'picture')} in {shown_path(str(library.folder))} ({seconds:.1f} s{rate})")
    facts = library.status()
    if facts.search != "exact":
        click.echo(f"searched by {_searching(facts)}")
    if not facts.search_fits:
        say("Warning: no way of searching so many pictures keeps to --memory and --latency; this one comes nearest.")
    if not found:
        say("No pictures were found. Is it the right folder?")


def _finish(ctx: click.Context, summary: Summary, strict: bool) -> None:
    if strict and summary.skipped:
        ctx.exit(1)


@index.command(epilog="\b\nExamples:\n  latent index status\n  latent index status --skipped --format json")
@index_option
@click.option("--skipped", is_flag=True, help="List every skipped file with its reason.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(index_folder: str | None, skipped: bool, form: str) -> None:
    """Show what is in the index: counts, model, sizes on disk, generation."""
    from retrieval import Library

    with Library.open(index_folder) as library:
        facts = library.status()
        files = library.skipped() if skipped else []
    if form == "json":
        more = {"skipped_files": [{"path": path, "reason": reason} for path, reason in files]} if skipped else {}
        click.echo(json.dumps({"schema": 1, **dataclasses.asdict(facts), **more}, indent=2))
        return
    sizes = {"catalog": facts.catalog_bytes, "caches": facts.caches_bytes, "model": facts.model_bytes}
    lines = {
        "index": shown_path(facts.folder),
        "folders": ", ".join(map(shown_path, facts.roots)),
        "model": f"{facts.model_name}, {facts.latent_dim} numbers ({facts.model_digest[:12]})",
        "generation": str(facts.generation),
        "pictures": f"{facts.found:,}",
        "searched by": _searching(facts),
        "skipped": f"{facts.skipped:,}",
        "vanished": f"{facts.vanished:,}",
        "removed": f"{facts.removed:,}",
        "on disk": ", ".join(f"{what} {size(count)}" for what, count in sizes.items()),
    }
    for name, value in lines.items():
        click.echo(f"{name:<12}{value}")
    for reason, count in facts.reasons.items():
        click.echo(f"  skipped {count:,}: {printable(reason)}")
    for path, reason in files:
        click.echo(f"{shown_path(path)}\t{printable(reason)}")


@index.command(epilog="\b\nExamples:\n  latent index verify\n  latent index verify --repair")
@index_option
@click.option("--repair", is_flag=True, help="Rebuild what is derived: caches, counts, the copy of a shipped model.")
@click.pass_context
def verify(ctx: click.Context, index_folder: str | None, repair: bool) -> None:
    """Hold catalog, caches, model and files against one another.

    Exits with 1 where something is wrong (and, with --repair, still is).
    """
    from retrieval import Library

    with Library.open(index_folder) as library:
        faults = library.verify(repair)
        for fault in faults:
            click.echo(printable(fault))
        if faults and repair:
            faults = library.verify()
            click.echo(f"after repair: {counted(len(faults), 'fault')}")
            for fault in faults:
                click.echo(printable(fault))
        if not faults:
            click.echo(f"all is well: {counted(len(library), 'picture')} checked")
    if faults:
        ctx.exit(1)


@index.command(epilog="\b\nExamples:\n  latent index remove holidays/private.jpg\n  latent index remove old-phone")
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH...")
@index_option
def remove(paths: tuple[str, ...], index_folder: str | None) -> None:
    """Take pictures or whole folders out of the index; the files stay untouched.

    An update does not bring these files back, but knows them by their names alone: under a new name they are new.
    Building on their folder by name brings them back.
    """
    from retrieval import Library

    with Library.open(index_folder) as library:
        gone = library.remove(paths)
        click.echo(f"removed {counted(gone, 'file')} from the index; {counted(len(library), 'picture')} left")
