"""Files that belong to a picture: edits (``.xmp``, ``.aae``), the film of a Live Photo, Google's ``.json``.

``a.jpg.xmp`` belongs to ``a.jpg``; ``a.xmp`` to every picture named ``a``, and goes with the last one.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict

SUFFIXES = frozenset({".xmp", ".aae", ".mov", ".mp4", ".json"})
OF_A_WHOLE_NAME = frozenset({".xmp", ".aae", ".json"})
GOOGLE = ".supplemental-metadata"  # a.jpg.supplemental-metadata.json, of which Google cuts off the end


class Sidecars:
    """The sidecars of pictures. Each folder is listed once."""

    def __init__(self) -> None:
        self._owners: dict[str, dict[str, set[str]]] = {}
        self._of: dict[str, defaultdict[str, list[str]]] = {}

    def of(self, path: str) -> list[str]:
        """Paths of the files that belong to this picture, and to no other one that is still there, in order."""
        folder, name = os.path.split(path)
        self._list(folder)
        owners = self._owners[folder]
        return [os.path.join(folder, one) for one in self._of[folder].get(name, []) if owners[one] == {name}]

    def gone(self, path: str) -> None:
        """Take note that a picture has left its folder."""
        folder, name = os.path.split(path)
        self._list(folder)
        for one in self._of[folder].pop(name, []):
            self._owners[folder][one].discard(name)

    def _list(self, folder: str) -> None:
        if folder in self._owners:
            return
        names: frozenset[str] = frozenset()
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            names = frozenset(one.name for one in entries)
        self._owners[folder] = owners = _owners(names)
        self._of[folder] = defaultdict(list)
        for one in sorted(owners):
            for name in owners[one]:
                self._of[folder][name].append(one)


def _owners(names: frozenset[str]) -> dict[str, set[str]]:
    """The pictures that each sidecar belongs to."""
    pictures: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in SUFFIXES:
            pictures[stem].add(name)
    found = {}
    for name in names:
        base, suffix = os.path.splitext(name)
        if suffix.lower() in SUFFIXES:
            whole = _whole_name(base, suffix, names)
            found[name] = {whole} if whole else set(pictures.get(base, ()))
    return found


def _whole_name(base: str, suffix: str, names: frozenset[str]) -> str:
    """The picture that a sidecar names with its suffix, or ""."""
    if suffix.lower() not in OF_A_WHOLE_NAME:
        return ""
    if base in names:
        return base
    picture, end = os.path.splitext(base)
    return picture if suffix.lower() == ".json" and len(end) > 1 and GOOGLE.startswith(end) and picture in names else ""
