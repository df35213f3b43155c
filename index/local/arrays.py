"""Numbers of very many rows, as arrays. Rows of SQLAlchemy take ten times as long, and those of the driver four."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Select, func, select

from index.errors import IndexDamaged
from index.records import Ids

ROWS_AT_ONCE = 4_000_000  # of at most 20 characters a number


def whole_numbers(connection: Connection, query: Select[Any]) -> list[Ids]:
    """The columns of a query, each int64 (n,), in the order in which SQLite finds the rows.

    SQLite writes them as JSON, one text for a column.

    Raises:
        IndexDamaged: a value is something else.
    """
    columns: list[list[Ids]] = [[] for _ in query.selected_columns]
    while not columns[0] or len(columns[0][-1]) == ROWS_AT_ONCE:
        part = query.limit(ROWS_AT_ONCE).offset(ROWS_AT_ONCE * len(columns[0])).subquery()
        texts = connection.execute(select(*(func.json_group_array(one) for one in part.c))).one()
        for column, text in zip(columns, texts, strict=True):
            column.append(_whole(json.loads(text)))
    return [np.concatenate(column) for column in columns]


def _whole(values: list[Any]) -> Ids:
    try:
        numbers = np.array(values or np.empty(0, np.int64))
    except (ValueError, OverflowError):  # of several types
        numbers = np.array(["?"])
    if numbers.dtype != np.int64:
        raise IndexDamaged("a number in the catalog is damaged; repair the index")
    return numbers


def numbers(connection: Connection, query: Select[Any]) -> tuple[Ids, npt.NDArray[np.float64]]:
    """The two columns of a query, whole numbers and float64 (n,), to the last bit, which JSON does not keep.

    Raises:
        IndexDamaged: a value is something else.
    """
    parts = list(_parts(connection, query))
    ids, values = ([part[column] for part in parts] for column in (0, 1))
    return np.concatenate([np.empty(0, np.int64), *ids]), np.concatenate([np.empty(0), *values])


def _parts(connection: Connection, query: Select[Any]) -> Iterator[tuple[Ids, npt.NDArray[np.float64]]]:
    cursor = connection.execute(query).cursor
    assert cursor is not None
    while rows := cursor.fetchmany(ROWS_AT_ONCE // 10):
        ids, values = zip(*rows, strict=True)
        if not set(map(type, values)) <= {float, int}:
            raise IndexDamaged("a number in the catalog is damaged; repair the index")
        yield np.array(ids, np.int64), np.array(values, np.float64)
