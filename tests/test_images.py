"""Good pictures: what is read from each format, mode and turn, and which files a folder is found to hold."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import sys
import threading
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import xxhash
from PIL import Image, ImageDraw

from retrieval import PictureRefused, find_images, load_model, read_image
from retrieval.pictures.decode import identified, read_pixels, square
from retrieval.pictures.workers import DecoderPool, Task, decode

Image.init()  # fills Image.SAVE with what this Pillow can write

Array = npt.NDArray[np.generic]

WIDTH, HEIGHT = 96, 64


def upright(width: int = WIDTH, height: int = HEIGHT) -> npt.NDArray[np.uint8]:
    """Smooth, so that lossy formats keep it, and different under every turn."""
    image = Image.fromarray(
        np.dstack(
            [
                np.tile(np.linspace(30, 220, width), (height, 1)),
                np.tile(np.linspace(220, 60, height)[:, None], (1, width)),
                np.full((height, width), 90),
            ]
        ).astype(np.uint8)
    )
    ImageDraw.Draw(image).rectangle((0, 0, width // 3, height // 4), fill=(200, 200, 60))
    return np.array(image)


def saved(pixels: Array | Image.Image, form: str, **options: object) -> bytes:
    """The bytes of a file of ``form``."""
    if form not in Image.SAVE and form != "HEIF":
        pytest.skip(f"this Pillow writes no {form}")
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = BytesIO()
    if form == "HEIF":  # not through Pillow: the reader under test must do without a registered decoder
        pytest.importorskip("pillow_heif").from_pillow(image).save(file, quality=95, chroma=444, **options)
    else:
        image.save(file, form, **options)
    return file.getvalue()


# Turns. What the EXIF standard says of where row 0 and column 0 of the stored picture lie in the upright one.

STORED: dict[int, Callable[[Array], Array]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: np.rot90,
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels, -1),
}
LOSSLESS: dict[str, tuple[str, dict[str, object]]] = {
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {"lossless": True}),
    "TIFF": ("TIFF", {}),
    "TIFF packed": ("TIFF", {"compression": "tiff_lzw"}),
}
LOSSY: dict[str, tuple[str, dict[str, object]]] = {
    "JPEG": ("JPEG", {"quality": 95, "subsampling": 0}),
    "MPO": ("MPO", {"quality": 95, "subsampling": 0}),
    "WebP lossy": ("WEBP", {"quality": 95}),
    "AVIF": ("AVIF", {"quality": 95, "subsampling": "4:4:4"}),
    "HEIC": ("HEIF", {}),
}


def turned(form: str, orientation: int, **options: object) -> bytes:
    """``upright`` stored turned, with the EXIF tag that says so."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](upright()))
    return saved(stored, form, exif=exif.tobytes() if form == "HEIF" else exif, **options)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_every_turn_comes_out_upright(name: str, orientation: int) -> None:
    form, options = {**LOSSLESS, **LOSSY}[name]
    picture = read_image(turned(form, orientation, **options))
    assert (picture.width_px, picture.height_px) == (WIDTH, HEIGHT)
    assert picture.pixels.shape == (HEIGHT, WIDTH, 3)
    difference = np.abs(picture.pixels.astype(int) - upright())
    assert difference.max() == 0 if name in LOSSLESS else difference.mean() < 2


@pytest.mark.parametrize("name", [*LOSSLESS, "JPEG", "MPO"])
def test_every_turn_gives_the_same_code(tmp_path: Path, name: str) -> None:
    form, options = {**LOSSLESS, **LOSSY}[name]
    paths = [tmp_path / str(orientation) for orientation in STORED]
    for orientation, path in zip(STORED, paths, strict=True):
        path.write_bytes(turned(form, orientation, **options))
    codes = load_model("faces-64", device="cpu").encode(paths)
    difference = np.abs(codes - codes[0]).max()
    assert difference < (1e-4 if name in LOSSLESS else 0.25)  # of numbers whose standard deviation is 1


def test_a_turn_in_xmp_alone_counts_too() -> None:
    note = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><tiff:Orientation>6</tiff:Orientation></x:xmpmeta>"
    picture = read_image(saved(np.ascontiguousarray(STORED[6](upright())), "WEBP", lossless=True, xmp=note))
    np.testing.assert_array_equal(picture.pixels, upright())


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_a_turn_that_does_not_exist_is_none(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read_image(saved(upright(), "PNG", exif=exif)).pixels, upright())


# Modes. Grey and colour ramps of 16 x 16, and what must come out of them.

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.dstack([RAMP, RAMP[::-1], RAMP.T])
ALPHA = RAMP.T[::-1]


def over_white(pixels: Array, alpha: Array) -> Array:
    share = alpha[..., None] / 255
    return pixels * share + 255 * (1 - share)


def grey(pixels: Array) -> Array:
    return np.repeat(pixels[..., None], 3, axis=2)


def stretched(values: Array) -> Array:
    values = values.astype(np.float64)
    return grey((values - values.min()) / np.ptp(values) * 255)


def deep_png() -> bytes:
    """16 bits a channel, in colour, which Pillow reads but does not write."""
    rows = (COLOURS.astype(">u2") * 257).reshape(16, -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def palette(**transparency: object) -> Image.Image:
    """Colour i of the palette is (i, 255 - i, 7)."""
    image = Image.frombytes("P", RAMP.shape, RAMP.tobytes())
    image.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
    image.info.update(transparency)
    return image


def palette_with_alpha() -> Image.Image:
    image = palette().convert("PA")
    image.putalpha(Image.fromarray(ALPHA))
    return image


PALETTE = np.dstack([RAMP, 255 - RAMP, np.full_like(RAMP, 7)])
DEEP = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
WIDE = np.linspace(-(2**30), 2**30, 256).reshape(16, 16).astype(np.int32)
BRIGHT = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
RGBA = np.dstack([COLOURS, ALPHA])
LA = np.dstack([RAMP, ALPHA])
ONE_HOLE = np.where(RAMP == 200, 0, 255)
HALVED = np.where(RAMP < 100, 0, 255)

MODES: dict[str, tuple[Callable[[], bytes], Array, float]] = {  # -> file, expected, tolerance
    # transparent
    "RGBA PNG": (lambda: saved(RGBA, "PNG"), over_white(COLOURS, ALPHA), 1),
    "RGBA TIFF": (lambda: saved(RGBA, "TIFF"), over_white(COLOURS, ALPHA), 1),
    "RGBA WebP": (lambda: saved(RGBA, "WEBP", lossless=True, exact=True), over_white(COLOURS, ALPHA), 1),
    "RGBA TGA": (lambda: saved(RGBA, "TGA"), over_white(COLOURS, ALPHA), 1),
    "LA PNG": (lambda: saved(LA, "PNG"), over_white(grey(RAMP), ALPHA), 1),
    "LA TIFF": (lambda: saved(LA, "TIFF"), over_white(grey(RAMP), ALPHA), 1),
    "PA TIFF": (lambda: saved(palette_with_alpha(), "TIFF"), over_white(PALETTE, ALPHA), 1),
    "P PNG, one clear colour": (lambda: saved(palette(), "PNG", transparency=200), over_white(PALETTE, ONE_HOLE), 1),
    "P PNG, a transparent palette": (
        lambda: saved(palette(), "PNG", transparency=bytes(100)),
        over_white(PALETTE, HALVED),
        1,
    ),
    "P GIF, one clear colour": (lambda: saved(palette(), "GIF", transparency=200), over_white(PALETTE, ONE_HOLE), 1),
    "L PNG, one clear grey": (lambda: saved(RAMP, "PNG", transparency=200), over_white(grey(RAMP), ONE_HOLE), 1),
    "RGB PNG, one clear colour": (
        lambda: saved(PALETTE, "PNG", transparency=(200, 55, 7)),
        over_white(PALETTE, ONE_HOLE),
        1,
    ),
    # opaque
    "1 PNG": (lambda: saved(RAMP > 99, "PNG"), grey(np.where(RAMP > 99, 255, 0)), 0),
    "1 TIFF": (lambda: saved(RAMP > 99, "TIFF", compression="group4"), grey(np.where(RAMP > 99, 255, 0)), 0),
    "L PNG": (lambda: saved(RAMP, "PNG"), grey(RAMP), 0),
    "L JPEG": (lambda: saved(RAMP, "JPEG", quality=100), grey(RAMP), 3),
    "P PNG": (lambda: saved(palette(), "PNG"), PALETTE, 0),
    "P GIF": (lambda: saved(palette(), "GIF"), PALETTE, 0),
    "P BMP": (lambda: saved(palette(), "BMP"), PALETTE, 0),
    "CMYK JPEG": (
        lambda: saved(Image.fromarray(PALETTE).convert("CMYK"), "JPEG", quality=100, subsampling=0),
        PALETTE,
        6,
    ),
    "CMYK TIFF": (lambda: saved(Image.fromarray(PALETTE).convert("CMYK"), "TIFF"), PALETTE, 1),
    "YCbCr JPEG": (lambda: saved(PALETTE, "JPEG", quality=100, subsampling=0), PALETTE, 6),
    "YCbCr TIFF": (lambda: saved(Image.fromarray(PALETTE).convert("YCbCr"), "TIFF"), PALETTE, 3),
    "Lab TIFF": (lambda: saved(Image.fromarray(grey(RAMP)).convert("LAB"), "TIFF"), grey(RAMP), 3),
    # deep: scaled to 8 bits, never clipped
    "16-bit PNG": (lambda: saved(DEEP, "PNG"), grey(DEEP / 257), 1),
    "16-bit TIFF": (lambda: saved(DEEP, "TIFF"), grey(DEEP / 257), 1),
    "16-bit TIFF, big-endian": (lambda: saved(DEEP.astype(">u2"), "TIFF"), grey(DEEP / 257), 1),
    "16-bit PGM": (lambda: b"P5\n16 16\n65535\n" + DEEP.astype(">u2").tobytes(), grey(DEEP / 257), 1),
    "16-bit RGB PNG": (deep_png, COLOURS, 1),
    "a dark 16-bit PNG stays dark": (lambda: saved(DEEP // 4, "PNG"), grey(DEEP / 4 / 257), 1),
    "32-bit TIFF": (lambda: saved(WIDE, "TIFF"), stretched(WIDE), 1),
    "float TIFF from 0 to 1": (lambda: saved(BRIGHT, "TIFF"), grey(BRIGHT * 255), 1),
    "a dark float TIFF stays dark": (lambda: saved(BRIGHT / 4, "TIFF"), grey(BRIGHT / 4 * 255), 1),
    "float TIFF from 0 to 255": (lambda: saved(RAMP.astype(np.float32), "TIFF"), grey(RAMP), 1),
    "float TIFF of any range": (lambda: saved(BRIGHT * 9000 - 5000, "TIFF"), stretched(BRIGHT), 1),
    "float TIFF with holes": (lambda: saved(np.where(RAMP == 9, np.nan, BRIGHT), "TIFF"), grey(BRIGHT * 255), 10),
    "float TIFF of one value": (lambda: saved(np.full((16, 16), -7, np.float32), "TIFF"), np.zeros((16, 16, 3)), 0),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_rgb(name: str) -> None:
    build, expected, tolerance = MODES[name]
    picture = read_image(build())
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape == (16, 16, 3)
    np.testing.assert_allclose(picture.pixels, expected, atol=tolerance)


def eight_bits(values: Array, low: float, high: float) -> Array:
    return np.repeat(np.rint((values.astype(np.float64) - low) * 255 / (high - low))[..., None], 3, axis=2)


@pytest.mark.parametrize("seed", range(6))
def test_deep_grey_keeps_its_brightness_where_its_range_is_known_and_is_stretched_elsewhere(seed: int) -> None:
    """Drawn so that neither end is that of the range itself."""
    rng = np.random.default_rng(seed)

    def read(low: float, high: float, kind: type) -> tuple[Array, Array]:
        values = rng.uniform(low, high, (20, 20)).astype(kind)
        values[0, :2] = low, high
        return values, read_image(saved(values, "TIFF")).pixels

    for low, high in ((300, 60_000), (1, 256), (0, 65_535), (0, 40_000)):
        values, pixels = read(low, high, np.int32)
        np.testing.assert_allclose(pixels, eight_bits(values, 0, 65_535), atol=1)
    values, pixels = read(7, 255, np.int32)
    np.testing.assert_allclose(pixels, eight_bits(values, 0, 255), atol=1)
    for low, high in ((300, 65_536), (5, 10**6), (-300, 60_000), (-1, 200)):
        values, pixels = read(low, high, np.int32)
        np.testing.assert_allclose(pixels, eight_bits(values, low, high), atol=1)
    for low, high, black, white in ((0.2, 0.7, 0, 1), (0.2, 1.5, 0, 255), (3, 255, 0, 255), (-0.5, 0.7, -0.5, 0.7)):
        values, pixels = read(low, high, np.float32)
        np.testing.assert_allclose(pixels, eight_bits(values, black, white), atol=1)
    values, pixels = read(-4, 300, np.float32)
    np.testing.assert_allclose(pixels, eight_bits(values, -4, 300), atol=1)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_black(hole: float) -> None:
    values = np.full((20, 20), 0.5, np.float32)
    values[3, 4] = hole
    expected = np.full((20, 20, 3), 128)
    expected[3, 4] = 0
    np.testing.assert_allclose(read_image(saved(values, "TIFF")).pixels, expected, atol=1)


# More than one frame: the first, or what the file declares to be its picture.


def frames() -> list[Image.Image]:
    return [Image.new("RGB", (32, 24), colour) for colour in ("red", "lime", "blue")]


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF"])
def test_of_a_film_the_first_frame_is_read(form: str) -> None:
    first, *others = frames()
    picture = read_image(saved(first, form, save_all=True, append_images=others))
    assert (picture.width_px, picture.height_px) == (32, 24)
    np.testing.assert_allclose(picture.pixels, np.array(first), atol=6)


def test_of_a_heic_the_primary_picture_is_read() -> None:
    heif = pytest.importorskip("pillow_heif").HeifFile()
    for image in frames():
        heif.add_from_pillow(image)
    file = BytesIO()
    heif.save(file, primary_index=2, quality=95)
    np.testing.assert_allclose(read_image(file.getvalue()).pixels, np.array(frames()[2]), atol=6)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_of_a_psd_the_merged_picture_is_read(layers: int) -> None:
    width, height = 4, 3
    plane = width * height
    record = struct.pack(">iiiiH", 0, 0, height, width, 3)
    record += b"".join(struct.pack(">hI", channel, 2 + plane) for channel in range(3))
    record += b"8BIMnorm\xff\0\0\0" + struct.pack(">III", 12, 0, 0) + b"\x03abc"
    layer = (b"\0\0" + b"\x28" * plane) * 3
    information = struct.pack(">h", layers) + record * layers + layer * layers
    section = struct.pack(">I", len(information)) + information + bytes(4) if layers else b""
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, height, width, 8, 3) + bytes(8)
    merged = b"\xc8" * plane + b"\x64" * plane + b"\x32" * plane
    picture = read_image(header + struct.pack(">I", len(section)) + section + b"\0\0" + merged)
    np.testing.assert_array_equal(picture.pixels, np.full((height, width, 3), (200, 100, 50)))


# Formats


@pytest.mark.parametrize(
    "form", ["HEIF", "AVIF", "WEBP", "JPEG", "JPEG2000", "PNG", "TIFF", "BMP", "GIF", "PPM", "QOI"]
)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".txt", ".heic", ""])
def test_content_counts_and_not_the_suffix(tmp_path: Path, form: str, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(saved(upright(), form))
    for source in (path, str(path), path.read_bytes()):
        picture = read_image(source)
        assert (picture.width_px, picture.height_px) == (WIDTH, HEIGHT)
        assert np.abs(picture.pixels.astype(int) - upright()).mean() < 6
    with path.open("rb") as file:
        np.testing.assert_array_equal(read_image(file).pixels, picture.pixels)


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY, "GIF", "JPEG2000", "ICO", "ICNS", "QOI", "PCX", "TGA", "DDS"])
def test_a_worker_gives_the_same_pixels_and_the_hash_of_the_file(tmp_path: Path, name: str) -> None:
    """Between the look at the header and the decoding it reads the whole file, which must not disturb the decoder."""
    form, options = {**LOSSLESS, **LOSSY}.get(name, (name, {}))
    content = saved(upright(64, 64), form, **options)
    path = tmp_path / "picture"
    path.write_bytes(b"before" + content + b"after")
    (tmp_path / "whole").write_bytes(content)
    content_hash = xxhash.xxh3_128(content).digest()
    expected = square(read_image(content, cover_px=32).pixels, 32)
    for task in (Task(str(tmp_path / "whole")), Task(str(path), offset=6, length=len(content))):
        decoded = decode(task, 32)
        assert decoded.reason is None
        assert decoded.content_hash == content_hash
        np.testing.assert_array_equal(decoded.pixels, expected)
    known = decode(Task(str(tmp_path / "whole")), 32, known={content_hash})
    assert (known.content_hash, known.pixels, known.reason) == (content_hash, None, None)


@pytest.mark.parametrize("form", ["HEIF", "AVIF", "WEBP", "JPEG", "JPEG2000", "PNG", "TIFF", "BMP", "GIF"])
def test_all_formats_are_held_against_the_same_limit_of_pixels(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = saved(upright(), form)
    monkeypatch.setattr("retrieval.pictures.decode.MOST_PIXELS", WIDTH * HEIGHT)
    assert read_image(whole).width_px == WIDTH
    monkeypatch.setattr("retrieval.pictures.decode.MOST_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(PictureRefused, match="decompression bomb"):
        read_image(whole)


# Warnings of decoders. The tests turn all warnings into errors, so one that gets through costs the picture.

ODD_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x05\0"  # five tags, of which none is there


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A picture of which Pillow says that its EXIF is corrupt, and that it could be a decompression bomb."""
    content = saved(upright(), "PNG", exif=ODD_EXIF)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.warns(Image.DecompressionBombWarning), pytest.warns(UserWarning, match="Corrupt EXIF"):
        Image.open(BytesIO(content)).getexif()
    return content


def test_warnings_of_decoders_are_not_heard(odd: bytes) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        np.testing.assert_array_equal(read_image(odd).pixels, upright())
    assert heard == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_image(odd).pixels, upright())


def test_reading_in_threads_leaves_the_warnings_filters_as_they_were(odd: bytes) -> None:
    before = list(warnings.filters)
    began = threading.Barrier(9)

    def read(_: int) -> None:
        began.wait()
        for _ in range(10):
            np.testing.assert_array_equal(read_image(odd).pixels, upright())

    with ThreadPoolExecutor(8) as threads:
        for _ in range(10):
            reading = threads.map(read, range(8))
            began.wait()
            for _ in range(100):
                with pytest.raises(UserWarning, match="of the caller"):
                    warnings.warn("of the caller", stacklevel=1)
            assert list(reading) == [None] * 8
            assert warnings.filters == before


def test_threads_whose_reading_overlaps_leave_the_warnings_filters_as_they_were(odd: bytes) -> None:
    """The first begins first and ends first. Meanwhile a third one saves the filters, and restores them afterwards."""
    before = list(warnings.filters)
    first, second = identified(odd), identified(odd)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        image = one.submit(first.__enter__).result()
        with warnings.catch_warnings():
            also = other.submit(second.__enter__).result()
            one.submit(first.__exit__, None, None, None).result()
            with pytest.raises(UserWarning, match="of the caller"):
                warnings.warn("of the caller", stacklevel=1)
            assert image.size == (WIDTH, HEIGHT)
        np.testing.assert_array_equal(other.submit(read_pixels, also).result().pixels, upright())
        other.submit(second.__exit__, None, None, None).result()
    assert warnings.filters == before


# JPEGs decoded smaller


@pytest.mark.parametrize(
    ("width", "height", "cover_px", "shape"),
    [
        (640, 480, 64, (120, 160, 3)),  # a quarter: an eighth would be 60 px high
        (512, 512, 64, (64, 64, 3)),
        (511, 511, 64, (128, 128, 3)),
        (1000, 130, 64, (65, 500, 3)),
        (130, 1000, 64, (500, 65, 3)),
        (640, 480, None, (480, 640, 3)),
        (640, 480, 480, (480, 640, 3)),
        (50, 40, 64, (40, 50, 3)),  # never larger than it is
    ],
)
@pytest.mark.parametrize("form", ["JPEG", "MPO"])
def test_jpeg_is_decoded_at_the_smallest_scale_that_covers(
    form: str, width: int, height: int, cover_px: int | None, shape: tuple[int, int, int]
) -> None:
    picture = read_image(saved(upright(width, height), form), cover_px=cover_px)
    assert picture.pixels.shape == shape
    assert (picture.width_px, picture.height_px) == (width, height)


def test_a_turned_jpeg_decoded_smaller_has_the_upright_sizes() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(np.ascontiguousarray(STORED[6](upright(640, 480))), "JPEG", quality=95, exif=exif)
    picture = read_image(content, cover_px=64)
    assert picture.pixels.shape == (120, 160, 3)
    assert (picture.width_px, picture.height_px) == (640, 480)
    assert np.abs(picture.pixels.astype(int) - upright(160, 120)).mean() < 4


# The square


def test_the_square_is_cut_from_the_middle() -> None:
    thirds = np.repeat(np.array([[10, 200, 90]], np.uint8), 64, axis=1)
    wide = np.ascontiguousarray(np.broadcast_to(thirds[..., None], (64, 192, 3)))
    middle = np.full((64, 64, 3), 200, np.uint8)
    np.testing.assert_array_equal(square(wide, 64), middle)
    np.testing.assert_array_equal(square(np.ascontiguousarray(wide.transpose(1, 0, 2)), 64), middle)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (63, 64), (64, 65), (2000, 3001)])
def test_every_shape_gives_the_square(shape: tuple[int, int]) -> None:
    pixels = np.full((*shape, 3), (9, 120, 255), np.uint8)
    result = square(pixels, 64)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, np.full((64, 64, 3), (9, 120, 255)))


def test_what_has_the_size_already_is_left_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal(square(pixels, 64), pixels)
    mirrored = square(pixels[:, ::-1], 64)
    np.testing.assert_array_equal(mirrored, pixels[:, ::-1])
    assert mirrored.flags.c_contiguous


# Finding files


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def found(root: Path, unreadable: Callable[[str], None] | None = None) -> list[str]:
    """Paths below ``root``, relative to it."""
    return [os.path.relpath(file.path, root) for file in find_images(root, unreadable)]


def test_files_come_in_the_order_of_their_names_bytes(tmp_path: Path) -> None:
    names = ["10.jpg", "9.jpg", "B.jpg", "a/z.jpg", "a.jpg", "b", "z/a/b.jpg", "z/b.jpg", "ä.jpg", "猫.jpg"]
    touch(*(tmp_path / name for name in reversed(names)))
    assert found(tmp_path) == names


def test_a_found_file_has_its_size_and_date(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"12345")
    os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    (file,) = find_images(str(tmp_path))
    assert (file.path, file.size_bytes, file.mtime_ns) == (str(path), 5, 1_234_567_890_123_456_789)


def test_hidden_files_and_litter_are_passed_over(tmp_path: Path) -> None:
    litter = ["._x.jpg", ".hidden.jpg", ".folder/x.jpg", "Thumbs.db", "deep/ehthumbs.db", "desktop.ini", "Icon\r"]
    touch(*(tmp_path / name for name in [*litter, "x.jpg", "deep/x.jpg", "Thumbs.db.jpg"]))
    assert found(tmp_path) == ["Thumbs.db.jpg", "deep/x.jpg", "x.jpg"]


def test_a_hidden_root_is_entered(tmp_path: Path) -> None:
    touch(tmp_path / ".photos" / "x.jpg")
    assert found(tmp_path / ".photos") == ["x.jpg"]


def test_links_that_loop_end(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "x.jpg", tmp_path / "b" / "y.jpg")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "across").symlink_to("../b")
    (tmp_path / "b" / "back").symlink_to("../a")
    (tmp_path / "b" / "round").symlink_to("round")
    assert found(tmp_path) == ["a/x.jpg", "b/y.jpg"]  # each under its own name


def test_a_folder_linked_twice_is_entered_once_and_last(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "x.jpg", tmp_path / "root" / "y.jpg")
    for name in ("one", "two"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "elsewhere")
    files = find_images(tmp_path / "root", follow_links=True)
    assert [os.path.relpath(file.path, tmp_path / "root") for file in files] == ["y.jpg", "one/x.jpg"]


def test_links_to_files_are_files_and_dangling_ones_are_nothing(tmp_path: Path) -> None:
    touch(tmp_path / "x.jpg")
    (tmp_path / "again.jpg").symlink_to("x.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "into a file.jpg").symlink_to("x.jpg/y.jpg")
    reported: list[str] = []
    assert found(tmp_path, reported.append) == ["again.jpg", "x.jpg"]
    assert reported == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_what_is_no_file_is_not_yielded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a pipe would wait for a writer that never comes, and reading a device never ends."""
    touch(tmp_path / "x.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)  # addresses of sockets are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jpg")
        assert found(tmp_path) == ["x.jpg"]


STRANGE_NAMES = [
    b" .jpg",
    b"two  spaces .jpg",
    b"-rf.jpg",
    b'it\'s "quoted" `here`.jpg',
    b"$(reboot);*?[a].jpg",
    b"line\nbreak\ttab\r.jpg",
    b"back\\slash.jpg",
    "\N{CAT FACE} \N{FAMILY}\N{ZERO WIDTH JOINER}.jpg".encode(),
    "a\N{COMBINING DIAERESIS}.jpg".encode(),
    b"%s{}.jpg",
    b"x" * 251 + b".jpg",
    b"latin-1 \xe4\xf6\xfc.jpg",
    b"\xff\xfe\x80.jpg",
]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_strange_names_are_found_and_read(tmp_path: Path) -> None:
    content = saved(upright(64, 64), "PNG")
    for name in STRANGE_NAMES:
        folder = os.path.join(os.fsencode(tmp_path), name.replace(b".jpg", b""))
        os.mkdir(folder)
        for place in (os.path.join(folder, name), os.path.join(os.fsencode(tmp_path), name)):
            Path(os.fsdecode(place)).write_bytes(content)
    files = list(find_images(tmp_path))
    assert len(files) == 2 * len(STRANGE_NAMES)
    assert {os.fsencode(Path(file.path).name) for file in files} == set(STRANGE_NAMES)
    with DecoderPool(size_px=64, workers=1) as pool:
        for file, decoded in zip(files, pool.map(Task(file.path) for file in files), strict=True):
            assert decoded.task.path == file.path
            np.testing.assert_array_equal(decoded.pixels, upright(64, 64))
            np.testing.assert_array_equal(read_image(file.path).pixels, upright(64, 64))


def test_folders_nest_deeper_than_python_recurses(tmp_path: Path) -> None:
    depth = sys.getrecursionlimit() + 100
    folders = [str(tmp_path)]
    for _ in range(depth):
        folders.append(os.path.join(folders[-1], "d"))
    bottom = Path(folders[-1], "x.jpg")
    try:
        for folder in folders[1:]:
            os.mkdir(folder)
        bottom.touch()
        assert [file.path for file in find_images(tmp_path)] == [str(bottom)]
    finally:  # by hand, since shutil.rmtree recurses too
        bottom.unlink(missing_ok=True)
        for folder in reversed(folders[1:]):
            os.rmdir(folder)


def test_what_goes_away_meanwhile_is_passed_over(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ["a/x.jpg", "b/x.jpg", "c/x.jpg", "d.jpg", "e.jpg"]))
    reported: list[str] = []
    files = find_images(tmp_path, reported.append)
    assert next(files).path == str(tmp_path / "a" / "x.jpg")
    shutil.rmtree(tmp_path / "b")
    (tmp_path / "d.jpg").unlink()
    assert [Path(file.path).name for file in files] == ["x.jpg", "e.jpg"]
    assert reported == []


def test_a_root_that_is_no_folder_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path / "x.jpg")
    with pytest.raises(NotADirectoryError):
        list(find_images(tmp_path / "x.jpg"))
    with pytest.raises(FileNotFoundError):
        list(find_images(tmp_path / "nowhere"))
