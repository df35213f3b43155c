"""Who may ask: whoever has the launch link of this start, its cookie, or the token of programs."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import threading
from pathlib import Path

from retrieval.errors import PathError
from retrieval.stored import read_plain, reason_of

TOKEN_BYTES = 32  # 256 bits
LEAST_CHARACTERS, MOST_FILE_BYTES = 32, 4096
FOREIGN = stat.S_IRWXG | stat.S_IRWXO


class Keys:
    """The secrets of one start. They are compared by their hashes and in constant time, and are in no log."""

    def __init__(self, token: str | None = None) -> None:
        """``token`` is that of programs; without it, a new one that nobody is told."""
        self.launch, self.cookie = _new_token(), _new_token()
        self._launch: bytes | None = _digest(self.launch)
        self._cookie, self._token = _digest(self.cookie), _digest(token or _new_token())
        self._using = threading.Lock()

    def use_launch(self, word: str) -> bool:
        """Whether this is the launch link's token, which is good for one time."""
        with self._using:
            if self._launch is None or not hmac.compare_digest(self._launch, _digest(word)):
                return False
            self._launch = None
            return True

    def is_cookie(self, word: str) -> bool:
        return hmac.compare_digest(self._cookie, _digest(word))

    def is_token(self, word: str) -> bool:
        return hmac.compare_digest(self._token, _digest(word))


def read_token(path: Path) -> str:
    """The token in a file that only this user may read. If there is no file, one with a new token is made.

    Raises:
        PathError: the file cannot be read or made, others may read it, or its token is short.
    """
    try:
        return _checked(path, read_plain(path, MOST_FILE_BYTES))
    except FileNotFoundError:
        return _made(path)
    except (OSError, ValueError) as error:
        raise PathError(f"the token file {path} cannot be used: {reason_of(error)}") from error


def _checked(path: Path, content: bytes) -> str:
    facts = os.lstat(path)
    if hasattr(os, "geteuid") and (facts.st_mode & FOREIGN or facts.st_uid != os.geteuid()):
        raise ValueError(f"only you may be able to read it (chmod 600 {path})")
    token = content.strip().decode("ascii", "replace")
    if len(token) < LEAST_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"it must hold {LEAST_CHARACTERS} or more letters and digits, without spaces")
    return token


def _made(path: Path) -> str:
    token = _new_token()
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(token + "\n")
    except OSError as error:
        raise PathError(f"the token file {path} cannot be made: {reason_of(error)}") from error
    return token


def _new_token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


def _digest(word: str) -> bytes:
    return hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()
