"""The pictures of a collection, by their contents."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from retrieval.arrays import Floats
from retrieval.copies.contents import facts_of
from retrieval.copies.plan import FileFacts
from retrieval.errors import PathError
from retrieval.filters import Filter
from retrieval.pictures.regions import EVERYTHING
from retrieval.pictures.traits import Traits
from retrieval.pictures.workers import DecoderPool, Task
from retrieval.roots.opening import is_file
from retrieval.roots.regions import region_at
from retrieval.searcher import Searcher

Picture = list[list["Member"]]
"""Files of the same samples, by their bytes: each list is of files with the same bytes."""


class Member(NamedTuple):  # there may be millions
    """A picture of the collection. Its code is row ``number`` of all codes."""

    path: str
    number: int
    content_hash: bytes | None
    size_bytes: int
    mtime_ns: int
    width_px: int
    height_px: int

    @property
    def pixels(self) -> int:
        return self.width_px * self.height_px


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


class Described:
    """Traits of pictures, by path. A file is read when it is first asked for; one that cannot be read has none."""

    def __init__(self, pool: DecoderPool) -> None:
        self._pool = pool
        self._traits: dict[str, Traits] = {}

    def of(self, paths: Iterable[str]) -> dict[str, Traits]:
        """The traits of these files."""
        wanted = dict.fromkeys(paths)
        new = [path for path in wanted if path not in self._traits]
        found = self._pool.map(Task(path, frame="original", want="traits") for path in new)
        self._traits |= {path: decoded.traits or Traits() for path, decoded in zip(new, found, strict=True)}
        return {path: self._traits[path] for path in wanted}


def digests_of(paths: Sequence[str], pool: DecoderPool) -> dict[str, bytes | None]:
    """Hashes of all stored samples of files, by path; None for what cannot be read."""
    found = pool.map(Task(path, frame="original", want="samples") for path in paths)
    return {path: decoded.digest for path, decoded in zip(paths, found, strict=True)}


def all_members(retriever: Searcher, where: Filter | None = None) -> tuple[list[Member], Floats]:
    """All pictures that pass ``where``, ordered by path, and their codes (n, d), in the order of ``number``.

    Regions of pictures are none: they overlap, and none could go without the others.
    """
    members: list[Member] = []
    codes = [np.empty((0, retriever.latent_dim), np.float32)]
    for rows, batch in retriever.found(where):
        whole = [place for place, one in enumerate(rows) if region_at(one.path)[1] in (None, EVERYTHING)]
        for number, one in enumerate([rows[place] for place in whole], len(members)):
            its = (one.path, number, one.content_hash, one.size_bytes, one.mtime_ns, one.width_px, one.height_px)
            members.append(Member(*its))
        codes.append(batch[whole])
    return sorted(members, key=lambda one: os.fsencode(one.path)), np.concatenate(codes)


def by_content(members: Sequence[Member], known: Known) -> list[list[Member]]:
    """Files of equal bytes, grouped; files and groups are ordered by path.

    The index proposes them by XXH3, which can be forged. So they are read again.
    """
    alike = Counter(one.content_hash for one in members)
    same: dict[object, list[Member]] = {}
    for one in members:
        content: object = one.content_hash
        if alike[one.content_hash] > 1:
            content = (one.content_hash, its.content_hash if (its := known.of(one)) else one.path)
        same.setdefault(content, []).append(one)
    return list(same.values())


def by_samples(contents: Sequence[list[Member]], codes: Floats, pool: DecoderPool) -> tuple[list[Picture], Floats]:
    """Contents of the same stored samples, joined, and the codes (n, d) of these pictures. All codes are given.

    Equal samples have equal codes, so only files of equal codes are read.
    """
    rows = [content[0].number for content in contents]
    count = Counter(codes[row].tobytes() for row in rows)
    alike = [content[0].path for content, row in zip(contents, rows, strict=True) if count[codes[row].tobytes()] > 1]
    digests = digests_of(alike, pool)
    same: dict[object, Picture] = {}
    for content in contents:
        same.setdefault(digests.get(content[0].path) or content[0].path, []).append(content)
    return list(same.values()), codes[[picture[0][0].number for picture in same.values()]]


def of_files(pictures: Sequence[Picture]) -> list[Picture]:
    """The same pictures with their files of this machine alone: what is in a store or an archive neither goes nor
    stands for another. A picture without any has one content without files.
    """
    here = [[[one for one in content if is_file(one.path)] for content in picture] for picture in pictures]
    return [[content for content in picture if content] or [[]] for picture in here]
