"""The same pictures in a folder, in a tar archive and in a table, and what an index of them must have in common."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from index.opening import open_index
from retrieval import Library
from tests.conftest import write_shapes

MODEL = "photos-64"  # shipped: no other need be made
HIDDEN = (".hidden.png", "@eaDir/thumb.png", "Thumbs.db")


def make_pictures(folder: Path) -> None:
    """Pictures, twins, some that cannot be read, other files, and what a walk leaves out."""
    write_shapes(folder, 12)
    write_shapes(folder / "shape-0-003", 6, seed=1)  # a folder whose name begins as that of a file
    write_shapes(folder / "left out", 2, seed=2)
    twin = (folder / "shape-0-001.png").read_bytes()
    (folder / "shape-0-003" / "twin.png").write_bytes(twin)
    (folder / "cut.png").write_bytes(twin[: len(twin) // 2])
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("a text")
    (folder / "öl & wasser.png").write_bytes(twin + b"other bytes")
    (folder / ".latentignore").write_text("left out/\n")
    for name in HIDDEN:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(twin)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "photos"
    make_pictures(folder)
    return folder


@pytest.fixture(scope="module")
def in_folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    index = tmp_path_factory.mktemp("local") / "i"
    Library.build(photos, index, model=MODEL).close()
    return index


def make_tar(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w") as tar:
        for path in sorted(folder.rglob("*"), reverse=True):  # not in the order of a walk
            tar.add(path, f"./{path.relative_to(folder)}", recursive=False)
    return archive


def make_table(folder: Path, table: Path, with_paths: bool = True) -> Path:
    """As Hugging Face writes data sets of pictures, in small row groups."""
    import pyarrow as pa
    from pyarrow import parquet

    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix]
    cells = [{"bytes": one.read_bytes(), "path": str(one.relative_to(folder)) if with_paths else None} for one in paths]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {"label": pa.array(range(len(cells))), "image": pa.array(cells, kind)}
    parquet.write_table(pa.table(columns), table, row_group_size=5)
    return table


def content_of(place: Path | str, *, ids: bool = True) -> list[Any]:
    """All that an index holds of each picture, by path, but for dates and, without ``ids``, the order of reading."""
    index = open_index(place)
    try:
        with index.rows.snapshot():
            (root_id,) = index.rows.roots()
            rows = index.rows.listing(root_id)
            codes = index.rows.codes([row.id for row in rows.values() if row.id is not None])
            facts = index.rows.facts([row.content_hash for row in rows.values() if row.content_hash])
    finally:
        index.close()
    plain = {"mtime_ns": 0, "ctime_ns": 0, "generation": 0} | ({} if ids else {"id": 0})
    return [
        (
            row._replace(**{name: value for name, value in plain.items() if name in row._fields}),
            codes[row.id].tobytes() if row.id in codes else None,
            facts.get(row.content_hash or b""),
        )
        for _, row in sorted(rows.items())
    ]
