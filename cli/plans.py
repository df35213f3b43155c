"""Plans for copies, as text, tables and pages, and what came of them."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from cli.console import counted, say, shown_path, size, tell
from retrieval.atomic import write
from retrieval.pages.words import WORDS, differences, wrong_pairs
from retrieval.text import csv_cell, printable

if TYPE_CHECKING:
    from retrieval import Act, Plan

FIELDS = ["keep", "remove", "kind", "distance", "alike", "turned", "differs", "because"]
LISTED = 20  # groups on a terminal, if the plan is in a file too


def print_plan(plan: Plan, groups: int | None = None) -> None:
    """Print the first groups of a plan, by default all, and what it comes to."""
    for group in plan.groups[:groups]:
        tell(shown_path(group.keep))
        for one in group.evidence:
            words = ", ".join(filter(None, (WORDS[one.kind], one.turned, differences(one.differs))))
            tell(f"  {shown_path(one.path)}")
            tell(f"      {words}; kept: {printable(one.because)}")
    if groups is not None and len(plan.groups) > groups:
        tell(f"... and {len(plan.groups) - groups:,} groups more")
    gone = [path for group in plan.groups for path in group.remove]
    room = sum(plan.files[path].size_bytes for path in gone)
    tell(f"{counted(len(gone), 'file')} can be removed, {size(room)}; {len(plan.groups):,} kept; nothing was changed")
    _print_kinds(plan)
    if plan.elsewhere:
        say(f"In stores, archives or tables, from which nothing is removed: {counted(plan.elsewhere, 'picture')}")
    if plan.groups or plan.expected_false_pairs is None:
        say(wrong_pairs(plan))
    if not plan.registered:
        from retrieval.errors import pip_line

        say(f"Crops and screenshots were not looked for: {pip_line('copies')}")


def _print_kinds(plan: Plan) -> None:
    removed = {one.kind for group in plan.groups for one in group.evidence}
    for kind, count in plan.counts().items():
        listed = "" if kind in removed else "  (only listed: --kinds)"
        tell(f"  {count:>7,}  {WORDS[kind]}{listed}")


def write_csv(plan: Plan, path: str) -> None:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(FIELDS)
    for group in plan.groups:
        for one in group.evidence:
            keep, remove = csv_cell(group.keep), csv_cell(one.path)
            facts = (one.kind, one.distance, one.alike, one.turned, differences(one.differs), csv_cell(one.because))
            table.writerow([keep, remove, *facts])
    write(path, text.getvalue())


def write_html(plan: Plan, path: str) -> None:
    from retrieval.pages.embedded import embedded
    from retrieval.pages.plan import plan_html, plan_paths

    write(path, plan_html(plan, embedded(plan_paths(plan))))


def print_act(act: Act) -> None:
    word = "before" if act.before else "left" if act.left else "back" if act.action == "undo" else act.action
    where = f" -> {shown_path(act.to)}" if act.to and not act.left and act.action != "undo" else ""
    tell(
        f"{word:<9}{shown_path(act.path)}{where}"
        + (f": {printable(act.left)}" if act.left else "")
        + (f"  (with {shown_path(act.beside)})" if act.beside else "")
    )
    for path in act.stays:
        tell(f"stays    {shown_path(path)}")


def outcome(acts: list[Act], verb: str) -> str:
    done = [act for act in acts if not act.left]
    before = sum(act.before for act in acts)
    text = f"{verb}: {counted(len(done), 'file')}, {size(sum(act.size_bytes for act in done))}"
    text += f"; before: {before:,}" if before else ""
    return f"{text}; left alone: {len(acts) - len(done) - before:,}"
