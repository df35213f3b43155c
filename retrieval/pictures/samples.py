"""What a file holds, by its stored samples: "the same pixels" is said of these, and of nothing less."""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

from typing import Any

from PIL import Image, ImageSequence

from retrieval.pictures.decode import TURNS, bands, orientation_of, refusing
from retrieval.pictures.tasks import DIGEST_BYTES

if TYPE_CHECKING:
    from hashlib import _Hash

AS_STORED = ("I", "F", "CMYK", "LAB", "HSV")  # modes that begin so have samples that RGBA cannot hold
SUBFILE, MORE_IFDS, RAW_VERSION = 254, 330, 50706  # TIFF: kind of the first picture, further ones, Adobe's DNG


def samples_digest(image: Image.Image) -> bytes:
    """BLAKE2b of all samples of an ``identified`` picture: every frame, turned upright, with alpha and all bits.

    Pictures of 8 bits or less are compared as RGBA, however they are stored: palette, grey and RGB may be equal.

    Raises:
        PictureRefused: a frame cannot be decoded.
    """
    digest = blake2b(digest_size=DIGEST_BYTES)
    with refusing():
        for frame in ImageSequence.Iterator(image):
            _add(digest, frame)
    return digest.digest()


def _add(digest: _Hash, frame: Image.Image) -> None:
    frame.load()
    upright = frame.transpose(TURNS[turn]) if (turn := orientation_of(frame)) in TURNS else frame
    mode = upright.mode if upright.mode.startswith(AS_STORED) else "RGBA"
    digest.update(f"{mode} {upright.size}".encode())
    for band in bands(upright):
        plain = band.convert("LA") if band.mode == "La" else band
        digest.update((plain if mode == plain.mode else plain.convert(mode)).tobytes())


def holds_more(image: Image.Image) -> bool:
    """Whether a file holds more than the one picture that is shown of it: frames, pages, layers, or raw values."""
    with suppress(Exception):  # damaged tables of contents
        if getattr(image, "n_frames", 1) > 1:
            return True
        tags = getattr(image, "tag_v2", None)
        return tags is not None and bool(tags.get(SUBFILE, 0) & 1 or MORE_IFDS in tags or RAW_VERSION in tags)
    return False
