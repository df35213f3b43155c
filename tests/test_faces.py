"""Faces in pictures, as pictures of their own: found, listed, encoded, asked with, and gone with their files."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from PIL import ExifTags, Image

from index.roots import BOX_MARK
from retrieval import Library, PictureRefused, Retriever, Searcher, faces_of, load_model
from retrieval.pictures.decode import framed
from retrieval.pictures.regions import is_sane_box, rounded, split_box, with_box
from retrieval.pictures.workers import DecoderPool, Task
from retrieval.questions import Answer, Question, Term, ask_all
from retrieval.roots.faces import largest_faces
from retrieval.roots.regions import file_of, region_at, regions_address
from tests.regions import overlap, rows_of

pytest.importorskip("dlib", reason="dlib-bin is not installed (extra faces)")

WIDE, HIGH = 720, 540
Place = tuple[int, int, int]
"""Left, top and side, in pixels."""


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[Image.Image]:
    """Faces that a model draws, and that are found as any others."""
    drawn = [Image.fromarray(pixels) for pixels in load_model("faces-128").sample(16, seed=3)]
    found = [face for face in drawn if _is_found(face, tmp_path_factory.mktemp("faces") / "one.png")]
    assert len(found) > 12
    return found


def _is_found(face: Image.Image, path: Path) -> bool:
    picture = Image.new("RGB", (WIDE, HIGH), (120, 130, 140))
    picture.paste(face.resize((180, 180), Image.Resampling.BICUBIC), (200, 200))
    picture.save(path)
    return len(faces_of(path)) == 1


def party(rng: np.random.Generator, faces: list[Image.Image], count: int) -> tuple[Image.Image, list[Place]]:
    """A picture with faces side by side, and where they are, from left to right."""
    ground = Image.fromarray(rng.integers(90, 160, (6, 8, 3), np.uint8)).resize((WIDE, HIGH), Image.Resampling.BICUBIC)
    places = []
    for number in range(count):
        side = int(rng.integers(130, min(220, WIDE // count)))
        left, top = (
            number * WIDE // count + int(rng.integers(0, WIDE // count - side + 1)),
            int(rng.integers(0, HIGH - side)),
        )
        face = faces[rng.integers(len(faces))].resize((side, side), Image.Resampling.BICUBIC)
        ground.paste(face, (left, top))
        places.append((left + side // 10, top + side // 10, side - side // 5))  # the face without hair and neck
    return ground, places


def boxes_of(path: Path) -> list[tuple[float, ...]]:
    return [split_box(address)[1] or () for address in faces_of(path)]


def side_of(address: str) -> float:
    left, _, right, _ = split_box(address)[1] or (0, 0, 0, 0)
    return right - left


@pytest.mark.parametrize("seed", range(3))
def test_faces_are_found_where_they_are(tmp_path: Path, faces: list[Image.Image], seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = planted = 0
    for number in range(6):
        picture, places = party(rng, faces, number % 4)
        picture.save(tmp_path / "party.png")
        boxes = boxes_of(tmp_path / "party.png")
        assert boxes == sorted(boxes)  # from left to right
        for left, top, right, bottom in boxes:  # squares, but for the shape of the picture
            assert (right - left) * WIDE == pytest.approx((bottom - top) * HIGH, abs=1)
        found += sum(max((overlap(box, place, (WIDE, HIGH)) for box in boxes), default=0) > 0.5 for place in places)
        planted += len(places)
        assert len(boxes) <= len(places) + 1
    assert found >= 0.8 * planted > 0


def test_a_box_is_of_the_upright_picture_at_any_size(tmp_path: Path, faces: list[Image.Image]) -> None:
    picture, (place,) = party(np.random.default_rng(1), faces, 1)
    picture.save(tmp_path / "plain.png")
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned back by 90 degrees
    turned.save(tmp_path / "turned.jpg", quality=95, exif=exif)
    picture.resize((4 * WIDE, 4 * HIGH), Image.Resampling.BICUBIC).save(tmp_path / "large.jpg", quality=95)
    picture.resize((WIDE // 3, HIGH // 3), Image.Resampling.LANCZOS).save(tmp_path / "small.png")
    for name in ("plain.png", "turned.jpg", "large.jpg", "small.png"):
        (box,) = boxes_of(tmp_path / name)
        assert overlap(box, place, (WIDE, HIGH)) > 0.5, name
    # A region of a large JPEG is read as large as the model wants it, whatever scale is quick to decode.
    with DecoderPool(128, 1) as pool:
        tasks = [
            Task(
                regions_address("faces", tmp_path / "large.jpg"),
                source=str(tmp_path / "large.jpg"),
                box=box,
                force=True,
            )
        ]
        (decoded,) = pool.map(tasks)
    left, top, right, bottom = np.rint(np.multiply(box, (WIDE, HIGH, WIDE, HIGH))).astype(int).tolist()
    near = framed(np.asarray(picture.crop((left, top, right, bottom))), 128, "square")
    assert decoded.pixels is not None and np.abs(decoded.pixels.astype(int) - near).mean() < 6
    assert decoded.width_px == pytest.approx(4 * (right - left), abs=6)


@pytest.fixture
def indexed(tmp_path: Path, faces: list[Image.Image], latent: Run) -> Path:
    """A folder of pictures with 0 to 3 faces, indexed in ``index``."""
    (tmp_path / "photos" / "trip").mkdir(parents=True)
    rng = np.random.default_rng(5)
    for number in range(8):
        picture, _ = party(rng, faces, number % 4)
        picture.save(tmp_path / "photos" / ("trip" if number > 4 else "") / f"party-{number}.png")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    said = latent("index", "build", "photos", "--regions", "faces", "--index", "index").stdout
    assert "without a face" in said and "skipped 1" in said
    return tmp_path


def test_each_face_is_a_picture_with_a_code_of_its_own(indexed: Path) -> None:
    rows = rows_of(indexed / "index")
    expected = {address for path in sorted((indexed / "photos").rglob("*.png")) for address in faces_of(path)}
    assert rows.keys() == expected and len(expected) > 8
    assert len(set(rows.values())) == len(rows)  # faces of one file have one content each
    model = load_model("faces-128")
    with Searcher.open(indexed / "index") as searcher:
        for found in searcher.pictures():
            path, box = split_box(found.path)
            assert box is not None
            with Image.open(file_of(path)) as picture:
                x = [round(share * length) for share, length in zip(box, picture.size * 2, strict=True)]
                alone = np.asarray(picture.convert("RGB").crop(tuple(x)))
            assert (found.width_px, found.height_px) == pytest.approx(alone.shape[1::-1], abs=1)
            code = searcher.index.rows.codes([found.id])[found.id]
            expected_code = model.encode_squares(framed(alone, 128, "square")[None]).codes[0]
            np.testing.assert_allclose(code, expected_code, atol=1e-4)
            assert np.array_equal(model.encode([found.path])[0], code)


def test_an_update_follows_the_files(indexed: Path, faces: list[Image.Image], latent: Run) -> None:
    before = rows_of(indexed / "index")
    said = latent("index", "update", "--index", "index").stdout
    assert f"added 0  changed 0  renamed 0  removed 0  unchanged {len(before)}" in said
    photos = indexed / "photos"
    shutil.move(photos / "party-3.png", photos / "trip" / "moved.png")
    lost = [address for address in before if "party-2.png" in address]
    moved = [address for address in before if "party-3.png" in address]
    picture, _ = party(np.random.default_rng(77), faces, 3)
    picture.save(photos / "party-2.png")
    (photos / "party-1.png").unlink()
    gone = [address for address in before if "party-1.png" in address]
    assert lost and moved and gone
    said = latent("index", "update", "--index", "index").stdout
    after = rows_of(indexed / "index")
    assert after.keys() == {one for path in photos.rglob("*.png") for one in faces_of(path)}
    assert f"renamed {len(moved)}" in said
    assert not after.keys() & {*gone, *moved} and {after[one] for one in after if "moved.png" in one} == {
        before[one] for one in moved
    }
    latent("index", "verify", "--index", "index")
    (photos / "party-2.png").unlink()
    assert "gone since it was indexed" in latent("index", "verify", "--index", "index", code=1).stdout


def test_questions_with_faces(indexed: Path, faces: list[Image.Image], latent: Run) -> None:
    group = next(path for path in sorted((indexed / "photos").rglob("*.png")) if len(faces_of(path)) == 3)
    shutil.copy(group, indexed / "group.png")
    own = faces_of(group)
    for number, address in enumerate(own, 1):
        answer = json.loads(
            latent("query", "group.png", "--face", number, "-k", 1, "--index", "index", "--format", "json").stdout
        )
        (hit,) = answer["queries"][0]["hits"]
        assert hit["path"] == address and hit["distance"] == pytest.approx(0, abs=1e-3)
        assert hit["file"] == str(group) and hit["box"] == pytest.approx(split_box(address)[1], abs=1e-6)
    said = latent("query", "group.png", "-k", 1, "--index", "index", "--format", "paths").stdout.strip()
    assert side_of(said) == pytest.approx(max(map(side_of, own)), abs=1e-3)
    assert side_of(largest_faces([str(group)])[0]) == max(map(side_of, own))
    assert "there is no face 4, only 3" in latent("query", "group.png", "--face", 4, "--index", "index", code=1).stderr
    plain, _ = party(np.random.default_rng(9), faces, 0)
    plain.save(indexed / "plain.png")
    done = latent("query", "plain.png", "-k", 2, "--index", "index")
    assert "asked with all of it" in done.stderr and done.stdout.count("faces://") == 2
    assert "no face was found" in latent("query", "plain.png", "--face", 1, "--index", "index", code=1).stderr
    assert own[1] in latent("show", own[1], "--index", "index", "--format", "json").stdout
    latent("query", "group.png", "-k", 3, "--index", "index", "--sheet", "s.png", "--html", "s.html")
    assert (indexed / "s.png").stat().st_size > 1000
    names = re.findall(r"party-\d\.png [\d,]+%", (indexed / "s.html").read_text())
    assert len(set(names)) == 3


def test_a_file_is_asked_with_by_its_largest_face_in_python_too(indexed: Path, faces: list[Image.Image]) -> None:
    asked = []
    for number in range(4):
        picture, _ = party(np.random.default_rng(20 + number), faces, number)
        picture.save(indexed / f"asked-{number}.png")
        asked.append(indexed / f"asked-{number}.png")
    by_face = [max(faces_of(path), key=side_of) if faces_of(path) else str(path) for path in asked]
    assert by_face[0] == str(asked[0]) and all("#xywh" in one for one in by_face[2:])
    with Searcher.open(indexed / "index") as searcher:
        expected = [[(hit.path, hit.distance) for hit in searcher.query(one, k=4)] for one in by_face]
        assert [[(hit.path, hit.distance) for hit in some] for some in searcher.query_batch(asked, 4)] == expected
        assert [[(hit.path, hit.distance) for hit in searcher.query(str(one), k=4)] for one in asked] == expected
        assert np.array_equal(searcher.look_at(asked[3]).code, searcher.look_at(by_face[3]).code)
        answers = ask_all(searcher, [Question((Term(1.0, one), Term(0.5, asked[2])), 4) for one in asked])
        assert [one.title for one in answers if isinstance(one, Answer)] == [
            f"{one} + 0.5*{by_face[2]}" for one in by_face
        ]
        with Image.open(asked[3]) as opened:  # pixels are asked with as they are
            whole = np.asarray(opened.convert("RGB"))
        assert not np.array_equal(searcher.look_at(whole).code, searcher.look_at(asked[3]).code)


def test_a_picture_is_shown_by_its_faces(indexed: Path, latent: Run) -> None:
    some = indexed / "photos" / "party-3.png"
    said = latent("show", some, "photos/none.png", "--index", "index", "--format", "json", code=1).stdout
    *faces, gone = json.loads(said)["pictures"]
    expected = [one for one in rows_of(indexed / "index") if file_of(one) == str(some.resolve())]
    assert len(expected) > 1 and sorted(one["path"] for one in faces) == sorted(expected)
    assert {one["status"] for one in faces} == {"found"} and gone["status"] == "not indexed"
    assert {one["size_bytes"] for one in faces} == {some.stat().st_size}


def test_the_faces_of_a_file_are_removed_together(indexed: Path, latent: Run) -> None:
    before = rows_of(indexed / "index")
    for number in (2, 3):
        latent("index", "remove", f"photos/party-{number}.png", "--index", "index")
    assert rows_of(indexed / "index").keys() == {one for one in before if "party-2" not in one and "party-3" not in one}
    latent("index", "update", "--index", "index")
    assert len(rows_of(indexed / "index")) < len(before)
    latent("index", "remove", "photos/trip", "--index", "index")
    assert not any("/trip/" in one for one in rows_of(indexed / "index"))


def test_faces_are_not_compared_as_copies(indexed: Path, latent: Run) -> None:
    shutil.copytree(indexed / "photos", indexed / "photos" / "again")
    latent("index", "update", "--index", "index")
    latent("dedup", "find", "--index", "index", "-o", "plan.json")
    plan = json.loads((indexed / "plan.json").read_text())
    assert not plan["groups"] and not plan["others"]


def test_a_picture_without_faces_is_asked_once(tmp_path: Path, faces: list[Image.Image]) -> None:
    """Its row says so, until it changes."""
    (tmp_path / "photos").mkdir()
    for number in range(3):
        party(np.random.default_rng(number), faces, 0)[0].save(tmp_path / "photos" / f"{number}.png")
    place = tmp_path / "index"
    with Library.build([regions_address("faces", tmp_path / "photos")], place, model="faces-128") as library:
        assert library.summary is not None and library.summary.other_kinds == {"without a face": 3}
    picture, _ = party(np.random.default_rng(0), faces, 2)
    picture.save(tmp_path / "photos" / "1.png")
    with Library.open(place) as library:
        summary = library.update()
    assert summary.added == 2 and summary.other_kinds == {"without a face": 2}


def test_many_files_are_looked_at_in_parts_that_stay(
    tmp_path: Path, faces: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that is stopped has lost no more than one part, and its counts are those of one that is not."""
    (tmp_path / "photos").mkdir()
    for number in range(7):
        party(np.random.default_rng(number), faces, number % 3)[0].save(tmp_path / "photos" / f"{number}.png")
    monkeypatch.setattr("retrieval.roots.regions.AT_ONCE", 3)
    told: list[tuple[int, int]] = []
    addresses = sorted(one for path in (tmp_path / "photos").iterdir() for one in faces_of(path))

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        if len([one for one in told if one == (3, 3)]) == 2:  # in the second part
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Library.build(
            [regions_address("faces", tmp_path / "photos")], tmp_path / "index", model="faces-128", report=stop
        )
    with Retriever.open(tmp_path / "index") as library:
        kept = [one.path for one in library.pictures()]
        assert kept and set(kept) < set(addresses)
        summary = library.update()
        assert (summary.added, summary.unchanged) == (len(addresses) - len(kept), len(kept))
        assert summary.left == 0 and sorted(one.path for one in library.pictures()) == addresses
        party(np.random.default_rng(50), faces, 2)[0].save(tmp_path / "photos" / "1.png")
        again = library.update(reread=True)
        assert again.left == 0 and again.added == 2


def test_addresses_of_regions() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        left, top = rng.uniform(0, 0.9, 2)
        right, bottom = rng.uniform(left + 0.001, 1), rng.uniform(top + 0.001, 1)
        path = "".join(map(chr, rng.integers(33, 1000, 9))) + rng.choice(["", "#", BOX_MARK, "#xywh=percent:1,2,3,4"])
        address = with_box(path, (left, top, right, bottom))
        split, box = split_box(address)
        assert split == path and box is not None
        assert np.allclose(box, (left, top, right, bottom), atol=1e-4) and is_sane_box(box)
        assert with_box(path, box) == address and rounded(box) == box
    assert region_at(f"/photos/a.jpg{BOX_MARK}1,2,3,4") == (
        f"/photos/a.jpg{BOX_MARK}1,2,3,4",
        None,
    )  # the name of a file
    assert region_at(f"faces://photos/a.jpg{BOX_MARK}0,0,50,25") == ("/photos/a.jpg", (0, 0, 0.5, 0.25))
    for words in ("1,2,3", "1,2,3,4,5", "a,2,3,4", "-1,2,3,4", "0,0,0,5", "99,0,9,9", "1e3,0,1,1", "nan,1,1,1", ",,,"):
        assert split_box(f"a.jpg{BOX_MARK}{words}") == (f"a.jpg{BOX_MARK}{words}", None)


def test_what_cannot_be_done_is_said(tmp_path: Path, faces: list[Image.Image], latent: Run) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(PictureRefused, match="not a picture"):
        faces_of(tmp_path / "text.jpg")
    assert "Error" in latent("index", "build", "text.jpg", "--regions", "faces", code=2).stderr
    assert "is not a folder" in latent("index", "build", "faces://no/where", code=1).stderr
    assert "no folder of this machine" in latent("index", "build", "s3://a", "--regions", "faces", code=1).stderr
    assert not (tmp_path / ".latent").exists()
    (odd := tmp_path / "@a::b%20#c").mkdir()
    party(np.random.default_rng(0), faces, 1)[0].save(odd / "one.png")
    latent("index", "build", "@a::b%20#c", "--regions", "faces", "--index", "i")
    assert "unchanged 1" in latent("index", "update", "--index", "i").stdout


def test_without_the_package_the_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'dlib' else find(name, *more)\n"
        "from retrieval import MissingExtra, Retriever, faces_of\n"
        "place = sys.argv[1]\n"
        "for act in (lambda: faces_of('a.jpg'), lambda: Retriever.build('faces:/' + place, place + '/i')):\n"
        "    try: act()\n"
        "    except MissingExtra as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.count("latent-search[faces]") == 2


def test_the_gallery_shows_faces_and_asks_with_them(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("fastapi", reason="latent serve needs the extra web")
    from tests.serving import ended, refused, started, told

    group = next(path for path in sorted((indexed / "photos").rglob("*.png")) if len(faces_of(path)) == 3)
    (indexed / "index").rename(indexed / ".latent")
    scratch = tmp_path_factory.mktemp("site")
    site = started(indexed, token=scratch / "token", scratch=scratch)
    try:
        hits = told(site.post(group.read_bytes(), k=3))["hits"]
        assert hits[0]["distance"] == pytest.approx(0, abs=1e-3) and hits[0]["name"] == group.name
        assert max(map(side_of, faces_of(group))) == pytest.approx(hits[0]["box"][2] - hits[0]["box"][0], abs=1e-6)
        listed = told(site.get("items", limit=50))["items"]
        assert len(listed) == len({(one["name"], tuple(one["box"])) for one in listed}) > 8
        answer = site.get(f"items/{hits[0]['id']}/thumbnail", size=128)
        with Image.open(io.BytesIO(answer.content)) as shown, Image.open(group) as picture:
            box = np.rint(np.multiply(hits[0]["box"], picture.size * 2)).astype(int).tolist()
            near = picture.convert("RGB").crop(tuple(box)).resize(shown.size, Image.Resampling.BICUBIC)
            assert np.abs(np.asarray(shown.convert("RGB"), int) - np.asarray(near)).mean() < 8
        outside = tmp_path_factory.mktemp("outside") / "other.png"
        shutil.copy(group, outside)
        group.unlink()
        group.symlink_to(outside)
        refused(site.get(f"items/{hits[0]['id']}/thumbnail", size=256), 403, "outside")
    finally:
        ended(site)
