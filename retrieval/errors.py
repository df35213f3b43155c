"""The exception tree.

::

    LatentError
    ├── PictureRefused      a file that is not a picture, or one that no decoder could read
    ├── RootUnreadable      a store, archive or table of pictures that cannot be listed now
    ├── PathError           a path that is not a folder, or not in the index
    ├── PlanError           a plan for copies, or its journal, that cannot be carried out
    ├── ModelError          a bundle that is missing, damaged, or lacks a part
    ├── TrainingError       training data or settings that cannot work
    │   └── Diverged        a loss became NaN or infinite
    ├── NoDirection         a direction that is not stored in the index
    ├── AddressUnknown      an address of an unknown kind
    ├── NoIndex             no index at an address
    ├── NotTrusted          an index that somebody else made, or owns
    ├── IndexMismatch       an index of another model or schema
    ├── IndexBusy           another process is writing to the index
    ├── IndexDamaged        the catalog cannot be read
    ├── IndexUnreachable    a server that does not answer, or a lost connection
    ├── IndexUnwritable     a read-only folder, a full disk
    ├── ClusterError        a cluster that does not answer, or whose nodes cannot do the work
    ├── PartAbsent          one of several indexes does not answer
    ├── NotServed           an index that is served elsewhere answers searches alone
    ├── ForkUnsafe          a child forked in the midst of other threads' work
    └── MissingExtra        an optional package is needed; the text holds the pip line
"""

from __future__ import annotations

from index.errors import (
    DISTRIBUTION,
    AddressUnknown,
    ForkUnsafe,
    IndexBusy,
    IndexDamaged,
    IndexMismatch,
    IndexUnreachable,
    IndexUnwritable,
    LatentError,
    MissingExtra,
    NoIndex,
    NotServed,
    NotTrusted,
    PartAbsent,
    pip_line,
)

__all__ = [
    "DISTRIBUTION",
    "AddressUnknown",
    "ClusterError",
    "Diverged",
    "ForkUnsafe",
    "IndexBusy",
    "IndexDamaged",
    "IndexMismatch",
    "IndexUnreachable",
    "IndexUnwritable",
    "LatentError",
    "MissingExtra",
    "ModelError",
    "NoDirection",
    "NoIndex",
    "NotServed",
    "NotTrusted",
    "PartAbsent",
    "PathError",
    "PictureRefused",
    "PlanError",
    "RootUnreadable",
    "TrainingError",
    "pip_line",
]


class PictureRefused(LatentError):
    """A file is not a picture, or cannot be decoded. The message is the reason, without the file's name.

    ``passing``: the fault is not the file's, and may be gone next time.
    """

    code = "picture_refused"

    def __init__(self, reason: str, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


class PathError(LatentError):
    """A path is not what it should be: not a folder, not in the index."""

    code = "path_error"


class RootUnreadable(LatentError):
    """A place of pictures cannot be listed, so what it holds is not known: a store is silent, an archive damaged."""

    code = "root_unreadable"


class ClusterError(LatentError):
    """A cluster does not answer, or its nodes cannot do what is asked of them."""

    code = "cluster_error"


class NoDirection(LatentError):
    """The index has no direction of that name."""

    code = "no_direction"


class PlanError(LatentError):
    """A file is not a plan for copies, contradicts itself, or cannot be carried out as requested."""

    code = "plan_error"


class ModelError(LatentError):
    """A model bundle is missing, damaged, or lacks a part that is needed."""

    code = "model_error"


class TrainingError(LatentError):
    """Training data or settings cannot work."""

    code = "training_error"


class Diverged(TrainingError):
    """A loss became NaN or infinite; the last good checkpoint was kept."""

    code = "diverged"
