"""The map of ``latent serve``: the real server, asked over HTTP, against the library in this process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from retrieval import Retriever, Searcher, ServerError, connect
from retrieval.explore.novelty import novelties, novelty
from retrieval.explore.plane import lay_out
from serve import plane as served_plane
from serve import records
from tests.conftest import add_codes, write_shapes
from tests.test_serve import SECRET, Site, ended, refused, started

PICTURES, SPARE = 110, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """Drawn shapes in two folders, each of another day, some of which are gone from the index."""
    home = tmp_path_factory.mktemp("mapped") / SECRET
    write_shapes(home / "photos", PICTURES - 30)
    write_shapes(home / "photos" / "Trips" / "Rome", 30 + SPARE, seed=1)
    for number, path in enumerate(sorted((home / "photos").rglob("*.png"))):
        os.utime(path, (1_500_000_000 + 86_400 * number,) * 2)
    with Retriever.build(home / "photos", index=home / ".latent", model=str(tiny_bundle), workers=1) as retriever:
        retriever.remove(sorted((home / "photos" / "Trips" / "Rome").glob("*.png"))[:SPARE])
    return home


@pytest.fixture(scope="module")
def site(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    scratch = tmp_path_factory.mktemp("site")
    site = started(folder, token=scratch / "token", scratch=scratch)
    yield site
    assert ended(site) == 0


@pytest.fixture(scope="module")
def searcher(folder: Path) -> Iterator[Searcher]:
    with Searcher.open(folder / ".latent") as searcher:
        yield searcher


def made(site: Site) -> httpx.Response:
    """The answer, once it is no progress any more."""
    ends_s = time.monotonic() + 60
    while (answer := site.get("map")).status_code == 202:
        assert set(answer.json()) == {"stage", "done", "total"} and time.monotonic() < ends_s
        time.sleep(0.02)
    return answer


def test_the_map_is_that_of_the_library(site: Site, searcher: Searcher) -> None:
    stages: list[str] = []
    told = connect(site.origin, site.token).map(report=lambda stage, done, total: stages.append(stage))
    plane = lay_out(searcher)
    pictures = searcher.pictures()
    by_path = {one.path: one for one in pictures}
    assert [by_path[path].id for path in plane.paths] == told.ids.tolist() and len(told.ids) == told.total == PICTURES
    codes = np.stack([searcher.look_at(path).code for path in plane.paths]).astype(np.float64)
    axes = np.linalg.svd(codes - codes.mean(0), full_matrices=False)[2][:2]
    for axis, place in zip(
        (codes @ axes.T).T, told.positions.T, strict=True
    ):  # in the order of the principal component
        assert (place.min(), place.max()) == (0, 1)
        assert spread(place[np.argsort(axis)]) in (1, -1)
    assert stages and set(stages) <= {"reading", "placing", "grouping", "describing"}
    for number, (path, name) in enumerate(zip(plane.paths, told.names, strict=True)):
        inside = Path(path).relative_to(site.folder / "photos")
        assert (told.folders[told.folder[number]], name) == (str(inside.parent).replace(".", "", 1), inside.name)
        assert told.taken_s[number] == by_path[path].mtime_ns / 1e9
        look = by_path[path]
        assert told.novelty[number] == pytest.approx(novelty(searcher.looks(), look.realism, look.spread))
    assert len(told.clusters) == len(plane.clusters)
    for number, (one, same) in enumerate(zip(told.clusters, plane.clusters, strict=True)):
        assert one.count == same.count
        assert one.position == pytest.approx(told.positions[list(same.members)].mean(0), abs=1e-5)
        assert one.typical == told.ids[same.members[0]]
        assert np.flatnonzero(told.cluster == number).tolist() == sorted(same.members)
        assert np.array_equal(connect(site.origin, site.token).decode(one.code, one.scale), same.painted)


def spread(values: np.ndarray) -> int:
    """1 if values never fall, -1 if they never rise (by more than rounding), else 0."""
    steps = np.diff(values)
    return 1 if (steps > -1e-5).all() else -1 if (steps < 1e-5).all() else 0


def test_points_far_out_come_nearer_in_the_same_order() -> None:
    points = np.random.default_rng(2).standard_t(2, (4000, 2)).astype(np.float32)
    drawn = served_plane.drawn_in(points)
    assert drawn.min() == 0 and drawn.max() == 1
    for axis in (0, 1):
        assert spread(drawn[np.argsort(points[:, axis]), axis]) == 1
    plain = (points - points.min(0)) / (points.max(0) - points.min(0))
    assert (drawn.std(0) > 2 * plain.std(0)).all()
    assert np.isfinite(served_plane.drawn_in(np.ones((5, 2), np.float32))).all()


def test_the_map_is_made_once_and_kept_by_the_client(site: Site) -> None:
    answer = made(site)
    assert answer.status_code == 200 and answer.headers["cache-control"].startswith("private")
    headers = {**site.key, "If-None-Match": answer.headers["etag"]}
    again = httpx.get(f"{site.origin}/api/v1/map", headers=headers)
    assert again.status_code == 304 and not again.content
    assert SECRET not in answer.text and str(site.folder) not in answer.text
    refused(site.get("items", limit=0), 422, "invalid")


def test_openapi_tells_all_answers_of_the_map(site: Site) -> None:
    about = site.get("openapi.json").json()["paths"]["/api/v1/map"]["get"]["responses"]
    kinds = {status: about[status]["content"]["application/json"]["schema"]["$ref"] for status in ("200", "202", "409")}
    assert [kind.rpartition("/")[2] for kind in kinds.values()] == ["Map", "MapProgress", "Error"] and "304" in about


def test_a_map_needs_three_pictures(tmp_path: Path, tiny_bundle: Path) -> None:
    write_shapes(tmp_path / "photos", 2)
    Retriever.build(tmp_path / "photos", index=tmp_path / ".latent", model=str(tiny_bundle), workers=1).close()
    site = started(tmp_path, token=tmp_path / "token", scratch=tmp_path)
    try:
        refused(made(site), 409, "too_few")
        with pytest.raises(ServerError, match="needs 3 pictures"):
            connect(site.origin, site.token).map()
        site.get("healthz")
    finally:
        assert ended(site) == 0


def test_a_server_that_ends_gives_the_map_up(tmp_path: Path, tiny_bundle: Path) -> None:
    write_shapes(tmp_path / "photos", 3)
    Retriever.build(tmp_path / "photos", index=tmp_path / ".latent", model=str(tiny_bundle), workers=1).close()
    add_codes(tmp_path / ".latent", 60_000)
    site = started(tmp_path, token=tmp_path / "token", scratch=tmp_path)
    assert site.get("map").status_code == 202
    began_s = time.monotonic()
    assert ended(site) == 0 and time.monotonic() - began_s < 10
    assert "Error" not in (log := site.log.read_text()) and "Traceback" not in log


def test_a_changed_index_is_mapped_again_once_the_map_is_old(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shapes(tmp_path / "photos", 12)
    with Retriever.build(tmp_path / "photos", index=tmp_path / "i", model=str(tiny_bundle), workers=1) as retriever:
        planes = served_plane.Planes(retriever)

        def count() -> int:
            while not isinstance(told := planes.get(), served_plane.Made):
                time.sleep(0.01)
            return len(records.Map.model_validate_json(told.body).names)

        assert count() == 12 and planes.get() is planes.get()
        retriever.remove([tmp_path / "photos" / "shape-0-001.png"])
        assert count() == 12  # it is still fresh
        monkeypatch.setattr(served_plane, "FRESH_S", 0.0)
        assert count() == 11
        assert planes.get() is planes.get()  # of one state of the index, however old
        planes.stop(1)


def test_novelties_are_those_of_each_picture() -> None:
    rng = np.random.default_rng(4)
    looks = np.stack([rng.normal(0, 1, 500), rng.lognormal(0, 0.3, 500)], axis=1).astype(np.float32)
    given = np.stack([rng.normal(0, 2, 60), rng.lognormal(0, 0.8, 60)], axis=1)
    told = novelties(looks, given)
    usual = np.stack([looks[:, 0], np.log(looks[:, 1])], axis=1).astype(np.float64)
    inverse = np.linalg.inv(np.cov(usual.T))
    for share, (realism, spread) in zip(told, given, strict=True):
        one = np.array([realism, np.log(spread)]) - usual.mean(0)
        less = [float((other - usual.mean(0)) @ inverse @ (other - usual.mean(0))) for other in usual]
        assert share == pytest.approx(np.mean(np.array(less) < one @ inverse @ one), abs=1 / 500 + 1e-9)
    assert np.isnan(novelties(looks[:50], given)).all()
