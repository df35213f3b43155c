"""Pictures in tar archives and in tables: read where they lie, the same as in a folder, whatever is in there."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from retrieval import Library, Searcher, find_copies
from retrieval.errors import PathError, RootUnreadable
from retrieval.roots import at_hand, table, tar
from retrieval.roots.opening import is_gone
from tests.conftest import SHAPES, Run, draw_shape, write_shapes
from tests.kinds_of_roots import MODEL, content_of, in_folder, make_table, make_tar, photos

__all__ = ["in_folder", "photos"]  # fixtures
PROGRAM = str(Path(sys.executable).with_name("latent"))


def picture(seed: int = 0) -> bytes:
    file = io.BytesIO()
    draw_shape(SHAPES[seed % 4], np.random.default_rng(seed)).save(file, "PNG")
    return file.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes, **more: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in more.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(content))


def test_an_archive_gives_the_rows_and_codes_of_the_folder(photos: Path, in_folder: Path, tmp_path: Path) -> None:
    archive = make_tar(photos, tmp_path / "shards.tar")
    with Library.build(archive, tmp_path / "i", model=MODEL) as library:
        assert library.summary is not None
        assert (library.summary.left_out.by_patterns, library.summary.other_files) == (1, 1)
        assert library.verify() == []
        assert content_of(tmp_path / "i") == content_of(in_folder)
        again = library.update()
        assert again.unchanged == len(library) and not again.encoded
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i", "shards.tar"]  # nothing was unpacked


@pytest.mark.parametrize("with_paths", [True, False])
def test_a_table_gives_the_rows_and_codes_of_the_folder(
    photos: Path, in_folder: Path, tmp_path: Path, with_paths: bool
) -> None:
    found = make_table(photos, tmp_path / "train.parquet", with_paths)
    with Library.build(found, tmp_path / "i", model=MODEL) as library:
        assert library.verify() == [] and library.update().encoded == 0
    mine, theirs = content_of(tmp_path / "i", ids=False), content_of(in_folder, ids=False)
    if with_paths:
        ignored = [one for one in mine if not one[0].path.startswith(b"left out/")]  # a table holds no .latentignore
        assert ignored == theirs
    else:
        assert all(one[0].path.startswith(b"row-") for one in mine)
        assert {one[1:] for one in theirs if one[1]} <= {one[1:] for one in mine}


def test_changes_of_an_archive_are_seen(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    archive = make_tar(folder, tmp_path / "a.tar")
    with Library.build(archive, tmp_path / "i", model=MODEL) as library:
        count = len(library)
        (folder / "shape-0-002.png").unlink()
        (folder / "shape-0-004.png").rename(folder / "moved.png")
        (folder / "shape-0-005.png").write_bytes(picture(5))
        write_shapes(folder, 3, seed=9)
        os.utime(make_tar(folder, archive), ns=(1, 1))  # the date tells that it is another, also an older one
        done = library.update()
        assert (done.added, done.renamed, done.removed, done.changed) == (3, 1, 1, 1)
        assert len(library) == count + 2


def test_queries_sheets_and_exports_show_what_is_in_an_archive(photos: Path, tmp_path: Path, latent: Run) -> None:
    make_tar(photos, tmp_path / "a.tar")
    latent("index", "build", "a.tar", "--index", "i")
    said = latent("query", "a.tar/shape-0-001.png", "--index", "i", "-k", "2", "--sheet", "s.png", "--html", "h.html")
    assert "a.tar/shape-0-003/twin.png" in said.stdout and "(gone)" not in said.stdout
    assert (tmp_path / "s.png").stat().st_size > 1000
    assert "found" in latent("show", "a.tar/shape-0-001.png", "--index", "i").stdout
    inside = latent("query", "a.tar/shape-0-001.png", "--index", "i", "--in", "a.tar/shape-0-003", "--format", "paths")
    assert all(line.startswith("a.tar/shape-0-003/") for line in inside.stdout.splitlines())
    latent("map", "--index", "i", "-o", "map.html")
    latent("index", "remove", "a.tar/shape-0-003", "--index", "i")
    assert "shape-0-003/" not in latent("index", "list", "--index", "i").stdout
    (tmp_path / "a.tar").rename(tmp_path / "b.tar")
    gone = latent("index", "update", "--index", "i")
    assert "a.tar is not there; its pictures are kept" in gone.stderr
    assert "a.tar is not there" in latent("index", "verify", "--index", "i", code=1).stdout


def test_one_picture_is_read_by_its_path_alone(photos: Path, in_folder: Path, tmp_path: Path) -> None:
    archive, found = make_tar(photos, tmp_path / "a.tar"), make_table(photos, tmp_path / "t.parquet")
    with Searcher.open(in_folder) as searcher:
        mine = searcher.look_at(photos / "shape-0-001.png").code
        for place in (archive, found):
            assert searcher.look_at(place / "shape-0-001.png").code.tobytes() == mine.tobytes()
            assert not is_gone(f"{place}/shape-0-001.png") and is_gone(f"{place}/none.png")


def test_nothing_is_removed_from_an_archive(photos: Path, tmp_path: Path, latent: Run) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed (extra copies)")
    archive = make_tar(photos, tmp_path / "a.tar")
    shutil.copytree(photos, tmp_path / "photos")
    before = archive.read_bytes()
    with Library.build([archive, tmp_path / "photos"], tmp_path / "i", model=MODEL) as library:
        with Searcher.open(tmp_path / "i") as searcher:
            inside = sum(one.path.startswith(str(archive)) for rows, _ in searcher.found() for one in rows)
            plan = find_copies(searcher)
        assert len(library) > inside == plan.elsewhere > 0
    listed = [path for group in plan.groups for path in (group.keep, *group.remove)]
    assert listed and not any(path.startswith(str(archive)) for path in listed)  # twins in the folder are found
    assert any(str(archive) in one.a + one.b and one.kind == "bytes" for one in plan.others)
    said = latent("dedup", "find", "--index", "i", "-o", "plan.json", "--html", "plan.html")
    assert f"from which nothing is removed: {inside} pictures" in said.stderr
    text = (tmp_path / "plan.json").read_text()
    (tmp_path / "plan.json").write_text(text.replace(f"{tmp_path}/photos/", f"{archive}/"))  # as a stranger might
    words = ["dedup", "apply", "plan.json", "--index", "i", "--action", "delete", "--yes"]
    subprocess.run([PROGRAM, *words], cwd=tmp_path, check=False, capture_output=True)
    assert archive.read_bytes() == before


def test_hostile_members_are_left_out_and_said(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(picture(8))
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("../secret.png", "/etc/passwd.png", "a/../../b.png", "a//b.png", "a/./b.png", ".."):
            add(archive, name, picture(1))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            add(archive, f"link-{kind!r}.png", b"", type=kind, linkname=str(tmp_path / "secret.png"))
        for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
            add(archive, f"device-{kind!r}.png", b"", type=kind, devmajor=1, devminor=5)
        add(archive, "twice.png", picture(3))
        add(archive, "twice.png", picture(4))  # the last one counts
        add(archive, "./good.png", picture(5))
    with Library.build(tmp_path / "a.tar", tmp_path / "i", model=MODEL) as library:
        assert library.summary is not None
        faults = library.summary.left_out.faults
        assert len([one for one in faults if "cannot be the path" in one]) == 6
        assert len([one for one in faults if "link" in one]) == 2
        names = {row[0].path: row[0] for row in content_of(tmp_path / "i")}
        assert sorted(names) == [b"good.png", b"twice.png"]
        assert names[b"twice.png"].size_bytes == len(picture(4))
    with Searcher.open(tmp_path / "i") as searcher:
        (tmp_path / "four.png").write_bytes(picture(4))
        assert searcher.query(tmp_path / "four.png", 1)[0].distance < 1e-3


def test_a_sparse_member_is_left_out(tmp_path: Path) -> None:
    member = tarfile.TarInfo("sparse.png")
    member.type, member.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\0" + b"00000001000\0"  # one piece of 512 bytes
    header[483:495] = b"00000100000\0"
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * 32)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(512) + bytes(1024))
    found = tar.members_of(str(tmp_path / "a.tar"))
    assert not found.files and "holes" in found.faults[0]


def test_what_is_no_whole_archive_is_not_taken_for_an_empty_one(photos: Path, tmp_path: Path) -> None:
    archive = make_tar(photos, tmp_path / "a.tar")
    whole = archive.read_bytes()
    with Library.build(archive, tmp_path / "i", model=MODEL) as library:
        count = len(library)
        middle = len(whole) // 2 // 512 * 512
        damaged = {
            "cut off in a member": whole[: middle + 100],
            "garbage in the midst": whole[:middle] + os.urandom(512) + whole[middle:],
            "no archive": b"no archive" * 100,
            "nothing": b"",
            "compressed": gzip.compress(whole),
        }
        for name, content in damaged.items():
            archive.write_bytes(content)
            done = library.update()
            assert list(done.why_missing) == [str(archive)], name
            assert len(library) == count and not done.removed, name
        archive.write_bytes(whole)
        assert library.update().removed == 0 and len(library) == count


def test_headers_that_lead_in_circles_or_are_huge_end_soon(tmp_path: Path) -> None:
    long = tarfile.TarInfo("x")
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    negative = bytearray(tarfile.TarInfo("n.png").tobuf())
    negative[124:136] = b"\xff" * 11 + b"\x00"  # a size of -256, in base 256
    negative[148:156] = b"%06o\0 " % (sum(negative[:148]) + sum(negative[156:]) + 8 * 32)
    with open(tmp_path / "long.tar", "wb") as file:
        file.write(long.tobuf(tarfile.GNU_FORMAT))
        file.truncate(1 << 33)  # of holes
    (tmp_path / "negative.tar").write_bytes(bytes(negative) + bytes(4096))
    tracemalloc.start()
    for name in ("long.tar", "negative.tar"):
        with pytest.raises(RootUnreadable, match="no tar archive, or a damaged one"):
            tar.members_of(str(tmp_path / name))
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_compressed_archives_are_refused_with_the_way_out(photos: Path, tmp_path: Path, latent: Run) -> None:
    for name, mode in (("a.tar.gz", "w:gz"), ("a.tgz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(photos, "photos")
        assert "compressed" in latent("index", "build", name, "--index", "i", code=1).stderr
    (tmp_path / "b.tar").write_bytes((tmp_path / "a.tgz").read_bytes())
    assert "no tar archive" in latent("index", "build", "b.tar", "--index", "i", code=1).stderr
    assert not (tmp_path / "i").exists()
    (tmp_path / "folder.tar").mkdir()
    write_shapes(tmp_path / "folder.tar", 2)
    assert "added 2 " in latent("index", "build", "folder.tar", "--index", "i").stdout  # a folder of such a name


def test_members_that_are_too_large_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_hand, "MOST_BYTES", 10_000)
    film = b"\0\0\0\x18ftypmp42" + bytes(20_000)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "film.mp4", film)
        add(archive, "large.png", picture(1) + bytes(20_000))
        add(archive, "small.png", picture(2))
    with Library.build(tmp_path / "a.tar", tmp_path / "i", model=MODEL) as library:
        assert library.summary is not None and len(library) == 1
        assert library.summary.other_kinds == {"video": 1}
        (reason,) = library.summary.reasons
        assert reason.startswith("larger than")


def test_an_archive_in_a_folder_is_a_root_of_its_own(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "all")
    archive = make_tar(photos, tmp_path / "all" / "a.tar")
    with Library.build(tmp_path / "all", tmp_path / "i", model=MODEL) as library:
        count = len(library)
        assert library.status().other_kinds.get("archive") == 1
    with Library.build(archive, tmp_path / "i", model=MODEL) as library:
        assert sorted(library.status().roots) == [str(tmp_path / "all"), str(archive)]
        assert len(library) == 2 * count and library.update().unchanged == 2 * count


def test_tables_that_hold_no_pictures_or_are_damaged_are_refused(photos: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    def build(name: str) -> None:
        Library.build(tmp_path / name, tmp_path / "i", model=MODEL).close()

    parquet.write_table(pa.table({"label": [1, 2]}), tmp_path / "labels.parquet")
    with pytest.raises(PathError, match="has no column of pictures"):
        build("labels.parquet")
    parquet.write_table(pa.table({"a": [b"1"], "b": [b"2"]}), tmp_path / "two.parquet")
    with pytest.raises(PathError, match="several columns"):
        build("two.parquet")
    (tmp_path / "none.parquet").write_bytes(b"PAR1" + os.urandom(200) + b"PAR1")
    with pytest.raises(RootUnreadable, match="no table in Parquet"):
        build("none.parquet")
    whole = make_table(photos, tmp_path / "t.parquet").read_bytes()
    with Library.build(tmp_path / "t.parquet", tmp_path / "i", model=MODEL) as library:
        count = len(library)
        (tmp_path / "t.parquet").write_bytes(whole[: len(whole) // 2])
        assert library.update().removed == 0 and len(library) == count


def test_paths_of_a_table_are_names_and_no_more(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "secret.png").write_bytes(picture(8))
    cells = [
        {"bytes": picture(1), "path": "../secret.png"},
        {"bytes": None, "path": str(tmp_path / "secret.png")},  # is never opened
        {"bytes": picture(2), "path": "same.png"},
        {"bytes": picture(3), "path": "same.png"},
        {"bytes": picture(4), "path": "row-0000000000"},
        {"bytes": picture(5), "path": "in/a/folder.png"},
        None,
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    parquet.write_table(pa.table({"image": pa.array(cells, kind)}), tmp_path / "t.parquet")
    with Library.build(tmp_path / "t.parquet", tmp_path / "i", model=MODEL) as library:
        assert len(library) == 5
    rows = {one[0].path.decode(): one[0].status for one in content_of(tmp_path / "i")}
    numbered = [f"row-{number:010d}" for number in (0, 1, 2, 3, 4, 6)]
    assert sorted(rows) == ["in/a/folder.png", *numbered]
    assert rows["row-0000000001"] == "skipped"


def test_row_groups_that_are_too_large_are_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "MOST_GROUP_BYTES", 10_000)
    with pytest.raises(RootUnreadable, match="smaller row groups"):
        table.table_facts(str(make_table(photos, tmp_path / "t.parquet")))
