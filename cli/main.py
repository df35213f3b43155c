"""``latent``: the group of commands. Here alone exceptions become messages and exit codes."""

from __future__ import annotations

import codecs
import os
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from retrieval.errors import DISTRIBUTION, AddressUnknown, IndexDamaged, IndexMismatch, LatentError, NoIndex, NotTrusted

COMMANDS = {  # name: (where it is, its line in the list of commands)
    "demo": ("cli.demo:demo", "Run the whole workflow on generated pictures."),
    "index": ("cli.index:index", "Build, update and check an index of pictures."),
    "query": ("cli.query:query", "Find pictures that look like a given one."),
    "show": ("cli.show:show", "Show what is known of pictures."),
    "map": ("cli.map:map_", "Show the collection on a plane."),
    "serve": ("cli.serve:serve", "Serve a page and an API on this machine."),
    "direction": ("cli.direction:direction", "Learn a direction from examples."),
    "dedup": ("cli.dedup:dedup", "Find copies, and trash, move, link or delete them."),
    "compare": ("cli.compare:compare", "Check whether two files are copies."),
    "features": ("cli.features:features", "Write codes as a table for other programs."),
    "models": ("cli.models:models", "List the shipped models."),
    "sample": ("cli.models:sample", "Decode random codes: new pictures."),
    "reconstruct": ("cli.models:reconstruct", "Decode pictures from their own codes."),
    "interpolate": ("cli.models:interpolate", "Decode the codes between two pictures."),
    "swap": ("cli.models:swap", "Decode a picture as another class."),
    "train": ("cli.train:train", "Train a model on your own pictures."),
    "evaluate": ("cli.evaluate:evaluate", "Measure a model, and compare it with controls."),
    "completion": ("cli.completion:completion", "Print the completion script for a shell."),
    "benchmark": ("cli.benchmark:benchmark", "Train several methods and compare them."),
}
GROUPS = ("index", "dedup")
CONTINUED = ("index build", "index update", "index migrate", "dedup apply", "dedup undo", "train", "benchmark")
"""Commands that go on where they were interrupted."""
WORDS = "latent.words"  # of the command line, in click's ``Context.meta``
EXIT_NO_INDEX = 3
LEAST_BYTES, BYTES_PER_CORE = 640 << 20, 32 << 20  # of address space, for FAISS and ONNX Runtime with their threads
EXIT_INTERRUPTED = 130

EPILOG = """\b
Start with:
  latent demo                      try it on generated pictures
  latent index build ~/Pictures    index your own pictures
  latent query face.jpg -k 10      find pictures that look like it
"""


class Latent(click.Group):
    """Imports a command when it is called, and turns our exceptions into ``Error: ...``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        return getattr(import_module(module), name)  # type: ignore[no-any-return]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"No such command {args[0]!r}.{_near(self._known(ctx), args)}", ctx)
        return super().resolve_command(ctx, args)

    def _known(self, ctx: click.Context) -> list[str]:
        """All commands as they are typed: ``query``, ``index build``."""
        groups = [self.get_command(ctx, name) for name in GROUPS]
        inner = [f"{group.name} {one}" for group in groups if isinstance(group, click.Group) for one in group.commands]
        return [*COMMANDS, *inner]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[WORDS] = " ".join(args[:2])
        try:
            return super().parse_args(ctx, args)
        except click.ClickException as error:
            raise _escaped(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        _check_address_space()
        try:
            return super().invoke(ctx)
        except MemoryError as error:
            raise SpokenError("there is not enough memory for this; what was committed is kept", 1) from error
        except LatentError as error:
            from cli.hints import with_hint

            raise _spoken(with_hint(error), EXIT_NO_INDEX if _does_not_fit(error) else 1) from error
        except BrokenPipeError:
            raise  # click exits quietly when the reader of a pipe is gone
        except click.ClickException as error:
            raise _escaped(error) from None
        except OSError as error:
            place = f": {error.filename}" if error.filename else ""
            raise _spoken(f"{error.strerror or error}{place}", 1) from error
        except (KeyboardInterrupt, ImportError) as error:
            if not _was_interrupted(error):
                raise
            from cli.console import say

            goes_on = str(ctx.meta.get(WORDS, "")).startswith(CONTINUED)
            say("", "Interrupted." + (" Committed work is kept; run the same command to continue." if goes_on else ""))
            ctx.exit(EXIT_INTERRUPTED)


def _check_address_space() -> None:
    """Refuse a limit (ulimit -v) below which numerical libraries raise no errors, but crash while they are loaded."""
    if sys.platform == "win32":
        return
    import resource

    allowed, cores = resource.getrlimit(resource.RLIMIT_AS)[0], len(os.sched_getaffinity(0))
    needed = LEAST_BYTES + cores * BYTES_PER_CORE
    if resource.RLIM_INFINITY != allowed < needed:
        raise SpokenError(
            f"this process may use {allowed >> 20:,} MiB of address space, and needs {needed >> 20:,} MiB; "
            "raise the limit (ulimit -v)",
            1,
        )


def _near(known: list[str], words: list[str]) -> str:
    """What may have been meant by a command that does not exist; "" if nothing is like it."""
    word = words[0]
    ends = [name for name in known if name.split()[-1] == word]  # ``build`` of ``index build``
    near = (
        ends
        or get_close_matches(word, known, n=2)
        or [name for name in known if get_close_matches(word, [name.split()[-1]], n=1, cutoff=0.8)]
    )
    return f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""


def _escaped(error: click.ClickException) -> click.ClickException:
    """What click says of a wrong word holds that word; a shell may have found it as the name of a file."""
    from retrieval.text import printable

    said = error.format_message()
    safe = "\n".join(map(printable, said.split("\n")))
    if safe == said:
        return error
    return click.UsageError(safe, error.ctx) if isinstance(error, click.UsageError) else SpokenError(safe, 1)


class SpokenError(click.ClickException):
    """``Error: message`` and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused the error: pressed while a library is loaded, it makes the import fail."""
    return error is not None and (isinstance(error, KeyboardInterrupt) or _was_interrupted(error.__cause__))


def _does_not_fit(error: LatentError) -> bool:
    return isinstance(error, AddressUnknown | NoIndex | NotTrusted | IndexMismatch | IndexDamaged)


def _spoken(message: str, code: int) -> click.ClickException:
    from retrieval.text import printable

    return SpokenError(printable(message), code)


@click.group(
    cls=Latent, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name=DISTRIBUTION, prog_name="latent")
def latent() -> None:
    """Find pictures by what they look like.

    A model trained on unlabelled pictures encodes each picture as a short vector, its code. Similar pictures have
    nearby codes, and a generator decodes any code to a picture. Everything runs on this machine.
    """


def _encode_names(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write undecodable bytes of file names unchanged; escape characters that the terminal's encoding lacks."""
    assert isinstance(error, UnicodeEncodeError)
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def main() -> None:
    """The console script."""
    codecs.register_error("latent", _encode_names)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="latent")
    latent(prog_name="latent")
