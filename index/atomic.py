"""Atomic writing of a file: write it to a temporary file beside the target, then move it into place.

A reader finds the old file or the new one, never a part. A killed writer leaves ``NAME.RANDOM.part`` and nothing else.
A new file is readable by this user alone, whatever the umask: codes and pages show pictures. A link is replaced, never
followed.
The data is on disk before the name points to it, and the name before ``replacing`` returns.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

PART = ".part"
OWN_MODE = 0o600
ABANDONED_S = 3600.0  # since the last byte: a writer that lives has written one sooner
NAME_KEPT = 50  # characters: with the random part, a name must fit into 255 bytes


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a new, empty file beside ``path``. After the body it replaces ``path``.

    It gets the mode of the file that it replaces, if that is a plain one, else 0600. If the body raises, the new file
    is deleted and ``path`` is unchanged. A device or a pipe cannot be replaced, so its
    own path is yielded.

    Raises:
        OSError: the folder cannot be written, or the disk is full. The error names ``path``.
    """
    target = Path(path)
    if _is_stream(target):
        yield target
        return
    part = target.with_name(f"{target.name[:NAME_KEPT]}.{secrets.token_hex(8)}{PART}")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWN_MODE))
        yield part
        if (mode := _mode_of(target)) != OWN_MODE:
            os.chmod(part, mode)
        _flush(part)
        os.replace(part, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and _is_about(error, part):
            raise OSError(error.errno, error.strerror, os.fspath(target)) from error
        raise
    flush_folder(target.parent)


def clear_abandoned(folder: Path, pattern: str) -> None:
    """Delete the parts in ``folder`` whose writer was killed; those of other processes at work are kept."""
    parts = list(folder.glob(f"{pattern}{PART}"))
    with contextlib.suppress(OSError):
        now = _clock_of(folder) if parts else 0.0
        for part in parts:
            with contextlib.suppress(FileNotFoundError):  # another process was sooner
                if now - part.lstat().st_mtime > ABANDONED_S:
                    shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()


def _clock_of(folder: Path) -> float:
    """The time by the clock that dates the files of a folder, which may be another machine's; raises OSError."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _mode_of(path: Path) -> int:
    """The mode for the file that replaces ``path``."""
    with contextlib.suppress(OSError):
        facts = path.lstat()
        if stat.S_ISREG(facts.st_mode):
            return stat.S_IMODE(facts.st_mode) & 0o777
    return OWN_MODE


def _is_stream(path: Path) -> bool:
    """Whether this is a device, a pipe, or a name of an open file, such as /dev/stdout."""
    if path.is_symlink() and os.fspath(path.readlink()).startswith("/proc/"):
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


def _is_about(error: OSError, part: Path) -> bool:
    """Whether an error concerns the new file: it has its name, or no name, as errors of full disks."""
    if error.filename is None:
        return bool(error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))
    return bool(os.fspath(error.filename) == os.fspath(part))


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write ``content`` to ``path``, text as UTF-8; escaped bytes of file names are written as the original bytes.

    Raises:
        OSError: as ``replacing``.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
    with replacing(path) as part:
        part.write_bytes(data)


def append(path: str | os.PathLike[str], text: str) -> None:
    """Append ``text`` as UTF-8 to a file, or create it. It is not flushed: for notes on what is under way.

    Raises:
        OSError: it cannot be written, or is a link.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(path, flags, OWN_MODE), "a", encoding="utf-8") as file:
        file.write(text)


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: str | os.PathLike[str]) -> None:
    """Flush the names in a folder to disk, on systems that can."""
    with contextlib.suppress(OSError):  # Windows opens no folders, and some network drives flush none
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
