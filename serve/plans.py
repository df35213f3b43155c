"""Plans for copies as files: each with its decisions and its journal, in the folder of this user's own data.

An index may come from anyone, so what is to be done with files is not kept there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

from index.trust import user_folder
from retrieval.atomic import write
from retrieval.copies.plan import Evidence, Group, Other, Plan, load_plan
from retrieval.errors import PlanError
from serve.records_of_acts import Decision
from serve.reviews import Review

FOLDER = "plans"
PLAN, STATE, JOURNAL = "plan.json", "state.json", "plan.json.journal"
KEPT_MOST = 8  # plans of an index that were not carried out


class Shelf:
    """The stored plans of one index. Nothing is stored if ``keeps`` is False, or there is no folder of this user's."""

    def __init__(self, address: str, *, keeps: bool = True) -> None:
        own = user_folder() if keeps else None
        self._address, self._folder = address, own and own / FOLDER

    def journal(self, identifier: str) -> Path | None:
        """The journal of a plan, whether there is one or not; None if nothing is stored."""
        return self._folder and self._folder / identifier / JOURNAL

    def store(self, review: Review) -> None:
        """Write a new plan, and forget the oldest ones that were not carried out."""
        if self._folder is None:
            return
        place = self._folder / review.id
        place.mkdir(mode=0o700, parents=True)
        review.plan.save(place / PLAN)
        self.note(review)
        idle = [one for one in self._of_this_index() if not (one / JOURNAL).exists()]
        for one in idle[KEPT_MOST:]:
            _forget(one)

    def note(self, review: Review) -> None:
        """Write what was decided."""
        if self._folder is None:
            return
        facts = {
            "index": self._address,
            "made": review.made,
            "decisions": list(review.decisions.items()),
            "apart": sorted(review.apart),
            "left": [[*pair, why] for pair, why in sorted(review.left.items())],
            "undone": review.undone,
        }
        write(self._folder / review.id / STATE, json.dumps(facts) + "\n")

    def reviews(self) -> list[Review]:
        """The stored plans of this index, the newest first. What cannot be read is left out."""
        found = []
        for place in self._of_this_index():
            with suppress(OSError, ValueError, LookupError, TypeError, PlanError):
                found.append(_read(place))
        return found

    def _of_this_index(self) -> list[Path]:
        dated = [(facts["made"], place) for place, facts in self._states() if facts.get("index") == self._address]
        return [place for _, place in sorted(dated, reverse=True)]

    def _states(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        for state in self._folder.glob(f"*/{STATE}") if self._folder else ():
            with suppress(OSError, ValueError):
                yield state.parent, json.loads(state.read_text(encoding="utf-8"))


def _read(place: Path) -> Review:
    facts = json.loads((place / STATE).read_text(encoding="utf-8"))
    return Review(
        place.name,
        facts["made"],
        _with_evidence(place / PLAN),
        {int(group): _decision(word) for group, word in facts["decisions"]},
        {(int(group), int(copy)) for group, copy in facts["apart"]},
        {(int(group), int(copy)): str(why) for group, copy, why in facts["left"]},
        bool(facts["undone"]),
    )


def _decision(word: str) -> Decision:
    if word not in get_args(Decision):
        raise ValueError("of another version")
    return cast("Decision", word)


def _with_evidence(path: Path) -> Plan:
    """A stored plan as it was made. ``load_plan`` checks it, but does not read why files are copies."""
    plan = load_plan(path)
    told = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    groups = [
        Group(group.keep, group.remove, [_evidence(one) for one in its["evidence"]])
        for group, its in zip(plan.groups, told["groups"], strict=True)
    ]
    others = [Other(**{**one, "differs": tuple(one["differs"])}) for one in told["others"]]
    same = {name: told[name] for name in ("estimated_from", "alike", "registered")}
    return replace(plan, groups=groups, others=others, **same)


def _evidence(one: dict[str, Any]) -> Evidence:
    places = tuple(tuple(place) for place in one["places"])
    return Evidence(**{**one, "differs": tuple(one["differs"]), "places": places})


def _forget(place: Path) -> None:
    with suppress(OSError):
        for name in (STATE, PLAN):
            os.unlink(place / name)
        place.rmdir()
