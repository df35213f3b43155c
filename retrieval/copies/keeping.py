"""Which of several copies is kept, and the sentence that says why."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from index.facts import Facts
from retrieval.copies.members import Member
from retrieval.pictures.traits import Traits

BINS = frozenset({"$recycle.bin", "#recycle", "@recycle", ".trash", "trash", "recycler", "lost+found", ".thumbnails"})


class Candidate(NamedTuple):
    """A file that may be kept, and what is known of its picture."""

    member: Member
    traits: Traits

    @property
    def facts(self) -> Facts:
        return self.traits.facts

    @property
    def detail_px(self) -> float:
        """Pixels that hold detail: an enlarged picture has no more than it was made from."""
        return self.member.pixels * self.traits.detail


class Rule(NamedTuple):
    """``rank``: the smaller is kept. ``says``: why the first one is kept and the second one is not."""

    rank: Callable[[Candidate], Any]
    says: Callable[[Candidate, Candidate], str]


def _size(one: Candidate) -> str:
    return f"{one.member.width_px:,} x {one.member.height_px:,} px"


def _more_detail(kept: Candidate, going: Candidate) -> str:
    if going.member.pixels >= kept.member.pixels:
        return f"{_size(kept)} with more detail than the enlarged {_size(going)}"
    return f"{_size(kept)} where the other has {_size(going)}"


RULES: dict[str, Rule] = {
    "raw": Rule(
        lambda one: not one.facts.is_raw, lambda kept, going: "what the sensor saw, not a picture made from it"
    ),
    "living": Rule(lambda one: is_binned(one.member.path), lambda kept, going: "in a folder; the other is in a bin"),
    "detail": Rule(lambda one: -one.detail_px, _more_detail),
    "resolution": Rule(
        lambda one: -one.member.pixels, lambda kept, going: f"{_size(kept)} where the other has {_size(going)}"
    ),
    "facts": Rule(
        lambda one: -one.traits.known,
        lambda kept, going: f"it has {kept.traits.known:,} facts of the shot, the other {going.traits.known:,}",
    ),
    "camera": Rule(lambda one: not one.facts.camera, lambda kept, going: f"it names its camera, {kept.facts.camera}"),
    "rating": Rule(
        lambda one: 1 if one.facts.rating is None else -one.facts.rating,
        lambda kept, going: f"rated {kept.facts.rating} of 5",
    ),
    "taken": Rule(
        lambda one: float("inf") if one.facts.taken_us is None else one.facts.taken_us,
        lambda kept, going: "it has the earlier date of the shot, or the only one",
    ),
    "size": Rule(lambda one: -one.member.size_bytes, lambda kept, going: "the larger file"),
    "oldest": Rule(lambda one: one.member.mtime_ns, lambda kept, going: "the older file"),
    "newest": Rule(lambda one: -one.member.mtime_ns, lambda kept, going: "the newer file"),
    "path": Rule(lambda one: os.fsencode(one.member.path), lambda kept, going: "the first by its path"),
}


def is_binned(path: str) -> bool:
    """Whether a path leads through a bin, or a cache of small pictures."""
    return any(part.lower() in BINS or part.lower().startswith(".trash-") for part in Path(path).parts)


class Ranking:
    """The order in which files are kept: first what an archive holds, then by rules; their paths at last."""

    def __init__(self, keep: Sequence[str], is_archived: Callable[[str], bool]) -> None:
        self._rules, self._is_archived = [RULES[rule] for rule in (*keep, "path")], is_archived

    def __call__(self, one: Candidate) -> tuple[Any, ...]:
        first = (not self._is_archived(one.member.path), not one.traits.holds_more)
        return (*first, *(rule.rank(one) for rule in self._rules))

    def why(self, kept: Candidate, going: Candidate) -> str:
        """Why the first one is kept, as a clause."""
        if self._is_archived(kept.member.path) != self._is_archived(going.member.path):
            return "in the archive"
        if kept.traits.holds_more != going.traits.holds_more:
            return "it holds more than this picture: frames, pages, or what a camera saw"
        rule = next((rule for rule in self._rules if rule.rank(kept) != rule.rank(going)), self._rules[-1])
        return rule.says(kept, going)
