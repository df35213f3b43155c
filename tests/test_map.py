"""The collection on a plane: who lies where, and what is drawn of it."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, write_shapes
from PIL import Image

from retrieval import MissingExtra, PathError, Retriever
from retrieval.explore.plane import drawn, lay_out, thumbnails
from retrieval.pages.map import CELLS, MAP_PX, map_html, nearest_to_cells
from retrieval.pictures.thumbnail import THUMB_PX


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    folder = tmp_path_factory.mktemp("mapped")
    write_shapes(folder / "photos", 60, side=32)
    Retriever.build(folder / "photos", folder / ".latent", model=tiny_bundle, workers=1).close()
    return folder


def facts_of(page: str) -> dict[str, object]:
    (found,) = re.findall(r"^const facts = (.*);$", page, flags=re.MULTILINE)
    return dict(json.loads(found))


def test_positions_are_the_first_two_principal_components(indexed: Path) -> None:
    with Retriever.open(indexed / ".latent") as retriever:
        plane = lay_out(retriever)
        codes = np.stack([retriever.look_at(path).code for path in plane.paths]).astype(np.float64)
        again = lay_out(retriever)
    centred = codes - codes.mean(0)
    axes = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    inner = (plane.positions > 0).all(1) & (plane.positions < 1).all(1)
    assert inner.sum() > 50 and plane.total == len(plane.paths) == 60
    for axis in (0, 1):
        assert abs(np.corrcoef(axes[inner, axis], plane.positions[inner, axis])[0, 1]) > 0.999
    np.testing.assert_array_equal(plane.positions, again.positions)
    assert [cluster.position for cluster in plane.clusters] == [cluster.position for cluster in again.clusters]


def test_clusters_hold_everything_and_are_painted(indexed: Path) -> None:
    with Retriever.open(indexed / ".latent") as retriever:
        plane = lay_out(retriever, clusters=5)
        assert sum(cluster.count for cluster in plane.clusters) == 60 and len(plane.clusters) == 5
        assert sorted((c.count for c in plane.clusters), reverse=True) == [c.count for c in plane.clusters]
        assert all(c.painted is not None and c.painted.shape == (32, 32, 3) for c in plane.clusters)
        assert len(lay_out(retriever, clusters=1000).clusters) <= 60


def test_clusters_of_one_size_come_in_the_order_of_their_first_pictures(tmp_path: Path, tiny_bundle: Path) -> None:
    for number, kind in enumerate([0, 1, 2, 2, 1, 0]):  # their last pictures are in the opposite order
        write_shapes(tmp_path / "photos" / f"{number}", 1, seed=kind)
    with Retriever.build(tmp_path / "photos", tmp_path / "i", model=tiny_bundle, workers=1) as retriever:
        plane = lay_out(retriever, clusters=3)
    assert [cluster.count for cluster in plane.clusters] == [2, 2, 2]
    np.testing.assert_allclose([cluster.position for cluster in plane.clusters], plane.positions[:3], atol=1e-6)


def test_a_part_of_a_collection_is_drawn_at_random(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Retriever.open(indexed / ".latent") as retriever:
        whole, part, other = (lay_out(retriever, most=most, seed=seed) for most, seed in ((60, 0), (20, 0), (20, 1)))
        assert len(set(part.paths)) == 20 and set(part.paths) < set(whole.paths) and part.paths != other.paths
        monkeypatch.setattr("retrieval.searcher.PAGE", 7)
        assert [len(pictures) for pictures, _ in retriever.found()] == [7] * 8 + [4]
        paged = lay_out(retriever, most=20)
        assert paged.paths == part.paths and np.array_equal(paged.positions, part.positions)
        with pytest.raises(ValueError, match="layout must be"):
            lay_out(retriever, "tsne")  # type: ignore[arg-type]


def test_too_few_pictures_make_no_map(tmp_path: Path, tiny_bundle: Path) -> None:
    write_shapes(tmp_path / "photos", 2)
    with (
        Retriever.build(tmp_path / "photos", tmp_path / "i", model=tiny_bundle, workers=1) as retriever,
        pytest.raises(PathError, match="three pictures at least"),
    ):
        lay_out(retriever)


def test_each_cell_shows_the_picture_nearest_to_its_middle() -> None:
    points = np.random.default_rng(0).random((4000, 2)).astype(np.float32)
    points[0] = 1.0
    drawable = [number % 3 != 0 for number in range(4000)]
    places = nearest_to_cells(points, drawable)
    cells = np.minimum(np.floor(points * CELLS), CELLS - 1)
    for column in range(CELLS):
        for line in range(CELLS):
            here = [n for n in np.flatnonzero((cells == (column, line)).all(1)) if drawable[n]]
            away = [max(abs(points[n] * CELLS - (column + 0.5, line + 0.5))) for n in here]
            assert (column, line) not in places if not here else places[column, line] == here[int(np.argmin(away))]


def test_the_command_draws_both(indexed: Path, latent: Run, tmp_path: Path) -> None:
    gone = sorted((indexed / "photos").iterdir())[0]
    kept = gone.read_bytes()
    words = ("--index", indexed / ".latent", "--clusters", 4)
    latent("map", "-o", "map.html", *words)
    facts = facts_of((tmp_path / "map.html").read_text(encoding="utf-8"))
    assert len(facts["names"]) == 60 and len(facts["clusters"]) == 4 and facts["total"] == 60  # type: ignore[arg-type]
    assert Path(str(facts["links"][0]).removeprefix("file://")).is_file()  # type: ignore[index]
    gone.unlink()
    try:
        done = latent("map", "-o", "map.png", *words)
    finally:
        gone.write_bytes(kept)
    assert "1 cannot be read any more" in done.stderr
    with Image.open(tmp_path / "map.png") as sheet:
        assert sheet.width == MAP_PX and sheet.height > MAP_PX + 128
        drawn = np.asarray(sheet.convert("RGB"))[:MAP_PX].reshape(CELLS, THUMB_PX, CELLS, THUMB_PX, 3)
    filled = (drawn < 250).any(axis=(1, 3, 4)).sum()
    shown = int(re.findall(r"(\d+) of 60 pictures", done.stderr)[0])
    assert shown <= filled <= shown + 4 * 4  # a cluster's number may touch four cells
    assert "neither" in latent("map", "-o", "map.jpg", *words, code=2).stderr


def test_umap_keeps_neighbourhoods(tmp_path: Path, tiny_bundle: Path) -> None:
    """Nearest neighbours among 128 numbers stay nearer on its plane than on that of PCA."""
    write_shapes(tmp_path / "photos", 300, side=32)
    with Retriever.build(tmp_path / "photos", tmp_path / "i", model=tiny_bundle, workers=1) as retriever:
        planes = [lay_out(retriever, layout, clusters=2) for layout in ("umap", "pca", "umap")]  # type: ignore[arg-type]
        codes = np.stack([retriever.look_at(path).code for path in planes[0].paths])
    nearest = neighbours(codes)
    kept = [
        np.mean([len(set(a) & set(b)) for a, b in zip(nearest, neighbours(x.positions), strict=True)]) for x in planes
    ]
    assert kept[0] > kept[1] > 0
    np.testing.assert_array_equal(planes[0].positions, planes[2].positions)


def neighbours(points: np.ndarray) -> np.ndarray:
    distances = np.linalg.norm(points[:, None].astype(np.float64) - points[None], axis=2)
    return np.argsort(distances, axis=1)[:, 1:11]


def test_umap_that_is_not_installed_is_named(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)  # as if it were not there
    with Retriever.open(indexed / ".latent") as retriever, pytest.raises(MissingExtra, match=r"latent-search\[map\]"):
        lay_out(retriever, "umap")


def test_names_cannot_break_the_page(tmp_path: Path, tiny_bundle: Path) -> None:
    folder = tmp_path / "photos"
    write_shapes(folder, 3)
    (folder / "a<").mkdir()  # whose picture's path holds the end of a script
    for name in ("a</script><b>$facts.png", "a'\"\\.png", "\udcff\n.png"):
        sorted(folder.glob("shape-*.png"))[0].rename(folder / name)
    with Retriever.build(folder, tmp_path / "i", model=tiny_bundle, workers=1) as retriever:
        plane = lay_out(retriever)
    assert len(plane.paths) == 3
    page = map_html(plane, thumbnails(plane.paths, 1))
    names = facts_of(page)["names"]
    assert any("$facts" in name for name in names) and not any("\n" in name for name in names)  # type: ignore[union-attr,attr-defined]
    assert page.count("</script>") == 1


def test_members_are_named_from_the_most_typical_on(indexed: Path, latent: Run, tmp_path: Path) -> None:
    words = ("--index", indexed / ".latent", "--clusters", 4, "--members", "members.csv")
    done = latent("map", "-o", "map.html", *words)
    assert done.stderr.startswith("laying out 60 pictures")  # before anything is read
    with open(tmp_path / "members.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({row["path"] for row in rows}) == len(rows) == 60
    with Retriever.open(indexed / ".latent") as retriever:
        plane = lay_out(retriever, clusters=4)
        for number, cluster in enumerate(plane.clusters, 1):
            its = [row["path"] for row in rows if row["cluster"] == str(number)]
            assert its == [plane.paths[member] for member in cluster.members] and len(its) == cluster.count
            codes = np.stack([retriever.look_at(path).code for path in its]).astype(np.float64)
            middle = codes.mean(0)
            middle = (middle - middle.mean()) / middle.std()
            away = np.linalg.norm(codes - middle, axis=1)
            assert (np.diff(away) > -1e-3).all()
    facts = facts_of((tmp_path / "map.html").read_text(encoding="utf-8"))
    for one in facts["clusters"]:  # type: ignore[attr-defined]
        assert one["src"].startswith("data:image/jpeg") and one["typical"].startswith("data:image/jpeg")


def test_of_many_pictures_some_are_drawn_and_all_are_points(indexed: Path) -> None:
    with Retriever.open(indexed / ".latent") as retriever:
        plane = lay_out(retriever, clusters=3)
    chosen = drawn(plane, most=25)
    assert len(set(chosen)) == 25 and {cluster.members[0] for cluster in plane.clusters} <= set(chosen)
    assert drawn(plane) == list(range(60))
    nearest = set(nearest_to_cells(plane.positions, [True] * 60).values())
    assert nearest <= set(drawn(plane, most=3 + len(nearest)))
    read = dict(zip(chosen, thumbnails([plane.paths[number] for number in chosen], 1), strict=True))
    page = facts_of(map_html(plane, [read.get(number) for number in range(60)]))
    sprites = page["sprites"]
    assert [number for number, place in enumerate(sprites) if place >= 0] == chosen  # type: ignore[arg-type]
    assert [place for place in sprites if place >= 0] == list(range(25))  # type: ignore[attr-defined]
    assert len(page["x"]) == len(page["names"]) == 60  # type: ignore[arg-type]
