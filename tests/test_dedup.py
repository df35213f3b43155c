"""Copies: planted, found, and nothing else found; whatever the order, the workers, the folders."""

from __future__ import annotations

import csv
import itertools
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import ExifTags, Image, ImageDraw, ImageFilter, ImageFont

from cli.main import latent
from retrieval import PathError, Plan, Retriever, compare_pictures, find_copies, load_model
from retrieval.copies.candidates import NEIGHBOURS, Surroundings
from retrieval.copies.compare import same_pixels
from retrieval.copies.keeping import RULES, Candidate, Ranking, is_binned
from retrieval.copies.kinds import Kind, kind_of
from retrieval.copies.likeness import likeness, spectrum
from retrieval.copies.look import Look
from retrieval.copies.members import Member
from retrieval.copies.promise import FEWEST, NEAREST, Promise, promise_of
from retrieval.copies.verdict import AGREES, Verdict, stretched, verdict
from retrieval.defaults import KEEP
from retrieval.pictures.facts import Facts, packed_facts, read_facts
from retrieval.pictures.shared import decode_all
from retrieval.pictures.tasks import Task
from retrieval.pictures.traits import NO_FACTS, Traits
from tests.conftest import without_facts
from train.copies import ALTERATIONS

COUNT = 240
EASY = [name for name in ALTERATIONS if name not in ("mirrored", "grey", "brightness -30%")]
WHOLE = [name for name in ALTERATIONS if name != "mirrored" and not name.startswith(("crop", "rotation"))]
COPIES = ("bytes", "pixels", "scaled", "edited")


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


def look(image: Image.Image | np.ndarray) -> Look:
    image = (image if isinstance(image, Image.Image) else Image.fromarray(image)).convert("RGB")
    return Look(np.asarray(image), *image.size)


def seen(a: Image.Image | np.ndarray, b: Image.Image | np.ndarray) -> Verdict:
    """The verdict on two whole pictures."""
    one, other = look(a), look(b)
    return verdict(one, other, stretched(one, other))


def build(folder: Path, where: Path) -> Retriever:
    return Retriever.build(folder, where, model="faces-64", workers=1)


def test_planted_copies_are_found_and_nothing_else(planted: tuple[Path, dict[str, str]]) -> None:
    folder, truth = planted
    with Retriever.open(folder / "index") as retriever:
        plan = find_copies(retriever, kinds=COPIES, workers=1)
        proposed = find_copies(retriever, workers=1)
    true = {frozenset(pair) for pair in truth.items()}
    found = pairs_of(plan)
    assert plan.others == [] and pairs_of(proposed) <= found
    assert pairs_of(proposed) | {frozenset((one.a, one.b)) for one in proposed.others} == found
    assert all(one.kind == "edited" for one in proposed.others)
    assert found <= true  # the promise was one false pair at most
    assert len(found) >= 0.9 * len(true), sorted(map(sorted, true - found))
    assert plan.expected_false_pairs is not None and 0 < plan.expected_false_pairs <= 1.001
    assert plan.estimated_from >= FEWEST
    for group in plan.groups:  # 160 px beat 144 and 80, and a PNG of these is larger than a JPEG
        assert "/originals/" in group.keep and [one.path for one in group.evidence] == group.remove
        assert group.evidence
        assert all(1 >= one.alike >= plan.alike >= AGREES and one.because for one in group.evidence)
    listed = {path for group in plan.groups for path in (group.keep, *group.remove)}
    assert set(plan.files) == listed
    for path, facts in plan.files.items():
        assert (facts.size_bytes, facts.mtime_ns) == (os.stat(path).st_size, os.stat(path).st_mtime_ns)


def test_the_plan_does_not_depend_on_workers_or_on_the_order_of_indexing(
    planted: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, _ = planted
    with Retriever.open(folder / "index") as retriever:
        expected = find_copies(retriever, kinds=COPIES, workers=1)
    # the copies first, then the originals: other ids, another order in every table
    build(folder / "photos" / "copies", tmp_path / "other").close()
    with build(folder / "photos", tmp_path / "other") as retriever:
        again = find_copies(retriever, kinds=COPIES, workers=3)
    assert again == expected and len(expected.groups) > 10


def test_a_stricter_promise_never_finds_more(planted: tuple[Path, dict[str, str]]) -> None:
    with Retriever.open(planted[0] / "index") as retriever:
        plans = [
            find_copies(retriever, false_matches=number, kinds=COPIES, workers=1) for number in (1e-12, 1e-4, 1e-2, 1.0)
        ]
    assert [plan.alike for plan in plans] == sorted((plan.alike for plan in plans), reverse=True)
    assert plans[0].alike > plans[-1].alike >= AGREES
    for stricter, other in itertools.pairwise(plans):
        assert pairs_of(stricter) <= pairs_of(other)
    for plan, most in zip(plans, (1e-12, 1e-4, 1e-2, 1.0), strict=True):
        assert plan.expected_false_pairs is not None and plan.expected_false_pairs <= 1.001 * most
    assert len(pairs_of(plans[0])) > 5


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
    assert (same.distance, same.alike, same.turned) == (0.0, 1.0, "")


KEPT = {
    "detail": "large.png",
    "resolution": "large.png",
    "size": "heavy.png",
    "oldest": "old.png",
    "newest": "new.png",
    "path": "a.png",
}


@pytest.mark.parametrize("rule", KEPT)
def test_rules_for_the_one_to_keep(samples: np.ndarray, tmp_path: Path, rule: str) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    picture = Image.fromarray(samples[0])
    for name in ("a.png", "new.png", "old.png"):
        picture.save(photos / name)
    picture.save(photos / "heavy.png", compress_level=0)
    picture.resize((200, 200), Image.Resampling.BICUBIC).save(photos / "large.png", optimize=True)
    for number in range(1, 30):
        Image.fromarray(samples[number]).save(photos / f"other-{number}.png")
    for age, name in enumerate(("new.png", "a.png", "heavy.png", "large.png", "old.png")):
        os.utime(photos / name, (1_700_000_000 - age * 1000,) * 2)
    with build(photos, tmp_path / "i") as retriever:
        (group,) = find_copies(retriever, keep=[rule], workers=1).groups
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
        plan = find_copies(retriever, kinds=COPIES, keep=["path"], workers=1)
    assert len(plan.groups) >= 2
    for group in plan.groups:
        for path in group.remove:
            assert seen(Image.open(group.keep), Image.open(path)).answer == "copy"
    gone = [path for group in plan.groups for path in group.remove]
    assert len(gone) == len(set(gone)) and not {group.keep for group in plan.groups} & set(gone)


def test_an_archive_loses_nothing(planted: tuple[Path, dict[str, str]]) -> None:
    folder, truth = planted
    photos = folder / "photos"
    with Retriever.open(folder / "index") as retriever:
        kept = find_copies(retriever, against=[photos / "originals"], kinds=COPIES, workers=1)
        turned = find_copies(retriever, against=[photos / "copies"], kinds=COPIES, workers=1)
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
        everywhere = find_copies(retriever, kinds=COPIES, workers=1)
        assert find_copies(retriever, folders="within", kinds=COPIES, workers=1).groups == []
        assert find_copies(retriever, folders="across", kinds=COPIES, workers=1) == everywhere
    assert len(everywhere.groups) > 10


def test_turned_copies_are_found_and_not_removed_and_mirrored_ones_where_they_are_asked_for(
    samples: np.ndarray, tmp_path: Path
) -> None:
    pytest.importorskip("cv2")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(40):
        Image.fromarray(samples[number]).save(photos / f"{number:02d}.png")
    for number, turn in enumerate((1, 2, 3)):
        Image.fromarray(np.rot90(samples[number], turn)).save(photos / f"turned-{number:02d}.png")
    Image.fromarray(samples[3][:, ::-1]).save(photos / "turned-03.png")
    with build(photos, tmp_path / "i") as retriever:
        proposed = find_copies(retriever, workers=1)
        plan = find_copies(retriever, kinds=COPIES, workers=1)
        mirrored = find_copies(retriever, kinds=COPIES, mirrored=True, workers=1)
    expected = {frozenset((str(photos / f"{i:02d}.png"), str(photos / f"turned-{i:02d}.png"))) for i in range(4)}
    last = frozenset((str(photos / "03.png"), str(photos / "turned-03.png")))
    assert proposed.groups == [] and {frozenset((one.a, one.b)) for one in proposed.others} == expected - {last}
    assert pairs_of(plan) == expected - {last} and pairs_of(mirrored) == expected
    assert {one.kind for group in mirrored.groups for one in group.evidence} == {"edited"}
    assert [one.turned for group in mirrored.groups for one in group.evidence if one.turned] == ["mirrored"]


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
            {"kinds": ["near"]},
            {"keep": ["best"]},
        )
        for arguments in wrong:
            with pytest.raises(ValueError, match=next(iter(arguments))):
                find_copies(retriever, **arguments)  # type: ignore[arg-type]


# What stands out, and the promise


def clustered(rng: np.random.Generator, count: int = 600) -> np.ndarray:
    """Codes around a few centres: three clusters of very different width."""
    centres, widths = rng.normal(0, 20, (3, 16)), np.array([2.5, 4.0, 6.0])
    which = np.arange(count) % 3
    return (centres[which] + rng.normal(size=(count, 16)) * widths[which, None]).astype(np.float32)


def test_planted_pairs_stand_out_in_dense_and_in_thin_places() -> None:
    rng = np.random.default_rng(0)
    codes, widths = clustered(rng), np.array([2.5, 4.0, 6.0])
    planted = np.concatenate(
        [codes[:30], codes[:30] + rng.normal(size=(30, 16)) * 0.1 * widths[np.arange(30) % 3, None]]
    )
    both = np.concatenate([codes, planted[30:]]).astype(np.float32)
    found = Surroundings(both).standing_out()
    assert found == sorted(set(found)) and all(a < b for a, b in found)
    assert {(number, 600 + number) for number in range(30)} <= set(found)
    assert len(found) < 2 * len(both)  # hardly more than by chance


def test_equal_codes_do_not_hide_what_stands_out() -> None:
    rng = np.random.default_rng(1)
    codes = rng.normal(size=(400, 16)).astype(np.float32)
    near = codes[:10] + rng.normal(0, 1e-2, (10, 16)).astype(np.float32)
    equal = np.full((2 * NEIGHBOURS, 16), 7, np.float32)
    found = set(Surroundings(np.concatenate([codes, near, equal])).standing_out())
    assert {(number, 400 + number) for number in range(10)} <= found
    assert all(a >= 410 for a, b in found if b >= 410)  # blank frames are near to one another alone
    for few in (0, 1, 2):
        alone = Surroundings(np.zeros((few, 16), np.float32)).standing_out()
        assert alone == ([(0, 1)] if few == 2 else [])


DISAGREE = tuple(np.linspace(0.3, 0.9, 40))


@pytest.mark.parametrize("false_matches", [1e-9, 1e-3, 1.0, 50.0])
@pytest.mark.parametrize("pairs", [0, 1, 100, 10_000, 10**8])
def test_what_is_expected_is_no_more_than_what_is_allowed(pairs: int, false_matches: float) -> None:
    promise = promise_of(DISAGREE, 1000, pairs, false_matches)
    assert promise.expected is not None and 0 <= promise.expected <= 1.0001 * false_matches
    assert 0 <= promise.allowed <= 1 - AGREES and promise.estimated_from == 1000


def test_more_pairs_or_nearer_decoys_or_a_stricter_wish_never_promise_more() -> None:
    by_pairs = [promise_of(DISAGREE, 1000, pairs, 1.0).allowed for pairs in (1, 10**3, 10**5, 10**7, 10**9)]
    nearer = [[share * one for one in DISAGREE] for share in (1.0, 0.8, 0.5, 0.2, 0.01)]
    by_decoys = [promise_of(its, 1000, 10_000, 1.0).allowed for its in nearer]
    by_wish = [promise_of(DISAGREE, 1000, 10**5, wish).allowed for wish in (10.0, 1.0, 1e-3, 1e-9)]
    by_number = [promise_of(DISAGREE, decoys, 10**6, 1.0).allowed for decoys in (10**6, 10**4, 1000, FEWEST)]
    for allowed in (by_pairs, by_decoys, by_wish, by_number):
        assert allowed == sorted(allowed, reverse=True) and allowed[0] > allowed[-1]


def test_too_few_decoys_promise_nothing() -> None:
    nothing = Promise(1 - AGREES, None, 0)
    assert promise_of(DISAGREE, FEWEST - 1, 10**6, 1.0) == nothing
    assert promise_of(DISAGREE[: NEAREST - 1], 1000, 10**6, 1.0) == nothing
    assert promise_of(DISAGREE[:NEAREST], FEWEST, 10**6, 1.0).expected is not None


# The second look


@pytest.mark.parametrize("name", WHOLE)
def test_altered_copies_are_alike_and_others_are_not(samples: np.ndarray, name: str) -> None:
    squares = [Image.fromarray(one) for one in samples[:8]]
    copies = [ALTERATIONS[name](one) for one in squares]
    answers = [[seen(a, b).answer == "copy" for b in copies] for a in squares]
    np.testing.assert_array_equal(answers, np.eye(8, dtype=bool))
    small = [spectrum(np.asarray(one.convert("L").resize((64, 64), Image.Resampling.BICUBIC))) for one in squares[:2]]
    assert likeness(small[0], small[1]) == pytest.approx(likeness(small[1], small[0]), abs=1e-5)
    assert likeness(small[0], small[0]) > likeness(small[0], small[1])


def test_pictures_without_structure() -> None:
    white, black = np.full((64, 64, 3), 255, np.uint8), np.zeros((64, 64, 3), np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    pattern = np.random.default_rng(1).integers(0, 2, (8, 8, 1), np.uint8).repeat(8, 0).repeat(8, 1).repeat(3, 2)
    faint, strong = 128 + pattern, 50 + 100 * pattern
    for one, is_faint in ((white, True), (black, True), (faint, True), (noise, False), (strong, False)):
        assert look(one).is_faint == is_faint
    assert seen(white, black).answer == seen(white, noise).answer == seen(faint, strong).answer == "other"
    assert seen(strong, strong) == Verdict("copy", 1.0) and seen(noise, noise).answer == "copy"


# Kinds


EARLY, SOON, LATE = (NO_FACTS._replace(taken_us=seconds * 10**6) for seconds in (1000, 1100, 1200))
FOUND = {
    answer: Verdict(answer, alike)  # type: ignore[arg-type]
    for answer, alike in (("copy", 0.95), ("unsure", 0.8), ("other", 0.8))
}


@pytest.mark.parametrize(
    ("found", "more", "one", "other", "kind"),
    [
        (FOUND["copy"], False, NO_FACTS, NO_FACTS, "scaled"),
        (FOUND["copy"], False, EARLY, NO_FACTS, "scaled"),
        (FOUND["copy"], False, EARLY, EARLY, "scaled"),
        (Verdict("copy", 0.95, ("tone",)), False, EARLY, EARLY, "edited"),
        (Verdict("copy", 0.95, ("tone",)), True, NO_FACTS, NO_FACTS, "frame"),
        (FOUND["copy"], True, NO_FACTS, NO_FACTS, "frame"),
        (FOUND["copy"], False, EARLY, SOON, "series"),
        (FOUND["unsure"], False, SOON, EARLY, "series"),
        (FOUND["copy"], False, EARLY, LATE, None),
        (FOUND["unsure"], False, NO_FACTS, NO_FACTS, None),
        (FOUND["other"], False, NO_FACTS, NO_FACTS, "variant"),
        (FOUND["other"], False, EARLY, SOON, "variant"),
        (Verdict("other", 0.6), False, NO_FACTS, NO_FACTS, None),
    ],
)
def test_kinds_of_pairs(found: Verdict, more: bool, one: Facts, other: Facts, kind: Kind | None) -> None:
    assert kind_of(found, more, one, other) == kind == kind_of(found, more, other, one)


# What is kept, and why


def candidate(path: str = "/p/m.jpg", size: int = 100, mtime: int = 50, wide: int = 400, **told: object) -> Candidate:
    facts = NO_FACTS._replace(**{name: value for name, value in told.items() if name in Facts._fields})
    traits = {name: value for name, value in told.items() if name not in Facts._fields}
    return Candidate(Member(path, 0, b"", size, mtime, wide, 300), Traits(facts, **traits))  # type: ignore[arg-type]


BETTER = {
    "raw": (candidate(is_raw=True), "what the sensor saw"),
    "living": (candidate(), "the other is in a bin"),
    "detail": (candidate(wide=800), "800 x 300 px where the other has 400 x 300 px"),
    "resolution": (candidate(wide=800), "800 x 300 px where the other has 400 x 300 px"),
    "facts": (candidate(known=7), "it has 7 facts of the shot, the other 0"),
    "camera": (candidate(camera="Box 1"), "it names its camera, Box 1"),
    "rating": (candidate(rating=4), "rated 4 of 5"),
    "taken": (candidate(taken_us=5), "it has the earlier date of the shot, or the only one"),
    "size": (candidate(size=101), "the larger file"),
    "oldest": (candidate(mtime=49), "the older file"),
    "newest": (candidate(mtime=51), "the newer file"),
    "path": (candidate("/p/a.jpg"), "the first by its path"),
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_decides_and_says_why(rule: str) -> None:
    better, says = BETTER[rule]
    other = candidate("/p/.Trash-1000/m.jpg" if rule == "living" else "/p/m.jpg")
    ranking = Ranking([rule], lambda path: False)
    assert min([other, better], key=ranking) is better and ranking(better) != ranking(other)
    assert says in ranking.why(better, other)
    archived = Ranking([rule], other.member.path.__eq__) if rule in ("living", "path") else None
    if archived:  # what is archived comes before every rule
        assert min([better, other], key=archived) is other and archived.why(other, better) == "in the archive"


def test_an_enlarged_picture_has_no_more_detail() -> None:
    enlarged, original = candidate(wide=800, detail=0.25), candidate(wide=400)
    ranking = Ranking(KEEP, lambda path: False)
    assert min([enlarged, original], key=ranking) is original
    assert ranking.why(original, enlarged) == "400 x 300 px where the other has 800 x 300 px" or (
        "enlarged" in ranking.why(original, enlarged)
    )


def test_bins_are_known_by_their_names() -> None:
    for path in ("/a/.Trash-1000/b.jpg", "/a/$RECYCLE.BIN/b.jpg", "/a/#recycle/b.jpg", "/a/.thumbnails/b.jpg"):
        assert is_binned(path)
    for path in ("/a/trashy/b.jpg", "/a/b.trash.jpg", "/recycled art/b.jpg"):
        assert not is_binned(path)


# What files tell


def traits_of(path: Path) -> Traits:
    (decoded,) = decode_all([Task(str(path), frame="original", want="traits")], 0)
    assert decoded.traits is not None
    return decoded.traits


def samples_of(path: Path) -> bytes:
    (decoded,) = decode_all([Task(str(path), frame="original", want="samples")], 0)
    assert decoded.digest is not None
    return decoded.digest


def test_facts_of_the_shot_are_read(samples: np.ndarray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model], exif[0x4746] = "Maker", "Box 1", 4
    shot = exif.get_ifd(ExifTags.IFD.Exif)
    shot[ExifTags.Base.DateTimeOriginal], shot[ExifTags.Base.SubsecTimeOriginal] = "1970:01:02 00:00:01", "25"
    Image.fromarray(samples[0]).save(tmp_path / "a.jpg", exif=exif)
    traits = traits_of(tmp_path / "a.jpg")
    found = traits.facts
    assert (found.taken_us, found.rating, found.camera) == (86_401_250_000, 4, "Maker Box 1")
    assert traits.known >= 5 and not found.is_raw and read_facts(packed_facts(found)) == found
    Image.fromarray(samples[0]).save(tmp_path / "bare.jpg")
    assert traits_of(tmp_path / "bare.jpg")._replace(detail=1.0) == Traits(Facts("JPEG"))


@pytest.mark.parametrize("date", ["", "yesterday", "0000:00:00 00:00:00", "2020:13:40 99:00:00"])
def test_a_wrong_date_costs_itself_alone(samples: np.ndarray, tmp_path: Path, date: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Model], exif[0x4746] = "Box 1", 9
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = date
    Image.fromarray(samples[0]).save(tmp_path / "a.jpg", exif=exif)
    found = traits_of(tmp_path / "a.jpg").facts
    assert (found.taken_us, found.rating, found.camera) == (None, None, "Box 1")


def test_broken_metadata_costs_itself_alone(samples: np.ndarray, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(20):
        Image.fromarray(samples[0]).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0" + rng.bytes(200))
        assert traits_of(tmp_path / "a.jpg").detail > 0, number


def test_detail_tells_enlarged_pictures_from_others(tmp_path: Path) -> None:
    """Noise whose octaves are all as strong, as those of photographs."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None])
    spectrum = np.fft.rfft2(rng.normal(size=(512, 512))) / np.maximum(frequency, 1 / 512)
    values = np.fft.irfft2(spectrum)
    picture = Image.fromarray((128 + 45 * values / values.std()).clip(0, 255).astype(np.uint8))
    for times, detail in ((1, 1.0), (2, 1 / 4), (4, 1 / 16)):
        for resampling in (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS):
            picture.resize((512 * times, 512 * times), resampling).save(tmp_path / "a.png")
            picture.resize((512 * times, 512 * times), resampling).save(tmp_path / "a.jpg", quality=90)
            assert traits_of(tmp_path / "a.png").detail == traits_of(tmp_path / "a.jpg").detail == detail
    smooth = picture.filter(ImageFilter.GaussianBlur(20))  # of which nobody can tell; noise of compression is no detail
    smooth.save(tmp_path / "smooth.png")
    smooth.save(tmp_path / "smooth.jpg", quality=50)
    assert traits_of(tmp_path / "smooth.png").detail == traits_of(tmp_path / "smooth.jpg").detail == 1


def test_all_samples_count(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)) for _ in range(3)]

    def saved(name: str, *those: Image.Image, **more: object) -> bytes:
        several = {"save_all": True, "append_images": those[1:]} if len(those) > 1 else {}
        those[0].save(tmp_path / name, **several, **more)  # type: ignore[arg-type]
        return samples_of(tmp_path / name)

    one = saved("one.png", frames[0])
    assert one == saved("one.bmp", frames[0]) == saved("opaque.png", frames[0].convert("RGBA")) != b""
    assert len({one, saved("two.tif", *frames[:2]), saved("other.tif", frames[0], frames[2])}) == 3
    clear = frames[0].convert("RGBA")
    clear.putpixel((3, 3), (*frames[0].getpixel((3, 3)), 254))  # type: ignore[misc]
    assert saved("clear.png", clear) != one
    deep = rng.integers(0, 2**16, (20, 30), np.uint16)
    assert saved("deep.png", Image.fromarray(deep)) != saved("deeper.png", Image.fromarray(deep ^ 1))
    real = rng.random((20, 30), np.float32)
    assert saved("real.tif", Image.fromarray(real)) != saved("more.tif", Image.fromarray(real + np.float32(1e-6)))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    assert saved("turned.png", frames[0].transpose(Image.Transpose.ROTATE_90), exif=exif) == one
    assert saved("lying.png", frames[0].transpose(Image.Transpose.ROTATE_90)) != one


@pytest.mark.parametrize("word", ["GCamera:MotionPhoto", "GCamera:MicroVideo", "hdrgm:Version"])
def test_what_hides_behind_a_picture_counts(samples: np.ndarray, tmp_path: Path, word: str) -> None:
    xmp = f"<x:xmpmeta><rdf:Description {word}='1'/></x:xmpmeta>".encode()
    for name, its in (("plain", b"<x:xmpmeta/>"), ("motion", xmp)):
        Image.fromarray(samples[0]).save(tmp_path / f"{name}.jpg", xmp=its)
        data = (tmp_path / f"{name}.jpg").read_bytes()
        (tmp_path / f"{name} more.jpg").write_bytes(data + b"a film")
    assert samples_of(tmp_path / "plain.jpg") == samples_of(tmp_path / "plain more.jpg")
    hiding = {samples_of(tmp_path / f"{name}.jpg") for name in ("plain", "motion", "motion more")}
    assert len(hiding) == 3
    looks = decode_all([Task(str(tmp_path / f"{name}.jpg"), frame="look") for name in ("plain", "motion")], 512)
    assert [one.holds_more for one in looks] == [False, True]


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
    assert facts["schema"] == 3 and facts["alike"] >= AGREES and len(facts["groups"]) > 5
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["keep"], row["remove"]) for row in rows] == [
        (g["keep"], p) for g in facts["groups"] for p in g["remove"]
    ]
    text = page.read_text()
    assert all(Path(path).name in text for group in facts["groups"] for path in (group["keep"], *group["remove"]))
    assert "nothing was changed" in done.output and "Wrong pairs to be expected" in done.output
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
    assert done.exit_code == 0 and "kept" in done.output, done.output
    for shown in (done.output, text):
        assert "0.png" in shown and "1.png" in shown and "2.png" not in shown and "3.png" not in shown


def test_compare_answers_by_its_exit_code(samples: np.ndarray, tmp_path: Path) -> None:
    for name, pixels in (("a", samples[0]), ("b", samples[1]), ("m", samples[0][:, ::-1])):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    Image.fromarray(samples[0]).save(tmp_path / "a.jpg", quality=50)
    Image.fromarray(samples[0]).save(tmp_path / "same.png", compress_level=0)
    Image.new("RGB", (256, 256)).save(tmp_path / "blank.png")
    page = Image.new("RGB", (600, 800), "white")
    ImageDraw.Draw(page).text((60, 60), "What is written here\n" * 20, "black", ImageFont.load_default(24))
    page.save(tmp_path / "page.png")
    page.resize((150, 200), Image.Resampling.LANCZOS).save(tmp_path / "tiny.png")  # nobody can read it
    (tmp_path / "text.jpg").write_text("no picture")
    program = str(Path(sys.executable).with_name("latent"))

    def compare(*words: str) -> tuple[int, str]:
        done = subprocess.run([program, "compare", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    assert compare("a.png", "a.png")[0] == 0 and "same bytes" in compare("a.png", "a.png")[1]
    assert compare("a.png", "same.png")[0] == 0 and "same pixels" in compare("a.png", "same.png")[1]
    assert compare("a.png", "a.jpg")[0] == 0 and compare("a.png", "a.jpg")[1].startswith("saved again or scaled")
    assert compare("a.png", "b.png")[0] == 1 and compare("a.png", "b.png")[1].startswith("not copies")
    assert compare("a.png", "m.png")[0] == 0 and "mirrored" in compare("a.png", "m.png")[1]
    assert compare("blank.png", "blank.png")[0] == 0 and compare("page.png", "tiny.png")[0] == 4
    assert compare("page.png", "tiny.png")[1].startswith("cannot tell")
    assert "rm " not in compare("--help")[1]
    assert compare("a.png", "text.jpg") == (1, "Error: text.jpg: not a picture\n")
    assert compare("a.png", "missing.png")[0] == 2 and compare("a.png", "b.png", "--invariant", "mirror")[0] == 2
    found = compare_pictures(tmp_path / "a.png", tmp_path / "m.png", load_model("faces-64", "cpu"))
    assert (found.copies, found.kind, found.turned) == ("yes", "edited", "mirrored")


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
        without_facts(database)
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
    assert compare_pictures(photos / "a.png", photos / "b.png", model).copies != "yes"
    assert compare_pictures(photos / "a.png", photos / "a again.jpg", model).kind == "scaled"


def test_a_part_that_differs_is_told_with_its_place(samples: np.ndarray) -> None:
    """A change of a part of a photograph makes no other picture, but it is never taken for one that was saved again."""
    blotted, banded = samples[5].copy(), samples[5].copy()
    blotted[60:100, 60:100] = 0
    banded[100:140] = samples[6][60:100]
    for changed, top, bottom in ((blotted, 60, 100), (banded, 100, 140)):
        found = seen(samples[5], changed)
        assert found.answer != "copy" or "part" in found.differs
        ((_, above, _, below),) = found.places
        assert above <= (top + 10) / 160 and below >= (bottom - 10) / 160
    noisy = np.clip(samples[5] + np.random.default_rng(0).normal(0, 8, samples[5].shape), 0, 255).astype(np.uint8)
    assert seen(samples[5], noisy).answer == "copy" and not seen(samples[5], noisy).differs
