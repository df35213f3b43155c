"""Copies: planted, found, and nothing else found; whatever the order, the workers, the folders."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps
from retrieval.copies.calibration import FEWEST, WANTED, Background, measure_background
from retrieval.copies.similarity import ALIKE, Fingerprint, likeness

from cli.main import latent
from retrieval import PathError, Plan, Retriever, compare_pictures, find_copies, load_model
from retrieval.copies.compare import same_pixels
from train.copies import ALTERATIONS

COUNT = 240
EASY = [name for name in ALTERATIONS if name not in ("mirrored", "grey", "brightness -30%")]


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """Faces that nobody has, 160 px, no two of them copies."""
    small = load_model("faces-64", "cpu").sample(COUNT, seed=11)
    return np.stack([np.asarray(Image.fromarray(one).resize((160, 160), Image.Resampling.BICUBIC)) for one in small])


def plant(folder: Path, samples: np.ndarray) -> dict[str, str]:
    """Write all samples as originals, and copies of some in another folder; the truth: copy -> original."""
    (folder / "originals").mkdir(parents=True)
    (folder / "copies").mkdir()
    for number, pixels in enumerate(samples):
        Image.fromarray(pixels).save(folder / "originals" / f"{number:03d}.png")
    truth = {}
    for number, name in enumerate(EASY * 3):
        altered = ALTERATIONS[name](Image.fromarray(samples[number])).convert("RGB")
        copy = folder / "copies" / f"altered-{number:03d}.jpg"
        altered.save(copy, quality=85)
        truth[str(copy)] = str(folder / "originals" / f"{number:03d}.png")
    return truth


@pytest.fixture(scope="module")
def planted(samples: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("planted")
    truth = plant(folder / "photos", samples)
    Retriever.build(folder / "photos", folder / "index", model="faces-64", workers=1).close()
    return folder, truth


def pairs_of(plan: Plan) -> set[frozenset[str]]:
    return {frozenset((group.keep, path)) for group in plan.groups for path in group.remove}


def fingerprint(image: Image.Image) -> Fingerprint:
    return Fingerprint(np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC).convert("RGB")))


def build(folder: Path, where: Path) -> Retriever:
    return Retriever.build(folder, where, model="faces-64", workers=1)


def test_planted_copies_are_found_and_nothing_else(planted: tuple[Path, dict[str, str]]) -> None:
    folder, truth = planted
    with Retriever.open(folder / "index") as retriever:
        plan = find_copies(retriever, workers=1)
    true = {frozenset(pair) for pair in truth.items()}
    found = pairs_of(plan)
    assert found <= true  # the promise was one false pair at most
    assert len(found) >= 0.9 * len(true), sorted(map(sorted, true - found))
    assert plan.expected_false_pairs is not None and 0 < plan.expected_false_pairs <= 1.001
    assert plan.estimated_from >= FEWEST
    for group in plan.groups:  # 160 px beat 144 and 80, and a PNG of these is larger than a JPEG
        assert "/originals/" in group.keep and [one.path for one in group.evidence] == group.remove
        assert group.evidence
        assert all(one.likeness >= ALIKE and one.distance <= plan.threshold for one in group.evidence)
    listed = {path for group in plan.groups for path in (group.keep, *group.remove)}
    assert set(plan.files) == listed
    for path, facts in plan.files.items():
        assert (facts.size_bytes, facts.mtime_ns) == (os.stat(path).st_size, os.stat(path).st_mtime_ns)


def test_the_plan_does_not_depend_on_workers_or_on_the_order_of_indexing(
    planted: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, _ = planted
    with Retriever.open(folder / "index") as retriever:
        expected = find_copies(retriever, workers=1)
    # the copies first, then the originals: other ids, another order in every table
    build(folder / "photos" / "copies", tmp_path / "other").close()
    with build(folder / "photos", tmp_path / "other") as retriever:
        again = find_copies(retriever, workers=3)
    assert again == expected and len(expected.groups) > 10


def test_a_stricter_promise_never_finds_more(planted: tuple[Path, dict[str, str]]) -> None:
    with Retriever.open(planted[0] / "index") as retriever:
        plans = [find_copies(retriever, false_matches=number, workers=1) for number in (1e-6, 1e-2, 1.0)]
    assert [plan.threshold for plan in plans] == sorted(plan.threshold for plan in plans)
    assert pairs_of(plans[0]) <= pairs_of(plans[1]) <= pairs_of(plans[2])
    assert plans[0].near < plans[1].near < plans[2].near and len(pairs_of(plans[0])) > 10


def test_same_bytes_and_same_pixels_are_told_apart(samples: np.ndarray, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(30):
        Image.fromarray(samples[number]).save(photos / f"{number:02d}.png")
    (photos / "bytes.png").write_bytes((photos / "00.png").read_bytes())
    Image.fromarray(samples[1]).save(photos / "resaved.png", compress_level=1)
    turned = Image.fromarray(np.rot90(samples[2]).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(photos / "turned.png", exif=exif)
    with build(photos, tmp_path / "i") as retriever:
        plan = find_copies(retriever, workers=1)
    kinds = {
        frozenset(map(os.path.basename, (group.keep, one.path))): one.kind
        for group in plan.groups
        for one in group.evidence
    }
    assert kinds == {
        frozenset(("00.png", "bytes.png")): "bytes",
        frozenset(("01.png", "resaved.png")): "pixels",
        frozenset(("02.png", "turned.png")): "pixels",
    }
    (same,) = (one for group in plan.groups for one in group.evidence if one.kind == "bytes")
    assert (same.distance, same.likeness, same.turned) == (0.0, 1.0, "")


KEPT = {"resolution": "large.png", "size": "heavy.png", "oldest": "old.png", "newest": "new.png", "path": "a.png"}


@pytest.mark.parametrize("rule", KEPT)
def test_rules_for_the_one_to_keep(samples: np.ndarray, tmp_path: Path, rule: str) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    picture = Image.fromarray(samples[0])
    for name in ("a.png", "new.png", "old.png"):
        picture.save(photos / name)
    picture.save(photos / "heavy.png", compress_level=0)
    picture.resize((200, 200), Image.Resampling.BICUBIC).quantize(128).save(photos / "large.png")
    for number in range(1, 30):
        Image.fromarray(samples[number]).save(photos / f"other-{number}.png")
    for age, name in enumerate(("new.png", "a.png", "heavy.png", "large.png", "old.png")):
        os.utime(photos / name, (1_700_000_000 - age * 1000,) * 2)
    with build(photos, tmp_path / "i") as retriever:
        (group,) = find_copies(retriever, keep=[rule], threshold=8.0, workers=1).groups
    assert os.path.basename(group.keep) == KEPT[rule] and len(group.remove) == 4


def test_groups_do_not_chain(samples: np.ndarray, tmp_path: Path) -> None:
    """Each step of a long way is a copy of the last; what goes must be a copy of the one that stays."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for step in range(12):
        mixed = samples[0] * (1 - step / 11) + samples[1] * (step / 11)
        Image.fromarray(mixed.astype(np.uint8)).save(photos / f"step-{step:02d}.png")
    for number in range(2, 40):
        Image.fromarray(samples[number]).save(photos / f"other-{number}.png")
    with build(photos, tmp_path / "i") as retriever:
        plan = find_copies(retriever, threshold=10.0, keep=["path"], workers=1)
    assert len(plan.groups) >= 2
    for group in plan.groups:
        kept = Fingerprint(np.asarray(Image.open(group.keep).resize((64, 64), Image.Resampling.BICUBIC)))
        for path in group.remove:
            assert (
                likeness(kept, Fingerprint(np.asarray(Image.open(path).resize((64, 64), Image.Resampling.BICUBIC))))
                > 0.8
            )
    gone = [path for group in plan.groups for path in group.remove]
    assert len(gone) == len(set(gone)) and not {group.keep for group in plan.groups} & set(gone)


def test_an_archive_loses_nothing(planted: tuple[Path, dict[str, str]]) -> None:
    folder, truth = planted
    photos = folder / "photos"
    with Retriever.open(folder / "index") as retriever:
        kept = find_copies(retriever, against=[photos / "originals"], workers=1)
        turned = find_copies(retriever, against=[photos / "copies"], workers=1)
        with pytest.raises(PathError, match=r"no picture of .*index/ is in this index") as refused:
            find_copies(retriever, against=[folder / "index"])
    assert (refused.value.code, refused.value.facts) == ("archive_not_indexed", {"folder": f"{folder / 'index'}/"})
    words = ["dedup", "find", "--index", str(folder / "index"), "--against", str(folder / "index")]
    assert f"latent index build {folder / 'index'}" in CliRunner().invoke(latent, words).output
    assert {path for group in kept.groups for path in group.remove} <= set(truth)
    assert {path for group in turned.groups for path in group.remove} <= set(truth.values())
    assert pairs_of(kept) == pairs_of(turned) and len(pairs_of(kept)) > 10


def test_an_archive_loses_nothing_through_a_link_either(samples: np.ndarray, tmp_path: Path) -> None:
    photos, archive = tmp_path / "photos", tmp_path / "archive"
    photos.mkdir()
    archive.mkdir()
    (photos / "link").symlink_to(archive)
    for number in range(3):
        Image.fromarray(samples[number]).save(archive / f"{number}.png")
        (archive / f"{number} again.png").write_bytes((archive / f"{number}.png").read_bytes())
        (photos / f"{number}.png").write_bytes((archive / f"{number}.png").read_bytes())
    with Retriever.build([photos, archive], tmp_path / "i", model="faces-64", workers=1) as retriever:
        plan = find_copies(retriever, against=[archive], workers=1)
    gone = {path for group in plan.groups for path in group.remove}
    assert gone == {str(photos / f"{number}.png") for number in range(3)}


def test_within_folders_and_across(planted: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder, _ = planted
    with Retriever.open(folder / "index") as retriever:
        everywhere = find_copies(retriever, workers=1)
        assert find_copies(retriever, folders="within", workers=1).groups == []
        assert find_copies(retriever, folders="across", workers=1) == everywhere
    assert len(everywhere.groups) > 10


@pytest.mark.parametrize("turn", [ImageOps.mirror, lambda one: one.rotate(90), lambda one: one.rotate(180)])
def test_turned_copies_are_found_where_they_are_asked_for(
    samples: np.ndarray, tmp_path: Path, turn: Callable[[Image.Image], Image.Image]
) -> None:
    invariant = "mirror" if turn is ImageOps.mirror else "rotate"
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(40):
        Image.fromarray(samples[number]).save(photos / f"{number:02d}.png")
    for number in range(5):
        turn(Image.fromarray(samples[number])).save(photos / f"turned-{number:02d}.png")
    with build(photos, tmp_path / "i") as retriever:
        assert not pairs_of(find_copies(retriever, workers=1))
        plan = find_copies(retriever, invariant=[invariant], workers=1)
    expected = {frozenset((str(photos / f"{i:02d}.png"), str(photos / f"turned-{i:02d}.png"))) for i in range(5)}
    assert pairs_of(plan) == expected
    assert all(one.turned for group in plan.groups for one in group.evidence)


def test_a_picture_that_cannot_be_read_any_more_is_no_copy(samples: np.ndarray, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(30):
        Image.fromarray(samples[number]).save(photos / f"{number:02d}.png")
    Image.fromarray(samples[0]).save(photos / "copy.png", compress_level=1)
    with build(photos, tmp_path / "i") as retriever:
        assert len(pairs_of(find_copies(retriever, workers=1))) == 1
        (photos / "copy.png").write_bytes(b"no longer a picture")
        assert not pairs_of(find_copies(retriever, workers=1))


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_few_pictures_are_too_few_to_tell(samples: np.ndarray, tmp_path: Path, count: int) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(count):
        Image.fromarray(samples[0]).save(photos / f"{number}.png", compress_level=number)
    with build(photos, tmp_path / "i") as retriever:
        plan = find_copies(retriever, workers=1)
    assert plan.expected_false_pairs is None and plan.estimated_from == 0
    assert len(pairs_of(plan)) == max(0, count - 1)


def test_arguments_that_make_no_sense(planted: tuple[Path, dict[str, str]]) -> None:
    with Retriever.open(planted[0] / "index") as retriever:
        wrong = (
            {"false_matches": 0},
            {"threshold": -1.0},
            {"threshold": 1e200},
            {"invariant": ["shear"]},
            {"keep": ["best"]},
        )
        for arguments in wrong:
            with pytest.raises(ValueError, match=next(iter(arguments))):
                find_copies(retriever, **arguments)  # type: ignore[arg-type]


# The background


def test_the_background_tells_how_many_pairs_lie_within() -> None:
    """Points of a cube: pairs within t grow with the third power of t, and their number can be counted."""
    points = np.random.default_rng(0).random((3000, 3)).astype(np.float32)
    background = measure_background(points, lambda pairs: [0.0] * len(pairs))
    assert background is not None and 2.6 < background.exponent < 3.3
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)[np.triu_indices(len(points), 1)]
    for t in (0.01, 0.02, 0.03, 0.05, 0.08):  # beyond the nearest 300 they are counted
        assert 0.6 * (distances < t).sum() - 3 < background.within(t) < 1.6 * (distances < t).sum() + 3


def test_no_more_pairs_are_compared_than_the_background_needs() -> None:
    """Each comparison reads two pictures. The drawn points have some hundred thousand pairs of neighbours."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3000, 6)).astype(np.float32)
    compared: list[tuple[int, int]] = []

    def alike(pairs: Sequence[tuple[int, int]]) -> list[float | None]:
        compared.extend(pairs)
        return rng.choice([0.1, 1.0], len(pairs)).tolist()  # half of them are copies

    background = measure_background(points, alike)
    assert background is not None and background.looked_at == WANTED
    assert len(set(compared)) == len(compared) < 4 * WANTED


def test_pairs_that_are_all_as_far_tell_nothing() -> None:
    corners = np.repeat(np.eye(2, dtype=np.float32), 8, axis=0)  # blank frames of two colours
    assert measure_background(corners, lambda pairs: [0.0] * len(pairs)) is None


@pytest.mark.parametrize("false_pairs", [0.1, 1.0, 20.0])
def test_a_rule_lets_no_more_pass_than_it_promises(false_pairs: float) -> None:
    """Pairs whose likeness falls off exponentially, drawn in great number: those that it lets pass are counted."""
    rng = np.random.default_rng(0)
    background = Background(
        20_000, distances=(5.0,), counts=(2e4,), exponent=8.0, start=0.5, excess=0.12, reach=9.0, looked_at=300
    )
    rule = background.rule_for(false_pairs)
    assert rule.expected is not None and rule.near <= rule.threshold <= 9.0
    assert rule.expected <= 1.001 * false_pairs and (rule.expected > 0.999 * false_pairs) == (false_pairs < 10)
    assert background.within(rule.threshold) == pytest.approx(40_000)  # twice as many as there are pictures
    repeats = 2000 if false_pairs < 10 else 200
    passed = 0
    for _ in range(repeats):
        count = rng.poisson(background.within(rule.threshold))
        distances = rule.threshold * rng.random(count) ** (1 / background.exponent)
        z = np.where(rng.random(count) < 0.2, 0.5 + rng.exponential(0.12, count), 0.0)
        strong = z > np.arctanh(ALIKE)
        passed += sum(np.tanh(z) >= rule.needed(t) for t, z in zip(distances[strong], z[strong], strict=True))
    assert passed / repeats == pytest.approx(rule.expected, rel=0.2)
    needed = [rule.needed(t) for t in np.linspace(0.1, rule.threshold, 50)]
    assert needed == sorted(needed) and needed[0] == ALIKE and (needed[-1] > ALIKE) == (false_pairs < 10)


def test_where_likenesses_tell_everything_distance_hardly_matters() -> None:
    background = Background(
        2000, distances=(5.0,), counts=(2e2,), exponent=8.0, start=0.1, excess=0.02, reach=9.0, looked_at=300
    )
    rule = background.rule_for(1.0)
    assert (
        rule.near == rule.threshold == pytest.approx(5 * 100 ** (1 / 8))
        and rule.expected is not None
        and rule.expected < 1e-4
    )
    fixed = background.rule_within(4.0)
    assert fixed.needed(4.0) == ALIKE and fixed.expected == background.within(4.0) * background.passing(ALIKE)


def test_copies_are_no_part_of_the_background() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((1000, 8)).astype(np.float32)
    copies = points[:200] + rng.normal(0, 1e-3, (200, 8)).astype(np.float32)
    both = np.concatenate([points, copies])
    alike = lambda pairs: [1.0 if abs(a - b) == 1000 else 0.1 for a, b in pairs]  # noqa: E731
    with_copies, without = measure_background(both, alike), measure_background(points, alike)
    assert with_copies is not None and without is not None
    assert with_copies.rule_for(1.0).near == pytest.approx(without.rule_for(1.0).near, rel=0.25)


# The second look


@pytest.mark.parametrize("name", [name for name in ALTERATIONS if name != "mirrored"])
def test_altered_copies_are_alike_and_others_are_not(samples: np.ndarray, name: str) -> None:
    squares = [Image.fromarray(one) for one in samples[:12]]
    small = [fingerprint(one) for one in squares]
    copies = [fingerprint(ALTERATIONS[name](one)) for one in squares]
    fits = np.array([[likeness(a, b) for b in copies] for a in small])
    assert np.diag(fits).min() > ALIKE
    assert fits[~np.eye(12, dtype=bool)].max() < ALIKE
    assert likeness(small[0], copies[0]) == pytest.approx(likeness(copies[0], small[0]))


def test_pictures_without_structure() -> None:
    white, black = Fingerprint(np.full((64, 64, 3), 255, np.uint8)), Fingerprint(np.zeros((64, 64, 3), np.uint8))
    noise = Fingerprint(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    assert likeness(white, white) == likeness(black, black) == 1.0
    assert likeness(white, black) == likeness(white, noise) == 0.0
    pattern = np.random.default_rng(1).integers(0, 2, (8, 8, 1), np.uint8).repeat(8, 0).repeat(8, 1).repeat(3, 2)
    faint, strong = Fingerprint(128 + pattern), Fingerprint(50 + 100 * pattern)
    assert faint.is_flat and not strong.is_flat and likeness(strong, strong) > 0.999
    assert likeness(faint, strong) == likeness(strong, faint) == 0.0


def test_pixels_of_what_cannot_be_read_are_equal_to_none(samples: np.ndarray, tmp_path: Path) -> None:
    picture, same, other, text, gone = (str(tmp_path / name) for name in ("a.png", "b.bmp", "c.png", "d.png", "e.png"))
    for path, pixels in ((picture, samples[0]), (same, samples[0]), (other, samples[1])):
        Image.fromarray(pixels).save(path)
    Path(text).write_text("no picture")
    assert same_pixels(picture, same) and not same_pixels(picture, other)
    for unread in (text, gone, str(tmp_path)):
        assert not same_pixels(picture, unread) and not same_pixels(unread, picture) and not same_pixels(unread, unread)


# The command line


def test_the_command_writes_a_plan_a_table_and_a_page(planted: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder, _ = planted
    plan, table, page = tmp_path / "plan.json", tmp_path / "plan.csv", tmp_path / "plan.html"
    words = [
        "dedup",
        "find",
        "--index",
        str(folder / "index"),
        "-o",
        str(plan),
        "--csv",
        str(table),
        "--html",
        str(page),
    ]
    before = {path: path.read_bytes() for path in sorted((folder / "photos").rglob("*.*"))}
    done = CliRunner().invoke(latent, words)
    assert done.exit_code == 0, done.output
    facts = json.loads(plan.read_text())
    assert facts["schema"] == 2 and facts["threshold"] > 0 and len(facts["groups"]) > 10
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["keep"], row["remove"]) for row in rows] == [
        (g["keep"], p) for g in facts["groups"] for p in g["remove"]
    ]
    text = page.read_text()
    assert text.count("<section>") == len(facts["groups"]) and "average code" in text
    assert "nothing was changed" in done.output and " wrong to be expected" in done.output
    assert before == {path: path.read_bytes() for path in sorted((folder / "photos").rglob("*.*"))}
    as_json = CliRunner().invoke(latent, [*words[:4], "--format", "json"])
    assert json.loads(as_json.stdout) == facts


def test_a_plan_and_its_page_leave_out_what_is_gone(samples: np.ndarray, tmp_path: Path) -> None:
    for number in range(4):
        for name in ("a", "b"):
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(samples[number]).save(tmp_path / "photos" / name / f"{number}.png")
    build(tmp_path / "photos", tmp_path / "i").close()
    os.unlink(tmp_path / "photos" / "b" / "2.png")
    for name in ("a", "b"):
        os.unlink(tmp_path / "photos" / name / "3.png")
    words = ["dedup", "find", "--index", str(tmp_path / "i"), "--html", str(tmp_path / "plan.html")]
    done = CliRunner().invoke(latent, words)
    text = (tmp_path / "plan.html").read_text()
    assert done.exit_code == 0 and text.count("<section>") == 2, done.output
    assert "2.png" not in done.output and "3.png" not in done.output


def test_compare_answers_by_its_exit_code(samples: np.ndarray, tmp_path: Path) -> None:
    for name, pixels in (("a", samples[0]), ("b", samples[1]), ("m", samples[0][:, ::-1])):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    Image.fromarray(samples[0]).save(tmp_path / "a.jpg", quality=50)
    Image.fromarray(samples[0]).save(tmp_path / "same.png", compress_level=0)
    (tmp_path / "text.jpg").write_text("no picture")
    program = str(Path(sys.executable).with_name("latent"))

    def compare(*words: str) -> tuple[int, str]:
        done = subprocess.run([program, "compare", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    assert compare("a.png", "a.png")[0] == 0 and "same bytes" in compare("a.png", "a.png")[1]
    assert compare("a.png", "same.png")[0] == 0 and "same pixels" in compare("a.png", "same.png")[1]
    assert compare("a.png", "a.jpg")[0] == 0 and compare("a.png", "a.jpg")[1].startswith("copies")
    assert compare("a.png", "b.png")[0] == 1 and compare("a.png", "m.png")[0] == 1
    assert compare("a.png", "m.png", "--invariant", "mirror")[0] == 0
    assert compare("a.png", "text.jpg") == (1, "Error: text.jpg: not a picture\n")
    assert compare("a.png", "missing.png")[0] == 2 and compare("a.png", "b.png", "--invariant", "x")[0] == 2
    found = compare_pictures(
        tmp_path / "a.png", tmp_path / "m.png", load_model("faces-64", "cpu"), invariant=["mirror"]
    )
    assert found.kind == "near" and found.turned == "mirrored"


def test_what_is_no_copy_is_remembered_by_content(samples: np.ndarray, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(30):
        Image.fromarray(samples[number]).save(photos / f"{number:02d}.png")
    for number in range(3):
        Image.fromarray(samples[number]).save(photos / f"copy-{number}.jpg", quality=90)
    build(photos, tmp_path / "i").close()

    def found() -> set[frozenset[str]]:
        with Retriever.open(tmp_path / "i") as retriever:
            return {frozenset(map(os.path.basename, pair)) for pair in pairs_of(find_copies(retriever, workers=1))}

    pair, others = {"00.png", "copy-0.jpg"}, {frozenset(("01.png", "copy-1.jpg")), frozenset(("02.png", "copy-2.jpg"))}
    assert found() == {frozenset(pair), *others}
    words = ["dedup", "ignore", *(str(photos / name) for name in pair), "--index", str(tmp_path / "i")]
    for _ in range(2):  # said twice, remembered once
        assert CliRunner().invoke(latent, words).exit_code == 0
    assert found() == others
    (photos / "copy-0.jpg").rename(photos / "renamed.jpg")
    build(photos, tmp_path / "i").close()
    assert found() == others
    Image.fromarray(samples[0]).save(photos / "renamed.jpg", quality=80)
    build(photos, tmp_path / "i").close()
    assert found() == {frozenset(("00.png", "renamed.jpg")), *others}
    (photos / "twin.png").write_bytes((photos / "05.png").read_bytes())
    build(photos, tmp_path / "i").close()
    twins = [str(photos / name) for name in ("05.png", "twin.png")]
    assert "the same bytes" in CliRunner().invoke(latent, ["dedup", "ignore", *twins, *words[4:]]).output
    (photos / "new.png").write_bytes(b"not in the index")
    two = [str(photos / name) for name in ("00.png", "new.png")]
    assert "not in this index" in CliRunner().invoke(latent, ["dedup", "ignore", *two, *words[4:]]).output
    assert CliRunner().invoke(latent, ["dedup", "ignore", two[0], *words[4:]]).exit_code == 2


def test_a_catalog_of_the_first_days_is_completed(samples: np.ndarray, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        Image.fromarray(samples[number]).save(photos / f"{number}.png")
    build(photos, tmp_path / "i").close()
    with sqlite3.connect(tmp_path / "i" / "catalog.db") as database:
        database.execute("drop table distinct_contents")
        database.execute("alter table meta drop column next_id")
        database.execute("alter table pictures drop column ctime_ns")
        for table in ("meta", "roots", "pictures", "codes", "directions"):
            database.execute(f"alter table {table} drop column checksum")
        database.execute("update meta set schema = 1")
    database.close()
    with Retriever.open(tmp_path / "i") as retriever:
        assert retriever.kept_apart() == set() and find_copies(retriever, workers=1).groups == []
        retriever.keep_apart([photos / "0.png", photos / "1.png", photos / "2.png"])
        assert len(retriever.kept_apart()) == 3


def test_links_are_no_copies(samples: np.ndarray, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(samples[0]).save(photos / "a.png")
    os.link(photos / "a.png", photos / "hard.png")
    (photos / "soft.png").symlink_to("a.png")
    (photos / "copy.png").write_bytes((photos / "a.png").read_bytes())
    with build(photos, tmp_path / "i") as retriever:
        (group,) = find_copies(retriever, keep=["path"], workers=1).groups
    assert os.path.basename(group.keep) == "a.png" and [os.path.basename(path) for path in group.remove] == ["copy.png"]


def test_what_lies_beside_the_central_square_counts(samples: np.ndarray, tmp_path: Path) -> None:
    """Codes know the middle alone; three tall pictures share it, but only two of them all the rest."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(30):
        Image.fromarray(samples[number]).save(photos / f"{number:02d}.png")
    for name, above, below in (("a.png", 31, 32), ("b.png", 33, 34), ("a again.jpg", 31, 32)):
        Image.fromarray(np.concatenate([samples[above], samples[40], samples[below]])).save(photos / name)
    with build(photos, tmp_path / "i") as retriever:
        plan = find_copies(retriever, workers=1)
        codes = np.stack([retriever.look_at(photos / name).code for name in ("a.png", "b.png")])
    assert (codes[0] * codes[1]).mean() > 0.99  # standardized: their cosine
    assert pairs_of(plan) == {frozenset((str(photos / "a.png"), str(photos / "a again.jpg")))}
    model = load_model("faces-64", "cpu")
    assert compare_pictures(photos / "a.png", photos / "b.png", model).kind == ""
    assert compare_pictures(photos / "a.png", photos / "a again.jpg", model).kind == "near"


def test_a_part_that_differs_makes_another_picture(samples: np.ndarray) -> None:
    def of(pixels: np.ndarray) -> Fingerprint:
        return fingerprint(Image.fromarray(pixels))

    blotted, banded = samples[5].copy(), samples[5].copy()
    blotted[60:100, 60:100] = 0
    banded[100:140] = samples[6][60:100]
    for changed in (blotted, banded):
        assert likeness(of(samples[5]), of(changed)) < ALIKE
    noisy = np.clip(samples[5] + np.random.default_rng(0).normal(0, 8, samples[5].shape), 0, 255).astype(np.uint8)
    assert likeness(of(samples[5]), of(noisy)) > ALIKE
