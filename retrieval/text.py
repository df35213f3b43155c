"""Safe display of file names and other foreign text."""

from __future__ import annotations

import re

CONTROLS = re.compile(r"[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # they act on a terminal, or turn text
FORMULA = ("=", "+", "-", "@")  # a spreadsheet computes cells that begin with these


def printable(text: str) -> str:
    """Escape characters of ``text`` that would break a line, a page or an encoder."""
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in whole)


def short_line(text: str, most: int = 120) -> str:
    """``text`` on one line of printable characters, cut after ``most``."""
    return printable(" ".join(text[: 10 * most].split()))[:most]


def without_controls(text: str) -> str:
    """``text`` for programs: only characters that would act on a terminal are escaped, such as ESC and newlines."""
    return CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def csv_cell(text: str) -> str:
    """``text`` as a cell of a CSV file: as ``without_controls``, and with an apostrophe before a formula."""
    cell = without_controls(text)
    return f"'{cell}" if cell.startswith(FORMULA) else cell
