"""Which files below a folder may be pictures."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

JUNK_NAMES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})  # a dangling link, or deleted after its folder was listed


class FoundFile(NamedTuple):
    """A file as its folder lists it: path, size in bytes, times in nanoseconds."""

    path: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int


def find_images(
    root: str | Path, unreadable: Callable[[str], None] | None = None, *, left_out: Iterable[str | Path] = ()
) -> Iterator[FoundFile]:
    """Yield every file below ``root`` that may be a picture, ordered by the bytes of the names.

    Hidden files and folders, files of desktops (``._*``, ``Thumbs.db``) and the folders ``left_out`` are skipped.
    Links to folders are followed last, and no folder is entered twice, so loops end and a folder is listed under its
    own name. ``unreadable`` is called with each folder that cannot be listed, and with each entry of a folder that
    cannot be entered.

    Raises:
        FileNotFoundError, NotADirectoryError: ``root`` is not a folder.
    """
    first = os.stat(root)
    if not stat.S_ISDIR(first.st_mode):
        raise NotADirectoryError(f"{os.fsdecode(root)} is not a folder")
    report = unreadable or (lambda folder: None)
    seen = {(facts.st_dev, facts.st_ino) for facts in (first, *_existing(left_out))}
    levels = [_listing(os.fsdecode(root), report)]  # a stack, because folders nest deeper than Python recurses
    links: deque[str] = deque()
    while levels or links:
        if not levels:
            levels.append(_entered(links.popleft(), seen, report))
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
            continue
        try:
            facts = entry.stat()
            if stat.S_ISDIR(facts.st_mode) and entry.is_symlink():
                links.append(entry.path)
            elif stat.S_ISDIR(facts.st_mode):
                levels.append(_entered(entry.path, seen, report))
            elif stat.S_ISREG(facts.st_mode):
                yield FoundFile(entry.path, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        except OSError as error:
            if error.errno not in GONE:
                report(entry.path)


def _existing(folders: Iterable[str | Path]) -> Iterator[os.stat_result]:
    for folder in folders:
        with suppress(OSError):
            yield os.stat(folder)


def _entered(folder: str, seen: set[tuple[int, int]], unreadable: Callable[[str], None]) -> Iterator[os.DirEntry[str]]:
    """The folder's entries, or none if it was entered before."""
    facts = os.stat(folder)  # not the entry's own stat, which has no inode on Windows
    if (facts.st_dev, facts.st_ino) in seen:
        return iter(())
    seen.add((facts.st_dev, facts.st_ino))
    return _listing(folder, unreadable)


def _listing(folder: str, unreadable: Callable[[str], None]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
    except OSError:
        unreadable(folder)
        entries = []
    return (entry for entry in entries if not entry.name.startswith(".") and entry.name.lower() not in JUNK_NAMES)
