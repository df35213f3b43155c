"""Hits of many questions as a table, written as they are found: never are all of them in memory."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retrieval.atomic import replacing
from retrieval.errors import PathError, PictureRefused
from retrieval.explore.tables import as_text, check_target
from retrieval.questions import ANSWERED_AT_ONCE, Answer, Question, ask_all
from retrieval.searcher import Searcher
from retrieval.text import csv_cell

COLUMNS = ("query", "rank", "path", "distance", "similarity", "realism", "width", "height")
SUFFIXES = (".parquet", ".csv")

Rows = list[dict[str, Any]]


def write_hits(
    searcher: Searcher,
    questions: Sequence[Question],
    target: str | os.PathLike[str],
    refused: Callable[[PictureRefused], None],
    report: Callable[[int, int], None] | None = None,
) -> int:
    """Write a row for each hit of each question to ``target``, which ends in .parquet or .csv. Returns their number.

    ``refused`` is called with each picture that cannot be read; the other questions are answered.

    Raises:
        PathError: ``target`` has another suffix, or cannot be written.
        MissingExtra: the suffix is .parquet, and pyarrow is not installed.
    """
    path, count = check_target(target, SUFFIXES), 0
    try:
        with replacing(path) as part, (_parquet if path.suffix.lower() == ".parquet" else _csv)(part) as write:
            for start in range(0, len(questions), ANSWERED_AT_ONCE):
                some = questions[start : start + ANSWERED_AT_ONCE]
                for answer in ask_all(searcher, some):
                    if isinstance(answer, PictureRefused):
                        refused(answer)
                        continue
                    write(_rows(answer))
                    count += len(answer.hits)
                if report:
                    report(start + len(some), len(questions))
    except OSError as error:
        raise PathError(f"{path} cannot be written: {error.strerror or error}") from error
    return count


def _rows(answer: Answer) -> Rows:
    return [{"query": answer.title, **{name: getattr(hit, name) for name in COLUMNS[1:]}} for hit in answer.hits]


@contextmanager
def _csv(part: Path) -> Iterator[Callable[[Rows], None]]:
    with open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        yield lambda rows: table.writerows(
            row | {"query": csv_cell(row["query"]), "path": csv_cell(row["path"])} for row in rows
        )


@contextmanager
def _parquet(part: Path) -> Iterator[Callable[[Rows], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = {"rank": pa.int32(), "width": pa.int32(), "height": pa.int32(), "realism": pa.float32()}
    texts = {"query": pa.string(), "path": pa.string()}
    schema = pa.schema([(name, (numbers | texts).get(name, pa.float64())) for name in COLUMNS])
    with pq.ParquetWriter(part, schema) as writer:

        def write(rows: Rows) -> None:
            readable = [row | {"query": as_text(row["query"]), "path": as_text(row["path"])} for row in rows]
            writer.write_table(pa.Table.from_pylist(readable, schema=schema))

        yield write
