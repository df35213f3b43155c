"""Replace a folder as a whole, such as an index's copy of its model.

A folder cannot be renamed onto another one in one step. So the new one is written as ``NAME.new``, the old one is
renamed to ``NAME.old``, and the new one gets the name. If ``NAME.old`` exists, ``NAME.new`` is complete: whenever a
process is killed, one of the two is found, and the next writer finishes the step.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from index.atomic import flush_folder

NEW, OLD = ".new", ".old"


def place_of(folder: Path) -> Path:
    """The folder to read now, even if the last writer was killed at any moment."""
    new, old = _aside(folder)
    if folder.exists() or not old.exists():
        return folder
    return new if new.exists() else old


def recover(folder: Path) -> None:
    """Finish the work of a killed writer."""
    new, old = _aside(folder)
    place = place_of(folder)
    if place != folder:
        place.rename(folder)
        flush_folder(folder.parent)
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)


def replace(folder: Path, fill: Callable[[Path], None]) -> None:
    """Replace ``folder`` with a new one that ``fill`` writes.

    Raises:
        OSError: it cannot be written; ``folder`` is unchanged.
    """
    recover(folder)
    new, old = _aside(folder)
    new.mkdir(mode=0o700)
    try:
        fill(new)
        flush_folder(new)
        flush_folder(folder.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if folder.exists():
        os.rename(folder, old)
    os.rename(new, folder)
    flush_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _aside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(folder.name + NEW), folder.with_name(folder.name + OLD)
