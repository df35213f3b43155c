"""Files that are no pictures, or no longer: each is refused with a reason, and costs nothing but itself."""

from __future__ import annotations

import errno
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import PictureRefused, find_images, read_image
from retrieval.pictures.workers import TIME_LIMIT_S, Decoded, DecoderPool, Task, decode

Image.init()  # fills Image.SAVE with what this Pillow can write

SIZE_PX = 64
HUGE = 2**31 - 1

# What the kinds are made of.


def drawn(form: str, mode: str = "RGB", side: int = 48, **options: object) -> bytes:
    """A noisy picture as a file of ``form``: noise, so that its data is long enough to be cut."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    image = Image.fromarray(noise).convert(mode)
    file = BytesIO()
    if form == "HEIF":  # not through Pillow: the reader under test must do without a registered decoder
        try:
            from pillow_heif import from_pillow
        except ImportError:
            return b"\0\0\0\x14ftypheic\0\0\0\0heic" * 99  # what then matters of it is there
        from_pillow(image).save(file)
    elif form == "AVIF" and form not in Image.SAVE:
        return b"\0\0\0\x14ftypavif\0\0\0\0avif" * 99
    else:
        image.save(file, form, **options)
    return file.getvalue()


def cut(form: str, share: float = 0.5, **options: object) -> Callable[[], bytes]:
    def build() -> bytes:
        whole = drawn(form, **options)  # type: ignore[arg-type]
        return whole[: int(len(whole) * share)]

    return build


def patched(whole: bytes, offset: int, patch: bytes) -> bytes:
    return whole[:offset] + patch + whole[offset + len(patch) :]


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of the given chunks, each with its right CRC."""
    parts = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_header(width: int = 8, height: int = 8, depth: int = 8, colour: int = 2) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def bomb_of_text(kind: bytes) -> bytes:
    """A PNG whose note or colour profile is a few KB that unpack to many MB."""
    return png(png_header(), (kind, b"Comment\0\0" + zlib.compress(bytes(8_000_000))), PNG_DATA, PNG_END)


PNG_DATA = (b"IDAT", zlib.compress((b"\0" + b"\x80" * 24) * 8))
PNG_END = (b"IEND", b"")


def png_with_bad_crc() -> bytes:
    whole = png(png_header(), PNG_DATA, PNG_END)
    return patched(whole, 29, b"\0\0\0\0")  # the CRC of IHDR


def jpeg_with_size(width: int, height: int, precision: int = 8) -> bytes:
    whole = drawn("JPEG")
    return patched(whole, whole.index(b"\xff\xc0") + 4, struct.pack(">BHH", precision, height, width))


def jpeg_without(marker: bytes) -> bytes:
    """Without the first segment of that kind."""
    whole = drawn("JPEG")
    start = whole.index(marker)
    (length,) = struct.unpack_from(">H", whole, start + 2)
    return whole[:start] + whole[start + 2 + length :]


def jpeg_cut_before_its_data() -> bytes:
    whole = drawn("JPEG")
    return whole[: whole.index(b"\xff\xda")]


def bmp(width: int, height: int, bits: int = 24, header: int = 40, packing: int = 0, offset: int = 54) -> bytes:
    return b"BM" + struct.pack(
        "<IHHIIiiHHIIiiII", 200, 0, 0, offset, header, width, height, 1, bits, packing, 0, 0, 0, 0, 0
    )


def tiff(*tags: tuple[int, int, int, int], next_directory: int = 0, count: int | None = None) -> bytes:
    """A little-endian TIFF whose directory, at offset 8, has the tags (number, type, count, value)."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    directory = struct.pack("<H", len(tags) if count is None else count) + entries + struct.pack("<I", next_directory)
    return b"II*\0" + struct.pack("<I", 8) + directory


def tiff_of(
    width: int, height: int, offset: int, packing: int = 1, data: bytes = b"", next_directory: int = 0
) -> bytes:
    """A grey TIFF of one strip."""
    short, long = 3, 4
    return (
        tiff(
            (256, long, 1, width),
            (257, long, 1, height),
            (258, short, 1, 8),
            (259, short, 1, packing),
            (262, short, 1, 1),
            (273, long, 1, offset),
            (277, short, 1, 1),
            (278, long, 1, height),
            (279, long, 1, max(len(data), 64)),
            next_directory=next_directory,
        )
        + data
    )


TIFF_DATA_AT = len(tiff_of(8, 8, 0))


def riff(kind: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    body = kind + b"".join(name + struct.pack("<I", len(data)) + data for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_canvas(side: int) -> bytes:
    return riff(b"WEBP", (b"VP8X", struct.pack("<I", 0) + struct.pack("<I", side - 1)[:3] * 2))


def ico(entries: int, offset: int = 22, kind: int = 1) -> bytes:
    return struct.pack("<HHH", 0, kind, entries) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, 999, offset) * entries


def icns(icon: bytes) -> bytes:
    return struct.pack(">4sI4sI", b"icns", 16 + len(icon), b"ic07", 8 + len(icon)) + icon


def psd(mode: int, depth: int = 8) -> bytes:
    return b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 64, 64, depth, mode) + bytes(14)


def film(form: str) -> bytes:
    """Three frames of noise."""
    first, *others = (
        Image.fromarray(np.random.default_rng(frame).integers(0, 256, (40, 40), np.uint8)) for frame in range(3)
    )
    file = BytesIO()
    first.save(file, form, save_all=True, append_images=others)
    return file.getvalue()


def fits(**cards: object) -> bytes:
    lines = [f"{name:8}= {value:>20}" for name, value in {"SIMPLE": "T", **cards}.items()] + ["END"]
    return "".join(line.ljust(80) for line in lines).ljust(2880).encode()


def fli() -> bytes:
    header = struct.pack("<IHHHHHHI", 200, 0xAF12, 1, 64, 64, 8, 3, 70) + bytes(108)
    return header + struct.pack("<IHH8x", 99, 0xF1FA, 1) + struct.pack("<IH", 83, 12)


def pixar() -> bytes:
    return patched(b"\x80\xe8\0\0" + bytes(1020), 416, struct.pack("<6H", 64, 64, 0, 0, 14, 2))


def wmf() -> bytes:
    return b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<hhhhH6x", 0, 0, 99, 99, 96) + b"\x01\0\x09\0" + bytes(30)


def emf() -> bytes:
    return struct.pack("<II4i4i", 1, 88, 0, 0, 99, 99, 0, 0, 2540, 2540) + b" EMF" + bytes(60)


def random_bytes() -> bytes:
    return np.random.default_rng(1).bytes(5000)


@dataclass(frozen=True)
class Kind:
    """A kind of bad file; ``says`` is what its reason must hold, where that matters."""

    name: str
    build: Callable[[], bytes]
    says: str = ""


def kind(name: str, build: Callable[[], bytes] | bytes, says: str = "") -> Kind:
    return Kind(name, build if callable(build) else lambda: build, says)


NOT, CUT, BOMB, PROGRAM = "not a picture", "damaged or cut off", "decompression bomb", "program"

KINDS = [
    kind("empty.jpg", b"", "empty file"),
    kind("text.jpg", b"I am not a picture, whatever my name says.\n" * 9, NOT),
    kind("newline.png", b"\n", NOT),
    kind("utf-16.txt", "a note".encode("utf-16"), NOT),
    kind("page.jpg", b"<!DOCTYPE html><html><body><img src='x.png'>404</body></html>", NOT),
    kind("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><rect width='9' height='9'/></svg>", NOT),
    kind("document.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n", NOT),
    kind("settings.json", b'{"width": 64, "height": 64}', NOT),
    kind("script.png", b"#!/bin/sh\nrm -rf /\n", NOT),
    kind("archive.zip", b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(60), NOT),
    kind("packed.gz", b"\x1f\x8b\x08\0" + bytes(30), NOT),
    kind("library.so", b"\x7fELF\x02\x01\x01" + bytes(200), NOT),
    kind("setup.exe", b"MZ\x90\0\x03" + bytes(200), NOT),
    kind("table.sqlite", b"SQLite format 3\0" + bytes(100), NOT),
    kind("song.mp3", b"ID3\x04\0\0\0\0\x0f\x76" + bytes(100), NOT),
    kind("sound.wav", riff(b"WAVE", (b"fmt ", bytes(16)), (b"data", bytes(64))), NOT),
    kind("film.mp4", b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2" + b"\0\0\0\x08mdat" + bytes(50), NOT),
    kind("film.mkv", b"\x1a\x45\xdf\xa3" + bytes(100), NOT),
    kind("random.jpg", random_bytes),
    kind("zeros.jpg", bytes(4096), NOT),
    kind("ones.jpg", b"\xff" * 4096, NOT),
    # JPEG
    kind("jpeg of a start alone.jpg", b"\xff\xd8", NOT),
    kind("jpeg of nothing but markers.jpg", b"\xff\xd8" + b"\xff" * 500),
    kind("jpeg cut in its header.jpg", lambda: drawn("JPEG")[:30]),
    kind("jpeg cut before its data.jpg", jpeg_cut_before_its_data),
    kind("jpeg cut in its data.jpg", cut("JPEG"), CUT),
    kind("jpeg cut, progressive.jpg", cut("JPEG", progressive=True), CUT),
    kind("jpeg without height.jpg", lambda: jpeg_with_size(48, 0)),
    kind("jpeg of 4 gigapixels.jpg", lambda: jpeg_with_size(65535, 65535), BOMB),
    kind("jpeg of 12 bits.jpg", lambda: jpeg_with_size(48, 48, precision=12)),
    kind("jpeg without quantization.jpg", lambda: jpeg_without(b"\xff\xdb")),
    kind("jpeg without its frame.jpg", lambda: jpeg_without(b"\xff\xc0")),
    # PNG
    kind("png of a signature alone.png", png()),
    kind("png with a bad checksum.png", png_with_bad_crc),
    kind("png cut.png", cut("PNG"), CUT),
    kind("png of no width.png", png(png_header(width=0), PNG_DATA, PNG_END)),
    kind("png of 4 exapixels.png", png(png_header(HUGE, HUGE), PNG_DATA, PNG_END), BOMB),
    kind("png of 900 megapixels.png", png(png_header(30000, 30000), PNG_DATA, PNG_END), BOMB),
    kind("png out of order.png", png(PNG_DATA, png_header(), PNG_END)),
    kind("png without data.png", png(png_header(), PNG_END)),
    kind("png of too little data.png", png(png_header(64, 64), PNG_DATA, PNG_END), CUT),
    kind("png of another packing.png", png(png_header(), (b"IDAT", random_bytes()), PNG_END)),
    kind("png with a bomb of text.png", lambda: bomb_of_text(b"zTXt")),
    kind("png with a bomb of a profile.png", lambda: bomb_of_text(b"iCCP")),
    kind("png of an unknown depth.png", png(png_header(depth=7), PNG_DATA, PNG_END)),
    kind("png with a long chunk.png", png(png_header())[:-4] + struct.pack(">I4s", HUGE, b"IDAT")),
    # GIF
    kind("gif of a name alone.gif", b"GIF89a"),
    kind("gif of a header alone.gif", lambda: drawn("GIF")[:13]),
    kind("gif cut.gif", cut("GIF"), CUT),
    kind("gif of no frame.gif", b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b";"),
    kind("gif of 4 gigapixels.gif", lambda: patched(drawn("GIF"), 6, b"\xff" * 4), BOMB),
    # BMP
    kind("bmp of a name alone.bmp", b"BM"),
    kind("bmp with a nonsense header.bmp", bmp(8, 8, header=0xFFFFFFF0)),
    kind("bmp of 4 exapixels.bmp", bmp(HUGE, HUGE), BOMB),
    kind("bmp of negative width.bmp", bmp(-8, 8) + bytes(192)),
    kind("bmp of 77 bits.bmp", bmp(8, 8, bits=77) + bytes(192)),
    kind("bmp with data elsewhere.bmp", bmp(8, 8, offset=0x7FFFFFF0) + bytes(192)),
    kind("bmp cut.bmp", cut("BMP"), CUT),
    kind("bmp packed and cut.bmp", bmp(8, 8, bits=8, packing=1) + b"\x04\x01"),
    # TIFF
    kind("tiff of a header alone.tif", b"II*\0\x08\0\0\0"),
    kind("tiff with its directory elsewhere.tif", b"MM\0*\x7f\xff\xff\xff"),
    kind("tiff whose directory loops.tif", tiff((256, 3, 1, 8), next_directory=8)),
    kind("tiff of absurdly many tags.tif", tiff((256, 3, 1, 8), (257, 3, 1, 8), count=65535)),
    kind("tiff of one absurdly long tag.tif", tiff((256, 3, 1, 8), (257, 3, 1, 8), (273, 4, 0x3FFFFFFF, 8))),
    kind("tiff with data elsewhere.tif", tiff_of(8, 8, 0x7FFFFFF0)),
    kind("tiff of no width.tif", tiff_of(0, 8, TIFF_DATA_AT, data=bytes(64))),
    kind("tiff of 4 exapixels.tif", tiff_of(HUGE, HUGE, TIFF_DATA_AT, data=bytes(64)), BOMB),
    kind("tiff of an unknown packing.tif", tiff_of(8, 8, TIFF_DATA_AT, 999, bytes(64))),
    kind("tiff of broken lzw.tif", tiff_of(8, 8, TIFF_DATA_AT, 5, b"\xff" * 64)),
    kind("tiff of broken jpeg.tif", tiff_of(8, 8, TIFF_DATA_AT, 7, b"\xff" * 64)),
    kind("tiff cut.tif", cut("TIFF")),
    kind("tiff cut, packed.tif", cut("TIFF", compression="tiff_lzw")),
    kind("bigtiff of a header alone.tif", b"II+\0\x08\0\0\0" + bytes(8)),
    # WebP, AVIF, HEIC
    kind("webp cut.webp", cut("WEBP")),
    kind("webp cut, lossless.webp", cut("WEBP", lossless=True)),
    kind("webp of a wrong length.webp", lambda: patched(drawn("WEBP"), 4, struct.pack("<I", 12))),
    kind("webp of a canvas alone.webp", webp_canvas(9)),
    kind("webp of 280 terapixels.webp", webp_canvas(1 << 24)),
    kind("avif of a brand alone.avif", b"\0\0\0\x14ftypavif\0\0\0\0avif"),
    kind("avif cut.avif", cut("AVIF", 0.9)),
    kind("heic of a brand alone.heic", b"\0\0\0\x14ftypheic\0\0\0\0heic"),
    kind("heic cut.heic", cut("HEIF")),
    # Icons
    kind("ico of no images.ico", ico(0)),
    kind("ico with data elsewhere.ico", ico(1, offset=0x7FFFFFF0)),
    kind("ico cut.ico", cut("ICO")),
    kind("cur of no images.cur", ico(0, kind=2)),
    kind("icns cut.icns", lambda: icns(drawn("PNG", side=128)[:9999])),
    kind("icns of a header alone.icns", b"icns\0\0\0\x08"),
    # Portable maps
    kind("ppm of negative size.ppm", b"P6\n-8 8\n255\n" + bytes(192)),
    kind("ppm of huge size.ppm", b"P6\n2000000000 2000000000\n255\n" + bytes(192), BOMB),
    kind("ppm of no size.ppm", b"P6\n"),
    kind("ppm of endless size.ppm", b"P6\n" + b"9" * 5000),
    kind("ppm of too little data.ppm", b"P6\n64 64\n255\n" + bytes(192), CUT),
    kind("ppm in words.ppm", b"P3\n2 2\n255\nred green blue white\n"),
    kind("ppm of no brightness.ppm", b"P6\n8 8\n0\n" + bytes(192)),
    kind("pfm of no scale.pfm", b"Pf\n2 2\nnan\n" + bytes(16)),
    # The rarer ones
    kind("tga of nothing.tga", b"\0\0\x02" + bytes(9) + struct.pack("<HHBB", 64, 64, 24, 0)),
    kind("tga packed and cut.tga", b"\0\0\x0a" + bytes(9) + struct.pack("<HHBB", 64, 64, 24, 0) + b"\xff" * 10),
    kind("psd cut.psd", psd(mode=3)),
    kind("psd of an unknown mode.psd", psd(mode=77)),
    kind("dds cut.dds", cut("DDS")),
    kind("dds of an unknown packing.dds", lambda: patched(drawn("DDS"), 80, struct.pack("<I4s", 4, b"NOPE"))),
    kind("pcx cut.pcx", cut("PCX"), CUT),
    kind("sgi cut.sgi", cut("SGI")),
    kind("sgi packed and cut.sgi", b"\x01\xda\x01\x01" + struct.pack(">HHHH", 3, 64, 64, 3) + bytes(500)),
    kind("jpeg2000 cut.jp2", cut("JPEG2000")),
    kind("jpeg2000 cut in its boxes.jp2", lambda: drawn("JPEG2000")[:60]),
    kind("jpeg2000 of a header alone.j2k", lambda: drawn("JPEG2000", no_jp2=True)[:60]),
    kind("xbm malformed.xbm", b"#define x_width 16\n#define x_height 16\nstatic char x_bits[] = {\nwhat?\n"),
    kind("xpm malformed.xpm", b'/* XPM */\nstatic char *x[] = {\n"16 16 2 1",\n"  c none",\n};\n'),
    kind("msp cut.msp", cut("MSP", mode="1")),
    kind("qoi cut.qoi", cut("QOI")),
    kind("blp cut.blp", cut("BLP", mode="P")),
    kind("spider cut.spi", cut("SPIDER", mode="F")),
    kind("sun cut.ras", b"\x59\xa6\x6a\x95" + struct.pack(">IIIIIII", 64, 64, 24, 0, 1, 0, 0) + bytes(9), CUT),
    kind("fli cut.fli", fli),
    kind("dcx of no pages.dcx", struct.pack("<II", 0x3ADE68B1, 0)),
    kind("gbr cut.gbr", struct.pack(">IIIII", 28, 2, 64, 64, 1) + b"GIMP\0\0\0\x01" + bytes(9)),
    kind("pixar cut.pxr", pixar),
    kind("ftex cut.ftc", b"FTEX" + struct.pack("<9I", 1, 64, 64, 1, 1, 1, 36, 999, 0)),
    kind("fits of a header alone.fits", fits(BITPIX=8, NAXIS=2, NAXIS1=64, NAXIS2=64)),
    kind("fits of no pictures.fits", fits(BITPIX=8, NAXIS=0)),
    # Formats that Pillow knows by name only
    kind("stub.hdf5", b"\x89HDF\r\n\x1a\n" + bytes(200)),
    kind("stub.grib", b"GRIB\0\0\0\x01" + bytes(200)),
    kind("stub.bufr", b"BUFR" + bytes(200)),
    kind("film.mpg", b"\0\0\x01\xb3" + struct.pack(">I", 0x14010114) + bytes(200)),
    # Programs that draw: no file may have another program run
    kind("program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nquit\n%%EOF\n", PROGRAM),
    kind("program.wmf", wmf, PROGRAM),
    kind("program.emf", emf, PROGRAM),
]


def make_sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 3 << 30)


@dataclass(frozen=True)
class Oddity:
    """What is bad is not the content but the file."""

    name: str
    make: Callable[[Path], object]
    says: str


ODDITIES = [
    Oddity("a folder", Path.mkdir, "cannot be read"),
    Oddity("a dangling link.jpg", lambda path: path.symlink_to("nowhere"), os.strerror(errno.ENOENT)),
    Oddity("a link to itself.jpg", lambda path: path.symlink_to(path), os.strerror(errno.ELOOP)),
    Oddity("deleted meanwhile.jpg", lambda path: None, os.strerror(errno.ENOENT)),
    Oddity("3 GB of zeros.jpg", make_sparse, NOT),
]
ALL: list[Kind | Oddity] = [*KINDS, *ODDITIES]


def names(kinds: list[Kind] | list[Kind | Oddity]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bad", kinds, ids=lambda bad: bad.name)


def write(bad: Kind | Oddity, path: Path) -> None:
    if isinstance(bad, Kind):
        path.write_bytes(bad.build())
    else:
        bad.make(path)


def good_pixels(number: int) -> np.ndarray:
    """No two of the good pictures are alike, so that a swap would show."""
    return np.full((SIZE_PX, SIZE_PX, 3), (number % 256, 7 * number % 256, number // 256), np.uint8)


def write_good(folder: Path, number: int) -> Path:
    path = folder / f"good {number}.png"
    Image.fromarray(good_pixels(number)).save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad files")
    for number, bad in enumerate(ALL):
        write_good(folder, number)
        write(bad, folder / bad.name)
    return folder


@pytest.fixture(scope="module")
def verdicts(folder: Path) -> list[Decoded]:
    """Good and bad by turns through one pool."""
    paths = [path for number, bad in enumerate(ALL) for path in (folder / f"good {number}.png", folder / bad.name)]
    with DecoderPool(size_px=SIZE_PX, workers=2) as pool:
        return list(pool.map(Task(str(path)) for path in paths))


def test_the_good_pictures_among_them_come_out_whole_and_in_order(verdicts: list[Decoded]) -> None:
    assert len({bad.name for bad in ALL}) == len(ALL)
    assert len(verdicts) == 2 * len(ALL)
    for number, decoded in enumerate(verdicts[::2]):
        assert decoded.reason is None
        assert decoded.task.path.endswith(f"good {number}.png")
        np.testing.assert_array_equal(decoded.pixels, good_pixels(number))


def check_reason(reason: str | None, says: str, folder: Path) -> None:
    assert reason
    assert reason.isprintable()  # one line, and nothing that would steer a terminal
    assert len(reason) <= 150
    assert says in reason
    assert str(folder) not in reason


@names(ALL)
def test_every_bad_file_is_refused_with_a_reason(bad: Kind | Oddity, folder: Path, verdicts: list[Decoded]) -> None:
    decoded = verdicts[2 * ALL.index(bad) + 1]
    assert decoded.task.path == str(folder / bad.name)
    assert decoded.pixels is None
    check_reason(decoded.reason, bad.says, folder)
    assert bad.name not in (decoded.reason or "")


@names(ALL)
def test_reading_one_raises_nothing_unexpected(bad: Kind | Oddity, folder: Path) -> None:
    path = folder / bad.name
    with pytest.raises((PictureRefused, OSError)) as refused:
        read_image(path)
    if isinstance(bad, Oddity):
        return
    check_reason(str(refused.value), bad.says, folder)
    content = path.read_bytes()
    with pytest.raises(PictureRefused, match=bad.says or None):
        read_image(content, cover_px=SIZE_PX)
    with path.open("rb") as file, pytest.raises(PictureRefused, match=bad.says or None):
        read_image(file)


def test_what_is_no_picture_is_not_even_hashed(verdicts: list[Decoded]) -> None:
    """Neither is it read: the 3 GB would take seconds, and longer than the time limit from a slow drive."""
    unread = [decoded for decoded in verdicts[1::2] if (decoded.reason or "").startswith(NOT)]
    assert len(unread) > 20 and Path(unread[-1].task.path).name == "3 GB of zeros.jpg"
    for decoded in unread:
        assert decoded.content_hash is None, decoded.task.path
    assert sum(decoded.content_hash is not None for decoded in verdicts[1::2]) > 20  # what looked like one at first


# Damage that is not the pixels' does not cost the picture.

EXIF_JUNK = b"Exif\0\0junk, not a directory"


def jpeg_with_exif_junk() -> bytes:
    return drawn("JPEG").replace(
        b"\xff\xd8", b"\xff\xd8\xff\xe1" + struct.pack(">H", 2 + len(EXIF_JUNK)) + EXIF_JUNK, 1
    )


SURVIVED = [
    kind("png without its end", png(png_header(), PNG_DATA)),
    kind("png with a profile of junk", png(png_header(), (b"iCCP", b"x\0\0junk"), PNG_DATA, PNG_END)),
    kind("png with exif of junk", lambda: drawn("PNG", exif=EXIF_JUNK)),
    kind("webp with exif of junk", lambda: drawn("WEBP", exif=EXIF_JUNK)),
    kind("jpeg with exif of junk", jpeg_with_exif_junk),
    kind("jpeg with a tail", lambda: drawn("JPEG") + b"MotionPhoto" * 99),
    kind("jpeg with zeros in its data", lambda: patched(drawn("JPEG"), 1400, bytes(200))),  # JPEG knows no checksums
    kind("gif cut in its second frame", lambda: film("GIF")[:3500]),
    kind("png cut in its second frame", lambda: film("PNG")[:3000]),
    kind("tiff cut in its second frame", lambda: film("TIFF")[:3000]),
    kind(
        "tiff whose second directory is the first",
        tiff_of(8, 8, TIFF_DATA_AT, data=bytes(64), next_directory=8),
    ),
]


@names(SURVIVED)
def test_damage_beside_the_pixels_is_survived(bad: Kind) -> None:
    picture = read_image(bad.build())
    assert picture.pixels.shape in ((8, 8, 3), (40, 40, 3), (48, 48, 3))
    assert picture.pixels.shape == (picture.height_px, picture.width_px, 3)


# Permissions


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, so for these tests root steps down. Nothing may be imported meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which everyone may enter, although the folders that it lies in are pytest's own."""
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return Path()


needs_permissions = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has other permissions")


@needs_permissions
def test_a_file_without_permission_is_refused(open_folder: Path) -> None:
    path = write_good(open_folder, 1)
    path.chmod(0)
    with as_nobody():
        decoded = decode(Task(str(path)), SIZE_PX)
        with pytest.raises(PermissionError):
            read_image(path)
    assert decoded.reason == f"cannot be read: {os.strerror(errno.EACCES)}"


@needs_permissions
def test_folders_without_permission_are_reported_and_the_others_searched(open_folder: Path) -> None:
    for name in ("a", "closed", "names only", "z"):
        (open_folder / name).mkdir(mode=0o755)
        write_good(open_folder / name, 1)
    (open_folder / "link into it").symlink_to("closed/further")
    (open_folder / "closed").chmod(0o000)
    (open_folder / "names only").chmod(0o444)  # may be listed, yet nothing in it may be looked at
    reported: list[str] = []
    try:
        with as_nobody():
            paths = [file.path for file in find_images(open_folder, reported.append)]
    finally:
        for name in ("closed", "names only"):
            (open_folder / name).chmod(0o755)
    assert [os.path.normpath(path) for path in paths] == ["a/good 1.png", "z/good 1.png"]
    assert [os.path.normpath(path) for path in reported] == ["closed", "link into it", "names only/good 1.png"]


# Decoders that misbehave. Workers find a sitecustomize module on the path that they share with this process, and
# in it a decoder for files that tell it what to do.

RIGGED = """
import os, re, resource, signal, sys, time
from pathlib import Path

from PIL import Image, ImageFile

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
Path(__file__).with_name(f"{os.getpid()}.pid").touch()


def talk():
    os.write(1, b"noise" * 999)
    print("noise", flush=True)
    raise ValueError("one\\n  line\\n")


DEEDS = {
    "sleep": lambda: time.sleep(3600),
    "never give the interpreter back": lambda: re.match("(a+)+$", "a" * 99 + "b"),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "be killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(3),
    "quit": lambda: sys.exit(0),
    "talk": talk,
    "want memory": lambda: bytearray(1 << 62),
    "recurse": lambda: (lambda again: again(again))(lambda again: again(again)),
}


class Rigged(ImageFile.ImageFile):
    format = "RIGGED"

    def _open(self):
        _, when, self.deed = self.fp.read().decode().split(":")
        self._mode, self._size = "RGB", (8, 8)
        if when == "opened":
            DEEDS[self.deed]()

    def load(self):
        DEEDS[self.deed]()


Image.register_open(Rigged.format, Rigged, lambda prefix: prefix.startswith(b"RIGGED:"))
"""

DEEDS = {  # what the decoder does -> the reason
    "decoded:sleep": "decoder waited longer than 8 s",
    "opened:sleep": "decoder waited longer than 8 s",
    "decoded:never give the interpreter back": "decoder took longer than 2 s of processor time",
    "decoded:crash": "decoder died of SIGSEGV",
    "opened:crash": "decoder died of SIGSEGV",
    "decoded:be killed": "decoder died of SIGKILL",  # as a system that is short of memory does
    "decoded:exit": "decoder died with exit code 3",
    "decoded:quit": "decoder died with exit code 0",
    "decoded:talk": "damaged, or of a kind that cannot be decoded",
    "decoded:want memory": "needs more than 1 GiB of memory",
    "decoded:recurse": "damaged, or of a kind that cannot be decoded",
}


@pytest.fixture
def rigged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that puts the decoder into every worker, and that every worker leaves its process id in."""
    pytest.importorskip("resource")
    folder = tmp_path / "rigged"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(RIGGED)
    monkeypatch.syspath_prepend(folder)
    return folder


def write_rigged(folder: Path, name: str, deed: str) -> Path:
    path = folder / name
    path.write_text(f"RIGGED:{deed}")
    return path


def workers_started(rigged: Path) -> list[int]:
    return [int(path.stem) for path in rigged.glob("*.pid")]


def assert_none_left(rigged: Path) -> None:
    started = workers_started(rigged)
    assert started
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)  # asks whether it is there: as a zombie it still would be


def test_a_decoder_that_hangs_or_dies_costs_its_file_alone(tmp_path: Path, rigged: Path) -> None:
    paths = []
    for number, deed in enumerate(DEEDS):
        paths += [write_good(tmp_path, number), write_rigged(tmp_path, f"bad {number}", deed)]
    paths.append(write_good(tmp_path, len(DEEDS)))
    with DecoderPool(size_px=SIZE_PX, workers=2, time_limit_s=2, memory_bytes=1 << 30) as pool:
        results = list(pool.map(Task(str(path)) for path in paths))
    assert [decoded.task.path for decoded in results] == [str(path) for path in paths]
    for number, decoded in enumerate(results[::2]):
        assert decoded.reason is None
        np.testing.assert_array_equal(decoded.pixels, good_pixels(number))
    for decoded, reason in zip(results[1::2], DEEDS.values(), strict=True):
        assert decoded.pixels is None
        assert (decoded.reason or "").startswith(reason)
    deaths = sum(reason.startswith("decoder") for reason in DEEDS.values())
    started = len(workers_started(rigged))
    assert deaths <= started <= deaths + 2  # one for each that died, and at first two
    assert_none_left(rigged)


class Interruption(Exception):
    pass


@contextmanager
def without_waiting() -> Iterator[None]:
    """Workers that hang are to be ended at once, and not by their own time limit."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < TIME_LIMIT_S / 2


def hanging_tasks(tmp_path: Path, good: int = 8) -> list[Task]:
    """A worker's first helping of good pictures, and then many that hang."""
    sleeper = write_rigged(tmp_path, "sleeper", "decoded:sleep")
    return [Task(str(write_good(tmp_path, number))) for number in range(good)] + [Task(str(sleeper))] * 40


def test_an_abandoned_pool_leaves_no_worker(tmp_path: Path, rigged: Path) -> None:
    with without_waiting(), DecoderPool(size_px=SIZE_PX, workers=2) as pool:
        results = pool.map(hanging_tasks(tmp_path))
        assert next(results).pixels is not None
    assert_none_left(rigged)


def test_an_error_in_the_loop_leaves_no_worker(tmp_path: Path, rigged: Path) -> None:
    with without_waiting(), pytest.raises(Interruption), DecoderPool(size_px=SIZE_PX, workers=2) as pool:
        for decoded in pool.map(hanging_tasks(tmp_path)):
            assert decoded.pixels is not None
            raise Interruption
    assert_none_left(rigged)


def test_an_error_in_the_tasks_leaves_no_worker(tmp_path: Path, rigged: Path) -> None:
    def tasks() -> Iterator[Task]:
        yield from hanging_tasks(tmp_path)[:16]
        while not workers_started(rigged):  # a worker that is ended sooner leaves no word of itself
            time.sleep(0.01)
        raise Interruption

    with without_waiting(), pytest.raises(Interruption), DecoderPool(size_px=SIZE_PX, workers=2) as pool:
        list(pool.map(tasks()))
    assert_none_left(rigged)


def test_closing_while_workers_start_leaves_none(tmp_path: Path, rigged: Path) -> None:
    pool = DecoderPool(size_px=SIZE_PX, workers=2)
    begun = threading.Event()

    def tasks() -> Iterator[Task]:
        yield from hanging_tasks(tmp_path, good=0)[:16]
        begun.set()  # both workers have their helpings, and are being started

    results: list[Decoded] = []
    reader = threading.Thread(target=lambda: results.extend(pool.map(tasks())))
    reader.start()
    begun.wait()
    with without_waiting():
        while not workers_started(rigged):
            time.sleep(0.001)
        pool.close()
    reader.join()
    assert results == []
    assert_none_left(rigged)


def test_a_pool_that_was_never_used_closes(rigged: Path) -> None:
    with DecoderPool(size_px=SIZE_PX, workers=2) as pool:
        assert list(pool.map([])) == []
    assert workers_started(rigged) == []
