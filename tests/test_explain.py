"""What a query is told about itself and its hits: novelty, heat maps, directions."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, draw_shapes, without_facts, write_shapes
from PIL import Image

from retrieval import NoDirection, PathError, Retriever, learn_direction, load_model
from retrieval.explore.novelty import FEWEST, novelty
from retrieval.pages.heat import heat_maps


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 120 generated faces, by a model that knows faces."""
    folder = tmp_path_factory.mktemp("sampled")
    (folder / "photos").mkdir()
    for number, pixels in enumerate(load_model("faces-64").sample(120, seed=3)):
        Image.fromarray(pixels).save(folder / "photos" / f"{number:03d}.png")
    Retriever.build(folder / "photos", folder / "index", model="faces-64", workers=1).close()
    return folder


def halves(folder: Path, count: int = 40) -> tuple[Path, Path]:
    """Noisy pictures that are bright above, and others that are bright below."""
    rng = np.random.default_rng(0)
    for name, top in (("above", True), ("below", False)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 90, (32, 32, 3), np.uint8)
            pixels[slice(0, 16) if top else slice(16, 32)] += 120
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
    return folder / "above", folder / "below"


def test_novelty_is_a_rank_within_the_collection() -> None:
    rng = np.random.default_rng(0)
    looks = np.stack([rng.normal(-3, 0.2, 500), np.exp(rng.normal(0, 0.1, 500))], axis=1).astype(np.float32)
    ranks = np.array([novelty(looks, *map(float, look)) for look in looks])
    np.testing.assert_allclose(np.sort(ranks), np.arange(500) / 500, atol=2e-3)  # a hundredth is stranger than 99%
    assert novelty(looks, -3.0, 1.0) < 0.05  # type: ignore[operator]
    assert novelty(looks, -2.0, 1.0) == novelty(looks, -3.0, 3.0) == novelty(looks, -3.0, 0.0) == 1.0
    assert novelty(looks[: FEWEST - 1], -3.0, 1.0) is None


def test_novelty_where_all_are_the_same() -> None:
    looks = np.tile(np.array([[-3.0, 1.0]], np.float32), (FEWEST, 1))
    assert novelty(looks, -3.0, 1.0) == 0.0


def test_a_strange_query_is_warned_of(sampled: Path, latent: Run) -> None:
    noise = sampled / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(noise)
    words = ("--index", sampled / "index", "-k", 2, "--format", "json")
    strange = latent("query", noise, *words)
    assert "more novel than 99%" in strange.stderr
    (answer,) = json.loads(strange.stdout)["queries"]
    assert answer["strangeness"] == answer["novelty"] == 1.0
    assert answer["realism"] == pytest.approx(float(load_model("faces-64").encode_fully([noise]).realism[0]), abs=1e-4)
    with Retriever.open(sampled / "index") as retriever:
        values = {path: retriever.novelty(retriever.look_at(path)) for path in (sampled / "photos").iterdir()}
    usual = latent("query", min(values, key=lambda path: values[path] or 0), *words)
    assert usual.stderr == "" and json.loads(usual.stdout)["queries"][0]["strangeness"] < 0.1


def test_heat_maps_show_where_and_on_one_scale() -> None:
    query = np.full((8, 8, 3), 100, np.uint8)
    near, far = query.copy(), query.copy()
    near[0, 0] += 10
    far[7, 7] += 120
    same, faint, strong = heat_maps(query, np.stack([query, near, far]))
    assert not same.any()
    assert faint[0, 0].any() and faint[0, 0].sum() < 100 and not np.delete(faint.reshape(-1, 3), 0, 0).any()
    assert (strong[7, 7] == 255).all() and not np.delete(strong.reshape(-1, 3), 63, 0).any()
    (alone,) = heat_maps(query, near[None])
    assert (alone == faint).sum() >= alone.size - 3 and alone[0, 0].sum() < 300  # faint stays faint


def test_explain_draws_a_third_row(sampled: Path, latent: Run, tmp_path: Path) -> None:
    photo = next((sampled / "photos").iterdir())
    words = ("query", photo, "--index", sampled / "index", "-k", 3, "--sheet")
    latent(*words, "plain.png")
    latent(*words, "explained.png", "--explain", "--html", "why.html")
    with Image.open(tmp_path / "plain.png") as plain, Image.open(tmp_path / "explained.png") as explained:
        assert plain.width == explained.width and explained.height == plain.height + 128
        hit = np.asarray(explained.crop((160, 128 * 2 + 8, 280, 128 * 3 + 8)))
    assert hit.std() > 10 and (hit[..., 0] >= hit[..., 1]).mean() > 0.95  # red before anything else
    page = (tmp_path / "why.html").read_text()
    assert page.count("<img") == 2 + 3 * 3 and "<figcaption>realism -" in page
    assert "--sheet" in latent("query", photo, "--explain", "--index", sampled / "index", code=2).stderr


def test_a_direction_is_the_difference_of_averages_and_knows_how_good_it_is(tmp_path: Path, tiny_bundle: Path) -> None:
    model, (above, below) = load_model(tiny_bundle), halves(tmp_path)
    (above / "broken.png").write_bytes(b"no picture")
    way = learn_direction(model, "above", above, below, workers=1)
    codes = [model.encode(sorted(folder.glob("[0-9]*.png"))) for folder in (above, below)]
    np.testing.assert_allclose(way.vector, codes[0].mean(0) - codes[1].mean(0), atol=1e-4)
    assert (way.with_count, way.without_count) == (40, 40) and way.accuracy == 1.0
    write_shapes(tmp_path / "a", 100, seed=1, side=32)
    write_shapes(tmp_path / "b", 100, seed=2, side=32)
    chance = learn_direction(model, "nothing", tmp_path / "a", tmp_path / "b", workers=1)
    assert chance.accuracy is not None and 0.3 < chance.accuracy < 0.7  # of what it was not learnt from
    write_shapes(tmp_path / "few", 4, seed=3)
    assert learn_direction(model, "few", tmp_path / "few", below, workers=1).accuracy is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(PathError, match="empty holds no picture"):
        learn_direction(model, "x", tmp_path / "empty", below)
    with pytest.raises(ValueError, match="letters, digits"):
        learn_direction(model, "0.5*x", above, below)


def test_the_index_keeps_directions_and_queries_go_along_them(tmp_path: Path, tiny_bundle: Path, latent: Run) -> None:
    above, below = halves(tmp_path / "photos")
    Retriever.build(tmp_path / "photos", tmp_path / ".latent", model=tiny_bundle, workers=1).close()
    assert latent("direction").stdout == ""
    assert "accuracy 100% on other pictures" in latent("direction", "above", "--with", above, "--without", below).stdout
    assert latent("direction").stdout.startswith("above: 40 pictures with, 40 without")
    start = below / "00.png"
    plain = latent("query", start, "-k", 10, "--format", "paths").stdout.splitlines()
    moved = latent("query", start, "-k", 10, "--format", "paths", "--plus", "3*above").stdout.splitlines()
    back = latent("query", start, "-k", 10, "--format", "paths", "--minus", "above").stdout.splitlines()
    assert [sum("above" in path for path in hits) for hits in (plain, moved, back)] == [0, 10, 0]
    latent("direction", "above", "--along", start, "-o", "strip.png", "--steps", 5)
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.size == (6 * 128 + 3 * 8, 128 + 16)
    title = json.loads(latent("query", start, "--plus", "0.5*above", "--format", "json").stdout)["queries"][0]
    assert title["query"].endswith("00.png + 0.5*above") and title["strangeness"] is title["realism"] is None
    assert "knows no direction 'smile'; it knows above" in latent("query", start, "--plus", "smile", code=1).stderr
    latent("direction", "above", "--forget")
    assert "knows none" in latent("direction", "above", code=1).stderr


def test_what_cannot_be_asked_of_a_direction(
    tmp_path: Path, tiny_bundle: Path, latent: Run, shape_folder: Path
) -> None:
    Retriever.build(shape_folder, tmp_path / ".latent", model=tiny_bundle, workers=1).close()
    for words in (
        ("--forget",),
        ("x", "--with", shape_folder),
        ("x", "--along", next(shape_folder.glob("*.png"))),
        ("x", "--with", shape_folder, "--without", shape_folder, "--forget"),
        ("a b", "--with", shape_folder, "--without", shape_folder),
    ):
        assert latent("direction", *words, code=2).stdout == ""


def test_an_index_of_the_first_days_has_no_directions_and_learns_some(tmp_path: Path, tiny_bundle: Path) -> None:
    above, below = halves(tmp_path / "photos", 5)
    Retriever.build(tmp_path / "photos", tmp_path / "i", model=tiny_bundle, workers=1).close()
    with closing(sqlite3.connect(tmp_path / "i" / "catalog.db")) as database, database:
        database.execute("drop table directions")
        without_facts(database)
        database.execute("alter table meta drop column next_id")
        database.execute("alter table pictures drop column ctime_ns")
        for table in ("meta", "roots", "pictures", "codes", "distinct_contents"):
            database.execute(f"alter table {table} drop column checksum")
        database.execute("update meta set schema = 1")
    with Retriever.open(tmp_path / "i") as retriever:
        assert retriever.directions() == {}
        with pytest.raises(NoDirection):
            retriever.direction("above")
        retriever.keep_direction(learn_direction(retriever.model, "above", above, below, workers=1))
        first = retriever.direction("above")
        retriever.keep_direction(learn_direction(retriever.model, "above", below, above, workers=1))
        np.testing.assert_allclose(retriever.direction("above").vector, -first.vector, atol=1e-6)


def test_arrays_are_looked_at_too(tmp_path: Path, tiny_bundle: Path, shape_folder: Path) -> None:
    with Retriever.build(shape_folder, tmp_path / "i", model=tiny_bundle, workers=1) as retriever:
        pixels = draw_shapes(1)[0][0]
        seen = retriever.look_at(pixels)
        np.testing.assert_array_equal(seen.code, retriever.model.encode([pixels])[0])
        assert seen.ids == frozenset() and retriever.novelty(seen) is None
