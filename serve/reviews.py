"""A plan for copies, and what was decided of it by the numbers of its groups."""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import get_args

from retrieval.copies.kinds import Kind
from retrieval.copies.plan import Evidence, Group, Plan
from retrieval.pages.words import MEANS, WORDS, wrong_pairs
from serve import records_of_acts as records
from serve.errors import Refused
from serve.records_of_acts import Decision

ID_BYTES = 16

Pair = tuple[int, int]
"""The number of a group, and that of a copy in it."""


@dataclass
class Review:
    """``apart``: copies that are none. ``left``: why ``apply`` left a copy alone. ``undone``: all is back."""

    id: str
    made: str
    plan: Plan
    decisions: dict[int, Decision] = field(default_factory=dict)
    apart: set[Pair] = field(default_factory=set)
    left: dict[Pair, str] = field(default_factory=dict)
    undone: bool = False

    @classmethod
    def of(cls, plan: Plan) -> Review:
        """A new one, with a random id. ``made`` is ISO 8601, and sorts."""
        return cls(secrets.token_hex(ID_BYTES), datetime.now(UTC).isoformat(timespec="microseconds"), plan)

    def numbers(self, *decisions: Decision) -> list[int]:
        """The groups with one of these decisions."""
        return [number for number in range(len(self.plan.groups)) if self.decision(number) in decisions]

    def decision(self, number: int) -> Decision:
        """What was decided of a group; that no file of it is a copy, if that was said of each."""
        said = self.decisions.get(number, "open")
        copies = range(len(self.plan.groups[number].remove))
        return "apart" if said != "done" and all((number, copy) in self.apart for copy in copies) else said

    def group(self, number: int) -> Group:
        """Raises Refused: there is none of that number, or it was carried out."""
        if number >= len(self.plan.groups):
            raise Refused(404, "no_group", "this plan has no such group")
        if self.decision(number) == "done":
            raise Refused(409, "done", "this group was carried out")
        return self.plan.groups[number]

    def evidence(self, number: int, copy: int) -> Evidence:
        group = self.plan.groups[number]
        return next(one for one in group.evidence if one.path == group.remove[copy])

    def pairs(self, number: int) -> list[Pair]:
        """The copies of a group that are copies."""
        copies = range(len(self.plan.groups[number].remove))
        return [(number, copy) for copy in copies if (number, copy) not in self.apart]

    def chosen(self) -> Plan:
        """The plan of what is to be done: the groups that are to be kept, without files that are no copies."""
        groups = [self._group(number) for number in self.numbers("keep")]
        listed = [path for group in groups for path in (group.keep, *group.remove)]
        return replace(self.plan, groups=groups, others=[], files={path: self.plan.files[path] for path in listed})

    def _group(self, number: int) -> Group:
        its = self.plan.groups[number]
        pairs = self.pairs(number)
        return Group(its.keep, [its.remove[copy] for _, copy in pairs], [self.evidence(*pair) for pair in pairs])

    def facts(self, can_undo: bool) -> records.PlanFacts:
        chosen, plan = self.chosen(), self.plan
        decided = Counter(self.decision(number) for number in range(len(plan.groups)))
        files, size_bytes = room(chosen)
        going = {one.kind for group in plan.groups for one in group.evidence}
        return records.PlanFacts(
            id=self.id,
            made=self.made,
            groups=len(plan.groups),
            decided={word: decided[word] for word in get_args(Decision)},
            files=files,
            bytes=size_bytes,
            kinds=[_kind(kind, count, kind not in going) for kind, count in plan.counts().items()],
            wrong_pairs=wrong_pairs(plan),
            registered=plan.registered,
            hash=digest(chosen),
            can_undo=can_undo,
        )


def _kind(kind: Kind, count: int, only_listed: bool) -> records.KindFacts:
    return records.KindFacts(kind=kind, title=WORDS[kind], means=MEANS[kind], count=count, only_listed=only_listed)


def room(plan: Plan) -> tuple[int, int]:
    """How many files a plan removes, and their bytes."""
    going = [path for group in plan.groups for path in group.remove]
    return len(going), sum(plan.files[path].size_bytes for path in going)


def digest(plan: Plan) -> str:
    """SHA-256 of all that a plan says, as hex."""
    return hashlib.sha256(plan.as_json().encode()).hexdigest()
