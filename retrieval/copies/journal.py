"""The journal of a plan: what was begun, one JSON line for each act, on the disk before the act.

Each line ends with a hash that needs this user's key, over the line and the hash of the line before. So no line can be
made, changed, moved, left out or taken from another journal by somebody else; only the end can be cut off, which hides
acts and does none.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import IO, Any, get_args

from index.atomic import flush_folder
from index.trust import keyed_hash
from retrieval.copies.plan import HASH, is_proper
from retrieval.defaults import Action
from retrieval.errors import PlanError

HEADER = {"schema": 2}
LONGEST_LINE = 1 << 20  # bytes: three paths with escapes fit
_OPEN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def _token() -> str:
    return secrets.token_hex(8)


@dataclass(frozen=True)
class Entry:
    """An act on ``path``, a copy of ``keep``; "" if it is a file that goes with its picture.

    ``to`` is where a move puts it, ``content_hash`` BLAKE2b as hex, and ``token`` the middle of the names that the file
    has in the course of the act.
    """

    action: Action
    path: str
    keep: str
    to: str
    content_hash: str
    token: str = field(default_factory=_token)


class Journal:
    """A journal, open to be continued."""

    def __init__(self, path: str, file: IO[bytes]) -> None:
        self.path, self._file = path, file
        self.entries, self._last, self._length = _read(file, path)
        if os.fstat(file.fileno()).st_nlink > 1 or not (self._length or _is_begun(file)):
            raise _foreign(path, 1)
        file.truncate(self._length)  # a full disk or a kill cut off the last line: its act was not begun
        if not self._length:
            self._write({**HEADER, "journal": secrets.token_hex(16)})
            flush_folder(os.path.dirname(os.path.abspath(path)))

    def append(self, entry: Entry) -> None:
        """Write an entry to the disk.

        Raises:
            OSError: it cannot be written. The journal is as it was.
        """
        self._write(asdict(entry))
        self.entries.append(entry)

    def _write(self, facts: dict[str, Any]) -> None:
        last = _hash(self._last, facts)
        line = json.dumps({**facts, "hash": last.hex()}).encode() + b"\n"
        try:
            self._file.seek(self._length)
            left = memoryview(line)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._length)
            raise OSError(error.errno, error.strerror, self.path) from error
        self._last, self._length = last, self._length + len(line)


@contextlib.contextmanager
def journal_at(path: str | os.PathLike[str]) -> Iterator[Journal]:
    """Open a journal to continue it, or begin one.

    Raises:
        PlanError: a line was not written by this program for this user.
        OSError: it cannot be written, or is no regular file, or a link.
    """
    name = os.fspath(path)
    try:
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN, 0o600)
    except FileExistsError:
        handle = _opened(name, os.O_RDWR)
    with open(handle, "r+b", buffering=0) as file:
        yield Journal(name, file)


def read_journal(path: str | os.PathLike[str]) -> list[Entry]:
    """The entries of a journal, in their order.

    Raises:
        PlanError: it cannot be read or is empty, or a line was not written by this program for this user.
    """
    name = os.fspath(path)
    try:
        with open(_opened(name, os.O_RDONLY), "rb") as file:
            entries, _, _ = _read(file, name)
    except OSError as error:
        raise PlanError(f"{name} cannot be read: {error.strerror or error}") from error
    if not entries:
        raise PlanError(f"{name} is no journal of a plan, or none of an act")
    return entries


def _opened(path: str, flags: int) -> int:
    """Open an existing file of this user that is regular and no link."""
    if os.path.islink(path):
        raise OSError(None, "it is a link", path)
    handle = os.open(path, flags | _OPEN)
    facts = os.fstat(handle)
    theirs = hasattr(os, "getuid") and facts.st_uid != os.getuid()
    if theirs or not stat.S_ISREG(facts.st_mode):
        os.close(handle)
        raise OSError(None, "it belongs to another user" if theirs else "it is no regular file", path)
    return handle


def _read(file: IO[bytes], path: str) -> tuple[list[Entry], bytes, int]:
    """Entries, the last hash, and the length up to the end of the last whole line."""
    entries: list[Entry] = []
    last, length, number = b"", 0, 0
    with open(os.dup(file.fileno()), "rb") as lines:
        while (line := lines.readline(LONGEST_LINE)).endswith(b"\n"):
            number += 1
            facts = _checked(line, last)
            if facts is None or len(line) == LONGEST_LINE:
                raise _foreign(path, number)
            last, length = _hash(last, facts), length + len(line)
            if number > 1:
                entries.append(_entry(facts, path, number))
    if len(line) == LONGEST_LINE:
        raise _foreign(path, number + 1)
    return entries, last, length


def _is_begun(file: IO[bytes]) -> bool:
    """Whether a file without a whole line is empty, or a journal of ours that was cut off in its first line."""
    begin = json.dumps(HEADER).encode()[:-1]
    file.seek(0)
    return begin.startswith((file.read(LONGEST_LINE) or b"")[: len(begin)])


def _hash(last: bytes, facts: dict[str, Any]) -> bytes:
    running = keyed_hash("journal")
    running.update(last + json.dumps(facts, sort_keys=True).encode())
    return running.digest()


def _checked(line: bytes, last: bytes) -> dict[str, Any] | None:
    """The facts of a line without its hash; None if the hash is not that of this user's program."""
    try:
        facts = json.loads(line)
        proof = bytes.fromhex(facts.pop("hash"))
        return facts if hmac.compare_digest(proof, _hash(last, facts)) else None
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return None


def _entry(facts: dict[str, Any], path: str, number: int) -> Entry:
    """An entry of a line that this program wrote, perhaps in another version."""
    try:
        entry = Entry(**facts)
        paths = [entry.path, *filter(None, (entry.keep, entry.to))]
        if entry.action in get_args(Action) and HASH.fullmatch(entry.content_hash) and all(map(is_proper, paths)):
            return entry
    except TypeError:
        pass
    raise PlanError(f"line {number} of {path} is not understood by this version", "unknown_line", line=number)


def _foreign(path: str, number: int) -> PlanError:
    if number == 1:
        text = f"{path} is no journal that this program wrote for this user, and is not believed; move it away"
    else:
        text = (
            f"line {number} of {path} was not written by this program for this user, and nothing was done; "
            "cut the file off before that line to use the lines above"
        )
    return PlanError(text, "foreign_journal", journal=path, line=number)
