"""Carry out what was decided, act by act, and bring it back."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING

from retrieval.copies.apply import apply_plan
from retrieval.copies.undo import undo
from serve.errors import without_paths

if TYPE_CHECKING:
    from retrieval.copies.plan import Plan
    from retrieval.copies.results import Act
    from retrieval.defaults import Action
    from retrieval.library import Library
    from retrieval.progress import OnProgress
    from serve.jobs import Result
    from serve.reviews import Pair, Review

UNSAID = "it cannot be done"


def carried_out(
    review: Review,
    numbers: list[int],
    chosen: Plan,
    action: Action,
    journal: str,
    to: str | None,
    library: Library,
    report: OnProgress,
) -> Result:
    """Do ``action`` to the copies of the groups ``numbers``, which are those of ``chosen``.

    A group is done when all its copies went. Raises as ``apply_plan``, and what ``report`` raises.
    """
    pairs = {review.plan.groups[pair[0]].remove[pair[1]]: pair for number in numbers for pair in review.pairs(number)}
    went: set[Pair] = set()
    review.undone = False
    files = size_bytes = failed = 0
    try:
        with closing(_acts(chosen, action, journal, to, library)) as acts:
            report(0, len(pairs))
            for act in acts:
                _note(review, pairs.get(act.path), act, went)
                files, size_bytes = files + (not act.left), size_bytes + act.size_bytes
                failed += act.failed
                report(len(went), len(pairs))
    finally:
        for number in numbers:
            if went.issuperset(review.pairs(number)):
                review.decisions[number] = "done"
    left = len(pairs) - len(went)
    return {"plan": review.id, "files": files, "bytes": size_bytes, "left": left, "failed": failed}


def brought_back(review: Review, journal: str, library: Library, report: OnProgress) -> Result:
    """Bring back what was trashed or moved. All groups of it are open again. Raises as ``undo``."""
    back = left = before = 0
    try:
        for number, act in enumerate(undo(journal, library), 1):
            left, before = left + bool(act.left), before + act.before
            back = number - left - before
            report(number, 0)
    finally:
        review.decisions |= dict.fromkeys(review.numbers("done"), "open")
    review.undone = not left
    return {"plan": review.id, "files": back, "left": left, "before": before}


def _acts(chosen: Plan, action: Action, journal: str, to: str | None, library: Library) -> Generator[Act, None, None]:
    yield from apply_plan(chosen, action, journal, to=to, dry_run=False, library=library)


def _note(review: Review, pair: Pair | None, act: Act, went: set[Pair]) -> None:
    """Note what came of a copy; of files that go with it, nothing."""
    if pair is None:
        return
    if act.left and not act.before:  # before: an earlier run did it
        review.left[pair] = without_paths(act.left, UNSAID)
    else:
        review.left.pop(pair, None)
        went.add(pair)
