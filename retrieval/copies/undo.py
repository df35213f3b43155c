"""Undo a plan that was carried out: bring moved and trashed files back, and mend what a killed process left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from retrieval.copies.alone import acting
from retrieval.copies.contents import digest, holds, is_linked
from retrieval.copies.held import Folder, Left, hold
from retrieval.copies.journal import Entry, read_journal
from retrieval.copies.moving import aside, carry, last_look, name_anew, remove, unfinished
from retrieval.copies.results import Act, telling
from retrieval.copies.trash import IS_READABLE, Trash

if TYPE_CHECKING:
    from retrieval.library import Library


def undo(journal: str | os.PathLike[str], library: Library | None = None) -> Iterator[Act]:
    """Bring back moved and trashed files, the last one first. Yields the result for each.

    ``library`` is told which files of the journal are gone. Those that come back, its next update adds.

    Raises:
        PlanError: the file is not a journal that this program wrote for this user, or it is empty; or another process
            acts on files.
        IndexBusy, IndexUnwritable: ``library`` cannot be told.
    """
    with acting(), telling(library) as tell:
        entries, trash = read_journal(journal), Trash()
        try:
            for entry in reversed(entries):
                settle(entry, trash)
            once: dict[tuple[str, ...], Entry] = {}
            for entry in reversed(entries):
                once.setdefault((entry.action, entry.path, entry.to, entry.content_hash), entry)
            for entry in once.values():
                yield reported(entry, lambda entry=entry: bring_back(entry, trash))  # type: ignore[misc]
        finally:
            tell([entry.path for entry in entries])


def reported(entry: Entry, act: Callable[[], bool]) -> Act:
    """The result of bringing back one file."""
    try:
        was_moved = act()
    except Left as left:
        return Act("undo", entry.path, entry.to, left.reason, failed=left.failed)
    except OSError as error:
        return Act("undo", entry.path, entry.to, f"cannot be done: {error.strerror or error}", failed=True)
    return Act("undo", entry.path, entry.to, before=not was_moved)


def bring_back(entry: Entry, trash: Trash) -> bool:
    """Undo an act. Returns whether anything was left to do.

    Raises:
        Left: that is not possible.
        OSError: the system refuses.
    """
    if entry.action not in ("move", "trash"):
        raise Left(f"what was done by {entry.action} cannot be undone")
    place, note = (entry.to, "") if entry.action == "move" else trash.found(entry.path, entry.content_hash)
    is_there = holds(entry.path, entry.content_hash)
    is_elsewhere = bool(place) and os.path.lexists(place)
    if not is_elsewhere:
        if not is_there:
            raise Left("it is no longer where it was put" if IS_READABLE else "put it back from the desktop's trash")
    elif not is_there and os.path.lexists(entry.path):
        raise Left("another file stands in its place")
    else:
        _return(entry, place, is_there)
    for one in [note] if note else [one.note for one in trash.notes(entry.path) if not os.path.lexists(one.place)]:
        with contextlib.suppress(OSError):
            os.unlink(one)  # else the desktop shows a file that is no longer there
    return is_elsewhere


def _return(entry: Entry, place: str, is_there: bool) -> None:
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(hold(place, linked=entry.action != "move"))
        if digest(held.handle) != entry.content_hash:
            raise Left(f"{place} was changed since")
        above, name = os.path.split(entry.path)
        if is_there:  # killed between the two halves of a move
            kept = stack.enter_context(hold(entry.path))
            remove(held, entry.token, lambda: last_look(kept, twin=True))
        else:
            carry(held, stack.enter_context(Folder(os.path.realpath(above), create=True)), name, entry.token)


def settle(entry: Entry, trash: Trash) -> None:
    """Finish what a killed process was doing with the names of its own, or take it back. What cannot be is left."""
    place = entry.to
    if entry.action == "trash":
        place = next((one.place for one in trash.notes(entry.path)), "")
    for here, there in ((entry.path, place), (place, entry.path)):
        with contextlib.suppress(OSError, Left):
            if here:
                _settle(entry, here, there)


def _settle(entry: Entry, here: str, there: str) -> None:
    above, name = os.path.split(here)
    with Folder(os.path.realpath(above)) as folder:
        if folder.facts(unfinished(entry.token)) is not None:
            folder.unlink(unfinished(entry.token))
        if folder.facts(aside(entry.token)) is None:
            return
        if _is_done(entry, there):
            folder.unlink(aside(entry.token))
        elif folder.facts(name) is None:
            name_anew(folder, aside(entry.token), name)


def _is_done(entry: Entry, there: str) -> bool:
    """Whether nothing but the end of an act is missing: the file is where it should be, or the link is made."""
    if entry.action in ("hardlink", "symlink"):
        return is_linked(entry.path, entry.keep)
    return entry.action != "delete" and bool(there) and holds(there, entry.content_hash)
