"""The files that SQLite is given: plain ones in the index's own folder, and no journal that leads it to others.

A stranger's index may hold any bytes. SQLite rolls back a journal that it finds beside a database, and deletes the
super-journal that such a journal names (https://sqlite.org/atomiccommit.html). A catalog never has one, since nothing
here attaches a second database; nor has it a write-ahead log.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from index.errors import IndexDamaged

SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")  # ends a journal that names a super-journal
SUPER_TAIL_BYTES = 16  # the length of the name, its checksum, and these eight bytes
NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def check_files(path: Path) -> None:
    """Refuse what SQLite must not open as, or find beside, the catalog at ``path``.

    Neither is a catalog opened here: closing it would release the locks of all connections of this process.

    Raises:
        IndexDamaged: catalog or journal is a link or no plain file; there is a write-ahead log, or a super-journal.
    """
    _check_is_plain(path)
    if os.path.lexists(log := f"{path}-wal"):
        raise _refused(f"{log} is a write-ahead log, which no index has")
    journal = Path(f"{path}-journal")
    if os.path.lexists(journal):
        _check_is_plain(journal)
        if _tail(journal).endswith(SUPER_JOURNAL):
            raise _refused(f"{journal} names another file, which SQLite would delete")


def check_own(folder: Path, names: tuple[str, ...]) -> None:
    """Refuse links, pipes and devices under the names of an index's own files and folders.

    Raises:
        IndexDamaged: one of ``names`` in ``folder`` is neither a file nor a folder.
    """
    for name in names:
        with suppress(OSError):
            mode = os.lstat(folder / name).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise _refused(f"{folder / name} is a link or no plain file, and the files of an index are its own")


def make_new(path: Path) -> None:
    """Make an empty file for a database, readable by this user alone, in place of what a killed process left there.

    Raises:
        OSError: it cannot be made.
    """
    for leftover in (path, f"{path}-journal", f"{path}-wal", f"{path}-shm"):
        with suppress(FileNotFoundError):
            os.unlink(leftover)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | NO_LINKS, 0o600))


def _check_is_plain(path: Path) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise _refused(f"{path} is a link or no plain file")


def _tail(journal: Path) -> bytes:
    """The last bytes of a journal; none if a writer has just finished with it, or nobody may read it."""
    with suppress(FileNotFoundError, PermissionError):
        handle = os.open(journal, os.O_RDONLY | NO_LINKS)
        with open(handle, "rb") as file:
            file.seek(max(0, os.fstat(handle).st_size - SUPER_TAIL_BYTES))
            return file.read(SUPER_TAIL_BYTES)
    return b""


def _refused(reason: str) -> IndexDamaged:
    return IndexDamaged(f"{reason}; the index is not opened. Delete that file if you know it, or use another index")
