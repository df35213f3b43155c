"""Whether a model fits a collection: pictures are held against what the model learnt, and a wrong model is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, draw_shapes, write_shapes
from PIL import Image

from retrieval import ModelError, Retriever, load_model, shipped_models
from retrieval.models.bundle import read_description
from retrieval.models.description import fault_of
from retrieval.models.learnt import FIELD, measured, read


def write_samples(folder: Path, model: str, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number:03d}.png" for number in range(count)]
    for path, pixels in zip(paths, load_model(model).sample(count), strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def looks_like(count: int, seed: int, centre: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.normal(centre, 1, count), np.exp(rng.normal(0, 0.3, count))], 1).astype(np.float32)


def test_the_table_gives_each_picture_its_rank_among_what_was_learnt() -> None:
    table = measured(looks_like(4000, 0))
    assert table is not None and fault_of({**read_description(load_model().folder), FIELD: table}) == ""
    learnt = read(json.loads(json.dumps(table)))
    same, other = learnt.unfamiliarity(looks_like(4000, 1)), learnt.unfamiliarity(looks_like(4000, 2, centre=6))
    for share in (0.5, 0.9, 0.95, 0.99):
        assert abs((same > share).mean() - (1 - share)) < 0.03
    assert (other > 0.99).mean() > 0.95
    assert measured(looks_like(99, 0)) is None


@pytest.mark.parametrize("name", shipped_models())
def test_every_shipped_model_has_the_table_and_knows_its_own_pictures(name: str) -> None:
    model = load_model(name)
    assert model.learnt is not None and model.learnt.pictures >= 1000 and FIELD in model.facts
    samples = model.learnt.unfamiliarity(model.encode_fully(model.sample(100)).looks)
    assert (samples > 0.95).mean() < 0.5
    if name.startswith("faces"):
        shapes = model.learnt.unfamiliarity(model.encode_fully(draw_shapes(60, side=64)[0]).looks)
        assert (shapes > 0.95).mean() > 0.9


@pytest.mark.parametrize(
    "wrong",
    [
        {"centre": [1.0]},
        {"centre": [1.0, float("nan")]},
        {"inverse": [[1.0, 0.0]]},
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
    unfamiliarity = model.learnt.unfamiliarity(model.encode_fully(pictures).looks)
    assert abs((unfamiliarity > 0.95).mean() - 0.05) < 0.03
    with pytest.raises(ModelError, match="learnt"):
        broken = {**model.facts, FIELD: {}}
        from retrieval.models.bundle import write_description

        write_description(tmp_path, broken)
