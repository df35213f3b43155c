"""The evaluation of a model as a page: a line for each measure, a column for each descriptor."""

from __future__ import annotations

from collections.abc import Mapping

Interval = tuple[float, float, float]  # a mean and its 95% confidence interval


def report_html(title: str, table: Mapping[str, Mapping[str, Interval]], generation: Mapping[str, float]) -> str:
    """One page with ``table``, the measures of each descriptor by name, and the measures of the generator."""
    from retrieval.pages.render import render

    measures = list(dict.fromkeys(measure for row in table.values() for measure in row))
    return render("report.html", title=title, table=table, measures=measures, generation=generation)
