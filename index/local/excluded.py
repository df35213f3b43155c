"""The patterns of files that an index leaves out, as given with a build: a small file beside the catalog.

They are text to this room. A stranger's file is bounded, and checked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from index.atomic import write
from index.errors import IndexDamaged, IndexUnwritable

EXCLUDED_NAME = "excluded.json"
MOST_BYTES = 8 << 20  # of that file
MOST_PATTERNS, MOST_LENGTH = 1000, 1000  # and characters of one


def read_excluded(folder: Path) -> tuple[str, ...]:
    """The patterns; none if there is no file.

    Raises:
        IndexDamaged: the file is not as it was written. To go on without it would index what was left out.
    """
    path = folder / EXCLUDED_NAME
    try:
        with open(path, "rb") as file:
            kept = json.loads(file.read(MOST_BYTES))["patterns"]
        check_excluded(kept)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise IndexDamaged(
            f"{path} is damaged; give the patterns to leave out anew, or delete it", code="patterns_damaged"
        ) from error
    return tuple(kept)


def check_excluded(patterns: object) -> None:
    """Raises ValueError if they are not patterns that can be kept."""
    is_list = isinstance(patterns, list | tuple) and len(patterns) <= MOST_PATTERNS
    if not is_list or not all(isinstance(one, str) and len(one) <= MOST_LENGTH for one in patterns):  # type: ignore[attr-defined]
        raise ValueError(f"at most {MOST_PATTERNS:,} patterns of {MOST_LENGTH:,} characters can be kept")


def write_excluded(folder: Path, patterns: Sequence[str]) -> None:
    """Keep the patterns in place of earlier ones.

    Raises:
        ValueError: there are too many, or one is too long.
        IndexUnwritable: the file cannot be written.
    """
    check_excluded(tuple(patterns))
    path = folder / EXCLUDED_NAME
    try:
        if patterns:
            write(path, json.dumps({"patterns": list(patterns)}) + "\n")
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise IndexUnwritable(f"{path} cannot be written: {error.strerror or error}") from error
