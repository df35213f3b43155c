"""The exception tree.

::

    LatentError
    ├── PictureRefused      a file that is not a picture, or one that no decoder could read
    ├── PathError           a path that is no folder, or not in the index
    ├── PlanError           a plan for copies, or its journal, that cannot be carried out
    ├── ModelError          a bundle that is missing, damaged, or lacks a part
    ├── TrainingError       training data or settings that cannot work
    │   └── Diverged        a loss became NaN or infinite
    ├── NoDirection         a direction that the index was not taught
    ├── AddressUnknown      an address of an index that is of no known kind
    ├── NoIndex             no index where one was looked for
    ├── IndexMismatch       an index of another model or schema
    ├── IndexBusy           another process is writing to it
    ├── IndexDamaged        the catalog cannot be read
    ├── IndexUnwritable     a read-only folder, a full disk
    ├── JoinTooWide         a distance within which nearly everything lies
    └── MissingExtra        an optional package is needed; the text holds the pip line
"""

from __future__ import annotations

from index.errors import (
    AddressUnknown,
    IndexBusy,
    IndexDamaged,
    IndexMismatch,
    IndexUnwritable,
    JoinTooWide,
    LatentError,
    MissingExtra,
    NoIndex,
)

__all__ = [
    "AddressUnknown",
    "Diverged",
    "IndexBusy",
    "IndexDamaged",
    "IndexMismatch",
    "IndexUnwritable",
    "JoinTooWide",
    "LatentError",
    "MissingExtra",
    "ModelError",
    "NoDirection",
    "NoIndex",
    "PathError",
    "PictureRefused",
    "PlanError",
    "TrainingError",
]


class PictureRefused(LatentError):
    """A file is not a picture, or cannot be decoded. The text is the reason, without the file's name.

    ``passing``: the fault is not the file's, and may be gone next time.
    """

    code = "picture_refused"

    def __init__(self, reason: str, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


class PathError(LatentError):
    """A path is not what it should be: not a folder, not in the index."""

    code = "path_error"


class NoDirection(LatentError):
    """An index was asked for a direction that it was not taught."""

    code = "no_direction"


class PlanError(LatentError):
    """A plan for copies that is none, contradicts itself, or cannot be carried out as it was asked for."""

    code = "plan_error"


class ModelError(LatentError):
    """A model bundle is missing, damaged, or lacks a part that was asked for."""

    code = "model_error"


class TrainingError(LatentError):
    """Training data or settings that cannot work."""

    code = "training_error"


class Diverged(TrainingError):
    """A loss became NaN or infinite; the last good checkpoint was kept."""

    code = "diverged"
