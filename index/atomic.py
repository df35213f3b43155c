"""One way to write a file: whole under a name of its own beside the place, then moved over it.

Whoever reads finds the old file or the new one, never a half; whoever is killed leaves ``NAME.RANDOM.part`` and nothing
else. The data is on the disk before the name points to it, and the name before ``replacing`` returns.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

PART = ".part"
NAME_KEPT = 50  # letters: with what is added, a name must fit into 255 bytes


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a new, empty file beside ``path``, for whatever writes it; then it takes ``path``'s place.

    Where the body raises, the new file is deleted and ``path`` is as it was. A device or a pipe, which nothing can take
    the place of, is yielded itself.

    Raises:
        OSError: the folder cannot be written, or the disk is full; it names ``path``.
    """
    target = Path(path)
    if _is_stream(target):
        yield target
        return
    part = target.with_name(f"{target.name[:NAME_KEPT]}.{secrets.token_hex(8)}{PART}")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield part
        _flush(part)
        os.replace(part, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and _is_about(error, part):
            raise OSError(error.errno, error.strerror, os.fspath(target)) from error
        raise
    flush_folder(target.parent)


def _is_stream(path: Path) -> bool:
    """Whether this is a device, a pipe, or a name of an open file, as /dev/stdout is."""
    if path.is_symlink() and os.fspath(path.readlink()).startswith("/proc/"):
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


def _is_about(error: OSError, part: Path) -> bool:
    """Whether an error tells of the new file: by its name, or as full disks do without any."""
    if error.filename is None:
        return bool(error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))
    return bool(os.fspath(error.filename) == os.fspath(part))


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Have the file at ``path`` hold ``content``; text as UTF-8, bytes of names that are no text as they were.

    Raises:
        OSError: as ``replacing``.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
    with replacing(path) as part:
        part.write_bytes(data)


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: str | os.PathLike[str]) -> None:
    """Have the names in a folder on the disk, where the system can be asked for that."""
    with contextlib.suppress(OSError):  # Windows opens no folders, and some network drives flush none
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
