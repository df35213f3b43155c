"""Open a file that may be a picture: only a regular one."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from retrieval.errors import PictureRefused
from retrieval.pictures.kinds import EMPTY

OPENING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read it. Pipes, devices and sockets, also behind links, are never waited for and never read.

    Raises:
        PictureRefused: it is not a regular file, or is empty.
        OSError: it could not be opened.
    """
    file = open(path, "rb", opener=lambda name, _: os.open(name, OPENING))  # noqa: SIM115, the caller closes it
    try:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise PictureRefused("not a regular file")
        if facts.st_size == 0:  # as those of /proc, which may have no end
            raise PictureRefused(EMPTY)
    except BaseException:
        file.close()
        raise
    return file
