"""Contents of files, by every byte. XXH3, which recognises renamed files, can be forged and is no proof here."""

from __future__ import annotations

import hashlib
import os

from retrieval.copies.held import hold, is_unchanged
from retrieval.copies.plan import HASH_BYTES, FileFacts

BLOCK_BYTES = 1 << 20


def digest(handle: int) -> str:
    """BLAKE2b of 32 bytes, as hex, of all bytes of an open file.

    Raises:
        OSError: it cannot be read.
    """
    with open(handle, "rb", buffering=0, closefd=False) as file:
        file.seek(0)
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=HASH_BYTES)).hexdigest()


def same_bytes(a: int, b: int) -> bool:
    """Whether two open files hold the same bytes.

    Raises:
        OSError: one cannot be read.
    """
    with open(a, "rb", closefd=False) as first, open(b, "rb", closefd=False) as second:
        first.seek(0), second.seek(0)
        while block := first.read(BLOCK_BYTES):
            if second.read(len(block)) != block:
                return False
        return not second.read(1)


def holds(path: str, content_hash: str) -> bool:
    """Whether there is a regular file of this content at ``path``; links to files are not followed."""
    try:
        with hold(path) as held:
            return digest(held.handle) == content_hash
    except OSError:
        return False


def is_linked(path: str, keep: str) -> bool:
    """Whether two paths lead to one file; False if one leads nowhere."""
    try:
        return os.path.samefile(path, keep)
    except OSError:
        return False


def facts_of(path: str, size_bytes: int, mtime_ns: int) -> FileFacts | None:
    """The facts of a file, for a plan; links are followed. None if it cannot be read, or has another size or date."""
    try:
        with hold(os.path.realpath(path)) as held:
            content_hash, now = digest(held.handle), os.fstat(held.handle)
            as_known = (held.facts.st_size, held.facts.st_mtime_ns) == (size_bytes, mtime_ns)
            return FileFacts(size_bytes, mtime_ns, content_hash) if as_known and is_unchanged(now, held.facts) else None
    except OSError:
        return None
