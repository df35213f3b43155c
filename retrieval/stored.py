"""Read small files that anyone may have written: plain files of a bounded size, and JSON without surprises."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

DEEPEST = 12  # lists and objects inside each other
LARGEST = 1e300  # 1e999 is read as infinity
_OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_plain(path: Path, most_bytes: int) -> bytes:
    """The contents of a plain file of at most ``most_bytes``; a pipe or a device is not waited for.

    Raises:
        OSError: it cannot be read, or its name is a link.
        ValueError: it is no plain file, or is larger. The message fits after the name of the file.
    """
    with open(os.open(path, _OPEN), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("it is no plain file")
        content = b"" if facts.st_size > most_bytes else file.read(most_bytes + 1)
    if max(facts.st_size, len(content)) > most_bytes:
        raise ValueError(f"it has more than {most_bytes:,} bytes")
    return content


def parse_json(data: bytes) -> Any:
    """The value of a JSON text whose numbers are finite, whose text is Unicode, and which is not nested deeply.

    Raises:
        ValueError: it is something else.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check(value, DEEPEST)
    return value


def reason_of(error: Exception) -> str:
    """Why a file could not be read, as a clause without its name."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _check(value: Any, levels: int) -> None:
    if isinstance(value, str):
        value.encode()  # UnicodeEncodeError is a ValueError
    elif isinstance(value, int | float):
        if not abs(value) <= LARGEST:
            raise ValueError("a number is too large")
    elif isinstance(value, dict | list):
        if not levels:
            raise ValueError("it is nested too deeply")
        for part in value if isinstance(value, list) else [*value.keys(), *value.values()]:
            _check(part, levels - 1)
