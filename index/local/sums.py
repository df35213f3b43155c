"""Checksums of rows and codes (XXH3, 64 bits). They tell what a disk has damaged; an attacker can compute them, too.

They are of the values as SQLite returns them, so a catalog on a server can keep the same.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from xxhash import xxh3_64_digest

from index.facts import Facts
from index.records import Row

CHECKSUM_BYTES = 8
FACTS = struct.Struct("<8q2d4i")
RANK = struct.Struct("<d")
NOTHING = -(2**63)  # None, where a fact is an integer
NOT_KNOWN = -1e300  # None, where it is a number

Coded = tuple[int, bytes, bytes]
"""A picture's id, its code as stored, and the checksum."""


def code_sum(picture_id: int, code: bytes) -> bytes:
    """Checksum of a code as stored, at its picture: a code under another id is damage, too."""
    return xxh3_64_digest(code, picture_id)


def row_sum(row: Row) -> bytes:
    """Checksum of all facts of a saved row.

    Raises:
        TypeError, ValueError, AttributeError, struct.error: a fact has not its type.
    """
    root_id, path, size, mtime, status, content, width, height, realism, spread, reason, number, generation, *late = row
    ctime, rank = late
    words = status.encode(), (reason or "").encode("utf-8", "surrogatepass")
    facts = FACTS.pack(
        number,
        root_id,
        size,
        mtime,
        generation,
        NOTHING if ctime is None else ctime,
        NOTHING if width is None else width,
        NOTHING if height is None else height,
        NOT_KNOWN if realism is None else realism,
        NOT_KNOWN if spread is None else spread,
        len(path),
        len(words[0]),
        -1 if reason is None else len(words[1]),
        -1 if content is None else len(content),
    )
    end = b"" if rank is None else RANK.pack(rank)  # nothing where it is not known, as before schema 5
    return xxh3_64_digest(facts + path + words[0] + words[1] + (content or b"") + end)


def sum_of(*facts: object) -> bytes:
    """Checksum of the facts of a row of another table, each an int, a float, a str, bytes or None."""
    return xxh3_64_digest(ascii(facts).encode())


def facts_sum(content_hash: bytes, facts: Facts) -> bytes:
    """Checksum of the facts of a content, with truths as SQLite has them."""
    return sum_of(content_hash, *(int(one) if isinstance(one, bool) else one for one in facts))


def damaged_codes(rows: Sequence[Coded], dim: int) -> list[int]:
    """Ids of those codes that are not ``dim`` numbers long, not finite, or not what was written."""
    if not rows:
        return []
    ids, codes, sums = zip(*rows, strict=True)
    are_numbers = min(ids) > 0 and set(map(type, codes)) == {bytes} and set(map(len, codes)) == {4 * dim}
    if are_numbers and tuple(map(xxh3_64_digest, codes, ids)) == sums and _are_finite(b"".join(codes)):
        return []
    return [number for number, code, kept in rows if not _is_whole(number, code, kept, dim)]


def _is_whole(number: int, code: object, kept: object, dim: int) -> bool:
    if number < 1 or not isinstance(code, bytes) or len(code) != 4 * dim:
        return False
    return code_sum(number, code) == kept and _are_finite(code)


def _are_finite(codes: bytes) -> bool:
    values = np.frombuffer(codes, "<f4")
    with np.errstate(all="ignore"):
        return bool(np.isfinite(np.dot(values, values)) or np.isfinite(values).all())
