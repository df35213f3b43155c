"""Filters as data: what a search may find, against brute force, to the last id."""

from __future__ import annotations

import operator
import os
import re
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.errors import IndexDamaged
from index.local.columns import Columns, places_in
from index.local.snapshot import Snapshot
from index.local.store import Searched, Store
from index.local.structures import QUANTIZED, Structure
from index.records import Change, Facts, Meta, Row
from index.where import AllOf, AnyOf, Compare, InFolder, Known, Listed, Matches, Near, Not, Unusual, Where
from retrieval import Question, Retriever, Term, ask
from tests.codes import DIM, brute_force, random_codes, row
from tests.conftest import write_shapes
from tests.servers import Places, opened, writing

FOLDERS = ("", "a/", "a/b/", "a.b/", "ab/", "a/[b]/")
FILE_FACTS = ("size_bytes", "mtime_ns", "width_px", "height_px", "pixels", "realism", "spread")
NUMBERS = ("frames", "bits", "iso", "rating", "orientation", "focal_mm", "exposure_s", "latitude", "longitude")
FLAGS = ("has_alpha", "is_raw", "is_screenshot", "is_motion", "has_gain_map")
WORDS = ("canon", "Canon EOS", "eos", "nikon", "50% off", "a_b", "ab", "back\\slash")
SIGNS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
TEXTS = ("format", "mode", "camera", "lens", "title", "burst")
PATTERNS = ("*", "?*", "canon*", "*EOS", "c?non", "*%*", "a_b", "a?b", "nothing", "*a*", "*\\*", "")
LARGE = 2**60 + 1  # no float64
PLACES = ((48.2, 16.37), (48.21, 16.36), (-33.9, 151.2), (0.5, 179.99), (0.5, -179.99), (89.9, 10.0))


def drawn_rows(count: int, rng: np.random.Generator) -> list[Row]:
    """Rows of drawn facts, in folders of two roots. Every third content is that of the row before."""
    return [
        row(
            number,
            root_id=1 + number % 2,
            path=os.fsencode(f"{FOLDERS[rng.integers(len(FOLDERS))]}{number:05d}.jpg"),
            size_bytes=int(rng.integers(1, 50)),
            mtime_ns=int(rng.integers(0, 50)) * 1000,
            width_px=int(rng.integers(1, 50)),
            height_px=int(rng.integers(1, 50)),
            realism=float(rng.normal()),
            spread=float(rng.uniform()),
            unfamiliarity=None if number % 5 == 0 else float(rng.uniform()),
            content_hash=b"%016d" % (number - (number % 3 == 2)),
        )
        for number in range(count)
    ]


def drawn_facts(rng: np.random.Generator) -> Facts | None:
    """Facts of a content; one in ten has none at all, and of the others many are not known."""
    if rng.random() < 0.1:
        return None

    def some(value: Any) -> Any:
        return value if rng.random() < 0.7 else None

    def word() -> str:
        return str(rng.choice(WORDS))

    latitude, longitude = PLACES[rng.integers(len(PLACES))] if rng.random() < 0.7 else (None, None)
    return Facts(
        format=word(),
        frames=int(rng.integers(1, 4)),
        bits=int(rng.choice([1, 8, 16])),
        mode=word(),
        has_alpha=bool(rng.integers(2)),
        taken_us=some(int(rng.integers(0, 50))),
        taken_offset_s=some(3600),
        camera=some(word()),
        lens=some(word()),
        focal_mm=some(float(rng.integers(1, 50))),
        exposure_s=some(1 / int(rng.integers(1, 500))),
        iso=some(int(rng.integers(1, 50))),
        latitude=latitude,
        longitude=longitude,
        orientation=some(int(rng.integers(1, 9))),
        rating=some(int(rng.integers(0, 6))),
        title=some(word()),
        keywords=some("\n".join(word() for _ in range(rng.integers(1, 4)))),
        burst=some(word()),
        is_raw=bool(rng.integers(2)),
        is_screenshot=bool(rng.integers(2)),
        is_motion=bool(rng.integers(2)),
        has_gain_map=bool(rng.integers(2)),
    )


def drawn_leaf(rng: np.random.Generator, roots: dict[int, str]) -> Where:
    def one_of(*words: str) -> Any:
        return str(rng.choice(words))

    places = ("a", "a/*", "*b*", "0000?.jpg", "*1*", "a/[b]", "*/[b]*", "*.jpg", roots[1], "/*", "?b")
    folder = os.path.join(roots[1 + int(rng.integers(2))], one_of(*FOLDERS))
    leaves: list[Callable[[], Where]] = [
        lambda: Compare(one_of(*FILE_FACTS), one_of(*SIGNS), int(rng.integers(1, 50))),
        lambda: Compare(one_of("realism", "spread"), one_of(*SIGNS), float(rng.normal())),
        lambda: Compare("unfamiliarity", one_of(*SIGNS), float(rng.uniform())),
        lambda: Compare(one_of(*NUMBERS, "taken_us"), one_of(*SIGNS), int(rng.integers(0, 50))),
        lambda: Compare(one_of(*FLAGS), "=", int(rng.integers(2))),
        lambda: Matches(one_of(*TEXTS), one_of(*PATTERNS)),
        lambda: Matches("keyword", one_of("", "*") + one_of("canon", "eos", "a_b", "%", "ff") + one_of("", "*")),
        lambda: Matches(one_of("path", "name", "folder", "root"), one_of(*places)),
        lambda: Known(one_of(*NUMBERS, *TEXTS, "keyword", "taken_us")),
        lambda: Near(*PLACES[rng.integers(len(PLACES))], float(rng.choice([0.5, 5, 500, 20000]))),
        lambda: InFolder(folder if rng.random() < 0.8 else os.path.dirname(roots[1])),
    ]
    return leaves[rng.integers(len(leaves))]()


def drawn_filter(rng: np.random.Generator, roots: dict[int, str], deep: int = 2) -> Where:
    kind = rng.integers(5 if deep else 2)
    if kind < 2:
        return drawn_leaf(rng, roots)
    if kind == 2:
        return Not(drawn_filter(rng, roots, deep - 1))
    terms = tuple(drawn_filter(rng, roots, deep - 1) for _ in range(rng.integers(4)))
    return AllOf(terms) if kind == 3 else AnyOf(terms)


def globbed(text: str, pattern: str) -> bool:
    parts = (".*" if one == "*" else "." if one == "?" else re.escape(one) for one in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def apart_km(here: tuple[float, float], there: tuple[float, float]) -> float:
    """By the angle of two vectors: another way than that of the program."""
    (one, other) = (
        np.array([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
        for north, east in (np.radians(here), np.radians(there))
    )
    return float(6371.0088 * np.arctan2(np.linalg.norm(np.cross(one, other)), one @ other))


def value_of(fact: str, one: Row, its: Facts | None) -> Any:
    if fact == "pixels":
        return (one.width_px or 0) * (one.height_px or 0)
    if fact == "taken_us":
        return one.mtime_ns / 1000 if its is None or its.taken_us is None else its.taken_us
    return getattr(one, fact) if fact in Row._fields else getattr(its, fact, None)


def text_matches(fact: str, pattern: str, one: Row, its: Facts | None, roots: dict[int, str]) -> bool:
    path = os.fsdecode(one.path)
    folder, _, name = path.rpartition("/")
    if fact == "folder":
        parts = folder.split("/")
        return any(globbed("/".join(parts[: n + 1]), pattern) for n in range(len(parts))) and folder != ""
    plain = {"path": path, "name": name, "root": roots[one.root_id]}
    if fact in plain:
        return globbed(plain[fact], pattern)
    text = getattr(its, "keywords" if fact == "keyword" else fact, None)
    words = [] if text is None else text.split("\n") if fact == "keyword" else [text]
    return any(globbed(word.lower(), pattern.lower()) for word in words)


def passes(where: Where, one: Row, its: Facts | None, roots: dict[int, str]) -> bool:
    match where:
        case Not(term):
            return not passes(term, one, its, roots)
        case AllOf(terms):
            return all(passes(term, one, its, roots) for term in terms)
        case AnyOf(terms):
            return any(passes(term, one, its, roots) for term in terms)
    return leaf_passes(where, one, its, roots)


def leaf_passes(where: Where, one: Row, its: Facts | None, roots: dict[int, str]) -> bool:
    match where:
        case Compare(fact, sign, value):
            mine = value_of(fact, one, its)
            return mine is not None and bool(SIGNS[sign](mine, value))
        case Matches(fact, pattern):
            return text_matches(fact, pattern, one, its, roots)
        case Known(fact):
            return getattr(its, "keywords" if fact == "keyword" else fact, None) is not None
        case Near(latitude, longitude, km):
            known = its is not None and its.latitude is not None
            return known and apart_km((its.latitude, its.longitude), (latitude, longitude)) <= km  # type: ignore
        case InFolder(folder):
            place = os.path.join(roots[one.root_id], os.fsdecode(one.path))
            return place.startswith(os.path.join(os.path.normpath(folder), ""))
    raise AssertionError(where)


def made_with_facts(places: Places, rows: list[Row], codes: np.ndarray, rng: np.random.Generator) -> tuple[Any, Any]:
    """Make an index. Returns its roots, and the facts by content."""
    facts = {one.content_hash: drawn_facts(rng) for one in rows}
    roots = made(places, rows, codes)
    with writing(places()) as store:
        store.rows.keep_facts({content: its for content, its in facts.items() if its is not None})
    return roots, facts


def made(places: Places, rows: list[Row], codes: np.ndarray) -> dict[int, str]:
    with writing(places(), Meta("m", "digest", DIM, True)) as store:
        for name in ("photos", "other photos"):
            store.rows.add_root(str(places.folder / name))
        store.rows.apply([Change(one, code) for one, code in zip(rows, codes, strict=True)])
        store.refresh_caches()
        return store.rows.roots()


@pytest.mark.parametrize(
    ("few", "rare", "read_s"), [(0, 0.0, 0), (0, 0.0, np.inf), (0, 1.1, np.inf), (2000, 0.0, np.inf), (2000, 0.0, 0)]
)
def test_what_a_filter_lets_pass_is_found_as_brute_force_finds_it(
    places: Places, few: int, rare: float, read_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few are ranked all, many are proposed by FAISS, and then listed before or not; SQL or arrays filter: all to the
    last id, with ties and ids that are left out."""
    monkeypatch.setattr("index.local.columns.READ_S", read_s)
    monkeypatch.setattr("index.local.ranking.FEW", few)
    monkeypatch.setattr("index.local.ranking.RARE", rare)
    monkeypatch.setattr("index.local.ranking.MANY", 200)
    monkeypatch.setattr("index.local.ranking.AS_MANY", 0.0)
    rng, codes = np.random.default_rng(few + int(rare)), random_codes(500, 1, True)
    rows = drawn_rows(500, rng)
    roots, facts = made_with_facts(places, rows, codes, rng)
    shares = []
    with opened(places()) as store:
        for number in range(100):
            where, k = drawn_filter(rng, roots), int(rng.integers(1, 40))
            xq = codes[[0, number]] if number % 2 else random_codes(2, number + 9, True)
            left_out = set(rng.integers(1, 501, 3).tolist())
            allowed = {
                place + 1 for place, one in enumerate(rows) if passes(where, one, facts[one.content_hash], roots)
            }
            shares.append(len(allowed) / 500)
            assert store.rows.count(where) == len(allowed), where
            hits = store.search(xq, k, "euclidean", [left_out, set()], where)
            for query, found, out in zip(xq, hits, (left_out, set()), strict=True):
                wanted = brute_force(codes, query, k, "euclidean", out | (set(range(1, 501)) - allowed))
                assert [one.id for one in found] == wanted, where
    assert min(shares) == 0 and max(shares) == 1 and len([one for one in shares if 0.05 < one < 0.95]) > 25


def drawn_for_arrays(rng: np.random.Generator, roots: dict[int, str]) -> Where:
    """As ``drawn_filter``, and what only the arrays tell apart: parts of numbers, and those beyond 2^53."""
    kinds: list[Callable[[], Where]] = [
        lambda: drawn_filter(rng, roots),
        lambda: Compare("mtime_ns", drawn_sign(rng), LARGE + int(rng.integers(-3, 4))),
        lambda: Compare("taken_us", drawn_sign(rng), float(rng.integers(0, 100)) / 2),
        lambda: Compare("taken_us", drawn_sign(rng), LARGE // 1000 + float(rng.integers(-4, 5)) / 4),
        lambda: Compare("size_bytes", drawn_sign(rng), float(rng.choice([7.5, -0.5, 1e300, 2.0**63, LARGE + 1]))),
        lambda: Compare("realism", drawn_sign(rng), LARGE + 1),
        lambda: Unusual((0.0, -1.0), (1.0, 0.1, 2.0), float(rng.uniform(0, 3)), 1e-9),
        lambda: Listed(frozenset(rng.integers(-5, 600, int(rng.integers(60))).tolist())),
    ]
    one, other = (kinds[rng.integers(len(kinds))]() for _ in range(2))
    return [one, AllOf((one, Not(other))), AnyOf((Not(one), other))][rng.integers(3)]


def drawn_sign(rng: np.random.Generator) -> Any:
    return str(rng.choice(list(SIGNS)))


def test_arrays_say_of_drawn_filters_what_sql_says(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of pictures that cannot be found, and of contents that no picture has any more."""
    monkeypatch.setattr("index.local.columns.MOST_MASKS", 3)
    monkeypatch.setattr("index.local.arrays.ROWS_AT_ONCE", 100)
    rng, codes = np.random.default_rng(4), random_codes(500, 1, True)
    rows = [
        one._replace(mtime_ns=LARGE + int(rng.integers(-3, 4))) if number % 2 else one
        for number, one in enumerate(drawn_rows(500, rng))
    ]
    roots, _ = made_with_facts(places, rows, codes, rng)
    with writing(places()) as store:
        store.rows.mark([5, 6, 77], "vanished")
        store.rows.mark(list(range(200, 230)), "removed", forget_codes=True)
    columns, shares = Columns(), []
    with opened(places()) as store, store.rows.transaction():
        for _ in range(400):
            where = drawn_for_arrays(rng, roots)
            ids, passes = columns.passing(store.rows, where)
            assert ids[passes].tolist() == store.rows.found_ids(where).tolist(), where
            some = np.unique(rng.integers(-3, 600, 40))
            at, _ = places_in(ids, some)
            assert ids[at].tolist() == sorted(set(ids.tolist()) & set(some.tolist()))
            shares.append(passes.mean())
    assert len(ids) == 467 and len([one for one in shares if 0.05 < one < 0.95]) > 100


def test_arrays_follow_what_a_writer_changes(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also facts that are written without a new generation, in place of the last ones or of others."""
    monkeypatch.setattr("index.local.columns.READ_S", 0)
    codes = random_codes(60, 1, True)
    rows = drawn_rows(60, np.random.default_rng(0))
    made(places, rows, codes)
    rated: dict[bytes, int] = {}
    with opened(places()) as reader:
        for step in range(40):
            rng = np.random.default_rng(step)
            with writing(places()) as store:
                if step % 4 == 3:
                    store.rows.mark([step], "vanished", forget_codes=True)
                contents = [rows[place].content_hash or b"" for place in rng.integers(40, 60, 1 + step % 3)]
                for content in contents[:1] if step % 2 else contents:
                    rated[content] = int(rng.integers(6))
                    store.rows.keep_facts({content: Facts("JPEG", rating=rated[content])})
            wanted = {
                place + 1
                for place, one in enumerate(rows)
                if rated.get(one.content_hash or b"", 0) > 2 and not (place + 1 <= step and (place + 1) % 4 == 3)
            }
            (hits,) = reader.search(codes[:1], 60, "cosine", where=Compare("rating", ">", 2))
            assert {one.id for one in hits} == wanted


def test_what_is_read_of_a_state_is_held_once_for_all_threads(places: Places) -> None:
    made(places, drawn_rows(30, np.random.default_rng(0)), random_codes(30, 1, True))
    with opened(places()) as reader, ThreadPoolExecutor(8) as threads:
        start, made_ = threading.Barrier(8), list[int]()

        def read(_: object) -> object:
            made_.append(1)
            return object()

        def ask(_: int) -> object:
            start.wait()
            with reader.rows.transaction():  # a connection of its own
                return reader.rows.shared("thing", read)

        first = set(threads.map(ask, range(8)))
        assert len(first) == len(made_) == 1
        with writing(places()) as store:
            store.rows.mark([3], "vanished")
        second = set(threads.map(ask, range(8)))
        assert len(second) == 1 and len(made_) == 2 and first != second


@pytest.mark.parametrize(
    "where", [Compare("rating", ">", -1), Compare("focal_mm", ">", 0), Compare("width_px", ">", 0)]
)
@pytest.mark.parametrize("read_s", [0, np.inf])
def test_a_damaged_fact_is_no_reason_to_be_a_hit(
    tmp_path: Path, where: Compare, read_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a hit, a picture in a list and one on a page, the facts that a filter asked are checked."""
    monkeypatch.setattr("index.local.columns.READ_S", read_s)
    rows = drawn_rows(30, np.random.default_rng(0))
    made(Places(tmp_path, None), rows, random_codes(30, 1, True))
    with Store.writing(tmp_path / "i") as store:
        its = Facts("JPEG", rating=3, focal_mm=5.0)
        store.rows.keep_facts({one.content_hash: its for one in rows if one.content_hash})
    table = "pictures" if where.fact == "width_px" else "facts"
    for damage in ("7", "'text'"):
        with closing(sqlite3.connect(tmp_path / "i" / "catalog.db")) as connection, connection:
            connection.execute(f"UPDATE {table} SET {where.fact} = {damage} WHERE rowid = 11")
        with Store.open(tmp_path / "i") as store:
            for ask in (
                lambda: store.search(random_codes(1, 2, True), 30, "cosine", where=where),
                lambda: store.rows.listed(where, "path", False, None, 0),
                lambda: store.rows.found_page(0, 100, where),
            ):
                with pytest.raises(IndexDamaged, match="damaged"):
                    ask()


@pytest.mark.parametrize("fact", ["path", "size_bytes", "taken_us", "pixels", "realism", "rating", "camera"])
def test_pictures_in_order(places: Places, fact: str) -> None:
    rng, codes = np.random.default_rng(len(fact)), random_codes(200, 1, True)
    rows = drawn_rows(200, rng)
    roots, facts = made_with_facts(places, rows, codes, rng)
    with opened(places()) as store:
        if fact == "camera":
            with pytest.raises(ValueError, match="an order by path, size_bytes"):
                store.rows.listed(None, fact, False, None, 0)  # type: ignore[arg-type]
            return
        for descending, count, offset in ((False, None, 0), (True, None, 0), (True, 7, 5), (False, 300, 190)):
            where = Compare("width_px", ">", 20)

            def key(place: int) -> Any:
                one = rows[place]
                if fact == "path":
                    return roots[one.root_id], one.path
                return value_of(fact, one, facts[one.content_hash])

            places = [place for place, one in enumerate(rows) if (one.width_px or 0) > 20]
            known = sorted([place for place in places if key(place) is not None], key=key, reverse=descending)
            wanted = [*known, *(place for place in places if key(place) is None)]
            found = store.rows.listed(where, fact, descending, count, offset)  # type: ignore[arg-type]
            cut = wanted[offset:][:count]
            assert [one.path for one in found] == [
                os.path.join(roots[rows[place].root_id], os.fsdecode(rows[place].path)) for place in cut
            ]


def test_an_open_index_lists_what_was_written_since(places: Places) -> None:
    """Orders and counts are kept until something is written: rows, or facts alone, of which no generation tells."""
    rng, codes = np.random.default_rng(7), random_codes(60, 7, True)
    rows = drawn_rows(60, rng)
    made(places, rows[:30], codes[:30])

    def told(store: Searched, order: Any) -> Any:
        listed = [one.id for one in store.rows.listed(None, order, True, None, 0)]
        return listed, store.rows.count_without_facts(), store.rows.counts()

    with opened(places()) as reader:
        seen = []
        for step in range(12):
            order = ("taken_us", "rating", "size_bytes")[step % 3]
            with writing(places()) as writer:
                if step % 2:
                    these = {rows[place].content_hash for place in rng.integers(0, 30, 8)}
                    facts = {one: drawn_facts(rng) for one in these}
                    writer.rows.keep_facts({one: its for one, its in facts.items() if its is not None})
                else:
                    number = 30 + step
                    writer.rows.apply([Change(rows[number], codes[number])])
            with opened(places()) as fresh:
                assert told(reader, order) == told(reader, order) == told(fresh, order)
                assert fresh.rows.count_without_facts() == len(fresh.rows.without_facts())
            seen.append(reader.rows.count_without_facts())
        assert len(set(seen)) > 3


@pytest.mark.parametrize("structure", [QUANTIZED, Structure(True, 16, 12)])
def test_filters_on_quantized_codes(places: Places, structure: Structure, monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow filter is ranked exactly whatever the structure; a wide one finds what the structure finds."""
    monkeypatch.setattr("index.local.store.choose", lambda *facts: structure)
    rng, codes = np.random.default_rng(0), random_codes(3000, 1, True)
    rows = drawn_rows(3000, rng)
    roots = made(places, rows, codes)
    with opened(places()) as store:
        for where, least in ((Compare("width_px", "<", 2), 1.0), (Compare("width_px", ">", 5), 0.7)):
            allowed = {place + 1 for place, one in enumerate(rows) if passes(where, one, None, roots)}
            recalls = []
            for query in random_codes(20, 2, True):
                (hits,) = store.search(query[None], 10, "cosine", where=where)
                right = brute_force(codes, query, 10, "cosine", set(range(1, 3001)) - allowed)
                recalls.append(len({one.id for one in hits} & set(right)) / 10)
                assert {one.id for one in hits} <= allowed and len(hits) == 10
            assert np.mean(recalls) >= least


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("structure", [QUANTIZED, Structure(True, 16, 2)])
def test_of_some_quantized_codes_the_nearest_are_ranked_exactly(
    tmp_path: Path, structure: Structure, metric: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many to be ranked one by one, and so few that FAISS would have to propose more: with their ties and without
    those left out; after an update, too, when codes stand in another order."""
    monkeypatch.setattr("index.local.store.choose", lambda *facts: structure)
    monkeypatch.setattr("index.local.ranking.FEW", 20)
    monkeypatch.setattr("index.local.caches.LADDER", (100,))
    codes = random_codes(3000, 1, metric == "cosine")
    codes[600:2400] = codes[7]  # more ties than candidates
    rows = drawn_rows(3000, np.random.default_rng(0))
    with Store.writing(tmp_path / "i", create=Meta("m", "digest", DIM, metric == "cosine")) as store:
        for name in ("photos", "other photos"):
            store.rows.add_root(str(tmp_path / name))
        store.rows.apply([Change(one, code) for one, code in zip(rows, codes, strict=True)])
        store.refresh_caches()
        known = store.rows.listing(1)
        moved = [known[one.path] for one in rows[2:900:4]]
        store.rows.apply([Change(one, codes[(one.id or 0) - 1]) for one in moved])
        store.refresh_caches()
    asked: list[int] = []
    search_among = Snapshot.search_among

    def noted(snapshot: Snapshot, xq: np.ndarray, k: int, ids: np.ndarray) -> np.ndarray:
        asked.append(len(ids))
        return search_among(snapshot, xq, k, ids)

    monkeypatch.setattr(Snapshot, "search_among", noted)
    with Store.open(tmp_path / "i") as store:
        where = Compare("width_px", "<", 8)
        allowed = {place + 1 for place, one in enumerate(rows) if (one.width_px or 0) < 8}
        candidates, found = store.cache(metric).proposals_for(10), list[float]()
        for number, query in enumerate([codes[7], *random_codes(20, 2, metric == "cosine")]):
            (hits,) = store.search(query[None], 10, metric, [{8, 1001}], where)
            right = brute_force(codes, query, 10, metric, set(range(1, 3001)) - allowed | {8, 1001})
            assert number or [one.id for one in hits] == right
            assert {8, 1001}.isdisjoint(one.id for one in hits)
            found.append(len(set(right) & {one.id for one in hits}) / 10)
        assert len(asked) == 21 and min(asked) > candidates and np.mean(found) > 0.8


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
