"""Files that are no pictures, or no longer: each is refused with a reason, and costs nothing but itself."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

SIZE_PX = 64
HUGE = 2**31 - 1

# What the kinds are made of.


def drawn(form: str, mode: str = "RGB", side: int = 48, **options: object) -> bytes:
    """A noisy picture as a file of ``form``: noise, so that its data is long enough to be cut."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    image = Image.fromarray(noise).convert(mode)
    file = BytesIO()
    if form == "HEIF":  # not through Pillow: the reader under test must do without a registered decoder
        pytest.importorskip("pillow_heif").from_pillow(image).save(file)
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


def tiff_of(width: int, height: int, offset: int, packing: int = 1, data: bytes = b"") -> bytes:
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


def fits(**cards: object) -> bytes:
    lines = [f"{name:8}= {value:>20}" for name, value in {"SIMPLE": "T", **cards}.items()] + ["END"]
    return "".join(line.ljust(80) for line in lines).ljust(2880).encode()


def fli() -> bytes:
    return struct.pack("<IHHHHHHI", 200, 0xAF12, 1, 64, 64, 8, 3, 70) + bytes(108)


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
FTYP = struct.pack(">I4s4sI4s", 20, b"ftyp", b"%s", 0, b"%s")

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
    kind("jpeg of nothing but markers.jpg", b"\xff\xd8" + b"\xff" * 500, NOT),
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
    kind("avif cut.avif", cut("AVIF"), CUT),
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
    kind("dds cut.dds", cut("DDS"), CUT),
    kind("dds of an unknown packing.dds", lambda: patched(drawn("DDS"), 80, struct.pack("<I4s", 4, b"NOPE"))),
    kind("pcx cut.pcx", cut("PCX"), CUT),
    kind("sgi cut.sgi", cut("SGI")),
    kind("sgi packed and cut.sgi", b"\x01\xda\x01\x01" + struct.pack(">HHHH", 3, 64, 64, 3) + bytes(500)),
    kind("jpeg2000 cut.jp2", cut("JPEG2000")),
    kind("jpeg2000 cut in its boxes.jp2", lambda: drawn("JPEG2000")[:60]),
    kind("jpeg2000 of a header alone.j2k", lambda: drawn("JPEG2000", no_jp2=True)[:60]),
    kind("xbm malformed.xbm", b"#define x_width 16\n#define x_height 16\nstatic char x_bits[] = {\nwhat?\n"),
    kind("xpm malformed.xpm", b'/* XPM */\nstatic char *x[] = {\n"16 16 2 1",\n"  c none",\n};\n'),
    kind("im cut.im", cut("IM"), CUT),
    kind("msp cut.msp", cut("MSP", mode="1")),
    kind("qoi cut.qoi", cut("QOI")),
    kind("blp cut.blp", cut("BLP", mode="P")),
    kind("spider cut.spi", cut("SPIDER", mode="F")),
    kind("sun cut.ras", b"\x59\xa6\x6a\x95" + struct.pack(">IIIIIII", 64, 64, 24, 0, 1, 0, 0) + bytes(9), CUT),
    kind("fli cut.fli", fli),
    kind("dcx of no pages.dcx", struct.pack("<II", 0x3ADE68B1, 0)),
    kind("gbr cut.gbr", struct.pack(">IIIII", 28, 2, 64, 64, 1) + b"GIMP\0\0\0\x01" + bytes(9)),
    kind("pixar cut.pxr", b"\x80\xe8\0\0" + bytes(500) + struct.pack("<8H", *[64] * 8)),
    kind("ftex cut.ftc", b"FTEX" + struct.pack("<IIIII", 1, 64, 64, 1, 1) + struct.pack("<II", 0, 40)),
    kind("fits of a header alone.fits", fits(BITPIX=8, NAXIS=2, NAXIS1=64, NAXIS2=64)),
    kind("fits of no pictures.fits", fits(BITPIX=8, NAXIS=0)),
    # Formats that Pillow knows by name only
    kind("stub.hdf5", b"\x89HDF\r\n\x1a\n" + bytes(200)),
    kind("stub.grib", b"GRIB\0\0\0\x01" + bytes(200)),
    kind("stub.bufr", b"BUFR" + bytes(200)),
    kind("film.mpg", b"\0\0\x01\xb3" + struct.pack(">I", 0x14010114) + bytes(200)),
    # Programs that draw: no file may have another program run
    kind("program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nquit\n%%EOF\n", PROGRAM),
    kind("program.wmf", b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<hhhhH", 0, 0, 99, 99, 96) + bytes(30), ""),
]
