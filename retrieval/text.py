"""Safe display of file names and other foreign text."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape characters of ``text`` that would break a line, a page or an encoder."""
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in whole)
