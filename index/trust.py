"""What this user's own programs wrote: a secret key, and the folder that it is kept in.

An index, a cache file or a journal may come from anyone, with any hash that its maker computed. Only a hash that needs
this user's key (HMAC, RFC 2104) proves that a file was written by this user here.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
from functools import cache
from pathlib import Path

from platformdirs import user_data_path

from index.atomic import flush_folder

KEY_NAME = "key"
KEY_BYTES = 32
DIGEST_BYTES = 32
ENVIRONMENT = "LATENT_DATA"


def user_folder() -> Path | None:
    """The folder of this user's key and notes: $LATENT_DATA, else the system's place for data of programs.

    It is created for this user alone (0700). None if it cannot be, as without a home or on a read-only disk.
    """
    named = os.environ.get(ENVIRONMENT)
    try:
        folder = Path(named) if named else user_data_path("latent", appauthor=False)
    except RuntimeError:  # a user whom the system does not know, as in a container
        return None
    if not folder.is_absolute():  # a user without a home
        return None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return folder


def keyed_hash(purpose: str) -> hmac.HMAC:
    """A running HMAC-SHA256 with this user's key. Hashes of different purposes, such as "cache", never agree."""
    return hmac.new(_key(user_folder()), purpose.encode() + b"\0", "sha256")


@cache
def _key(folder: Path | None) -> bytes:
    """The key; one for this process alone if none can be kept."""
    if folder is not None:
        with contextlib.suppress(OSError):
            return _kept_key(folder / KEY_NAME)
    return secrets.token_bytes(KEY_BYTES)


def _kept_key(path: Path) -> bytes:
    """Read the key, or make it: several processes may do so at once, and all get the same."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    if not path.exists():
        with open(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            with contextlib.suppress(FileExistsError):
                os.link(part, path)
        finally:
            part.unlink()
        flush_folder(path.parent)
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with open(handle, "rb") as file:
        facts, key = os.fstat(handle), file.read(KEY_BYTES + 1)
    if not stat.S_ISREG(facts.st_mode) or not _is_mine(facts) or len(key) != KEY_BYTES:
        raise OSError(f"{path} is no key of this user")
    return key


def _is_mine(facts: os.stat_result) -> bool:
    """Whether a file belongs to this user, and nobody else can read or change it."""
    if not hasattr(os, "getuid"):
        return True
    return facts.st_uid == os.getuid() and not stat.S_IMODE(facts.st_mode) & 0o077
