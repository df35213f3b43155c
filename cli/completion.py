"""``latent completion``: what makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from cli.console import give

SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog="""\b
Examples:
  latent completion bash > ~/.local/share/bash-completion/completions/latent
  latent completion zsh > ~/.zfunc/_latent         with fpath+=~/.zfunc before compinit
  latent completion fish > ~/.config/fish/completions/latent.fish
"""
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell."""
    kind = get_completion_class(shell)
    assert kind is not None
    give(kind(ctx.find_root().command, {}, "latent", "_LATENT_COMPLETE").source() + "\n")
