"""The records that an index takes and returns, and the types of its arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from index.facts import Facts as Facts  # noqa: PLC0414, it is a record, too

READ_AGAIN = -1  # an mtime that no file has
MENDED = ("its row was damaged", "its code was damaged", "its code was lost")  # reasons of rows that were repaired

Floats = npt.NDArray[np.float32]
"""float32 (n, d): codes, queries."""
Ids = npt.NDArray[np.int64]
State = Literal["found", "skipped", "vanished", "removed"]
Metric = Literal["euclidean", "cosine"]


@dataclass(frozen=True)
class Meta:
    """Facts about the index as a whole."""

    model_name: str
    model_digest: str
    latent_dim: int
    standardized: bool
    generation: int = 0
    stamp: bytes = b""
    found: int = 0
    rebuild_from: int = 0
    next_id: int = 1


class Row(NamedTuple):  # quicker to make than a dataclass: an update first reads a hundred thousand rows
    """The row of one file in any state. ``path`` is relative to its root. Unsaved rows have no ``id``."""

    root_id: int
    path: bytes
    size_bytes: int
    mtime_ns: int
    status: State
    content_hash: bytes | None = None
    width_px: int | None = None
    height_px: int | None = None
    realism: float | None = None
    spread: float | None = None
    reason: str | None = None
    id: int | None = None
    generation: int = 0
    ctime_ns: int | None = None
    unfamiliarity: float | None = None  # the share of what the model learnt that is less unusual


class Found(NamedTuple):
    """A picture that can be found, with all its facts. ``path`` is absolute on this machine."""

    id: int
    path: str
    size_bytes: int
    mtime_ns: int
    content_hash: bytes
    width_px: int
    height_px: int
    realism: float
    spread: float
    unfamiliarity: float | None = None


@dataclass(frozen=True)
class Neighbour:
    """One result of a search: a picture, with Euclidean distance and cosine similarity of the codes, in float64."""

    picture: Found
    distance: float
    similarity: float

    @property
    def id(self) -> int:
        return self.picture.id


@dataclass(frozen=True)
class Budget:
    """Limits for the memory and time of a search; None means no limit."""

    memory_bytes: int | None = None
    latency_s: float | None = None


@dataclass(frozen=True)
class Layout:
    """How codes are laid out for searching.

    ``memory_bytes`` and ``latency_s`` of one query are expected values. ``recall`` is the share of the ten nearest that
    was found when the layout was built, 1 if it is exact. ``fits``: memory and latency are within the budget.
    """

    name: str
    memory_bytes: int
    latency_s: float
    recall: float
    fits: bool


@dataclass(frozen=True)
class Direction:
    """A direction in the latent space.

    ``vector`` float32 (d,) leads from the average code of pictures without something to the average code of pictures
    with it. ``accuracy`` is the balanced accuracy on pictures that it was not learned from; None if there were too few.
    """

    name: str
    vector: Floats
    with_count: int
    without_count: int
    accuracy: float | None


@dataclass(frozen=True)
class Change:
    """A row to insert (no id) or to overwrite, with its code if it has one, and the facts of its content if new."""

    row: Row
    code: Floats | None = None
    facts: Facts | None = None
