"""Milvus as the place of the search structure: its candidates beside brute force, catching up, faults, secrets."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run, write_shapes

from index.errors import AddressUnknown, IndexUnreachable, NotTrusted
from index.local.store import Searched, Store
from index.milvus.address import Vectors, uri_of
from index.milvus.collection import Collection
from index.milvus.source import MilvusSource
from index.milvus.state import State
from index.owners import forget
from index.records import Budget, Change, Layout, Meta
from index.where import Compare
from tests.milvuses import Milvus
from tests.servers import Places, fill, opened, writing
from tests.test_index import DIM, brute_force, make_store, random_codes, row
from tests.test_where import drawn_rows

SECRET = "root:s3cr3t-of-the-tests"
NOBODY = "milvus://127.0.0.1:1"


def ids_of(store: Searched, xq: np.ndarray, k: int = 10, metric: Any = "cosine", **more: Any) -> list[list[int]]:
    return [[hit.id for hit in hits] for hits in store.search(xq, k, metric, **more)]


def fresh(count: int, seed: int) -> np.ndarray:
    """Codes (n, d) of which no two are equal."""
    return random_codes(4 * count, seed, True)[1 : count + 1]


def right(codes: np.ndarray, xq: np.ndarray, k: int = 10, metric: str = "cosine") -> list[list[int]]:
    return [brute_force(codes, query, k, metric, set()) for query in xq]


def source_of(store: Searched) -> MilvusSource:
    source = store._source()
    assert isinstance(source, MilvusSource)
    return source


def collection_of(store: Searched, kind: Any = "cosine") -> Collection:
    return source_of(store).collection(kind)


def state_of(store: Searched) -> State:
    state = collection_of(store).state()
    assert state is not None
    return state


def moved_to(address: str, place: Path | str, budget: Budget | None = None) -> None:
    with writing(place) as store:
        if budget is not None:
            store.keep_budget(budget)
        store.keep_vectors(address)
        store.refresh_caches()


@pytest.fixture
def made(tmp_path: Path, lite: str) -> tuple[Path, np.ndarray]:
    """An index of 300 codes that are searched in Milvus Lite."""
    codes = random_codes(300, 1, True)
    make_store(tmp_path / "i", codes, True)
    moved_to(lite, tmp_path / "i")
    return tmp_path / "i", codes


@pytest.mark.parametrize("standardized", [True, False])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_answers_are_those_of_brute_force(
    places: Places, lite: str, tmp_path: Path, metric: Any, standardized: bool
) -> None:
    """In a folder and on a server, to the last id, with ties and ids that are left out; readers are not told."""
    codes, xq = random_codes(700, 1, standardized), random_codes(6, 2, standardized)
    fill(places(), tmp_path / "photos", codes, standardized)
    with opened(places()) as before:
        moved_to(lite, places())
        with opened(places()) as store:
            for k in (1, 10, 400, 700, 900):
                assert ids_of(store, xq, k, metric) == right(codes, xq, k, metric)
            assert ids_of(store, codes[:1], 9, metric) == right(codes, codes[:1], 9, metric)  # fifty copies of it
            out = set(range(1, 400))
            wanted = [brute_force(codes, query, 10, metric, out) for query in xq]
            assert ids_of(store, xq, 10, metric, left_out=[out] * len(xq)) == wanted
            assert "Milvus" in store.layout().name and store.layout().recall == 1 and store.faults() == []
        with writing(places()) as store:
            store.rows.apply([Change(row(700), code) for code in xq[:1]])
        assert ids_of(before, xq[:1], 3, metric)[0][0] == 701  # who had it open with FAISS
        assert isinstance(before._source(), MilvusSource)


@pytest.mark.parametrize("memory", [None, 3000 * 4 * DIM // 2], ids=["FLAT", "IVF_SQ8"])
def test_filters_promise_what_they_do_for_quantized_codes(
    lite: str, tmp_path: Path, memory: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few are ranked all, by the catalog's codes; more are given to Milvus as ids; of many, more are asked for."""
    monkeypatch.setattr("index.local.ranking.FEW", 40)
    monkeypatch.setattr("index.milvus.source.QUESTIONS", 50)
    codes, rows = random_codes(3000, 1, True), drawn_rows(3000, np.random.default_rng(0))
    with Store.writing(tmp_path / "i", create=Meta("m", "digest", DIM, True)) as store:
        for name in ("photos", "other photos"):
            store.rows.add_root(str(tmp_path / name))
        store.rows.apply([Change(one, code) for one, code in zip(rows, codes, strict=True)])
    moved_to(lite, tmp_path / "i", Budget(memory_bytes=memory))
    asked, search = list[int](), Collection.search

    def noted(self: Collection, xq: Any, k: int, state: State, among: Any = None) -> Any:
        asked.append(0 if among is None else len(among))
        return search(self, xq, k, state, among)

    monkeypatch.setattr(Collection, "search", noted)
    recalls = list[float]()
    with Store.open(tmp_path / "i") as store:
        for width, exact in ((0, True), (2, True), (10, memory is None), (40, memory is None)):
            where = Compare("width_px", "<", width)
            allowed = {place + 1 for place, one in enumerate(rows) if (one.width_px or 0) < width}
            for number in range(8):
                query = random_codes(1, 50 + number, True)
                found = ids_of(store, query, where=where)[0]
                wanted = brute_force(codes, query[0], 10, "cosine", set(range(1, 3001)) - allowed)
                assert len(found) == len(wanted) and allowed.issuperset(found)
                assert not exact or found == wanted
                recalls += [len(set(found) & set(wanted)) / len(wanted)] if wanted else []
    assert np.mean(recalls) > 0.95 and 0 in asked and (memory or max(asked) > 40)


def test_more_candidates_than_milvus_gives_are_named_or_scanned(
    made: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a filter that would need too many, all that pass are named to Milvus; without one, the catalog is scanned."""
    place, codes = made
    monkeypatch.setattr("index.local.ranking.FEW", 20)
    monkeypatch.setattr("index.milvus.proposals.Proposals.most", 60)
    monkeypatch.setattr("index.milvus.proposals.MOST", 60)
    asked, search = list[int](), Collection.search

    def noted(self: Collection, xq: Any, k: int, state: State, among: Any = None) -> Any:
        asked.append(0 if among is None else len(among))
        return search(self, xq, k, state, among)

    monkeypatch.setattr(Collection, "search", noted)
    where, xq = Compare("mtime_ns", "<", 90), fresh(3, 4)
    with Store.open(place) as store:
        ids_of(store, xq)
        assert asked.count(0) > 0
        asked.clear()
        passing = [brute_force(codes[:90], query, 20, "cosine", set()) for query in xq]
        assert ids_of(store, xq, 20, where=where) == passing and set(asked) == {90}
        asked.clear()
        assert ids_of(store, xq, 200) == right(codes, xq, 200) and not asked


def test_the_index_is_chosen_by_what_is_measured_and_shown(
    lite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All codes are compared while that is allowed; a limit of memory or time leads to others, with their recall."""
    monkeypatch.setattr("index.milvus.source.QUESTIONS", 50)
    codes = random_codes(1200, 1, True)
    make_store(tmp_path / "i", codes, True)
    chosen = list[tuple[str, Layout]]()
    for budget in (Budget(), Budget(latency_s=1e-6), Budget(memory_bytes=1200 * 2 * DIM)):
        moved_to(lite, tmp_path / "i", budget)
        with Store.open(tmp_path / "i") as store:
            state, layout = state_of(store), store.layout()
            xq = random_codes(50, 3, True)
            found = np.mean([len({*a} & {*b}) for a, b in zip(ids_of(store, xq), right(codes, xq), strict=True)]) / 10
            assert layout.name.startswith(str(state.kind)) and layout.latency_s > 0 and store.faults() == []
            assert abs(found - layout.recall) < 0.1 and layout.recall == state.quality.recall
            chosen.append((state.kind.name, layout))
    (first, plain), (_, hasty), (last, small) = chosen
    assert first == "FLAT" and plain.recall == 1 and plain.fits and not hasty.fits
    assert last == "IVF_SQ8" and small.memory_bytes < plain.memory_bytes / 2


def test_a_reader_sees_each_change_at_its_next_question(made: tuple[Path, np.ndarray]) -> None:
    """New, changed and removed pictures, whoever brings Milvus up to date: the writer, or a reader."""
    place, codes = made
    new = fresh(12, 7)
    with Store.open(place) as store, Store.open(place) as other:
        for number, code in enumerate(new):
            with Store.writing(place) as writer:
                writer.rows.apply([Change(row(300 + number), code)])
                if number % 2:
                    writer.refresh_caches()
            for reader in (store, other):
                assert ids_of(reader, code[None], 1) == [[301 + number]]
        with Store.writing(place) as writer:
            listed = {one.id: one for one in writer.rows.listing(1).values()}
            writer.rows.apply([Change(listed[301], codes[5])])
            writer.rows.mark([302, 6], "removed", forget_codes=True)
        for reader in (store, other):
            assert ids_of(reader, new[:1], 1) != [[301]] and ids_of(reader, codes[5:6], 1) == [[301]]
            assert {302, 6}.isdisjoint(ids_of(reader, np.concatenate([new[1:2], codes[5:6]]), 20)[0])
        state = state_of(store)
        assert collection_of(store).count(state) == 310 == state.count and store.faults() == []
        ids, _ = collection_of(store).codes(0, 1000, state)
        assert {302, 6}.isdisjoint(ids.tolist())


def test_another_history_is_not_answered_from(made: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    """A catalog that was restored from a backup and went another way; and a root that was removed."""
    place, codes = made
    shutil.copy(place / "catalog.db", tmp_path / "backup")
    one, other = fresh(2, 7)
    with Store.writing(place) as writer:
        writer.rows.apply([Change(row(300), one)])
        writer.refresh_caches()
    shutil.copy(tmp_path / "backup", place / "catalog.db")
    with Store.writing(place) as writer:
        writer.rows.apply([Change(row(300), other)])
    everything = np.concatenate([codes, other[None]])
    with Store.open(place) as store:
        assert ids_of(store, one[None]) == right(everything, one[None]) and store.faults() == []
        with Store.writing(place) as writer:
            second = writer.rows.add_root("/elsewhere")
            writer.rows.apply([Change(row(1, root_id=second), one)])
            assert ids_of(store, one[None], 1) == [[302]]
            writer.rows.drop_root(1)
        assert ids_of(store, other[None]) == [[302]] and state_of(store).count == 1


KILLED = """
import os, sys
from pathlib import Path
from index.local.store import Store
from index.milvus.collection import Collection

def dies(name, before, calls=[]):
    def dying(self, *words):
        given = before(self, *words)
        calls.append(1)
        if len(calls) == int(sys.argv[3]):
            os.kill(os.getpid(), 9)
        return given
    setattr(Collection, name, dying)

dies(sys.argv[2], getattr(Collection, sys.argv[2]))
with Store.open(Path(sys.argv[1])) as store:
    store.search(store.rows.some_codes(1), 3, "cosine")
"""


@pytest.mark.parametrize(
    ("anew", "at", "call"),
    [
        *((True, at, 1) for at in ("create", "upsert", "build")),
        *((False, at, 1) for at in ("note", "delete", "upsert")),
    ],
)
def test_what_a_killed_filler_leaves_is_not_answered_from(
    lite: str, tmp_path: Path, anew: bool, at: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed after a step of filling anew, or of catching up; Milvus Lite dies with it. The next one goes on."""
    codes, new = random_codes(300, 1, True), fresh(20, 2)
    make_store(tmp_path / "i", codes, True)
    (tmp_path / "i" / "vectors.json").write_text(
        f'{{"address": "{lite}", "collection": "latent_{"0" * 32}"}}', encoding="utf-8"
    )

    def child(*words: object) -> int:
        command = [sys.executable, "-c", KILLED, str(tmp_path / "i"), *map(str, words)]
        return subprocess.run(command, check=False, timeout=120).returncode

    if not anew:
        assert child("note", 99) == 0
        with Store.writing(tmp_path / "i") as store:
            store.rows.apply([Change(row(300 + number), code) for number, code in enumerate(new)])
            store.rows.mark([7], "removed", forget_codes=True)
    assert child(at, call) == -signal.SIGKILL
    gone = set() if anew else {7}
    everything = codes if anew else np.concatenate([codes, new])
    filled = list[str]()
    create = Collection.create
    monkeypatch.setattr(Collection, "create", lambda self, state: (filled.append(self.name), create(self, state))[1])
    with Store.open(tmp_path / "i") as store:
        assert not state_of(store).whole
        for query in (new[0], codes[6], codes[100]):
            assert ids_of(store, query[None]) == [brute_force(everything, query, 10, "cosine", gone)]
        assert store.faults() == [] and state_of(store).is_of(store.rows.meta())
    assert anew or not filled  # what a killed follower left is gone on with


def test_verify_finds_what_differs_and_repair_fills_anew(made: tuple[Path, np.ndarray]) -> None:
    place, codes = made
    with Store.open(place) as store:
        collection, state = collection_of(store), state_of(store)
        collection.delete(np.array([17]))
        assert [fault.endswith("holds 299 codes, and not 300") for fault in store.faults()] == [True]
        collection.upsert(np.array([999]), codes[:1])
        assert [fault.endswith("does not hold the catalog's pictures") for fault in store.faults()] == [True]
        collection.delete(np.array([999]))
        collection.upsert(np.array([17]), codes[3:4])
        assert [fault.endswith("does not hold the catalog's codes") for fault in store.faults()] == [True]
        assert state_of(store).token == state.token
        with Store.writing(place) as writer:
            writer.repair()
        assert store.faults() == [] and ids_of(store, codes[16:17], 1) == [[17]]


def test_a_collection_that_says_nonsense_is_filled_anew(made: tuple[Path, np.ndarray]) -> None:
    place, codes = made
    with Store.open(place) as store:
        collection, state = collection_of(store), state_of(store)
        assert State.read(state.written()) == state
        for said in ("", "null", "[]", "{}", "x" * 5000, state.written().replace('"FLAT"', '"x"'), '{"kind": 1}'):
            assert State.read(said) is None
        for wrong in ('"count": -1', '"count": 1e3', '"count": true', '"count": null', f'"count": {2**70}'):
            assert State.read(state.written().replace(f'"count": {state.count}', wrong)) is None
        with collection.server.asked() as client:
            client.alter_collection_properties(collection.name, {"latent.state": "[" * 1900})
        store._milvus = None
        assert ids_of(store, codes[:3]) == right(codes, codes[:3]) and state_of(store).token != state.token


def test_the_way_back_leaves_no_codes_in_milvus(made: tuple[Path, np.ndarray]) -> None:
    place, codes = made
    assert not list(place.glob("*.faiss"))
    with Store.open(place) as store:
        ids_of(store, codes[:1])
        collection = collection_of(store)
        with Store.writing(place) as writer:
            writer.keep_vectors("faiss")
            writer.refresh_caches()
        assert collection.state() is None and not (place / "vectors.json").exists()
        assert ids_of(store, codes[:3]) == right(codes, codes[:3]) and store.layout().name == "exact"


def test_a_milvus_that_does_not_answer_is_named_quickly_with_the_way_out(
    tmp_path: Path, tiny_bundle: Path, latent: Run
) -> None:
    pytest.importorskip("pymilvus", reason="the driver of Milvus is not installed (extra milvus)")
    photos = tmp_path / "photos"
    write_shapes(photos, 12)
    latent("index", "build", photos, "--index", "i", "--model", tiny_bundle)
    said = latent("index", "update", "--index", "i", "--vectors", NOBODY, code=1).stderr
    assert NOBODY in said and "does not answer" in said and "--vectors faiss" in said and "Traceback" not in said
    assert not (tmp_path / "i" / "vectors.json").exists()
    (tmp_path / "i" / "vectors.json").write_text(f'{{"address": "{NOBODY}", "collection": "latent_{"0" * 32}"}}')
    start = time.monotonic()
    said = latent("query", photos / "shape-0-003.png", "--index", "i", code=1).stderr
    assert time.monotonic() - start < 15 and NOBODY in said and "latent index update --vectors faiss" in said
    assert "does not answer" in latent("index", "status", "--index", "i").stdout
    with Store.open(tmp_path / "i") as store:
        assert ["does not answer" in fault for fault in store.faults()] == [True]
        latent("index", "update", "--index", "i", "--vectors", "faiss")
        assert len(ids_of(store, store.rows.some_codes(2), 12)[0]) == 12 and store.faults() == []


@pytest.mark.parametrize(
    "address",
    [
        "milvus://",
        "milvus://host:port",
        "milvus://host:99999999",
        "milvus://host/path",
        "milvus:///no-database",
        "milvus://host/../x.db",
        "milvus+unix://host/x",
        "milvus+unix:///",
        "milvus+ftp://host",
        "http://host:19530",
        "milvus://ho st",
        "milvus://host\n",
        "qdrant://host",
        "",
        "milvus://" + "a" * 2000,
    ],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(AddressUnknown, match="milvus://HOST"):
        Vectors.at(address)
    assert Vectors.read({"address": address, "collection": "latent_" + "0" * 32}) is None


def test_addresses_and_settings() -> None:
    assert uri_of("milvus://host") == "http://host:19530" and uri_of("milvus+tls://host:443") == "https://host:443"
    assert uri_of("milvus+unix:///run/m") == "unix:/run/m" and uri_of("milvus:///a/b.db") == "/a/b.db"
    assert uri_of("milvus://[::1]:5") == "http://[::1]:5"
    vectors = Vectors.at("milvus://host")
    assert Vectors.read(vectors.kept()) == vectors != Vectors.at("milvus://host")
    for kept in (None, [], {}, {"address": "milvus://host", "collection": "x; drop"}, {"address": 1, "collection": 2}):
        assert Vectors.read(kept) is None


@pytest.mark.parametrize("address", ["milvus://root:{}@host", "milvus://{}@host:1", "milvus://host?token={}"])
def test_an_address_with_a_secret_is_refused_and_not_repeated(address: str, tmp_path: Path) -> None:
    make_store(tmp_path / "i", random_codes(5, 1, True), True)
    secret = SECRET.partition(":")[2]
    with Store.writing(tmp_path / "i") as store, pytest.raises(AddressUnknown, match="MILVUS_TOKEN") as raised:
        store.keep_vectors(address.format(secret))
    assert secret not in "".join(traceback.format_exception(raised.value)) and not store.vectors()


def test_a_token_is_in_no_message_listing_or_traceback(
    made: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place, codes = made
    monkeypatch.setenv("MILVUS_TOKEN", SECRET)
    with Store.open(place) as store:
        assert ids_of(store, codes[:1], 1) and SECRET not in f"{store.layout()}{vars(store)}"
    with Store.writing(place) as store, pytest.raises(IndexUnreachable) as raised:
        store.keep_vectors(NOBODY)
    assert SECRET not in "".join(traceback.format_exception(raised.value)) and SECRET not in caplog.text
    for path in place.iterdir():
        assert SECRET.encode() not in path.read_bytes()


def test_a_strangers_index_sends_nothing_to_the_milvus_that_it_names(tmp_path: Path, latent: Run) -> None:
    make_store(tmp_path / "i", random_codes(50, 1, True), True)
    (tmp_path / "i" / "vectors.json").write_text(f'{{"address": "{NOBODY}", "collection": "latent_{"0" * 32}"}}')
    forget(tmp_path / "i")
    with Store.open(tmp_path / "i") as store:
        with pytest.raises(NotTrusted, match="would send codes there"):
            store.search(random_codes(1, 2, True), 3, "cosine")
        assert NOBODY in store.layout().name and "trusted" in store.layout().name
    said = latent("index", "status", "--index", "i")
    assert NOBODY in said.stderr and "are sent" in said.stderr and "not answer" not in said.stderr + said.stdout


def test_without_its_driver_a_milvus_is_a_missing_extra_and_nothing_else_needs_it(tmp_path: Path) -> None:
    make_store(tmp_path / "i", random_codes(50, 1, True), True)
    script = """
import sys
from pathlib import Path
from index.local.store import Store
with Store.open(Path(sys.argv[1])) as store:
    store.search(store.rows.some_codes(1), 3, "cosine")
assert not {"pymilvus", "grpc"} & sys.modules.keys()
sys.modules["pymilvus"] = None
with Store.writing(Path(sys.argv[1])) as store:
    store.keep_vectors("milvus://127.0.0.1:1")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "i")], capture_output=True, text=True, check=False
    )
    assert "MissingExtra: searching in Milvus needs pymilvus: pip install 'latent-search[milvus]'" in done.stderr


# A server


def test_the_program_with_a_server(milvus: Milvus, tmp_path: Path, tiny_bundle: Path, latent: Run) -> None:
    """Build, query and update say the same as with FAISS; a server that is silent is named."""
    photos = tmp_path / "photos"
    write_shapes(photos, 40, seed=3)
    for index, vectors in (("i", "faiss"), ("m", milvus.address)):
        latent("index", "build", photos, "--index", index, "--model", tiny_bundle, "--vectors", vectors)

    def same(*words: object) -> None:
        assert latent(*words, "--index", "m").stdout == latent(*words, "--index", "i").stdout

    picture = photos / "shape-3-007.png"
    same("query", picture, "-k", 9, "--format", "json")
    write_shapes(photos, 3, seed=4)
    (photos / "shape-3-001.png").unlink()
    for index in ("i", "m"):
        latent("index", "update", "--index", index)
    same("query", photos / "shape-4-001.png", "-k", 50, "--format", "json")
    said = latent("index", "status", "--index", "m").stdout
    assert f"FLAT in Milvus at {milvus.address}" in said and "finds 100.0% of the ten nearest" in said
    with Store.open(tmp_path / "m") as store:
        assert store.faults() == []
    with milvus.stopped():
        start = time.monotonic()
        said = latent("query", picture, "--index", "m", code=1).stderr
        assert time.monotonic() - start < 20 and milvus.address in said and "--vectors faiss" in said


def test_readers_ask_while_one_fills(milvus: Milvus, tmp_path: Path) -> None:
    """Threads of two readers ask while a writer adds, and each answer is of one state that there was."""
    codes, new = random_codes(300, 1, True), fresh(200, 2)
    make_store(tmp_path / "i", codes, True)
    moved_to(milvus.address, tmp_path / "i")
    everything, done = np.concatenate([codes, new]), threading.Event()
    states = [right(everything[: 300 + 20 * step], new[:4]) for step in range(11)]

    def asks(store: Searched) -> int:
        count = 0
        while not done.is_set() or count < 3:
            answer = ids_of(store, new[:4])
            assert answer in states, answer
            count += 1
        return count

    with Store.open(tmp_path / "i") as one, Store.open(tmp_path / "i") as other, ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(asks, store) for store in (one, other, one, other)]
        for step in range(10):
            with Store.writing(tmp_path / "i") as writer:
                part = range(20 * step, 20 * step + 20)
                writer.rows.apply([Change(row(300 + number), new[number]) for number in part])
                if step % 3 == 0:
                    writer.refresh_caches()
        done.set()
        assert all(one.result(120) >= 3 for one in asked)
        assert ids_of(one, new[:4]) == states[-1] and one.faults() == []


def test_a_reader_on_a_postgresql_server_and_a_milvus_server(
    server: Any, milvus: Milvus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both truths and candidates are elsewhere: nothing is kept on the reader's disk, and its own update is seen."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    place, codes, new = server.new(), random_codes(300, 1, True), fresh(5, 3)
    fill(place, tmp_path / "photos", codes)
    moved_to(milvus.address, place)
    with opened(place) as store:
        for number, code in enumerate(new):
            with writing(place) as writer:
                writer.rows.apply([Change(row(300 + number), code)])
            assert ids_of(store, code[None], 1) == [[301 + number]]
        everything = np.concatenate([codes, new])
        assert ids_of(store, codes[:5]) == right(everything, codes[:5]) and store.faults() == []
    assert not list((tmp_path / "caches").rglob("*.faiss"))
    moved_to("faiss", place)
    with opened(place) as store:
        assert ids_of(store, codes[:5]) == right(everything, codes[:5])


def test_a_child_of_a_fork_asks_by_a_connection_of_its_own(milvus: Milvus, tmp_path: Path) -> None:
    codes = random_codes(50, 1, True)
    make_store(tmp_path / "i", codes, True)
    moved_to(milvus.address, tmp_path / "i")
    script = """
import os, sys
from pathlib import Path
from index.local.store import Store
with Store.open(Path(sys.argv[1])) as store:
    xq = store.rows.some_codes(3)
    before = [[hit.id for hit in hits] for hits in store.search(xq, 5, "cosine")]
    child = os.fork()
    after = [[hit.id for hit in hits] for hits in store.search(xq, 5, "cosine")]
    if not child:
        os._exit(0 if after == before else 3)
    assert os.waitpid(child, 0)[1] == 0 and after == before
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "i")], check=True, timeout=60)
