"""Encode, index, find and decode pictures. The public API: ``from retrieval import Retriever, load_model``.

Each name is imported on first use, so a worker process or ``latent --help`` imports only what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from index.grammar import FilterError
    from index.http import ServerError
    from index.records import Budget, Direction
    from index.where import AllOf, AnyOf, Compare, InFolder, Known, Matches, Near, Not
    from retrieval.copies.apply import apply_plan
    from retrieval.copies.compare import Compared, compare_pictures
    from retrieval.copies.find import find_copies
    from retrieval.copies.plan import Evidence, Group, Plan, load_plan
    from retrieval.copies.results import Act
    from retrieval.copies.undo import undo
    from retrieval.errors import (
        AddressUnknown,
        ClusterError,
        Diverged,
        IndexBusy,
        IndexDamaged,
        IndexMismatch,
        IndexUnreachable,
        IndexUnwritable,
        LatentError,
        MissingExtra,
        ModelError,
        NoDirection,
        NoIndex,
        NotServed,
        PartAbsent,
        PathError,
        PictureRefused,
        PlanError,
        TrainingError,
    )
    from retrieval.explore.directions import learn_direction
    from retrieval.explore.tables import write_features
    from retrieval.ingest.commit import Summary
    from retrieval.library import Library
    from retrieval.models.added import add_model, remove_model
    from retrieval.models.bundle import added_models, shipped_models
    from retrieval.models.model import Encoded, Model, load_model
    from retrieval.models.transformer import CodeTransformer
    from retrieval.pictures.decode import read_image
    from retrieval.pictures.files import find_images
    from retrieval.places import locate_index, trust_index
    from retrieval.questions import Answer, Question, Term, ask, ask_all
    from retrieval.remote import Client, RemoteAnswer, RemoteHit, RemotePicture, connect
    from retrieval.retriever import Retriever
    from retrieval.roots.faces import faces_of
    from retrieval.searcher import Hit, Searcher
    from retrieval.seen import Seen
    from retrieval.status import Status

    __version__: str

__all__ = [
    "Act",
    "AddressUnknown",
    "AllOf",
    "Answer",
    "AnyOf",
    "Budget",
    "Client",
    "ClusterError",
    "CodeTransformer",
    "Compare",
    "Compared",
    "Direction",
    "Diverged",
    "Encoded",
    "Evidence",
    "FilterError",
    "Group",
    "Hit",
    "InFolder",
    "IndexBusy",
    "IndexDamaged",
    "IndexMismatch",
    "IndexUnreachable",
    "IndexUnwritable",
    "Known",
    "LatentError",
    "Library",
    "Matches",
    "MissingExtra",
    "Model",
    "ModelError",
    "Near",
    "NoDirection",
    "NoIndex",
    "Not",
    "NotServed",
    "NotTrusted",
    "PartAbsent",
    "PathError",
    "PictureRefused",
    "Plan",
    "PlanError",
    "Question",
    "RemoteAnswer",
    "RemoteHit",
    "RemotePicture",
    "Retriever",
    "Searcher",
    "Seen",
    "ServerError",
    "Status",
    "Summary",
    "Term",
    "TrainingError",
    "add_model",
    "added_models",
    "apply_plan",
    "ask",
    "ask_all",
    "compare_pictures",
    "connect",
    "faces_of",
    "find_copies",
    "find_images",
    "learn_direction",
    "load_model",
    "load_plan",
    "locate_index",
    "read_image",
    "remove_model",
    "shipped_models",
    "trust_index",
    "undo",
    "write_features",
]

_ROOMS = {
    "retrieval.pictures.decode": ("read_image",),
    "retrieval.pictures.files": ("find_images",),
    "retrieval.roots.faces": ("faces_of",),
    "retrieval.ingest.commit": ("Summary",),
    "index.records": ("Budget", "Direction"),
    "index.grammar": ("FilterError",),
    "index.http": ("ServerError",),
    "index.where": ("AllOf", "AnyOf", "Compare", "InFolder", "Known", "Matches", "Near", "Not"),
    "retrieval.questions": ("Answer", "Question", "Term", "ask", "ask_all"),
    "retrieval.copies.apply": ("apply_plan",),
    "retrieval.copies.results": ("Act",),
    "retrieval.copies.undo": ("undo",),
    "retrieval.explore.directions": ("learn_direction",),
    "retrieval.copies.compare": ("Compared", "compare_pictures"),
    "retrieval.copies.find": ("find_copies",),
    "retrieval.copies.plan": ("Evidence", "Group", "Plan", "load_plan"),
    "retrieval.models.bundle": ("added_models", "shipped_models"),
    "retrieval.models.added": ("add_model", "remove_model"),
    "retrieval.models.model": ("Encoded", "Model", "load_model"),
    "retrieval.models.transformer": ("CodeTransformer",),
    "retrieval.explore.tables": ("write_features",),
    "retrieval.places": ("locate_index", "trust_index"),
    "retrieval.library": ("Library",),
    "retrieval.remote": ("Client", "RemoteAnswer", "RemoteHit", "RemotePicture", "connect"),
    "retrieval.retriever": ("Retriever",),
    "retrieval.searcher": ("Hit", "Searcher"),
    "retrieval.seen": ("Seen",),
    "retrieval.status": ("Status",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        from index.errors import DISTRIBUTION

        return version(DISTRIBUTION)
    if name not in __all__:
        raise AttributeError(f"module 'retrieval' has no attribute {name!r}")
    return getattr(import_module(_ROOM_OF.get(name, "retrieval.errors")), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
