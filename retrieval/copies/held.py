"""Folders and files, held open: what is checked is what is acted on, whatever is put in place of a name meanwhile.

Names are looked up in an open folder (the ``dir_fd`` of POSIX), and the last part of a path is never followed if it is
a link. Windows has neither; there, paths are used, and the files are compared by their numbers alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

BY_HANDLE = {os.open, os.link, os.rename, os.unlink, os.symlink, os.mkdir, os.stat} <= os.supports_dir_fd
CLOSED_TO_RENAME = os.name == "nt"  # there, an open file has no other name
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_READ = os.O_RDONLY | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # pipes do not hang
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW | getattr(os, "O_BINARY", 0)
_ENTER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | _NOFOLLOW


class Left(Exception):
    """Why a file is left alone. ``failed``: not because it changed, but because the system refused."""

    def __init__(self, reason: str, failed: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.failed = reason, failed


class Folder:
    """An open folder. ``path`` has no links in it: each of its parts is entered, and none is followed.

    With ``create``, missing folders are made, for this user alone.

    Raises:
        OSError: a part is missing, is no folder, or is a link.
    """

    def __init__(self, path: str, create: bool = False) -> None:
        self.path = path
        self._handle = _enter(path, create) if BY_HANDLE else None
        if self._handle is None and create:
            os.makedirs(path, 0o700, exist_ok=True)

    def facts(self, name: str) -> os.stat_result | None:
        """The facts of a name itself, not of the end of a link; None if there is no such name."""
        try:
            return os.stat(self._at(name), follow_symlinks=False, **self._here())
        except FileNotFoundError:
            return None

    def end_of(self, name: str) -> os.stat_result:
        """The facts of the file that a name leads to, through links."""
        return os.stat(self._at(name), **self._here())

    @contextlib.contextmanager
    def hold(self, name: str) -> Iterator[Held]:
        """Hold a regular file open.

        Raises:
            OSError: there is none, or it cannot be read.
        """
        handle = os.open(self._at(name), _READ, **self._here())
        held = Held(self, name, handle, os.fstat(handle))
        try:
            if not stat.S_ISREG(held.facts.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            yield held
        finally:
            held.close()

    def create(self, name: str) -> int:
        """A new file, for this user alone, open to write and read."""
        return os.open(self._at(name), _CREATE, 0o600, **self._here())

    def link(self, source: Folder, name: str, new: str) -> None:
        """Give the file ``name`` of the folder ``source`` another name here, which must be free."""
        folders = {"src_dir_fd": source._handle, "dst_dir_fd": self._handle} if BY_HANDLE else {}
        os.link(source._at(name), self._at(new), follow_symlinks=False, **folders)

    def symlink(self, target: str, name: str) -> None:
        os.symlink(target, self._at(name), **self._here())  # noqa: PTH211 - a Path knows no open folder

    def rename(self, name: str, new: str) -> None:
        folders = {"src_dir_fd": self._handle, "dst_dir_fd": self._handle} if BY_HANDLE else {}
        os.rename(self._at(name), self._at(new), **folders)

    def unlink(self, name: str) -> None:
        os.unlink(self._at(name), **self._here())

    def flush(self) -> None:
        """Flush the names to disk, where that can be."""
        with contextlib.suppress(OSError):
            handle = os.open(self._at(os.curdir), os.O_RDONLY, **self._here())
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._handle is not None:
            os.close(self._handle)

    def _at(self, name: str) -> str:
        return name if self._handle is not None else os.path.join(self.path, name)

    def _here(self) -> dict[str, Any]:
        return {} if self._handle is None else {"dir_fd": self._handle}


@dataclass
class Held:
    """A regular file, held open, its name in a folder, and its facts when it was opened."""

    folder: Folder
    name: str
    handle: int
    facts: os.stat_result

    @property
    def path(self) -> str:
        return os.path.join(self.folder.path, self.name)

    def is_still(self) -> bool:
        """Whether the name still leads to this file, and the file has the size and date that it had."""
        now = self.folder.facts(self.name)
        return now is not None and is_unchanged(now, self.facts)

    def close(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
        self.handle = -1


@contextlib.contextmanager
def hold(path: str, linked: bool = True) -> Iterator[Held]:
    """Hold the regular file at ``path`` open. If not ``linked``, no folder above it may be a link; itself never may.

    Raises:
        OSError: there is none, or it cannot be read.
    """
    above, name = os.path.split(path)
    with Folder(os.path.realpath(above) if linked else above) as folder, folder.hold(name) as held:
        yield held


def is_same(a: os.stat_result | None, b: os.stat_result) -> bool:
    """Whether two facts are of one file."""
    return a is not None and (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)


def is_unchanged(now: os.stat_result, then: os.stat_result) -> bool:
    """Whether facts are of the same file, with the same size and date of its content."""
    return is_same(now, then) and (now.st_size, now.st_mtime_ns) == (then.st_size, then.st_mtime_ns)


def _enter(path: str, create: bool) -> int:
    """Open a folder from the root on, part by part."""
    handle = os.open(os.sep, _ENTER)
    for part in Path(path).parts[1:]:
        try:
            inner = _entered(part, handle, create)
        finally:
            os.close(handle)
        handle = inner
    return handle


def _entered(part: str, handle: int, create: bool) -> int:
    try:
        return os.open(part, _ENTER, dir_fd=handle)
    except FileNotFoundError:
        if not create:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(part, 0o700, dir_fd=handle)
    return os.open(part, _ENTER, dir_fd=handle)
