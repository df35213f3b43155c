"""Codes as a table for other programs: one row per picture of an index.

The table is written batch by batch, so it is never in memory as a whole. The file appears only when it is complete.
"""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.arrays import Floats
from retrieval.atomic import replacing
from retrieval.errors import MissingExtra, PathError, pip_line
from retrieval.filters import Filter
from retrieval.progress import OnProgress
from retrieval.searcher import Searcher
from retrieval.text import csv_cell

SUFFIXES = (".parquet", ".csv", ".npz")


@dataclass(frozen=True)
class Facts:
    """The columns of a row beside the code. ``path`` is absolute, ``hash`` is of the content (XXH3, 128 bits, hex)."""

    path: str
    hash: str
    width: int
    height: int
    realism: float
    spread: float


@dataclass(frozen=True)
class FeatureBatch:
    """Facts and codes float32 (n, d) of some pictures."""

    facts: list[Facts]
    codes: Floats


def write_features(
    retriever: Searcher,
    target: str | os.PathLike[str],
    *,
    where: Filter | None = None,
    report: OnProgress | None = None,
) -> int:
    """Write facts and codes of every picture that can be found and passes ``where``, in the order of their ids. Returns
    their number.

    ``target`` ends in .parquet (columns of ``Facts``, then ``code``, a list of d float32), .csv (columns of ``Facts``,
    with control characters in paths escaped, then ``code_0`` ...) or .npz (an array for each column of ``Facts``, and
    ``codes`` float32 (n, d)).

    Raises:
        PathError: ``target`` has another suffix, or cannot be written.
        MissingExtra: the suffix is .parquet, and pyarrow is not installed.
    """
    path = check_target(target)
    write = {".parquet": _write_parquet, ".csv": _write_csv, ".npz": _write_npz}[path.suffix.lower()]
    count = retriever.count(where)
    try:
        with replacing(path) as part:
            return write(_reported(rows_of(retriever, where), count, report), part, retriever, count)
    except OSError as error:
        raise PathError(f"{path} cannot be written: {error.strerror or error}") from error


def check_target(target: str | os.PathLike[str], suffixes: Sequence[str] = SUFFIXES) -> Path:
    """Check the suffix of ``target`` and return it as a path.

    Raises:
        PathError: the suffix is not among ``suffixes``.
        MissingExtra: the suffix is .parquet, and pyarrow is not installed.
    """
    path = Path(target)
    if path.suffix.lower() not in suffixes:
        raise PathError(f"{path}: tables are written as {', '.join(suffixes)}; the file's name says which")
    if path.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        others = " and ".join(suffix for suffix in suffixes if suffix != ".parquet")
        raise MissingExtra(f"Parquet needs pyarrow: {pip_line('features')}; {others} need nothing")
    return path


def rows_of(retriever: Searcher, where: Filter | None = None) -> Iterator[FeatureBatch]:
    """Yield facts and codes of all pictures that can be found and pass ``where``, some thousand at a time."""
    for found, codes in retriever.found(where):
        facts = [
            Facts(one.path, one.content_hash.hex(), one.width_px, one.height_px, one.realism, one.spread)
            for one in found
        ]
        yield FeatureBatch(facts, codes)


def _reported(batches: Iterator[FeatureBatch], total: int, report: OnProgress | None) -> Iterator[FeatureBatch]:
    done = 0
    for batch in batches:
        yield batch
        done += len(batch.facts)
        if report:
            report(done, total)


def _write_csv(batches: Iterator[FeatureBatch], part: Path, retriever: Searcher, expected: int) -> int:
    count = 0
    names = [field.name for field in fields(Facts)]
    with open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerow([*names, *(f"code_{i}" for i in range(retriever.latent_dim))])
        for batch in batches:
            for facts, code in zip(batch.facts, batch.codes, strict=True):
                table.writerow([*(asdict(facts) | {"path": csv_cell(facts.path)}).values(), *code.tolist()])
            count += len(batch.facts)
    return count


def _write_parquet(batches: Iterator[FeatureBatch], part: Path, retriever: Searcher, expected: int) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"path": pa.string(), "hash": pa.string(), "width": pa.int32(), "height": pa.int32()}
    columns = [(field.name, kinds.get(field.name, pa.float32())) for field in fields(Facts)]
    schema = pa.schema([*columns, ("code", pa.list_(pa.float32(), retriever.latent_dim))])
    schema = schema.with_metadata({"model": retriever.model.name, "model_digest": retriever.model.digest})
    count = 0
    with pq.ParquetWriter(part, schema) as writer:
        for batch in batches:
            facts: dict[str, Any] = {name: [getattr(one, name) for one in batch.facts] for name, _ in columns}
            facts["path"] = [as_text(path) for path in facts["path"]]
            flat = pa.array(np.ascontiguousarray(batch.codes).ravel())
            code = pa.FixedSizeListArray.from_arrays(flat, retriever.latent_dim)
            arrays = [pa.array(facts[name], kind) for name, kind in columns]
            writer.write_table(pa.Table.from_arrays([*arrays, code], schema=schema))
            count += len(batch.facts)
    return count


def as_text(path: str) -> str:
    """Escape the bytes of a name that is not UTF-8: text in Parquet must be."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _write_npz(batches: Iterator[FeatureBatch], part: Path, retriever: Searcher, expected: int) -> int:
    """Write codes into the archive batch by batch. The facts are small and follow at the end."""
    facts: list[Facts] = []
    with zipfile.ZipFile(part, "w", allowZip64=True) as archive:
        with _array_file(archive, "codes", np.dtype(np.float32), (expected, retriever.latent_dim)) as file:
            for batch in batches:
                facts += batch.facts
                file.write(np.ascontiguousarray(batch.codes, "<f4").tobytes())
        if len(facts) != expected:
            raise PathError("the index was changed while it was read; write again")
        for field in fields(Facts):
            column = np.array([getattr(one, field.name) for one in facts])
            if field.name == "path":
                column = np.array([as_text(one.path) for one in facts])
            with _array_file(archive, field.name, column.dtype, column.shape) as file:
                file.write(column.tobytes())
    return len(facts)


@contextmanager
def _array_file(archive: zipfile.ZipFile, name: str, kind: np.dtype[Any], shape: tuple[int, ...]) -> Iterator[Any]:
    """Open a member of an .npz for its values, after writing its header."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(file, header)
        yield file
