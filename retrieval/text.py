"""How a file's name, or any text from elsewhere, is shown."""

from __future__ import annotations


def printable(text: str) -> str:
    """``text`` without characters that would break a line, a page or an encoder."""
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in whole)
