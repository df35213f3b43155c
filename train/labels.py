"""Sources of a picture's labels: its folder, its name, or a table."""

from __future__ import annotations

import csv
import io
import os
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from retrieval.errors import TrainingError

LabelsOf = Callable[[str], dict[str, str] | None]
"""A file name -> the picture's labels, each a kind and its value; None if there are none."""

DELIMITERS = ",;\t"
PATH = "path"


def label_reader(spec: str) -> LabelsOf:
    """A function that reads a picture's labels from its file name, as ``spec`` says.

    * ``folder``: the folder that contains it;
    * ``filename:REGEX``: the regex' named groups, or its first group, matched at the start of the file's name;
    * a CSV file whose column ``path`` matches the end of the picture's path; every other column is a kind of label.

    Raises:
        TrainingError: none of these, or an invalid regex or CSV; for a CSV, the text names the line.
    """
    if spec == "folder":
        return lambda name: {"label": os.path.basename(os.path.dirname(name))}
    if spec.startswith("filename:"):
        return _by_regex(spec.removeprefix("filename:"))
    return _by_table(read_table(Path(spec)))


def _by_regex(pattern: str) -> LabelsOf:
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise _refused(f"{pattern!r} is no regular expression: {error}") from error
    if not regex.groups:
        raise _refused(f"{pattern!r} has no group; put what is the label in brackets")

    def read(name: str) -> dict[str, str] | None:
        matched = regex.match(os.path.basename(name))
        if matched is None:
            return None
        return {key: value or "" for key, value in (matched.groupdict() or {"label": matched.group(1)}).items()}

    return read


def _by_table(table: dict[str, dict[str, str]]) -> LabelsOf:
    def read(name: str) -> dict[str, str] | None:
        parts = name.split("/")
        return next((table[key] for i in range(len(parts)) if (key := "/".join(parts[i:])) in table), None)

    return read


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """The labels of each path in a CSV: UTF-8 with or without a byte-order mark, separated by comma, semicolon or tab.

    Lines with only empty cells are skipped; whitespace around column names and labels is ignored.

    Raises:
        TrainingError: it cannot be read; the text names the file and, if known, the line.
    """
    lines = _lines(path)
    number, head = next(lines, (1, []))
    kinds = [name.strip() for name in head]
    if PATH not in kinds or len(kinds) < 2:
        raise _bad_table(f"{path} needs a column {PATH} and another one in its first line; it has {kinds}")
    if "" in kinds or len(set(kinds)) < len(kinds):
        raise _bad_table(f"{path}, line {number}: each column needs a name of its own: {', '.join(map(repr, kinds))}")
    table: dict[str, dict[str, str]] = {}
    for number, cells in lines:
        if len(cells) != len(kinds):
            raise _bad_table(f"{path}, line {number}: {len(cells)} cells, but {len(kinds)} columns")
        _enter(table, dict(zip(kinds, cells, strict=True)), f"{path}, line {number}")
    if not table:
        raise _bad_table(f"{path} has no line below its columns' names")
    return table


def _enter(table: dict[str, dict[str, str]], row: dict[str, str], place: str) -> None:
    path = row.pop(PATH)
    if not path:
        raise _bad_table(f"{place}: no path")
    labels = {kind: label.strip() for kind, label in row.items()}
    if table.setdefault(posixpath.normpath(path), labels) != labels:
        raise _bad_table(f"{place}: {path} was there before, with other labels")


def _lines(path: Path) -> Iterator[tuple[int, Sequence[str]]]:
    """The number and the cells of each line with a non-empty cell."""
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        yield from ((reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells))
    except csv.Error as error:
        raise _bad_table(f"{path}, line {reader.line_num}: {error}") from error


def _delimiter(text: str) -> str:
    """The delimiter of the first line that is not empty; which one a spreadsheet writes depends on its locale."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    for delimiter in DELIMITERS:
        names = [name.strip(' "') for name in first.split(delimiter)]
        if PATH in names and len(names) > 1:
            return delimiter
    return DELIMITERS[0]


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise _refused(f"neither folder, filename:REGEX nor a CSV file: {path} ({error})") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _bad_table(f"{path}, line {line}: this is not UTF-8 ({error.reason}); save it as CSV in UTF-8") from error


def _refused(text: str) -> TrainingError:
    return TrainingError(text, "labels_refused")


def _bad_table(text: str) -> TrainingError:
    return TrainingError(text, "labels_table")
