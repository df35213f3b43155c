"""Filters, lists, paging and feedback, by the real program and in Python, on drawn pictures with real EXIF."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Run, draw_shapes
from PIL import ExifTags, Image

from index.where import Compare, Matches, Not
from retrieval import Hit, Question, Retriever, Term, ask
from retrieval.explore.novelty import novelty
from retrieval.explore.sums import weighted_sum
from retrieval.questions import LIKED, UNLIKED, refined

COUNT = 130
FOLDERS = ("Trips/Rome", "Trips/Oslo", "Home", "")
CAMERAS = ("Canon EOS R6", "NIKON Z 5", None)
FIRST = datetime(2024, 1, 5, 12)


def taken_of(number: int) -> datetime | None:
    return FIRST + timedelta(days=3 * number) if number % 5 else None


def folder_of(number: int) -> str:
    return FOLDERS[number % len(FOLDERS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """Drawn pictures with dates, cameras, ratings and sizes; their file dates are all of 2020; and an index of them."""
    top = tmp_path_factory.mktemp("filters")
    shapes, _ = draw_shapes(COUNT, seed=3)
    for number, shape in enumerate(shapes):
        exif, shot = Image.Exif(), {}
        if (taken := taken_of(number)) is not None:
            shot[ExifTags.Base.DateTimeOriginal] = taken.strftime("%Y:%m:%d %H:%M:%S")
        exif.get_ifd(ExifTags.IFD.Exif).update(shot)
        if (camera := CAMERAS[number % len(CAMERAS)]) is not None:
            exif[ExifTags.Base.Model] = camera
        if number % 4:
            exif[0x4746] = number % 4
        path = top / "photos" / folder_of(number) / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        side = 64 + number
        Image.fromarray(shape).resize((side, 80), Image.Resampling.NEAREST).save(path, quality=95, exif=exif)
        os.utime(path, (1_590_000_000 + number, 1_590_000_000 + number))
    Retriever.build(top / "photos", top / ".latent", model=tiny_bundle).close()
    return top


@pytest.fixture
def searcher(folder: Path) -> Iterator[Retriever]:
    with Retriever.open(folder / ".latent") as opened:
        yield opened


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def numbers(paths: list[str]) -> list[int]:
    return [int(Path(path).stem) for path in paths]


def passing(words: str) -> set[int]:
    """What the filters of these tests let pass, told from how the pictures were made."""
    tests = {
        "after": lambda number: (taken_of(number) or datetime(2020, 5, 20)) >= datetime(2024, 6, 1),
        "before": lambda number: (taken_of(number) or datetime(2020, 5, 20)) < datetime(2024, 6, 1),
        "trips": lambda number: folder_of(number).startswith("Trips/"),
        "canon": lambda number: CAMERAS[number % 3] == "Canon EOS R6",
        "wide": lambda number: 64 + number >= 100,
        "rated": lambda number: number % 4 >= 2,
    }
    return {number for number in range(COUNT) if all(tests[word](number) for word in words.split())}


CASES = [
    (["--after", "2024-06"], "after"),
    (["--before", "2024-06"], "before"),
    (["--in", "Trips"], "trips"),
    (["--in", "photos/Trips/Rome", "--where", "width >= 100"], "rome wide"),
    (["--where", "camera = 'canon*' and rating >= 2"], "canon rated"),
    (["--where", "taken >= 2024-06", "--where", "width >= 100", "--in", "Trips"], "after wide trips"),
]


@pytest.mark.parametrize(("options", "words"), CASES)
def test_lists_and_hits_hold_what_passes(
    here: Path, latent: Run, searcher: Retriever, options: list[str], words: str
) -> None:
    wanted = passing(words.replace("rome", "trips"))
    if "rome" in words:
        wanted = {number for number in wanted if folder_of(number) == "Trips/Rome"}
    assert 3 < len(wanted) < COUNT
    index = ("--index", here / ".latent")
    listed = latent("index", "list", *options, *index, "--format", "paths", cwd=here).stdout.splitlines()
    assert sorted(numbers(listed)) == sorted(wanted)
    query = next(here.glob("photos/**/000.jpg"))
    words = ("query", query, *options, "-k", "200", "--copies", "show", *index, "--format", "json")
    found = json.loads(latent(*words, cwd=here).stdout)
    hits = numbers([hit["path"] for hit in found["queries"][0]["hits"]])
    everything = numbers([hit.path for hit in searcher.query(query, COUNT)])
    assert hits == [number for number in everything if number in wanted]


def paths_in(form: str, text: str) -> list[str]:
    """The paths of pictures that a command printed."""
    if form == "json":
        told = json.loads(text)
        return [one["path"] for one in told.get("pictures") or told["queries"][0]["hits"]]
    if form == "jsonl":
        return [json.loads(line)["path"] for line in text.splitlines()]
    if form == "csv":
        return [line["path"] for line in csv.DictReader(text.splitlines())]
    return [line.split()[-1] for line in text.splitlines() if line.endswith(".jpg")]


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "paths"])
def test_a_list_names_files_as_a_query_does(here: Path, latent: Run, form: str) -> None:
    """Below the current folder by short paths, and elsewhere by whole ones."""
    query = next(here.glob("photos/**/000.jpg"))
    options = ("--where", "width > 80", "--index", here / ".latent", "--format", form)
    (here / "away").mkdir(exist_ok=True)
    for folder in (here / "photos", here / "away"):
        listed = paths_in(form, latent("index", "list", *options, cwd=folder).stdout)
        found = paths_in(form, latent("query", query, "-k", "200", "--copies", "show", *options, cwd=folder).stdout)
        assert sorted(listed) == sorted(found) and len(listed) > 100
        assert all((folder / name).exists() for name in listed)
        assert {os.path.isabs(name) for name in listed} == {folder.name == "away"}


def test_what_left_nothing_is_said(here: Path, latent: Run) -> None:
    query = next(here.glob("photos/**/000.jpg"))
    index = ("--index", here / ".latent")
    alone = latent("query", query, "--after", "2031", "--in", "Trips", *index, cwd=here)
    assert f"No picture of {COUNT} passes: taken >= '2031'" in alone.stderr and "--in" not in alone.stderr
    both = latent("index", "list", "--where", "width < 70 and width > 80", *index, cwd=here)
    assert f"No picture of {COUNT} passes all of: width < 70 (6), width > 80 (113)" in both.stderr
    beyond = latent("query", query, "--offset", 7000, "--after", "1900", *index, cwd=here)
    assert "There is no hit after the first 7,000." in beyond.stderr
    near = latent("query", query, "--within", 0.001, *index, cwd=here)
    assert near.stdout.count(".jpg") + near.stderr.count("There is no hit closer than 0.001.") == 1
    refused = latent("features", "-o", "x.npz", "--after", "2031", *index, cwd=here, code=1)
    assert "taken >= '2031'" in refused.stderr and not (here / "x.npz").exists()


def test_a_filter_that_cannot_be_read_points_at_its_column(here: Path, latent: Run) -> None:
    done = latent("index", "list", "--where", "width > 3 and heigth > 4", "--index", here / ".latent", cwd=here, code=2)
    lines = done.stderr.splitlines()
    at = lines.index("  width > 3 and heigth > 4")
    assert "did you mean height?" in lines[at - 1] and lines[at + 1] == "  " + " " * 14 + "^"


def test_order_limit_and_offset(here: Path, latent: Run, searcher: Retriever) -> None:
    def listed(*options: str) -> list[int]:
        words = ("index", "list", *options, "--index", here / ".latent", "--format", "paths")
        return numbers(latent(*words, cwd=here).stdout.splitlines())

    dates = {number: taken_of(number) or datetime(2020, 5, 20) + timedelta(seconds=number) for number in range(COUNT)}
    newest = sorted(dates, key=lambda number: dates[number], reverse=True)
    assert listed("--order", "newest", "-n", "7", "--offset", "3") == newest[3:10]
    assert listed("--order", "newest", "--reverse") == newest[::-1]
    words = ("index", "list", "--order", "newest", "-n", "4", "--index", here / ".latent", "--format", "json")
    told = json.loads(latent(*words, cwd=here).stdout)["pictures"]
    assert [datetime.fromisoformat(one["taken"]) for one in told] == [dates[number] for number in newest[:4]]
    assert listed("--order", "pixels", "-n", "3") == [COUNT - 1, COUNT - 2, COUNT - 3]
    looks = searcher.looks()
    rows = searcher.pictures()
    strange = sorted(rows, key=lambda one: -(novelty(looks, one.realism, one.spread) or 0))
    assert set(listed("--order", "novelty", "-n", "5")) == set(numbers([one.path for one in strange[:5]]))
    query = next(here.glob("photos/**/017.jpg"))
    near = numbers([hit.path for hit in searcher.query(query, COUNT)])
    assert listed("--order", "distance", "--like", str(query), "-n", "9") == near[:9]
    assert (
        listed("--order", "distance", "--like", str(query), "--reverse", "-n", "4", "--offset", "2") == near[::-1][2:6]
    )
    assert latent("index", "list", "--order", "distance", "--index", here / ".latent", cwd=here, code=2).stderr


def test_novelty_as_a_filter(searcher: Retriever) -> None:
    looks = searcher.looks()
    share = {one.id: novelty(looks, one.realism, one.spread) or 0.0 for one in searcher.pictures()}
    for text, wanted in {
        "novelty >= 0.9": {one for one, its in share.items() if its >= 0.9},
        "novelty > 0.5": {one for one, its in share.items() if its > 0.5},
        "novelty < 0.25": {one for one, its in share.items() if its < 0.25},
        "novelty <= 1 and not novelty < 0.1": {one for one, its in share.items() if its >= 0.1},
        "novelty > 1": set(),
        "novelty >= 0": set(share),
    }.items():
        assert {one.id for one in searcher.pictures(text)} == wanted, text
    with pytest.raises(ValueError, match="a share from 0 to 1"):
        searcher.pictures("novelty > 2")


def test_all_within_a_distance_and_page_by_page(searcher: Retriever) -> None:
    query = searcher.pictures()[40].path
    everything = searcher.query(query, COUNT)
    limit = (everything[69].distance + everything[70].distance) / 2
    assert [hit.path for hit in searcher.query(query, within=limit)] == [hit.path for hit in everything[:70]]
    assert len(searcher.query(query, 5, within=limit)) == 5
    assert searcher.query(query, within=0.0) == []
    pages = [hit for start in range(0, COUNT, 25) for hit in searcher.query(query, 25, offset=start)]
    assert pages == everything
    some = searcher.query(query, within=limit, offset=60, where=Not(Matches("camera", "canon*")))
    plain = [hit for hit in everything[:70] if CAMERAS[int(Path(hit.path).stem) % 3] != "Canon EOS R6"]
    assert [hit.path for hit in some] == [hit.path for hit in plain][60:]
    with pytest.raises(ValueError, match="within must be a distance"):
        searcher.query(query, within=float("nan"))
    with pytest.raises(ValueError, match="offset must be at least 0"):
        searcher.query(query, offset=-1)


def test_feedback_moves_the_code_as_rocchio_says(searcher: Retriever) -> None:
    one, two, three, four = (searcher.pictures()[number].path for number in (3, 30, 60, 90))
    answer = ask(searcher, Question((Term(1.0, one),), 12))
    liked = [answer.hits[0], two]
    moved = searcher.refine(answer, like=liked, unlike=[three])
    codes = {hit.path: hit for hit in searcher.query(four, COUNT)} | {answer.hits[0].path: answer.hits[0]}
    vectors = [searcher.look_at(path).code for path in (one, answer.hits[0].path, two, three)]
    wanted = weighted_sum(np.stack(vectors), [1.0, LIKED / 2, LIKED / 2, -UNLIKED], searcher.model.standardized)
    np.testing.assert_allclose(moved.code, wanted, atol=1e-5)
    marked = {one, two, three, answer.hits[0].path}
    assert not marked & {hit.path for hit in moved.hits} and len(moved.hits) == 12 and codes
    far = {hit.path: hit.distance for hit in searcher.query_codes(moved.code[None], COUNT)[0]}
    assert far[two] < {hit.path: hit.distance for hit in searcher.query(one, COUNT)}[two]
    assert refined(answer.question) == answer.question
    assert isinstance(liked[0], Hit)


def test_feedback_on_the_command_line(here: Path, latent: Run, searcher: Retriever) -> None:
    one, two, three = (searcher.pictures()[number].path for number in (3, 30, 60))
    index = ("--index", here / ".latent", "--copies", "show", "--format", "json")
    words = ("query", one, "--like", two, "--unlike", three, "-k", "5", *index)
    found = json.loads(latent(*words, cwd=here).stdout)["queries"][0]
    moved = refined(Question((Term(1.0, one),), 5), [two], [three])
    assert [os.path.abspath(here / hit["path"]) for hit in found["hits"]] == [
        hit.path for hit in ask(searcher, moved).hits
    ]


def test_filters_in_other_commands(here: Path, latent: Run, searcher: Retriever, tmp_path: Path) -> None:
    wanted = passing("canon wide")
    options = ("--where", "camera = canon* and width >= 100", "--index", here / ".latent")
    latent("features", "-o", tmp_path / "x.npz", *options, cwd=here)
    with np.load(tmp_path / "x.npz") as table:
        assert sorted(numbers(table["path"].tolist())) == sorted(wanted) and len(table["codes"]) == len(wanted)
    assert searcher.count(Compare("width_px", ">=", 100)) == len(passing("wide"))
    latent("map", "-o", tmp_path / "map.html", "--members", tmp_path / "members.csv", *options, cwd=here)
    assert set(numbers(pd.read_csv(tmp_path / "members.csv")["path"].tolist())) == wanted
    plan = json.loads(latent("dedup", "find", "--format", "json", *options, cwd=here).stdout)
    named = {path for group in plan["groups"] for path in (group["keep"], *group["remove"])}
    assert set(numbers(list(named))) <= wanted


def test_words_about_pictures(here: Path, latent: Run, searcher: Retriever) -> None:
    rome = {number for number in range(COUNT) if folder_of(number) == "Trips/Rome"}
    listed = latent("index", "list", "--text", "trips ROM", "--index", here / ".latent", "--format", "paths", cwd=here)
    assert set(numbers(listed.stdout.splitlines())) == rome
    both = searcher.pictures("text = 'rome' and width >= 100")
    assert set(numbers([one.path for one in both])) == rome & passing("wide")
    assert searcher.count("text != rome") == COUNT - len(rome)
    for words in ('"', "rome OR home", "NEAR(", "* -", "rome oslo", "ome"):
        assert searcher.count(f"""text = '{words}'""") == 0, words
    nothing = latent("index", "list", "--text", "zebra", "--index", here / ".latent", cwd=here)
    assert "passes: --text zebra" in nothing.stderr


def test_words_are_read_without_case_and_accents_from_titles_and_keywords(tmp_path: Path, tiny_bundle: Path) -> None:
    titles, keywords = ["am Strand", "Sunset_over Oslo", "strandgut", "-"], {0: "Müller", 3: "Hafen;Åre"}
    (tmp_path / "p").mkdir()
    for number, title in enumerate(titles):
        exif = Image.Exif()
        exif[ExifTags.Base.ImageDescription] = title
        if number in keywords:
            exif[ExifTags.Base.XPKeywords] = f"{keywords[number]}\0".encode("utf-16-le")
        picture = draw_shapes(4, seed=number)[0][number]
        Image.fromarray(picture).resize((64, 64)).save(tmp_path / "p" / f"IMG-{number}.jpg", exif=exif)
    with Retriever.build(tmp_path / "p", tmp_path / "i", model=tiny_bundle) as searcher:
        found = {
            words: sorted(int(Path(one.path).stem[-1]) for one in searcher.pictures(f"text = '{words}'"))
            for words in ("strand", "MULLER strand", "oslo over", "hafen are", "img 2", "sunset strand")
        }
    right = {"strand": [0, 2], "MULLER strand": [0], "oslo over": [1], "hafen are": [3], "img 2": [2]}
    assert found == right | {"sunset strand": []}


def test_pictures_with_preferred_words_move_up(searcher: Retriever) -> None:
    query = searcher.pictures()[40].path
    plain = [hit.path for hit in searcher.query(query, COUNT)]
    words = searcher.index.rows.with_words("oslo")
    places = {searcher.index.rows.found([number])[number].path: rank for rank, number in enumerate(words, 1)}
    score = {path: 1 / (60 + rank) for rank, path in enumerate(plain, 1)}
    score |= {path: score.get(path, 0) + 1 / (60 + rank) for path, rank in places.items() if path != query}
    answer = ask(searcher, Question((Term(1.0, query),), 20, words="oslo"))
    assert [hit.path for hit in answer.hits] == sorted(score, key=lambda path: -score[path])[:20]
    assert [hit.rank for hit in answer.hits] == list(range(1, 21))
    assert [hit.path for hit in answer.hits] != plain[:20]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_hits_of_many_pictures_as_a_table(
    here: Path, latent: Run, searcher: Retriever, tmp_path: Path, suffix: str
) -> None:
    paths = [one.path for one in searcher.pictures()]
    lost = str(tmp_path / "lost.jpg")
    asked = "".join(f"{path}\0" for path in (*paths, lost))
    target = tmp_path / f"hits.{suffix}"
    words = ("query", "-", "-0", "-k", "3", "--where", "width >= 100", "--table", target, "--index", here / ".latent")
    done = latent(*words, "--copies", "show", cwd=here, code=1, stdin=None, input=asked)
    assert "lost.jpg" in done.stderr
    table = pd.read_parquet(target) if suffix == "parquet" else pd.read_csv(target)
    wanted = searcher.query_batch(paths, 3, where="width >= 100")
    assert table["query"].tolist() == [path for path in paths for _ in range(3)]
    assert table["path"].tolist() == [hit.path for hits in wanted for hit in hits]
    assert table["rank"].tolist() == [1, 2, 3] * len(paths)
    np.testing.assert_allclose(table["distance"], [hit.distance for hits in wanted for hit in hits], rtol=1e-6)
