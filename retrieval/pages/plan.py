"""A plan for copies as a page, for the person who decides what goes.

Each copy stands beside the picture that is kept, with a box to tick. The page makes a plan of the ticked ones, which
``load_plan`` reads. It is made of pieces of JSON that are written here: a script would round dates to microseconds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from index.roots import link_to
from retrieval.copies.kinds import COPIES
from retrieval.pages.embedded import Embedded
from retrieval.pages.words import MEANS, WORDS, differences, wrong_pairs

if TYPE_CHECKING:
    from retrieval.copies.plan import Evidence, FileFacts, Group, Other, Plan

OTHERS_MOST = 100  # pairs of a kind that are shown, of those that the plan does not remove


@dataclass(frozen=True)
class Shown:
    """A picture with what is said of its file. ``number`` is that of the file; ``is_first``: nothing above shows it."""

    number: int
    is_first: bool
    picture: Embedded
    shared: str
    apart: str
    name: str
    facts: Sequence[str]


@dataclass(frozen=True)
class Copy:
    """A copy with the reasons. ``box`` is the number of its check box, if it has one."""

    shown: Shown
    why: Sequence[str]
    because: str = ""
    box: int | None = None
    ticked: bool = False
    size_bytes: int = 0


@dataclass(frozen=True)
class Card:
    """A kept picture and its copies of one kind. ``marks``: x, y, width and height on it, and the number of a copy."""

    kept: Shown
    copies: Sequence[Copy]
    marks: Sequence[tuple[float, float, float, float, int]] = ()


@dataclass(frozen=True)
class Section:
    """All pairs of one kind; ``others`` are not removed, and so many ``more`` are not shown."""

    kind: str
    title: str
    means: str
    cards: Sequence[Card]
    others: Sequence[Card]
    more: int
    count: int
    can_go: bool


def plan_paths(plan: Plan) -> list[str]:
    """The files whose pictures are on the page of ``plan``."""
    pairs = [path for kind in WORDS for one in _others(plan, kind) for path in (one.a, one.b)]
    groups = [path for group in plan.groups for path in (group.keep, *(one.path for one in group.evidence))]
    return list(dict.fromkeys([*groups, *pairs]))


def plan_html(plan: Plan, pictures: Mapping[str, Embedded]) -> str:
    """``plan`` as one self-contained page, with ``pictures`` of all of ``plan_paths`` by path."""
    from retrieval.pages.render import render

    page = _Page(plan, pictures)
    sections = [page.section(kind) for kind in WORDS]
    going = [path for group in plan.groups for path in group.remove]
    return render(
        "plan.html",
        title="latent dedup",
        files=len(going),
        room=sum(plan.files[path].size_bytes for path in going),
        groups=len(plan.groups),
        sections=[section for section in sections if section.count],
        wrong=wrong_pairs(plan) if plan.groups or plan.expected_false_pairs is None else "",
        registered=plan.registered,
        facts={"links": [link_to(path) for path in page.numbers], **_pieces(plan)},
    )


def _pieces(plan: Plan) -> dict[str, object]:
    """What a plan of some of the copies is put together from, as pieces of JSON. Boxes are numbered by ``_boxes``."""
    whole = json.loads(plan.as_json())
    groups: list[dict[str, Any]] = whole.pop("groups")
    boxes = {(row, path): box for box, (row, path) in enumerate(_boxes(plan.groups))}
    pieces = [
        {
            "keep": json.dumps(group["keep"]),
            "copies": [
                {"box": boxes[row, one["path"]], "path": json.dumps(one["path"]), "evidence": json.dumps(one)}
                for one in group["evidence"]
            ],
        }
        for row, group in enumerate(groups)
    ]
    return {"head": json.dumps(whole)[:-1] + ', "groups": [', "groups": pieces}


def _boxes(groups: Sequence[Group]) -> Iterator[tuple[int, str]]:
    """The number of the group and the path of every copy, in the order of their boxes."""
    return ((row, one.path) for row, group in enumerate(groups) for one in group.evidence)


def _others(plan: Plan, kind: str) -> list[Other]:
    """The pairs of a kind that are shown but not removed."""
    return [one for one in plan.others if one.kind == kind][:OTHERS_MOST]


@dataclass
class _Page:
    """Lays the page out. A picture's pixels are in the page once, where it is first shown."""

    plan: Plan
    pictures: Mapping[str, Embedded]
    numbers: dict[str, int] = field(default_factory=dict)

    def section(self, kind: str) -> Section:
        listed = _others(self.plan, kind)
        boxes = {pair: box for box, pair in enumerate(_boxes(self.plan.groups))}
        cards = [
            self._card(group, its, [boxes[row, one.path] for one in its])
            for row, group in enumerate(self.plan.groups)
            if (its := [one for one in group.evidence if one.kind == kind])
        ]
        more = sum(one.kind == kind for one in self.plan.others) - len(listed)
        others, title = [self._pair(one) for one in listed], WORDS[kind][0].upper() + WORDS[kind][1:]
        count = sum(len(card.copies) for card in cards) + len(others) + more
        return Section(kind, title, MEANS[kind], cards, others, more, count, kind in COPIES)

    def _card(self, group: Group, its: Sequence[Evidence], boxes: Sequence[int]) -> Card:
        paths = [group.keep, *(one.path for one in its)]
        shared = _shared(paths)
        kept = self._shown(group.keep, shared)
        copies = [
            Copy(
                self._shown(one.path, shared),
                _why(one),
                one.because,
                box,
                one.path in group.remove,
                self.plan.files[one.path].size_bytes,
            )
            for one, box in zip(its, boxes, strict=True)
        ]
        return Card(kept, copies, list(_marks(kept.picture, its)))

    def _pair(self, one: Other) -> Card:
        shared = _shared([one.a, one.b])
        return Card(self._shown(one.a, shared), [Copy(self._shown(one.b, shared), _why(one))])

    def _shown(self, path: str, shared: str) -> Shown:
        is_first = path not in self.numbers
        number = self.numbers.setdefault(path, len(self.numbers))
        folder, name = os.path.split(path)
        picture = self.pictures[path]
        facts = list(_facts(picture, self.plan.files.get(path)))
        return Shown(number, is_first, picture, shared, folder[len(shared) :], name, facts)


def _shared(paths: Sequence[str]) -> str:
    """The folder that all paths have in common."""
    return os.path.commonpath([os.path.dirname(path) for path in paths])


def _facts(picture: Embedded, file: FileFacts | None) -> Iterator[str]:
    yield f"{picture.width_px:,} x {picture.height_px:,} px" if picture.width_px else "cannot be read any more"
    if file is not None:
        from jinja2.filters import do_filesizeformat

        yield do_filesizeformat(file.size_bytes)
        yield _date(file.mtime_ns)


def _date(mtime_ns: int) -> str:
    try:
        return datetime.fromtimestamp(mtime_ns // 10**9).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):  # no year that a calendar has
        return "date unknown"


def _why(one: Evidence | Other) -> list[str]:
    same = one.kind in ("bytes", "pixels")
    words = (WORDS[one.kind], one.turned, differences(one.differs), "" if same else f"{one.alike:.0%} agree")
    return [word for word in words if word]


def _marks(picture: Embedded, its: Iterable[Evidence]) -> Iterator[tuple[float, float, float, float, int]]:
    """Boxes in the pixels of the kept picture, around what differs in each of its copies."""
    for number, one in enumerate(its, 1):
        for left, top, right, bottom in one.places:
            x, y, wide, high = left * picture.wide, top * picture.high, right - left, bottom - top
            yield round(x, 1), round(y, 1), round(wide * picture.wide, 1), round(high * picture.high, 1), number
