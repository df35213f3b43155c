"""What commands share: options, progress bars, paths and sizes as text."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retrieval.text import csv_cell, printable, without_controls

if TYPE_CHECKING:
    from retrieval import Status

Command = Callable[..., Any]


class FiniteRange(click.FloatRange):
    """A finite number within bounds. click's own type accepts inf, and nan, which no bound excludes."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return _finite(self, super().convert(value, param, ctx), param, ctx)


class Finite(click.types.FloatParamType):
    """A finite number without bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return _finite(self, super().convert(value, param, ctx), param, ctx)


def _finite(
    kind: click.ParamType[Any], number: float, param: click.Parameter | None, ctx: click.Context | None
) -> float:
    if not math.isfinite(number):
        kind.fail(f"{number} is not a finite number", param, ctx)
    return number


def warned(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A click callback: say what is trusted in an index that was named, but neither made nor trusted by this user."""
    from retrieval.places import foreign_index

    foreign = foreign_index(value)
    if foreign is not None:
        from retrieval.library import Library

        with Library.open(foreign) as library:
            say(
                f"Note: {shown_path(os.fspath(foreign))} was not made here by you, and is opened since you named it.",
                *claims(library.status()),
                f"To say that you trust it: latent index trust {shlex.quote(os.fspath(foreign))}",
            )
    return value


def claims(facts: Status) -> list[str]:
    """What trust in an index is trust in."""
    return [
        f"  its model runs: {facts.model_name} ({facts.model_digest[:12]})",
        f"  folders that it names are read: {', '.join(map(shown_path, facts.roots)) or 'none'}",
        *([f"  codes of pictures, and of queries, are sent: {facts.search}"] if "Milvus" in facts.search else []),
    ]


def _found(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A click callback: the index that is meant by a name, or where there is none here, by nothing."""
    from retrieval.places import remembered_index, would_find

    if ctx.resilient_parsing or (would_find() if value is None else os.path.lexists(value)):
        return warned(ctx, parameter, value)
    if (remembered := remembered_index(value)) is None:
        return warned(ctx, parameter, value)
    if value is None:
        say(f"Note: there is no index here; using {printable(remembered.name)} ({shown_path(str(remembered))}).")
    return str(remembered)


def _all_found(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[str]:
    """A click callback: as ``_found``, for several."""
    wanted = values or (() if ctx.resilient_parsing else (None,))
    return [found for one in wanted if (found := _found(ctx, parameter, one)) is not None]


def _index_option(callback: Callable[..., Any], metavar: str, more: str = "") -> Callable[[Command], Command]:
    return click.option(
        "--index",
        "index_folder",
        type=click.Path(file_okay=False),
        metavar=metavar,
        callback=callback,
        help=f"Index folder, or postgresql://USER@HOST/DATABASE{more}.",
    )


index_option = _index_option(
    _found,
    "DIR|NAME",
    " or name [default: $LATENT_INDEX, else .latent here or in the nearest parent, else the last named one]",
)
indexes_option = click.option(
    "--index",
    "index_folders",
    multiple=True,
    type=click.Path(),
    metavar="DIR|NAME|URL|FILE",
    callback=_all_found,
    help="Index folder, name, or address: postgresql://..., or http://HOST:PORT of latent serve [default: as of other "
    "commands]. Several, or a text file that names some, are searched as one. Repeatable.",
)
index_to_build_option = _index_option(
    warned,
    "DIR",
    " [default: $LATENT_INDEX, else .latent here or in the nearest parent; for PHOTOS elsewhere, one by their name]",
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the model runs.",
)
search_option = click.option(
    "--search-on",
    type=click.Choice(["cpu", "gpu"]),
    default="cpu",
    show_default=True,
    help="Where FAISS searches; gpu needs the extra gpu.",
)
workers_option = click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Worker processes [default: one per core]."
)


null_option = click.option(
    "-0", "--null", is_flag=True, help="End paths with NUL, not a newline; also those that - reads."
)


def listed_paths(words: Iterable[str], null: bool) -> list[str]:
    """``words`` with each ``-`` replaced by the paths on standard input, whatever their encoding."""
    paths: list[str] = []
    for word in words:
        if word == "-":
            text = sys.stdin.buffer.read()
            if not null and b"\0" in text:
                raise click.UsageError("the paths on standard input end with NUL; read them with -0")
            entries = text.split(b"\0") if null else text.splitlines()
            paths += [os.fsdecode(entry) for entry in entries if entry]
        else:
            paths.append(word)
    return paths


def file_stem(path: str) -> str:
    """A picture's name without suffix, as a part of another file's name: printable and not too long. That of a region
    has its left upper corner, in percent.
    """
    from retrieval.roots.regions import corner_of, file_of

    stem = printable(Path(file_of(path)).stem).replace("\\", "_").encode()[:120].decode(errors="ignore")
    return f"{stem}-{corner}" if (corner := corner_of(path)) else stem


class OutputFile(click.Path):
    """A file to write. Whether it can be written is checked before any work is done for it."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        folder = os.path.dirname(os.fsdecode(path)) or os.curdir
        if not os.path.isdir(folder):
            self.fail(f"{shown_path(folder)} is not a folder; create it first", param, ctx)
        if not os.access(folder, os.W_OK):
            self.fail(f"{shown_path(folder)} cannot be written", param, ctx)
        return path


def png_only(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A click callback: refuse a file name that does not end with .png, since a PNG is written."""
    if value is not None and not value.lower().endswith(".png"):
        raise click.BadParameter(f"{value} does not end with .png; a PNG is written")
    return value


class PlaceOfPictures(click.Path):
    """A folder, an archive or table, or the URL of one or of a store. What is no folder is opened when it is listed."""

    def __init__(self) -> None:
        super().__init__(exists=True, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from retrieval.roots.opening import may_be_root

        text = os.fsdecode(value)
        return text if may_be_root(text) else super().convert(value, param, ctx)


class PictureFile(click.Path):
    """A file that is read as a picture. A folder is refused, with the commands that take one."""

    def __init__(self, allow_dash: bool = False) -> None:
        super().__init__(allow_dash=allow_dash)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        if os.path.isdir(path):
            folder = shlex.quote(shown_path(os.fsdecode(path)))
            each = f"; for each picture in it: find {folder} -type f | latent {ctx.info_name} -" if ctx else ""
            self.fail(
                f"{shown_path(os.fsdecode(path))} is a folder, not a picture. To index it: latent index build {folder}"
                + (each if self.allow_dash else ""),
                param,
                ctx,
            )
        return path


sheet_option = click.option(
    "--sheet", type=OutputFile(), callback=png_only, metavar="FILE.png", help="Write a contact sheet."
)


def tell(*lines: str, err: bool = False) -> None:
    """Print lines for people on standard output. Whatever is in a line, it stays one, and acts on no terminal.

    All output goes through this function, ``say`` and ``give``.
    """
    for line in lines:
        _echo("\t".join(map(printable, line.split("\t"))) + "\n", err)


def say(*lines: str) -> None:
    """Print messages on standard error; standard output is for results."""
    tell(*lines, err=True)


def give(content: str | bytes) -> None:
    """Print a result for programs, as it is: JSON, CSV, paths."""
    _echo(content)


def _echo(content: str | bytes, err: bool = False) -> None:
    """Raises OSError as ``click.echo`` does, and says of which stream; a reader who is gone is no error."""
    try:
        click.echo(content, nl=False, err=err)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"standard {'error' if err else 'output'}") from error


def give_path(path: str, null: bool) -> None:
    """Print a path for programs: its bytes and NUL, or without control characters on a line of its own."""
    give(os.fsencode(path) + b"\0" if null else os.fsencode(without_controls(path)) + b"\n")


def give_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print a table for programs, of which no cell is a formula. What is in no column is left out."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: csv_cell(cell) if isinstance(cell, str) else cell for name, cell in row.items()})
    give(text.getvalue())


def give_json(content: object) -> None:
    """Print JSON in ASCII, so that nothing in it acts on a terminal."""
    give(json.dumps(content, indent=2) + "\n")


@contextmanager
def bar(unit: str, verb: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar with rate and time left, if standard error is a terminal."""
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())  # its own one is a file in /dev/shm, for processes that this program has not
    with tqdm(total=0, unit=unit, desc=verb, disable=not sys.stderr.isatty(), dynamic_ncols=True, leave=False) as shown:

        def report(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield report


def size(count: int) -> str:
    """A number of bytes with its unit: ``1.2 MB``."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def short_path(path: str) -> str:
    """Relative if the path is below the current folder, else unchanged, as an address is."""
    if "://" in path:
        return path
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return path
    if relative.startswith(os.pardir):
        return path
    return os.path.join(os.curdir, relative) if relative.startswith("-") else relative  # never an option of a command


def shown_path(path: str) -> str:
    """A path for display: short, on one line, whatever its bytes."""
    return printable(short_path(path))


def counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
