"""``latent index``: build, update, status, verify, remove."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.console import (
    PlaceOfPictures,
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
from cli.indexing import (
    budget_of,
    exclude_option,
    follow_links_option,
    latency_option,
    memory_option,
    on_option,
    reread_option,
    retry_option,
    strict_option,
    vectors_option,
)
from cli.listing import list_pictures
from cli.summary import kinds_of_files, searching, tell_summary, warn_of_wrong_model
from index.roots import REGION_KINDS, RegionKind
from retrieval.defaults import DEFAULT_MODEL, FACES_MODEL, Device
from retrieval.text import printable

if TYPE_CHECKING:
    from retrieval import Summary


@click.group()
def index() -> None:
    """Build, update and check an index of pictures.

    The index is a folder, .latent, with a catalog, a copy of the model and the search caches. These commands never
    change a picture.
    """


@index.command(
    epilog="\b\nExamples:\n  latent index build ~/Pictures\n  latent index build holidays family --model faces-64"
)
@click.argument("photos", nargs=-1, required=True, type=PlaceOfPictures())
@index_to_build_option
@click.option("--name", metavar="NAME", help="Keep the index among your data under this name, instead of in a folder.")
@click.option("--model", metavar="NAME|DIR", help=f"A shipped model or a bundle's folder [default: {DEFAULT_MODEL}].")
@click.option(
    "--regions",
    type=click.Choice(REGION_KINDS),
    help="Index each face in the pictures, or the tiles of large ones, as a picture of its own. "
    f"[default model for faces: {FACES_MODEL}]",
)
@click.option("--looks", type=click.IntRange(1, 2), help="At the central square alone, or at all of it too [1].")
@workers_option
@on_option
@device_option
@retry_option
@reread_option
@follow_links_option
@exclude_option
@memory_option
@latency_option
@vectors_option
@click.option("--no-generator", is_flag=True, help="Leave out the generator: the index cannot decode its codes.")
@strict_option
@click.pass_context
def build(
    ctx: click.Context,
    photos: tuple[str, ...],
    index_folder: str | None,
    name: str | None,
    model: str | None,
    regions: RegionKind | None,
    looks: int | None,
    workers: int | None,
    on: str | None,
    device: Device,
    retry: bool,
    reread: bool,
    follow_links: bool,
    exclude: tuple[str, ...] | None,
    memory: float | None,
    latency: float | None,
    vectors: str | None,
    no_generator: bool,
    strict: bool,
) -> None:
    """Index all pictures in the folders PHOTOS and below.

    In place of a folder there may be the URL of a store, such as s3://bucket/photos, a .tar archive, or a table in
    Parquet.

    Run it again to add new files, read changed ones and drop missing ones, or to continue a build that was stopped.
    The index stores --memory and --latency; if only one is given, the other is not limited. It stores --vectors, too,
    and whoever reads it searches there; a token for Milvus is read from MILVUS_TOKEN in the environment. Files named
    .latentignore leave out what they name in gitignore's grammar.
    """
    from retrieval import Library, load_model
    from retrieval.roots.regions import regions_address

    if regions:
        photos = tuple(regions_address(regions, one) for one in photos)
        model = model or (FACES_MODEL if regions == "faces" else None)
    started, place = time.monotonic(), _place(photos, index_folder, name)
    with bar("file", "indexing") as report:
        library = Library.build(
            photos,
            place,
            model=model if looks is None else load_model(model or DEFAULT_MODEL, device).with_looks(looks),
            workers=workers,
            device=device,
            report=report,
            retry=retry,
            reread=reread,
            follow_links=follow_links,
            budget=budget_of(memory, latency),
            exclude=exclude,
            vectors=vectors,
            generator=not no_generator,
            on=on,
        )
    with library:
        assert library.summary is not None
        tell_summary(library, library.summary, time.monotonic() - started, budget_of(memory, latency))
        if library.summary.encoded:
            warn_of_wrong_model(library)
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


@index.command(epilog="\b\nExamples:\n  latent index update\n  latent index update --facts")
@index_option
@workers_option
@on_option
@device_option
@retry_option
@reread_option
@follow_links_option
@exclude_option
@memory_option
@latency_option
@vectors_option
@strict_option
@click.option("--facts", is_flag=True, help="Only read the facts that an index of an older version lacks.")
@click.pass_context
def update(
    ctx: click.Context,
    index_folder: str | None,
    workers: int | None,
    on: str | None,
    device: Device,
    retry: bool,
    reread: bool,
    follow_links: bool,
    exclude: tuple[str, ...] | None,
    memory: float | None,
    latency: float | None,
    vectors: str | None,
    strict: bool,
    facts: bool,
) -> None:
    """Update the index to the current state of its folders.

    Files whose size and dates did not change are not read. Renamed files are recognised by their content. With --facts
    nothing is encoded: the facts of indexed pictures that have none yet are read, and nothing else is done.
    """
    from retrieval import Library

    if facts:
        if retry or reread or follow_links or (memory, latency, vectors, on) != (None, None, None, None):
            raise click.UsageError("--facts takes only --index, --workers and --strict beside it")
        _read_facts(ctx, index_folder, workers, strict)
        return
    started = time.monotonic()
    with Library.open(index_folder, device=device) as library:
        budget = budget_of(memory, latency)
        with bar("file", "updating") as report:
            summary = library.update(
                workers,
                report,
                retry=retry,
                reread=reread,
                follow_links=follow_links,
                budget=budget_of(memory, latency),
                exclude=exclude,
                vectors=vectors,
                on=on,
            )
        tell_summary(library, summary, time.monotonic() - started, budget)
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
        "search": searching(facts),
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
        tell(f"{'other files':<12}{facts.other_files:,}: {kinds_of_files(facts.other_kinds)}")
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
    epilog="\b\nExamples:\n  latent index migrate --model faces-128\n"
    "  latent index migrate --model runs/mine/bundle --index ~/Pictures/.latent"
)
@index_option
@click.option("--model", required=True, metavar="NAME|DIR", help="The new model: a name or a bundle's folder.")
@click.option("--looks", type=click.IntRange(1, 2), default=1, help="At the central square alone, or at all of it too.")
@workers_option
@on_option
@device_option
@follow_links_option
@strict_option
@click.pass_context
def migrate(
    ctx: click.Context,
    index_folder: str | None,
    model: str,
    looks: int,
    workers: int | None,
    on: str | None,
    device: Device,
    follow_links: bool,
    strict: bool,
) -> None:
    """Encode the collection anew with another model.

    The index answers with its old codes until all new ones stand, and then changes in one transaction. Run it again to
    continue one that was stopped. Pairs that are not copies, facts and numbers of pictures stay; directions are
    forgotten, since they belong to the old codes. Programs that have the index open must open it again.
    """
    from retrieval import Library, load_model

    chosen = load_model(model, device).with_looks(looks)
    with Library.open(index_folder, device=device) as library:
        with bar("file", "encoding") as report:
            done = library.migrate(chosen, workers, report=report, follow_links=follow_links, on=on)
        if done.summary is None:
            tell(
                f"this is an index of {printable(chosen.name)}: its copy of the model was replaced, and nothing encoded"
            )
            return
        before, now = printable(done.model_before), printable(chosen.name)
        tell(f"{counted(len(library), 'picture')}: codes of {before} are now {now}'s")
        for name in done.directions_lost:
            say(f"The direction {printable(name)} was of the old codes and is gone; teach it again.")
        _finish(ctx, done.summary, strict)


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
