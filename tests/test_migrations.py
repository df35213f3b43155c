"""Indexes of older schemas, ids that are never used twice, the kept folder, and addresses."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from index import folders
from index.errors import AddressUnknown, IndexBusy, IndexDamaged, IndexMismatch, NoIndex
from index.local import migrations
from index.local.store import Store
from index.local.tables import SCHEMA
from index.opening import exists, nearest_index, open_index, write_index
from index.records import Change, Meta
from tests.codes import DIM, random_codes, row
from tests.conftest import obey_permissions
from tests.servers import make_store

DATA = Path(__file__).parent / "data"
OLD = json.loads((DATA / "schema-1.json").read_text())


def older_index(folder: Path, schema: int = 1, source: str = "schema-1.sql") -> Path:
    """An index as an older version left it: a catalog without caches, whatever schema it says it has."""
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "catalog.db")) as connection:
        connection.executescript((DATA / source).read_text(encoding="utf-8"))
        connection.execute("UPDATE meta SET schema = ?", (schema,))
        connection.commit()
    return folder


def asked(store: Store, old: dict[str, list[list[float]]] = OLD) -> list[list[list[float]]]:
    xq = np.array(old["queries"], np.float32)
    return [[[one.id, one.distance, one.similarity] for one in hits] for hits in store.search(xq, 6, "euclidean")]


def dumped(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def tables_of(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Each table's columns with their types, and its indexes, by name."""
    with closing(sqlite3.connect(path)) as connection:
        names = [
            one for (one,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        ]
        return {name: sorted(one[1:4] for one in connection.execute(f"PRAGMA table_info({name})")) for name in names}


def indexes_of(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {one for (one,) in connection.execute("SELECT sql FROM sqlite_master WHERE type = 'index'") if one}


@pytest.mark.parametrize("opened", ["reading", "writing"])
def test_an_index_of_schema_1_is_migrated_and_answers_the_same(tmp_path: Path, opened: str) -> None:
    folder = older_index(tmp_path / "photos" / ".latent")
    before = dumped(folder / "catalog.db")
    if opened == "writing":
        with Store.writing(folder) as writer:
            assert np.allclose(asked(writer), OLD["hits"], atol=1e-12)
    with Store.open(folder) as store:
        assert np.allclose(asked(store), OLD["hits"], atol=1e-12)
        assert store.notes.kept_apart() == {frozenset({b"a" * 16, b"b" * 16})}
        assert store.notes.directions()["smile"].accuracy == 0.75
        assert store.rows.meta().next_id == 26 and store.faults() == []
        assert [one.ctime_ns for one in store.rows.skipped()] == [None]
    assert migrations.schema_of(folder / "catalog.db") == SCHEMA
    assert dumped(folder / "catalog.db.schema-1") == before  # what it was, set aside
    make_store(tmp_path / "new", random_codes(2, 0, True), True)
    assert tables_of(folder / "catalog.db") == tables_of(tmp_path / "new" / "catalog.db")


def test_an_index_of_schema_2_is_migrated_and_answers_the_same(tmp_path: Path) -> None:
    old = json.loads((DATA / "schema-2.json").read_text())
    folder = older_index(tmp_path / "photos" / ".latent", 2, "schema-2.sql")
    before = dumped(folder / "catalog.db")
    with Store.open(folder) as store:
        assert np.allclose(asked(store, old), old["hits"], atol=1e-12) and store.faults() == []
        assert store.notes.kept_apart() == {frozenset({b"a" * 16, b"b" * 16})}
        assert store.notes.directions()["L\u00e4cheln"].accuracy == 0.75
        facts, (skipped,) = store.rows.meta(), store.rows.skipped()
        assert (facts.found, facts.next_id) == (18, 25) and facts.rebuild_from > 0
        assert (skipped.path, skipped.reason, skipped.ctime_ns) == ("Bild \u00fc.jpg".encode(), "not a picture", 2030)
        assert store.rows.roots() == {2: str(tmp_path / "photos"), 3: "/somewhere/else"}
    assert migrations.schema_of(folder / "catalog.db") == SCHEMA
    assert dumped(folder / "catalog.db.schema-2") == before
    make_store(tmp_path / "new", random_codes(2, 0, True), True)
    assert tables_of(folder / "catalog.db") == tables_of(tmp_path / "new" / "catalog.db")


@pytest.mark.parametrize("opened", ["reading", "writing"])
@pytest.mark.parametrize("schema", [3, 4])
def test_an_index_with_checksums_is_migrated_and_answers_the_same(tmp_path: Path, opened: str, schema: int) -> None:
    old = json.loads((DATA / "schema-3.json").read_text())  # of the same codes
    folder = older_index(tmp_path / "photos" / ".latent", schema, f"schema-{schema}.sql")
    before = dumped(folder / "catalog.db")
    if opened == "writing":
        with Store.writing(folder) as writer:
            assert np.allclose(asked(writer, old), old["hits"], atol=1e-12)
    with Store.open(folder) as store:
        assert np.allclose(asked(store, old), old["hits"], atol=1e-12) and store.faults() == []
        assert store.notes.kept_apart() == {frozenset({b"a" * 16, b"b" * 16})}
        assert store.notes.directions()["L\u00e4cheln"].accuracy == 0.75
        facts, (skipped,) = store.rows.meta(), store.rows.skipped()
        assert (facts.found, facts.next_id) == (22, 26)
        assert (skipped.path, skipped.reason, skipped.ctime_ns) == ("Bild \u00fc.jpg".encode(), "not a picture", 2030)
        assert {one.unfamiliarity for one in store.rows.found_page(0, 30)[0]} == {None}
        lacking = store.rows.without_facts()
        known = store.rows.facts(one.content_hash for one in store.rows.found_page(0, 30)[0])
        assert len(known) == (0 if schema == 3 else 11) and len(lacking) + len(known) == facts.found
        assert [(one.root_id, one.path) for one in lacking] == sorted((one.root_id, one.path) for one in lacking)
    assert migrations.schema_of(folder / "catalog.db") == SCHEMA
    assert dumped(folder / f"catalog.db.schema-{schema}") == before
    kept = [line for line in before if line.startswith("INSERT") and '"meta"' not in line]
    now = {line.replace(",NULL);", ");") if '"pictures"' in line else line for line in dumped(folder / "catalog.db")}
    assert len(kept) > 50 and set(kept) <= now  # every row and code, to the byte
    make_store(tmp_path / "new", random_codes(2, 0, True), True)
    assert tables_of(folder / "catalog.db") == tables_of(tmp_path / "new" / "catalog.db")
    assert indexes_of(folder / "catalog.db") == indexes_of(tmp_path / "new" / "catalog.db")


def test_an_older_index_that_is_damaged_is_not_migrated(tmp_path: Path) -> None:
    """Or the new checksums would be of what the disk has made of it."""
    folder = older_index(tmp_path / "photos" / ".latent", 2, "schema-2.sql")
    with closing(sqlite3.connect(folder / "catalog.db")) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET rootpage = 2 WHERE name = 'ix_pictures_generation'")
        connection.commit()
    before = (folder / "catalog.db").read_bytes()
    with pytest.raises(IndexDamaged, match="restore the index"):
        Store.open(folder)
    assert (folder / "catalog.db").read_bytes() == before


def test_an_index_from_before_there_were_notes(tmp_path: Path) -> None:
    folder = older_index(tmp_path / "photos" / ".latent")
    with closing(sqlite3.connect(folder / "catalog.db")) as connection:
        connection.executescript("DROP TABLE distinct_contents; DROP TABLE directions")
    with Store.open(folder) as store:
        assert store.notes.kept_apart() == set() and store.notes.directions() == {}
        assert np.allclose(asked(store), OLD["hits"], atol=1e-12)


READER = """
import sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from index.local.store import Store
from tests.test_migrations import OLD, asked
with Store.open(Path(sys.argv[1])) as store:
    print(asked(store) == OLD["hits"] or asked(store))
    print(len(list(Path(tempfile.gettempdir()).glob("latent-*.db"))))
print(len(list(Path(tempfile.gettempdir()).glob("latent-*.db"))))
"""


def test_readers_of_an_older_index_in_a_read_only_folder(tmp_path: Path) -> None:
    folder, scratch = older_index(tmp_path / "photos" / ".latent"), tmp_path / "scratch"
    before = (folder / "catalog.db").read_bytes()
    scratch.mkdir(mode=0o777)
    scratch.chmod(0o777)
    folder.chmod(0o555)
    here = str(Path(__file__).parent.parent)
    try:
        done = subprocess.run(
            [sys.executable, "-c", READER, str(folder), here],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "TMPDIR": str(scratch)},
            preexec_fn=obey_permissions,
        )
    finally:
        folder.chmod(0o755)
    assert done.stdout.split() == ["True", "1", "0"], done.stderr
    assert (folder / "catalog.db").read_bytes() == before and [one.name for one in folder.iterdir()] == ["catalog.db"]


def test_an_older_index_that_a_process_of_its_version_writes_to_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    monkeypatch.setattr("index.local.store.PATIENCE_S", 0.2)
    folder = older_index(tmp_path / "photos" / ".latent")
    with FileLock(folder / "lock"):
        with Store.open(folder) as store:
            assert np.allclose(asked(store), OLD["hits"], atol=1e-12)
        with pytest.raises(IndexBusy), Store.writing(folder):
            pass
    assert migrations.schema_of(folder / "catalog.db") == 1


@pytest.mark.parametrize("step", ["copy", "step"])
def test_a_migration_that_is_killed_leaves_the_old_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder = older_index(tmp_path / "photos" / ".latent")

    def dies(*words: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if step == "copy":
            patched.setattr(migrations.os, "replace", dies)
        else:
            whole = migrations.STEPS[1]
            patched.setitem(migrations.STEPS, 1, lambda connection: (whole(connection), dies()))  # type: ignore[arg-type,return-value]
        with pytest.raises(KeyboardInterrupt):
            Store.open(folder)
    assert migrations.schema_of(folder / "catalog.db") == 1
    with Store.open(folder) as store:
        assert np.allclose(asked(store), OLD["hits"], atol=1e-12)


def test_a_newer_schema_is_refused_with_the_way_out(tmp_path: Path) -> None:
    folder = older_index(tmp_path / "photos" / ".latent", SCHEMA + 1)
    before = (folder / "catalog.db").read_bytes()
    with pytest.raises(IndexMismatch, match=f"schema {SCHEMA + 1}.*upgrade latent") as refusal:
        Store.open(folder)
    assert refusal.value.code == "newer_schema" and refusal.value.facts == {"schema": SCHEMA + 1}
    with pytest.raises(IndexMismatch, match="upgrade latent"), Store.writing(folder):
        pass
    assert (folder / "catalog.db").read_bytes() == before and not list(folder.glob("*.schema-*"))


def test_a_catalog_without_its_head_row(tmp_path: Path) -> None:
    folder = older_index(tmp_path / "photos" / ".latent")
    with closing(sqlite3.connect(folder / "catalog.db")) as connection:
        connection.executescript("DELETE FROM meta")
    with pytest.raises(IndexDamaged, match="head row"):
        Store.open(folder)


def test_ids_are_never_used_twice(tmp_path: Path) -> None:
    """Or a hit that was found before a root went would decode another picture after."""
    folder, codes = tmp_path / "i", random_codes(40, 0, True)
    make_store(folder, codes[:20], True)
    rng = np.random.default_rng(0)
    used = set(range(1, 21))
    with Store.writing(folder) as store:
        for start in (20, 25, 30, 35):
            if rng.random() < 0.7:
                store.rows.drop_root(max(store.rows.roots()))
            else:
                store.rows.mark([max(used)], "removed", forget_codes=True)
            root = store.rows.add_root(str(tmp_path / f"photos-{start}"))
            numbers = range(start, start + 5)
            store.rows.apply([Change(row(number, root_id=root), codes[number]) for number in numbers])
            new = {one.id for one in store.rows.listing(root).values()}
            assert len(new) == 5 and not used & new
            used |= new  # type: ignore[arg-type]
        assert store.faults() == []
    with Store.open(folder) as store:
        first = store.rows.found_page(0, 100)[0]
        (hits,) = store.search(codes[39][None], 1, "euclidean")
        assert hits[0].picture in first and hits[0].picture.path.endswith("photos-35/00039.jpg")
        assert store.rows.found(sorted(set(range(1, 21)))).keys() <= {one.id for one in first}


KILLED = """
import os, shutil, sys
from pathlib import Path
from index import folders

place, left = Path(sys.argv[1]), [int(sys.argv[2])]


def counted(act):
    def once(*words, **more):
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)
        return act(*words, **more)

    return once


os.rename, shutil.rmtree, Path.mkdir = counted(os.rename), counted(shutil.rmtree), counted(Path.mkdir)
Path.rename, Path.write_text = counted(Path.rename), counted(Path.write_text)


def fill(folder):
    (folder / "a").write_text("new")
    (folder / "b").write_text("new")


folders.replace(place, fill)
"""


def test_wherever_its_writer_is_killed_a_kept_folder_is_whole(tmp_path: Path) -> None:
    seen = set()
    for kill_at in range(20):
        folder = tmp_path / str(kill_at) / "model"
        folder.mkdir(parents=True)
        for name in ("a", "b", "c"):
            (folder / name).write_text("old")
        code = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(kill_at)], check=False).returncode
        content = {one.name: one.read_text() for one in folders.place_of(folder).iterdir()}
        assert content in ({"a": "old", "b": "old", "c": "old"}, {"a": "new", "b": "new"})
        seen.add((code, content["a"], folder.exists()))
        folders.recover(folder)
        assert {one.name: one.read_text() for one in folder.iterdir()} == content
        assert [one.name for one in folder.parent.iterdir()] == ["model"]
        if code == 0:
            break
    assert {(9, "old", True), (9, "new", False), (9, "new", True), (0, "new", True)} <= seen


def test_a_kept_folder_that_cannot_be_filled_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_text("old")

    def fails(folder: Path) -> None:
        (folder / "a").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        folders.replace(tmp_path / "model", fails)
    assert (tmp_path / "model" / "a").read_text() == "old" and [one.name for one in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("address", ["mysql://host/db", "s3://bucket/i", "FILE:///tmp/i", "milvus+x.y-z://h"])
def test_an_address_of_an_unknown_kind_is_refused_by_name(address: str) -> None:
    scheme = address.split("://", maxsplit=1)[0]
    for opening in (open_index, exists, write_index):
        with pytest.raises(AddressUnknown, match=f"{scheme}://".replace("+", r"\+")) as refusal:
            opening(address)
        assert refusal.value.facts == {"scheme": scheme}


def test_the_nearest_index_is_the_one_in_the_folders_above(tmp_path: Path) -> None:
    with write_index(tmp_path / "a" / ".latent", create=Meta("m", "digest", DIM, True)) as writer:
        writer.rows.add_root(str(tmp_path / "a"))
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "x:" / "y").mkdir(parents=True)  # a colon makes no scheme
    assert nearest_index(tmp_path / "a" / "b" / "c") == tmp_path / "a" / ".latent"
    assert nearest_index(tmp_path / "x:" / "y") == tmp_path / "x:" / "y" / ".latent"
    index = open_index(tmp_path / "a" / ".latent")
    assert index.address == str(tmp_path / "a" / ".latent") and index.rows.meta().found == 0
    index.close()
    with pytest.raises(NoIndex):
        open_index(tmp_path / "x:" / "y")
