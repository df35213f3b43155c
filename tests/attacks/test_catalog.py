"""Attacks by the catalog of an index: what lies beside it, runs in it, is said by it, and what a disk makes of it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from index.errors import IndexDamaged, IndexMismatch, LatentError
from index.local import migrations
from index.local.database import connected, opened
from index.local.sanity import are_inside, is_inside
from index.local.store import Store
from index.local.tables import tables
from index.opening import open_index
from index.records import MENDED, Change, Direction, Meta
from tests.attacks.catalogs import (
    PAGE_BYTES,
    SIZE,
    copied,
    drawn_facts,
    drawn_rows,
    leave_hot_journal,
    make_index,
    rewrite,
    super_record,
)
from tests.campaigns.mutate import mutated
from tests.codes import DIM, random_codes
from tests.test_migrations import DATA, older_index

QUERIES = random_codes(5, 9, True)
FLIPPED = 240  # catalogs with flipped bytes
MUTANTS = 300


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that no test changes."""
    folder = tmp_path_factory.mktemp("whole") / "index"
    make_index(folder)
    return folder


def use(folder: Path) -> list[object]:
    """Ask an index everything. Returns the answers to queries, with all facts."""
    with Store.open(folder) as store:
        answers: list[object] = [store.search(QUERIES, 6, metric) for metric in ("euclidean", "cosine")]
        rows = store.rows
        answers += [rows.roots(), store.notes.directions().keys(), store.notes.kept_apart()]
        for root in rows.roots():
            for path in rows.listing(root):
                rows.at_path(root, path)
        page, _ = rows.found_page(0, 1000)
        rows.coded_by_hash([one.content_hash for one in page])
        rows.hashes_by_size([one.size_bytes for one in page])
        answers += [rows.facts([one.content_hash for one in page]), rows.without_facts()]
        rows.some_looks(20), rows.some_codes(20), rows.changed_since(0), rows.counts(), rows.skipped()
        store.layout(), store.sizes()
    return answers


def openings(folder: Path) -> list[Callable[[], Any]]:
    return [
        lambda: Store.open(folder),
        lambda: Store.writing(folder).__enter__(),
        lambda: open_index(folder),
        lambda: migrations.schema_of(folder / "catalog.db"),
        lambda: migrations.migrate(folder / "catalog.db"),
        lambda: migrations.migrated_copy(folder / "catalog.db"),
    ]


def read_by_sqlite(catalog: Path) -> None:
    with closing(sqlite3.connect(catalog)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()


# What lies beside it


def test_a_journal_that_names_a_file_deletes_none(whole: Path, tmp_path: Path) -> None:
    victim = tmp_path / "precious"
    for number, opening in enumerate([read_by_sqlite, *range(6)]):
        victim.write_text("precious")
        folder = tmp_path / f"planted-{number}"
        journal = leave_hot_journal(copied(whole, tmp_path / "busy"), folder)
        journal.write_bytes(journal.read_bytes() + super_record(victim))
        if callable(opening):
            opening(folder / "catalog.db")
            assert not victim.exists()  # SQLite alone is led by it
            continue
        before = journal.read_bytes()
        with pytest.raises(IndexDamaged, match="names another file"):
            openings(folder)[opening]()
        assert victim.read_text() == "precious" and journal.read_bytes() == before


def test_a_journal_that_is_planted_later_deletes_none(whole: Path, tmp_path: Path) -> None:
    """SQLite looks for a journal with each transaction."""
    folder, victim = copied(whole, tmp_path / "i"), tmp_path / "precious"
    victim.write_text("precious")
    journal = leave_hot_journal(copied(whole, tmp_path / "busy"), tmp_path / "planted")
    with Store.open(folder) as store:
        store.search(QUERIES, 3, "euclidean")
        (folder / journal.name).write_bytes(journal.read_bytes() + super_record(victim))
        with pytest.raises(IndexDamaged, match="names another file"):
            store.search(QUERIES, 3, "euclidean")
    assert victim.exists()


@pytest.mark.parametrize("writing", [False, True])
def test_a_journal_of_a_killed_writer_is_rolled_back(whole: Path, tmp_path: Path, writing: bool) -> None:
    journal = leave_hot_journal(copied(whole, tmp_path / "busy"), tmp_path / "killed")
    catalog = journal.with_name("catalog.db")
    assert journal.stat().st_size > 1000 and catalog.read_bytes() != (whole / "catalog.db").read_bytes()
    if writing:
        with Store.writing(tmp_path / "killed") as store:
            assert store.faults() == []
    assert use(tmp_path / "killed")[:2] == use(copied(whole, tmp_path / "same"))[:2]
    assert not journal.exists() and catalog.read_bytes() == (whole / "catalog.db").read_bytes()


def as_link(folder: Path, name: str) -> None:
    aside = folder.with_name("aside")
    aside.mkdir(exist_ok=True)
    if (folder / name).exists():
        (folder / name).rename(aside / name)
    else:
        (aside / name).write_bytes(b"precious")
    (folder / name).symlink_to(aside / name)


def as_pipe(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)


def with_log(folder: Path, name: str) -> None:
    with closing(sqlite3.connect(folder / "catalog.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def beside_log(folder: Path, name: str) -> None:
    (folder / "catalog.db-wal").write_bytes(b"")


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of POSIX")
@pytest.mark.parametrize(
    ("plant", "name"),
    [
        *(
            (as_link, name)
            for name in ("catalog.db", "catalog.db-journal", "lock", "budget.json", "excluded.json", "cosine.faiss")
        ),
        *((as_link, name) for name in ("euclidean.faiss", "model", "model.new", "model.old", "catalog.db-wal")),
        *((as_pipe, name) for name in ("catalog.db-journal", "budget.json", "excluded.json", "cosine.faiss", "lock")),
        (with_log, "wal"),
        (beside_log, "wal"),
    ],
)
def test_links_pipes_and_logs_are_refused_and_nothing_is_written_through_them(
    whole: Path, tmp_path: Path, plant: Callable[[Path, str], None], name: str
) -> None:
    folder = copied(whole, tmp_path / "i")
    plant(folder, name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for opening in openings(folder)[:2]:
        with pytest.raises(IndexDamaged, match=r"link|plain file|write-ahead log"):
            opening()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


WRITE = (
    "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('DELETE FROM directions').connection.commit()"
)


def test_checking_the_files_again_releases_no_lock(whole: Path, tmp_path: Path) -> None:
    """POSIX releases all locks of a process on a file when it closes any handle of it."""
    folder = copied(whole, tmp_path / "i")
    words = [sys.executable, "-c", WRITE, str(folder / "catalog.db")]
    with Store.open(folder) as store, store.rows.transaction() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM pictures")
        for mode in ("ro", "rw"):
            connected(folder / "catalog.db", mode).close()
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert "database is locked" in done.stderr
    subprocess.run(words, check=True)


def test_the_lock_of_a_new_index_is_no_link(tmp_path: Path) -> None:
    victim = tmp_path / "precious"
    victim.write_text("precious")
    (tmp_path / "i").mkdir()
    (tmp_path / "i" / "lock").symlink_to(victim)
    with pytest.raises(IndexDamaged, match="link"):
        make_index(tmp_path / "i")
    assert victim.read_text() == "precious" and [one.name for one in (tmp_path / "i").iterdir()] == ["lock"]


def test_no_tables_are_added_to_another_database(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    for name in ("catalog.db", "catalog.db.part"):
        folder.mkdir()
        with closing(sqlite3.connect(tmp_path / "notes.db")) as connection:
            connection.executescript("CREATE TABLE IF NOT EXISTS notes (text)")
        before = (tmp_path / "notes.db").read_bytes()
        if name == "catalog.db":
            shutil.copy(tmp_path / "notes.db", folder / name)
            with pytest.raises(IndexDamaged):
                make_index(folder)
            assert (folder / name).read_bytes() == before
        else:
            (folder / name).symlink_to(tmp_path / "notes.db")
            make_index(folder)
        assert (tmp_path / "notes.db").read_bytes() == before
        shutil.rmtree(folder)


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_an_index_is_readable_by_its_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_index(tmp_path / "i")
        with Store.writing(tmp_path / "i") as store:
            store.keep_model(lambda folder: None)
            with store.rows.transaction() as connection:
                connection.exec_driver_sql("DELETE FROM directions")
                modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "i").iterdir()}
    finally:
        os.umask(before)
    assert modes.pop("model") == 0o700 and stat.S_IMODE((tmp_path / "i").stat().st_mode) == 0o700
    assert {"catalog.db", "catalog.db-journal", "lock", "cosine.faiss"} <= modes.keys() and {*modes.values()} == {0o600}


@pytest.mark.skipif(sys.platform != "linux", reason="names of folders are bytes")
def test_a_catalog_below_a_folder_that_is_not_named_in_unicode(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9 ?#%41") / ".latent"
    with Store.writing(folder, create=Meta("m", "digest", DIM, True)) as store:
        root = store.rows.add_root(str(folder.parent))
        store.rows.apply(
            [Change(row, code) for row, code in zip(drawn_rows(), random_codes(SIZE, 0, True), strict=True)]
        )
    with Store.writing(folder) as store:
        store.rows.mark([3], "vanished")
    with Store.open(folder) as store:
        assert store.rows.roots() == {root: str(folder.parent)} and store.rows.meta().found == SIZE - 1
        assert store.rows.found([1])[1].path == str(folder.parent / "folder" / "000.jpg")
    assert {one.name for one in tmp_path.iterdir()} == {folder.parent.name}


# What runs in it

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
CODES_LIKE = "picture_id INTEGER NOT NULL, code BLOB NOT NULL, checksum BLOB"
PROGRAMS = {
    "view": f"CREATE VIEW more AS {ENDLESS}",
    "view of a table": f"ALTER TABLE codes RENAME TO codes2; CREATE VIEW codes AS {ENDLESS}",
    "trigger": "CREATE TRIGGER more AFTER UPDATE ON meta BEGIN DELETE FROM codes; END",
    "virtual table": "CREATE VIRTUAL TABLE more USING fts5(text)",
    "virtual table of a name": "DROP TABLE generations; CREATE VIRTUAL TABLE generations USING fts5(generation, stamp)",
    "generated column": "ALTER TABLE roots ADD COLUMN more AS (hex(zeroblob(100000000)))",
    "generated code": "DROP TABLE codes; CREATE TABLE codes (picture_id INTEGER NOT NULL, checksum BLOB, "
    "code BLOB NOT NULL AS (zeroblob(100000000)), PRIMARY KEY (picture_id))",
    "index of an expression": "CREATE INDEX more ON codes (hex(code))",
    "index of a name": "DROP INDEX ix_pictures_generation; "
    "CREATE INDEX ix_pictures_generation ON pictures (abs(generation))",
    "partial index": "DROP INDEX ix_pictures_generation; "
    "CREATE INDEX ix_pictures_generation ON pictures (generation) WHERE generation > 5",
    "table": "CREATE TABLE more (x)",
    "statistics": "ANALYZE",
    "column": "ALTER TABLE codes ADD COLUMN more BLOB",
    "check": f"DROP TABLE codes; CREATE TABLE codes ({CODES_LIKE}, PRIMARY KEY (picture_id), CHECK (length(code) > 3))",
    "default": "DROP TABLE directions; CREATE TABLE directions (name TEXT NOT NULL, vector BLOB NOT NULL, "
    "with_count INTEGER NOT NULL DEFAULT (random()), without_count INTEGER NOT NULL, accuracy FLOAT, checksum BLOB, "
    "PRIMARY KEY (name))",
    "collation": "DROP TABLE distinct_contents; CREATE TABLE distinct_contents (hash_a BLOB NOT NULL COLLATE NOCASE, "
    "hash_b BLOB NOT NULL, checksum BLOB, PRIMARY KEY (hash_a, hash_b))",
    "conflict": "DROP TABLE codes; CREATE TABLE codes (picture_id INTEGER NOT NULL, code BLOB NOT NULL, checksum BLOB, "
    "PRIMARY KEY (picture_id) ON CONFLICT REPLACE)",
    "other type": "DROP TABLE codes; CREATE TABLE codes (picture_id INTEGER NOT NULL, code TEXT NOT NULL, "
    "checksum BLOB, PRIMARY KEY (picture_id))",
    "missing table": "DROP TABLE distinct_contents",
    "missing facts": "DROP TABLE facts",
    "column of facts": "ALTER TABLE facts ADD COLUMN more TEXT",
    "missing fact": "ALTER TABLE facts DROP COLUMN burst",
    "index of a fact": "CREATE INDEX more ON facts (camera)",
    "partial index of facts": "DROP INDEX ix_facts_taken_us; "
    "CREATE INDEX ix_facts_taken_us ON facts (taken_us) WHERE taken_us > 5",
    "other index of facts": "DROP INDEX ix_facts_taken_us; CREATE INDEX ix_facts_taken_us ON facts (taken_us, iso)",
    "missing column": "ALTER TABLE pictures DROP COLUMN reason",
    "no tables": "".join(f"DROP TABLE {name};" for name in tables.tables),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_catalog_with_a_program_in_it_is_refused_before_it_runs(whole: Path, tmp_path: Path, name: str) -> None:
    folder = copied(whole, tmp_path / "i")
    with closing(sqlite3.connect(folder / "catalog.db")) as connection:
        connection.executescript(PROGRAMS[name])
        connection.commit()
    before, since = (folder / "catalog.db").read_bytes(), time.monotonic()
    for opening in openings(folder):
        with pytest.raises(IndexDamaged, match=r"no index has|not as schema|lost its tables"):
            opening()
    assert time.monotonic() - since < 5 and (folder / "catalog.db").read_bytes() == before


@pytest.mark.parametrize(
    ("schema", "source"),
    [(1, "schema-1.sql"), (2, "schema-2.sql"), (3, "schema-3.sql"), (2, "schema-1.sql"), (4, "schema-3.sql")],
)
def test_older_catalogs_are_checked_before_they_are_migrated(tmp_path: Path, schema: int, source: str) -> None:
    folder = older_index(tmp_path / "i", schema, source)
    if (DATA / f"schema-{schema}.sql").name == source:
        with closing(sqlite3.connect(folder / "catalog.db")) as connection:
            connection.executescript("CREATE TRIGGER more AFTER UPDATE ON meta BEGIN DELETE FROM codes; END")
    before = (folder / "catalog.db").read_bytes()
    for opening in openings(folder):
        with pytest.raises(IndexDamaged):
            opening()
    assert (folder / "catalog.db").read_bytes() == before


INTERRUPTED = f"""
import sys, threading, _thread, os, signal
from pathlib import Path
from index.local.database import opened, translated
path = Path(sys.argv[1])
connection = opened(path, "ro")
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    with translated(path):
        for _ in connection.execute("SELECT count(*) FROM ({ENDLESS})"):
            pass
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_ends_a_long_query(whole: Path) -> None:
    words = [sys.executable, "-c", INTERRUPTED, str(whole / "catalog.db")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.communicate(timeout=30)[0].strip() == "interrupted"
        finally:
            process.send_signal(signal.SIGKILL)


def test_no_second_database_is_attached_and_no_value_is_huge(whole: Path, tmp_path: Path) -> None:
    with closing(opened(whole / "catalog.db", "ro")) as connection:
        with pytest.raises(sqlite3.OperationalError, match="attached"):
            connection.execute("ATTACH ? AS other", (str(tmp_path / "other.db"),))
        with pytest.raises(sqlite3.DataError, match="too big"):
            connection.execute("SELECT zeroblob(900000000)").fetchone()
        facts = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("trusted_schema", "cell_size_check")]
    assert facts == [0, 1]


# What it says


def test_paths_stay_below_their_root(whole: Path, tmp_path: Path) -> None:
    for path in (
        b"../outside.jpg",
        b"a/../../outside.jpg",
        b"/etc/passwd",
        b"a//b.jpg",
        b"./a.jpg",
        b"",
        b"a\0b",
        "a.jpg",
    ):
        folder = copied(whole, tmp_path / "i")
        rewrite(folder / "catalog.db", "UPDATE pictures SET path = ? WHERE id = 5", path)
        with Store.open(folder) as store:
            for reading in (
                lambda store=store: store.rows.found([4, 5]),
                lambda store=store: store.rows.listing(1),
                lambda store=store: store.rows.found_page(0, 100),
                lambda store=store: store.search(random_codes(SIZE, 0, True)[4:5], SIZE, "euclidean"),
            ):
                with pytest.raises(IndexDamaged, match="row of picture 5"):
                    reading()
            assert any("row of picture 5" in fault for fault in store.faults())


def test_paths_are_judged_alike_one_by_one_and_together() -> None:
    rng, verdicts = random.Random(0), Counter[bool]()
    for _ in range(5000):
        paths = [bytes(rng.choice(b"/.ab\0") for _ in range(rng.randrange(6))) for _ in range(rng.randrange(1, 4))]
        expected = all(
            b"\0" not in path and all(part not in (b"", b".", b"..") for part in path.split(b"/")) for path in paths
        )
        assert are_inside(paths) == all(map(is_inside, paths)) == expected
        verdicts[expected] += 1
    assert min(verdicts.values()) > 200 and are_inside([])


@pytest.mark.parametrize("path", [b"../photos", b"/a/../b", b"a/../../b", b"", b"/a\0b", b"a//b", "text", 7, b"/a/"])
def test_roots_are_sane_paths(whole: Path, tmp_path: Path, path: object) -> None:
    folder = copied(whole, tmp_path / "i")
    rewrite(folder / "catalog.db", "UPDATE roots SET path = ?", path)
    with Store.open(folder) as store, pytest.raises(IndexDamaged, match="path of root 1"):
        store.search(QUERIES, 3, "euclidean")


ODD = [
    None, 0, -1, 1, 7, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63), 0.5, -1.5, 1e300, float("inf"), "", "x", "found",
    "a\0b", "\x1b[2J", "\ufffe", b"", b"\0" * 8, b"\xff" * 600, b"../x",
]  # fmt: skip
NO_UNICODE = "CAST(x'66ff6f' AS TEXT)"


def test_whatever_a_catalog_says_ends_in_an_answer_or_in_our_own_error(whole: Path, tmp_path: Path) -> None:
    """Each value of any type in any column, with a right checksum, in one row or in all. Nothing huge is asked for."""
    resource = pytest.importorskip("resource")
    rng, ends, most = random.Random(5), Counter[str](), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    columns = [(table.name, column.name) for table in tables.sorted_tables for column in table.columns]
    for _ in range(MUTANTS):
        (table, column), value = rng.choice(columns), rng.choice([*ODD, NO_UNICODE])
        where = rng.choice(("", " WHERE rowid = (SELECT max(rowid) FROM " + table + ")"))
        folder = copied(whole, tmp_path / "i")
        set_to, values = (value, ()) if value == NO_UNICODE else ("?", (value,))
        try:
            rewrite(folder / "catalog.db", f"UPDATE {table} SET {column} = {set_to}{where}", *values)
        except (sqlite3.Error, OverflowError):  # not even SQLite takes this
            ends["impossible"] += 1
            continue
        if rng.random() < 0.5:
            (folder / "cosine.faiss").unlink()
        ends[end_of(lambda folder=folder: use(folder))] += 1
        ends["verify " + end_of(lambda folder=folder: faults(folder))] += 1
        ends["repair " + end_of(lambda folder=folder: repair(folder))] += 1
    assert ends["IndexDamaged"] > MUTANTS / 4 and ends["answered"] > 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 500_000  # KB


def test_whatever_is_in_a_file_ends_in_an_answer_or_in_our_own_error(whole: Path, tmp_path: Path) -> None:
    """Bytes cut off, repeated, reversed, replaced; half of them in the page of the schema."""
    data, rng, ends = (whole / "catalog.db").read_bytes(), random.Random(6), Counter[str]()
    for number in range(MUTANTS):
        folder = copied(whole, tmp_path / "i")
        schema, rest = data[:PAGE_BYTES], data[PAGE_BYTES:]
        mutant = (
            mutated(schema, rng)[:PAGE_BYTES].ljust(PAGE_BYTES, b"\xe9") + rest if number % 2 else mutated(data, rng)
        )
        (folder / "catalog.db").write_bytes(mutant)
        ends[end_of(lambda folder=folder: use(folder))] += 1
        ends["verify " + end_of(lambda folder=folder: faults(folder))] += 1
        ends["repair " + end_of(lambda folder=folder: repair(folder))] += 1
    assert ends["IndexDamaged"] > MUTANTS / 4


def end_of(act: Callable[[], object]) -> str:
    """How it ends: only our own errors may come out, and their texts can be encoded."""
    try:
        act()
    except LatentError as error:
        str(error).encode("utf-8", "surrogateescape")
        return type(error).__name__
    return "answered"


def faults(folder: Path) -> list[str]:
    with Store.open(folder) as store:
        return store.faults()


def repair(folder: Path) -> None:
    with Store.writing(folder) as store:
        store.repair()


def test_names_in_a_schema_that_are_no_unicode(whole: Path, tmp_path: Path) -> None:
    data = (whole / "catalog.db").read_bytes()
    for name in (b"pictures", b"content_hash", b"CREATE TABLE", b"latent_dim", b"ix_pictures_generation"):
        for odd in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\0"):
            folder = copied(whole, tmp_path / "i")
            place = data.index(name)
            (folder / "catalog.db").write_bytes(data[:place] + odd + data[place + len(odd) :])
            for opening in openings(folder)[:3]:
                with pytest.raises((IndexDamaged, IndexMismatch)):
                    opening()


def test_texts_that_are_no_unicode_are_refused_or_escaped(tmp_path: Path) -> None:
    make_index(tmp_path / "i")
    with Store.writing(tmp_path / "i") as store:
        store.rows.apply(
            [Change(drawn_rows(1, 3)[0]._replace(status="skipped", path=b"\xff", reason="caf\udce9 \0 x"))]
        )
        with pytest.raises(LatentError, match="no text in Unicode"):
            store.notes.keep_direction(Direction("\ud800", QUERIES[0], 3, 4, None))
        assert [one.reason for one in store.rows.skipped() if one.path == b"\xff"] == ["caf\\udce9 \0 x"]
        assert list(store.notes.directions()) == ["smile"] and store.faults() == []


# What a disk makes of it


def answers_by_path(store: Store) -> list[object]:
    """What is asked, without ids and dates: these may be new after a repair."""
    found: list[object] = []
    for metric in ("euclidean", "cosine"):
        for hits in store.search(QUERIES, 6, metric):
            found.append([(one.picture.path, one.distance, one.similarity, *one.picture[2:]) for one in hits])
    return found


def flip(catalog: Path, rng: random.Random) -> None:
    data = bytearray(catalog.read_bytes())
    for _ in range(rng.choice((1, 1, 2, 4))):
        data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
    catalog.write_bytes(data)


def read_again(store: Any) -> None:
    """As an update does: rows that wait for it, or are missing, are written from the files."""
    codes, (root, *_) = random_codes(SIZE, 0, True), store.rows.roots()
    listed, changes = store.rows.listing(root), []
    for row, code in zip(drawn_rows(), codes, strict=True):
        old = listed.get(row.path)
        if old is None or old.status != "found":
            assert old is None or (old.status, old.reason in MENDED) == ("skipped", True)
            changes.append(Change(row._replace(id=None if old is None else old.id), code))
    kept = {row.path for row in drawn_rows()}
    store.rows.mark(
        [row.id for path, row in listed.items() if path not in kept and row.status == "skipped"], "vanished"
    )
    store.rows.apply(changes)


def test_flipped_bytes_give_no_wrong_answer_in_silence(whole: Path, tmp_path: Path) -> None:
    """Before a repair and after it: each answer is right, or an error tells; and repair makes no damage the truth."""
    rng, ends = random.Random(7), Counter[str]()
    folder = copied(whole, tmp_path / "i")
    with Store.open(folder) as store:
        truth = answers_by_path(store)
    for _ in range(FLIPPED):
        copied(whole, folder)
        flip(folder / "catalog.db", rng)
        if rng.random() < 0.5:
            (folder / "cosine.faiss").unlink()
        ends["first: " + answer(folder, truth)] += 1
        told = end_of(lambda: ends.update(["told: " + ("faults" if faults(folder) else "none")]))
        ends["told: " + told] += told != "answered"
        ends["repair: " + end_of(lambda: repair_and_update(folder))] += 1
        ends["then: " + answer(folder, truth)] += 1
    assert ends["first: wrong"] == ends["then: wrong"] == 0
    assert ends["first: right"] > FLIPPED / 3 and ends["first: IndexDamaged"] > FLIPPED / 20
    assert ends["then: right"] > ends["first: right"]  # it does repair


def answer(folder: Path, truth: list[object]) -> str:
    try:
        with Store.open(folder) as store:
            return "right" if answers_by_path(store) == truth else "wrong"
    except LatentError as error:
        return type(error).__name__


def repair_and_update(folder: Path) -> None:
    with Store.writing(folder) as store:
        if store.faults():
            store.repair()
        read_again(store)
        store.refresh_caches()


@pytest.mark.parametrize("table", ["pictures", "codes"])
def test_a_damaged_picture_is_named_kept_out_and_read_again(whole: Path, tmp_path: Path, table: str) -> None:
    folder = copied(whole, tmp_path / "i")
    xq = random_codes(SIZE, 0, True)
    with Store.open(folder) as store:
        truth = store.search(xq, 6, "euclidean")
    data = bytearray((folder / "catalog.db").read_bytes())
    row = b"folder/009.jpg" + drawn_rows()[9].size_bytes.to_bytes(3)
    place = data.index(xq[9].tobytes()) + 3 if table == "codes" else data.index(row) + len(row) - 1
    data[place] ^= 0x55
    (folder / "catalog.db").write_bytes(data)
    what = "code" if table == "codes" else "row"
    with Store.open(folder) as store:
        with pytest.raises(IndexDamaged, match=rf"{what} of picture 10 .*folder/009\.jpg") as refusal:
            store.search(xq[9:10], 6, "euclidean")
        assert refusal.value.code == "picture_damaged" and refusal.value.facts == {"id": 10}
        assert any("picture 10 " in fault for fault in store.faults())
    with Store.writing(folder) as store:
        with pytest.raises(IndexDamaged):
            store.rows.coded_by_hash([drawn_rows()[9].content_hash])
        store.repair()
        assert store.faults() == [] and store.rows.meta().found == SIZE - 1
        waiting = [one for one in store.rows.skipped() if one.reason in MENDED]
        assert [(one.id, one.path) for one in waiting] == [(10, b"folder/009.jpg")]
        assert all(one.id != 10 for hits in store.search(xq, 6, "euclidean") for one in hits)
        read_again(store)
        found = [[(one.id, one.distance) for one in hits] for hits in store.search(xq, 6, "euclidean")]
        assert found == [[(one.id, one.distance) for one in hits] for hits in truth]


def test_what_the_user_removed_is_not_read_again_after_a_repair(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "i")
    with Store.writing(folder) as store:
        store.rows.mark([10], "removed", forget_codes=True)
    with closing(sqlite3.connect(folder / "catalog.db")) as connection:
        connection.execute("UPDATE pictures SET size_bytes = size_bytes + 1 WHERE id = 10")
        connection.commit()
    with Store.writing(folder) as store:
        store.repair()
        row = store.rows.at_path(1, b"folder/009.jpg")
        assert row is not None and (row.id, row.status) == (10, "removed") and store.faults() == []


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("title", "another"), ("taken_us", 7), ("latitude", 91.0), ("latitude", "north"), ("rating", 6),
        ("camera", b"x"),
        ("title", "x" * 201), ("keywords", "x" * 1001), ("frames", 0), ("orientation", 9), ("focal_mm", -1.0),
        ("content_hash", "text"), ("content_hash", b"x" * 65), ("iso", 2.5), ("taken_us", 2**60),
    ],
)  # fmt: skip
def test_damaged_facts_are_told_and_forgotten_so_that_they_are_read_again(
    whole: Path, tmp_path: Path, change: str, value: object
) -> None:
    """With a wrong checksum, and with a right one and a value that no writer writes."""
    hashes = [row.content_hash or b"" for row in drawn_rows()]
    for script in ("damage", "lie"):
        if script == "lie" and value in ("another", 7):
            continue
        folder = copied(whole, tmp_path / "i")
        statement = f"UPDATE facts SET {change} = ? WHERE content_hash = ?"
        if script == "lie":
            rewrite(folder / "catalog.db", statement, value, hashes[9])
        else:
            with closing(sqlite3.connect(folder / "catalog.db")) as connection:
                connection.execute(statement, (value, hashes[9]))
                connection.commit()
        with Store.writing(folder) as store:
            assert store.rows.facts(hashes[:9]) == {one: drawn_facts(n) for n, one in enumerate(hashes[:9], 1)}
            if change != "content_hash":
                with pytest.raises(IndexDamaged, match=hashes[9].hex()) as refusal:
                    store.rows.facts(hashes)
                assert refusal.value.code == "facts_damaged"
            assert [fault for fault in store.faults() if "facts of content" in fault]
            before = store.search(QUERIES, 6, "euclidean")
            store.repair()
            assert store.faults() == [] and store.search(QUERIES, 6, "euclidean") == before
            assert [one.content_hash for one in store.rows.without_facts()] == [hashes[9]]
            store.rows.keep_facts({hashes[9]: drawn_facts(10)})
            assert len(store.rows.facts(hashes)) == SIZE and store.rows.without_facts() == []


def test_damaged_notes_are_told_and_forgotten(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "i")
    with closing(sqlite3.connect(folder / "catalog.db")) as connection:
        connection.execute("UPDATE directions SET accuracy = 0.75")
        connection.execute("UPDATE distinct_contents SET hash_a = ?", (b"c" * 16,))
        connection.commit()
    with Store.writing(folder) as store:
        for reading in (store.notes.directions, store.notes.kept_apart):
            with pytest.raises(IndexDamaged, match="repair the index"):
                reading()
        assert len(store.faults()) == 2
        store.repair()
        assert store.notes.directions() == {} and store.notes.kept_apart() == set() and store.faults() == []


def test_a_structure_that_is_damaged_stays_an_error(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "i")
    with closing(sqlite3.connect(folder / "catalog.db")) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'codes'").fetchone()
    data = bytearray((folder / "catalog.db").read_bytes())
    data[(root - 1) * PAGE_BYTES] = 0
    (folder / "catalog.db").write_bytes(data)
    for _ in range(2):
        with Store.open(folder) as store:
            assert any(fault.startswith("catalog: ") for fault in store.faults())
            with pytest.raises(IndexDamaged):
                store.search(QUERIES, 3, "euclidean")
        with pytest.raises(IndexDamaged, match=r"backup|build"):
            repair(folder)
    assert (folder / "catalog.db").read_bytes() == bytes(data)
