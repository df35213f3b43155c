"""Builds on a cluster: the result is that of one machine, whatever dies in between. Ray and its nodes are real."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from index.opening import open_index
from retrieval import Library, load_model
from retrieval.errors import ClusterError
from retrieval.ingest.cluster import Crew, _trusted, crew_of
from retrieval.ingest.encode import Encoder, Outcome
from retrieval.ingest.joining import checked_cluster
from retrieval.ingest.node import NodeEncoder, Parcel, Reply, deciding_versions, packed_bundle
from tests.clusters import Nodes, nodes
from tests.conftest import Run, write_shapes
from tests.servers import Server

pytest.importorskip("ray.data", reason="Ray is not installed (extra cluster)")
pytestmark = pytest.mark.alone
__all__ = ["nodes"]  # a fixture
LARGE, SLOW_PX = 400, 600
MODEL = "photos-64"  # shipped: no other need be made
PROGRAM = str(Path(sys.executable).with_name("latent"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that take a while to decode, of different bytes; two that cannot be read, twins, and a text."""
    folder = tmp_path_factory.mktemp("large") / "photos"
    (folder / "inner").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (SLOW_PX, SLOW_PX, 3), np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    content = (folder / "noise.png").read_bytes()
    for number in range(LARGE):
        place = folder / "inner" if number % 3 else folder
        (place / f"{number:04d}.png").write_bytes(content + b"%d" % number)
    write_shapes(folder, 20)
    shutil.copy(folder / "0000.png", folder / "zz-twin.png")
    shutil.copy(folder / "shape-0-003.png", folder / "shape-0-003-twin.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "cut.png").write_bytes(content[: len(content) // 2])
    (folder / "notes.txt").write_text("a text")
    return folder


class Local:
    """A local build of ``photos``: what the program said, and all that is in the catalog."""

    def __init__(self, photos: Path, index: Path) -> None:
        words = [PROGRAM, "index", "build", str(photos), "--index", str(index), "--model", MODEL]
        self.said = said_of(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        self.content = content_of(index)


@pytest.fixture(scope="module")
def local(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Local:
    return Local(photos, tmp_path_factory.mktemp("local") / "i")


def said_of(text: str) -> list[str]:
    """What a build said, without its time."""
    return [line for line in text.splitlines() if " pictures in " not in line]


def content_of(index: Path) -> dict[str, list[str]]:
    """All rows of all tables of a catalog."""
    with closing(sqlite3.connect(index / "catalog.db")) as database:
        names = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        return {name: sorted(map(repr, database.execute(f"select * from {name}"))) for name in names}


def started(*words: object) -> subprocess.Popen[str]:
    command = [PROGRAM, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_a_commit(index: Path, build: subprocess.Popen[str]) -> None:
    """Return when some pictures, but not all, are committed."""
    while build.poll() is None:
        try:
            with closing(sqlite3.connect(f"file:{index / 'catalog.db'}?mode=ro", uri=True)) as database:
                (count,) = database.execute("select count(*) from pictures").fetchone()
        except sqlite3.OperationalError:  # not yet there, or being written
            count = 0
        if count:
            assert count < LARGE
            return
        time.sleep(0.02)
    raise AssertionError(build.communicate())


def started_here(index: Path, *words: object) -> subprocess.Popen[str]:
    """A build that starts Ray, and has committed something. Ray gives up on a machine that is too busy; try again."""
    for _ in range(3):
        build = started(*words, "--on", "ray")
        try:
            wait_for_a_commit(index, build)
            return build
        except AssertionError as error:
            if "timed out during startup" not in str(error):
                raise
    raise TimeoutError("Ray does not start")


def test_a_driver_that_was_killed_goes_on(
    nodes: Nodes, photos: Path, local: Local, tmp_path: Path, latent: Run
) -> None:
    words = ("index", "build", photos, "--index", tmp_path / "i", "--model", MODEL, "--on", nodes.address)
    build = started(*words)
    wait_for_a_commit(tmp_path / "i", build)
    build.kill()
    build.communicate()
    kept = len(content_of(tmp_path / "i")["pictures"])
    assert 0 < kept < LARGE
    again = latent(*words)
    assert f"unchanged {kept - 2} " in again.stdout  # two of them are skipped
    assert content_of(tmp_path / "i") == local.content


def test_a_node_that_is_killed_midway_changes_nothing(nodes: Nodes, photos: Path, local: Local, tmp_path: Path) -> None:
    build = started("index", "build", photos, "--index", tmp_path / "i", "--model", MODEL, "--on", nodes.address)
    wait_for_a_commit(tmp_path / "i", build)
    nodes.kill_a_busy_one()
    said, errors = build.communicate(timeout=200)
    assert build.returncode == 0, errors
    assert said_of(said) == local.said and any("skipped 2" in line for line in local.said)
    assert content_of(tmp_path / "i") == local.content


def test_an_index_on_a_server_is_built_and_updated_the_same(
    nodes: Nodes, server: Server, tmp_path: Path, latent: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    write_shapes(tmp_path / "photos", 40)
    address = server.new()
    latent("index", "build", "photos", "--index", address, "--model", MODEL, "--on", nodes.address)
    with Library.build(tmp_path / "photos", tmp_path / "i", model=MODEL) as local:
        assert rows_of(address) == rows_of(tmp_path / "i")
        (tmp_path / "photos" / "shape-0-001.png").unlink()
        write_shapes(tmp_path / "photos", 20, seed=1)
        summary = local.update()
    done = latent("index", "update", "--index", address, "--on", nodes.address)
    assert f"added {summary.added}" in done.stdout and "removed 1" in done.stdout
    assert rows_of(address) == rows_of(tmp_path / "i")
    assert "added 0" in latent("index", "update", "--index", address, "--on", nodes.address).stdout


def rows_of(place: Path | str) -> list[Any]:
    """Rows of an index with their codes, by path, without the times of the index itself."""
    index = open_index(place)
    try:
        with index.rows.snapshot():
            rows = sorted(index.rows.listing(1).items())
            codes = index.rows.codes([row.id for _, row in rows if row.id is not None])
        return [(path, row, codes[row.id].tobytes() if row.id in codes else None) for path, row in rows]
    finally:
        index.close()


def test_ctrl_c_keeps_what_was_committed_and_leaves_nothing_behind(
    photos: Path, local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, latent: Run
) -> None:
    temporary = Path(tempfile.mkdtemp(prefix="t-"))  # short, for paths of sockets
    monkeypatch.setenv("TMPDIR", str(temporary))
    words = ("index", "build", photos, "--index", tmp_path / "i", "--model", MODEL)
    build = started_here(tmp_path / "i", *words)
    os.killpg(build.pid, signal.SIGINT)  # as a terminal does
    _, errors = build.communicate(timeout=100)
    assert build.returncode == 130 and "Committed work is kept" in errors and "Traceback" not in errors, errors
    assert not (left := list(temporary.iterdir())), left
    temporary.rmdir()
    kept = len(content_of(tmp_path / "i")["pictures"])
    assert 0 < kept < LARGE
    latent(*words)
    assert content_of(tmp_path / "i") == local.content


def test_what_is_no_cluster_is_refused_soon(tmp_path: Path, latent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shapes(tmp_path / "photos", 4)
    words = ("index", "build", "photos", "--index", "i", "--model", MODEL, "--on")
    for word in ("ray://127.0.0.1:10001", "somewhere", "host:70000", "http://a:1"):
        assert "--on" in latent(*words, word, code=2).stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{free.getsockname()[1]}"
    start = time.monotonic()
    assert f"no head of Ray answers at {closed}" in latent(*words, closed, code=1).stderr
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        other = f"127.0.0.1:{mute.getsockname()[1]}"
        assert f"what answers at {other} is no head of Ray" in latent(*words, other, code=1).stderr
    assert time.monotonic() - start < 90
    assert not (tmp_path / "i").exists()


def test_without_the_extra_the_pip_line_is_said(tmp_path: Path) -> None:
    write_shapes(tmp_path / "photos", 2)
    code = "import sys; sys.modules['ray'] = None; from cli.main import main; main()"
    words = ["index", "build", "photos", "--index", "i", "--model", MODEL]
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--on", "ray"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "pip install 'latent-search[cluster]'" in done.stderr
    assert not (tmp_path / "i").exists()
    subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, check=True)


def test_addresses_are_those_of_ray() -> None:
    for word in ("ray", "127.0.0.1:6379", "head.example:6379", "[::1]:6379"):
        assert checked_cluster(word) == word
    for word in ("", "ray://head:10001", "head", ":6379", "head:0", "auto"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            checked_cluster(word)


def test_actors_are_as_many_as_there_is_to_run_on() -> None:
    assert crew_of({"CPU": 12.0}, "auto", None) == Crew(12, 1, 0)
    assert crew_of({"CPU": 12.0, "GPU": 2.0}, "auto", None) == Crew(2, 6, 1)
    assert crew_of({"CPU": 12.0, "GPU": 2.0}, "cpu", 3) == Crew(3, 1, 0)
    with pytest.raises(ClusterError, match="no GPUs"):
        crew_of({"CPU": 12.0}, "cuda", None)
    with pytest.raises(ClusterError, match="no CPUs"):
        crew_of({"GPU": 1.0}, "auto", None)


@pytest.fixture
def parcel() -> Callable[..., Parcel]:
    def of(**versions: str) -> Parcel:
        bundle = packed_bundle(load_model(MODEL))
        return Parcel(bundle, "cpu", frozenset(), 1, {**deciding_versions(), **versions})

    return of


def test_a_node_needs_neither_the_models_folder_nor_its_generator(
    tmp_path: Path, parcel: Callable[..., Parcel]
) -> None:
    write_shapes(tmp_path / "photos", 9)
    paths = sorted(str(path) for path in (tmp_path / "photos").iterdir())
    assert sorted(parcel().bundle) == ["encoder.onnx", "model.json"]
    with closing(NodeEncoder(parcel())) as node:
        reply = node.reply(paths)
    with Encoder(load_model(MODEL)) as encoder:
        (here,) = encoder.batches(paths)
    assert reply.fault is None and len(here) == 9
    for mine, other in zip(here, reply.outcomes, strict=True):
        assert mine.content is not None and other.content is not None
        assert mine.content_hash == other.content_hash and mine.content.facts == other.content.facts
        assert mine.content.code.tobytes() == other.content.code.tobytes()


def test_a_node_that_would_encode_differently_is_not_used(parcel: Callable[..., Parcel]) -> None:
    reply = NodeEncoder(parcel(Pillow="1.0")).reply(["a.jpg"])
    assert not reply.outcomes and reply.fault is not None and "Pillow" in reply.fault and "1.0" in reply.fault
    with pytest.raises(ClusterError, match=rf"node {reply.node} cannot do its part: .*Pillow"):
        list(_trusted(reply, Outcome))


def test_a_node_that_does_not_see_the_pictures_is_named() -> None:
    unread = tuple(Outcome(path, reason="cannot be read: none", passing=True) for path in ("a", "b"))
    with pytest.raises(ClusterError, match=r"node far cannot read a .*same paths"):
        list(_trusted(Reply("far", unread), lambda path: Outcome(path, b"hash")))
    mine = list(_trusted(Reply("far", unread), lambda path: Outcome(path, reason="mine", passing=True)))
    assert [outcome.reason for outcome in mine] == ["mine", "mine"]
    some = (Outcome("a", b"hash"), unread[1])
    assert list(_trusted(Reply("far", some), lambda path: Outcome(path, b"b"))) == [some[0], Outcome("b", b"b")]
