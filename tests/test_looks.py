"""Two looks at a picture: the whole of it, squeezed, and its central square, side by side in one code."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, write_shapes
from PIL import Image

from retrieval import IndexMismatch, ModelError, Retriever, load_model
from retrieval.models.model import Model, standardize
from retrieval.pictures.decode import framed


@pytest.fixture
def two(tiny_bundle: Path) -> Model:
    return load_model(tiny_bundle).with_looks(2)


def drawn(count: int, seed: int) -> list[np.ndarray]:
    """Pictures of drawn shapes and sides, of some cells of colour."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(40, 200, (count, 2))
    return [
        np.asarray(Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8)).resize((int(wide), int(high))))
        for wide, high in sizes
    ]


def test_a_code_is_the_mirrored_mean_of_each_look_side_by_side(tiny_bundle: Path, two: Model) -> None:
    one, pictures = load_model(tiny_bundle), drawn(9, 0)
    parts = []
    for frame in ("whole", "square"):
        squares = np.stack([framed(picture, one.image_size, frame) for picture in pictures])  # type: ignore[arg-type]
        seen, mirrored = (one.encode_squares(np.ascontiguousarray(way)).codes for way in (squares, squares[:, :, ::-1]))
        parts.append(standardize((seen + mirrored) / 2))
    wanted = np.concatenate(parts, axis=1)
    seen = two.encode_fully(pictures)
    np.testing.assert_allclose(seen.codes, wanted, atol=1e-5)
    np.testing.assert_allclose(seen.realism, one.encode_fully(pictures).realism, atol=1e-5)
    mirrored_too = two.encode([picture[:, ::-1] for picture in pictures])
    np.testing.assert_allclose(mirrored_too, wanted, atol=2e-2)  # scaling is not to the bit the same from the right
    assert two.latent_dim == 2 * one.latent_dim and two.standardized
    np.testing.assert_allclose(seen.codes.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(seen.codes.std(1), 1, atol=1e-4)


def test_the_whole_picture_is_decoded_and_what_is_drawn_has_a_code(tiny_bundle: Path, two: Model) -> None:
    one = load_model(tiny_bundle)
    codes = two.encode(drawn(3, 1))
    np.testing.assert_array_equal(two.decode(codes), one.decode(codes[:, : one.latent_dim]))
    np.testing.assert_array_equal(two.decode(codes, look=1), one.decode(codes[:, one.latent_dim :]))
    np.testing.assert_array_equal(two.sample(4, 7), one.sample(4, 7))
    assert two.draw_codes(4, 7).shape == (4, two.latent_dim)
    np.testing.assert_array_equal(two.decode(two.draw_codes(4, 7), 1.0), one.sample(4, 7))
    with pytest.raises(ValueError, match="codes must be"):
        two.decode(codes[:, : one.latent_dim])
    for model, own in ((one, codes[:, : one.latent_dim]), (two, codes)):
        with pytest.raises(ValueError, match="look must be"):
            model.decode(own, look=model.looks)
    with pytest.raises(ValueError, match="squares must be"):
        two.encode_squares(np.zeros((4, one.image_size, one.image_size, 3), np.uint8))  # not two pictures of two looks


def coloured(rng: np.random.Generator, cells: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(rng.integers(0, 256, (*cells, 3), np.uint8)).resize(size))


def test_what_lies_outside_the_centre_is_seen_with_two_looks_alone(tmp_path: Path) -> None:
    """Of panoramas that share nothing but their ends, and have another middle, the other one ranks higher."""
    rng, photos, pairs = np.random.default_rng(5), tmp_path / "photos", 12
    photos.mkdir()
    for pair in range(pairs):
        ends = coloured(rng, (2, 4), (320, 64))
        for member in "ab":
            picture = ends.copy()
            picture[:, 128:192] = coloured(rng, (2, 2), (64, 64))
            Image.fromarray(picture).save(photos / f"{pair:02d}-{member}.png")
    ranks = {}
    for looks in (1, 2):
        model = load_model("photos-64").with_looks(looks)
        with Retriever.build(photos, tmp_path / str(looks), model=model, workers=1) as retriever:
            of_all = [
                [Path(hit.path).name[:2] for hit in retriever.query(path, k=2 * pairs)].index(path.name[:2])
                for path in sorted(photos.iterdir())
            ]
        ranks[looks] = np.mean(of_all)
    by_chance = (2 * pairs - 2) / 2
    assert ranks[1] > 0.75 * by_chance and ranks[2] < 0.65 * by_chance, ranks


def test_an_index_keeps_its_looks(tiny_bundle: Path, two: Model, tmp_path: Path, latent: Run) -> None:
    write_shapes(tmp_path / "photos", 12)
    index = ("--index", tmp_path / "i")
    latent("index", "build", tmp_path / "photos", *index, "--model", tiny_bundle, "--looks", 2)
    write_shapes(tmp_path / "photos" / "more", 3, seed=4)
    latent("index", "build", tmp_path / "photos", *index)  # with its own model
    query = sorted((tmp_path / "photos").glob("*.png"))[3]
    with Retriever.open(tmp_path / "i") as retriever:
        assert len(retriever) == 15 and retriever.model.looks == 2 and retriever.latent_dim == two.latent_dim
        assert retriever.model.digest == two.digest == pickle.loads(pickle.dumps(two)).digest
        assert retriever.model.digest != load_model(tiny_bundle).digest
        copy = tmp_path / "copy.png"
        copy.write_bytes(query.read_bytes())
        assert retriever.query(copy, k=1)[0].distance == pytest.approx(0, abs=1e-3)
    latent("query", query, *index, "--decode", tmp_path / "d", "--sheet", tmp_path / "s.png", "-k", 3)
    decoded = sorted(path.stem for path in (tmp_path / "d").iterdir())
    assert len(decoded) == 6 and decoded[1::2] == [f"{name}-centre" for name in decoded[::2]]
    latent("map", *index, "-o", tmp_path / "map.html")
    assert (
        "holds codes of" in latent("index", "build", tmp_path / "photos", *index, "--model", tiny_bundle, code=3).stderr
    )
    with pytest.raises(IndexMismatch):
        Retriever.build(tmp_path / "photos", tmp_path / "i", model=load_model(tiny_bundle), workers=1)


def test_looks_of_a_model_that_has_none_are_refused(two: Model) -> None:
    with pytest.raises(ModelError, match="looks"):
        two.with_looks(3)
    assert two.with_looks(1).digest == load_model(two.folder).digest
