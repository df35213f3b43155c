"""The groups of a plan as the API shows them: files by id and name, and the plan's own words on them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from retrieval.pages.words import WORDS, differences
from retrieval.places import rows_of_file
from retrieval.text import printable
from serve import records_of_acts as records
from serve.collection import place_of, roots_of

if TYPE_CHECKING:
    from retrieval.copies.plan import Evidence
    from retrieval.searcher import Searcher
    from serve.reviews import Review


def groups_of(searcher: Searcher, review: Review, numbers: list[int]) -> list[records.CopyGroup]:
    roots = roots_of(searcher.index)
    return [_group(searcher, review, number, roots) for number in numbers]


def _group(searcher: Searcher, review: Review, number: int, roots: list[str]) -> records.CopyGroup:
    group = review.plan.groups[number]
    return records.CopyGroup(
        number=number,
        decision=review.decision(number),
        kept=records.PlanFile(**_file(searcher, review, group.keep, roots)),
        copies=[
            records.CopyFile(
                **_file(searcher, review, path, roots),
                **_why(review.evidence(number, copy)),
                apart=(number, copy) in review.apart,
                left=review.left.get((number, copy), ""),
            )
            for copy, path in enumerate(group.remove)
        ],
    )


def _file(searcher: Searcher, review: Review, path: str, roots: list[str]) -> dict[str, Any]:
    its = review.plan.files[path]
    found = [row for row in rows_of_file(searcher.index.rows, path) if row.status == "found"]
    name, folder = place_of(path, roots)
    return {
        "id": found[0].id if found else None,
        "name": name,
        "folder": folder,
        "width": found[0].width_px if found else None,
        "height": found[0].height_px if found else None,
        "size_bytes": its.size_bytes,
        "changed": _date(its.mtime_ns),
    }


def _why(one: Evidence) -> dict[str, Any]:
    words = (WORDS[one.kind], one.turned, differences(one.differs))
    return {
        "kind": one.kind,
        "why": ", ".join(word for word in words if word),
        "because": printable(one.because),
        "alike": one.alike,
        "distance": one.distance,
        "places": list(one.places),
    }


def _date(mtime_ns: int) -> str | None:
    try:
        return datetime.fromtimestamp(mtime_ns // 10**9, UTC).isoformat()
    except (OverflowError, ValueError, OSError):  # no year that a calendar has
        return None
