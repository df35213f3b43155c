"""What a file holds, by its stored samples: "the same pixels" is said of these, and of nothing less."""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2b
from typing import IO

from PIL import Image, ImageSequence

from retrieval.pictures.decode import TURNS, bands, check_size, orientation_of, refusing
from retrieval.pictures.tasks import DIGEST_BYTES

AS_STORED = ("I", "F", "CMYK", "LAB", "HSV")  # modes that begin so have samples that RGBA cannot hold
SUBFILE, MORE_IFDS, RAW_VERSION = 254, 330, 50706  # TIFF: kind of the first picture, further ones, Adobe's DNG
HIDDEN = (b"MotionPhoto", b"MicroVideo", b"hdrgm:")  # XMP of pictures with a film or a gain map behind them
BLOCK_BYTES = 1 << 20


def samples_digest(image: Image.Image) -> bytes:
    """BLAKE2b of all samples of an ``identified`` picture: every frame, turned upright, with alpha and all bits, and
    for how long it is shown: an animation is not a file of pages.

    Pictures of 8 bits or less are compared as RGBA, however they are stored: palette, grey and RGB may be equal. Of a
    file that hides more than its frames, every byte counts.

    Raises:
        PictureRefused: a frame cannot be decoded.
    """
    digest = blake2b(digest_size=DIGEST_BYTES)
    with refusing():
        if hides_more(image):
            _add_file(digest, image)
        else:
            for frame in ImageSequence.Iterator(image):
                _add(digest, frame)
                if getattr(image, "n_frames", 1) > 1:
                    digest.update(f"{round(frame.info.get('duration') or 0)} ms".encode())
    return digest.digest()


def holds_more(image: Image.Image) -> bool:
    """Whether a file holds more than the one picture that is shown of it: frames, pages, layers, or what it hides."""
    with suppress(Exception):  # damaged tables of contents
        return getattr(image, "n_frames", 1) > 1 or hides_more(image)
    return False


def hides_more(image: Image.Image) -> bool:
    """Whether a file holds what is no frame of it: raw values, a film, a gain map."""
    with suppress(Exception):
        tags = getattr(image, "tag_v2", None)
        if tags is not None and (tags.get(SUBFILE, 0) & 1 or MORE_IFDS in tags or RAW_VERSION in tags):
            return True
        words = image.info.get("xmp", b"")
        words = words.encode() if isinstance(words, str) else words
        return any(word in words for word in HIDDEN)
    return False


def _add_file(digest: blake2b, image: Image.Image) -> None:
    file: IO[bytes] | None = getattr(image, "fp", None)
    if file is None:
        raise OSError("the file is closed")
    place = file.tell()
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
    file.seek(place)


def _add(digest: blake2b, frame: Image.Image) -> None:
    check_size(frame)
    frame.load()
    upright = frame.transpose(TURNS[turn]) if (turn := orientation_of(frame)) in TURNS else frame
    mode = upright.mode if upright.mode.startswith(AS_STORED) else "RGBA"
    digest.update(f"{mode} {upright.size}".encode())
    for band in bands(upright):
        plain = band.convert("LA") if band.mode == "La" else band
        digest.update((plain if mode == plain.mode else plain.convert(mode)).tobytes())
