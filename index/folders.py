"""A folder that is replaced as a whole, as an index's copy of its model is.

Renaming a folder onto another one cannot be done in one step. So the new one is written beside (``NAME.new``), the
old one steps aside (``NAME.old``), and the new one takes its name. Where ``NAME.old`` is there, ``NAME.new`` is whole:
wherever a process is killed, one of the two is found, and the next writer finishes the step.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from index.atomic import flush_folder

NEW, OLD = ".new", ".old"


def place_of(folder: Path) -> Path:
    """Where a kept folder is to be read now, whatever instant its last writer was killed at."""
    new, old = _aside(folder)
    if folder.exists() or not old.exists():
        return folder
    return new if new.exists() else old


def recover(folder: Path) -> None:
    """Finish what a killed writer left half done."""
    new, old = _aside(folder)
    place = place_of(folder)
    if place != folder:
        place.rename(folder)
        flush_folder(folder.parent)
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)


def replace(folder: Path, fill: Callable[[Path], None]) -> None:
    """Have ``fill`` write into a new folder, and that take the place of ``folder``.

    Raises:
        OSError: it cannot be written; ``folder`` is as it was.
    """
    recover(folder)
    new, old = _aside(folder)
    new.mkdir()
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
