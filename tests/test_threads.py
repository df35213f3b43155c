"""One opened index and many who ask: threads while it is written, forks, and writers that must get their turn."""

from __future__ import annotations

import faulthandler
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from index.local.store import Store
from retrieval import Retriever, Searcher, load_model
from tests.codes import brute_force, random_codes
from tests.conftest import write_shapes
from tests.servers import make_store

T = TypeVar("T")

COUNT, STEPS, THREADS = 300, 50, 8
WRITER = """
import sys
import numpy as np
from pathlib import Path
from index.local.store import Store
from index.records import Change
from tests.codes import row

folder, codes = Path(sys.argv[1]), np.load(sys.argv[2])
for step in range(int(sys.argv[3])):
    with Store.writing(folder) as store:
        store.rows.mark([step + 1], "vanished")
        store.rows.apply([Change(row(len(codes) // 2 + step), codes[len(codes) // 2 + step])])
        store.rows.apply([Change(row(step + 100, id=step + 101), codes[-1 - step])])
        store.refresh_caches()
    print(step, flush=True)
"""


def states(codes: np.ndarray) -> list[dict[int, np.ndarray]]:
    """The codes by id after each commit that WRITER makes, the first state too."""
    half = len(codes) // 2
    now = {number + 1: code for number, code in enumerate(codes[:half])}
    all_states = [dict(now)]
    for step in range(STEPS):
        del now[step + 1]
        all_states.append(dict(now))
        now[half + step + 1] = codes[half + step]
        all_states.append(dict(now))
        now[step + 101] = codes[-1 - step]
        all_states.append(dict(now))
    return all_states


def nearest(state: dict[int, np.ndarray], query: np.ndarray, k: int, metric: str) -> list[int]:
    ids = sorted(state)
    places = brute_force(np.stack([state[one] for one in ids]), query, k, metric, set())
    return [ids[place - 1] for place in places]


@pytest.fixture
def watchdog() -> Iterator[None]:
    """A crash names its threads; a hang ends the run instead of standing still."""
    faulthandler.dump_traceback_later(240, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.usefixtures("watchdog")
@pytest.mark.parametrize("standardized", [True, False])
def test_every_answer_is_of_one_state_while_another_process_writes(tmp_path: Path, standardized: bool) -> None:
    codes, folder = random_codes(2 * COUNT, 0, standardized), tmp_path / "i"
    make_store(folder, codes[:COUNT], standardized)
    np.save(tmp_path / "codes.npy", codes)
    queries = random_codes(6, 1, standardized)
    right: dict[tuple[int, str], set[tuple[int, ...]]] = {
        (number, metric): {tuple(nearest(state, query, 7, metric)) for state in states(codes)}
        for number, query in enumerate(queries)
        for metric in ("euclidean", "cosine")
    }
    command = [sys.executable, "-X", "faulthandler", "-c", WRITER, folder, tmp_path / "codes.npy", str(STEPS)]
    done = threading.Event()

    with Store.open(folder) as store, ThreadPoolExecutor(THREADS) as pool:

        def ask(thread: int) -> int:
            rng, asked = np.random.default_rng(thread), 0
            while not done.is_set() or asked < 20:
                number, metric = int(rng.integers(len(queries))), ("euclidean", "cosine")[int(rng.integers(2))]
                (hits,) = store.search(queries[number][None], 7, metric)  # type: ignore[arg-type]
                assert tuple(one.id for one in hits) in right[number, metric]
                asked += 1
            return asked

        askers = [pool.submit(ask, thread) for thread in range(THREADS)]
        try:
            written = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
        finally:
            done.set()
        asked = [asker.result() for asker in askers]
        final = [[one.id for one in store.search(query[None], 7, "cosine")[0]] for query in queries]
    assert written.returncode == 0, written.stderr
    assert written.stdout.split() == [str(step) for step in range(STEPS)] and min(asked) >= 20
    assert final == [nearest(states(codes)[-1], query, 7, "cosine") for query in queries]


@pytest.mark.usefixtures("watchdog")
def test_a_writer_gets_its_turn_however_many_threads_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of one process share SQLite's lock, which they would never let go of together."""
    codes, folder = random_codes(COUNT, 2, True), tmp_path / "i"
    make_store(folder, codes, True)
    monkeypatch.setattr("index.local.database.BUSY_TIMEOUT_S", 60.0)
    command = [sys.executable, "-c", WRITER, folder, tmp_path / "codes.npy", "3"]
    np.save(tmp_path / "codes.npy", random_codes(2 * COUNT, 2, True))
    done = threading.Event()
    inside: list[int] = []
    with Store.open(folder) as store, ThreadPoolExecutor(THREADS) as pool:

        def read() -> None:
            while not done.is_set():
                with store.rows.transaction():
                    inside.append(store.rows.meta().generation)
                    time.sleep(0.02)  # so that some thread always reads

        readers = [pool.submit(read) for _ in range(THREADS)]
        try:
            written = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
        finally:
            done.set()
        for reader in readers:
            reader.result()
    assert written.returncode == 0, written.stderr
    assert len(inside) > 20 * THREADS and inside[0] < inside[-1]


@pytest.mark.usefixtures("watchdog")
def test_building_a_cache_holds_up_no_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads in pages. A change while it does is in what it becomes."""
    codes, folder = random_codes(200, 3, True), tmp_path / "i"
    make_store(folder, codes, True)
    (folder / "cosine.faiss").unlink()
    monkeypatch.setattr("index.local.catalog.PAGE", 16)
    monkeypatch.setattr("index.local.database.BUSY_TIMEOUT_S", 0.2)
    with Store.open(folder) as store:
        pages, written = store.rows.code_pages, []

        def interrupted() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for number, page in enumerate(pages()):
                yield page
                if number % 3 == 0:  # changes of what was read, of what is being read and of what will be
                    with Store.writing(folder) as other:
                        other.rows.mark([number + 1, 100 + number, 200 - number], "vanished")
                        written.extend([number + 1, 100 + number, 200 - number])

        monkeypatch.setattr(store.rows, "code_pages", interrupted)
        (hits,) = store.search(codes[:1], 200, "cosine")
    assert len(written) > 9
    assert sorted(one.id for one in hits) == sorted(set(range(1, 201)) - set(written))
    with Store.open(folder) as store:
        assert store.cache_faults() == []


@pytest.mark.usefixtures("watchdog")
def test_a_root_that_goes_while_a_cache_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, folder = random_codes(60, 4, True), tmp_path / "i"
    make_store(folder, codes, True)
    (folder / "cosine.faiss").unlink()
    with Store.open(folder) as store:
        pages, dropped = store.rows.code_pages, []

        def interrupted() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for page in pages():
                yield page
                if not dropped:
                    with Store.writing(folder) as other:
                        dropped.append(other.rows.drop_root(1))

        monkeypatch.setattr(store.rows, "code_pages", interrupted)
        assert store.search(codes[:1], 5, "cosine") == [[]] and dropped == [60]


def in_child(act: Callable[[], T], seconds: float = 30) -> bytes:
    """What ``act`` gives in a forked child, as text; a child that hangs fails the test."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, repr(act()).encode())
        except BaseException as error:
            os.write(write, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    try:
        answered, _, _ = select.select([read], [], [], seconds)
        assert answered, "the child hangs"
        return os.read(read, 1 << 20)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(read)


@pytest.mark.usefixtures("watchdog")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_a_child_answers_and_so_does_its_parent(tmp_path: Path, tiny_bundle: Path) -> None:
    write_shapes(tmp_path / "photos", 30)
    with Retriever.build(tmp_path / "photos", tmp_path / "i", model=tiny_bundle) as retriever:
        picture = np.asarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3)), np.uint8)

        def ask() -> list[tuple[str, str]]:
            hits = retriever.query(picture, 12)
            assert retriever.decode(hits).shape[0] == 12
            return [(hit.path, f"{hit.distance:.3f}") for hit in hits]

        many = np.asarray(np.random.default_rng(1).standard_normal((500, 16)), np.float32)
        retriever.query_codes(many)  # FAISS and ONNX Runtime have their threads now
        before = ask()
        with ThreadPoolExecutor(THREADS) as pool:  # a fork in the midst of others' questions
            others = [pool.submit(ask) for _ in range(3 * THREADS)]
            answers = [in_child(ask) for _ in range(4)]
            assert [other.result() for other in others] == [before] * len(others)
        assert answers == [repr(before).encode()] * 4 and ask() == before
        assert in_child(lambda: len(retriever.query_codes(many))) == b"500"


def reader_inside(store: Store, pool: ThreadPoolExecutor) -> tuple[Future[int], threading.Event]:
    """A thread that is in SQLite now and stays there until the event; it gives the number of pictures."""
    inside, leave = threading.Event(), threading.Event()

    def read() -> int:
        with store.rows.transaction():
            inside.set()
            assert leave.wait(20)
            return store.rows.meta().found

    reading = pool.submit(read)
    assert inside.wait(20)
    return reading, leave


@pytest.mark.usefixtures("watchdog")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_waits_for_threads_in_libraries_and_keeps_new_ones_out(tmp_path: Path) -> None:
    make_store(tmp_path / "i", random_codes(20, 4, True), True)
    with Store.open(tmp_path / "i") as store, ThreadPoolExecutor(2) as pool:
        reading, leave = reader_inside(store, pool)
        threading.Timer(0.5, leave.set).start()
        begun = time.monotonic()
        assert in_child(lambda: store.rows.meta().found) == b"20"
        assert time.monotonic() - begun > 0.3 and reading.result(20) == 20
        assert pool.submit(lambda: store.rows.meta().found).result(20) == 20  # threads may enter again


@pytest.mark.usefixtures("watchdog")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_could_not_go_on_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that stays in SQLite, and one that forks there itself."""
    monkeypatch.setattr("index.forks.PATIENCE_S", 0.2)
    make_store(tmp_path / "i", random_codes(20, 4, True), True)
    with Store.open(tmp_path / "i") as store, ThreadPoolExecutor(1) as pool:
        reading, leave = reader_inside(store, pool)
        told = in_child(lambda: store.rows.meta().found)
        leave.set()
        assert told.startswith(b"ForkUnsafe: this process was forked while another thread") and reading.result(20) == 20
        with store.rows.transaction():
            assert in_child(lambda: store.rows.meta().found) == b"20"
        assert store.rows.meta().found == 20


@pytest.mark.usefixtures("watchdog")
def test_eight_threads_ask_one_searcher_by_pictures(tmp_path: Path, tiny_bundle: Path) -> None:
    write_shapes(tmp_path / "photos", 24)
    Retriever.build(tmp_path / "photos", tmp_path / "i", model=tiny_bundle).close()
    paths = sorted((tmp_path / "photos").iterdir())
    model = load_model(tiny_bundle)
    codes = model.encode(paths)
    with Searcher.open(tmp_path / "i") as searcher, ThreadPoolExecutor(THREADS) as pool:

        def ask(number: int) -> list[int]:
            hits = searcher.query(paths[number], 5)
            assert searcher.decode(hits).shape == (5, 32, 32, 3)
            return [hit.id for hit in hits]

        found = list(pool.map(ask, [*range(24)] * 4))
    right = [brute_force(codes, codes[number], 5, "euclidean", {number + 1}) for number in range(24)]
    assert found == right * 4


@pytest.mark.parametrize(("standardized", "metric"), [(True, "cosine"), (False, "cosine"), (False, "euclidean")])
def test_many_equal_codes_cost_one_look(
    tmp_path: Path, standardized: bool, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blank frames by the thousand: the lowest ids are found without fetching all of them fourfold."""
    codes = random_codes(4000, 5, standardized)
    codes[500:3900] = codes[7]
    make_store(tmp_path / "i", codes, standardized)
    with Store.open(tmp_path / "i") as store:
        calls: list[int] = []
        codes_of = store.rows.codes_of
        monkeypatch.setattr(store.rows, "codes_of", lambda ids: calls.append(len(ids)) or codes_of(ids))
        for left_out in (set(), {8, 501, 503}):
            (hits,) = store.search(codes[7][None], 10, metric, [left_out])  # type: ignore[arg-type]
            assert [one.id for one in hits] == brute_force(codes, codes[7], 10, metric, left_out)
        assert len(calls) == 4 and max(calls) < 100
