"""The pictures of a collection, by their contents, and which of them to keep."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from retrieval.arrays import Floats
from retrieval.copies.contents import facts_of
from retrieval.copies.plan import FileFacts
from retrieval.errors import PathError
from retrieval.searcher import Searcher

RULES: dict[str, Callable[[Member], Any]] = {
    "resolution": lambda one: -one.pixels,
    "size": lambda one: -one.size_bytes,
    "oldest": lambda one: one.mtime_ns,
    "newest": lambda one: -one.mtime_ns,
    "path": lambda one: os.fsencode(one.path),
}


class Member(NamedTuple):  # there may be millions
    """A picture of the collection. Its code is row ``number`` of all codes."""

    path: str
    number: int
    content_hash: bytes | None
    size_bytes: int
    mtime_ns: int
    pixels: int


class Archive:
    """Folders whose files are kept."""

    def __init__(self, folders: Sequence[str | os.PathLike[str]]) -> None:
        self._folders = [os.path.join(os.path.realpath(folder), "") for folder in folders]
        self._places: dict[str, str] = {}

    def check(self, members: Sequence[Member]) -> None:
        for folder in self._folders:
            if not any(self._place(one.path).startswith(folder) for one in members):
                raise PathError(f"no picture of {folder} is in this index", "archive_not_indexed", folder=folder)

    def __contains__(self, path: str) -> bool:
        return any(self._place(path).startswith(folder) for folder in self._folders)

    def _place(self, path: str) -> str:
        """The path of a file with all links in its folder resolved. If the file is a link itself, that is kept."""
        folder, name = os.path.split(path)
        if folder not in self._places:
            self._places[folder] = os.path.realpath(folder)
        return os.path.join(self._places[folder], name)


class Known:
    """Facts of files for the plan, with a hash that cannot be forged. A file is read when it is first asked for."""

    def __init__(self) -> None:
        self._facts: dict[str, FileFacts | None] = {}

    def of(self, one: Member) -> FileFacts | None:
        """None if the file cannot be read now, or is not as it was indexed."""
        if one.path not in self._facts:
            self._facts[one.path] = facts_of(one.path, one.size_bytes, one.mtime_ns)
        return self._facts[one.path]


def all_members(retriever: Searcher) -> tuple[list[Member], Floats]:
    """All pictures, ordered by path, and their codes (n, d), in the order of ``number``."""
    members: list[Member] = []
    codes = [np.empty((0, retriever.latent_dim), np.float32)]
    for rows, batch in retriever.found():
        for number, one in enumerate(rows, len(members)):
            pixels = one.width_px * one.height_px
            members.append(Member(one.path, number, one.content_hash, one.size_bytes, one.mtime_ns, pixels))
        codes.append(batch)
    return sorted(members, key=lambda one: os.fsencode(one.path)), np.concatenate(codes)


def by_content(members: Sequence[Member], keep: Sequence[str], archive: Archive, known: Known) -> list[list[Member]]:
    """Files of equal bytes, grouped: in a group the file to keep comes first, and groups are ordered by it.

    The index proposes them by XXH3, which can be forged. So they are read again.
    """
    alike = Counter(one.content_hash for one in members)
    same: dict[object, list[Member]] = {}
    for one in members:
        content: object = one.content_hash
        if alike[one.content_hash] > 1:
            content = (one.content_hash, its.content_hash if (its := known.of(one)) else one.path)
        same.setdefault(content, []).append(one)

    def rank(one: Member) -> tuple[Any, ...]:
        return (one.path not in archive, *(RULES[rule](one) for rule in (*keep, "path")))

    return sorted((sorted(group, key=rank) for group in same.values()), key=lambda group: rank(group[0]))
