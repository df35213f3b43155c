"""Filters as data: what a search may find, against brute force, to the last id."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from index.local.store import Store
from index.local.structures import QUANTIZED, Structure
from index.records import Change, Meta, Row
from index.where import AllOf, AnyOf, Compare, InFolder, Not, Where
from retrieval import Question, Retriever, Term, ask
from tests.conftest import write_shapes
from tests.test_index import DIM, brute_force, random_codes, row

FOLDERS = ("", "a/", "a/b/", "a.b/", "ab/")
NUMBERS = {"size_bytes": int, "mtime_ns": int, "width_px": int, "height_px": int, "realism": float, "spread": float}


def drawn_rows(count: int, rng: np.random.Generator) -> list[Row]:
    """Rows of drawn facts, in five folders of two roots."""
    return [
        row(
            number,
            root_id=1 + number % 2,
            path=os.fsencode(f"{FOLDERS[rng.integers(5)]}{number:05d}.jpg"),
            size_bytes=int(rng.integers(1, 50)),
            mtime_ns=int(rng.integers(0, 50)),
            width_px=int(rng.integers(1, 50)),
            height_px=int(rng.integers(1, 50)),
            realism=float(rng.normal()),
            spread=float(rng.uniform()),
            content_hash=b"%016d" % number,
        )
        for number in range(count)
    ]


def drawn_filter(rng: np.random.Generator, roots: dict[int, str], deep: int = 2) -> Where:
    kind = rng.integers(5 if deep else 2)
    if kind == 0:
        fact = list(NUMBERS)[rng.integers(6)]
        sign = ("=", "!=", "<", "<=", ">", ">=")[rng.integers(6)]
        value = rng.normal() if NUMBERS[fact] is float else int(rng.integers(1, 50))
        return Compare(fact, sign, value)  # type: ignore[arg-type]
    if kind == 1:
        folder = os.path.join(roots[1 + int(rng.integers(2))], FOLDERS[rng.integers(5)])
        return InFolder(folder if rng.random() < 0.8 else os.path.dirname(roots[1]))
    if kind == 2:
        return Not(drawn_filter(rng, roots, deep - 1))
    terms = tuple(drawn_filter(rng, roots, deep - 1) for _ in range(rng.integers(4)))
    return AllOf(terms) if kind == 3 else AnyOf(terms)


def passes(where: Where, one: Row, roots: dict[int, str]) -> bool:
    match where:
        case Compare(fact, sign, value):
            mine = getattr(one, fact)
            signs = {"=": mine == value, "!=": mine != value, "<": mine < value, "<=": mine <= value}
            return bool((signs | {">": mine > value, ">=": mine >= value})[sign])
        case InFolder(folder):
            place = os.path.join(roots[one.root_id], os.fsdecode(one.path))
            return place.startswith(os.path.join(os.path.normpath(folder), ""))
        case Not(term):
            return not passes(term, one, roots)
        case AllOf(terms):
            return all(passes(term, one, roots) for term in terms)
        case AnyOf(terms):
            return any(passes(term, one, roots) for term in terms)


def made(folder: Path, rows: list[Row], codes: np.ndarray) -> dict[int, str]:
    with Store.writing(folder, create=Meta("m", "digest", DIM, True)) as store:
        for name in ("photos", "other photos"):
            store.rows.add_root(str(folder.parent / name))
        store.rows.apply([Change(one, code) for one, code in zip(rows, codes, strict=True)])
        store.refresh_caches()
        return store.rows.roots()


@pytest.mark.parametrize("few", [0, 2000])
def test_what_a_filter_lets_pass_is_found_as_brute_force_finds_it(
    tmp_path: Path, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few are ranked all, many are proposed by FAISS: both to the last id, with ties and ids that are left out."""
    monkeypatch.setattr("index.local.ranking.FEW", few)
    rng, codes = np.random.default_rng(few), random_codes(500, 1, True)
    rows = drawn_rows(500, rng)
    roots = made(tmp_path / "i", rows, codes)
    shares = []
    with Store.open(tmp_path / "i") as store:
        for number in range(60):
            where, k = drawn_filter(rng, roots), int(rng.integers(1, 40))
            xq = codes[[0, number]] if number % 2 else random_codes(2, number + 9, True)
            left_out = set(rng.integers(1, 501, 3).tolist())
            allowed = {place + 1 for place, one in enumerate(rows) if passes(where, one, roots)}
            shares.append(len(allowed) / 500)
            hits = store.search(xq, k, "euclidean", [left_out, set()], where)
            for query, found, out in zip(xq, hits, (left_out, set()), strict=True):
                wanted = brute_force(codes, query, k, "euclidean", out | (set(range(1, 501)) - allowed))
                assert [one.id for one in found] == wanted, where
    assert min(shares) == 0 and max(shares) == 1 and len([one for one in shares if 0.05 < one < 0.95]) > 20


@pytest.mark.parametrize("structure", [QUANTIZED, Structure(True, 16, 12)])
def test_filters_on_quantized_codes(tmp_path: Path, structure: Structure, monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow filter is ranked exactly whatever the structure; a wide one finds what the structure finds."""
    monkeypatch.setattr("index.local.store.choose", lambda *facts: structure)
    rng, codes = np.random.default_rng(0), random_codes(3000, 1, True)
    rows = drawn_rows(3000, rng)
    roots = made(tmp_path / "i", rows, codes)
    with Store.open(tmp_path / "i") as store:
        for where, least in ((Compare("width_px", "<", 2), 1.0), (Compare("width_px", ">", 5), 0.7)):
            allowed = {place + 1 for place, one in enumerate(rows) if passes(where, one, roots)}
            recalls = []
            for query in random_codes(20, 2, True):
                (hits,) = store.search(query[None], 10, "cosine", where=where)
                right = brute_force(codes, query, 10, "cosine", set(range(1, 3001)) - allowed)
                recalls.append(len({one.id for one in hits} & set(right)) / 10)
                assert {one.id for one in hits} <= allowed and len(hits) == 10
            assert np.mean(recalls) >= least


@pytest.mark.parametrize("words", [("colour", "=", 1), ("width_px", "~", 1), ("path; drop table pictures", "=", 1)])
def test_a_filter_on_what_there_is_not(words: tuple[str, str, int]) -> None:
    with pytest.raises(ValueError, match="a filter knows"):
        Compare(*words)  # type: ignore[arg-type]


def test_a_question_with_a_filter(tmp_path: Path, tiny_bundle: Path) -> None:
    write_shapes(tmp_path / "photos", 12)
    write_shapes(tmp_path / "photos" / "inner", 8, seed=1)
    picture = tmp_path / "photos" / "inner" / "shape-1-003.png"
    with Retriever.build(tmp_path / "photos", tmp_path / "i", model=tiny_bundle) as retriever:
        everywhere = retriever.query(picture, 19)
        inside = InFolder(str(tmp_path / "photos" / "inner"))
        wanted = [hit.path for hit in everywhere if os.path.dirname(hit.path) == inside.folder]
        assert len(wanted) == 7 and wanted != [hit.path for hit in everywhere][:7]
        assert [hit.path for hit in retriever.query(picture, 19, where=inside)] == wanted
        answer = ask(retriever, Question((Term(1.0, picture),), 3, where=Not(inside)))
        assert [hit.path for hit in answer.hits] == [hit.path for hit in everywhere if hit.path not in wanted][:3]
