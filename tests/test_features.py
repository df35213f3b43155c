"""Codes for other programs: tables, and a step of a scikit-learn pipeline."""

from __future__ import annotations

import csv
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SHAPES, Run, draw_shapes, write_shapes
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks as checks

from cli.features import _scratch
from retrieval import CodeTransformer, Model, PictureRefused, Retriever, load_model, write_features
from retrieval.defaults import Device
from retrieval.errors import PathError

COLUMNS = ["path", "hash", "width", "height", "realism", "spread"]


@pytest.fixture
def indexed(shape_folder: Path, tiny_bundle: Path, tmp_path: Path) -> Retriever:
    (shape_folder / "broken.jpg").write_bytes(b"no picture")
    return Retriever.build(shape_folder, index=tmp_path / "index", model=str(tiny_bundle), workers=1)


def read_back(path: Path) -> tuple[dict[str, list[object]], np.ndarray]:
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tolist() for name in COLUMNS}, arrays["codes"]
    if path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        kinds = {"width": int, "height": int, "realism": float, "spread": float}
        facts = {name: [kinds.get(name, str)(row[name]) for row in rows] for name in COLUMNS}
        return facts, np.array([[row[f"code_{i}"] for i in range(16)] for row in rows], np.float32)
    import pandas

    table = pandas.read_parquet(path)
    return {name: table[name].tolist() for name in COLUMNS}, np.stack(table["code"].tolist())


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".npz"])
def test_tables_hold_every_picture_with_its_code(indexed: Retriever, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"codes{suffix}"
    counts: list[tuple[int, int]] = []
    assert write_features(indexed, target, report=lambda *pair: counts.append(pair)) == 24 and counts[-1] == (24, 24)
    facts, codes = read_back(target)
    assert codes.shape == (24, 16) and codes.dtype == np.float32
    assert np.array_equal(codes, indexed.model.encode([str(path) for path in facts["path"]]))
    assert [os.path.isabs(str(path)) for path in facts["path"]] == [True] * 24 and len(set(facts["path"])) == 24
    assert facts["width"] == facts["height"] == [64] * 24 and all(len(str(one)) == 32 for one in facts["hash"])
    encoded = indexed.model.encode_fully([str(path) for path in facts["path"]])
    assert np.allclose(np.array(facts["realism"], np.float32), encoded.realism, atol=1e-5)
    assert not list(tmp_path.glob("*.part"))


def test_more_rows_than_a_batch(indexed: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((pictures, expected),) = indexed.found()  # all on one page
    monkeypatch.setattr("retrieval.searcher.PAGE", 5)
    assert [len(codes) for _, codes in indexed.found()] == [5] * 4 + [4]
    for suffix in (".parquet", ".csv", ".npz"):
        counts: list[int] = []
        assert write_features(indexed, tmp_path / f"codes{suffix}", report=lambda done, _: counts.append(done)) == 24  # noqa: B023
        facts, codes = read_back(tmp_path / f"codes{suffix}")
        assert np.array_equal(codes, expected) and facts["path"] == [one.path for one in pictures]
        assert counts == [5, 10, 15, 20, 24]


def test_a_table_that_cannot_be_written_leaves_what_was_there(indexed: Retriever, tmp_path: Path) -> None:
    with pytest.raises(PathError, match=r"\.parquet, \.csv, \.npz"):
        write_features(indexed, tmp_path / "codes.xlsx")
    with pytest.raises(PathError, match="cannot be written"):
        write_features(indexed, tmp_path / "nowhere" / "codes.csv")
    target = tmp_path / "codes.csv"
    target.write_text("old")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_features(indexed, target, report=stop)
    assert target.read_text() == "old" and not list(tmp_path.glob("*.part"))


@pytest.mark.skipif(sys.platform == "win32", reason="names there are no bytes")
def test_names_that_are_no_text(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with open(os.fsencode(tmp_path / "photos") + b"/na\xefve.png", "wb") as file:
        Image.fromarray(draw_shapes(1)[0][0]).save(file, "PNG")
    with Retriever.build(tmp_path / "photos", index=tmp_path / "i", model=str(tiny_bundle), workers=1) as retriever:
        for suffix in (".parquet", ".npz", ".csv"):
            write_features(retriever, tmp_path / f"codes{suffix}")
    assert str(read_back(tmp_path / "codes.parquet")[0]["path"][0]).endswith("na\\xefve.png")
    assert b"na\xefve.png" in (tmp_path / "codes.csv").read_bytes()  # CSV keeps the bytes


def test_the_command(latent: Run, indexed: Retriever, shape_folder: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    done = latent("features", "-o", "all.npz", "--index", "index")
    assert done.stdout == "all.npz\n" and "24 pictures, 16 dimensions each" in done.stderr
    done = latent("features", "photos", "-o", "some.csv", "--model", tiny_bundle, "--workers", 1)
    assert "broken.jpg" in done.stderr and not (tmp_path / "some.csv.latent").exists()
    assert np.array_equal(read_back(tmp_path / "some.csv")[1], read_back(tmp_path / "all.npz")[1])
    write_shapes(tmp_path / "others", 3)
    begun = _scratch("some.csv", ("others",), str(tiny_bundle))
    Retriever.build(
        tmp_path / "others", tmp_path / begun, model=tiny_bundle, workers=1
    ).close()  # stopped before its end
    latent("features", "photos", "-o", "some.csv", "--model", tiny_bundle, "--workers", 1)
    assert np.array_equal(read_back(tmp_path / "some.csv")[1], read_back(tmp_path / "all.npz")[1])
    assert "parquet" in latent("features", "photos", "-o", "x.txt", code=1).stderr
    latent("features", "photos", "-o", "x.csv", "--index", "index", code=2)
    latent("features", "-o", "x.csv", "--model", tiny_bundle, code=2)
    latent("features", "-o", "x.csv", code=3)


# ---------------------------------------------------------------- scikit-learn


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[list[str], np.ndarray]:
    write_shapes(tmp_path / "shapes", 80)
    return [str(path) for path in sorted((tmp_path / "shapes").iterdir())], np.arange(80) % 4


def test_a_pipeline_learns_from_paths_and_arrays(labelled: tuple[list[str], np.ndarray], tiny_bundle: Path) -> None:
    paths, kinds = labelled
    transformer = CodeTransformer(str(tiny_bundle), workers=1)
    codes = transformer.fit_transform(paths)
    assert codes.dtype == np.float32 and np.array_equal(codes, load_model(tiny_bundle).encode(paths))
    assert np.array_equal(transformer.transform(np.stack([np.asarray(Image.open(path)) for path in paths])), codes)
    classifier = make_pipeline(transformer, LogisticRegression(max_iter=300))
    assert classifier.fit(paths[:60], kinds[:60]).score(paths[60:], kinds[60:]) > 0.5  # 0.25 by chance
    assert cross_val_score(classifier, paths, kinds, cv=2).mean() > 0.4


def test_bad_files_by_policy(labelled: tuple[list[str], np.ndarray], tiny_bundle: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff no")
    paths = [labelled[0][0], str(bad), labelled[0][1], str(tmp_path / "nowhere.png")]
    expected = load_model(tiny_bundle).encode([paths[0], paths[2]])
    with pytest.raises(PictureRefused, match=r"bad\.jpg"):
        CodeTransformer(str(tiny_bundle), workers=1).fit_transform(paths)
    rows = CodeTransformer(str(tiny_bundle), on_error="nan", workers=1).fit(paths)
    codes = rows.transform(paths)
    assert np.array_equal(codes[[0, 2]], expected) and np.isnan(codes[[1, 3]]).all()
    assert rows.kept_.tolist() == [0, 1, 2, 3] and set(rows.refused_) == {1, 3}
    fewer = CodeTransformer(str(tiny_bundle), on_error="drop", workers=1).fit(paths)
    assert np.array_equal(fewer.transform(paths), expected) and fewer.kept_.tolist() == [0, 2]
    assert fewer.transform([]).shape == (0, 16)


def test_it_is_an_estimator_like_any_other(labelled: tuple[list[str], np.ndarray], tiny_bundle: Path) -> None:
    transformer = CodeTransformer(str(tiny_bundle), on_error="nan", workers=1).fit()
    assert clone(transformer).get_params() == transformer.get_params()
    again = pickle.loads(pickle.dumps(transformer))
    paths = labelled[0][:3]
    codes = transformer.transform(paths)
    assert np.array_equal(again.transform(paths), codes)
    assert np.array_equal(pickle.loads(pickle.dumps(transformer)).transform(paths), codes)  # after it was used, too
    table = transformer.set_output(transform="pandas").transform(paths)
    assert list(table.columns) == [f"code{i}" for i in range(16)] == transformer.get_feature_names_out().tolist()
    assert np.array_equal(table.to_numpy(), codes)
    with pytest.warns(SkipTestWarning, match="requires input"):  # all that an input of pictures leaves
        checks.check_estimator(CodeTransformer(str(tiny_bundle), workers=1))


@pytest.mark.parametrize(
    "check",
    [
        checks.check_estimator_cloneable,
        checks.check_estimator_repr,
        checks.check_estimator_tags_renamed,
        checks.check_valid_tag_types,
        checks.check_mixin_order,
        checks.check_no_attributes_set_in_init,
        checks.check_parameters_default_constructible,
        checks.check_get_params_invariance,
        checks.check_set_params,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learns_checks_that_ask_for_no_numbers(check: Callable[[str, object], None], tiny_bundle: Path) -> None:
    """``check_estimator`` passes over these for an input that is no matrix, though they need none."""
    check("CodeTransformer", CodeTransformer(workers=1))


def test_a_model_is_opened_once_until_another_is_named(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def opening(model: str, device: Device) -> Model:
        opened.append(model)
        return load_model(model, device)

    monkeypatch.setattr("retrieval.models.transformer.load_model", opening)
    pixels = draw_shapes(3)[0]
    transformer = CodeTransformer(str(tiny_bundle))
    for _ in range(3):
        assert transformer.fit_transform(pixels).shape == (3, 16)
    assert opened == [str(tiny_bundle)]
    assert transformer.set_params(model="faces-64").fit_transform(pixels).shape == (3, 128)
    assert opened == [str(tiny_bundle), "faces-64"]


def test_the_example_classifier(tmp_path: Path, tiny_bundle: Path) -> None:
    for seed, part in enumerate(("train", "test")):
        for kind, pixels in zip(np.arange(40) % 4, draw_shapes(40, seed)[0], strict=True):
            (tmp_path / part / SHAPES[kind]).mkdir(parents=True, exist_ok=True)
            number = len(list((tmp_path / part / SHAPES[kind]).iterdir()))
            Image.fromarray(pixels).save(tmp_path / part / SHAPES[kind] / f"{number}.png")
    script = Path(__file__).parents[1] / "docs" / "classify.py"
    words = [sys.executable, "-W", "error", str(script), "train", "test", str(tiny_bundle)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.removeprefix("accuracy ")) > 0.35  # 0.25 by chance


@pytest.mark.parametrize("wrong", ["a.png", 7, [1, 2], np.zeros((2, 3), np.uint8), np.zeros((2, 4, 4, 3))])
def test_input_that_is_none(tiny_bundle: Path, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"paths|uint8"):
        CodeTransformer(str(tiny_bundle)).fit().transform(wrong)  # type: ignore[arg-type]


def test_settings_that_cannot_be(tiny_bundle: Path) -> None:
    with pytest.raises(ValueError, match="raise, nan or drop"):
        CodeTransformer(str(tiny_bundle), on_error="skip").fit()  # type: ignore[arg-type]


def test_the_door_does_not_import_scikit_learn() -> None:
    code = "import retrieval, sys; retrieval.Retriever; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_table_or_a_column_of_paths_is_a_list_of_paths(shape_folder: Path, tiny_bundle: Path) -> None:
    import pandas

    paths = sorted(map(str, shape_folder.glob("*.png")))[:4]
    transformer = CodeTransformer(str(tiny_bundle), workers=1).fit()
    expected = transformer.transform(paths)
    table = pandas.DataFrame({"path": paths}, index=list("abcd"))
    for given in (table, table["path"], np.array(paths)[:, None], np.array(paths, dtype=object)[:, None]):
        assert np.array_equal(transformer.transform(given), expected)
    for wrong in (table.assign(other=paths), np.array(paths).reshape(2, 2)):
        with pytest.raises(ValueError, match="one column of paths"):
            transformer.transform(wrong)


@pytest.mark.parametrize("kind", ["table", "series", "list"])
def test_dropped_rows_keep_pandas_aligned(shape_folder: Path, tiny_bundle: Path, kind: str) -> None:
    import pandas

    paths = sorted(map(str, shape_folder.glob("*.png")))[:3]
    (shape_folder / "broken.jpg").write_bytes(b"no picture")
    paths.insert(1, str(shape_folder / "broken.jpg"))
    labels = ["a", "b", "c", "d"] if kind != "list" else [0, 1, 2, 3]
    series = pandas.Series(paths, index=labels)
    given = {"table": series.to_frame(), "series": series, "list": paths}[kind]
    transformer = CodeTransformer(str(tiny_bundle), on_error="drop", workers=1).set_output(transform="pandas").fit()
    codes = transformer.transform(given)
    assert list(codes.index) == [labels[0], *labels[2:]] and list(codes.columns[:2]) == ["code0", "code1"]
    plain = CodeTransformer(str(tiny_bundle), workers=1).fit().transform([paths[0], *paths[2:]])
    assert np.array_equal(codes.to_numpy(), plain)
