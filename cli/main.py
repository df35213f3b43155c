"""``latent``: the group of commands, and the one border where exceptions become messages and exit codes."""

from __future__ import annotations

import codecs
import sys
from importlib import import_module
from typing import Any

import click

from retrieval.errors import AddressUnknown, IndexDamaged, IndexMismatch, LatentError, NoIndex

COMMANDS = {  # where it is, and what the list of commands says of it
    "demo": ("cli.demo:demo", "See it work on pictures that it makes itself."),
    "index": ("cli.index:index", "Make an index of folders, keep it true, look after it."),
    "query": ("cli.query:query", "Find what looks like a picture."),
    "map": ("cli.map:map_", "Lay the collection out on a plane."),
    "direction": ("cli.direction:direction", "Teach an index what a change looks like."),
    "dedup": ("cli.dedup:dedup", "Find copies, and do something about them."),
    "compare": ("cli.dedup:compare", "Tell whether two files are copies of one picture."),
    "features": ("cli.features:features", "Write codes as a table for other programs."),
    "models": ("cli.models:models", "List the models that ship."),
    "sample": ("cli.models:sample", "Paint pictures that never were."),
    "reconstruct": ("cli.models:reconstruct", "Paint pictures from their own codes."),
    "interpolate": ("cli.models:interpolate", "Paint the way from one picture to another."),
    "swap": ("cli.models:swap", "Paint a picture with its class exchanged."),
    "train": ("cli.train:train", "Learn a model of your own pictures."),
    "evaluate": ("cli.evaluate:evaluate", "Measure how good a model is, beside controls."),
    "benchmark": ("cli.benchmark:benchmark", "Train several methods, and compare them."),
}
EXIT_NO_INDEX = 3
EXIT_INTERRUPTED = 130

EPILOG = """\b
Start with:
  latent demo                      see it work on pictures that it makes itself
  latent index build ~/Pictures    index your own
  latent query face.jpg -k 10      find what looks like it
"""


class Latent(click.Group):
    """Imports a command when it is asked for, and turns our exceptions into ``Error: ...``."""

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

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LatentError as error:
            from cli.hints import with_hint

            raise _spoken(with_hint(error), EXIT_NO_INDEX if _does_not_fit(error) else 1) from error
        except BrokenPipeError:
            raise  # click ends quietly when nobody reads on
        except OSError as error:
            place = f": {error.filename}" if error.filename else ""
            raise _spoken(f"{error.strerror or error}{place}", 1) from error
        except (KeyboardInterrupt, ImportError) as error:
            if not _was_interrupted(error):
                raise
            click.echo("\nInterrupted. All that was committed is kept; the same command goes on there.", err=True)
            ctx.exit(EXIT_INTERRUPTED)


class SpokenError(click.ClickException):
    """``Error: message`` and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is at the bottom of it: where it comes while a library is loaded, that fails to load."""
    return error is not None and (isinstance(error, KeyboardInterrupt) or _was_interrupted(error.__cause__))


def _does_not_fit(error: LatentError) -> bool:
    return isinstance(error, AddressUnknown | NoIndex | IndexMismatch | IndexDamaged)


def _spoken(message: str, code: int) -> click.ClickException:
    from retrieval.text import printable

    return SpokenError(printable(message), code)


@click.group(
    cls=Latent, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="latent", prog_name="latent")
def latent() -> None:
    """Find pictures by what they look like, and draw what was found.

    A model that was learnt from pictures alone turns each picture into a code of a few numbers; alike pictures
    have codes near each other, and a generator paints any code. Everything stays on this machine.
    """


def _encode_names(error: UnicodeError) -> tuple[str | bytes, int]:
    """Bytes of names that are no text come out as they are; characters that the terminal lacks are escaped."""
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
