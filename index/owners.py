"""Whose index it is. An index acts for its user: its model runs, the folders that it names are read and updated.

So an index is believed if this user's own program made it here, or if the user said so (``trust``). Both are noted in
the folder of this user's key. An index that lies in a shared or downloaded folder has no such note. It is not taken
only because it lies in the current folder or above it; and if it belongs to another user, it is not opened at all
(as git's safe.directory).
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from index.atomic import write
from index.errors import NotTrusted
from index.trust import user_folder

NOTES = "indexes"
ROOT = 0  # who is root can do anything without planting an index

Owners = list[int]
"""User ids of the folder that holds an index, of the index, and of its catalog, as far as they exist."""


def check_owner(folder: Path) -> None:
    """Check that an index, its catalog and the folder that holds it belong to this user, or are trusted as they are.

    Raises:
        NotTrusted: they belong to somebody else.
    """
    mine = {ROOT, *_own_ids()}
    for place, owner in enumerate(_owners(folder)):
        if owner not in mine and _noted(folder)[place : place + 1] != [owner]:
            named = [folder.parent, folder, folder / "catalog.db"][place]
            raise NotTrusted(
                f"{named} belongs to another user ({_name_of(owner)}), who could make an index there do anything for "
                "you, so it is not opened",
                code="other_owner",
                folder=str(folder),
            )


def is_known(folder: Path | str) -> bool:
    """Whether this user's program made the index here, or this user trusts it."""
    return bool(_noted(folder))


def can_note() -> bool:
    """Whether there is a place for these notes."""
    return user_folder() is not None


def trust(folder: Path | str, owners: Owners | None = None) -> None:
    """Note that this user made or trusts the index at ``folder``, with its owners as they are.

    Another name than that of a folder is noted with the given ``owners``.

    Raises:
        OSError: the note cannot be written, or there is no place for it.
    """
    note = _note(folder)
    if note is None:
        raise OSError(None, "there is no folder for notes of this user")
    note.parent.mkdir(mode=0o700, exist_ok=True)
    write(note, " ".join(map(str, owners or _owners(Path(folder)))) + f"\n{folder}\n")


def forget(folder: Path | str) -> None:
    """Undo ``trust``."""
    if (note := _note(folder)) is not None:
        note.unlink(missing_ok=True)


def _note(folder: Path | str) -> Path | None:
    place = user_folder()
    return place and place / NOTES / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()}.txt"


def _noted(folder: Path | str) -> Owners:
    """The owners that this user has seen at the index; none if there is no note."""
    note = _note(folder)
    with suppress(OSError, ValueError):
        if note is not None:
            return [int(owner) for owner in note.read_bytes().partition(b"\n")[0].split()]
    return []


def _owners(folder: Path) -> Owners:
    owners: Owners = []
    with suppress(FileNotFoundError):
        for path in (folder.parent, folder, folder / "catalog.db"):
            owners.append(os.lstat(path).st_uid)
    return owners


def _own_ids() -> set[int]:
    """This user; and who called sudo, whose files root works on."""
    me, caller = os.getuid(), os.environ.get("SUDO_UID", "")
    return {me, int(caller)} if me == ROOT and caller.isdecimal() else {me}


def _name_of(owner: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return f"user id {owner}"
