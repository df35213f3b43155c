"""Bring the bytes of pictures that are no files to this machine, so that a worker process can read them as a file.

A worker process reaches no network, opens no archive, and needs no credentials: it is given what was fetched, as a file
in memory without a name. At most ``MOST_BYTES`` of a picture are fetched, and of ``AT_ONCE`` pictures for each worker.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from tempfile import NamedTemporaryFile
from typing import IO

from index.roots import is_url
from retrieval.errors import LatentError, PictureRefused
from retrieval.pictures.files import Part
from retrieval.pictures.kinds import HEAD_BYTES, reason_without_picture
from retrieval.pictures.tasks import Task
from retrieval.roots.opening import holder_at, located

MOST_BYTES = 256 << 20
AT_ONCE = 4
TOO_LARGE = f"larger than {MOST_BYTES >> 20} MiB, of which no more is read from a store, an archive or a table"
INSIDE = re.compile(r"\.(tar|parquet)/", re.IGNORECASE)
CHANGED = "cannot be read: it changed while it was read"
ABSENT = "cannot be read: No such file or directory"  # as of a file


@contextmanager
def spooled() -> Iterator[tuple[IO[bytes], str]]:
    """A file for some bytes, and its path for workers. It is in memory without a name, so it ends with this process."""
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("latent-picture"), "w+b", buffering=0) as file:
            yield file, f"/proc/{os.getpid()}/fd/{file.fileno()}"
    else:
        with NamedTemporaryFile(prefix="latent-picture-", buffering=0) as named:
            yield named, named.name


def batches(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    """Tasks that are brought to hand together: all if they are files, else a few."""
    if all(_is_plain(task) for task in tasks):
        yield list(tasks)
        return
    for start in range(0, len(tasks), AT_ONCE):
        yield list(tasks[start : start + AT_ONCE])


@contextmanager
def at_hand(tasks: Sequence[Task]) -> Iterator[list[Task | PictureRefused]]:
    """Tasks that a worker process can carry out, or why there is none, in order."""
    if all(_is_plain(task) for task in tasks):
        yield list(tasks)
        return
    with ExitStack() as held, ThreadPoolExecutor(AT_ONCE) as threads:
        yield list(threads.map(lambda task: _ready(task, held), tasks))


def _is_plain(task: Task) -> bool:
    return task.source is None and not is_url(task.path) and INSIDE.search(task.path) is None


def _ready(task: Task, held: ExitStack) -> Task | PictureRefused:
    try:
        part = located(task.path) if task.source is None else Part(task.source, task.offset, task.length, task.box)
        if part is None:
            return task
        if part.length is not None and part.length > MOST_BYTES:
            return PictureRefused(reason_without_picture(TOO_LARGE, _head(part), task.path, False))
        return _placed(task, part, held)
    except FileNotFoundError:
        return PictureRefused(ABSENT, passing=True)
    except LatentError as error:  # the place does not answer, or what reads it is not installed
        return PictureRefused(_reason(error, task), passing=True)


def _placed(task: Task, part: Part, held: ExitStack) -> Task | PictureRefused:
    if part.box is not None:
        return task._replace(source=part.source, box=part.box)
    holder = holder_at(part.source)
    if holder.in_place and part.length:
        return task._replace(source=part.source, offset=part.offset, length=part.length)
    data = holder.read(part, MOST_BYTES)
    if len(data) > MOST_BYTES:
        return PictureRefused(reason_without_picture(TOO_LARGE, data[:HEAD_BYTES], task.path, False))
    if part.length is not None and len(data) != part.length:
        return PictureRefused(CHANGED, passing=True)
    file, name = held.enter_context(spooled())
    file.write(data)
    return task._replace(source=name, offset=0, length=None)


def _head(part: Part) -> bytes:
    return holder_at(part.source).read(part._replace(length=HEAD_BYTES), HEAD_BYTES)[:HEAD_BYTES]


def _reason(error: LatentError, task: Task) -> str:
    """Why a picture was not read, without its path: many pictures share a reason."""
    return f"cannot be read: {str(error).rsplit(' cannot be read: ', 1)[-1].replace(task.path, '').strip()}"
