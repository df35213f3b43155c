"""Codes as text: float32, little-endian, base64."""

from __future__ import annotations

import base64
import binascii

import numpy as np

from retrieval.arrays import Floats

LARGEST = 1e6  # of a number in a code; those of pictures are near 1
ALPHABET = str.maketrans("-_ ", "+/+")  # base64url; and in an address, + is read as a space


def code_text(code: Floats) -> str:
    return base64.b64encode(np.asarray(code, "<f4").tobytes()).decode("ascii")


def read_code(text: str, dim: int) -> Floats:
    """The code float32 (dim,) in base64 or base64url, with or without padding.

    Raises:
        ValueError: it is none.
    """
    codes = read_codes(text, dim)
    if len(codes) != 1:
        size = 4 * dim
        raise ValueError(
            f"a code of this index is base64 of {dim} float32, which are {size} bytes, not {4 * codes.size}"
        )
    code: Floats = codes[0]
    return code


def read_codes(text: str, dim: int) -> Floats:
    """Codes float32 (n, dim), one after the other. Raises as ``read_code``."""
    plain = text.translate(ALPHABET).rstrip("=")
    try:
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a code is base64 of float32") from None
    if not data or len(data) % (4 * dim):
        raise ValueError(f"a code of this index is base64 of {dim} float32, which are {4 * dim} bytes, not {len(data)}")
    codes = np.frombuffer(data, "<f4").astype(np.float32).reshape(-1, dim)
    if not (np.abs(codes) <= LARGEST).all():
        raise ValueError("a number of the code is too large, or is none")
    return codes
