"""Pictures in an object store: as those of a folder, and kept when it is out of reach. The store is moto's server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from index.roots import is_sane_url
from retrieval import Library, Searcher
from retrieval.errors import PathError, RootUnreadable
from retrieval.roots import store
from retrieval.roots.opening import address_of, is_gone
from retrieval.roots.store import checked_url
from tests import stores
from tests.conftest import Run, write_shapes
from tests.kinds_of_roots import MODEL, content_of, in_folder, make_table, make_tar, photos
from tests.stores import Buckets, buckets

__all__ = ["buckets", "in_folder", "photos"]  # fixtures


@pytest.fixture(autouse=True)
def known_store(buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The store of these tests is the one that this process and its children ask."""
    for name, value in buckets.environment.items():
        monkeypatch.setenv(name, value)
    store._opened.cache_clear()
    store._silences.clear()
    yield
    store._opened.cache_clear()


def wait_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """One second in place of those that a network is given."""
    config = store.SETTINGS["s3"]["config_kwargs"] | {"connect_timeout": 1, "read_timeout": 1}
    monkeypatch.setattr(store, "SETTINGS", {"s3": {"config_kwargs": config}})
    store._opened.cache_clear()


def test_a_bucket_gives_the_rows_and_codes_of_the_folder(
    buckets: Buckets, photos: Path, in_folder: Path, tmp_path: Path
) -> None:
    url = buckets.put_folder(photos, "same/photos")
    buckets.put("same/photos-2/other.png", (photos / "cut.png").read_bytes())  # of a name that begins so
    buckets.put("same/photos/", b"")  # as consoles mark a folder
    with Library.build(url + "/", tmp_path / "i", model=MODEL) as library:
        assert library.summary is not None and library.summary.left_out.by_patterns == 1
        assert content_of(tmp_path / "i") == content_of(in_folder)
        assert library.verify() == [] and library.status().roots == [url]
        done = library.update()
        assert (done.unchanged, done.encoded, done.added) == (len(library), 0, 0)


@pytest.mark.parametrize("make", [make_tar, make_table])
def test_archives_and_tables_in_a_bucket_give_the_same(
    buckets: Buckets, photos: Path, tmp_path: Path, make: object
) -> None:
    name = "a.tar" if make is make_tar else "a.parquet"
    path = make(photos, tmp_path / name)  # type: ignore[operator]
    url = buckets.put(f"shards/{name}", path.read_bytes())
    for place, index in ((url, "there"), (path, "here")):
        with Library.build(place, tmp_path / index, model=MODEL) as library:
            assert library.verify() == [] and library.update().encoded == 0
    assert content_of(tmp_path / "there") == content_of(tmp_path / "here")


def test_changes_in_a_bucket_are_seen(buckets: Buckets, photos: Path, tmp_path: Path) -> None:
    url = buckets.put_folder(photos, "changing")
    with Library.build(url, tmp_path / "i", model=MODEL) as library:
        count, content = len(library), (photos / "shape-0-004.png").read_bytes()
        buckets.remove("changing/shape-0-002.png")
        buckets.remove("changing/shape-0-004.png")
        buckets.put("changing/moved/4.png", content)
        other = bytearray((photos / "shape-0-005.png").read_bytes()) + b"x"
        buckets.put("changing/shape-0-005.png", bytes(other))
        assert is_gone(f"{url}/shape-0-002.png") and not is_gone(f"{url}/shape-0-001.png")
        assert any("shape-0-002.png is gone" in fault for fault in library.verify())
        done = library.update()
        assert (done.renamed, done.removed, done.changed) == (1, 1, 1) and len(library) == count - 1
        same_size = bytes(other[:-1]) + b"y"
        buckets.put("changing/shape-0-005.png", same_size)  # in the same second, perhaps: its tag tells
        assert library.update().changed == 1


def test_commands_take_urls(buckets: Buckets, photos: Path, tmp_path: Path, latent: Run) -> None:
    url = buckets.put_folder(photos, "commands")
    latent("index", "build", url, "--index", "i")
    said = latent("query", f"{url}/shape-0-001.png", "--index", "i", "-k", "2", "--sheet", "s.png", "--html", "h.html")
    assert f"{url}/shape-0-003/twin.png" in said.stdout
    inside = latent(
        "query", photos / "shape-0-001.png", "--index", "i", "--in", f"{url}/shape-0-003", "--format", "paths"
    )
    assert len(inside.stdout.splitlines()) == 7
    assert "found" in latent("show", f"{url}/shape-0-001.png", "--index", "i").stdout
    latent("map", "--index", "i", "-o", "map.html")
    plan = latent("dedup", "find", "--index", "i", "-o", "plan.json", "--html", "plan.html")
    assert "0 files can be removed" in plan.stdout and "from which nothing is removed" in plan.stderr
    assert url in (tmp_path / "plan.json").read_text()
    buckets.remove("commands/shape-0-003/twin.png")
    assert "(gone)" in latent("query", f"{url}/shape-0-001.png", "--index", "i", "-k", "2").stdout
    latent("index", "remove", f"{url}/shape-0-003", "--index", "i")
    assert "removed 0 files" not in latent("index", "remove", url, "--index", "i").stdout
    own = {**os.environ, "LATENT_DATA": str(tmp_path / "data")}  # or other tests would find this index
    build = latent("index", "build", f"{url}/shape-0-003", "--name", "album", env=own)
    assert "added 6 " in build.stdout


def test_a_store_that_is_out_of_reach_is_no_empty_one(
    buckets: Buckets, photos: Path, tmp_path: Path, latent: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = buckets.put_folder(photos, "kept")
    latent("index", "build", url, "--index", "i")
    before = content_of(tmp_path / "i")
    away = {**os.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    denied = {**os.environ, "AWS_ACCESS_KEY_ID": ""}
    del denied["AWS_ACCESS_KEY_ID"], denied["AWS_SECRET_ACCESS_KEY"]
    for environment, why in ((away, "does not answer"), (denied, "no credentials were found")):
        said = latent("index", "update", "--index", "i", env=environment)
        assert why in said.stderr and "its pictures are kept" in said.stderr and "removed 0" in said.stdout
        assert content_of(tmp_path / "i") == before
        assert why in latent("index", "build", url, "--index", "new", env=environment, code=1).stderr
        assert not (tmp_path / "new").exists()
    hits = latent("query", photos / "shape-0-001.png", "--index", "i", env=away)
    assert "shape-0-001.png" in hits.stdout and "(gone)" not in hits.stdout
    assert why in latent("index", "verify", "--index", "i", env=denied, code=1).stdout
    for path in sorted(photos.rglob("*")):
        if path.is_file():
            buckets.remove(f"kept/{path.relative_to(photos)}")
    assert "has no objects; its pictures are kept" in latent("index", "update", "--index", "i").stderr
    assert content_of(tmp_path / "i") == before


def test_what_was_not_read_is_said_and_read_by_the_next_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shapes(tmp_path / "photos", 60)
    with stores.started() as own:
        monkeypatch.setenv("AWS_ENDPOINT_URL", own.origin)
        wait_less(monkeypatch)
        url = own.put_folder(tmp_path / "photos", "photos")
        listed = store.objects_below

        def then_cut(address: str) -> Iterator[object]:
            found = list(listed(address))
            own.stop()  # after the listing, and before the first picture
            return iter(found)

        with monkeypatch.context() as patched:
            patched.setattr(store, "objects_below", then_cut)
            library = Library.build(url, tmp_path / "i", model=MODEL)
        assert library.summary is not None and library.summary.skipped == 60
        assert all("the store does not answer" in reason for reason in library.summary.reasons)
        own.start()
        httpx.put(f"{own.origin}/{own.name}").raise_for_status()
        own.put_folder(tmp_path / "photos", "photos")
        store._silences.clear()  # half a minute passes
        store._opened.cache_clear()
        done = library.update()
        assert (done.added, done.skipped, len(library)) == (60, 0, 60)
        library.close()


def test_a_store_that_breaks_off_in_a_build_is_no_end_of_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stores.started() as own:
        monkeypatch.setenv("AWS_ENDPOINT_URL", own.origin)
        wait_less(monkeypatch)
        write_shapes(tmp_path / "many", 300)
        url = own.put_folder(tmp_path / "many", "many")
        began = threading.Event()

        def report(done: int, total: int) -> None:
            if done and not began.is_set():
                began.set()
                own.pause()

        with Library.build(url, tmp_path / "i", model=MODEL, report=report) as library:
            assert library.summary is not None
            assert library.summary.added + library.summary.skipped == 300 and library.summary.added >= 256


def test_no_secret_is_in_what_is_said_or_kept(buckets: Buckets, photos: Path, tmp_path: Path, latent: Run) -> None:
    url = buckets.put_folder(photos, "secret")
    done = [
        latent("index", "build", url, "--index", "i"),
        latent("index", "build", "s3://none-of-mine/x", "--index", "j", code=1),
        latent("index", "build", "s3://me:geheim@pictures/x", "--index", "j", code=1),
        latent("index", "build", f"{url}?X-Amz-Signature=geheim", "--index", "j", code=1),
    ]
    said = "".join(one.stdout + one.stderr for one in done)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "i").rglob("*") if path.is_file())
    for secret in (stores.SECRET, "geheim"):
        assert secret not in said and secret.encode() not in kept
    assert b"tester" not in kept and "Traceback" not in said


def test_names_that_are_no_paths_are_left_out_and_said(buckets: Buckets, photos: Path, tmp_path: Path) -> None:
    content = (photos / "shape-0-001.png").read_bytes()
    buckets.put("odd/a.png", content)
    buckets.put("odd/x/../../b.png", content + b"1")
    with Library.build("s3://pictures/odd", tmp_path / "i", model=MODEL) as library:
        assert library.summary is not None and len(library) >= 1
        for one in library.index.rows.listing(1):
            assert b".." not in one


def test_without_the_extra_the_pip_line_is_said(buckets: Buckets, photos: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['fsspec'] = None; from cli.main import main; main()"

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run("index", "build", "s3://pictures/x", "--index", "i")
    assert done.returncode == 1 and "pip install 'latent-search[stores]'" in done.stderr
    assert not (tmp_path / "i").exists()
    with Library.build(buckets.put_folder(photos, "elsewhere"), tmp_path / "i", model=MODEL) as library:
        count = len(library)
    hits = run("query", photos / "shape-0-001.png", "--index", "i")  # who only searches needs no store
    assert hits.returncode == 0 and "elsewhere/shape-0-001.png" in hits.stdout and "(gone)" not in hits.stdout
    assert "pip install 'latent-search[stores]'" in run("index", "update", "--index", "i").stderr
    write_shapes(tmp_path / "here", 3, seed=5)
    added = run("index", "build", "here", "--index", "i")  # which has nothing to do with the store
    assert added.returncode == 0 and f"{count + 3} pictures" in added.stdout


def test_urls_have_one_spelling() -> None:
    assert checked_url("S3://bucket/a/b/") == "s3://bucket/a/b"
    assert address_of("file:///tmp/../tmp") == os.path.realpath("/tmp")
    bad = ("s3://", "s3://b//a", "s3://b/../a", "memory://a", "http://h/a", "file2://x", "s3://u@b/a", "s3://b/a?k=1")
    for text in (*bad, "simplecache::s3://b/a", "s3://b/a\n"):
        with pytest.raises(PathError):
            checked_url(text)
    for text in ("s3:/b", "s3://", "s3://b//a", "s3://b/.", "s3://me@b/a", "http://h/a", "s3://b/a::zip://x"):
        assert not is_sane_url(text)


def test_a_store_that_is_silent_is_not_asked_for_each_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store._opened.cache_clear()
    for number in range(store.SILENCES):
        with pytest.raises(RootUnreadable, match="does not answer"):
            store.object_facts(f"s3://silent/{number}.png")
    start = time.monotonic()
    for number in range(1000):
        with pytest.raises(RootUnreadable, match="does not answer"):
            store.object_facts(f"s3://silent/{number}.png")
    assert time.monotonic() - start < 2


def test_served_pictures_of_a_store_have_thumbnails(buckets: Buckets, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="latent serve needs the extra web")
    from tests.serving import ended, started, told

    url = buckets.put_folder(photos, "served")
    Library.build(url, tmp_path / ".latent", model=MODEL).close()
    token = tmp_path / "token"
    token.write_text("t" * 43)
    token.chmod(0o600)
    site = started(tmp_path, token=token, scratch=tmp_path)
    try:
        items = told(site.get("items", limit=3))["items"]
        assert items and not any(one["gone"] for one in items)
        shown = site.get(f"items/{items[0]['id']}/thumbnail")
        assert shown.status_code == 200 and shown.content[:4] == b"RIFF"
        assert told(site.get("index"))["roots"] == [{"name": "served", "there": True}]
    finally:
        ended(site)


def test_a_searcher_reads_what_a_store_holds(buckets: Buckets, photos: Path, in_folder: Path) -> None:
    url = buckets.put("alone/a.png", (photos / "shape-0-001.png").read_bytes())
    with Searcher.open(in_folder) as searcher:
        here, there = searcher.look_at(photos / "shape-0-001.png"), searcher.look_at(url)
        assert here.code.tobytes() == there.code.tobytes()
