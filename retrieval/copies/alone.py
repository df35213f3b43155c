"""One process of a user at a time acts on files: two plans at once could each remove what the other one keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from index.trust import user_folder
from retrieval.errors import PlanError

LOCK_NAME = "acts.lock"


@contextmanager
def acting() -> Iterator[None]:
    """Hold the lock of all acts of this user. The system releases it when the process ends, however it ends.

    Raises:
        PlanError: another process or thread acts, or this user has no folder for the lock and the key of journals.
    """
    from filelock import FileLock, Timeout

    folder = user_folder()
    if folder is None:
        raise PlanError("there is no folder for this user's lock and key, so nothing was done", "no_user_folder")
    lock = FileLock(folder / LOCK_NAME, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise PlanError("another apply or undo is running, so nothing was done; wait for it", "acts_busy") from error
    try:
        yield
    finally:
        lock.release()
