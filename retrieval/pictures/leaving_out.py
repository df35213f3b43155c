"""What a walk through folders leaves out: what patterns name, and folders in which programs keep their own copies.

Patterns stand in the file ``.latentignore`` of any folder, as in git's ``.gitignore``, or are given with a build; the
latter win. A pattern with ``!`` takes back what one before it, one of a folder above, or ``SYSTEM_FOLDERS`` leaves out.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from retrieval.errors import PictureRefused
from retrieval.pictures.kinds import EMPTY
from retrieval.pictures.opening import open_file
from retrieval.pictures.patterns import Pattern, parsed, verdict

IGNORE_NAME = ".latentignore"
MOST_BYTES = 64 << 10  # of such a file that are read
MOST_FAULTS = 100  # that are reported
UTF8_MARK = b"\xef\xbb\xbf"

SYSTEM_FOLDERS = (  # copies and thumbnails that programs made, and what was thrown away; * is any text
    *("@eaDir", "#recycle", "#snapshot", "@tmp", "@Recycle", "@Recently-Snapshot", ".@__thumb"),  # Synology, QNAP
    *("$RECYCLE.BIN", "RECYCLER", "System Volume Information", "$WINDOWS.~BT", "$WinREAgent"),  # Windows
    *("lost+found", ".Trash", ".Trash-*", ".Trashes", ".thumbnails", "~snapshot", ".snapshot", ".zfs"),  # Unix
    *(
        "__MACOSX",
        ".AppleDouble",
        ".Spotlight-V100",
        ".fseventsd",
        ".DocumentRevisions-V100",
        ".TemporaryItems",
    ),  # Apple
    *("*.lrdata", "*.lrcat-data", "*.cocatalogdb", "Adobe Bridge Cache"),  # previews of Lightroom and others
    *(".dtrash", "mipmaps-*.d", ".picasaoriginals", ".comments"),  # digiKam, darktable, Picasa, gThumb
)
SYSTEM_PARTS = (  # such folders whose names are usual ones: only inside these
    ("*.photoslibrary", "resources"),
    ("*.photolibrary", "Thumbnails"),
    ("CaptureOne", "Cache"),
    ("appdata_*", "preview"),
)


@dataclass
class LeftOut:
    """What a walk has left out. ``system_folders`` counts folders by their entry in ``SYSTEM_FOLDERS``;
    ``by_patterns`` counts files and folders, and of a folder not what is in it. ``faults`` are of patterns, in words.
    """

    system_folders: Counter[str] = field(default_factory=Counter)
    by_patterns: int = 0
    faults: list[str] = field(default_factory=list)

    def fault(self, words: str) -> None:
        if len(self.faults) < MOST_FAULTS and words not in self.faults:
            self.faults.append(words)


@dataclass(frozen=True)
class Rules:
    """The patterns that hold in a folder: ``chosen`` with a build, and those of ``.latentignore`` there and above."""

    root: str
    chosen: tuple[Pattern, ...] = ()
    levels: tuple[tuple[str, tuple[Pattern, ...]], ...] = ()

    def inside(self, folder: str, left_out: LeftOut) -> Rules:
        """The rules in a folder that has a ``.latentignore``."""
        return self.with_patterns(folder, _read(os.path.join(folder, IGNORE_NAME), left_out))

    def with_patterns(self, folder: str, patterns: tuple[Pattern, ...]) -> Rules:
        """The rules in a folder whose ``.latentignore`` has these patterns."""
        return Rules(self.root, self.chosen, (*self.levels, (folder, patterns))) if patterns else self

    def leave_out(self, path: str, is_folder: bool, left_out: LeftOut) -> bool:
        """Whether a file or folder is left out. If so, it is counted."""
        said = self._verdict(path, is_folder) if self.chosen or self.levels else None
        if said:
            left_out.by_patterns += 1
        elif said is None and is_folder and (name := system_folder(path)):
            left_out.system_folders[name] += 1
            return True
        return bool(said)

    def _verdict(self, path: str, is_folder: bool) -> bool | None:
        for folder, patterns in ((self.root, self.chosen), *reversed(self.levels)):
            said = verdict(patterns, _relative(path, folder, is_folder))
            if said is not None:
                return said
        return None


def chosen_patterns(lines: Iterable[str]) -> tuple[Pattern, ...]:
    """The patterns of a build.

    Raises:
        ValueError: one of them is none, and the message says which and why.
    """
    texts = [f"\\{line}" if line.startswith("#") else line for line in lines]  # a comment only in a file
    patterns, faults = parsed(texts)
    for fault in faults:
        raise ValueError(f"{texts[fault.number - 1][:80]!r} cannot be left out: {fault.reason}")
    return patterns


def rules_of(root: str, folder: str, chosen: tuple[Pattern, ...], left_out: LeftOut) -> Rules:
    """The rules that hold in ``folder``, which is ``root`` or below it, but for those of its own file."""
    rules = Rules(root, chosen)
    if folder != root:
        for above in (root, *list(_folders_between(root, folder))[:-1]):
            if os.path.lexists(os.path.join(above, IGNORE_NAME)):
                rules = rules.inside(above, left_out)
    return rules


def reaches(root: str, path: str, chosen: tuple[Pattern, ...]) -> bool:
    """Whether a walk from ``root`` comes to the folder ``path`` below it: no folder on the way is left out."""
    for folder in _folders_between(root, path):
        nothing = LeftOut()
        is_hidden = os.path.basename(folder).startswith(".")
        if is_hidden or rules_of(root, folder, chosen, nothing).leave_out(folder, True, nothing):
            return False
    return True


def system_folder(path: str) -> str | None:
    """The entry of ``SYSTEM_FOLDERS`` or ``SYSTEM_PARTS`` that a folder is, or None. Case counts for nothing."""
    above, name = os.path.split(path)
    if match := _system_names().fullmatch(name):
        return SYSTEM_FOLDERS[(match.lastindex or 1) - 1]
    for outer, inner in SYSTEM_PARTS:
        if name.casefold() == inner.casefold() and _expression(outer).fullmatch(os.path.basename(above)):
            return f"{outer}/{inner}"
    return None


@cache
def _system_names() -> re.Pattern[str]:
    return re.compile("|".join(f"({_expression(name).pattern})" for name in SYSTEM_FOLDERS), re.IGNORECASE | re.DOTALL)


@cache
def _expression(name: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, name.split("*"))), re.IGNORECASE | re.DOTALL)


def _folders_between(root: str, path: str) -> Iterable[str]:
    """The folders on the way from ``root`` to ``path``, without the one and with the other."""
    parts = Path(os.path.relpath(path, root)).parts
    return (os.path.join(root, *parts[: count + 1]) for count in range(len(parts)))


def _relative(path: str, folder: str, is_folder: bool) -> str:
    inner = path[len(os.path.join(folder, "")) :]
    slashed = inner if os.sep == "/" else inner.replace(os.sep, "/")
    return slashed + "/" if is_folder else slashed


def _read(path: str, left_out: LeftOut) -> tuple[Pattern, ...]:
    """The patterns of a file. What is wrong with it costs its patterns, or a single one, and is reported."""
    try:
        if os.path.islink(path):  # it may lead anywhere
            raise PictureRefused("a link, which is not followed")
        with open_file(path) as file:
            data = file.read(MOST_BYTES + 1)
    except PictureRefused as refusal:
        if str(refusal) != EMPTY:
            left_out.fault(f"{path}: {refusal}")
        return ()
    except OSError as error:
        left_out.fault(f"{path}: cannot be read: {error.strerror or error}")
        return ()
    return patterns_in(path, data, left_out)


def patterns_in(path: str, data: bytes, left_out: LeftOut) -> tuple[Pattern, ...]:
    """The patterns of a file ``path`` that begins with ``data``, of which ``MOST_BYTES`` are read."""
    lines = data.removeprefix(UTF8_MARK)[:MOST_BYTES].split(b"\n")
    if len(data) > MOST_BYTES:
        lines = lines[:-1]  # cut off in the middle
        left_out.fault(f"{path}, line {len(lines) + 1}: what comes after {MOST_BYTES >> 10} KiB is not read")
    patterns, faults = parsed(os.fsdecode(line.removesuffix(b"\r")) for line in lines)
    for fault in faults:
        left_out.fault(f"{path}, line {fault.number}: {fault.reason}")
    return patterns
