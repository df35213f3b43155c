"""What is seen of a place that lists all its files at once, by the rules of a walk through folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from index.roots import NO_PART
from retrieval.pictures.files import FoundFile, is_junk
from retrieval.pictures.leaving_out import (
    IGNORE_NAME,
    MOST_BYTES,
    LeftOut,
    Rules,
    chosen_patterns,
    patterns_in,
    system_folder,
)
from retrieval.roots.root import Looking

Read = Callable[[str], bytes | None]
"""Returns at most ``MOST_BYTES`` and one byte of a file, None if it is not there."""


def name_order(path: str) -> list[bytes]:
    """The order of a walk: folder by folder, by the bytes of the names."""
    return [os.fsencode(part) for part in path.split("/")]


def has_path(name: str) -> bool:
    """Whether a name can be a path below its place: in normal spelling, and not leading up or out."""
    return NO_PART.isdisjoint(name.split("/")) and "\0" not in name


def shown(root: str, files: Iterable[FoundFile], folder: str, looking: Looking, read: Read) -> Iterator[FoundFile]:
    """Those of ``files``, all below ``folder``, that a walk through them as a folder of files would yield.

    Hidden files, those of desktops and what patterns name are left out, as by ``find_images``.
    """
    files = list(files)
    seen = _Folders(root, folder, looking, {one.path for one in files if one.path.endswith("/" + IGNORE_NAME)}, read)
    others = tuple(f"{path}/" for path in looking.left_out)
    for file in files:
        above, name = file.path.rsplit("/", 1)
        if file.path.startswith(others) or (rules := seen.rules_in(above)) is None or is_junk(name):
            continue
        if not rules.leave_out(file.path, False, looking.tally):
            yield file


class _Folders:
    """The rules that hold in each folder, found once; None for a folder that is left out."""

    def __init__(self, root: str, start: str, looking: Looking, ignoring: set[str], read: Read) -> None:
        self._start, self._tally, self._ignoring, self._read = start, looking.tally, ignoring, read
        self._rules: dict[str, Rules | None] = {}
        self._rules[root] = self._opened(root, Rules(root, chosen_patterns(looking.exclude)))

    def rules_in(self, folder: str) -> Rules | None:
        if folder not in self._rules:
            above = self.rules_in(folder.rsplit("/", 1)[0])
            self._rules[folder] = None if above is None else self._entered(folder, above)
        return self._rules[folder]

    def _entered(self, folder: str, above: Rules) -> Rules | None:
        is_above_start = len(folder) <= len(self._start)  # it was asked for, or leads to what was
        if not is_above_start and self._is_left_out(folder, above):
            return None
        return self._opened(folder, above)

    def _is_left_out(self, folder: str, above: Rules) -> bool:
        if is_junk(folder.rsplit("/", 1)[1]):
            if name := system_folder(folder):
                self._tally.system_folders[name] += 1
            return True
        return above.leave_out(folder, True, self._tally)

    def _opened(self, folder: str, rules: Rules) -> Rules:
        """``rules``, and those of the folder's own file."""
        path = f"{folder}/{IGNORE_NAME}"
        if path not in self._ignoring and len(folder) >= len(self._start):
            return rules
        data = self._read(path)
        return (
            rules if not data else rules.with_patterns(folder, patterns_in(path, data[: MOST_BYTES + 1], self._tally))
        )


def report_name(tally: LeftOut, place: str, name: str) -> None:
    """Report a name that is no path: it leads out, or has more than one spelling."""
    tally.fault(f"{place}: {name[:100]!r} cannot be the path of a picture in there, and is left out")
