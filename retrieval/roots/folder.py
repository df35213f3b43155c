"""A folder of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from retrieval.errors import PathError, RootUnreadable
from retrieval.pictures.files import FoundFile, find_images
from retrieval.roots.root import Looking

GONE = "folder_gone"  # code of the error of a folder that is just not there


@dataclass(frozen=True)
class Folder:
    """A folder and all below it. Its pictures are files, which other programs can open, and which may be removed."""

    address: str

    def check(self) -> None:
        if not os.path.isdir(self.address):
            raise PathError(f"{self.address} is not a folder of pictures")

    def is_there(self, folder: str) -> bool:
        return os.path.isdir(folder)

    def find(self, folder: str, looking: Looking) -> Iterator[FoundFile]:
        if not os.path.isdir(folder):
            raise RootUnreadable(f"{folder} is not there", code=GONE)
        return find_images(
            folder,
            looking.unreadable.append,
            left_out=looking.left_out,
            within=self.address,
            outside=looking.outside.append,
            follow_links=looking.follow_links,
            exclude=looking.exclude,
            tally=looking.tally,
        )

    def facts(self, paths: Sequence[str]) -> list[FoundFile | None]:
        return [file_facts(path) for path in paths]


def file_facts(path: str | os.PathLike[str]) -> FoundFile | None:
    """Size and dates of a file; None if it is not there."""
    try:
        its = os.stat(path)
    except (OSError, ValueError):
        return None
    return FoundFile(os.fspath(path), its.st_size, its.st_mtime_ns, its.st_ctime_ns)
