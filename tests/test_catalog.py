"""The catalog against a dictionary: whatever is written, each question is answered as by looking through all rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from index.errors import IndexDamaged
from index.local.catalog import Catalog
from index.local.store import Searched, SearchedWriter
from index.local.structures import LISTS_MOST, choose
from index.records import Budget, Change, Direction, Meta, Row
from index.where import AnyOf, Compare
from tests.codes import DIM, brute_force, random_codes, row
from tests.servers import Places, fill, opened, writing

HASHES = [b"%016d" % number for number in range(12)]  # few, so that contents repeat
STATES = ("found", "skipped", "vanished", "removed")


@dataclass
class Expected:
    """What a catalog must hold, in plain Python."""

    rows: dict[int, Row] = field(default_factory=dict)
    codes: dict[int, np.ndarray] = field(default_factory=dict)
    roots: dict[int, str] = field(default_factory=dict)
    next_id: int = 1
    generation: int = 0

    def found(self) -> list[int]:
        return sorted(one for one, its in self.rows.items() if its.status == "found")

    def apply(self, changes: list[Change]) -> None:
        self.generation += 1
        for change in changes:
            number = change.row.id
            if number is None:
                number, self.next_id = self.next_id, self.next_id + 1
            self.rows[number] = change.row._replace(id=number, generation=self.generation)
            self.codes.pop(number, None)
            if change.code is not None:
                self.codes[number] = change.code

    def mark(self, ids: list[int], status: str, forget: bool) -> None:
        self.generation += 1
        for one in ids:
            self.rows[one] = self.rows[one]._replace(status=status, generation=self.generation)  # type: ignore[arg-type]
            if forget:
                self.rows[one] = self.rows[one]._replace(
                    content_hash=None, realism=None, spread=None, unfamiliarity=None
                )
                self.codes.pop(one, None)

    def drop_root(self, root_id: int) -> int:
        self.generation += 1
        gone = [one for one, its in self.rows.items() if its.root_id == root_id]
        for one in gone:
            del self.rows[one]
            self.codes.pop(one, None)
        del self.roots[root_id]
        return len(gone)


def drawn_change(rng: np.random.Generator, number: int, root_id: int, old: Row | None) -> Change:
    is_picture = rng.random() < 0.8
    facts = {
        "id": old.id if old else None,
        "root_id": old.root_id if old else root_id,
        "path": old.path if old else b"%d/%05d.jpg" % (rng.integers(3), number),
        "size_bytes": int(rng.integers(1, 9)),
        "ctime_ns": int(rng.integers(99)),
        "content_hash": HASHES[rng.integers(len(HASHES))],
    }
    if not is_picture:
        return Change(row(number, **facts, status="skipped", reason="x", realism=None, spread=None))
    looks = {
        "realism": float(rng.normal()),
        "spread": float(rng.uniform(0.1, 1)),
        "unfamiliarity": float(rng.uniform()),
    }
    return Change(row(number, **facts, **looks), rng.standard_normal(DIM).astype(np.float32))


def written(writer: SearchedWriter, expected: Expected, rng: np.random.Generator, step: int, folder: Path) -> None:
    """One drawn write, to both."""
    kind = rng.integers(10)
    some = [one for one in expected.rows if rng.random() < 0.1]
    if kind == 0 and len(expected.roots) > 1:
        root = int(rng.choice(list(expected.roots)))
        assert writer.rows.drop_root(root) == expected.drop_root(root)
    elif kind == 1 or not expected.roots:
        path = str(folder / f"photos-{step}")
        root = writer.rows.add_root(path)
        assert root not in expected.roots and writer.rows.add_root(path) == root  # known by now
        expected.roots[root] = path
    elif kind < 5 and some:
        status = STATES[rng.integers(4)]
        forget = status != "found" and rng.random() < 0.5
        ids = [one for one in some if one in expected.codes] if status == "found" else some
        writer.rows.mark(ids, status, forget)  # type: ignore[arg-type]
        if ids:
            expected.mark(ids, status, forget)
    else:
        root = int(rng.choice(list(expected.roots)))
        changes = [drawn_change(rng, 100 * step + number, root, None) for number in range(rng.integers(1, 12))]
        changes += [drawn_change(rng, 0, root, expected.rows[one]) for one in some]
        writer.rows.apply(changes)
        expected.apply(changes)


def check_rows(rows: Catalog, expected: Expected) -> None:
    facts = rows.meta()
    assert (facts.found, facts.generation, facts.next_id) == (
        len(expected.found()),
        expected.generation,
        expected.next_id,
    )
    assert rows.roots() == expected.roots
    assert rows.counts() == Counter(one.status for one in expected.rows.values())
    for root in expected.roots:
        mine = {one.path: one for one in expected.rows.values() if one.root_id == root}
        assert rows.listing(root) == mine and all(rows.at_path(root, path) == one for path, one in mine.items())
        assert rows.at_path(root, b"nowhere.jpg") is None
    skipped = [one for one in expected.rows.values() if one.status == "skipped"]
    assert rows.skipped() == sorted(skipped, key=lambda one: (one.root_id, one.path))
    every = range(expected.next_id + 3)
    pictures = rows.found(every)
    assert sorted(pictures) == expected.found()
    for number, picture in pictures.items():
        its = expected.rows[number]
        assert picture.path == f"{expected.roots[its.root_id]}/{its.path.decode()}"
        assert picture[2:] == tuple(getattr(its, name) for name in picture._fields[2:])


def check_codes(rows: Catalog, expected: Expected, rng: np.random.Generator) -> None:
    found = expected.found()
    held = rows.codes(range(expected.next_id + 3))
    assert sorted(held) == sorted(expected.codes)
    assert all(np.array_equal(code, expected.codes[one]) for one, code in held.items())
    pages = list(rows.code_pages())
    assert [one for ids, _ in pages for one in ids.tolist()] == found
    for ids, codes in pages:
        assert np.array_equal(codes, np.stack([expected.codes[one] for one in ids.tolist()]))
    since = int(rng.integers(expected.generation + 1))
    touched, ids, codes = rows.changed_since(since)
    later = [one for one in sorted(expected.rows) if expected.rows[one].generation > since]
    assert touched.tolist() == later and ids.tolist() == [one for one in later if one in found]
    assert [code.tobytes() for code in codes] == [expected.codes[one].tobytes() for one in ids.tolist()]
    after, count = int(rng.integers(expected.next_id)), int(rng.integers(1, 40))
    page, codes = rows.found_page(after, count)
    assert [one.id for one in page] == [one for one in found if one > after][:count]
    assert [code.tobytes() for code in codes] == [expected.codes[one.id].tobytes() for one in page]


def check_contents(rows: Catalog, expected: Expected) -> None:
    coded = {one: its for one, its in expected.rows.items() if one in expected.codes}
    sizes = [2, 3, 5, 7, 100]
    by_size = {
        size: frozenset(its.content_hash for its in coded.values() if its.size_bytes == size)
        for size in {its.size_bytes for its in coded.values()} & set(sizes)
    }
    assert rows.hashes_by_size(iter(sizes)) == by_size and rows.hashes_by_size([]) == {}
    answer = rows.coded_by_hash([*HASHES, *HASHES, b"of nothing"])
    firsts = {its.content_hash: one for one, its in sorted(coded.items(), reverse=True)}
    assert {content: one.id for content, (one, _) in answer.items()} == firsts
    for one, code in answer.values():
        assert one == expected.rows[one.id or 0] and np.array_equal(code, expected.codes[one.id or 0])


def check_draws(rows: Catalog, expected: Expected) -> None:
    """Of what can be found: all where so many are wanted, else about as many, always the same, none twice."""
    found = expected.found()
    codes = Counter(expected.codes[one].tobytes() for one in found)
    looks = {(np.float32(its.realism), np.float32(its.spread)) for its in map(expected.rows.__getitem__, found)}
    assert Counter(code.tobytes() for code in rows.some_codes(len(found) + 1)) == codes
    every = rows.some_looks(len(found) + 1)
    assert every.shape == (len(found), 2) and {tuple(one) for one in every} == looks
    if len(found) >= 40:
        drawn, seen = rows.some_codes(20), rows.some_looks(20)
        assert not Counter(code.tobytes() for code in drawn) - codes and 10 <= len(drawn) <= 20
        assert {tuple(one) for one in seen} <= looks and 10 <= len(seen) <= 60
        assert np.array_equal(drawn, rows.some_codes(20)) and np.array_equal(seen, rows.some_looks(20))


def check_search(store: Searched, expected: Expected, rng: np.random.Generator) -> None:
    found = expected.found()
    xb = np.stack([expected.codes[one] for one in found]) if found else np.empty((0, DIM), np.float32)
    query = rng.standard_normal(DIM).astype(np.float32)
    for metric in ("euclidean", "cosine"):
        (hits,) = store.search(query[None], 5, metric)
        assert [one.id for one in hits] == [found[place - 1] for place in brute_force(xb, query, 5, metric, set())]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_written_every_question_is_answered_as_by_a_dictionary(
    places: Places, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.local.catalog.PAGE", 7)
    monkeypatch.setattr("index.local.catalog.VARIABLES", 5)
    rng, expected, place = np.random.default_rng(seed), Expected(), places()
    stamps, most = dict[int, bytes](), 0
    with writing(place, Meta("m", "digest", DIM, False)) as writer, opened(place) as reader:
        for step in range(45):
            written(writer, expected, rng, step, tmp_path)
            for store in (writer, reader):
                check_rows(store.rows, expected)
                check_codes(store.rows, expected, rng)
                check_contents(store.rows, expected)
            check_draws(reader.rows, expected)
            if step % 5 == 4:
                check_search(reader, expected, rng)
                assert reader.faults() == []
            stamps[expected.generation] = reader.rows.meta().stamp
            assert reader.rows.stamp_of(expected.generation) == stamps[expected.generation]
            most = max(most, len(expected.found()))
    assert most >= 40 and len(set(stamps.values())) == len(stamps) > 30


def test_the_stamp_is_of_the_history_and_of_the_codes(places: Places, tmp_path: Path) -> None:
    """Or a cache of another index with as many changes would be believed."""
    codes = random_codes(30, 0, True)
    other = codes.copy()
    other[3, 0] += 1e-3
    stamps = []
    for number, its in enumerate((codes, codes, other, codes[:29])):
        fill(places(str(number)), tmp_path / "photos", its)
        with opened(places(str(number))) as store:
            stamps.append(store.rows.meta().stamp)
            assert store.rows.stamp_of(99) is None
    assert stamps[0] == stamps[1] and len(set(stamps)) == 3
    with writing(places("0")) as store:
        store.rows.mark([1], "vanished")
    with writing(places("1")) as store:
        store.rows.mark([2], "vanished")
    with opened(places("0")) as one, opened(places("1")) as two:
        assert one.rows.meta().stamp != two.rows.meta().stamp


def test_a_direction_of_another_length_is_damage(places: Places, tmp_path: Path) -> None:
    fill(places("i"), tmp_path / "photos", random_codes(3, 0, True))
    right = Direction("smile", np.arange(DIM, dtype=np.float32), 3, 4, 0.5)
    with writing(places("i")) as store:
        store.notes.keep_direction(right)
        kept = store.notes.directions()["smile"]
        assert np.array_equal(kept.vector, right.vector) and (kept.with_count, kept.without_count) == (3, 4)
        store.notes.keep_direction(Direction("hat", np.zeros(DIM - 1, np.float32), 3, 4, None))
        with pytest.raises(IndexDamaged, match=f"hat has not {DIM} dimensions"):
            store.notes.directions()
        store.notes.forget_direction("hat")
        assert list(store.notes.directions()) == ["smile"]


@pytest.mark.parametrize("few", [0, 2000])
def test_filters_that_let_hardly_any_pass(
    places: Places, tmp_path: Path, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first alone, the last alone, both, and none, whichever of them FAISS proposes."""
    monkeypatch.setattr("index.local.ranking.FEW", few)
    codes = random_codes(40, 3, True)
    fill(places("i"), tmp_path / "photos", codes)
    with opened(places("i")) as store:
        for ids in ((1,), (2,), (40,), (1, 40), (2, 3), ()):
            where = AnyOf(tuple(Compare("mtime_ns", "=", one - 1) for one in ids))
            for query, hits in zip(codes[:5], store.search(codes[:5], 5, "euclidean", where=where), strict=True):
                assert [one.id for one in hits] == brute_force(codes, query, 5, "euclidean", {*range(1, 41)} - {*ids})


def test_lists_are_as_many_as_four_roots_of_the_codes() -> None:
    """To the nearest power of two, as FAISS's guidelines have it at least; not so many that none is filled."""
    for count in (10 ** np.random.default_rng(0).uniform(5, 9, 60)).astype(int).tolist():
        lists = choose(count, 128, Budget(memory_bytes=10**15, latency_s=1e-9)).lists
        assert lists & (lists - 1) == 0 and 16 <= lists <= LISTS_MOST == 8192
        assert lists == LISTS_MOST or abs(np.log2(lists / (4 * count**0.5))) <= 0.5
