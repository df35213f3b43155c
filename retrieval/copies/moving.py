"""Move and remove a held file, never another one that took its name, and never over another file.

A name is removed in three steps: the file is renamed to a name of our own, then it is looked at, and if it is the held
file, it is unlinked; else it gets its name back. So a file that took the name meanwhile, such as an edited picture that
was saved, is not lost. A process that is killed between the steps leaves names of our own, which the journal knows.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

from retrieval.copies.contents import BLOCK_BYTES, digest
from retrieval.copies.held import CLOSED_TO_RENAME, Folder, Held, Left, is_same, is_unchanged
from retrieval.pictures.files import PART

CHANGED = "it was changed meanwhile"
KEPT_CHANGED = "the kept one was changed meanwhile"


def aside(token: str) -> str:
    """The name of a file that is about to go."""
    return f"aside-{token}{PART}"


def unfinished(token: str) -> str:
    """The name of a copy on another disk that is not complete."""
    return f"copy-{token}{PART}"


def remove(held: Held, token: str, last_look: Callable[[], object] = lambda: None) -> None:
    """Remove the name of a held file. ``last_look`` is called just before, and may raise Left.

    Raises:
        Left: the name was given to another file meanwhile, or ``last_look`` says so. All is as it was.
        OSError: the system refuses.
    """
    with _set_aside(held, token):
        last_look()
        held.folder.unlink(aside(token))


def carry(held: Held, folder: Folder, name: str, token: str, last_look: Callable[[], object] = lambda: None) -> None:
    """Move a held file to a new name, which is there before the old one goes. Raises as ``remove``."""
    try:
        folder.link(held.folder, held.name, name)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOENT):
            raise
        _copy(held, folder, name, token)  # another disk, or one without hard links
    else:
        if not is_same(folder.facts(name), held.facts):
            folder.unlink(name)
            raise Left(CHANGED)
    made = folder.facts(name)
    try:
        remove(held, token, last_look)
    except BaseException:
        if made is not None and held.is_still() and is_same(folder.facts(name), made):
            with contextlib.suppress(OSError):
                folder.unlink(name)  # the old name stays, so the new one goes
        raise


def replace(copy: Held, keep: Held, token: str, link: Callable[[Folder, str], None]) -> None:
    """Put what ``link`` makes, which must lead to ``keep``, in the place of ``copy``. Raises as ``remove``."""
    with _set_aside(copy, token):
        link(copy.folder, copy.name)
        if not is_same(copy.folder.end_of(copy.name), keep.facts):
            copy.folder.unlink(copy.name)
            raise Left(KEPT_CHANGED)
        copy.folder.unlink(aside(token))


def name_anew(folder: Folder, name: str, new: str) -> None:
    """Give a file another name in its folder.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        folder.link(folder, name, new)
    except OSError as error:
        if folder.facts(new) is not None:
            raise FileExistsError(errno.EEXIST, f"{os.path.join(folder.path, new)} is another file") from error
        folder.rename(name, new)  # a disk without hard links
    else:
        folder.unlink(name)


def last_look(kept: Held | None, twin: bool = False) -> None:
    """The kept file must be there to the last moment, and as it was compared.

    ``twin``: it may be what goes under another name; then its change time is that of the act.
    """
    if kept is None:
        return
    now = kept.folder.facts(kept.name)
    as_compared = now is not None and is_unchanged(now, kept.facts)
    if now is None or not as_compared or not (twin or now.st_ctime_ns == kept.facts.st_ctime_ns):
        raise Left(KEPT_CHANGED)


@contextlib.contextmanager
def _set_aside(held: Held, token: str) -> Iterator[None]:
    """Give a held file a name of our own. If that or the body fails, it gets its own name back."""
    if not held.is_still():
        raise Left(CHANGED)
    if CLOSED_TO_RENAME:
        held.close()
    folder, part = held.folder, aside(token)
    try:
        folder.rename(held.name, part)
        now = folder.facts(part)
        if now is None or not is_unchanged(now, held.facts):
            raise Left(CHANGED)
        yield
    except BaseException as error:
        try:
            _put_back(folder, part, held.name)
        except Left:
            if isinstance(error, Exception):  # else it was interrupted, which must not be hidden
                raise
        raise


def _put_back(folder: Folder, part: str, name: str) -> None:
    if folder.facts(part) is None:
        return
    try:
        name_anew(folder, part, name)
    except OSError as error:
        raise Left(f"it has lost its name; it is {os.path.join(folder.path, part)}", failed=True) from error


def _copy(held: Held, folder: Folder, name: str, token: str) -> None:
    """Copy a held file, with its dates, under a name of our own. Name it when every byte is on the disk."""
    part = unfinished(token)
    handle = folder.create(part)
    try:
        with open(handle, "r+b") as target:
            with open(held.handle, "rb", closefd=False) as source:
                source.seek(0)
                shutil.copyfileobj(source, target, BLOCK_BYTES)
            target.flush()
            _copy_facts(held, handle, os.path.join(folder.path, part))
            os.fsync(handle)
            if digest(handle) != digest(held.handle):
                raise Left(CHANGED)
        name_anew(folder, part, name)
    except BaseException:
        with contextlib.suppress(OSError):
            folder.unlink(part)
        raise
    folder.flush()


def _copy_facts(held: Held, handle: int, path: str) -> None:
    ends: tuple[Any, Any] = (held.handle, handle) if sys.platform == "linux" else (held.path, path)
    shutil.copystat(*ends)
