"""Measures against brute force, and the command on drawn pictures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, draw_shapes
from PIL import Image

from retrieval.errors import TrainingError
from retrieval.pictures.decode import framed
from retrieval.pictures.workers import Task
from train.controls import HASH, controls
from train.copies import ALTERATIONS, altered, difference_hash
from train.evaluate import Exam
from train.labelled import Labelled, as_numbers, read_labelled
from train.labels import label_reader
from train.measures import (
    average_precision_at_r,
    class_outcomes,
    copy_outcomes,
    density_and_coverage,
    interval,
    largest_class,
    nearest,
    probe_outcomes,
    rankings,
    regression_outcomes,
    sliced_wasserstein,
)


@pytest.fixture
def points() -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    xb, xq = rng.standard_normal((300, 16)).astype(np.float32), rng.standard_normal((70, 16)).astype(np.float32)
    return xb, rng.integers(0, 4, 300).astype(str), xq, rng.integers(0, 4, 70).astype(str), rng.uniform(0, 90, 300)


@pytest.mark.parametrize("whole", [True, False])
def test_class_measures_equal_brute_force(points: tuple[np.ndarray, ...], whole: bool) -> None:
    xb, yb, xq, yq, ages = points
    depth = None if whole else largest_class(yb)
    for part, similarities, order in rankings(xb, xq, depth):
        outcomes = class_outcomes(similarities, order, yb, yq[part])
        errors = regression_outcomes(order, ages, np.full(len(yq[part]), 40.0))
    assert part == slice(0, 256)  # one chunk holds them all
    for row, query in enumerate(xq.astype(np.float64)):
        cosine = xb @ query / np.linalg.norm(xb, axis=1) / np.linalg.norm(query)
        nearest = np.argsort(-cosine)
        votes = {one: np.exp(cosine[nearest[:20]][yb[nearest[:20]] == one] / 0.07).sum() for one in set(yb)}
        assert outcomes["kNN-20"][row] == (max(votes, key=votes.__getitem__) == yq[row])
        relevant = [position for position, i in enumerate(nearest, 1) if yb[i] == yq[row]]
        total = len(relevant)
        precisions = [(rank + 1) / position for rank, position in enumerate(relevant) if position <= total]
        assert outcomes["mAP@R"][row] == pytest.approx(sum(precisions) / total)
        assert outcomes["P@1"][row] == (yb[nearest[0]] == yq[row])
        assert outcomes["P@10"][row] == pytest.approx(np.mean(yb[nearest[:10]] == yq[row]))
        assert errors[row] == pytest.approx(abs(ages[nearest[:10]].mean() - 40.0))


def test_average_precision_by_hand() -> None:
    agree = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], bool)
    found = average_precision_at_r(agree, agree.sum(1))
    assert found[:2].tolist() == [0.5, 0.0] and np.isnan(found[2])
    assert interval(found)[0] == 0.25  # a query to which nothing is relevant does not count


def test_the_nearest_are_the_head_of_the_whole_ranking() -> None:
    rng = np.random.default_rng(3)
    similarities = rng.standard_normal((50, 400)).astype(np.float32)
    assert (nearest(similarities, 37) == np.argsort(-similarities, axis=1)[:, :37]).all()
    ties = np.array([[1.0, 2.0, 2.0, 2.0, 0.0]], np.float32)
    assert nearest(ties, 3).tolist() == [[1, 2, 3]] and nearest(ties, 9).tolist() == [[1, 2, 3, 0, 4]]


def test_many_queries_come_in_chunks() -> None:
    rng = np.random.default_rng(0)
    xq = rng.standard_normal((600, 4)).astype(np.float32)
    parts = [part for part, _, order in rankings(xq, xq) if (order[:, 0] == np.arange(600)[part]).all()]
    assert [(part.start, part.stop) for part in parts] == [(0, 256), (256, 512), (512, 768)]


def test_ties_count_by_their_chance() -> None:
    distances = np.array([[0.0, 0.0, 1.0, 2.0], [3.0, 1.0, 1.0, 1.0], [0.0, 5.0, 6.0, 7.0]], np.float32)
    assert copy_outcomes(distances, np.array([0, 2, 3]), 1).tolist() == [0.5, pytest.approx(1 / 3), 0.0]
    assert copy_outcomes(distances, np.array([0, 2, 3]), 2).tolist() == [1.0, pytest.approx(2 / 3), 0.0]


def test_the_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = [low <= 0.3 <= high for _ in range(60) for _, low, high in [interval((rng.random(400) < 0.3) * 1.0, 200)]]
    assert 0.85 < np.mean(covered) <= 1.0


def test_the_probe_learns_what_is_linear_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    xb, xq = rng.standard_normal((2000, 64)).astype(np.float32), rng.standard_normal((1000, 64)).astype(np.float32)
    side = lambda x: np.where(x[:, 0] + x[:, 3] > 0, "right", "left")  # noqa: E731
    assert probe_outcomes(xb, side(xb), xq, side(xq)).mean() > 0.95
    chance = probe_outcomes(xb, rng.permutation(side(xb)), xq, side(xq)).mean()
    assert 0.3 < chance < 0.7


def test_density_and_coverage_equal_brute_force() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((40, 3)).astype(np.float32), rng.standard_normal((25, 3)).astype(np.float32) + 0.5
    radius = [np.sort(np.linalg.norm(real - one, axis=1))[5] for one in real]
    inside = np.array([[np.linalg.norm(r - f) < radius[i] for f in fake] for i, r in enumerate(real)])
    density, coverage = density_and_coverage(real, fake)
    assert density == pytest.approx(inside.sum() / (5 * 25)) and coverage == pytest.approx(inside.any(1).mean())


def test_sliced_wasserstein_grows_with_the_difference() -> None:
    a, b = draw_shapes(300, 0, 64)[0], draw_shapes(300, 1, 64)[0]
    noisy = np.clip(b.astype(int) + np.random.default_rng(0).normal(0, 60, b.shape), 0, 255).astype(np.uint8)
    alike, unlike = sliced_wasserstein(a, b), sliced_wasserstein(a, noisy)
    assert list(alike) == [64, 32, 16]
    assert alike[64] < unlike[64] / 3 and alike[32] < unlike[32]
    assert max(sliced_wasserstein(a, a[::-1].copy()).values()) < 2 * max(alike.values())


def test_alterations_do_what_they_say() -> None:
    pictures = draw_shapes(4, 0, 64)[0]
    images = [Image.fromarray(one) for one in pictures]
    each = [altered(image, 64) for image in images]
    copies = {name: np.stack([its[name] for its in each]) for name in ALTERATIONS}
    assert all(one.shape == pictures.shape and one.dtype == np.uint8 for one in copies.values())
    np.testing.assert_array_equal(copies["mirrored"], pictures[:, :, ::-1])
    assert (copies["grey"] == copies["grey"][..., :1]).all()
    assert copies["brightness +30%"].mean() > pictures.mean() > copies["brightness -30%"].mean()
    hashes = difference_hash(np.concatenate([pictures, copies["brightness +30%"]]))
    same, other = (hashes[:4] * hashes[4:]).sum(1), (hashes[:4] * hashes[[5, 6, 7, 4]]).sum(1)
    assert (same > other).all() and set(np.unique(hashes)) == {-1, 1}


def labelled_folder(folder: Path, count: int, seed: int) -> None:
    pixels, kinds = draw_shapes(count, seed)
    for number, (picture, kind) in enumerate(zip(pixels, kinds, strict=True)):
        (folder / str(kind)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / str(kind) / f"{10 * kind}_{kind % 2}_{number}.png")


def test_labels_from_folders_names_and_tables(tmp_path: Path) -> None:
    labelled_folder(tmp_path / "photos", 8, 0)
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(tmp_path / "photos", arcname="photos")
    table = tmp_path / "labels.csv"
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in (tmp_path / "photos").rglob("*.png")]
    table.write_text("path,label\n" + "\n".join(rows) + "\n")
    expected = sorted(path.parent.name for path in (tmp_path / "photos").rglob("*.png"))
    for where in ("photos", "photos.tar"):
        for spec in ("folder", r"filename:(\d)", str(table)):
            found = read_labelled([tmp_path / where], 32, label_reader(spec), workers=1)
            assert found.pixels.shape == (8, 32, 32, 3)
            assert sorted(found.columns["label"]) == expected, (where, spec)
    two = read_labelled([tmp_path / "photos"], 32, label_reader(r"filename:(?P<age>\d+)_(?P<odd>\d)"), workers=1)
    assert sorted(as_numbers("age", two.columns["age"])) == sorted(10.0 * int(kind) for kind in expected)


@pytest.mark.parametrize(
    ("spec", "message"),
    [("filename:(", "no regular expression"), ("filename:x", "no group"), ("nowhere.csv", "nor a CSV")],
)
def test_labels_that_cannot_be_read(spec: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        label_reader(spec)


def test_the_command(tmp_path: Path, tiny_bundle: Path, latent_here: Run) -> None:
    labelled_folder(tmp_path / "gallery", 120, 0)
    labelled_folder(tmp_path / "queries", 60, 1)
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    words = ["evaluate", bundle, "--gallery", "gallery", "--queries", "queries", "--copies", 20, "--numeric", "age"]
    words += ["--labels", r"filename:(?P<age>\d+)_(?P<odd>\d)", "-o", "r.json", "--html", "r.html", "--record"]
    done = latent_here(*words)
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["gallery"], report["queries"]) == (120, 60)
    controls = ["raw pixels", "PCA-16 of pixels, half-whitened", "PCA-16 of pixels, whitened (ranks as ZCA)"]
    assert list(report["table"]) == ["code", *controls, "random encoder", "perceptual hash (dHash, 64 bit)"]
    for name, row in report["table"].items():
        assert row["copy, half size, recall@1"][0] > 0
        assert name.startswith("perceptual") or {"odd kNN-20", "odd mAP@R", "age error, 10 nearest"} <= set(row)
    for mean, low, high in report["table"]["code"].values():
        assert low <= mean <= high
    assert {"coverage", "density", "real codes: effective dimension"} <= set(report["generation"])
    assert "odd linear probe" in done.stdout and max(map(len, done.stdout.splitlines())) <= 80
    assert "<table>" in (tmp_path / "r.html").read_text()
    assert "odd kNN-20" in json.loads((bundle / "model.json").read_text())["metrics"]
    latent_here("sample", 1, "-o", "s", "--model", bundle)  # the recorded bundle is whole
    base = ["evaluate", tiny_bundle, "--gallery", "gallery", "--queries", "queries"]
    assert "single value" in latent_here(*base, "--labels", r"filename:\d+(_)", code=1).stderr
    assert "has a label" in latent_here(*base, "--labels", "filename:(x)", code=1).stderr
    assert "no such label" in latent_here(*base, "--labels", "folder", "--numeric", "age", code=1).stderr
    text = latent_here(*base, "--labels", r"filename:(?P<n>.*)", "--numeric", "n", code=1).stderr
    assert "label n is no number: could not convert" in text and "--numeric" in text
    shutil.copytree(tmp_path / "queries", tmp_path / "gallery" / "queries")
    latent_here(*base, "--labels", "folder", "--copies", 0)  # the same pictures, but other files
    os.rename(tmp_path / "gallery" / "queries", tmp_path / "inside")
    (tmp_path / "linked").symlink_to(tmp_path / "gallery")
    shared = latent_here(
        *base[:2], "--gallery", "gallery", "--queries", "linked/0", "--labels", "folder", code=1
    ).stderr
    assert "of the queries lie in the gallery too" in shared


def test_the_command_needs_no_torch(tmp_path: Path, tiny_bundle: Path) -> None:
    labelled_folder(tmp_path / "gallery", 40, 0)
    labelled_folder(tmp_path / "queries", 20, 1)
    code = (
        "from importlib.machinery import PathFinder\nfind = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "from cli.main import main\nmain()"
    )
    words = ["evaluate", str(tiny_bundle), "--gallery", "gallery", "--queries", "queries", "--labels", "folder"]
    run = partial(subprocess.run, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    done = run([sys.executable, "-c", code, *words, "--copies", "4", "-o", "r.json"])
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "r.json").read_text())["table"]
    assert "code" in table and "raw pixels" in table and "random encoder" not in table
    for words in (["train", "gallery", "-o", "r"], ["benchmark", "gallery", "--labels", "folder", "-o", "b"]):
        done = run([sys.executable, "-c", code, *words])
        assert done.returncode == 1 and "pip install 'latent-search[train]'" in done.stderr, done.stderr


def some(count: int, first: int = 0) -> Labelled:
    pixels, kinds = draw_shapes(count, first)
    sources = [Task(f"{number}.png") for number in range(first, first + count)]
    return Labelled(pixels, sources, {"label": kinds.astype(str)})


def test_an_exam_that_says_nothing_is_refused() -> None:
    with pytest.raises(TrainingError, match="5 queries and 40 pictures to find say nothing; 6 of each"):
        Exam(some(40), some(5, 100))
    with pytest.raises(TrainingError, match="20 of the queries lie in the gallery too"):
        Exam(some(40), some(30, 20))
    unlike = replace(some(40, 100), columns={"kind": np.array(["x"] * 40)})
    with pytest.raises(TrainingError, match="different labels: kind, label in one part alone"):
        Exam(some(40), unlike)


def test_blank_labels_are_none(tmp_path: Path) -> None:
    labelled_folder(tmp_path / "photos", 8, 0)
    names = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "photos").rglob("*.png"))
    cells = ["a", "b", "", "a", "b", "b", "", "a"]
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(map("{},{}\n".format, names, cells)))
    found = read_labelled([tmp_path / "photos"], 32, label_reader(str(tmp_path / "labels.csv")), workers=1)
    assert sorted(found.columns["label"]) == ["a", "a", "a", "b", "b", "b"]


def test_as_many_components_as_there_can_be(tmp_path: Path) -> None:
    """Of 12 pictures the twelfth component is rounding: divided by next to nothing it would decide all."""
    gallery, queries = draw_shapes(12, 0)[0], draw_shapes(30, 1)[0]
    described = {name: describe(queries) for name, describe in controls(gallery, 16, None).items()}
    whitened = described["PCA-11 of pixels, whitened (ranks as ZCA)"]
    assert whitened.shape == (30, 11) and np.abs(whitened).max() < 100


def test_controls_of_large_pictures_see_smaller_ones() -> None:
    """Those of 224 px would take 600 kB a picture."""
    small, large = draw_shapes(20, 0, side=64)[0], np.repeat(np.repeat(draw_shapes(20, 0, side=64)[0], 4, 1), 4, 2)
    assert large.shape == (20, 256, 256, 3)
    ours, same = controls(large, 8, None), controls(small, 8, None)
    for name in same.keys() - {HASH}:  # blocks of equal pixels, averaged, are the small picture
        assert np.allclose(ours[name](large), same[name](small), atol=1e-2), name


def test_pictures_of_an_evaluation_lie_on_disk(tmp_path: Path) -> None:
    labelled_folder(tmp_path / "photos", 9, 0)
    (tmp_path / "photos" / "disc" / "broken.png").parent.mkdir(exist_ok=True)
    (tmp_path / "photos" / "disc" / "broken.png").write_bytes(b"no picture")
    found = read_labelled([tmp_path / "photos"], 32, label_reader("folder"), workers=1)
    assert isinstance(found.pixels, np.memmap) and len(found) == 9
    for row, task in enumerate(found.sources):
        with Image.open(task.path) as picture:
            assert np.array_equal(found.pixels[row], framed(np.asarray(picture.convert("RGB")), 32, "square"))
