"""Structures that are not exact: chosen by budget, right in what they find, and no less durable than the exact one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest

from index.errors import MissingExtra
from index.local.cachefile import TAIL, CacheUnusable, trailer_of
from index.local.caches import Truth, VectorCache
from index.local.snapshots import cache_kind
from index.local.store import Store
from index.local.structures import EXACT, QUANTIZED, Quality, Structure, choose, read_budget, write_budget
from index.records import Budget, Change
from tests.codes import DIM, brute_force, row, standard
from tests.servers import make_store

MB = 1_000_000
KINDS = {"quantized": QUANTIZED, "inverted": Structure(True, 16, 8)}
COUNT = 3000


def spread_codes(count: int, seed: int) -> np.ndarray:
    """As those of pictures are: correlated numbers, no two alike."""
    mix = np.random.default_rng(99).standard_normal((DIM, DIM)) * np.linspace(2, 0.3, DIM)
    return standard((np.random.default_rng(seed).standard_normal((count, DIM)) @ mix).astype(np.float32))


def test_what_is_lost_grows_with_the_collection_and_shrinks_with_the_budget() -> None:
    assert choose(1000, 128, Budget()) == choose(300_000, 128, Budget()) == EXACT
    assert choose(300_001, 128, Budget()) == choose(10_000_000, 128, Budget()) == QUANTIZED
    assert choose(10**9, 128, Budget()).lists > 0
    assert choose(1_000_000, 128, Budget(memory_bytes=600 * MB)) == EXACT  # 512 bytes a code, and its id
    assert choose(1_000_000, 128, Budget(memory_bytes=500 * MB)) == QUANTIZED
    assert choose(1_000_000, 128, Budget(latency_s=0.01)) == QUANTIZED
    hurried = [choose(10_000_000, 128, Budget(latency_s=seconds)) for seconds in (0.05, 0.03, 0.02)]
    assert [one.share for one in hurried] == sorted({one.share for one in hurried}, reverse=True)
    for count in (10, 10_000, 10_000_000):
        for budget in (Budget(memory_bytes=800 * MB), Budget(latency_s=0.02), Budget(900 * MB, 0.05)):
            assert choose(count, 128, budget).fits(count, 128, budget)
    assert choose(7, 128, Budget(memory_bytes=1000)) == EXACT  # tables cannot be learnt from so few
    tight = Budget(memory_bytes=1000)
    assert choose(999, 128, tight) == EXACT != choose(1000, 128, tight)
    impossible = choose(10_000_000, 128, Budget(memory_bytes=1000))
    assert impossible == QUANTIZED and not impossible.fits(10_000_000, 128, Budget(memory_bytes=1000))


@pytest.mark.parametrize("dim", [2, 7, 24, 128])
@pytest.mark.parametrize("structure", [EXACT, QUANTIZED, Structure(True, 16, 4)])
def test_memory_is_what_faiss_takes(dim: int, structure: Structure) -> None:
    codes = np.random.default_rng(0).standard_normal((6400, dim)).astype(np.float32)
    cache = VectorCache.empty("euclidean", dim, 0, b"", structure, codes)
    assert cache.structure == structure
    before = len(faiss.serialize_index(cache.faiss_index))
    cache.add(np.arange(6400), codes)
    taken = len(faiss.serialize_index(cache.faiss_index)) - before
    if structure.quantized:  # kept once more, packed, without their ids
        taken += taken - 6400 * 8
    said = structure.memory_bytes(6400, dim) - structure.memory_bytes(0, dim)
    assert 0.9 * said <= taken <= 1.1 * said, (taken, said)


@pytest.mark.parametrize("dim", [7, 24])
def test_centroids_take_memory_too(dim: int) -> None:
    codes = np.random.default_rng(0).standard_normal((2000, dim)).astype(np.float32)
    structure = Structure(True, 16, 4)
    lists = VectorCache.empty("euclidean", dim, 0, b"", structure, codes).faiss_index
    centroids = faiss.downcast_index(lists.quantizer)
    assert structure.memory_bytes(0, dim) == centroids.ntotal * centroids.code_size == 16 * 4 * dim
    assert EXACT.memory_bytes(0, dim) == QUANTIZED.memory_bytes(0, dim) == 0


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_truth_that_recall_is_measured_by_is_that_of_brute_force(metric: str) -> None:
    """However the codes come in: in pages of any size, the first of them smaller than ten."""
    codes = spread_codes(700, 4) * np.linspace(0.5, 2, 700, dtype=np.float32)[:, None]
    truth = Truth(metric, codes[100:130])  # type: ignore[arg-type]
    for start, end in ((0, 3), (3, 250), (250, 251), (251, 700)):
        truth.add(np.arange(start + 1, end + 1), codes[start:end])
    right = [brute_force(codes, code, 10, metric, {number + 101}) for number, code in enumerate(codes[100:130])]
    assert truth.ids.tolist() == right


def laid_out(store: Store) -> tuple[Structure, Quality]:
    """How the cache that is saved is laid out, and how well it answers; what the door says of it agrees."""
    trailer = trailer_of(store.cache_path(cache_kind("euclidean", store.rows.meta())))
    assert trailer is not None and store.layout().name == str(trailer.structure)
    assert store.layout().recall == trailer.quality.recall
    return trailer.structure, trailer.quality


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A structure that collections of this size would never get."""
    monkeypatch.setattr("index.local.store.choose", lambda *facts: KINDS[request.param])
    return str(request.param)


@pytest.mark.parametrize("standardized", [True, False])
def test_the_nearest_are_found_in_their_exact_order(tmp_path: Path, kind: str, standardized: bool) -> None:
    codes, folder = spread_codes(COUNT, 1), tmp_path / "i"
    codes = codes if standardized else codes * np.linspace(0.5, 2, COUNT, dtype=np.float32)[:, None]
    make_store(folder, codes, standardized)
    queries = spread_codes(40, 2)
    with Store.open(folder) as store:
        for metric in ("euclidean", "cosine"):
            found = [[one.id for one in hits] for hits in store.search(queries, 10, metric)]  # type: ignore[arg-type]
            true = [brute_force(codes, query, 10, metric, set()) for query in queries]
            recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, true, strict=True)])
            assert recall > (0.98 if kind == "quantized" else 0.7), recall
            for hits, best in zip(found, true, strict=True):  # whatever was found stands in its exact order
                assert hits[0] in best and [one for one in best if one in hits] == [one for one in hits if one in best]
        structure, quality = laid_out(store)
        assert structure == KINDS[kind] and quality.measured_at == COUNT
        assert structure.memory_bytes(COUNT, DIM) < 0.3 * EXACT.memory_bytes(COUNT, DIM)
        if kind == "quantized":
            assert quality.recall >= 0.99
        for k in (COUNT - 1, COUNT, 2 * COUNT):  # as many as are wanted, or as there are
            (hits,) = store.search(queries[:1], k, "cosine")
            assert len(hits) == min(k, COUNT) and hits[0].similarity <= 1
            assert [one.id for one in hits] == brute_force(codes, queries[0], k, "cosine", set())


def test_it_is_caught_up_and_not_built_again(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, folder = spread_codes(COUNT, 1), tmp_path / "i"
    make_store(folder, codes, True)
    new = spread_codes(5, 3)
    with Store.writing(folder) as store:
        monkeypatch.setattr(VectorCache, "empty", None)  # whoever builds one anew fails
        store.rows.apply([Change(row(COUNT + number), code) for number, code in enumerate(new)])
        store.rows.mark([11, 12], "removed", forget_codes=True)
        store.refresh_caches()
        hits = store.search(np.concatenate([new, codes[10:12]]), 1, "euclidean")
        assert [one[0].id for one in hits[:5]] == [COUNT + 1 + number for number in range(5)]
        assert not {11, 12} & {one[0].id for one in hits}
        assert len(store.cache("cosine")) == COUNT + 3 and laid_out(store)[1].measured_at == COUNT
        assert store.cache_faults() == []


def test_verify_sees_a_code_in_the_place_of_another(tmp_path: Path, kind: str) -> None:
    codes, folder = spread_codes(COUNT, 1), tmp_path / "i"
    make_store(folder, codes, True)
    with Store.writing(folder) as store:
        assert store.cache_faults() == []
        cache = VectorCache.load(store.cache_path("cosine"), "cosine", DIM)
        cache.remove(range(1, COUNT + 1))
        cache.add(np.arange(1, COUNT + 1), codes[::-1])
        cache.save(store.cache_path("cosine"))
        assert store.cache_faults() == ["cache: cosine.faiss does not hold the catalog's codes"]


def test_a_collection_that_outgrows_its_structure_gets_the_next(tmp_path: Path) -> None:
    codes, folder = spread_codes(COUNT, 1), tmp_path / "i"
    make_store(folder, codes[:1], True)
    with Store.writing(folder) as store:
        store.keep_budget(Budget(memory_bytes=1500 * (4 * DIM + 8)))
        for part, structure in ((slice(1, 1400), EXACT), (slice(1400, COUNT), QUANTIZED)):
            numbers = range(COUNT)[part]
            store.rows.apply([Change(row(number), codes[number]) for number in numbers])
            store.refresh_caches()
            assert laid_out(store)[0] == structure
        store.keep_budget(Budget())
        store.refresh_caches()
        assert laid_out(store)[0] == EXACT and not list(folder.glob("*.part"))
    with Store.open(folder) as store:
        assert store.budget == Budget() and laid_out(store)[0] == EXACT


def test_tables_are_learnt_anew_when_the_collection_has_doubled() -> None:
    cache = VectorCache.empty("cosine", DIM, 0, b"", QUANTIZED, spread_codes(1000, 1))
    cache.quality = replace(cache.quality, measured_at=1000)
    searched = cache.frozen()
    assert not searched.is_outgrown(2000, QUANTIZED) and searched.is_outgrown(2001, QUANTIZED)
    assert searched.is_outgrown(500, EXACT)


WRONG_BUDGETS = [
    f'{{"memory_bytes": {memory}, "latency_s": {latency}}}'
    for memory, latency in (
        ('"2"', 1), ("[]", 1), (-1, 1), (0, 1), ("true", 1), (1, "NaN"), (1, "1e999"), ("9" * 400, 1), ("[" * 900, 1)
    )
]  # fmt: skip


@pytest.mark.parametrize("text", ["", "{", "[]", '{"memory_bytes": 1}', "\x00", *WRONG_BUDGETS])
def test_a_damaged_budget_is_no_budget(tmp_path: Path, text: str) -> None:
    write_budget(tmp_path, Budget(5 * MB, 0.01))
    assert read_budget(tmp_path) == Budget(5 * MB, 0.01)
    (tmp_path / "budget.json").write_text(text)
    assert read_budget(tmp_path) == Budget()


def test_a_gpu_that_is_not_there_is_asked_for_clearly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, folder = spread_codes(50, 1), tmp_path / "i"
    make_store(folder, codes, True)
    if not hasattr(faiss, "StandardGpuResources"):
        with Store.open(folder, on_gpu=True) as store, pytest.raises(MissingExtra, match="pip uninstall faiss-cpu"):
            store.search(codes[:1], 3, "cosine")
        monkeypatch.setattr(
            faiss, "GpuMultipleClonerOptions", object, raising=False
        )  # the package for GPUs, without one
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    with Store.open(folder, on_gpu=True) as store, pytest.raises(MissingExtra, match="no GPU"):
        store.search(codes[:1], 3, "cosine")


@pytest.mark.skipif(not hasattr(faiss, "StandardGpuResources"), reason="needs FAISS for GPUs")
def test_a_gpu_finds_what_the_cpu_finds(tmp_path: Path) -> None:
    codes, folder = spread_codes(COUNT, 1), tmp_path / "i"
    make_store(folder, codes, True)
    with Store.open(folder) as on_cpu, Store.open(folder, on_gpu=True) as on_gpu:
        for metric in ("euclidean", "cosine"):
            assert on_gpu.search(codes[:50], 10, metric) == on_cpu.search(codes[:50], 10, metric)  # type: ignore[arg-type]


def test_no_byte_of_a_cache_file_can_change_unnoticed(tmp_path: Path) -> None:
    make_store(tmp_path / "i", spread_codes(20, 1), True)
    path = tmp_path / "i" / "cosine.faiss"
    whole = path.read_bytes()
    for position in (*range(0, len(whole), 61), *range(len(whole) - TAIL, len(whole))):
        changed = bytearray(whole)
        changed[position] ^= 4
        path.write_bytes(changed)
        with pytest.raises(CacheUnusable):
            VectorCache.load(path, "cosine", DIM)
    path.write_bytes(whole)
    VectorCache.load(path, "cosine", DIM)
