"""Whether a model fits a collection: pictures are held against what the model learnt, and a wrong model is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, draw_shapes, write_shapes
from PIL import Image

from retrieval import ModelError, Retriever, load_model, shipped_models
from retrieval.models.bundle import read_description
from retrieval.models.description import fault_of
from retrieval.models.learnt import FIELD, lengths, measured, points_of, read
from retrieval.models.texture import CHANNELS, LEAST, levels, texture


def write_samples(folder: Path, model: str, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number:03d}.png" for number in range(count)]
    for path, pixels in zip(paths, load_model(model).sample(count), strict=True):
        Image.fromarray(pixels).save(path)
    return paths


Seen = tuple[np.ndarray, np.ndarray, np.ndarray]  # realism, spread and squares


def seen_like(count: int, seed: int) -> Seen:
    """Squares are grounds of one colour with noise, as fine as its level is drawn."""
    rng = np.random.default_rng(seed)
    realism, spread = rng.normal(0, 1, count), np.exp(rng.normal(0, 0.3, count))
    grounds, levels = rng.uniform(80, 180, (count, 1, 1, 3)), np.exp(rng.normal(2, 0.4, (count, 1, 1, 1)))
    squares = (grounds + levels * rng.normal(size=(count, 64, 64, 3))).clip(0, 255).astype(np.uint8)
    return realism.astype(np.float32), spread.astype(np.float32), squares


def looks_like(count: int, seed: int, centre: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(centre, 1, count).astype(np.float32), np.exp(rng.normal(0, 0.3, count)).astype(np.float32)


def assert_ranks(table: dict[str, object] | None, same: Seen, other: Seen) -> None:
    assert table is not None and fault_of({**read_description(load_model().folder), FIELD: table}) == ""
    learnt = read(json.loads(json.dumps(table)))
    usual, unusual = learnt.unfamiliarity(*same), learnt.unfamiliarity(*other)
    for share in (0.5, 0.9, 0.95, 0.99):
        assert abs((usual > share).mean() - (1 - share)) < 0.03
    assert (unusual > 0.99).mean() > 0.95


def test_the_table_gives_each_picture_its_rank_among_what_was_learnt() -> None:
    none = np.empty((0, 64, 64, 3), np.uint8)  # which a table of the critic alone does not look at
    table = measured(points_of(*looks_like(4000, 0), None), 4000)
    assert_ranks(table, (*looks_like(4000, 1), none), (*looks_like(4000, 2, centre=6), none))
    assert measured(points_of(*looks_like(99, 0), None), 99) is None


def test_pictures_of_another_texture_are_far_from_what_was_learnt() -> None:
    realism, spread, squares = seen_like(1500, 1)
    coarse = squares[:, ::4, ::4].repeat(4, 1).repeat(4, 2)
    table = measured(points_of(*seen_like(1500, 0)), 1500)
    assert_ranks(table, (realism, spread, squares), (realism, spread, coarse))


def test_an_older_table_without_texture_is_read() -> None:
    realism, spread, squares = seen_like(400, 0)
    points = np.stack([realism, np.log(spread)], 1).astype(np.float64)
    centre, inverse = points.mean(0), np.linalg.inv(np.cov(points.T))
    away = np.sort(np.einsum("ni,ij,nj->n", points - centre, inverse, points - centre))
    table = {"pictures": 400, "centre": centre.tolist(), "inverse": inverse.tolist(), "distances": away.tolist()}
    assert fault_of({**read_description(load_model().folder), FIELD: table}) == ""
    found = np.sort(read(table).unfamiliarity(realism, spread, squares))
    assert np.abs(found - np.arange(400) / 400).max() <= 1.5 / 400


@pytest.mark.parametrize("side", [32, 64, 100, 224])
def test_texture_is_the_energy_that_halving_loses(side: int) -> None:
    rng = np.random.default_rng(side)
    squares = rng.integers(0, 256, (70, side, side, 3), np.uint8)
    found = texture(squares)
    assert found.shape == (70, 6 * levels(side)) and found.dtype == np.float32
    seen = (squares[3] / 127.5 - 1) @ np.array(CHANNELS, np.float64).T
    for level in range(levels(side)):
        halved = seen.reshape(len(seen) // 2, 2, len(seen) // 2, 2, 3).mean((1, 3))
        lost = seen - halved.repeat(2, 0).repeat(2, 1)
        energy = np.sqrt((lost**2).mean((0, 1)))
        expected = [*np.log(energy + LEAST), *(np.abs(lost).mean((0, 1)) / (energy + LEAST))]
        assert found[3, 6 * level : 6 * level + 6] == pytest.approx(expected, abs=1e-4)
        seen = halved
    assert len(seen) < 4 or len(seen) % 2
    assert texture(squares[:0]).shape == (0, found.shape[1])


def test_pictures_are_also_looked_at_as_others_take_them() -> None:
    from train.export import as_others_take_them

    squares = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), np.uint8)
    more = as_others_take_them(squares)
    assert np.array_equal(more[:200], squares) and len(more) == 200 + 20 + 40 + 10
    are_grey = (more == more[..., :1]).all((1, 2, 3))
    assert are_grey[200:220].all() and are_grey[260:].all() and not are_grey[:200].any() and not are_grey[220:260].any()


@pytest.mark.parametrize("name", shipped_models())
def test_every_shipped_model_has_the_table_and_knows_its_own_pictures(name: str) -> None:
    model = load_model(name)
    assert model.learnt is not None and model.learnt.pictures >= 1000 and FIELD in model.facts
    assert len(model.learnt.centre) == lengths(model.image_size)[1]
    samples = model.encode_fully(model.sample(100)).unfamiliarity
    assert (samples > 0.95).mean() < 0.5
    if name.startswith("faces"):
        shapes = model.encode_fully(draw_shapes(60, side=64)[0]).unfamiliarity
        assert (shapes > 0.95).mean() > 0.9


@pytest.mark.parametrize(
    "wrong",
    [
        {"centre": [1.0]},
        {"centre": [1.0, float("nan")]},
        {"inverse": [[1.0, 0.0]]},
        {"centre": [1.0] * 8, "inverse": np.eye(8).tolist()},  # of pictures of another size
        {"inverse": 3},
        {"distances": [2.0, 1.0]},
        {"distances": [1.0]},
        {"distances": ["1", "2"]},
        {"distances": [0.0] * 20_000},
        {"pictures": -1},
        {"pictures": None},
    ],
)
def test_a_table_out_of_its_range_is_refused(wrong: dict[str, object]) -> None:
    facts = read_description(load_model().folder)
    assert fault_of(facts) == ""
    assert "learnt" in fault_of({**facts, FIELD: {**facts[FIELD], **wrong}})
    assert "learnt" in fault_of({**facts, FIELD: dict.fromkeys(list(facts[FIELD])[:2], 1)})


def test_a_build_with_the_wrong_model_warns_and_names_the_right_one(latent: Run, tmp_path: Path) -> None:
    write_samples(tmp_path / "photos", "photos-64", 40)
    said = latent("index", "build", "photos", "--model", "faces-128").stderr
    assert "are unlike what faces-128 learnt; their codes mean little" in said
    assert "photos-64 fits more" in said and "--model photos-64" in said
    assert "unlike" not in latent("index", "build", "photos", "--model", "faces-128").stderr  # nothing new was encoded
    assert "unlike" not in latent("index", "build", "photos", "--index", "right").stderr


def test_a_query_that_the_model_did_not_learn_gets_a_warning(latent: Run, tmp_path: Path) -> None:
    faces = write_samples(tmp_path / "faces", "faces-128", 20)
    write_shapes(tmp_path / "shapes", 1, side=128)
    (shape,) = (tmp_path / "shapes").iterdir()
    latent("index", "build", "faces", "--model", "faces-128")
    strange = latent("query", shape, "--format", "json")
    assert "is unlike what faces-128 learnt" in strange.stderr
    assert json.loads(strange.stdout)["queries"][0]["unfamiliarity"] > 0.99
    usual = latent("query", faces[0], "--format", "json")
    assert "unlike" not in usual.stderr
    assert json.loads(usual.stdout)["queries"][0]["unfamiliarity"] <= 0.99


def test_an_index_keeps_how_unlike_what_was_learnt_each_picture_is(latent: Run, tmp_path: Path) -> None:
    faces = write_samples(tmp_path / "photos", "faces-64", 12)
    write_shapes(tmp_path / "photos", 12, side=128)
    with Retriever.build(tmp_path / "photos", index=tmp_path / "index", model="faces-64", workers=1) as built:
        found = {one.path: one.unfamiliarity for some, _ in built.found() for one in some}
        expected = built.model.encode_fully([*found]).unfamiliarity
        assert [*found.values()] == pytest.approx(expected.tolist(), abs=1e-6) and len(set(found.values())) > 10
        shutil.copy(faces[3], tmp_path / "other.png")
        assert built.look_at(faces[3]).unfamiliarity == found[str(faces[3])]  # which is not read
        assert built.look_at(tmp_path / "other.png").unfamiliarity == pytest.approx(found[str(faces[3])], abs=1e-6)
    for share in (0.3, 0.95):
        said = latent(
            "index", "list", "--where", f"unfamiliarity > {share}", "--index", "index", "--format", "paths"
        ).stdout
        assert len(said.splitlines()) == sum((one or 0) > share for one in found.values())


def test_an_older_copy_of_a_shipped_model_learns_what_the_shipped_one_says(tmp_path: Path) -> None:
    write_samples(tmp_path / "photos", "photos-64", 12)
    with Retriever.build(tmp_path / "photos", index=tmp_path / "index", workers=1) as built:
        description = built.model.folder / "model.json"
    facts = json.loads(description.read_text())
    table = facts.pop(FIELD)
    description.write_text(json.dumps(facts))
    with Retriever.open(tmp_path / "index") as opened:
        assert opened.model.learnt is not None
        assert opened.model.learnt.distances.tolist() == table["distances"]
        assert opened.look_at(next((tmp_path / "photos").iterdir())) is not None


def test_a_model_without_the_table_says_nothing(latent: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "photos", 12)
    assert load_model(tiny_bundle).learnt is None  # it saw 64 pictures
    assert "unlike" not in latent("index", "build", "photos", "--model", tiny_bundle).stderr


def test_training_keeps_the_table(tmp_path: Path) -> None:
    import torch

    from train import checkpoint
    from train.data import CachedPictures
    from train.export import export
    from train.recipe import Recipe

    recipe = Recipe(image_size=32, latent_dim=16, width=8, max_width=32, batch_size=16)
    cpu = torch.device("cpu")
    pictures = draw_shapes(200)[0]
    model = export(checkpoint.new_state(recipe, cpu, "float32"), CachedPictures(pictures), tmp_path, {"name": "t"}, cpu)
    assert model.learnt is not None and model.learnt.pictures == 200
    unfamiliarity = model.encode_fully(pictures).unfamiliarity
    assert abs((unfamiliarity > 0.95).mean() - 0.05) < 0.03
    with pytest.raises(ModelError, match="learnt"):
        broken = {**model.facts, FIELD: {}}
        from retrieval.models.bundle import write_description

        write_description(tmp_path, broken)
