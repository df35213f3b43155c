"""What a request is told if it is not answered: a status of HTTP, a code for programs, a sentence for people."""

from __future__ import annotations

import os

from index.grammar import FilterError
from retrieval.errors import (
    ForkUnsafe,
    IndexBusy,
    IndexUnwritable,
    LatentError,
    ModelError,
    NoDirection,
    PathError,
    PictureRefused,
    PlanError,
)
from retrieval.text import printable

MOST_TEXT = 500  # characters


class Refused(Exception):
    """A request is not answered. The message is sent: it holds nothing of this machine."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


FAILED = Refused(500, "failed", "the server failed; its log says more")

KNOWN: tuple[tuple[type[Exception], int, str], ...] = (
    (NoDirection, 404, "this index knows no such direction"),
    (PictureRefused, 422, "the picture cannot be read"),
    (PathError, 409, "the picture is no longer in this index; ask again"),
    (ModelError, 409, "the model of this index cannot do that"),
    (IndexBusy, 503, "the index is being written; ask again"),
    (IndexUnwritable, 409, "the index cannot be written"),
    (PlanError, 409, "the plan cannot be carried out, or brought back, now"),
    (ForkUnsafe, 503, "the server cannot answer now"),
    (LatentError, 503, "the index cannot be read now"),
)
"""Messages of the library may name files of this machine, so the client gets these instead."""


def refusal_of(error: Exception) -> Refused | None:
    """What a client is told of an error of the library; None if nobody expected it."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, FilterError):
        return Refused(400, "bad_filter", _short(str(error)))
    for kind, status, message in KNOWN:
        if isinstance(error, kind):
            return Refused(status, getattr(error, "code", "error"), message)
    return None


def bad_words(error: ValueError) -> Refused:
    """A ``ValueError`` of what was asked, in the library's words unless they may hold a path."""
    return Refused(400, "bad_words", without_paths(str(error), "this cannot be asked"))


def without_paths(text: str, instead: str) -> str:
    """``text`` on one line, or ``instead`` of it if it may hold a path."""
    return instead if os.sep in text else _short(text)


def _short(text: str) -> str:
    return printable(text)[:MOST_TEXT]
