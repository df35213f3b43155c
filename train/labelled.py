"""Pictures with labels: where labels come from, and which of them are numbers."""

from __future__ import annotations

import csv
import os
import re
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.arrays import Pixels
from retrieval.errors import TrainingError
from retrieval.pictures.workers import DecoderPool, Task, stack
from train.sources import Report, find_sources

LabelOf = Callable[[str], dict[str, str] | None]
ClassOf = Callable[[Task], int]

MANY_CLASSES = 1000


@dataclass(frozen=True)
class Labelled:
    """``pixels`` uint8 (n, s, s, 3), where each came from, and a column of labels (n,) for each kind."""

    pixels: Pixels
    sources: list[Task]
    columns: dict[str, npt.NDArray[np.str_]]

    def __len__(self) -> int:
        return len(self.pixels)

    def rows(self, chosen: npt.NDArray[np.int64]) -> Labelled:
        """The pictures at these places."""
        columns = {kind: labels[chosen] for kind, labels in self.columns.items()}
        return Labelled(self.pixels[chosen], [self.sources[row] for row in chosen], columns)


def label_reader(spec: str) -> LabelOf:
    """What reads a picture's labels off its name.

    * ``folder``: the folder it lies in;
    * ``filename:REGEX``: the regex' named groups, or its first group, matched at the start of the file's name;
    * a CSV file whose column ``path`` ends as the picture's path does, every other column a kind of label.

    Raises:
        TrainingError: none of these, or a regex or a CSV that cannot be used.
    """
    if spec == "folder":
        return lambda name: {"label": os.path.basename(os.path.dirname(name))}
    if spec.startswith("filename:"):
        return _by_regex(spec.removeprefix("filename:"))
    return _by_table(Path(spec))


def _by_regex(pattern: str) -> LabelOf:
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise TrainingError(f"--labels: {pattern!r} is no regular expression: {error}") from error
    if not regex.groups:
        raise TrainingError(f"--labels: {pattern!r} has no group; put what is the label in brackets")

    def read(name: str) -> dict[str, str] | None:
        matched = regex.match(os.path.basename(name))
        if matched is None:
            return None
        return {key: value or "" for key, value in (matched.groupdict() or {"label": matched.group(1)}).items()}

    return read


def _by_table(path: Path) -> LabelOf:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeError, csv.Error) as error:
        raise TrainingError(f"--labels: neither folder, filename:REGEX nor a CSV file: {path} ({error})") from error
    if not rows or "path" not in rows[0] or len(rows[0]) < 2:
        raise TrainingError(f"--labels: {path} needs a column path and another one")
    table = {row.pop("path"): row for row in rows}

    def read(name: str) -> dict[str, str] | None:
        parts = name.split("/")
        return next((table[key] for i in range(len(parts)) if (key := "/".join(parts[i:])) in table), None)

    return read


def read_classes(
    paths: Sequence[str | Path], label_of: LabelOf, left_out: Path | None = None
) -> tuple[tuple[str, ...], ClassOf]:
    """Names of the classes of the files in ``paths``, sorted, and what tells the number of a file's class, -1 if none.

    Raises:
        TrainingError: no file has a label, all have the same one, or they have labels of several kinds.
    """
    names, sources = _names(paths), find_sources(paths, left_out)
    labels = {task: label_of(names.get((task.path, task.offset), task.path)) for task in sources}
    kinds = {kind for label in labels.values() if label for kind in label}
    if not kinds:
        raise TrainingError(f"none of {len(sources)} files in {', '.join(map(str, paths))} has a label")
    if len(kinds) > 1:
        raise TrainingError(f"--labels: pictures have several labels ({', '.join(sorted(kinds))}); name one of them")
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
    label_of: LabelOf,
    workers: int | None = None,
    report: Report | None = None,
) -> Labelled:
    """Decode the pictures of folders and archives that have all their labels; the others are left out.

    Raises:
        TrainingError: none has them, or fewer than two of these can be decoded.
    """
    names = _names(paths)
    labelled = [(task, label_of(names.get((task.path, task.offset), task.path))) for task in find_sources(paths)]
    wanted = [(task, labels) for task, labels in labelled if labels and all(labels.values())]
    if not wanted:
        raise TrainingError(f"none of {len(labelled)} files in {', '.join(map(str, paths))} has a label")
    good, labels_of_good = [], []
    with DecoderPool(size_px, workers) as pool:
        for done, (one, (_, labels)) in enumerate(zip(pool.map(task for task, _ in wanted), wanted, strict=True), 1):
            if one.pixels is not None:
                good.append(one)
                labels_of_good.append(labels)
            if report:
                report(done, len(wanted))
    if len(good) < 2:
        raise TrainingError(f"only {len(good)} of {len(wanted)} labelled files could be decoded")
    columns = {kind: np.array([labels[kind] for labels in labels_of_good]) for kind in labels_of_good[0]}
    return Labelled(stack(good), [one.task for one in good], columns)


def _names(paths: Sequence[str | Path]) -> dict[tuple[str, int], str]:
    """Where a member of an archive begins -> its name."""
    names: dict[tuple[str, int], str] = {}
    for path in paths:
        if os.path.isfile(path):
            with tarfile.open(path, "r:") as tar:
                names |= {(str(path), member.offset_data): member.name for member in tar}
    return names


def as_numbers(kind: str, labels: npt.NDArray[np.str_]) -> npt.NDArray[np.float64]:
    """A column of labels as numbers.

    Raises:
        TrainingError: one is not.
    """
    try:
        return labels.astype(np.float64)
    except ValueError as error:
        raise TrainingError(f"--numeric {kind}: {error}") from error
