"""Facts of pictures: the values that exiftool wrote, hostile metadata, and the way into an index."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import struct
import subprocess
import warnings
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from index.local.store import Store
from retrieval import Library, Searcher
from retrieval.ingest import facts as reading
from retrieval.known import known_of
from retrieval.pictures.exif import PREFIX, directory_at
from retrieval.pictures.facts import Facts
from retrieval.pictures.shared import decode_all
from retrieval.pictures.workers import Task, decode
from retrieval.pictures.xmp import properties
from tests.conftest import Run, without_facts, write_shapes

EXIFTOOL = shutil.which("exiftool")
needs_exiftool = pytest.mark.skipif(EXIFTOOL is None, reason="exiftool (Debian: libimage-exiftool-perl) is not there")
SIDE_PX = 32
BARE = Facts("JPEG")
MUTANTS = 400
DRAWN = 6  # pictures of each format


def draw(path: Path, mode: str = "RGB", **more: object) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **more)  # type: ignore[arg-type]
    return path


def tagged(path: Path, **tags: object) -> Path:
    """Write tags by exiftool; ``XMP_dc__Title`` is XMP-dc:Title, and a list writes a tag several times."""
    words = [
        f"-{name.replace('__', ':').replace('_', '-')}={value}"
        for name, values in tags.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    if any(name.startswith("IPTC") for name in tags):
        words.append("-codedcharacterset=utf8")
    command = [str(EXIFTOOL), "-q", "-overwrite_original", "-n", *words, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return path


def facts_of(*paths: Path) -> list[Facts]:
    """As a worker process reads them, with pixels and without."""
    both = [
        decode_all([Task(str(path), want=want) for path in paths], SIDE_PX)  # type: ignore[arg-type]
        for want in ("picture", "facts")
    ]
    for with_pixels, alone in zip(*both, strict=True):
        assert with_pixels.facts is not None and with_pixels.pixels is not None and with_pixels.facts == alone.facts
        assert (with_pixels.width_px, with_pixels.height_px) == (alone.width_px, alone.height_px)
    return [one.facts for one in both[0] if one.facts is not None]


def us_of(text: str) -> int:
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1)) // timedelta(microseconds=1)


# What exiftool wrote


@needs_exiftool
@pytest.mark.parametrize("suffix", ["jpg", "tif", "png", "webp"])
def test_what_a_camera_writes_is_read_from_each_format(tmp_path: Path, suffix: str) -> None:
    rng, paths, expected = np.random.default_rng(len(suffix) + ord(suffix[0])), list[Path](), list[Facts]()
    for number in range(DRAWN):
        paths.append(draw(tmp_path / f"{number}.{suffix}"))
        taken = datetime(1995, 1, 1) + timedelta(microseconds=int(rng.integers(10**15)))
        minutes = int(rng.integers(-14 * 60, 14 * 60))
        sign, hours, rest = "-" if minutes < 0 else "+", *divmod(abs(minutes), 60)
        place = [float(rng.uniform(1, most)) * (1 - 2 * (number >> bit & 1)) for bit, most in enumerate((89, 179))]
        exposure, focal, iso = int(rng.integers(2, 4000)), int(rng.integers(8, 800)), int(rng.integers(50, 25_600))
        turn, rating = int(rng.integers(1, 9)), int(rng.integers(6))
        tagged(
            paths[-1],
            EXIF__Make="SONY",
            EXIF__Model=f"ILCE-{number}",
            EXIF__LensModel=f"FE {focal}mm F1.8 \u00fc",
            EXIF__DateTimeOriginal=f"{taken:%Y:%m:%d %H:%M:%S}",
            EXIF__SubSecTimeOriginal=f"{taken.microsecond:06d}",
            EXIF__OffsetTimeOriginal=f"{sign}{hours:02d}:{rest:02d}" if number % 2 else "",
            EXIF__ExposureTime=f"{1 / exposure:.12f}",
            EXIF__FocalLength=focal,
            EXIF__ISO=iso,
            IFD0__Orientation=turn,
            IFD0__Rating=rating,
            EXIF__GPSLatitude=abs(place[0]),
            EXIF__GPSLatitudeRef="N" if place[0] > 0 else "S",
            EXIF__GPSLongitude=abs(place[1]),
            EXIF__GPSLongitudeRef="E" if place[1] > 0 else "W",
        )
        expected.append(
            Facts(
                {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()),
                taken_us=us_of(taken.isoformat()),
                taken_offset_s=60 * minutes if number % 2 else None,
                camera=f"SONY ILCE-{number}",
                lens=f"FE {focal}mm F1.8 \u00fc",
                focal_mm=float(focal),
                exposure_s=pytest.approx(1 / exposure, rel=1e-6),
                iso=iso,
                latitude=pytest.approx(place[0], abs=1e-6),
                longitude=pytest.approx(place[1], abs=1e-6),
                orientation=turn,
                rating=rating,
            )
        )
    assert len({(one.latitude > 0, one.longitude > 0) for one in facts_of(*paths)}) == 4  # type: ignore[operator]
    assert facts_of(*paths) == expected


def drawn_block(rng: np.random.Generator) -> tuple[bytes, int]:
    """A TIFF with one directory of drawn values of all types, of which some bytes are wrong; and where it begins."""
    order = str(rng.choice(["<", ">"]))
    count = int(rng.integers(1, 12))
    start, behind, entries = 8, b"", b""
    for tag in sorted(
        rng.choice([*range(0x9000, 0x9012), 0x0132, 0x0110, 0x8827, 0xA433], count, replace=False).tolist()
    ):
        kind = int(rng.integers(1, 14))
        length = int(rng.integers(0, 6))
        value = rng.bytes(length * {1: 1, 2: 1, 6: 1, 7: 1, 3: 2, 8: 2, 5: 8, 10: 8, 12: 8}.get(kind, 4))
        if len(value) > 4:
            place = struct.pack(f"{order}L", start + 2 + 12 * count + 4 + len(behind))
            behind += value
        else:
            place = value.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHL", tag, kind, length) + place
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}L", start)
    block = bytearray(head + struct.pack(f"{order}H", count) + entries + bytes(4) + behind)
    for _ in range(int(rng.integers(3))):
        block[int(rng.integers(10, len(block)))] = int(rng.integers(256))
    return bytes(block), start


def as_list(value: object) -> list[object]:
    """The values in one, with numbers as floats and None for no number."""
    values = value if isinstance(value, tuple) else (value,)
    numbers = [float(one) if isinstance(one, int | float | IFDRational) else one for one in values]
    return [None if isinstance(one, float) and math.isnan(one) else one for one in numbers]


def test_values_of_a_directory_are_those_of_pillow() -> None:
    """Of drawn directories, some of them damaged; where Pillow reads one, and gives a value its own type."""
    rng, compared = np.random.default_rng(0), 0
    for _ in range(3000):
        block, start = drawn_block(rng)
        exif = Image.Exif()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                exif.load(PREFIX + block)
                theirs = {tag: exif.get(tag) for tag in exif}
            except Exception:  # one value costs it all others
                continue
        mine = directory_at(PREFIX * int(rng.integers(3)) + block, start)
        assert mine is not None
        for tag, value in theirs.items():
            ours, wanted = as_list(mine.get(tag)), as_list(value)
            assert ours[: len(wanted)] == wanted, (tag, block)  # of a tag that has one value, Pillow forgets the others
            compared += 1
    assert compared > 5000


TOLD = {  # tags -> facts
    "xmp date with offset": (
        {"XMP_exif__DateTimeOriginal": "2021:07:05 10:20:30.5+05:30"},
        {"taken_us": us_of("2021-07-05T10:20:30.5"), "taken_offset_s": 19_800},
    ),
    "xmp date in utc": (
        {"XMP_photoshop__DateCreated": "2021:07:05 10:20:30Z"},
        {"taken_us": us_of("2021-07-05T10:20:30"), "taken_offset_s": 0},
    ),
    "exif before xmp": (
        {"EXIF__DateTimeOriginal": "2020:01:02 03:04:05", "XMP_photoshop__DateCreated": "2021:07:05 10:20:30Z"},
        {"taken_us": us_of("2020-01-02T03:04:05")},
    ),
    "xmp after broken exif": (
        {"EXIF__DateTimeOriginal": "0000:00:00 00:00:00", "XMP_photoshop__DateCreated": "2021:07:05 10:20:30"},
        {"taken_us": us_of("2021-07-05T10:20:30")},
    ),
    "iptc date": (
        {"IPTC__DateCreated": "2019:12:31", "IPTC__TimeCreated": "23:59:58-08:00"},
        {"taken_us": us_of("2019-12-31T23:59:58"), "taken_offset_s": -28_800},
    ),
    "before 1970": ({"EXIF__DateTimeOriginal": "1931:05:06 07:08:09"}, {"taken_us": us_of("1931-05-06T07:08:09")}),
    "year 0": ({"EXIF__DateTimeOriginal": "0000:00:00 00:00:00"}, {}),
    "year 9999": ({"EXIF__DateTimeOriginal": "9999:12:31 23:59:59"}, {}),
    "a date of a change is none of a shot": ({"IFD0__ModifyDate": "2020:01:02 03:04:05"}, {}),
    "xmp place": (
        {"XMP_exif__GPSLatitude": -33.5, "XMP_exif__GPSLongitude": -70.25},
        {"latitude": pytest.approx(-33.5, abs=1e-6), "longitude": pytest.approx(-70.25, abs=1e-6)},
    ),
    "no signal": (
        {
            "EXIF__GPSLatitude": 0,
            "EXIF__GPSLatitudeRef": "N",
            "EXIF__GPSLongitude": 0,
            "EXIF__GPSLongitudeRef": "E",
        },
        {},
    ),
    "half a place": ({"EXIF__GPSLatitude": 10, "EXIF__GPSLatitudeRef": "N"}, {}),
    "a place without a side": ({"EXIF__GPSLatitude": 10, "EXIF__GPSLongitude": 10}, {}),
    "title in xmp": (
        {"XMP_dc__Title": "Gr\u00fc\u00dfe", "IPTC__ObjectName": "b", "EXIF__ImageDescription": "c"},
        {"title": "Gr\u00fc\u00dfe"},
    ),
    "title in iptc": ({"IPTC__ObjectName": "sm\u00f8r", "EXIF__ImageDescription": "c"}, {"title": "sm\u00f8r"}),
    "title of Windows": ({"EXIF__XPTitle": "\u4f60\u597d", "EXIF__ImageDescription": "c"}, {"title": "\u4f60\u597d"}),
    "title in exif": ({"EXIF__ImageDescription": "caf\u00e9"}, {"title": "caf\u00e9"}),
    "keywords": (
        {
            "XMP_dc__Subject": ["sea", "\u00e9t\u00e9"],
            "IPTC__Keywords": ["sea", "boat"],
            "EXIF__XPKeywords": "boat;red sail",
        },
        {"keywords": "sea\n\u00e9t\u00e9\nboat\nred sail"},
    ),
    "rating in xmp": ({"XMP_xmp__Rating": 5}, {"rating": 5}),
    "rejected": ({"XMP_xmp__Rating": -1}, {}),
    "a camera that names its maker": (
        {"IFD0__Make": "NIKON CORPORATION", "IFD0__Model": "NIKON D70"},
        {"camera": "NIKON D70"},
    ),
    "camera and shot in xmp": (
        {
            "XMP_tiff__Make": "Maker",
            "XMP_tiff__Model": "Box",
            "XMP_aux__Lens": "50mm",
            "XMP_exif__FocalLength": 50,
            "XMP_exif__ExposureTime": 0.125,
            "XMP_exif__ISO": 200,
        },
        {"camera": "Maker Box", "lens": "50mm", "focal_mm": 50.0, "exposure_s": 0.125, "iso": 200},
    ),
    "long exposure": ({"EXIF__ExposureTime": 30}, {"exposure_s": 30.0}),
    "more ISO than 16 bits": ({"EXIF__ISO": 65_535, "EXIF__RecommendedExposureIndex": 102_400}, {"iso": 102_400}),
    "burst": ({"XMP_GCamera__BurstID": "b-17"}, {"burst": "b-17"}),
    "screenshot": ({"EXIF__UserComment": "Screenshot"}, {"is_screenshot": True}),
    "another comment": ({"EXIF__UserComment": "No Screenshot at all"}, {}),
    "motion": ({"XMP_GCamera__MicroVideo": 1}, {"is_motion": True}),
    "no motion": ({"XMP_GCamera__MicroVideo": 0}, {}),
}


@needs_exiftool
def test_each_fact_from_each_source(tmp_path: Path) -> None:
    paths = [tagged(draw(tmp_path / f"{number}.jpg"), **tags) for number, (tags, _) in enumerate(TOLD.values())]
    for (name, (_, told)), facts in zip(TOLD.items(), facts_of(*paths), strict=True):
        assert facts == BARE._replace(**told), name  # type: ignore[arg-type]


XMP = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description {}</rdf:RDF></x:xmpmeta>"""
CAMERA = 'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"'
GAIN_MAP = 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (f'{CAMERA} GCamera:MotionPhoto="1"/>', {"is_motion": True}),
        (f'{CAMERA} GCamera:MotionPhoto="0"/>', {}),
        (f"{CAMERA}><GCamera:MotionPhoto>1</GCamera:MotionPhoto></rdf:Description>", {"is_motion": True}),
        (f'{GAIN_MAP} hdrgm:Version="1.0"/>', {"has_gain_map": True}),
        ('xmlns:other="http://example.org/" other:MotionPhoto="1"/>', {}),
    ],
)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_what_phones_write_into_xmp(tmp_path: Path, words: str, told: dict[str, bool], suffix: str) -> None:
    packet = XMP.format(words).encode()
    if suffix == "png":
        from PIL.PngImagePlugin import PngInfo

        chunks = PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", packet.decode())
        path = draw(tmp_path / "a.png", pnginfo=chunks)
    else:
        path = draw(tmp_path / f"a.{suffix}", xmp=packet)
    name = "JPEG" if suffix == "jpg" else suffix.upper()
    assert facts_of(path) == [BARE._replace(format=name, **told)]  # type: ignore[arg-type]


def test_a_gain_map_of_the_iso_standard(tmp_path: Path) -> None:
    data = draw(tmp_path / "a.jpg").read_bytes()
    segment = b"urn:iso:std:iso:ts:21496:-1\0" + bytes(4)
    (tmp_path / "b.jpg").write_bytes(data[:2] + b"\xff\xe2" + struct.pack(">H", len(segment) + 2) + segment + data[2:])
    assert [one.has_gain_map for one in facts_of(tmp_path / "a.jpg", tmp_path / "b.jpg")] == [False, True]


def apple_note(entries: dict[int, bytes]) -> bytes:
    """The notes of an iPhone with some texts."""
    head = b"Apple iOS\0\0\x01MM" + struct.pack(">H", len(entries))
    place, directory, values = len(head) + 12 * len(entries) + 4, b"", b""
    for tag, text in entries.items():
        directory += struct.pack(">HHII", tag, 2, len(text) + 1, place + len(values))
        values += text + b"\0"
    return head + directory + bytes(4) + values


def test_the_notes_of_an_iphone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Apple", "iPhone 15"
    note = apple_note({0x0B: b"BURST-1234-5678", 0x11: b"ASSET-1234"})
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = note
    (facts,) = facts_of(draw(tmp_path / "a.jpg", exif=exif))
    assert (facts.camera, facts.burst, facts.is_motion) == ("Apple iPhone 15", "BURST-1234-5678", True)
    if EXIFTOOL:
        words = [EXIFTOOL, "-j", "-BurstUUID", "-ContentIdentifier", "-MediaGroupUUID", str(tmp_path / "a.jpg")]
        told = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)[0]
        assert told["BurstUUID"] == facts.burst and "ASSET-1234" in told.values()
    for length in range(len(note)):
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = note[:length]
        draw(tmp_path / "b.jpg", exif=exif)
        assert decode(Task(str(tmp_path / "b.jpg"), want="picture"), SIDE_PX).facts is not None


# How a picture is stored


def test_how_pictures_are_stored(tmp_path: Path) -> None:
    grey16 = Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50)
    grey16.save(tmp_path / "grey16.png")
    grey16.save(tmp_path / "grey16.tif")
    Image.fromarray(np.ones((30, 40), np.float32)).save(tmp_path / "float.tif")
    draw(tmp_path / "two.tif", save_all=True, append_images=[Image.new("RGB", (40, 30))])
    draw(tmp_path / "three.gif", save_all=True, append_images=[Image.new("RGB", (40, 30), n) for n in ("red", "blue")])
    draw(tmp_path / "bits.png", "1")
    draw(tmp_path / "clear.png", "RGBA")
    draw(tmp_path / "cmyk.jpg", "CMYK")
    names = ("grey16.png", "grey16.tif", "float.tif", "two.tif", "three.gif", "bits.png", "clear.png", "cmyk.jpg")
    told = facts_of(*(tmp_path / name for name in names))
    assert [(one.format, one.mode, one.bits, one.frames, one.has_alpha) for one in told] == [
        ("PNG", "I;16", 16, 1, False),
        ("TIFF", "I;16", 16, 1, False),
        ("TIFF", "F", 32, 1, False),
        ("TIFF", "RGB", 8, 2, False),
        ("GIF", "P", 8, 3, False),
        ("PNG", "1", 1, 1, False),
        ("PNG", "RGBA", 8, 1, True),
        ("JPEG", "CMYK", 8, 1, False),
    ]


# Hostile metadata


def rich(tmp_path: Path, suffix: str) -> Path:
    """A picture with all kinds of metadata, without exiftool."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.ImageDescription], exif[0x4746] = "Maker", "title", 4
    shot, gps = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    shot[ExifTags.Base.DateTimeOriginal], shot[ExifTags.Base.ISOSpeedRatings] = "2020:01:02 03:04:05", 100
    shot[ExifTags.Base.MakerNote] = apple_note({0x0B: b"BURST-1234"})
    gps.update({1: "N", 2: (1.0, 2.0, 3.0), 3: "E", 4: (4.0, 5.0, 6.0)})
    return draw(tmp_path / f"rich.{suffix}", exif=exif, xmp=XMP.format(f'{GAIN_MAP} hdrgm:Version="1"/>').encode())


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_mutated_metadata_never_costs_the_picture(tmp_path: Path, suffix: str) -> None:
    """Whatever is in a file, its pixels are read with facts as they are read without."""
    rng, data, changed = np.random.default_rng(4), rich(tmp_path, suffix).read_bytes(), 0
    path = tmp_path / f"mutant.{suffix}"
    (whole,) = facts_of(tmp_path / f"rich.{suffix}")
    assert whole.camera == "Maker" and (suffix == "tif" or whole.taken_us == us_of("2020-01-02T03:04:05"))
    for _ in range(MUTANTS):
        mutant = bytearray(data)
        for place in rng.integers(0, min(len(data), 1500), rng.choice([1, 3, 30])):
            mutant[place] = rng.choice([0, 1, 255, rng.integers(256)])
        path.write_bytes(mutant)
        plain, told = (decode(Task(str(path), want=want), SIDE_PX) for want in ("pixels", "picture"))  # type: ignore[arg-type]
        assert (plain.reason, plain.width_px, plain.height_px) == (told.reason, told.width_px, told.height_px)
        assert (plain.pixels is None) == (told.pixels is None) == (told.facts is None)
        assert plain.pixels is None or (plain.pixels == told.pixels).all()
        changed += told.facts not in (None, whole)
    assert suffix == "png" or changed > MUTANTS / 20  # a PNG's checksums tell most of it


@pytest.mark.parametrize(("above", "below"), [(0, 0), (1, 0), (2**32 - 1, 1), (91, 1)])
def test_places_that_are_none_cost_themselves(tmp_path: Path, above: int, below: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "Box"
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps.update({1: "N", 2: (IFDRational(above, below),) * 3, 3: "E", 4: (4.0, 5.0, 6.0)})
    (facts,) = facts_of(draw(tmp_path / "a.jpg", exif=exif))
    assert (facts.latitude, facts.longitude, facts.camera) == (None, None, "Box")


def test_directories_that_lead_to_themselves(tmp_path: Path) -> None:
    for pointer in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        loop = struct.pack("<2sHIHHHIIHHI4sI", b"II", 42, 8, 2, pointer, 4, 1, 8, 0x0110, 2, 4, b"Box\0", 8)
        (facts,) = facts_of(draw(tmp_path / "a.jpg", exif=b"Exif\0\0" + loop))
        assert facts == BARE._replace(camera="Box")


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
)
TITLE = '<dc:title xmlns:dc="http://purl.org/dc/elements/1.1/">{}</dc:title>'


def test_xmp_is_read_within_bounds() -> None:
    assert properties(XMP.format(">" + TITLE.format("a") + "</rdf:Description>").encode()) == {"title": ["a"]}
    assert properties(BOMB.encode() + b"]>" + TITLE.format("&j;").encode()) == {}
    assert properties(b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + TITLE.format("a").encode()) == {}
    assert properties(TITLE.format("&undefined;").encode()) == {}
    assert properties(TITLE.format("cut").encode()[:-3] + b"<") == {}
    assert properties(("<a>" * 80_000).encode()) == {}
    assert properties(b"<a>" + TITLE.format("kept").encode() + b"<b") == {"title": ["kept"]}
    many = properties(("<a>" + TITLE.format("t" * 5000) * 50 + "</a>").encode())
    assert len(many["title"]) == 50 and max(map(len, many["title"])) <= 2000
    assert properties(TITLE.format("x" * 300_000).encode()) == {}
    for odd in (b"", b"\0" * 100, b"\xff\xfe<\0a\0", b"no xml"):
        assert properties(odd) == {}


def test_64_kb_of_xmp_become_facts_of_a_bounded_size(tmp_path: Path) -> None:
    items = "".join(f"<rdf:li>keyword \x7f {number}</rdf:li>" for number in range(1500))
    dc = f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>'
    words = f"{dc}{TITLE.format('long ' * 1000)}</rdf:Description>"
    (facts,) = facts_of(draw(tmp_path / "a.jpg", xmp=XMP.format(words).encode()[:65_000]))
    assert facts.keywords is not None and 900 < len(facts.keywords) <= 1000
    assert facts.keywords.startswith("keyword \\x7f 0\nkeyword \\x7f 1\n")
    (facts,) = facts_of(
        draw(tmp_path / "b.jpg", xmp=XMP.format(f">{TITLE.format('long ' * 1000)}</rdf:Description>").encode())
    )
    assert facts.title == ("long " * 40).strip()


# On their way into an index


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine pictures with facts, one of them twice, and a file that is none."""
    folder = tmp_path / "photos"
    write_shapes(folder, 8)
    for number, path in enumerate(sorted(folder.glob("*.png"))):
        exif = Image.Exif()
        exif[ExifTags.Base.Model] = f"Box {number}"
        Image.open(path).save(path.with_suffix(".jpg"), exif=exif)
        path.unlink()
    write_shapes(folder, 1, seed=9)
    first = min(folder.glob("*.jpg"))
    shutil.copy(first, folder / "again.jpg")
    (folder / "notes.jpg").write_text("no picture")
    return folder


def stored(index: Path) -> dict[str, Facts | None]:
    """The facts of all pictures that can be found, by name."""
    with Store.open(index) as store:
        found, _ = store.rows.found_page(0, 1000)
        facts = store.rows.facts([one.content_hash for one in found])
        assert store.faults() == []
        return {os.path.basename(one.path): facts.get(one.content_hash) for one in found}


def count_facts(index: Path) -> int:
    with closing(sqlite3.connect(index / "catalog.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM facts").fetchone()[0])


def expected(folder: Path) -> dict[str, Facts | None]:
    paths = [path for path in sorted(folder.iterdir()) if path.name != "notes.jpg"]
    return {path.name: facts for path, facts in zip(paths, facts_of(*paths), strict=True)}


def test_ingest_stores_the_facts_of_each_content(tmp_path: Path, photos: Path, tiny_bundle: Path) -> None:
    index = tmp_path / "index"
    with Library.build(photos, index, model=tiny_bundle, workers=1) as library:
        assert stored(index) == expected(photos) and count_facts(index) == 9
        first, second, third = sorted(photos.glob("shape*.jpg"))[:3]
        draw(first)  # its old content is still in again.jpg
        draw(second, quality=50)
        third.rename(photos / "renamed.jpg")
        library.update()
        assert stored(index) == expected(photos) and count_facts(index) == 10
        library.remove([photos / "again.jpg"])
        assert count_facts(index) == 9  # nothing stays of what the user removed
        library.remove([photos])
        assert count_facts(index) == 0


def downgrade(index: Path) -> None:
    """Make the catalog one of schema 3, which had no facts."""
    with closing(sqlite3.connect(index / "catalog.db")) as connection, connection:
        without_facts(connection)
        connection.execute("UPDATE meta SET schema = 3")


def test_an_older_index_gains_facts_in_place(tmp_path: Path, photos: Path, tiny_bundle: Path, latent: Run) -> None:
    index = tmp_path / "index"
    Library.build(photos, index, model=tiny_bundle, workers=1).close()
    before = stored(index)
    downgrade(index)
    rows = [line for line in _dumped(index) if "INSERT" in line and '"meta"' not in line]
    caches = {path.name: path.read_bytes() for path in index.glob("*.faiss")}
    done = latent("index", "update", "--facts", "--index", index)
    assert "facts of 9 pictures were read" in done.stdout
    now = {line.replace(",NULL);", ");") if '"pictures"' in line else line for line in _dumped(index)}  # by schema 5
    assert stored(index) == before and set(rows) <= now
    assert {path.name: path.read_bytes() for path in index.glob("*.faiss")} == caches
    assert "all is well" in latent("index", "verify", "--index", index).stdout
    assert "facts of 0 pictures" in latent("index", "update", "--facts", "--index", index).stdout
    latent("index", "update", "--facts", "--reread", "--index", index, code=2)


def _dumped(index: Path) -> list[str]:
    with closing(sqlite3.connect(index / "catalog.db")) as connection:
        return list(connection.iterdump())


def test_files_that_changed_or_vanished_are_left_alone(tmp_path: Path, photos: Path, tiny_bundle: Path) -> None:
    index = tmp_path / "index"
    with Library.build(photos, index, model=tiny_bundle, workers=1) as library:
        before = stored(index)
        downgrade(index)
    first, second, third = sorted(photos.glob("shape*.jpg"))[:3]
    first.unlink()  # the same content is in again.jpg
    second.unlink()
    draw(third)
    with Library.open(index) as library:
        summary = library.read_facts(workers=1)
        assert (summary.read, summary.left) == (7, 2)
        assert stored(index) == before | {second.name: None, third.name: None}
        library.update()
        assert stored(index) == expected(photos) and library.read_facts().left == 0


def test_an_interrupt_keeps_the_facts_that_were_read(
    tmp_path: Path, photos: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    Library.build(photos, index, model=tiny_bundle, workers=1).close()
    before = stored(index)
    downgrade(index)
    monkeypatch.setattr(reading, "BATCH_FILES", 2)

    def stop(done: int, total: int) -> None:
        assert total == 9
        if done >= 4:
            raise KeyboardInterrupt

    with Library.open(index) as library:
        with pytest.raises(KeyboardInterrupt):
            library.read_facts(1, stop)
        assert count_facts(index) == 4
        assert library.read_facts(1).read == 5
    assert stored(index) == before


# Shown


@pytest.fixture
def index(tmp_path: Path, photos: Path, tiny_bundle: Path) -> Path:
    Library.build(photos, tmp_path / "index", model=tiny_bundle, workers=1).close()
    return tmp_path / "index"


def test_all_that_is_known_is_shown(index: Path, photos: Path, latent: Run) -> None:
    path = photos / "shape-0-003.jpg"
    os.utime(path, (10**9, 10**9))
    latent("index", "update", "--index", index)
    table = latent("show", path, "--index", index).stdout
    for words in ("found", "64 x 64", "Box 3", "2001-09-09 01:46:40+00:00, the date of the file", "JPEG, RGB, 8 bits"):
        assert words in table, table
    told = json.loads(latent("show", path, photos / "notes.jpg", "--format", "json", "--index", index).stdout)
    one, other = told["pictures"]
    assert (one["path"], one["status"], one["width_px"], one["taken_from"]) == (str(path), "found", 64, "file")
    assert Facts(**one["facts"]) == stored(index)[path.name] and one["realism"] is not None
    assert (other["status"], other["reason"], other["facts"]) == ("skipped", "not a picture", None)


def test_pictures_outside_an_index_are_read_when_they_are_shown(
    index: Path, photos: Path, tmp_path: Path, latent: Run
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2020:01:02 03:04:05"
    for path in (tmp_path / "new.jpg", photos / "shape-0-001.jpg"):
        draw(path, exif=exif)
    with Searcher.open(index) as searcher:
        new, changed, gone = known_of(searcher, [tmp_path / "new.jpg", photos / "shape-0-001.jpg", tmp_path / "no.jpg"])
    assert (new.status, changed.status, gone.status) == ("not indexed", "changed", "not indexed")
    assert (new.width_px, new.height_px) == (changed.width_px, changed.height_px) == (30, 40)
    assert new.taken == changed.taken == (datetime(2020, 1, 2, 3, 4, 5), "camera")
    assert gone.facts is None and gone.reason
    done = latent("show", tmp_path / "new.jpg", cwd=tmp_path)
    assert "not indexed" in done.stdout and "2020-01-02 03:04:05" in done.stdout and "no index" in done.stderr
    latent("show", tmp_path / "no.jpg", "--index", index, code=1)
    os.utime(tmp_path / "new.jpg", ns=(0, -(10**18)))
    latent("show", tmp_path / "new.jpg", "--index", index)


def test_what_metadata_says_acts_on_no_terminal(index: Path, tmp_path: Path, latent: Run) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "\x1b[2J\r\nnext line\t\x07"
    path = draw(tmp_path / "a.jpg", exif=exif)
    table = latent("show", path, "--index", index).stdout
    assert "\x1b" not in table and "\x07" not in table and "title       \\x1b[2J next line \\x07\n" in table
