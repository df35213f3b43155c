"""The index room alone: FAISS against brute force, and caches that are never trusted further than the catalog."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from index.errors import IndexBusy, IndexDamaged, IndexUnwritable, NoIndex
from index.local.cachefile import CacheUnusable
from index.local.caches import VectorCache
from index.local.store import Store
from index.local.writing import CatalogWriter
from index.records import Change, Meta
from tests.codes import DIM, brute_force, random_codes, row
from tests.servers import Places, fill, make_store, opened, writing


@pytest.mark.parametrize("standardized", [True, False])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 10, 60, 1000])
def test_search_equals_brute_force_to_the_last_id(places: Places, standardized: bool, metric: str, k: int) -> None:
    xb, xq = random_codes(400, 0, standardized), random_codes(12, 1, standardized)
    xq[3] = xb[0]  # a query with many exact ties
    fill(places(), places.folder / "photos", xb, standardized)
    left_out: list[set[int]] = [set() for _ in xq]
    left_out[3], left_out[4] = {1}, {5, 6, 7}
    with opened(places()) as store:
        hits = store.search(xq, k, metric, left_out)  # type: ignore[arg-type]
    for query, found, out in zip(xq, hits, left_out, strict=True):
        assert [one.id for one in found] == brute_force(xb, query, k, metric, out)


def test_both_numbers_of_a_neighbour_are_exact(places: Places) -> None:
    xb = random_codes(50, 0, False)
    fill(places(), places.folder / "photos", xb, False)
    with opened(places()) as store:
        (hits,) = store.search(xb[:1], 50, "cosine")
    assert len(hits) == 50
    for one in hits:
        a, b = xb[0].astype(np.float64), xb[one.id - 1].astype(np.float64)
        assert one.distance == pytest.approx(np.linalg.norm(a - b), abs=1e-12)
        assert one.similarity == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-12)


def test_the_metrics_rank_differently_only_where_codes_are_not_standardized(places: Places) -> None:
    for standardized in (True, False):
        place = places(str(standardized))
        fill(place, places.folder / "photos", random_codes(200, 2, standardized), standardized)
        with opened(place) as store:
            xq = random_codes(5, 3, standardized)
            euclid, cosine = (
                [[one.id for one in hits] for hits in store.search(xq, 30, metric)]
                for metric in ("euclidean", "cosine")
            )
            assert (euclid == cosine) is standardized
            assert len(list(store.caches.glob("*.faiss"))) == (1 if standardized else 2)


def test_caches_are_caught_up_after_every_kind_of_change(places: Places) -> None:
    codes, place = random_codes(60, 4, True), places()
    fill(place, places.folder / "photos", codes)
    other = random_codes(3, 5, True)
    with writing(place) as store:
        store.rows.apply([Change(row(60), other[0]), Change(row(3, id=4), other[1])])
        store.rows.mark([7], "vanished")
        store.rows.mark([8], "removed", forget_codes=True)
    expected = {number + 1: code for number, code in enumerate(codes)} | {61: other[0], 4: other[1]}
    del expected[7], expected[8]
    with opened(place) as store:
        cache = store.cache("cosine")
        vectors = cache.faiss_index.reconstruct_batch(np.array(sorted(expected)))
        assert not store.cache_faults()
    assert VectorCache.thawed(cache).ids().tolist() == sorted(expected)
    assert np.allclose(vectors, np.stack([expected[i] for i in sorted(expected)]) / np.sqrt(DIM), atol=1e-6)
    with opened(place) as store:  # what was saved is what was searched
        assert VectorCache.load(store.cache_path("cosine"), "cosine", DIM).generation == store.rows.meta().generation


def damage_nothing_left(path: Path) -> None:
    path.unlink()


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_header(path: Path) -> None:
    path.write_bytes(b"\xff" * 64 + path.read_bytes()[64:])


def damage_garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def damage_other_dimension(path: Path) -> None:
    VectorCache.empty("cosine", DIM + 1, 1, b"").save(path)


def damage_same_generation_fewer_rows(path: Path) -> None:
    cache = VectorCache.load(path, "cosine", DIM)
    cache.remove([1])
    cache.save(path)


@pytest.mark.parametrize("damage", [value for name, value in sorted(globals().items()) if name.startswith("damage_")])
def test_a_damaged_or_missing_cache_is_rebuilt(tmp_path: Path, damage: object) -> None:
    codes, folder = random_codes(80, 6, True), tmp_path / "i"
    make_store(folder, codes, True)
    path = folder / "cosine.faiss"
    whole = path.read_bytes()
    damage(path)  # type: ignore[operator]
    with Store.open(folder) as store:
        hits = store.search(codes[:3], 5, "euclidean")
    for query, found in zip(codes[:3], hits, strict=True):
        assert [one.id for one in found] == brute_force(codes, query, 5, "euclidean", set())
    assert path.read_bytes() == whole


def test_a_cache_that_holds_other_codes_is_a_fault_that_verify_names(tmp_path: Path) -> None:
    codes, folder = random_codes(30, 7, True), tmp_path / "i"
    make_store(folder, codes, True)
    cache = VectorCache.load(folder / "cosine.faiss", "cosine", DIM)
    cache.remove([2])
    cache.add(np.array([2]), codes[9:10])
    cache.save(folder / "cosine.faiss")
    with Store.open(folder) as store:
        assert store.cache_faults() == ["cache: cosine.faiss does not hold the catalog's codes"]


def test_a_batch_lands_whole_or_not_at_all(places: Places) -> None:
    place, codes = places(), random_codes(10, 8, True)
    fill(place, places.folder / "photos", codes)
    with writing(place) as store:
        with pytest.raises(IndexDamaged):  # the second row takes a path that is taken
            store.rows.apply([Change(row(100), codes[0]), Change(row(5), codes[1])])
        facts = store.rows.meta()
        assert (facts.found, facts.generation) == (10, 1)
        assert store.rows.at_path(1, b"00100.jpg") is None
        assert not store.faults()


def test_only_one_writer(tmp_path: Path) -> None:
    make_store(tmp_path / "i", random_codes(5, 9, True), True)
    with Store.writing(tmp_path / "i"), pytest.raises(IndexBusy, match="another latent"), Store.writing(tmp_path / "i"):
        pass
    with Store.writing(tmp_path / "i"):  # and the lock is free again
        pass


def test_no_index_and_no_database(tmp_path: Path) -> None:
    with pytest.raises(NoIndex, match=r"no index at .*nowhere"):
        Store.open(tmp_path / "nowhere")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "catalog.db").write_bytes(b"not a database, certainly not" * 100)
    with pytest.raises(IndexDamaged, match=r"catalog\.db"):
        Store.open(tmp_path / "bad")


def test_a_folder_of_other_files_becomes_no_index_and_loses_nothing(tmp_path: Path) -> None:
    """Whatever is called like the index's own would be replaced or deleted there."""
    for name in ("movie.part", "mine.faiss", "euclidean.faiss"):
        (tmp_path / name).write_text("somebody's")
    with (
        pytest.raises(IndexUnwritable, match=r"holds other files, such as mine\.faiss"),
        Store.writing(tmp_path, create=Meta("m", "digest", DIM, True)),
    ):
        raise AssertionError
    assert {path.name for path in tmp_path.iterdir()} == {"movie.part", "mine.faiss", "euclidean.faiss"}
    folder = tmp_path / "i"
    folder.mkdir()
    for name in ("lock", "catalog.db.part", "catalog.db.part-journal"):  # of a process that was killed in its first act
        (folder / name).write_bytes(b"")
    make_store(folder, random_codes(20, 0, True), True)
    for name in ("movie.part", "mine.faiss"):
        (folder / name).write_text("put there later")
    with Store.writing(folder) as store:
        store.refresh_caches()
        assert not store.cache_faults()
        store.drop_caches()
    assert (folder / "movie.part").exists() and (folder / "mine.faiss").exists()


def test_who_reads_slowly_keeps_no_writer_waiting(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    place, codes = places(), random_codes(30, 0, True)
    fill(place, places.folder / "photos", codes)
    monkeypatch.setattr("index.local.database.BUSY_TIMEOUT_S", 0.2)
    with opened(place) as store:
        rows, page = store.rows.found_page(0, 10)
        assert [picture.id for picture in rows] == list(range(1, 11)) and np.array_equal(page, codes[:10])
        with writing(place) as other:
            other.rows.mark([11, 30], "vanished")
        rows, page = store.rows.found_page(10, 100)
        assert [picture.id for picture in rows] == list(range(12, 30)) and np.array_equal(page, codes[11:29])
        assert store.rows.found_page(30, 10)[0] == []


def test_counting_along_equals_counting(places: Places) -> None:
    place = places()
    fill(place, places.folder / "photos", random_codes(40, 10, True))
    with writing(place) as store:
        catalog: CatalogWriter = store.rows
        catalog.mark([1, 2, 3], "vanished")
        catalog.mark([2], "found")
        catalog.mark([2, 3], "removed", forget_codes=True)
        catalog.apply([Change(row(4, id=5, status="skipped", reason="x", realism=None))])
        assert catalog.meta().found == catalog.counts()["found"] == 36
        assert not store.faults()
        assert catalog.drop_root(1) == 40
        assert catalog.meta().found == 0


def test_loading_a_cache_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(CacheUnusable, match=r"x\.faiss"):
        VectorCache.load(tmp_path / "x.faiss", "cosine", DIM)


def test_without_faiss_the_pip_line_is_named_before_any_work(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['faiss'] = None\n"
        "from pathlib import Path\nfrom index.local.store import Store\nfrom index.records import Meta\n"
        "from index.errors import MissingExtra\n"
        "try:\n    Store.writing(Path(sys.argv[1]), create=Meta('m', 'd', 4, True)).__enter__()\n"
        "except MissingExtra as error:\n    print(error)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "i")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "pip install 'latent-search[cpu]'" in done.stdout, done.stderr
    assert not (tmp_path / "i").exists()


def test_both_faiss_packages_are_refused(tmp_path: Path) -> None:
    """What matters is what is installed by name: two packages that each claim it."""
    for name in ("faiss_cpu", "faiss_gpu_cu12"):
        facts = tmp_path / f"{name}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    code = "from index.neighbours import check_faiss; check_faiss()"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert "overwrite each other" in done.stderr
