"""The door of an index: other files beside pictures, what is left out, large JPEGs, and words of decoders."""

from __future__ import annotations

import json
import os
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, draw_shapes, write_shapes
from PIL import Image

from index.local.excluded import EXCLUDED_NAME
from retrieval import IndexDamaged, Library, Retriever
from retrieval.pictures.decode import WORDS
from retrieval.pictures.kinds import NOT_A_PICTURE, RAW, UNREADABLE, other_kind
from retrieval.pictures.workers import DecoderPool, Task, decode

MP4 = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2" + b"\0\0\0\x08mdat" + bytes(50)
OTHERS: dict[str, tuple[bytes, str]] = {
    "note.txt": (b"I am a note.\n", "text"),
    "empty.txt": (b"", "empty file"),
    "no suffix": (b"words\n", "text"),
    "README": ("n\u00f6te".encode("utf-16"), "text"),
    "page.html": (b"<!DOCTYPE html><html></html>", "text"),
    "a.xmp": (b"<x:xmpmeta/>", "sidecar"),
    "a.jpg.json": (b"{}", "sidecar"),
    "a.aae": (b"<plist/>", "sidecar"),
    "film.mp4": (MP4, "video"),
    "film.jpg": (MP4, "video"),  # the content decides, whatever the name
    "film.mov": (b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(90), "video"),
    "film.avi": (b"RIFF\x24\0\0\0AVI LIST" + bytes(90), "video"),
    "film.mkv": (b"\x1a\x45\xdf\xa3" + bytes(90), "video"),
    "film.mpg": (b"\0\0\x01\xb3\x16\x01\x20\x13" + bytes(90), "video"),  # Pillow takes it for a picture at first
    "film.mts": (bytes(4) + (b"G" + bytes(191)) * 3, "video"),
    "song.mp3": (b"ID3\x04" + bytes(90), "sound"),
    "all.zip": (b"PK\x03\x04" + bytes(90), "archive"),
    "letter.docx": (b"PK\x03\x04" + bytes(90), "document"),
    "paper.pdf": (b"%PDF-1.7\n", "document"),
    "run.exe": (b"MZ\x90\0" + bytes(90), "program"),
    "run.sh": (b"#!/bin/sh\n", "program"),
    "thumbs.sqlite": (b"SQLite format 3\0" + bytes(90), "database"),
    "plan.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "drawing"),
    "noise.dat": (bytes(range(256)), "unknown"),
}
UNREAD: dict[str, tuple[bytes, str]] = {
    "page.jpg": (b"<html>404", NOT_A_PICTURE),
    "empty.png": (b"", "empty file"),
    "a.cr3": (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom" + bytes(90), RAW),
    "a.raf": (b"FUJIFILMCCD-RAW 0201" + bytes(90), RAW),
    "a.orf": (b"IIRO\x08\0\0\0" + bytes(90), RAW),
    "a.nef": (b"MM\0*\0\0\0\x08" + bytes(90), RAW),
    "a.arw": (b"II*\0\x08\0\0\0\0\0\0\0" + bytes(90), RAW),
}


BAD_PATTERN = b'{"patterns": ["[x"]}'  # the room that keeps it knows no grammar


def draw(kind: str, seed: int = 0, side: int = 64, **more: object) -> bytes:
    from io import BytesIO

    file = BytesIO()
    Image.fromarray(draw_shapes(1, seed, side)[0][0]).save(file, kind, **more)
    return file.getvalue()


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Three pictures, two of them under names that hide it, among other files and pictures that cannot be read."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, (content, _) in [*OTHERS.items(), *UNREAD.items()]:
        (folder / name).write_bytes(content)
    (folder / "a.png").write_bytes(draw("PNG", 1))
    (folder / "b.txt").write_bytes(draw("JPEG", 2))
    (folder / "c").write_bytes(draw("WEBP", 3))
    (folder / "cut.jpg").write_bytes(draw("JPEG", 4)[:700])
    return folder


def test_content_decides_and_then_the_name(mixed: Path) -> None:
    for name, (_, kind) in OTHERS.items():
        reason = decode(Task(str(mixed / name)), 32).reason
        assert reason is not None and other_kind(reason) == kind, (name, reason)
    for name, (_, expected) in UNREAD.items():
        reason = decode(Task(str(mixed / name)), 32).reason
        assert reason == expected and other_kind(reason, name) is None, name
    for name in ("a.png", "b.txt", "c"):
        assert decode(Task(str(mixed / name)), 32).reason is None
    with zipfile.ZipFile(mixed / "real.zip", "w") as archive:
        archive.write(mixed / "a.png")
    assert other_kind(decode(Task(str(mixed / "real.zip")), 32).reason or "") == "archive"
    assert (
        other_kind(NOT_A_PICTURE, "x/y.TXT") == "text" and other_kind(NOT_A_PICTURE, "x/y.JPG") is None
    )  # of old rows
    assert other_kind("not a picture: \x1b[2J") == "unknown"  # of a stranger's row


def test_build_update_and_status_count_the_same(mixed: Path, latent: Run) -> None:
    built = latent("index", "build", "photos")
    updated = latent("index", "update")
    assert built.stdout.startswith("added 3  ") and "unchanged 3  skipped 8" in updated.stdout
    counts = [line for line in built.stdout.splitlines() if line.startswith(("  skipped", "other files"))]
    assert counts == [line for line in updated.stdout.splitlines() if line.startswith(("  skipped", "other files"))]
    others = f"other files {len(OTHERS)}: 7 videos, 4 texts, 3 sidecars, "
    assert sum(line.startswith(others) for line in counts) == 1
    assert "  skipped 1: damaged or cut off (photos/cut.jpg)" in counts
    assert f"  skipped 5: {RAW} (photos/a.arw, photos/a.cr3, photos/a.nef, ...)" in counts
    assert "7 videos cannot be indexed" in built.stderr
    shown = latent("index", "status", "--skipped").stdout
    assert f"other files {len(OTHERS)}: 7 videos, 4 texts, 3 sidecars, " in shown and "\nskipped     8\n" in shown
    facts = json.loads(latent("index", "status", "--skipped", "--format", "json").stdout)
    assert (facts["found"], facts["skipped"], facts["other_files"]) == (3, 8, len(OTHERS))
    expected = {**{name: reason for name, (_, reason) in UNREAD.items()}, "cut.jpg": "damaged or cut off"}
    found = {os.path.basename(one["path"]): one["reason"] for one in facts["skipped_files"]}
    assert found == expected
    assert sum(facts["reasons"].values()) == 8 and sum(facts["other_kinds"].values()) == len(OTHERS)
    latent("index", "update", "--strict", code=1)
    for name in expected:
        (mixed / name).unlink()
    assert "skipped 0" in latent("index", "update", "--strict").stdout  # other files are no fault


def test_what_is_excluded_leaves_and_comes_back_without_being_encoded(tmp_path: Path, tiny_bundle: Path) -> None:
    photos, index = tmp_path / "photos", tmp_path / "index"
    write_shapes(photos, 4)
    write_shapes(photos / "private", 3, seed=1)
    write_shapes(photos / "@eaDir", 2, seed=2)
    with Library.build(photos, index, model=tiny_bundle, exclude=["private/"]) as library:
        assert len(library) == 4 and library.status().excluded == ["private/"]
        assert library.summary is not None and library.summary.left_out.system_folders == {"@eaDir": 1}
    with Library.build(photos, index) as library:  # kept, also for a build that says nothing
        assert len(library) == 4 and library.update().left_out.by_patterns == 1
        summary = library.update(exclude=[])
        assert (len(library), summary.added, summary.encoded) == (7, 3, 3)
        (photos / ".latentignore").write_text("private/*-000.png\n")
        summary = library.update()
        assert (len(library), summary.removed) == (6, 1) and library.status().vanished == 1
        assert library.verify() == []
        (photos / ".latentignore").unlink()
        summary = library.update()
        assert (len(library), summary.added, summary.encoded) == (7, 1, 0)
        with pytest.raises(ValueError, match="bracket"):
            library.update(exclude=["[x"])
        assert len(library) == 7 and library.status().excluded == []
    with Library.build(photos / "@eaDir", index) as library:  # the user named it: a root of its own
        assert len(library) == 9 and len(library.status().roots) == 2
        library.update()
        assert len(library) == 9
    with Library.build(photos, index, exclude=["private/"]) as library:
        assert len(library) == 6
    with Library.build(photos / "private", index) as library:  # likewise
        assert len(library) == 9 and library.update().unchanged == 9


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\xff", b"[" * 100_000, b"{}", b'{"patterns": 3}', b'{"patterns": [3]}', BAD_PATTERN),
        *(json.dumps({"patterns": kept}).encode() for kept in (["x" * 2000], ["x"] * 5000)),
    ],
)
def test_damaged_patterns_let_nothing_in(content: bytes, tmp_path: Path, tiny_bundle: Path) -> None:
    photos, index = tmp_path / "photos", tmp_path / "index"
    write_shapes(photos, 2)
    write_shapes(photos / "private", 1, seed=1)
    Library.build(photos, index, model=tiny_bundle, exclude=["private"]).close()
    (index / EXCLUDED_NAME).write_bytes(content)
    with Retriever.open(index) as retriever:
        assert len(retriever) == 2 and retriever.query(photos / "shape-0-000.png")
        assert retriever.status().found == 2
        assert len(retriever.verify()) == (0 if content == BAD_PATTERN else 1)
        with pytest.raises(IndexDamaged):
            retriever.update()
        assert len(retriever) == 2
        retriever.update(exclude=["private"])
        assert len(retriever) == 2 and retriever.status().excluded == ["private"]


def test_the_program_excludes_and_says_so(tmp_path: Path, latent: Run) -> None:
    write_shapes(tmp_path / "photos", 3)
    write_shapes(tmp_path / "photos" / "private", 2, seed=1)
    write_shapes(tmp_path / "photos" / "#recycle" / "deep", 2, seed=2)
    (tmp_path / "photos" / ".latentignore").write_text("*-0-001.png\n[bad\n")
    done = latent("index", "build", "photos", "--exclude", "private/", "--exclude", "*.tmp")
    assert "2 pictures in " in done.stdout and "left out 1 system folder: 1 #recycle\n" in done.stdout
    assert "left out files and folders by --exclude and .latentignore: 2\n" in done.stdout
    assert "photos/.latentignore, line 2: a bracket is not closed" in done.stderr
    assert re.search(r"^excluded +private/  \*\.tmp$", latent("index", "status").stdout, re.MULTILINE)
    assert "removed 0  unchanged 2" in latent("index", "update").stdout
    assert "'[x'" in latent("index", "update", "--exclude", "[x", code=2).stderr
    assert "added 2  " in latent("index", "update", "--exclude", "").stdout
    assert "excluded" not in latent("index", "status").stdout


# Large JPEGs


def write_large(path: Path, width: int, height: int, **more: object) -> Path:
    Image.new("L", (width, height), 90).save(path, "JPEG", **more)
    return path


def test_a_jpeg_is_judged_by_what_is_decoded_of_it(tmp_path: Path, latent: Run) -> None:
    photos = tmp_path / "photos"
    write_shapes(photos, 2)
    write_large(photos / "large.jpg", 20_000, 10_000)
    done = latent("index", "build", "photos")
    assert done.stdout.startswith("added 3  ") and "skipped 0" in done.stdout
    (answer,) = json.loads(latent("query", "photos/shape-0-000.png", "-k", 9, "--format", "json").stdout)["queries"]
    assert (20_000, 10_000) in [(hit["width"], hit["height"]) for hit in answer["hits"]]
    assert latent("query", "photos/large.jpg", "-k", 1).stdout


def test_what_stays_refused_says_what_would_let_it_in(tmp_path: Path) -> None:
    whole = draw("JPEG")
    at = whole.index(b"\xff\xc0") + 5
    for name, size in (("too large", (40_000, 40_000)), ("whole", (20_000, 10_000))):
        (tmp_path / name).write_bytes(whole[:at] + struct.pack(">HH", *size) + whole[at + 4 :])
    progressive = draw("JPEG", progressive=True, subsampling=0)
    at = progressive.index(b"\xff\xc2") + 5
    (tmp_path / "progressive").write_bytes(
        progressive[:at] + struct.pack(">HH", 25_000, 20_000) + progressive[at + 4 :]
    )
    names = ["too large", "whole", "progressive"]
    tasks = [Task(str(tmp_path / name), frame="original" if name == "whole" else "square") for name in names]
    with DecoderPool(64, 1) as pool:
        large, scaled, many = (one.reason or "" for one in pool.map(tasks))
        original, digest = pool.map([tasks[1], tasks[1]._replace(want="samples")], 0)
    assert "a smaller copy is read" in large and large == original.reason == digest.reason
    assert scaled == ""  # at an eighth of its size, the same file is read
    assert "saved as a baseline JPEG it is read" in many


# Words of decoders


def damaged(rng: np.random.Generator, content: bytes) -> bytes:
    if rng.random() < 0.3:
        return content[: int(rng.integers(20, len(content)))]
    wrong = bytearray(content)
    for place in rng.integers(8, len(wrong), 1 + rng.integers(40)):
        wrong[place] = rng.integers(256)
    return bytes(wrong)


def test_no_library_speaks_on_the_terminal(tmp_path: Path, latent: Run, tiny_bundle: Path) -> None:
    rng = np.random.default_rng(0)
    photos = tmp_path / "photos"
    write_shapes(photos, 3)
    kinds: list[tuple[str, dict[str, object]]] = [
        *(("TIFF", {"compression": how}) for how in ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits", "raw")),
        *(("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("JPEG", {}), ("JPEG", {"progressive": True})),
        *(("GIF", {}), ("BMP", {}), ("JPEG2000", {})),
    ]
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
        kinds.append(("HEIF", {}))
    except ImportError:
        pass
    for number, (kind, more) in enumerate(kinds):
        for turn in range(12):
            (photos / f"{kind}-{number}-{turn}.img").write_bytes(damaged(rng, draw(kind, turn, **more)))
    done = latent("index", "build", "photos", "--model", tiny_bundle)
    assert done.stderr in ("", "Skipped files are read again when they change, or with --retry.\n")
    reasons = {
        line.split(": ", 1)[1].rpartition(" (")[0] for line in done.stdout.splitlines() if line.startswith("  skipped")
    }
    ours = {*WORDS.values(), UNREADABLE, "no pixels"}
    assert len(reasons) >= 2
    assert {reason for reason in reasons if not reason.startswith("too many pixels")} <= ours
    tiffs = sorted(photos.glob("TIFF*"))[:12]
    done = latent("query", *tiffs, "-k", 1, code=1)
    assert len(done.stderr.splitlines()) <= len(tiffs) and all(
        line.startswith("Error: ") and line.rpartition(": ")[2] in reasons for line in done.stderr.splitlines()
    )
