"""Tiles of large pictures, as pictures of their own: which there are, found by a close-up, gone with their files."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from PIL import ExifTags, Image

from index.where import InFolder
from retrieval import Library, Retriever, Searcher, load_model
from retrieval.pictures import reading
from retrieval.pictures.decode import framed
from retrieval.pictures.decoded import decode
from retrieval.pictures.regions import EVERYTHING, is_sane_box, rounded
from retrieval.pictures.tasks import Task
from retrieval.pictures.tiles import LEAST_PX, MOST_TILES, tiles_of
from retrieval.roots.regions import first_of_each_picture, region_at, regions_address
from tests.regions import overlap, rows_of

WIDE, HIGH = 1536, 1024
PLACE = (960, 130, 256)
"""Left, top and side of the thing, in pixels."""


def scene(seed: int) -> Image.Image:
    """A large picture of soft colours."""
    colours = np.random.default_rng(seed).integers(60, 200, (8, 12, 3), np.uint8)
    return Image.fromarray(colours).resize((WIDE, HIGH), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def thing() -> Image.Image:
    """A picture that a model draws: what is looked for."""
    return Image.fromarray(load_model("photos-64").sample(1, seed=5)[0])


def with_thing(thing: Image.Image, seed: int) -> Image.Image:
    left, top, side = PLACE
    picture = scene(seed)
    picture.paste(thing.resize((side, side), Image.Resampling.BICUBIC), (left, top))
    return picture


def holds_thing(box: tuple[float, ...]) -> bool:
    """Whether a box and the thing overlap by half of their union."""
    return overlap(box, PLACE, (WIDE, HIGH)) > 0.5


def turned(picture: Image.Image, path: Path) -> None:
    """Save a picture lying on its side, to be turned back by its EXIF."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)


@pytest.fixture
def indexed(tmp_path: Path, thing: Image.Image, latent: Run) -> Path:
    """Ten scenes, one with the thing, a small picture and a broken file, with tiles indexed in ``index``."""
    (tmp_path / "photos" / "trip").mkdir(parents=True)
    for number in range(9):
        scene(number).save(tmp_path / "photos" / f"scene-{number}.jpg", quality=90)
    turned(with_thing(thing, 50), tmp_path / "photos" / "trip" / "far.jpg")
    scene(60).resize((200, 150)).save(tmp_path / "photos" / "small.png")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    thing.resize((256, 256), Image.Resampling.BICUBIC).save(tmp_path / "thing.png")
    said = latent("index", "build", "photos", "--regions", "tiles", "--index", "index").stdout
    assert "skipped 1" in said
    return tmp_path


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ((4000, 3000), 88), ((3000, 4000), 88), ((2048, 2048), 59), ((WIDE, HIGH), 95), ((600, 600), 10),
        ((20 * 512, 512), 40), ((200, 150), 1), ((1, 9000), 1), ((9000, 1), 1), ((255, 5000), 1), ((100_000, 300), 1),
    ],
)  # fmt: skip
def test_tiles_are_squares_that_cover_the_picture(size: tuple[int, int], count: int) -> None:
    wide, high = size
    first, *boxes = tiles_of(wide, high)
    assert first == EVERYTHING and len(boxes) + 1 == count <= MOST_TILES
    assert len({*boxes, first}) == count and all(is_sane_box(box) and rounded(box) == box for box in boxes)
    seen = np.zeros((100, 100), int)
    for left, top, right, bottom in boxes:
        assert (right - left) * wide == pytest.approx((bottom - top) * high, abs=2 + 1e-4 * max(size))
        assert min((right - left) * wide, (bottom - top) * high) > LEAST_PX - 2
        seen[int(100 * top) : round(100 * bottom), int(100 * left) : round(100 * right)] += 1
    assert not boxes or seen.min() > 0


def test_a_close_up_finds_its_photograph_by_a_tile(indexed: Path, latent: Run) -> None:
    found = json.loads(latent("query", "thing.png", "--index", "index", "--format", "json").stdout)["queries"][0][
        "hits"
    ]
    assert found[0]["file"] == str(indexed / "photos" / "trip" / "far.jpg") and holds_thing(found[0]["box"])
    assert found[0]["width"] == found[0]["height"] == 256  # of the upright picture
    assert len({one["file"] for one in found}) == len(found) == 10  # one tile of each photograph
    latent("index", "build", "photos", "--index", "whole")
    whole = latent("query", "thing.png", "--index", "whole", "--format", "paths").stdout.splitlines()
    assert not whole[0].endswith("far.jpg")
    latent("query", "thing.png", "-k", 3, "--index", "index", "--sheet", "s.png")
    assert (indexed / "s.png").stat().st_size > 1000
    named = latent(
        "query", "thing.png", "--prefer", "scene", "--index", "index", "--format", "paths"
    ).stdout.splitlines()
    assert len({one.split("#")[0] for one in named}) == len(named) == 10


def test_a_photograph_is_no_hit_of_its_own(indexed: Path) -> None:
    with Retriever.open(indexed / "index") as retriever:
        for path in (
            indexed / "photos" / "scene-3.jpg",
            next(one for one in rows_of(indexed / "index") if "scene-3.jpg#" in one),
        ):
            hits = retriever.query(path, k=50)
            assert len(hits) == 10 and not any("scene-3" in one.path for one in hits)
        near = retriever.query(indexed / "thing.png", within=retriever.query(indexed / "thing.png", k=4)[3].distance)
        assert len(near) == 4 and [one.rank for one in near] == [1, 2, 3, 4]


def test_a_tile_has_the_code_of_what_is_cut_out(indexed: Path) -> None:
    rows, model = rows_of(indexed / "index"), load_model("photos-64")
    assert len(set(rows.values())) == len(rows) == 10 * 95 + 1
    assert regions_address("tiles", indexed / "photos" / "small.png") in rows
    with Searcher.open(indexed / "index") as searcher:
        for found in [*searcher.pictures(where="name = 'far.jpg*'")][::9]:
            file, box = region_at(found.path)
            assert box is not None
            (upright,) = [decode(Task(file, frame="original"), 0).pixels]
            assert upright is not None and upright.shape == (HIGH, WIDE, 3)
            left, top, right, bottom = np.rint(np.multiply(box, (WIDE, HIGH, WIDE, HIGH))).astype(int)
            near = framed(upright[top:bottom, left:right], 64, "square")
            read = decode(Task(found.path, source=file, box=box), 64).pixels
            assert read is not None and np.abs(read.astype(int) - near).mean() < 6
            code = searcher.index.rows.codes([found.id])[found.id]
            np.testing.assert_allclose(code, model.encode_squares(read[None]).codes[0], atol=1e-4)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif"])
def test_regions_are_the_same_however_many_were_read_before(tmp_path: Path, name: str) -> None:
    """A picture that is kept for further regions changes nothing."""
    scene(1).save(tmp_path / name)
    scene(2).save(tmp_path / f"other-{name}")
    tasks = [Task(str(tmp_path / name), want="picture", box=box) for box in tiles_of(WIDE, HIGH)[::7]]
    tasks[5:5] = [
        Task(str(tmp_path / f"other-{name}"), want="picture", box=tasks[0].box),
        tasks[1]._replace(frame="look"),
    ]
    together = [reading.carry_out(task, 64) for task in tasks]
    for task, answer in zip(tasks, together, strict=True):
        reading._last.clear()
        assert answer.reason is None and reading.carry_out(task, 64) == answer


def test_an_update_follows_the_files(indexed: Path, thing: Image.Image, latent: Run) -> None:
    before, photos = rows_of(indexed / "index"), indexed / "photos"
    said = latent("index", "update", "--index", "index").stdout
    assert f"added 0  changed 0  renamed 0  removed 0  unchanged {len(before)}" in said
    shutil.move(photos / "scene-3.jpg", photos / "trip" / "moved.jpg")
    (photos / "scene-1.jpg").unlink()
    with_thing(thing, 2).resize((900, 600)).save(photos / "scene-2.jpg")
    said = latent("index", "update", "--index", "index").stdout
    after = rows_of(indexed / "index")
    assert "renamed 95" in said
    assert {after[one] for one in after if "moved.jpg" in one} == {before[one] for one in before if "scene-3" in one}
    assert not any("scene-1.jpg" in one or "scene-3.jpg" in one for one in after)
    changed = {one for one in after if "scene-2.jpg" in one}
    assert len(changed) == len(tiles_of(900, 600)) and {after[one] for one in changed}.isdisjoint(before.values())
    latent("index", "verify", "--index", "index")
    (photos / "scene-2.jpg").unlink()
    assert "gone since it was indexed" in latent("index", "verify", "--index", "index", code=1).stdout


def test_the_tiles_of_a_file_are_removed_together(indexed: Path, latent: Run) -> None:
    latent("index", "remove", "photos/scene-2.jpg", "--index", "index")
    latent("index", "remove", "photos/trip", "--index", "index")
    latent("index", "update", "--index", "index")
    assert {one for one in rows_of(indexed / "index") if "scene-2" in one or "/trip/" in one} == set()


def test_filters_see_the_file_of_a_tile(indexed: Path) -> None:
    """Its name and path without the box, and its folder; a file whose name looks like that of a tile keeps it."""
    named = "odd#xywh=percent:1,2,3,4"
    for place in ("photos/trip", "plain"):
        (indexed / place).mkdir(exist_ok=True)
        scene(80).resize((300, 300)).save(indexed / place / named, "png")
    own = {one for one in rows_of(indexed / "index") if "/trip/far.jpg" in one}
    Library.build([regions_address("tiles", indexed / "photos"), indexed / "plain"], indexed / "index").close()
    with Searcher.open(indexed / "index") as searcher:
        for where in ("name = far.jpg", "name = 'far*'", "path = trip/far.jpg", InFolder(str(indexed / "photos/trip"))):
            found = {one.path for one in searcher.pictures(where)}
            assert {one for one in found if "/far.jpg" in one} == own and len(own) == 95
            assert isinstance(where, str) == (found == own)
        assert not searcher.pictures("name = 'far.jpg#*'") and not searcher.pictures("name = odd")
        odd = [one.path for one in searcher.pictures(f"name = '{named}'")]
        assert len(odd) == 2 and str(indexed / "plain" / named) in odd


def test_what_a_tile_looks_like_is_named_by_its_file_and_corner(indexed: Path, latent: Run) -> None:
    said = latent("query", "thing.png", "-k", 2, "--index", "index", "--decode", "seen", "--format", "json").stdout
    left, top, *_ = json.loads(said)["queries"][0]["hits"][0]["box"]
    (first, second) = sorted(path.name for path in (indexed / "seen").iterdir())
    assert first == f"001-far-{100 * left:.0f},{100 * top:.0f}.png"
    assert re.fullmatch(r"002-scene-\d(-\d+,\d+)?\.png", second)


def test_odd_pictures(tmp_path: Path) -> None:
    """A panorama has squares of its height, and a line of pixels is one picture."""
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (1, 700), "red").save(tmp_path / "photos" / "line.png")
    scene(1).resize((20 * 300, 300)).save(tmp_path / "photos" / "wide.jpg")
    with Library.build([regions_address("tiles", tmp_path / "photos")], tmp_path / "i", model="photos-64") as library:
        assert library.summary is not None and (library.summary.added, library.summary.skipped) == (1 + 40, 0)


def test_whole_pictures_alone_are_compared_and_none_is_a_file_to_remove(tmp_path: Path, latent: Run) -> None:
    (tmp_path / "photos").mkdir()
    for name in "ab":
        scene(1).resize((600, 400)).save(tmp_path / "photos" / f"{name}.png")
    latent("index", "build", "photos", "--regions", "tiles", "--index", "index")
    latent("dedup", "find", "--index", "index", "-o", "plan.json")
    plan = json.loads((tmp_path / "plan.json").read_text())
    folder = f"tiles:/{(tmp_path / 'photos').resolve()}"
    assert not plan["groups"] and [{one["a"], one["b"]} for one in plan["others"]] == [
        {f"{folder}/a.png", f"{folder}/b.png"}
    ]


def test_what_cannot_be_done_is_said(tmp_path: Path, latent: Run) -> None:
    assert "no folder of this machine" in latent("index", "build", "s3://a", "--regions", "tiles", code=1).stderr
    (tmp_path / "a.tar").write_bytes(bytes(1024))
    assert "is not a folder" in latent("index", "build", "a.tar", "--regions", "tiles", code=1).stderr
    assert not (tmp_path / ".latent").exists()


def test_one_tile_stands_for_its_picture() -> None:
    paths = ["/a.jpg", "tiles:///a.jpg", "tiles:///a.jpg#xywh=percent:0,0,5,5", "faces:///a.jpg#xywh=percent:0,0,5,5",
             "faces:///a.jpg#xywh=percent:5,0,5,5", "tiles:///b.jpg#xywh=percent:0,0,5,5", "/a.jpg"]  # fmt: skip
    assert first_of_each_picture(paths) == [0, 1, 3, 4, 5, 6]
    assert first_of_each_picture(paths, ["tiles:///b.jpg", "/a.jpg"]) == [0, 1, 3, 4, 6]


def test_the_gallery_shows_tiles(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("fastapi", reason="latent serve needs the extra web")
    from tests.serving import ended, started, told

    (indexed / "index").rename(indexed / ".latent")
    scratch = tmp_path_factory.mktemp("site")
    site = started(indexed, token=scratch / "token", scratch=scratch)
    try:
        hits = told(site.post((indexed / "thing.png").read_bytes(), k=9))["hits"]
        assert hits[0]["name"] == "far.jpg" and holds_thing(hits[0]["box"])
        assert len({one["name"] for one in hits}) == len(hits) == 9
        answer = site.get(f"items/{hits[0]['id']}/thumbnail", size=128)
        with Image.open(io.BytesIO(answer.content)) as shown:
            assert shown.size == (128, 128)
    finally:
        ended(site)
