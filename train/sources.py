"""Sources of pictures for training and evaluation: folders, and ``.tar`` archives read in place. No torch."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from retrieval.errors import PictureRefused, TrainingError
from retrieval.pictures.files import JUNK_NAMES, find_images
from retrieval.pictures.opening import open_file
from retrieval.pictures.workers import Task

ClassOf = Callable[[Task], int]
"""A picture -> its class index, -1 if it has none."""


def find_sources(paths: Sequence[str | Path], left_out: Path | None = None) -> list[Task]:
    """List every file of the folders and every member of the ``.tar`` archives in ``paths``.

    Files below ``left_out``, a run's own folder, are skipped.

    Raises:
        TrainingError: a path is neither a folder nor an archive, an archive is damaged, or nothing was found.
    """
    sources: list[Task] = []
    for path in paths:
        if os.path.isdir(path):
            sources += [Task(found.path) for found in find_images(path, left_out=[left_out] if left_out else [])]
        elif os.path.isfile(path):
            sources += _members(path)
        else:
            raise TrainingError(f"{path}: no such folder or .tar archive")
    if not sources:
        raise TrainingError(f"no files in {', '.join(map(str, paths))}")
    return sources


def _members(archive: str | Path) -> list[Task]:
    """The location of each member's bytes, so that workers read them without unpacking."""
    try:
        with open_file(archive) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            return [Task(str(archive), m.offset_data, m.size) for m in tar if m.isfile() and not _is_junk(m.name)]
    except (tarfile.TarError, PictureRefused, OSError) as error:
        raise TrainingError(f"{archive}: neither a folder nor an uncompressed .tar archive ({error})") from error


def _is_junk(name: str) -> bool:
    """Whether a file is hidden, in a hidden folder, or junk; in archives of ``.``, every name begins with ``.``."""
    parts = [part for part in name.split("/") if part != "."]
    return any(part.startswith(".") for part in parts) or parts[-1].lower() in JUNK_NAMES
