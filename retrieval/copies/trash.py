"""The trash of the desktop: put files into it, and find them again in a trash of freedesktop.org."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from retrieval.copies.contents import holds
from retrieval.copies.held import CLOSED_TO_RENAME, Held, Left, is_same

INFO = ".trashinfo"
LONGEST_NOTE_BYTES = 1 << 17
IS_READABLE = sys.platform not in ("darwin", "win32")  # elsewhere it is the desktop's affair


class Trashed(NamedTuple):
    """A file in a trash, and the note that says where it was."""

    time_ns: int
    place: str
    note: str


class Trash:
    """All trashes of this user. Each is read once, when it is first needed."""

    def __init__(self) -> None:
        self._read: dict[str, dict[str, list[Trashed]]] = {}

    def take(self, copy: Held, content_hash: str) -> None:
        """Put a held file into the trash.

        Raises:
            Left: there is no trash, it refuses the file, or the file is not found in it.
        """
        if not os.path.isabs(os.path.expanduser("~")):
            raise Left("this user has no home, and so no trash", failed=True)
        if CLOSED_TO_RENAME:
            copy.close()
        try:
            from send2trash import send2trash

            send2trash(copy.path)
        except OSError as error:
            raise Left(f"the trash cannot take it: {error.strerror or error}", failed=True) from error
        if os.path.lexists(copy.path):
            raise Left("the trash did not take it, or there is a new file in its place", failed=True)
        if IS_READABLE and not _landed(copy, content_hash):
            raise Left("the trash took it, but it is not found there", failed=True)

    def found(self, path: str, content_hash: str) -> tuple[str, str]:
        """Paths of the newest file with this content that a trash holds for ``path``, and of its note, or ""."""
        for one in self.notes(path):
            if holds(one.place, content_hash):
                return one.place, one.note
        return "", ""

    def notes(self, path: str) -> list[Trashed]:
        """What the trashes say of ``path``, the newest first; the files may be gone."""
        above, name = os.path.split(path)
        names = dict.fromkeys((path, os.path.join(os.path.realpath(above), name)))
        trashes = _trashes(above)
        for trash in trashes:
            if trash not in self._read:
                self._read[trash] = _listing(trash)
        return sorted(
            (one for trash in trashes for name in names for one in self._read[trash].get(name, [])), reverse=True
        )


def _listing(trash: str) -> dict[str, list[Trashed]]:
    """What a trash holds, by the path that each file had. What cannot be read or understood is left out."""
    found: dict[str, list[Trashed]] = {}
    try:
        with os.scandir(os.path.join(trash, "info")) as notes:
            paths = [one.path for one in notes if one.name.endswith(INFO)]
    except OSError:
        return found
    for path in paths:
        with contextlib.suppress(OSError):
            text, time_ns = _note(path)
            place = os.path.join(trash, "files", os.path.basename(path).removesuffix(INFO))
            for line in text.splitlines():
                if line.startswith(b"Path="):
                    name = os.fsdecode(unquote_to_bytes(line[5:].strip()))
                    whole = os.path.normpath(os.path.join(os.path.dirname(_top(trash)), name))
                    found.setdefault(whole, []).append(Trashed(time_ns, place, path))
                    break
    return found


def _note(path: str) -> tuple[bytes, int]:
    """The bytes and the date of a note, which must be a regular file."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(path, flags), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise OSError("no regular file")
        return file.read(LONGEST_NOTE_BYTES), facts.st_mtime_ns


def _landed(copy: Held, content_hash: str) -> bool:
    """Whether a file that was just put into the trash is there: under its name, or with a number added."""
    folders = [os.path.join(trash, "files") for trash in _trashes(copy.folder.path)]
    places = [place for folder in folders for place in _names_in(folder, copy.name)]
    if any(is_same(os.lstat(place), copy.facts) for place in places):
        return True
    sized = [place for place in places if os.lstat(place).st_size == copy.facts.st_size]
    return any(holds(place, content_hash) for place in reversed(sized)) or _holds_number(folders, copy)


def _names_in(folder: str, name: str) -> Iterator[str]:
    stem, suffix = os.path.splitext(name)
    number, place = 0, os.path.join(folder, name)
    note = os.path.join(os.path.dirname(folder), "info")
    while os.path.lexists(place) or os.path.lexists(os.path.join(note, os.path.basename(place) + INFO)):
        if os.path.lexists(place):
            yield place
        number += 1
        place = os.path.join(folder, f"{stem} {number}{suffix}")


def _holds_number(folders: list[str], copy: Held) -> bool:
    """Whether a folder holds the file itself under any name: desktops number equal names in their own ways."""
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            if any(one.inode() == copy.facts.st_ino and is_same(os.lstat(one.path), copy.facts) for one in entries):
                return True
    return False


def _trashes(folder: str) -> list[str]:
    """The trashes that a file of this folder may be in: of the user, and of the disk."""
    home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    owned = [os.path.join(home, "Trash")] if os.path.isabs(home) else []
    if not hasattr(os, "getuid"):
        return owned
    names = (f".Trash-{os.getuid()}", os.path.join(".Trash", str(os.getuid())))
    return owned + [os.path.join(top, name) for top in _tops(os.path.realpath(folder)) for name in names]


def _top(trash: str) -> str:
    """The folder whose own folder a note's relative path begins at: the trash, or ``.Trash`` above that of a user."""
    return os.path.dirname(trash) if os.path.basename(os.path.dirname(trash)) == ".Trash" else trash


def _tops(folder: str) -> tuple[str, ...]:
    """Mount points at or above a folder."""
    above = os.path.dirname(folder)
    return ((folder,) if os.path.ismount(folder) else ()) + (() if above == folder else _tops(above))
