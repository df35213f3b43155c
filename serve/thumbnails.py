"""Thumbnails on disk: in the user's cache folder, by content and size, within a budget of bytes."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import struct
from pathlib import Path
from threading import Lock

from platformdirs import user_cache_path

from retrieval.stored import read_plain

BUDGET_BYTES = 512 << 20
LEFT_SHARE = 0.8  # of the budget, after some had to go
MOST_BYTES = 4 << 20  # of one thumbnail
FOREIGN = stat.S_IRWXG | stat.S_IRWXO
HEAD = struct.Struct("<4sI4s")  # of a WebP file: "RIFF", bytes that follow, "WEBP"


def usual_folder() -> Path:
    return user_cache_path("latent", appauthor=False) / "thumbnails"


class Thumbnails:
    """WebP pictures in a folder that only this user may enter. Those that were used longest ago go first.

    It is a cache: what cannot be read or written is made again, and no error leaves it. Any thread may use it, and
    several servers may share a folder.
    """

    def __init__(self, folder: Path, most_bytes: int = BUDGET_BYTES) -> None:
        """``most_bytes`` 0 keeps nothing."""
        self._folder, self._most_bytes, self._shrinking = folder, most_bytes, Lock()
        self._kept_bytes = 0
        if most_bytes and not _is_own(folder):
            self._most_bytes = 0
        self._shrink()

    def get(self, content_hash: bytes, side_px: int) -> bytes | None:
        path = self._path(content_hash, side_px)
        try:
            picture = read_plain(path, MOST_BYTES)
            os.utime(path)  # was used now
        except (OSError, ValueError):
            return None
        return picture if _is_whole(picture) else None

    def keep(self, content_hash: bytes, side_px: int, picture: bytes) -> None:
        if not 0 < len(picture) <= min(self._most_bytes, MOST_BYTES):
            return
        path = self._path(content_hash, side_px)
        part = path.with_name(f"{secrets.token_hex(8)}.part")
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(picture)  # not flushed: what a power cut leaves is told by its head
            os.replace(part, path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            return
        self._kept_bytes += len(picture)
        if self._kept_bytes > self._most_bytes:
            self._shrink()

    def _path(self, content_hash: bytes, side_px: int) -> Path:
        return self._folder / f"{content_hash.hex()}-{side_px}.webp"

    def _shrink(self) -> None:
        """Count what is there, and delete the oldest if it is too much."""
        if not self._most_bytes or not self._shrinking.acquire(blocking=False):
            return
        try:
            kept = sorted(_files(self._folder))
            total = sum(size for _, size, _ in kept)
            if total > self._most_bytes:
                for _, size, path in kept:
                    if total <= LEFT_SHARE * self._most_bytes:
                        break
                    with contextlib.suppress(OSError):
                        os.unlink(path)
                    total -= size
            self._kept_bytes = total
        finally:
            self._shrinking.release()


def _is_own(folder: Path) -> bool:
    """Make the folder. Whether nobody else may write or read there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        its = folder.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(its.st_mode):
        return False
    return not hasattr(os, "geteuid") or (its.st_uid == os.geteuid() and not its.st_mode & FOREIGN)


def _files(folder: Path) -> list[tuple[int, int, str]]:
    """Time of the last use, bytes and path of all that is kept, parts that a killed server left among them."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                its = entry.stat(follow_symlinks=False)
                found.append((its.st_mtime_ns, its.st_size, entry.path))
    return found


def _is_whole(picture: bytes) -> bool:
    """Whether a WebP file is as long as its head says."""
    if len(picture) < HEAD.size:
        return False
    riff, following, webp = HEAD.unpack_from(picture)
    return (riff, webp) == (b"RIFF", b"WEBP") and following + 8 == len(picture)
