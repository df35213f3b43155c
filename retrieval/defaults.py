"""Defaults, and names that need no heavy import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from retrieval.searcher import Order

Action = Literal["trash", "move", "hardlink", "symlink", "delete"]
ACTIONS: tuple[Action, ...] = get_args(Action)
KEEP = (
    "raw",
    "living",
    "detail",
    "facts",
    "size",
    "oldest",
    "path",
)  # which copy to keep: the first rule that tells two apart
PROPOSED = ("bytes", "pixels", "scaled")  # kinds of copies that a plan removes, unless others are asked for
Device = Literal["auto", "cpu", "cuda"]

NOVEL = 0.99  # novelty above which a query gets a warning
DEFAULT_MODEL = "photos-64"
FACES_MODEL = "faces-128"
DECODE_SCALE = 0.9  # the O-GAN paper's reconstructions are G(0.9 N(E(x)))
MAP_CELLS = 32  # across a map: each shows one of its pictures before any shows two
ORDERS: dict[str, tuple[Order, bool]] = {  # word: (order of the library, whether the largest comes first)
    "path": ("path", False),
    "taken": ("taken_us", False),
    "newest": ("taken_us", True),
    "size": ("size_bytes", True),
    "pixels": ("pixels", True),
    "realism": ("realism", False),
    "novelty": ("novelty", True),
}
