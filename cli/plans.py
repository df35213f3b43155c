"""Plans for copies, as text, tables and pages, and what came of them."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from cli.console import counted, say, shown_path, size, tell
from retrieval.atomic import write
from retrieval.text import csv_cell, printable

if TYPE_CHECKING:
    from retrieval import Act, Plan, Retriever

FIELDS = ["keep", "remove", "kind", "distance", "likeness", "turned"]


def print_plan(plan: Plan) -> None:
    from retrieval.copies.similarity import ALIKE

    for group in plan.groups:
        tell(shown_path(group.keep))
        for one in group.evidence:
            why = f"{one.kind:<7}{one.distance:>7.3f}{one.likeness:>7.3f}"
            tell(f"  {why}  {shown_path(one.path)}" + (f"  ({one.turned})" if one.turned else ""))
    gone = [path for group in plan.groups for path in group.remove]
    room = sum(plan.files[path].size_bytes for path in gone)
    tell(f"{counted(len(gone), 'file')} can be removed, {size(room)}; {len(plan.groups):,} kept")
    expected = plan.expected_false_pairs
    doubt = (
        "too few pictures to estimate how many are wrong"
        if expected is None
        else f"{expected:.2g} wrong to be expected"
    )
    rule = f"with a likeness of {ALIKE:.2f} or more within distance {plan.near:.2f}"
    if plan.threshold > plan.near:
        rule += f", rising to {plan.likeness_at_threshold:.2f} at distance {plan.threshold:.2f}"
    tell(f"pairs {rule}: {doubt}; nothing was changed")
    if plan.estimated_from:
        say(f"Estimated from the {plan.estimated_from:,} nearest pairs of this collection that are not copies.")


def write_csv(plan: Plan, path: str) -> None:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(FIELDS)
    for group in plan.groups:
        for one in group.evidence:
            keep, remove = csv_cell(group.keep), csv_cell(one.path)
            table.writerow([keep, remove, one.kind, one.distance, one.likeness, one.turned])
    write(path, text.getvalue())


def write_html(plan: Plan, retriever: Retriever, path: str) -> None:
    from retrieval.copies.prototypes import paint_prototypes
    from retrieval.pages.plan import plan_html
    from retrieval.pictures.thumbnail import thumbnails

    shown = dict(zip(plan.files, thumbnails(list(plan.files)), strict=True))
    write(path, plan_html(plan, shown, paint_prototypes(retriever, plan)))


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
