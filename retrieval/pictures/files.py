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

from index.records import READ_AGAIN
from retrieval.pictures.leaving_out import IGNORE_NAME, LeftOut, Rules, chosen_patterns, rules_of, system_folder

JUNK_NAMES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
PART = ".latent-part"  # ends the names of files that are being moved or removed; a killed process may leave some
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})  # a dangling link, or deleted after its folder was listed
FIRST_NS, LAST_NS = -(2**63), 2**63 - 1  # dates from 1677 to 2262; a file system may hold others


class Part(NamedTuple):
    """Where the bytes of a picture are that is no file: an object of a store, ``length`` bytes at ``offset`` in an
    archive, or row ``offset`` of a table. ``length`` is None if it is not known.
    """

    source: str
    offset: int = 0
    length: int | None = None


class FoundFile(NamedTuple):
    """A file as its folder lists it: path, size in bytes, times in nanoseconds.

    ``part`` if it is no file of this machine. Its ``ctime_ns`` is then whatever changes with its content.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    part: Part | None = None


def date_ns(date: int) -> int:
    """A date of a file in nanoseconds, as an index stores it: in 64 bits, and never ``READ_AGAIN``."""
    return 0 if date == READ_AGAIN else min(max(date, FIRST_NS), LAST_NS)


def find_images(
    root: str | Path,
    unreadable: Callable[[str], None] | None = None,
    *,
    left_out: Iterable[str | Path] = (),
    within: str | Path | None = None,
    outside: Callable[[str], None] | None = None,
    follow_links: bool = False,
    exclude: Iterable[str] = (),
    tally: LeftOut | None = None,
) -> Iterator[FoundFile]:
    """Yield every file below ``root`` that may be a picture, ordered by the bytes of the names.

    Hidden files and folders, files of desktops (``._*``, ``Thumbs.db``) and the folders ``left_out`` are skipped. So
    are folders in which programs keep their own copies (``leaving_out.SYSTEM_FOLDERS``), what files ``.latentignore``
    name in gitignore's grammar, and what the patterns ``exclude`` name; these are counted in ``tally``.
    Links to folders are followed last, and no folder is entered twice, so loops end and a folder is listed under its
    own name. Links that lead out of the folder ``within``, by default ``root``, are followed only with
    ``follow_links``; otherwise ``outside`` is called with each of them. ``unreadable`` is called with each folder that
    cannot be listed, and with each entry of a folder that cannot be entered.

    Raises:
        FileNotFoundError, NotADirectoryError: ``root`` is not a folder.
        ValueError: one of ``exclude`` is no pattern.
    """
    first = os.stat(root)
    if not stat.S_ISDIR(first.st_mode):
        raise NotADirectoryError(f"{os.fsdecode(root)} is not a folder")
    seen = {(facts.st_dev, facts.st_ino) for facts in (first, *_existing(left_out))}
    bounds = None if follow_links else os.path.join(os.path.realpath(os.fsdecode(within or root)), "")
    tally = LeftOut() if tally is None else tally
    rules = rules_of(os.fsdecode(within or root), os.fsdecode(root), chosen_patterns(exclude), tally)
    walk = _Walk(seen, bounds, unreadable or _ignore, outside or _ignore, tally)
    yield from walk.through(os.fsdecode(root), rules)


def _ignore(path: str) -> None:
    """What is reported to nobody."""


class _Level(NamedTuple):
    """The entries of a folder that are still to be seen, and the rules that hold there."""

    entries: Iterator[os.DirEntry[str]]
    rules: Rules


class _Walk:
    """A walk that enters no folder in ``seen``, and follows links only into ``bounds`` (None: anywhere)."""

    def __init__(
        self,
        seen: set[tuple[int, int]],
        bounds: str | None,
        unreadable: Callable[[str], None],
        outside: Callable[[str], None],
        tally: LeftOut,
    ) -> None:
        self._seen, self._bounds, self._unreadable, self._outside = seen, bounds, unreadable, outside
        self._tally = tally
        self._links: deque[tuple[str, Rules]] = deque()

    def through(self, root: str, rules: Rules) -> Iterator[FoundFile]:
        levels = [self._listing(root, rules)]  # a stack, because folders nest deeper than Python recurses
        while levels or self._links:
            if not levels:
                levels.append(self._linked(*self._links.popleft()))
            entry = next(levels[-1].entries, None)
            if entry is None:
                levels.pop()
                continue
            try:
                found = self._look_at(entry, levels[-1].rules)
            except OSError as error:
                self._report(entry.path, error)
                continue
            if isinstance(found, FoundFile):
                yield found
            elif found is not None:
                levels.append(found)

    def _report(self, path: str, error: OSError) -> None:
        if error.errno not in GONE:
            self._unreadable(path)

    def _linked(self, link: str, rules: Rules) -> _Level:
        try:
            return self._entered(link, rules)
        except OSError as error:
            self._report(link, error)
            return _Level(iter(()), rules)

    def _look_at(self, entry: os.DirEntry[str], rules: Rules) -> FoundFile | _Level | None:
        """The entry as a file, as the entries of a folder, or None if it is neither or must wait."""
        facts, is_link = entry.stat(), entry.is_symlink()
        is_folder = stat.S_ISDIR(facts.st_mode)
        if not is_folder and not stat.S_ISREG(facts.st_mode):
            return None
        if rules.leave_out(entry.path, is_folder, self._tally):
            return None
        if is_link and not self._allows(entry.path):
            self._outside(entry.path)
            return None
        if is_link and is_folder:
            self._links.append((entry.path, rules))
            return None
        if is_folder:
            return self._entered(entry.path, rules)
        return FoundFile(entry.path, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)

    def _allows(self, link: str) -> bool:
        """Whether the target of a link is in bounds."""
        return self._bounds is None or os.path.join(os.path.realpath(link), "").startswith(self._bounds)

    def _entered(self, folder: str, rules: Rules) -> _Level:
        """The folder's entries, or none if it was entered before."""
        facts = os.stat(folder)  # not the entry's own stat, which has no inode on Windows
        if (facts.st_dev, facts.st_ino) in self._seen:
            return _Level(iter(()), rules)
        self._seen.add((facts.st_dev, facts.st_ino))
        return self._listing(folder, rules)

    def _listing(self, folder: str, rules: Rules) -> _Level:
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
        except OSError:
            self._unreadable(folder)
            entries = []
        if any(entry.name == IGNORE_NAME for entry in entries):
            rules = rules.inside(folder, self._tally)
        return _Level((entry for entry in entries if not self._is_junk(entry)), rules)

    def _is_junk(self, entry: os.DirEntry[str]) -> bool:
        if not is_junk(entry.name):
            return False
        if (name := system_folder(entry.path)) and entry.is_dir(follow_symlinks=False):
            self._tally.system_folders[name] += 1
        return True


def _existing(folders: Iterable[str | Path]) -> Iterator[os.stat_result]:
    for folder in folders:
        with suppress(OSError):
            yield os.stat(folder)


def is_junk(name: str) -> bool:
    """Whether files and folders of that name are left out: hidden ones, those of desktops, and parts of files."""
    return name.startswith(".") or name.endswith(PART) or name.lower() in JUNK_NAMES
