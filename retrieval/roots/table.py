"""A table in Parquet with a column of encoded pictures: of bytes, or of Hugging Face's {bytes, path}.

Pictures are called by their paths, if the table has such; those without one of their own by the number of their row.
They are read row group by row group, so a row group must fit into memory. A path that a row names is never opened.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from threading import Lock
from typing import Any, NamedTuple

from retrieval.errors import MissingExtra, PathError, RootUnreadable, pip_line
from retrieval.pictures.files import FoundFile, Part
from retrieval.roots.archives import Archive, change_of, listing, opened, version_of
from retrieval.roots.listed import has_path, shown
from retrieval.roots.root import Looking

MOST_GROUP_BYTES = 1 << 30  # of the column of pictures in one row group
MOST_ROWS = 50_000_000  # listed in memory
ROWS = 64  # whose pictures are in memory at once while a table is listed
USUAL = ("image", "img", "picture", "photo", "jpg", "png")  # names of the column, where several could be it
PATHS = ("path", "file_name", "filename")
NUMBERED = re.compile(r"row-\d{10}$", re.ASCII)


class Columns(NamedTuple):
    """The columns of pictures and of their paths, as Parquet names them: ``image.bytes``, ``image.path``."""

    pictures: str
    paths: str | None


def table_facts(address: str) -> dict[str, FoundFile]:
    """The pictures of a table by path, in the order of its rows. They are read once for each version of it.

    Raises:
        MissingExtra: pyarrow is not installed.
        PathError: there is no table, or it has no column of pictures.
        RootUnreadable: it cannot be read.
    """
    return _table(version_of(address))


@lru_cache(maxsize=16)
def _table(version: FoundFile) -> dict[str, FoundFile]:
    address, change = version.path, change_of(version)
    with _read(address) as table:
        if table.metadata.num_rows > MOST_ROWS:
            raise RootUnreadable(f"{address} has more than {MOST_ROWS:,} rows; split the table")
        columns = _columns(table, address)
        names = _names(table, columns)
        files = dict[str, FoundFile]()
        for row, (name, size) in enumerate(zip(names, _sizes(table, columns, address), strict=True)):
            path = f"{address}/{name}"
            files[path] = FoundFile(path, size, version.mtime_ns, change, Part(address, row, size))
    return files


@contextmanager
def _read(address: str) -> Iterator[Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra(f"tables of pictures need pyarrow: {pip_line('stores')}") from error
    with opened(address) as file:
        try:
            yield parquet.ParquetFile(file, pre_buffer=False)
        except (pa.ArrowException, ValueError, OSError) as error:
            if isinstance(error, OSError) and not isinstance(error, pa.ArrowException) and error.errno:
                raise
            raise RootUnreadable(f"{address} is no table in Parquet, or a damaged one") from error


def _columns(table: Any, address: str) -> Columns:
    found = {name: column for field in table.schema_arrow for name, column in _pictures_in(field)}
    if not found:
        raise PathError(f"{address} has no column of pictures: of bytes, or of bytes and path")
    name = next(iter(found)) if len(found) == 1 else next((one for one in USUAL if one in found), None)
    if name is None:
        raise PathError(
            f"{address} has several columns that may hold pictures: {', '.join(found)}; call one of them image"
        )
    return found[name] if found[name].paths else found[name]._replace(paths=_paths_beside(table))


def _pictures_in(field: Any) -> Iterator[tuple[str, Columns]]:
    """The column, if it holds bytes, or bytes and a path, by its name."""
    from pyarrow import types

    def is_binary(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    if is_binary(field.type):
        yield field.name, Columns(field.name, None)
    elif types.is_struct(field.type):
        inner = {one.name: one.type for one in field.type}
        if "bytes" in inner and is_binary(inner["bytes"]):
            has_path_too = "path" in inner and types.is_string(inner["path"])
            yield field.name, Columns(f"{field.name}.bytes", f"{field.name}.path" if has_path_too else None)


def _paths_beside(table: Any) -> str | None:
    from pyarrow import types

    texts = {field.name for field in table.schema_arrow if types.is_string(field.type)}
    return next((name for name in PATHS if name in texts), None)


def _names(table: Any, columns: Columns) -> list[str]:
    """The name of each row: its path, if that is one and no other row has it, else its number."""
    count = table.metadata.num_rows
    told: list[str | None] = [None] * count
    if columns.paths is not None:
        told = [cell for batch in table.iter_batches(columns=[columns.paths]) for cell in _column(batch).to_pylist()]
    times = Counter(told)
    own = (name if name and times[name] == 1 and has_path(name) and not NUMBERED.match(name) else None for name in told)
    return [name or f"row-{row:010d}" for row, name in enumerate(own)]


def _column(batch: Any) -> Any:
    """The one column of a table or batch, or the one field of its struct."""
    import pyarrow as pa

    column = batch.column(0)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return column.field(0) if isinstance(column, pa.StructArray) else column


def _sizes(table: Any, columns: Columns, address: str) -> Iterator[int]:
    from pyarrow import compute

    for group in range(table.num_row_groups):
        _check_group(table, group, address)
        for batch in table.iter_batches(ROWS, row_groups=[group], columns=[columns.pictures]):
            yield from (size or 0 for size in compute.binary_length(_column(batch)).to_pylist())


def _check_group(table: Any, group: int, address: str) -> None:
    told = table.metadata.row_group(group)
    if told.total_byte_size > MOST_GROUP_BYTES:
        raise RootUnreadable(
            f"{address}: row group {group} has {told.total_byte_size >> 20} MiB, and at most "
            f"{MOST_GROUP_BYTES >> 20} MiB are read at once; write the table in smaller row groups"
        )


_reading = Lock()  # one row group at once, whoever asks


def cell(part: Part) -> bytes:
    """The bytes of a row's picture; none if the table has no such row. Raises as ``table_facts``."""
    with _reading:
        return _cell(version_of(part.source), part.offset)


def _cell(version: FoundFile, row: int) -> bytes:
    ends = _ends(version)
    group = next((number for number, end in enumerate(ends) if row < end), None)
    if group is None:
        return b""
    start = ends[group - 1] if group else 0
    found = _group(version, group)[row - start].as_py()
    return bytes(found or b"")


@lru_cache(maxsize=16)
def _ends(version: FoundFile) -> list[int]:
    """The rows at which the row groups end."""
    with _read(version.path) as table:
        return list(accumulate(table.metadata.row_group(one).num_rows for one in range(table.num_row_groups)))


@lru_cache(maxsize=1)
def _group(version: FoundFile, group: int) -> Any:
    with _read(version.path) as table:
        _check_group(table, group, version.path)
        return _column(table.read_row_group(group, columns=[_columns(table, version.path).pictures]))


@dataclass(frozen=True)
class Table(Archive):
    """A table in Parquet, on this machine or in a store."""

    def files(self) -> dict[str, FoundFile]:
        return table_facts(self.address)

    def find(self, folder: str, looking: Looking) -> list[FoundFile]:
        with listing():
            files = self.files()
        return list(shown(self.address, files.values(), self.address, looking, lambda path: None))

    @property
    def in_place(self) -> bool:
        return False

    def read(self, part: Part, most: int) -> bytes:
        return cell(part)
