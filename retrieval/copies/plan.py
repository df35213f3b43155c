"""A plan for copies, which the user can read and edit: what to keep, what to remove, and why."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from retrieval.atomic import write
from retrieval.copies.kinds import KINDS, Kind
from retrieval.copies.verdict import Place
from retrieval.errors import PlanError

SCHEMA = 3
OLDER = (1, 2)  # whose hashes can be forged; whose copies may be none
HASH_BYTES = 32
HASH = re.compile(f"[0-9a-f]{{{2 * HASH_BYTES}}}")
LONGEST_PATH_BYTES = 32_767  # of any system
LONGEST_REASON = 200  # characters


@dataclass(frozen=True)
class Evidence:
    """Why ``path`` is a copy of its group's kept file: the distance of the codes in the view in which they are nearest,
    the share of tiles that agree, what differs and where. ``because`` says why the other file is kept."""

    path: str
    kind: Kind
    distance: float
    alike: float
    turned: str = ""
    differs: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    because: str = ""


@dataclass(frozen=True)
class Other:
    """Two pictures that have something to do with each other, of which the plan removes none."""

    a: str
    b: str
    kind: Kind
    distance: float
    alike: float
    turned: str = ""
    differs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """A file to keep and its copies. Each is a copy of ``keep`` itself."""

    keep: str
    remove: list[str]
    evidence: list[Evidence]


@dataclass(frozen=True)
class FileFacts:
    """A file as it was when the plan was made. ``content_hash`` is BLAKE2b of 32 bytes, as hex."""

    size_bytes: int
    mtime_ns: int
    content_hash: str


@dataclass(frozen=True)
class Plan:
    """Groups of copies, and facts of all their files by path.

    ``expected_false_pairs`` is the expected number of pairs that are not copies, None if the collection is too small to
    tell. It is estimated from so many pairs that cannot be copies. At least the share ``alike`` of the tiles of a copy
    agree. ``registered``: crops, turns and screenshots were looked for, too. ``others`` are pairs of other kinds, and
    of pictures that are ``elsewhere``: so many are in stores, archives and tables, from which no plan removes any.
    """

    expected_false_pairs: float | None
    estimated_from: int = 0
    alike: float = 0.0
    registered: bool = True
    groups: list[Group] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)
    files: dict[str, FileFacts] = field(default_factory=dict)
    elsewhere: int = 0

    def __repr__(self) -> str:
        removed = sum(len(group.remove) for group in self.groups)
        return f"Plan({len(self.groups)} groups, {removed} files to remove, {len(self.others)} other pairs)"

    def counts(self) -> dict[Kind, int]:
        """The pairs of each kind, whether the plan removes any of them or not."""
        kinds = [one.kind for group in self.groups for one in group.evidence] + [one.kind for one in self.others]
        return {kind: count for kind in KINDS if (count := kinds.count(kind))}

    def as_json(self) -> str:
        """The plan as JSON, as ``load_plan`` reads it."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as JSON."""
        write(path, self.as_json() + "\n")


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Read a plan, which may have been edited. Its evidence is not read.

    Raises:
        PlanError: the file is not a plan, is one of an older version, or contradicts itself, such as by keeping a file
            and removing it.
    """
    name = os.fspath(path)
    try:
        facts = json.loads(_text(name))
        if facts["schema"] in OLDER:
            raise PlanError(f"{name} is a plan of an older version; find the copies again", "old_plan")
        if facts["schema"] != SCHEMA:
            raise ValueError("of an unknown schema")
        groups = [_group(one) for one in _list(facts["groups"])]
        files = {str(one): _facts(its) for one, its in facts["files"].items()}
        expected = facts["expected_false_pairs"]
        expected = None if expected is None else _number(expected)
        plan = Plan(expected, groups=groups, files=files)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise PlanError(f"{name} is no plan for copies ({str(error)[:LONGEST_REASON]})") from error
    _check(plan, name)
    return plan


def is_proper(path: str) -> bool:
    """Whether a path from a file of a plan or a journal can be of a file, and is whole: absolute, without ``..``."""
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:  # half a character that no name can hold
        return False
    whole = os.path.isabs(path) and os.path.normpath(path) == path and not path.startswith("//")
    return whole and b"\0" not in encoded and len(encoded) <= LONGEST_PATH_BYTES and len(path) > len(os.sep)


def _text(path: str) -> str:
    """The text of a regular file. A pipe would never end."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(handle, encoding="utf-8", errors="surrogateescape") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("no regular file")
        return file.read()


def _group(one: dict[str, object]) -> Group:
    keep, remove = one["keep"], _list(one["remove"])
    if not isinstance(keep, str) or not all(isinstance(path, str) for path in remove):
        raise TypeError("a name is no text")
    return Group(keep, remove, [])


def _facts(one: dict[str, object]) -> FileFacts:
    facts = FileFacts(**one)  # type: ignore[arg-type]
    for number in (facts.size_bytes, facts.mtime_ns):
        if type(number) is not int or abs(number) >= 2**63:
            raise ValueError("a size or a date is no number")
    if not isinstance(facts.content_hash, str) or not HASH.fullmatch(facts.content_hash):
        raise ValueError(f"a content_hash is not {2 * HASH_BYTES} hexadecimal digits")
    return facts


def _number(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a threshold or a count is no number")
    return float(value)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("a list is missing")
    return value


def _check(plan: Plan, path: str) -> None:
    kept = dict.fromkeys(group.keep for group in plan.groups)
    going = Counter(one for group in plan.groups for one in group.remove)
    for name in (*going, *kept):
        if "\0" in name:
            raise PlanError(f"{path} has a name with a NUL character, which no file has")
        if not is_proper(name):
            raise PlanError(f"{path} has {name[:LONGEST_REASON]!r}, which is no whole path; make the plan again")
        if name not in plan.files:
            raise PlanError(f"{path} says nothing of what {name} was; make the plan again")
        if going[name] > 1 or (name in going and name in kept):
            raise PlanError(f"{path} has {name} twice, to keep and to go, or to go; mend it by hand")
