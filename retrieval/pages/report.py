"""How well a model's codes retrieve, as a page: a line for each measure, a column for each descriptor."""

from __future__ import annotations

from collections.abc import Mapping

Interval = tuple[float, float, float]  # a mean, and where it lies with 95%


def report_html(title: str, table: Mapping[str, Mapping[str, Interval]], generation: Mapping[str, float]) -> str:
    """One page with ``table``, a descriptor's measures by name, and what was measured of the generator's pictures."""
    from retrieval.pages.render import render

    measures = list(dict.fromkeys(measure for row in table.values() for measure in row))
    return render("report.html", title=title, table=table, measures=measures, generation=generation)
