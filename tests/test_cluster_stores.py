"""Pictures of a store, an archive and a table, read by the nodes of a cluster: the result is that of one machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from retrieval import Library
from retrieval.roots import store
from tests import clusters, stores
from tests.clusters import Nodes
from tests.conftest import Run
from tests.kinds_of_roots import MODEL, content_of, make_pictures, make_table, make_tar
from tests.stores import Buckets

pytest.importorskip("ray.data", reason="Ray is not installed (extra cluster)")
pytestmark = pytest.mark.alone


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Buckets, Nodes]]:
    """A store, and a cluster of two nodes that know how to reach it."""
    with ExitStack() as held:
        buckets = held.enter_context(stores.started())
        for name, value in buckets.environment.items():
            monkeypatch.setenv(name, value)
        store._opened.cache_clear()
        store._silences.clear()
        yield buckets, held.enter_context(clusters.started(2))


def test_a_cluster_gives_the_rows_and_codes_of_one_machine(
    both: tuple[Buckets, Nodes], tmp_path: Path, latent: Run
) -> None:
    buckets, nodes = both
    make_pictures(tmp_path / "photos")
    make_tar(tmp_path / "photos", tmp_path / "a.tar")
    make_table(tmp_path / "photos", tmp_path / "t.parquet")
    places = [
        buckets.put_folder(tmp_path / "photos", "photos"),
        buckets.put("shards/a.tar", (tmp_path / "a.tar").read_bytes()),
        str(tmp_path / "a.tar"),
        str(tmp_path / "t.parquet"),
    ]
    Library.build(tmp_path / "photos", tmp_path / "folder", model=MODEL).close()
    for number, place in enumerate(places):
        mine, theirs = tmp_path / f"local{number}", tmp_path / f"cluster{number}"
        Library.build(place, mine, model=MODEL).close()
        latent("index", "build", place, "--index", theirs, "--model", MODEL, "--on", nodes.address)
        assert content_of(mine) == content_of(theirs)
        if not place.endswith(".parquet"):  # which holds no .latentignore, and is read in another order
            assert content_of(theirs) == content_of(tmp_path / "folder")
    assert "added 0 " in latent("index", "update", "--index", theirs, "--on", nodes.address).stdout
