"""Several indexes searched as one give the hits of one index of all their pictures, and say who does not answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.many import Many
from index.opening import open_index, open_indexes
from index.records import Floats, Metric, Neighbour
from index.where import Where
from retrieval import IndexMismatch, NoIndex, PartAbsent, Question, Retriever, Searcher, Term, ask, ask_all
from retrieval.copies.find import find_copies
from tests.conftest import Run, write_shapes

PARTS = ("a", "b", "c")
SIZES = (37, 11, 64)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """Folders a, b and c, each with an index, and ``whole``, an index of all three; some pictures are in two."""
    home = tmp_path_factory.mktemp("parts")
    for number, (part, size) in enumerate(zip(PARTS, SIZES, strict=True)):
        write_shapes(home / "photos" / part, size, seed=number)
    for name in ("shape-0-003.png", "shape-0-020.png"):
        (home / "photos" / "c" / f"copy-{name}").write_bytes((home / "photos" / "a" / name).read_bytes())
    for part in PARTS:
        Retriever.build(home / "photos" / part, index=home / part, model=str(tiny_bundle), workers=1).close()
    every = [home / "photos" / part for part in PARTS]
    Retriever.build(every, index=home / "whole", model=str(tiny_bundle), workers=1).close()
    return home


@pytest.fixture
def many(home: Path) -> Iterator[Searcher]:
    with Searcher.open([home / part for part in PARTS]) as many:
        yield many


@pytest.fixture
def whole(home: Path) -> Iterator[Searcher]:
    with Searcher.open(home / "whole") as whole:
        yield whole


def told(hits: Sequence[Any]) -> list[tuple[Any, ...]]:
    # The last bit of a similarity depends on how many codes are ranked together.
    return [(hit.rank, hit.path, hit.distance, round(hit.similarity, 12), hit.realism, hit.copies) for hit in hits]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 10, 60, 500])
def test_hits_are_those_of_one_index(many: Searcher, whole: Searcher, metric: Metric, k: int) -> None:
    rng = np.random.default_rng(k)
    codes = rng.standard_normal((9, whole.latent_dim), dtype=np.float32)
    paths = [found.path for found in whole.pictures()]
    for ours, theirs in zip(
        many.query_codes(codes, k, metric=metric), whole.query_codes(codes, k, metric=metric), strict=True
    ):
        assert told(ours) == told(theirs)
    asked = [str(one) for one in rng.choice(paths, 6, replace=False)]
    batches = (one.query_batch(asked, k, metric=metric) for one in (many, whole))
    for ours, theirs in zip(*batches, strict=True):
        assert told(ours) == told(theirs)  # an indexed picture is left out of its own hits, wherever it is


FILTERS = (
    "width >= 64",
    "folder = '*' and not name = 'shape-1*'",
    "name = '*copy*' or realism > 0",
    "size < 2kB and taken >= 2000",
    "novelty > 0.5",
    "text = copy",
    "not text = copy and width > 10",
)


@pytest.mark.parametrize("where", FILTERS)
def test_filters_are_those_of_one_index(many: Searcher, whole: Searcher, where: str) -> None:
    code = np.random.default_rng(3).standard_normal((1, whole.latent_dim), dtype=np.float32)
    if "novelty" not in where:  # which is measured on a sample that depends on where the pictures are
        assert many.count(where) == whole.count(where)
        assert told(many.query_codes(code, 200, where=where)[0]) == told(whole.query_codes(code, 200, where=where)[0])
    hits = many.query_codes(code, 200, where=where)[0]
    assert [hit.rank for hit in hits] == list(range(1, many.count(where) + 1))
    codes = many.index.rows.codes([hit.id for hit in hits])
    assert np.allclose([np.linalg.norm(codes[hit.id] - code) for hit in hits], [hit.distance for hit in hits])


def test_questions_are_answered_as_by_one_index(many: Searcher, whole: Searcher) -> None:
    paths = [found.path for found in whole.pictures()]
    questions = [
        Question((Term(1.0, paths[2]), Term(-0.5, paths[70])), 12),
        Question((Term(1.0, paths[40]),), 30, copies="collapse"),
        Question((Term(1.0, paths[3]),), 200, within=5.0, offset=2),
        Question((Term(1.0, paths[5]),), 8, words="copy"),
    ]
    for ours, theirs in zip(ask_all(many, questions), ask_all(whole, questions), strict=True):
        assert told(ours.hits) == told(theirs.hits) and np.array_equal(ours.code, theirs.code)  # type: ignore[union-attr]
    hits = ask(many, questions[0]).hits
    assert np.array_equal(many.decode(hits), whole.decode(ask(whole, questions[0]).hits))
    assert len(many) == len(whole) == len(paths)
    every = {found.path: code for page, codes in many.found() for found, code in zip(page, codes, strict=True)}
    same = {found.path: code for page, codes in whole.found() for found, code in zip(page, codes, strict=True)}
    assert every.keys() == same.keys() and all(np.array_equal(every[path], same[path]) for path in same)


def test_copies_are_found_across_indexes(many: Searcher, whole: Searcher) -> None:
    ours, theirs = (find_copies(one) for one in (many, whole))
    assert [(one.keep, one.remove) for one in ours.groups] == [(one.keep, one.remove) for one in theirs.groups]
    assert ours.groups


class Hanging:
    """An index that is there, but whose searches wait, as on a lost network drive."""

    def __init__(self, folder: Path, waits: threading.Event) -> None:
        self._index, self._waits = open_index(folder), waits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def search(
        self,
        xq: Floats,
        k: int,
        metric: Metric,
        left_out: Sequence[Collection[int]] | None = None,
        where: Where | None = None,
    ) -> list[list[Neighbour]]:
        self._waits.wait(60)
        return self._index.search(xq, k, metric, left_out, where)


def test_who_does_not_answer_in_time_is_named(home: Path, whole: Searcher) -> None:
    code = np.random.default_rng(4).standard_normal((2, whole.latent_dim), dtype=np.float32)
    waits = threading.Event()
    rest = [one for one in told_of_search(whole, code, 200) if "/photos/b/" not in one]
    for strict in (False, True):
        parts = [open_index(home / "a"), Hanging(home / "b", waits), open_index(home / "c")]
        many = Many(parts, strict=strict, timeout_s=0.5)  # type: ignore[arg-type]
        if strict:
            with pytest.raises(PartAbsent, match=f"{home / 'b'} does not answer: no answer in 0.5 s"):
                many.search(code, 200, "euclidean")
        else:
            paths = [hit.picture.path for hits in many.search(code, 200, "euclidean") for hit in hits]
            assert paths == rest and list(many.absent) == [str(home / "b")]
    waits.set()


def told_of_search(searcher: Searcher, codes: Floats, k: int) -> list[str]:
    return [hit.path for hits in searcher.query_codes(codes, k) for hit in hits]


def test_who_is_damaged_or_missing_is_named(home: Path, tmp_path: Path, tiny_bundle: Path, latent: Run) -> None:
    write_shapes(tmp_path / "photos", 5, seed=9)
    Retriever.build(tmp_path / "photos", index=tmp_path / "torn", model=str(tiny_bundle), workers=1).close()
    (tmp_path / "torn" / "catalog.db").write_bytes(b"SQLite format 3\0" + bytes(5000))
    asked = str(home / "photos" / "a" / "shape-0-001.png")
    words = ["query", asked, "--index", home / "a", "--index", tmp_path / "torn", "--index", tmp_path / "none"]
    done = latent(*words, "--format", "json")
    answer = json.loads(done.stdout)
    assert set(answer["absent"]) == {str(tmp_path / "torn"), str(tmp_path / "none")}
    assert len(answer["queries"][0]["hits"]) == 10 and done.stderr.count("Warning: the answer is partial") == 2
    assert "torn" in latent(*words, "--strict", code=1).stderr
    with pytest.raises(NoIndex):
        open_indexes([tmp_path / "none", tmp_path / "nowhere"])


def test_a_text_file_names_indexes(home: Path, tmp_path: Path, whole: Searcher, latent: Run) -> None:
    (home / "parts.txt").write_text("# all of them\na\n\n  b\n" + str(home / "c") + "\na\n")
    asked = str(home / "photos" / "b" / "shape-1-001.png")
    lines = latent(
        "query", asked, "--index", home / "parts.txt", "--format", "paths", "--copies", "show", "-k", 50
    ).stdout
    assert lines.splitlines() == [hit.path for hit in whole.query(asked, 50)]
    (tmp_path / "empty.txt").write_text("# none\n")
    assert "names no index" in latent("query", asked, "--index", tmp_path / "empty.txt", code=3).stderr


def test_indexes_of_different_models_are_not_mixed(home: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "photos", 3)
    Retriever.build(tmp_path / "photos", index=tmp_path / "other", model="photos-64", workers=1).close()
    with pytest.raises(IndexMismatch, match="only codes of one model can be compared"):
        Searcher.open([home / "a", tmp_path / "other"])


def test_several_indexes_are_not_listed_in_an_order(many: Searcher) -> None:
    with pytest.raises(PartAbsent, match="ask each of them"):
        many.pictures()
