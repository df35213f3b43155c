"""Pictures with labels: decoded, or only their classes; and labels as numbers."""

from __future__ import annotations

import math
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.arrays import Pixels
from retrieval.errors import TrainingError
from retrieval.pictures.opening import open_file
from retrieval.pictures.tasks import Frame
from retrieval.pictures.workers import DecoderPool, Task
from retrieval.progress import OnProgress
from retrieval.scratch import scratch_array
from train.labels import LabelsOf
from train.sources import ClassOf, find_sources

MANY_CLASSES = 1000


@dataclass(frozen=True)
class Labelled:
    """``pixels`` uint8 (n, s, s, 3), on disk, the source of each, and a column of labels (n,) for each kind."""

    pixels: Pixels
    sources: list[Task]
    columns: dict[str, npt.NDArray[np.str_]]

    def __len__(self) -> int:
        return len(self.pixels)

    def rows(self, chosen: npt.NDArray[np.int64]) -> Labelled:
        """The pictures at these indices."""
        columns = {kind: labels[chosen] for kind, labels in self.columns.items()}
        return Labelled(self.pixels[chosen], [self.sources[row] for row in chosen], columns)


def read_classes(
    paths: Sequence[str | Path], label_of: LabelsOf, left_out: Path | None = None
) -> tuple[tuple[str, ...], ClassOf]:
    """Sorted class names of the files in ``paths``, and a function from a file to its class index, -1 if none.

    Raises:
        TrainingError: no file has a label, all have the same one, or there are several kinds of label.
    """
    sources = find_sources(paths, left_out)
    names = _names(paths)
    labels = {task: label_of(names.get((task.path, task.offset), task.path)) for task in sources}
    kinds = {kind for label in labels.values() if label for kind in label}
    if not kinds:
        raise TrainingError(f"none of {len(sources)} files in {', '.join(map(str, paths))} has a label")
    if len(kinds) > 1:
        text = f"pictures have several labels ({', '.join(sorted(kinds))}); name one of them"
        raise TrainingError(text, "labels_several")
    (kind,) = kinds
    classes = sorted({label[kind] for label in labels.values() if label and label[kind]})
    if len(classes) < 2:
        raise TrainingError(
            f"all labelled pictures have the same label, {classes[0]!r}: there is nothing to tell apart"
        )
    if len(classes) > MANY_CLASSES:
        raise TrainingError(
            f"{len(classes)} different labels are no classes ({MANY_CLASSES} at most); numbers perhaps?"
        )
    numbers = {name: number for number, name in enumerate(classes)}
    of_task = {task: numbers.get(label[kind], -1) if label else -1 for task, label in labels.items()}
    return tuple(classes), lambda task: of_task.get(task, -1)


def read_labelled(
    paths: Sequence[str | Path],
    size_px: int,
    label_of: LabelsOf,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
    frame: Frame = "square",
) -> Labelled:
    """Decode the pictures of folders and archives to a ``frame``; those that lack a label are left out.

    Raises:
        TrainingError: no picture is labelled, or fewer than two of these can be decoded.
    """
    sources = [task._replace(frame=frame) for task in find_sources(paths)]
    names = _names(paths)
    labelled = [(task, label_of(names.get((task.path, task.offset), task.path))) for task in sources]
    wanted = [(task, labels) for task, labels in labelled if labels and all(labels.values())]
    if not wanted:
        raise TrainingError(f"none of {len(labelled)} files in {', '.join(map(str, paths))} has a label")
    pixels: Pixels | None = None
    good = list[tuple[Task, dict[str, str]]]()
    with DecoderPool(size_px, workers) as pool:
        for done, (one, which) in enumerate(zip(pool.map(task for task, _ in wanted), wanted, strict=True), 1):
            if one.pixels is not None:
                if pixels is None:
                    pixels = scratch_array((len(wanted), *one.pixels.shape), np.uint8)
                pixels[len(good)] = one.pixels
                good.append(which)
            if on_progress:
                on_progress(done, len(wanted))
    if pixels is None or len(good) < 2:
        raise TrainingError(f"only {len(good)} of {len(wanted)} labelled files could be decoded")
    columns = {kind: np.array([labels[kind] for _, labels in good]) for kind in good[0][1]}
    return Labelled(pixels[: len(good)], [task for task, _ in good], columns)


def _names(paths: Sequence[str | Path]) -> dict[tuple[str, int], str]:
    """(archive, offset of a member) -> the member's name."""
    names: dict[tuple[str, int], str] = {}
    for path in paths:
        if os.path.isfile(path):
            with open_file(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
                names |= {(str(path), member.offset_data): member.name for member in tar}
    return names


def as_numbers(kind: str, labels: npt.NDArray[np.str_]) -> npt.NDArray[np.float64]:
    """A column of labels as numbers.

    Raises:
        TrainingError: one is not a number.
    """
    numbers = [_number(kind, label) for label in labels.tolist()]
    return np.array(numbers, np.float64)


def _number(kind: str, label: str) -> float:
    try:
        number = float(label)
    except ValueError as error:
        raise TrainingError(f"label {kind} is no number: {error}", "label_is_no_number", label=kind) from error
    if not math.isfinite(number):
        raise TrainingError(f"label {kind} is no finite number: {label!r}", "label_is_no_number", label=kind)
    return number
