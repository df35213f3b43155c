"""What an index on a server knows beside its catalog, as small JSON with a checksum; and the copy of its model.

A reader keeps the model in its own folder of caches, named by a digest of all its files.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from blake3 import blake3
from sqlalchemy import Connection, delete, insert, select

from index.atomic import clear_abandoned, flush_folder
from index.errors import IndexDamaged
from index.local.sums import sum_of
from index.server.tables import model_parts, settings

IDENTITY, BUDGET, EXCLUDED, MODEL, VECTORS = "identity", "budget", "excluded", "model", "vectors"
MOST_BYTES = 8 << 20  # of one value
PART_BYTES = 4 << 20
MOST_FILES, MOST_MODEL_BYTES = 16, 8 << 30  # of a model
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def keep(connection: Connection, name: str, value: Any) -> None:
    """Store a value in place of an older one."""
    stored = json.dumps(value).encode()
    connection.execute(delete(settings).where(settings.c.name == name))
    connection.execute(insert(settings).values(name=name, value=stored, checksum=sum_of(name, stored)))


def read(connection: Connection, name: str, of: str) -> Any:
    """A value; None if there is none. ``of`` names the index.

    Raises:
        IndexDamaged: it is not as it was written.
    """
    row = connection.execute(select(settings).where(settings.c.name == name)).first()
    if row is None:
        return None
    try:
        if len(row.value) > MOST_BYTES or sum_of(name, row.value) != row.checksum:
            raise ValueError
        return json.loads(row.value)
    except (ValueError, RecursionError) as error:
        raise IndexDamaged(f"the setting {name!r} of {of} is damaged", code="setting_damaged") from error


def keep_model(connection: Connection, fill: Callable[[Path], None]) -> None:
    """Store the files that ``fill`` writes into an empty folder, in place of the older ones."""
    folder = Path(mkdtemp(prefix="latent-model-"))
    try:
        fill(folder)
        connection.execute(delete(model_parts))
        files = {path.name: _keep_file(connection, path) for path in sorted(folder.iterdir())}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    keep(connection, MODEL, files)


def _keep_file(connection: Connection, path: Path) -> tuple[int, str]:
    """Store a file. Return its size in bytes and its hash."""
    digest, size, part = blake3(), 0, 0
    with open(path, "rb") as file:
        while block := file.read(PART_BYTES):
            connection.execute(insert(model_parts).values(name=path.name, part=part, content=block))
            digest.update(block)
            size, part = size + len(block), part + 1
    return size, digest.hexdigest()


def fetch_model(connection: Connection, place: Path, of: str) -> Path:
    """The folder in ``place`` that holds the model's files; they are read from the server if it is not there yet.

    Raises:
        IndexDamaged: they are not as they were written.
        OSError: they cannot be written.
    """
    files = read(connection, MODEL, of)
    if files is None:
        return place / "no-model"
    _check(files, of)
    folder = place / f"model-{blake3(json.dumps(files, sort_keys=True).encode()).hexdigest(16)}"
    if folder.is_dir():
        return folder
    clear_abandoned(place, "*")
    part = place / f"{secrets.token_hex(8)}.part"
    part.mkdir(mode=0o700, parents=True)
    try:
        for name, (size, digest) in files.items():
            _fetch_file(connection, part / name, size, digest, of)
        flush_folder(part)
        with suppress(FileExistsError, OSError):  # another process was sooner
            os.rename(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for older in place.glob("model-*"):
        if older != folder and older.is_dir():
            shutil.rmtree(older, ignore_errors=True)
    return folder


def _check(files: Any, of: str) -> None:
    """A stranger's server may name any file."""
    sane = isinstance(files, dict) and 0 < len(files) <= MOST_FILES
    for name, known in files.items() if sane else ():
        is_name = name and PLAIN.issuperset(name) and not name.startswith(".")
        sane = sane and is_name and isinstance(known, list) and len(known) == 2 and isinstance(known[0], int)
    if not sane or not 0 <= sum(size for size, _ in files.values()) <= MOST_MODEL_BYTES:
        raise IndexDamaged(f"the files of the model in {of} are damaged", code="setting_damaged")


def _fetch_file(connection: Connection, path: Path, size: int, digest: str, of: str) -> None:
    seen, part, left = blake3(), 0, size
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        while left > 0:
            wanted = (model_parts.c.name == path.name) & (model_parts.c.part == part)
            block = connection.scalar(select(model_parts.c.content).where(wanted))
            if not block or len(block) > left:
                break
            file.write(block)
            seen.update(block)
            left, part = left - len(block), part + 1
        file.flush()
        os.fsync(file.fileno())
    if left or seen.hexdigest() != digest:
        raise IndexDamaged(f"{path.name} of the model in {of} is damaged; verify and repair the index")
