"""Comparing methods: what a line means, what is held out, and that a stopped comparison goes on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SHAPES, Run, draw_shapes
from PIL import Image

from retrieval.errors import TrainingError
from retrieval.pictures.workers import Task
from train.compare import as_markdown, compared_by_default, entry, mean_marks, run_name, split
from train.labelled import Labelled
from train.methods.ogan import Settings
from train.recipe import NO_SETTINGS, preset

BASE = preset("slim-32")


def test_a_line_is_a_method_and_its_settings() -> None:
    assert entry("vae", BASE).recipe == dataclasses.replace(BASE, method="vae", settings=NO_SETTINGS)
    changed = entry("ogan:adversary=hinge,correlation_weight=0.25,mirror=no,batch_size=16", BASE).recipe
    assert changed.settings == Settings(adversary="hinge", correlation_weight=0.25)
    assert (changed.mirror, changed.batch_size) == (False, 16)
    assert entry("cvae-gan", BASE, ["a", "b"]).recipe.classes == ("a", "b")
    assert entry("vae", BASE, ["a", "b"]).recipe.classes == ()


def test_the_methods_that_are_compared_by_default_can_be() -> None:
    compared = compared_by_default()
    assert [entry(name, preset("slim-64")).recipe.method for name in compared] == compared
    others = {"ogan", "ogan-views", "bigan-qp", "bigan", "ali", "ae", "vae", "aae", "infogan", "introvae"}
    assert others == set(compared)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("gann", r"no method 'gann'; there are aae, ae, ali"),
        ("ogan:adversery=hinge", r"no setting 'adversery'; there are adversary"),
        ("ogan:adversary=mild", "adversary 'mild' is none of"),
        ("ogan:batch_size=many", "batch_size cannot be 'many'"),
        ("vae:adversary=hinge", "adversary say nothing to method vae"),
        ("cvae-gan", "needs labels"),
    ],
)
def test_lines_that_cannot_be(words: str, complaint: str) -> None:
    with pytest.raises(TrainingError, match=complaint):
        entry(words, BASE)


@pytest.mark.parametrize("truth", [True, False])
@pytest.mark.parametrize("name", ["mirror", "self_modulated"])
def test_truth_is_written_in_many_ways(name: str, truth: bool) -> None:
    base = dataclasses.replace(BASE, **{name: not truth})
    for word in ("yes", "true", "on", "1", "y", "t") if truth else ("no", "false", "off", "0", "n", "f"):
        for written in (word, word.upper(), word.capitalize()):
            assert getattr(entry(f"ogan:{name}={written}", base).recipe, name) is truth, written


@pytest.mark.parametrize(
    ("pair", "complaint"),
    [
        ("mirror=maybe", "mirror cannot be 'maybe': it takes yes or no"),
        ("mirror=", "mirror cannot be '': it takes yes or no"),
        ("mirror", "mirror cannot be '': it takes yes or no"),
        ("mirror=2", "mirror cannot be '2'"),
        ("learning_rate=nan", "learning_rate must be a finite number, not nan"),
        ("learning_rate=inf", "learning_rate must be a finite number, not inf"),
        ("correlation_weight=-inf", "correlation_weight must be a finite number"),
        ("correlation_weight=1e999", "correlation_weight must be a finite number"),
        ("correlation_weight=-0.5", "correlation_weight must be 0 at least, not -0.5"),
        ("ema_decay=half", "ema_decay cannot be 'half': it takes a finite number"),
        ("batch_size=1e3", "batch_size cannot be '1e3': it takes a whole number"),
        ("batch_size=16.0", "batch_size cannot be '16.0'"),
        ("width=nan", "width cannot be 'nan'"),
        ("width=4,width=8", "width is named twice"),
        ("seed=3", "no setting 'seed'"),  # the comparison counts them
        ("image_size=64", "no setting 'image_size'"),  # pictures are decoded once for all methods
        ("classes=a", "no setting 'classes'"),
        ("method=vae", "no setting 'method'"),
        ("clusters=2", "clusters say nothing to method ogan, only to aae"),
    ],
)
def test_values_that_cannot_be_are_named(pair: str, complaint: str) -> None:
    with pytest.raises(TrainingError, match=complaint):
        entry(f"ogan:{pair}", BASE)


def test_a_tenth_is_held_out_and_nothing_is_in_both() -> None:
    pixels, kinds = draw_shapes(50)
    whole = Labelled(pixels, [Task(str(n)) for n in range(50)], {"kind": kinds.astype(str)})
    gallery, queries = split(whole)
    assert (len(gallery), len(queries)) == (45, 5)
    names = [task.path for task in (*gallery.sources, *queries.sources)]
    assert sorted(names, key=int) == [str(n) for n in range(50)]
    for part in (gallery, queries):
        for row, task in enumerate(part.sources):
            assert np.array_equal(part.pixels[row], pixels[int(task.path)])
            assert part.columns["kind"][row] == str(kinds[int(task.path)])


def test_tables_give_means_and_ranges_over_seeds() -> None:
    table = {"pixels": [{"P@10": 0.25}], "ogan": [{"P@10": 0.5, "SWD": 20.0}, {"P@10": 0.7, "SWD": 30.0}]}
    assert mean_marks(table)["ogan"] == {"P@10": pytest.approx(0.6), "SWD": 25.0}
    lines = as_markdown(table, {"precision": "P@10", "distance": "SWD"}).splitlines()
    assert lines[0] == "| method | precision | distance |"
    assert lines[2:] == ["| pixels | 0.250 |  |", "| ogan | 0.600 (0.500-0.700) | 25.0 (20.0-30.0) |"]


def test_the_command_goes_on_where_it_was_stopped(latent_here: Run, tmp_path: Path) -> None:
    for number, (picture, kind) in enumerate(zip(*draw_shapes(120), strict=True)):
        folder = tmp_path / "shapes" / SHAPES[kind]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number:03d}.png")
    words = ["benchmark", "shapes", "--labels", "folder", "-o", "out", "--preset", "slim-32", "--copies", 4]
    latent_here(*words, "--steps", 3, "--method", "gan-qp", "--method", "cvae-gan")
    done = latent_here(*words, "--steps", 3, "--method", "gan-qp", "--method", "cvae-gan", "--method", "ae:width=8")
    assert "ae:width=8, seed 0" in done.stderr and "gan-qp, seed" not in done.stderr  # that was done before
    assert "raw pixels" in done.stdout and "ae:width=8" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    runs = json.loads((tmp_path / "out" / "report.json").read_text())["runs"]
    assert "label kNN-20" in runs["raw pixels"][0] and "label kNN-20" in runs["cvae-gan"][0]
    assert "label kNN-20" not in runs["gan-qp"][0] and "sliced Wasserstein x 1000, 16 px" in runs["gan-qp"][0]
    assert runs["ae:width=8"][0]["parameters, millions"] < runs["cvae-gan"][0]["parameters, millions"]
    for name in ("samples", "reconstructions"):
        with Image.open(tmp_path / "out" / f"{name}.png") as sheet:
            assert sheet.width > 1000
    said = latent_here(*words, "--steps", 3, "--method", "gan-qp", "--copies", 7, code=1).stderr
    assert "compares other pictures, sizes or budgets" in said
    said = latent_here(*words, "--steps", 4, "--method", "gan-qp", code=1).stderr
    assert "compares other pictures, sizes or budgets" in said
    paper = ["paper-32" if word == "slim-32" else word for word in words]
    said = latent_here(*paper, "--steps", 3, "--method", "gan-qp", code=1).stderr
    assert "gan-qp-seed0 was made with other settings" in said


def test_each_method_gets_the_same_minutes(latent_here: Run, tmp_path: Path) -> None:
    for number, picture in enumerate(draw_shapes(60)[0]):
        Image.fromarray(picture).save(tmp_path / f"{number % 2}-{number:03d}.png")
    words = ["benchmark", ".", "--labels", r"filename:(\d)", "-o", "out", "--preset", "slim-32", "--copies", 0]
    words += ["--method", "ae:width=4,batch_size=4", "--method", "vae:width=4,batch_size=4"]
    assert "exclude each other" in latent_here(*words, "--steps", 3, "--minutes", 1, code=2).stderr
    latent_here(*words, "--minutes", 0.01)
    seconds = {}
    for name, (marks,) in json.loads((tmp_path / "out" / "report.json").read_text())["runs"].items():
        facts = tmp_path / "out" / run_name(name, 0) / "bundle" / "model.json"
        if facts.exists():
            pictures = 4 * json.loads(facts.read_text())["steps"]
            seconds[name] = marks["training, s a thousand pictures"] * pictures / 1000
    assert len(seconds) == 2 and all(0.6 <= took < 60 for took in seconds.values()), seconds
    assert "other pictures, sizes or budgets" in latent_here(*words, "--minutes", 0.02, code=1).stderr
