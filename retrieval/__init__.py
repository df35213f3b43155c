"""What a picture becomes, and how it is found. The library's door: ``from retrieval import Retriever, load_model``.

Names are imported when first asked for, so that a worker process or ``latent --help`` pays for nothing it
does not use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from index.schema import Direction
    from index.structures import Budget
    from retrieval.apply import Act, apply_plan, load_plan, undo
    from retrieval.dedup import Compared, Evidence, Group, Plan, compare_pictures, find_copies
    from retrieval.directions import learn_direction
    from retrieval.errors import (
        Diverged,
        IndexBusy,
        IndexDamaged,
        IndexMismatch,
        IndexUnwritable,
        JoinTooWide,
        LatentError,
        MissingExtra,
        ModelError,
        NoDirection,
        NoIndex,
        PathError,
        PictureRefused,
        PlanError,
        TrainingError,
    )
    from retrieval.features import write_features
    from retrieval.images import find_images, read_image
    from retrieval.ingest import Summary
    from retrieval.model import Encoded, Model, load_model, shipped_models
    from retrieval.places import locate_index
    from retrieval.retriever import Hit, Retriever, Seen
    from retrieval.status import Status
    from retrieval.transformer import CodeTransformer

__all__ = [
    "Act",
    "Budget",
    "CodeTransformer",
    "Compared",
    "Direction",
    "Diverged",
    "Encoded",
    "Evidence",
    "Group",
    "Hit",
    "IndexBusy",
    "IndexDamaged",
    "IndexMismatch",
    "IndexUnwritable",
    "JoinTooWide",
    "LatentError",
    "MissingExtra",
    "Model",
    "ModelError",
    "NoDirection",
    "NoIndex",
    "PathError",
    "PictureRefused",
    "Plan",
    "PlanError",
    "Retriever",
    "Seen",
    "Status",
    "Summary",
    "TrainingError",
    "apply_plan",
    "compare_pictures",
    "find_copies",
    "find_images",
    "learn_direction",
    "load_model",
    "load_plan",
    "locate_index",
    "read_image",
    "shipped_models",
    "undo",
    "write_features",
]

_ROOMS = {
    "retrieval.images": ("find_images", "read_image"),
    "retrieval.ingest": ("Summary",),
    "index.structures": ("Budget",),
    "retrieval.apply": ("Act", "apply_plan", "load_plan", "undo"),
    "index.schema": ("Direction",),
    "retrieval.directions": ("learn_direction",),
    "retrieval.dedup": ("Compared", "Evidence", "Group", "Plan", "compare_pictures", "find_copies"),
    "retrieval.model": ("Encoded", "Model", "load_model", "shipped_models"),
    "retrieval.transformer": ("CodeTransformer",),
    "retrieval.features": ("write_features",),
    "retrieval.places": ("locate_index",),
    "retrieval.retriever": ("Hit", "Retriever", "Seen"),
    "retrieval.status": ("Status",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'retrieval' has no attribute {name!r}")
    return getattr(import_module(_ROOM_OF.get(name, "retrieval.errors")), name)


def __dir__() -> list[str]:
    return __all__
