"""What the command line adds to an error: the option or the command that helps. The library's texts know neither."""

from __future__ import annotations

from index.errors import LatentError

HINTS = {  # by the error's code; facts of the error stand in braces
    "no_index": "make one with: latent index build PHOTOS",
    "index_mismatch": "choose another index with --index, or build one",
    "other_model": "build another one with --index DIR --model {given}",
    "not_an_index": "try --index {suggestion}",
    "folder_unwritable": "choose another place with --index DIR",
    "not_indexed": "latent index update takes in what is new",
    "archive_not_indexed": "make it part of it with: latent index build {folder}",
    "move_without_folder": "--to DIR",
    "folder_without_move": "leave out --to, or choose --action move",
    "join_too_wide": "give a smaller --threshold",
    "no_cuda": "--device cpu runs the model on the CPU",
    "no_umap": "--layout pca",
    "no_classes": "latent train --method cvae-gan --labels folder PHOTOS -o RUN learns some",
}


def with_hint(error: LatentError) -> str:
    """The error's own sentence, and how the command line helps out of it."""
    hint = HINTS.get(error.code, "")
    return f"{error}; {hint.format(**error.facts)}" if hint else str(error)
