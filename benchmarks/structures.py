"""Recall and cost of the index structures at one million codes and at ten million.

Codes are drawn from a normal distribution with the covariance of a shipped encoder's codes, and standardized: a cloud
without clusters, the hardest case that real pictures come close to. At one million, everything goes through an index
(catalog, cache, ranking by exact codes); at ten million, only the cache is built, from codes drawn on the fly.

* recall@10, and how many codes are compared exactly for one query (exact search compares all);
* the same for FAISS's inverted lists without quantization, with a tenth of the codes compared;
* time of one query and of many at once, memory, and the time to add and remove a hundredth.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
from beside import Line, arguments_of, tell

from index.local.cachefile import trailer_of
from index.local.caches import Truth, VectorCache
from index.local.store import Store
from index.local.structures import EXACT, QUANTIZED
from index.records import Budget, Change, Meta, Row
from retrieval import load_model

Floats = npt.NDArray[np.float32]
MODEL, BATCH = "photos-64", 10_000


class Cloud:
    """A distribution of codes like those of a model."""

    def __init__(self) -> None:
        model = load_model(MODEL)
        codes = model.encode(model.sample(4000, seed=1))
        self.mean = codes.mean(0)
        self.factor = np.linalg.cholesky(np.cov(codes.T) + 1e-6 * np.eye(codes.shape[1])).astype(np.float32)

    def draw(self, count: int, seed: int) -> Floats:
        rng = np.random.default_rng(seed)
        codes = rng.standard_normal((count, len(self.mean)), dtype=np.float32) @ self.factor.T + self.mean
        codes -= codes.mean(1, keepdims=True)
        return np.asarray(codes / codes.std(1, keepdims=True), np.float32)

    def batches(self, count: int) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
        for start in range(0, count, BATCH):
            codes = self.draw(min(BATCH, count - start), 10 + start)
            yield np.arange(start + 1, start + 1 + len(codes)), codes


def row(number: int) -> Row:
    path = b"%09d.jpg" % number
    return Row(1, path, 1, number, "found", b"%016d" % number, 64, 64, 0.0, 1.0)


def fill(store: Store, cloud: Cloud, count: int) -> None:
    store.rows.add_root(str(store.folder.parent / "photos"))
    for ids, codes in cloud.batches(count):
        store.rows.apply([Change(row(number), code) for number, code in zip(ids.tolist(), codes, strict=True)])


def one_by_one_s(ask: Callable[[Floats], object], xq: Floats) -> float:
    """Median seconds of one query."""
    seconds = []
    for query in xq:
        start = time.perf_counter()
        ask(query[None])
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def recall(found: list[list[int]], true: list[list[int]]) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, true, strict=True)]))


def ids_of(store: Store, xq: Floats) -> list[list[int]]:
    return [[one.id for one in hits] for hits in store.search(xq, 10, "cosine")]


def bench_index(folder: Path, cloud: Cloud, count: int, queries: int) -> list[Line]:
    xq, dim = cloud.draw(queries, 2), len(cloud.mean)
    with Store.writing(folder, create=Meta("m", "digest", dim, True)) as store:
        fill(store, cloud, count)
        store.keep_budget(Budget(memory_bytes=10**12, latency_s=100.0))
        build_exact = seconds_of(store.refresh_caches)
        true, exact_s = ids_of(store, xq), one_by_one_s(lambda query: store.search(query, 10, "cosine"), xq[:50])
        exact_all = seconds_of(lambda: ids_of(store, xq))
        store.keep_budget(Budget(memory_bytes=count * 100))
        build = seconds_of(store.refresh_caches)
        found, one_s = ids_of(store, xq), one_by_one_s(lambda query: store.search(query, 10, "cosine"), xq[:50])
        all_s = seconds_of(lambda: ids_of(store, xq))
        trailer = trailer_of(store.cache_path("cosine"))
        assert trailer is not None and trailer.structure == QUANTIZED
        quality = trailer.quality
        gone = list(range(1, count // 100))
        store.rows.mark(gone, "removed", forget_codes=True)
        new = cloud.draw(count // 100, 3)
        store.rows.apply([Change(row(count + number), code) for number, code in enumerate(new, 1)])
        change = seconds_of(store.refresh_caches)
    memory = [one.memory_bytes(count, dim) / 1e6 for one in (EXACT, QUANTIZED)]
    of = f"of {count:,}"
    return [
        Line(f"quantized {of}: recall@10", f"{recall(found, true):.4f}", "exact", recall(found, true), at_least=0.99),
        Line(
            "codes compared in full for one query",
            f"{quality.candidates:,}",
            f"exact {count:,}",
            count / quality.candidates,
            at_least=10,
        ),
        Line("memory", f"{memory[1]:,.0f} MB", f"exact {memory[0]:,.0f} MB", memory[1] / memory[0]),
        Line("one query", f"{1000 * one_s:.1f} ms", f"exact {1000 * exact_s:.1f} ms", one_s / exact_s),
        Line(
            f"{queries:,} queries at once",
            f"{queries / all_s:,.0f}/s",
            f"exact {queries / exact_all:,.0f}/s",
            exact_all / all_s,
        ),
        Line("building the cache", f"{build:.0f} s", f"exact {build_exact:.0f} s", build / build_exact),
        Line("adding 1%, removing 1%", f"{change:.1f} s", f"building {build:.0f} s", change / build),
    ]


def bench_lists(cloud: Cloud, count: int, queries: int) -> list[Line]:
    """FAISS's inverted lists over float32 codes: their recall with a tenth of the codes compared."""
    xb = np.concatenate([codes for _, codes in cloud.batches(count)])
    xb /= np.linalg.norm(xb, axis=1, keepdims=True)
    xq, dim, lists = cloud.draw(queries, 2), xb.shape[1], 2 ** round(np.log2(4 * np.sqrt(count)))
    index = faiss.index_factory(dim, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = 8
    index.train(xb[: 40 * lists])
    index.add(xb)
    _, true = faiss.knn(xq, xb, 10, metric=faiss.METRIC_INNER_PRODUCT)
    lines = []
    for share in (0.1, 0.3):
        index.nprobe = int(share * lists)
        _, found = index.search(xq, 10)
        value = recall(found.tolist(), true.tolist())
        lines.append(Line(f"lists alone, {share:.0%} of {count:,} compared: recall@10", f"{value:.3f}", "exact", value))
    return lines


def bench_large(cloud: Cloud, count: int, queries: int) -> list[Line]:
    dim, sample = len(cloud.mean), cloud.draw(QUANTIZED.learns_from, 4)
    start = time.perf_counter()
    cache = VectorCache.empty("cosine", dim, 0, b"", QUANTIZED, sample)
    truth = Truth("cosine", sample[:queries])
    cache.add(np.arange(count + 1, count + 1 + queries), sample[:queries])
    truth.add(np.arange(count + 1, count + 1 + queries), sample[:queries])
    for ids, codes in cloud.batches(count):
        cache.add(ids, codes)
        truth.add(ids, codes)
    cache.measure(truth.xq, truth.ids)
    built = time.perf_counter() - start
    xq = cloud.draw(50, 5)
    snapshot = cache.frozen()
    one_s = one_by_one_s(lambda query: snapshot.search(query, cache.quality.candidates), xq)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    flat_gb = EXACT.memory_bytes(count, dim) / 1e9
    expected_s = QUANTIZED.latency_s(count, dim) - QUANTIZED.latency_s(0, dim)
    return [
        Line(
            f"quantized {count:,}: recall@10 in {cache.quality.candidates:,} candidates",
            f"{cache.quality.recall:.4f}",
            "exact",
            cache.quality.recall,
            at_least=0.99,
        ),
        Line(
            "building it, with drawing codes and calibration",
            f"{built:.0f} s",
            f"peak memory {peak_gb:.1f} GB of 24",
            peak_gb / 24,
            at_most=1.0,
        ),
        Line(
            "memory",
            f"{QUANTIZED.memory_bytes(count, dim) / 1e9:.2f} GB",
            f"exact {flat_gb:.2f} GB",
            QUANTIZED.memory_bytes(count, dim) / 1e9 / flat_gb,
        ),
        Line(
            "proposing candidates, one query",
            f"{1000 * one_s:.1f} ms",
            f"expected {1000 * expected_s:.1f} ms",
            one_s / expected_s,
            at_most=1.5,
        ),
    ]


def main() -> None:
    arguments = arguments_of(
        __doc__,
        codes=(1_000_000, "codes in an index"),
        large=(10_000_000, "codes in a cache alone"),
        queries=(200, "queries"),
    )
    cloud = Cloud()
    with tempfile.TemporaryDirectory() as folder:
        lines = bench_index(Path(folder) / "index", cloud, arguments.codes, arguments.queries)
    lines += bench_lists(cloud, arguments.codes, arguments.queries)
    if arguments.large:
        lines += bench_large(cloud, arguments.large, arguments.queries)
    tell("structures", lines, arguments)


if __name__ == "__main__":
    main()
