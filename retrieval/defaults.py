"""Defaults, and names that need no heavy import."""

from __future__ import annotations

from typing import Literal, get_args

Action = Literal["trash", "move", "hardlink", "symlink", "delete"]
ACTIONS: tuple[Action, ...] = get_args(Action)
KEEP = ("resolution", "size", "oldest", "path")  # which copy is kept: the first rule that tells decides
Device = Literal["auto", "cpu", "cuda"]

NOVEL = 0.99  # of a collection is less novel than a picture that is warned of
DEFAULT_MODEL = "photos-64"
DECODE_SCALE = 0.9  # G(0.9 N(E(x))) is what the O-GAN paper's reconstructions show
