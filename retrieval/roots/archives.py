"""Archives and tables as files, on this machine or in a store: which they are, how to open them, when they changed."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from index.roots import is_url
from retrieval.errors import MissingExtra, PathError, PictureRefused, RootUnreadable
from retrieval.pictures.files import FoundFile, Part
from retrieval.pictures.opening import open_file
from retrieval.roots import store
from retrieval.roots.folder import file_facts

TAR, TABLE = ".tar", ".parquet"
KINDS = re.compile(r"\.(tar|parquet)(?=/|$)", re.IGNORECASE)
COMPRESSED = re.compile(r"\.(t(gz|bz2?|xz|zst)|tar\.(gz|bz2|xz|zst|lz4|Z))$", re.IGNORECASE)


def holder_in(path: str) -> str | None:
    """The archive or table that a path is, or leads into, by their names; None if there is none."""
    for found in KINDS.finditer(path):
        place = path[: found.end()]
        if is_url(place) or not os.path.isdir(place):
            return place
    return None


def is_compressed(address: str) -> bool:
    return COMPRESSED.search(address) is not None and (is_url(address) or not os.path.isdir(address))


def version_of(address: str) -> FoundFile:
    """Size and dates of an archive, by which another version of it is told.

    Raises:
        PathError: it is not there.
        RootUnreadable: the store does not answer.
    """
    found = store.object_facts(address) if is_url(address) else file_facts(address)
    if found is None:
        raise PathError(f"{address} is not there")
    return found


def change_of(version: FoundFile) -> int:
    """A number that changes whenever the archive does: each picture in it has it as its change time."""
    return version.ctime_ns if version.part is not None else version.mtime_ns


@contextmanager
def opened(address: str) -> Iterator[IO[bytes]]:
    """An archive, to be read at any place.

    Raises:
        RootUnreadable: it cannot be read.
    """
    try:
        if is_url(address):
            with store.OpenedObject(address) as file:
                yield file  # type: ignore[misc]
            return
        with open_file(address) as file:
            yield file
    except store.Absent:
        raise RootUnreadable(f"{address} is not there any more") from None
    except PictureRefused as refusal:
        raise RootUnreadable(f"{address} cannot be read: {refusal}") from refusal
    except OSError as error:
        raise RootUnreadable(f"{address} cannot be read: {error.strerror or type(error).__name__}") from error


def bytes_of(part: Part, most: int) -> bytes:
    """The bytes of a part of an archive or object, at most ``most`` and one more.

    Raises:
        Absent, RootUnreadable: it is not there, or cannot be read.
    """
    if is_url(part.source):
        return store.fetch(part, most)
    with opened(part.source) as file:
        file.seek(part.offset)
        return file.read(most + 1 if part.length is None else min(part.length, most + 1))


@contextmanager
def listing() -> Iterator[None]:
    """An archive that is not there is not known to hold nothing: ``PathError`` becomes ``RootUnreadable``."""
    try:
        yield
    except PathError as error:
        raise RootUnreadable(str(error)) from error


@dataclass(frozen=True)
class Archive(ABC):
    """An archive or a table, on this machine or in a store, whose pictures are listed by path."""

    address: str

    @abstractmethod
    def files(self) -> dict[str, FoundFile]:
        """The pictures by path, read once for each version of the archive.

        Raises:
            PathError: there is no archive.
            RootUnreadable: it cannot be read to its end, so nothing is known of what is gone.
            MissingExtra: a package is needed to read it.
        """

    def check(self) -> None:
        self.files()

    def is_there(self, folder: str) -> bool:
        try:
            version_of(self.address)
        except (PathError, RootUnreadable, MissingExtra):
            return False
        return True

    def facts(self, paths: Sequence[str]) -> list[FoundFile | None]:
        return [self.at(path) for path in paths]

    def at(self, path: str) -> FoundFile | None:
        try:
            return self.files().get(path)
        except PathError:
            return None
