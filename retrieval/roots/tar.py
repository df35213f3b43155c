"""A tar archive whose members are the pictures, as in shards of WebDataset. Nothing is unpacked: members are read where
they lie, so an archive must not be compressed.

A name is only a name here: nothing is ever written by it. Members whose names lead out of the archive, links, devices
and files with holes are left out, and said. Of two members of one name the last counts, as for whoever unpacks them.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, NamedTuple

from index.roots import is_url
from retrieval.errors import PathError, RootUnreadable
from retrieval.pictures.files import FoundFile, Part
from retrieval.pictures.leaving_out import MOST_BYTES, LeftOut
from retrieval.roots.archives import Archive, bytes_of, change_of, is_compressed, listing, opened, version_of
from retrieval.roots.listed import has_path, name_order, report_name, shown
from retrieval.roots.root import Looking

MOST_HEADER_BYTES = 1 << 20  # of one member: long names and what else PAX says of it
HEADERS_PER_BLOCK = 4  # so often may a block be read: an archive that leads its reader in circles is none
END = bytes(tarfile.BLOCKSIZE)


class Damaged(Exception):
    """What is no tar archive, or one that was cut off."""


class _Bounded:
    """A file as ``tarfile`` needs it to read headers: little at once, and no more than there is."""

    def __init__(self, file: IO[bytes], size_bytes: int) -> None:
        self._file, self._left = file, HEADERS_PER_BLOCK * size_bytes + MOST_HEADER_BYTES
        self.tell, self.seekable = file.tell, lambda: True

    def seek(self, place: int, whence: int = 0) -> int:
        if place < 0:
            raise Damaged("a member begins before the archive")
        return self._file.seek(place, whence)

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= MOST_HEADER_BYTES:
            raise Damaged("a header of a member is too large")
        data = self._file.read(count)
        self._left -= len(data)
        if self._left < 0:
            raise Damaged("its headers lead in circles")
        return data


class Members(NamedTuple):
    """What is in an archive: files by path, and what is to be said of the rest."""

    files: dict[str, FoundFile]
    faults: tuple[str, ...]


def members_of(address: str) -> Members:
    """The members of an archive, read once for each version of it.

    Raises:
        PathError: there is no archive.
        RootUnreadable: it cannot be read to its end, so nothing is known of what is gone.
    """
    return _members(version_of(address))


@lru_cache(maxsize=16)
def _members(version: FoundFile) -> Members:
    if is_compressed(version.path):
        raise PathError(
            f"{version.path} is compressed, and pictures in it cannot be read where they lie; unpack it first"
        )
    files, tally, change = dict[str, FoundFile](), LeftOut(), change_of(version)
    try:
        with opened(version.path) as file:
            for member in _headers(file, version.size_bytes):
                name = _name_of(member, version.path, tally)
                if name is not None:
                    part = Part(version.path, member.offset_data, member.size)
                    path, date = f"{version.path}/{name}", int(member.mtime) * 10**9
                    files[path] = FoundFile(path, member.size, date, change, part)
    except (Damaged, tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise RootUnreadable(f"{version.path} is no tar archive, or a damaged one: {error}") from error
    return Members(files, tuple(tally.faults))


def _headers(file: IO[bytes], size_bytes: int) -> Iterator[tarfile.TarInfo]:
    """All members, one after the other. ``tarfile`` takes what it cannot read for the end; that is told apart here."""
    bounded = _Bounded(file, size_bytes)
    with tarfile.open(fileobj=bounded, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:  # type: ignore[call-overload]
        while (member := tar.next()) is not None:
            tar.members.clear()  # else it keeps them all
            if member.size < 0 or (not member.issparse() and member.offset_data + member.size > size_bytes):
                raise Damaged("a member is longer than the archive")
            yield member
        file.seek(tar.offset)
        if (block := file.read(len(END))) and block != END:
            raise Damaged("it breaks off before its end")


def _name_of(member: tarfile.TarInfo, address: str, tally: LeftOut) -> str | None:
    """The path of a member in its archive; None for what is no file, or must not be taken for one."""
    name = member.name
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    if member.isdir():
        return None
    if not has_path(name):
        report_name(tally, address, member.name)
    elif member.issparse() or not member.isreg():
        if member.issparse() or member.islnk() or member.issym():
            tally.fault(f"{address}: {name[:100]!r} is a link or has holes, and is left out")
    else:
        return name
    return None


@dataclass(frozen=True)
class Tar(Archive):
    """A tar archive, on this machine or in a store."""

    def files(self) -> dict[str, FoundFile]:
        return members_of(self.address).files

    def find(self, folder: str, looking: Looking) -> list[FoundFile]:
        with listing():
            members = members_of(self.address)
        for fault in members.faults:
            looking.tally.fault(fault)
        files = sorted(members.files.values(), key=lambda file: name_order(file.path))
        return list(shown(self.address, files, self.address, looking, self._read))

    @property
    def in_place(self) -> bool:
        return not is_url(self.address)

    def read(self, part: Part, most: int) -> bytes:
        data = bytes_of(part, most)
        return data if part.length is None else data[: part.length]

    def _read(self, path: str) -> bytes | None:
        found = self.at(path)
        return None if found is None or found.part is None else bytes_of(found.part, MOST_BYTES)
