"""``latent serve``: a page and an API for other programs, on this machine."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import click

from cli.console import device_option, index_option, say, tell
from retrieval.defaults import Device

PORT = 8765


@click.command(
    epilog="""\b
Examples:
  latent serve                                  a page for the index here
  latent serve --no-open --token-file token     for programs, which send that token
  latent serve --host 192.168.1.7 --token-file token
  latent serve --allow-apply                    copies may be put into the trash
"""
)
@index_option
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; others than loopback need --token-file.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The token that programs send; made if it is not there.",
)
@click.option("--read-only", is_flag=True, help="Write nothing: no updates, no notes on copies.")
@click.option("--allow-apply", is_flag=True, help="Plans for copies may be carried out, by the trash.")
@click.option(
    "--move-to",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="With --allow-apply: copies may also be moved into this folder.",
)
@click.option("--open/--no-open", "opens", default=True, show_default=True, help="Open the page in a browser.")
@click.option(
    "--thumbnails",
    type=click.IntRange(0, 1_000_000),
    default=512,
    show_default=True,
    metavar="MB",
    help="The most megabytes of thumbnails that are kept in your cache folder; 0 keeps none.",
)
@device_option
def serve(
    index_folder: str | None,
    port: int,
    host: str,
    token_file: Path | None,
    read_only: bool,
    allow_apply: bool,
    move_to: Path | None,
    opens: bool,
    thumbnails: int,
    device: Device,
) -> None:
    """Serve a page to look through the pictures, and an API for other programs. Needs the extra web.

    The page updates the index and reviews copies, and touches no picture without --allow-apply. Only this machine is
    answered, and only those who have the printed link, which is good for one browser, or the token. docs/serve.md
    describes the API. Ctrl-C ends it; an update that runs goes on where it was with the next one.
    """
    from serve.extra import check_extra

    check_extra()
    from index.served.address import is_served
    from retrieval import Retriever
    from serve.allowed import Allowed
    from serve.app import serve as served_of
    from serve.collection import Collection
    from serve.guard import is_loopback
    from serve.keys import Keys, read_token
    from serve.server import bind, origin_of, run
    from serve.thumbnails import Thumbnails, usual_folder

    if not is_loopback(host) and token_file is None:
        raise click.UsageError(f"--host {host} is not this machine alone; that needs --token-file FILE")
    if read_only and allow_apply:
        raise click.UsageError("--read-only and --allow-apply exclude each other")
    if move_to is not None and not allow_apply:
        raise click.UsageError("--move-to needs --allow-apply")
    target = None if move_to is None else os.path.abspath(move_to)
    allowed = Allowed(not read_only, allow_apply, target, tells_paths=is_loopback(host))
    keys = Keys(read_token(token_file) if token_file else None)
    try:
        bound = bind(host, port)
    except ValueError as error:
        raise click.UsageError(f"--host: {error}") from error
    except OSError as error:
        raise click.ClickException(
            f"port {port} of {host} cannot be used: {error.strerror}; --port 0 takes a free one"
        ) from error
    link = f"{origin_of(host, bound.getsockname()[1])}/?launch={keys.launch}"

    def started() -> None:
        say("The link opens once; Ctrl-C ends the server.")
        tell(link)
        if opens:
            import webbrowser

            threading.Thread(target=webbrowser.open, args=(link,), daemon=True).start()

    with bound, Retriever.open(index_folder, device=device) as retriever:
        if is_served(retriever.index.address):
            raise click.UsageError(f"{retriever.index.address} is served already; ask it there")
        _ = retriever.model.image_size  # a damaged model is told before the first request
        kept = Thumbnails(usual_folder(), thumbnails * 10**6)
        collection = Collection(retriever, kept, _reveal if is_loopback(host) else None)
        try:
            run(served_of(collection, allowed), keys, host, bound, started)
        except KeyboardInterrupt:
            say("", "Ended.")


def _reveal(path: str) -> bool:
    """Open the folder of a file in the file manager. Whether there is one."""
    return click.launch(path, locate=True) == 0
