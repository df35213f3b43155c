"""A plan for copies, which the user can read and edit: what to keep, what to remove, and why."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from retrieval.atomic import write
from retrieval.copies.similarity import ALIKE
from retrieval.errors import PlanError

Kind = Literal["bytes", "pixels", "near"]
SCHEMA = 1


@dataclass(frozen=True)
class Evidence:
    """Why ``path`` is a copy of its group's kept file: the distance of the codes and the likeness of the pictures."""

    path: str
    kind: Kind
    distance: float
    likeness: float
    turned: str = ""


@dataclass(frozen=True)
class Group:
    """A file to keep and its copies. Each is a copy of ``keep`` itself."""

    keep: str
    remove: list[str]
    evidence: list[Evidence]


@dataclass(frozen=True)
class FileFacts:
    """A file as it was when the plan was made."""

    size_bytes: int
    mtime_ns: int
    content_hash: str


@dataclass(frozen=True)
class Plan:
    """Groups of copies, and facts of all their files by path.

    The codes of copies are within ``threshold``, a Euclidean distance. Within ``near`` copies have a likeness of
    ``ALIKE``, which rises to ``likeness_at_threshold``. ``expected_false_pairs`` is the expected number of pairs that
    are not copies, None if the collection is too small to tell. It is estimated from the ``estimated_from`` nearest
    pairs that are not copies.
    """

    threshold: float
    expected_false_pairs: float | None
    near: float = 0.0
    likeness_at_threshold: float = ALIKE
    estimated_from: int = 0
    groups: list[Group] = field(default_factory=list)
    files: dict[str, FileFacts] = field(default_factory=dict)

    def as_json(self) -> str:
        """The plan as JSON, as ``load_plan`` reads it."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as JSON."""
        write(path, self.as_json() + "\n")


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Read a plan, which may have been edited. Its evidence is not read.

    Raises:
        PlanError: the file is not a plan, or contradicts itself, such as by keeping a file and removing it.
    """
    try:
        facts = json.loads(Path(path).read_text(encoding="utf-8", errors="surrogateescape"))
        groups = [Group(str(one["keep"]), [str(p) for p in one["remove"]], []) for one in facts["groups"]]
        files = {str(name): FileFacts(**one) for name, one in facts["files"].items()}
        plan = Plan(float(facts["threshold"]), facts["expected_false_pairs"], groups=groups, files=files)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise PlanError(f"{os.fspath(path)} is no plan for copies ({error})") from error
    _check(plan, os.fspath(path))
    return plan


def _check(plan: Plan, path: str) -> None:
    kept = dict.fromkeys(group.keep for group in plan.groups)
    going = Counter(one for group in plan.groups for one in group.remove)
    for name in (*going, *kept):
        if "\0" in name:
            raise PlanError(f"{path} has a name with a NUL character, which no file has")
        if name not in plan.files:
            raise PlanError(f"{path} says nothing of what {name} was; make the plan again")
        if going[name] > 1 or (name in going and name in kept):
            raise PlanError(f"{path} has {name} twice, to keep and to go, or to go; mend it by hand")
