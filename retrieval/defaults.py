"""Names that need no heavy import: what is the default, and how a file's name is shown."""

from __future__ import annotations

from typing import Literal, get_args

Action = Literal["trash", "move", "hardlink", "symlink", "delete"]
ACTIONS: tuple[Action, ...] = get_args(Action)
KEEP = ("resolution", "size", "oldest", "path")  # which copy is kept: the first rule that tells decides
Device = Literal["auto", "cpu", "cuda"]

STRANGE = 0.99  # of a collection is less strange than a picture that is warned of
DEFAULT_MODEL = "photos-64"
DECODE_SCALE = 0.9  # G(0.9 N(E(x))) is what the O-GAN paper's reconstructions show


def printable(text: str) -> str:
    """``text`` without characters that would break a line, a page or an encoder."""
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in whole)
