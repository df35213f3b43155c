"""Carry out a plan for copies, and undo it.

Before each act both files are compared with the plan: size, date, and a hash of every byte. A changed file is left
alone. Each act is written to a journal, and flushed to disk, before it is done. So a process that is killed at any
moment leaves every picture in at least one place, and the same command again, or an undo, continues.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from retrieval.copies.plan import FileFacts, Plan
from retrieval.defaults import ACTIONS, Action
from retrieval.errors import PlanError
from retrieval.pictures.workers import hash_of

PART = ".latent-part"


@dataclass(frozen=True)
class Entry:
    """A line of the journal: the next act, on ``path``, which is a copy of ``keep``."""

    action: Action
    path: str
    keep: str
    to: str
    content_hash: str


@dataclass(frozen=True)
class Act:
    """The result for one file. ``left`` is why it was left alone, "" if the act was done, or could be in a dry run."""

    action: Action | Literal["undo"]
    path: str
    to: str = ""
    left: str = ""
    size_bytes: int = 0


def apply_plan(
    plan: Plan,
    action: Action,
    journal: str | os.PathLike[str],
    *,
    to: str | os.PathLike[str] | None = None,
    dry_run: bool = True,
) -> Iterator[Act]:
    """Do ``action`` to every file that the plan removes, one after another. Yields the result for each.

    Args:
        action: "move" into the folder ``to``, with the whole path; "trash" of the desktop; "hardlink" or "symlink"
            to the kept file in place of the copy; or "delete".
        journal: a file that records each act as one JSON line; lines are appended.
        dry_run: check everything, change nothing.

    Raises:
        PlanError: "move" without a folder, or into one that holds pictures of the plan.
        OSError: the journal cannot be written. Nothing is done without it.
        ValueError: there is no such action.
    """
    if action not in ACTIONS:
        raise ValueError(f"there is no action {action!r}; there are {', '.join(ACTIONS)}")
    target = _target(plan, action, to)
    with contextlib.ExitStack() as stack:
        log = None if dry_run else stack.enter_context(open(journal, "a", encoding="utf-8", errors="surrogateescape"))
        if log is not None and log.tell() and Path(journal).read_bytes()[-1:] != b"\n":
            log.write("\n")  # a full disk cut off the last line
        for group in plan.groups:
            for path in group.remove:
                facts = plan.files[path]
                reason = _reason_to_leave(plan, group.keep, path)
                place = _place(path, target) if target else ""
                if not reason and log is not None:
                    entry = Entry(action, path, group.keep, place, facts.content_hash)
                    log.write(json.dumps(asdict(entry)) + "\n")
                    log.flush()
                    os.fsync(log.fileno())
                    try:
                        _DO[action](entry)
                    except OSError as error:
                        reason = f"cannot be done: {error.strerror or error}"
                yield Act(action, path, place, reason, 0 if reason else facts.size_bytes)


def undo(journal: str | os.PathLike[str]) -> Iterator[Act]:
    """Bring back moved and trashed files, the last one first. Yields the result for each.

    Raises:
        PlanError: the file is not a journal, or the journal is empty.
    """
    try:
        lines = Path(journal).read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except (OSError, ValueError) as error:
        raise PlanError(f"{os.fspath(journal)} cannot be read: {error}") from error
    entries = [entry for line in lines if (entry := _entry(line))]
    if not entries:
        raise PlanError(f"{os.fspath(journal)} is no journal of a plan, or none of an act")
    for entry in reversed(list(dict.fromkeys(entries))):
        yield Act("undo", entry.path, entry.to, _bring_back(entry))


def _entry(line: str) -> Entry | None:
    """Parse a line of the journal. None if a killed process or a full disk cut it off: its act was not begun."""
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _bring_back(entry: Entry) -> str:
    """Undo an act. Return the reason if that is not possible, else ""."""
    if entry.action not in ("move", "trash"):
        return f"what was done by {entry.action} cannot be undone"
    place, note = (entry.to, "") if entry.action == "move" else _in_trash(entry.path)
    is_there = _holds(entry.path, entry.content_hash)
    if not place or not os.path.lexists(place):
        return "" if is_there else "it is no longer where it was put"
    if not is_there and os.path.lexists(entry.path):
        return "another file stands in its place"
    if not _holds(place, entry.content_hash):
        return f"{place} was changed since"
    try:
        if is_there:  # killed between the two halves of a move
            os.unlink(place)
        else:
            os.makedirs(os.path.dirname(entry.path), exist_ok=True)
            _carry(place, entry.path)
        if note:
            os.unlink(note)  # else the desktop shows a file that is no longer there
    except OSError as error:
        return f"cannot be done: {error.strerror or error}"
    return ""


def _target(plan: Plan, action: Action, to: str | os.PathLike[str] | None) -> str | None:
    if action != "move":
        if to is not None:
            raise PlanError(f"a folder is for moving; {action} has no use for it", "folder_without_move")
        return None
    if to is None:
        raise PlanError("to move files, name the folder that takes them", "move_without_folder")
    target = os.path.realpath(to)
    for path in plan.files:
        if path.startswith(os.path.join(target, "")):
            raise PlanError(f"{path} lies in {target} itself; name another folder")
    return target


def _place(path: str, target: str) -> str:
    """The path that a file is moved to: its whole path, below the target."""
    return os.path.join(target, os.path.splitdrive(path)[1].lstrip("\\/"))


def _reason_to_leave(plan: Plan, keep: str, path: str) -> str:
    """Why ``path`` must not be touched now, "" if it may."""
    reason = _change(keep, plan.files[keep], "the kept one") or _change(path, plan.files[path], "it")
    if not reason and os.path.islink(path):
        return "it is a link, which takes no room"
    if not reason and os.path.samefile(keep, path):
        return "it is the kept file under another name"
    if not reason and not os.access(os.path.dirname(path), os.W_OK):
        return "its folder cannot be written"
    return reason


def _change(path: str, facts: FileFacts, role: str) -> str:
    """How a file changed since the plan was made, "" if it did not."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return f"{role} is gone"
    except OSError as error:
        return f"{role} cannot be read: {error.strerror or error}"
    as_it_was = (found.st_size, found.st_mtime_ns) == (facts.size_bytes, facts.mtime_ns)
    return "" if as_it_was and _holds(path, facts.content_hash) else f"{role} was changed since the plan was made"


def _holds(path: str, content_hash: str) -> bool:
    try:
        with open(path, "rb") as file:
            return hash_of(file).hex() == content_hash
    except OSError:
        return False


def _move(entry: Entry) -> None:
    os.makedirs(os.path.dirname(entry.to), exist_ok=True)
    if os.path.lexists(entry.to):
        if not _holds(entry.to, entry.content_hash):
            raise FileExistsError(errno.EEXIST, f"{entry.to} is another file")
        os.unlink(entry.path)  # a move that was killed between its two halves
        return
    _carry(entry.path, entry.to)


def _carry(source: str, target: str) -> None:
    """Move without ever overwriting: the new name is created before the old one is removed."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise
        part = target + PART  # another disk, or one without hard links
        shutil.copy2(source, part, follow_symlinks=False)
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.rename(part, target)
    os.unlink(source)


def _replace_by_link(entry: Entry, link: Callable[[str, str], None]) -> None:
    part = entry.path + PART
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part)
    link(entry.keep, part)
    os.replace(part, entry.path)


def _trash(entry: Entry) -> None:
    from send2trash import send2trash

    send2trash(entry.path)


def _in_trash(path: str) -> tuple[str, str]:
    """Paths of the newest file that a freedesktop.org trash holds for ``path``, and of its note, or ""."""
    from urllib.parse import unquote_to_bytes

    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "Trash"
    names = (f".Trash-{os.getuid()}", f".Trash/{os.getuid()}")
    trashes = [home, *(Path(top) / name for top in _tops(path) for name in names)]
    found = []
    for trash in trashes:
        for info in trash.glob("info/*.trashinfo"):
            lines = info.read_text(errors="replace").splitlines()
            named = next((os.fsdecode(unquote_to_bytes(line[5:])) for line in lines if line.startswith("Path=")), "")
            if path in (named, *(os.path.join(top, named) for top in _tops(path))):
                found.append((info.stat().st_mtime_ns, str(trash / "files" / info.stem), str(info)))
    return max(found)[1:] if found else ("", "")


def _tops(path: str) -> Iterator[str]:
    """Mount points above ``path``."""
    for folder in Path(path).parents:
        if os.path.ismount(folder):
            yield str(folder)


_DO: dict[Action, Callable[[Entry], None]] = {
    "move": _move,
    "trash": _trash,
    "hardlink": lambda entry: _replace_by_link(entry, lambda keep, part: os.link(os.path.realpath(keep), part)),
    "symlink": lambda entry: _replace_by_link(entry, os.symlink),
    "delete": lambda entry: os.unlink(entry.path),
}
