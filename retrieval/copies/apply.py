"""Carry out a plan for copies.

Both files are held open and compared, byte by byte, just before each act, and the names are looked at once more in it
(``moving.py``). Each act is written to a journal, and flushed to disk, before it is done. So a process that is killed
at any moment leaves every picture in at least one place, and the same command again, or an undo, continues.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from retrieval.copies.alone import acting
from retrieval.copies.contents import digest, is_linked, same_bytes
from retrieval.copies.held import Folder, Held, Left, hold, is_same
from retrieval.copies.journal import Entry, Journal, journal_at
from retrieval.copies.moving import carry, last_look, remove, replace
from retrieval.copies.plan import FileFacts, Plan
from retrieval.copies.results import Act, telling
from retrieval.copies.sidecars import Sidecars
from retrieval.copies.trash import Trash
from retrieval.copies.undo import bring_back, settle
from retrieval.defaults import ACTIONS, Action
from retrieval.errors import PlanError

if TYPE_CHECKING:
    from retrieval.library import Library

WITH_SIDECARS = ("move", "trash")


def apply_plan(
    plan: Plan,
    action: Action,
    journal: str | os.PathLike[str],
    *,
    to: str | os.PathLike[str] | None = None,
    dry_run: bool = True,
    library: Library | None = None,
) -> Iterator[Act]:
    """Do ``action`` to every file that the plan removes, one after another. Yields the result for each.

    Files that belong to a moved or trashed picture (``a.jpg.xmp``, the film of a Live Photo) go first, with a result
    of their own.

    Args:
        action: "move" into the folder ``to``, with the whole path; "trash" of the desktop; "hardlink" or "symlink"
            to the kept file in place of the copy; or "delete".
        journal: a file that records each act as one JSON line; lines are appended.
        dry_run: check everything, change nothing.
        library: the index that is told which files are gone, also those of an earlier run that was killed. No other
            process can write to it meanwhile.

    Raises:
        PlanError: "move" without a folder, or into one that holds pictures of the plan; a journal that this program
            did not write for this user; another process acts on files.
        IndexBusy, IndexUnwritable: ``library`` cannot be told. Raised before anything is done, if it can be known.
        OSError: the journal cannot be written. Nothing is done without it.
        ValueError: there is no such action.
    """
    if action not in ACTIONS:
        raise ValueError(f"there is no action {action!r}; there are {', '.join(ACTIONS)}")
    target = _target(plan, action, to)
    if dry_run:
        yield from _Run(plan, action, target, None).acts()
        return
    with acting(), telling(library) as tell, journal_at(journal) as log:
        try:
            run = _Run(plan, action, target, log)
            for entry in log.entries:
                settle(entry, run.trash)
            yield from run.acts()
        finally:
            tell([entry.path for entry in log.entries])


class _Run:
    """One run of a plan; without a journal, a dry one."""

    def __init__(self, plan: Plan, action: Action, target: str, log: Journal | None) -> None:
        self._plan, self._action, self._target, self._log = plan, action, target, log
        self._before = {entry.path: entry for entry in log.entries} if log else {}
        self._ends = {os.path.realpath(group.keep) for group in plan.groups}
        self._sidecars, self.trash = Sidecars(), Trash()

    def acts(self) -> Iterator[Act]:
        for group in self._plan.groups:
            for path in group.remove:
                if self._was_done(path):
                    yield Act(self._action, path, self._place(path), "an earlier run did it", before=True)
                else:
                    yield from self._act(path, group.keep)

    def _act(self, path: str, keep: str) -> Iterator[Act]:
        """Check and act on a copy; its sidecars first."""
        done: list[tuple[Entry, int]] = []
        try:
            with contextlib.ExitStack() as stack:
                kept = stack.enter_context(_held(os.path.realpath(keep), "the kept one"))
                copy = stack.enter_context(_held(path, "it"))
                self._check(copy, path, kept, keep)
                besides = [] if self._action in ("hardlink", "symlink") else self._sidecars.of(path)
                for beside in self._going(besides):
                    one = stack.enter_context(_held(beside, f"{beside}, which belongs to it,"))
                    self._do(one, beside, digest(one.handle), None, "", done)
                self._do(copy, path, self._plan.files[path].content_hash, kept, keep, done)
        except Left as left:
            for entry, _ in reversed(done):
                with contextlib.suppress(Left, OSError):
                    bring_back(entry, self.trash)
            yield Act(self._action, path, self._place(path), left.reason, failed=left.failed)
            return
        stays = () if self._action in WITH_SIDECARS else tuple(besides)
        self._sidecars.gone(path)
        for entry, size_bytes in done:
            alone = entry.path == path
            yield Act(self._action, entry.path, entry.to, "", size_bytes, beside="" if alone else path, stays=stays)

    def _do(
        self, held: Held, path: str, content_hash: str, kept: Held | None, keep: str, done: list[tuple[Entry, int]]
    ) -> None:
        """Write an entry to the journal, then act. In a dry run, do neither."""
        entry = Entry(self._action, path, keep, self._place(path), content_hash)
        if self._log is not None:
            self._log.append(entry)
            try:
                _DO[self._action](entry, held, kept, self)
            except OSError as error:
                raise Left(f"cannot be done: {error.strerror or error}", failed=True) from error
        done.append((entry, held.facts.st_size))

    def _check(self, copy: Held, path: str, kept: Held, keep: str) -> None:
        """Raise Left unless both files are as the plan says, and differ."""
        files = self._plan.files
        _check_facts(kept, files[keep], "the kept one")
        _check_facts(copy, files[path], "it")
        if is_same(copy.facts, kept.facts):
            raise Left("it is the kept file under another name")
        if copy.path in self._ends:
            raise Left("a kept file is a link to it")
        try:
            _check_content(copy, files[path], "it")
            equal = files[keep].content_hash == files[path].content_hash
            if equal and not same_bytes(copy.handle, kept.handle):
                raise Left("the kept one was changed since the plan was made")
            if not equal:
                _check_content(kept, files[keep], "the kept one")
        except OSError as error:
            raise Left(f"a file cannot be read: {error.strerror or error}", failed=True) from error
        if not os.access(copy.folder.path, os.W_OK):
            raise Left("its folder cannot be written", failed=True)

    def _going(self, besides: list[str]) -> list[str]:
        """The sidecars that go with their picture."""
        return [one for one in besides if self._action in WITH_SIDECARS and one not in self._plan.files]

    def _was_done(self, path: str) -> bool:
        entry = self._before.get(path)
        if entry is None:
            return False
        if os.path.lexists(path):
            return entry.action in ("hardlink", "symlink") and is_linked(path, entry.keep)
        return entry.action != "move" or os.path.lexists(entry.to)

    def _place(self, path: str) -> str:
        """The path that a file is moved to: its whole path, below the target."""
        return os.path.join(self._target, os.path.splitdrive(path)[1].lstrip("\\/")) if self._target else ""


def _target(plan: Plan, action: Action, to: str | os.PathLike[str] | None) -> str:
    if action != "move":
        if to is not None:
            raise PlanError(f"a folder is for moving; {action} has no use for it", "folder_without_move")
        return ""
    if to is None:
        raise PlanError("to move files, name the folder that takes them", "move_without_folder")
    target = os.path.realpath(to)
    for path in plan.files:
        if path.startswith(os.path.join(target, "")):
            raise PlanError(f"{path} lies in {target} itself; name another folder")
    return target


@contextlib.contextmanager
def _held(path: str, role: str) -> Iterator[Held]:
    """Hold a file open. Raises Left if that cannot be."""
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(hold(path))
        except FileNotFoundError as error:
            raise Left(f"{role} is gone") from error
        except OSError as error:
            if os.path.islink(path):
                raise Left(f"{role} is a link, which takes no room") from error
            raise Left(f"{role} cannot be read: {error.strerror or error}", failed=True) from error
        yield held


def _check_facts(held: Held, facts: FileFacts, role: str) -> None:
    if (held.facts.st_size, held.facts.st_mtime_ns) != (facts.size_bytes, facts.mtime_ns):
        raise Left(f"{role} was changed since the plan was made")


def _check_content(held: Held, facts: FileFacts, role: str) -> None:
    if digest(held.handle) != facts.content_hash:
        raise Left(f"{role} was changed since the plan was made")


def _move(entry: Entry, copy: Held, kept: Held | None, run: _Run) -> None:
    above, name = os.path.split(entry.to)
    with Folder(above, create=True) as folder:
        if folder.facts(name) is None:
            carry(copy, folder, name, entry.token, lambda: last_look(kept))
            return
        with folder.hold(name) as there:
            if not same_bytes(there.handle, copy.handle):
                raise Left(f"{entry.to} is another file", failed=True)
            remove(
                copy, entry.token, lambda: last_look(there, twin=True)
            )  # a move that was killed between its two halves


def _trash(entry: Entry, copy: Held, kept: Held | None, run: _Run) -> None:
    last_look(kept)
    run.trash.take(copy, entry.content_hash)


def _hardlink(entry: Entry, copy: Held, kept: Held | None, run: _Run) -> None:
    if kept is not None:
        last_look(kept)
        replace(copy, kept, entry.token, lambda folder, name: folder.link(kept.folder, kept.name, name))


def _symlink(entry: Entry, copy: Held, kept: Held | None, run: _Run) -> None:
    if kept is not None:
        last_look(kept)
        target = os.path.relpath(kept.path, copy.folder.path)
        replace(copy, kept, entry.token, lambda folder, name: folder.symlink(target, name))


def _delete(entry: Entry, copy: Held, kept: Held | None, run: _Run) -> None:
    remove(copy, entry.token, lambda: last_look(kept))


_DO: dict[Action, Callable[[Entry, Held, Held | None, _Run], None]] = {
    "move": _move,
    "trash": _trash,
    "hardlink": _hardlink,
    "symlink": _symlink,
    "delete": _delete,
}
