"""The same codes searched by FAISS on this machine and by a Milvus: recall, time of a query, memory, time to fill.

    python benchmarks/milvus.py milvus://127.0.0.1:19530 --count 100000 --server-pid 1234

Codes are drawn as those of photos-64 are distributed. Each structure is asked by a process of its own, whose memory is
measured; recall is that of the ten hits against a comparison with all codes. Each kind of index in Milvus is measured,
whichever would be taken.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from structures import Cloud

from index.milvus import source
from index.milvus.collection import Collection
from index.milvus.kinds import KINDS, Kind
from index.milvus.server import Server
from index.milvus.state import State
from index.opening import open_index, write_index
from index.records import Budget, Change, Meta, Row

DIM, BATCH_ROWS, QUERIES, K = 128, 5000, 200, 10


def row(number: int, root_id: int) -> Row:
    path, content = b"%03d/%07d.jpg" % (number // 1000, number), number.to_bytes(32, "little")
    return Row(root_id, path, 500_000, 10**18 + number, "found", content, 1600, 1200, 0.1, 1.0, ctime_ns=10**18)


def make(place: Path, codes: np.ndarray) -> None:
    with write_index(place, create=Meta("m", "digest", DIM, True)) as index:
        root_id = index.rows.add_root("/photos")
        for first in range(0, len(codes), BATCH_ROWS):
            part = range(first, min(first + BATCH_ROWS, len(codes)))
            index.rows.apply([Change(row(number, root_id), codes[number]) for number in part])


def resident_mb(pid: int | str) -> float:
    """Memory of a process now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def ask(place: Path, queries: np.ndarray, truth: np.ndarray) -> None:
    """Print what a reader measures, as JSON."""
    index = open_index(place)
    before, start = resident_mb("self"), time.perf_counter()
    index.search(queries[:1], K, "cosine")
    first, times, found = time.perf_counter() - start, list[float](), list[list[int]]()
    for query in queries:
        start = time.perf_counter()
        (hits,) = index.search(query[None], K, "cosine")
        times.append(1000 * (time.perf_counter() - start))
        found.append([hit.id for hit in hits])
    recall = np.mean([np.isin(ids, true).mean() for ids, true in zip(found, truth, strict=True)])
    median, quick = np.percentile(times, [50, 10])
    said = {"first_s": first, "ms": median, "quick_ms": quick, "recall": recall, "mb": resident_mb("self") - before}
    print(json.dumps(said))


def levels_ms(address: str, name: str, queries: np.ndarray) -> dict[str, float]:
    """The median time of a search in Milvus alone, by consistency level."""
    collection = Collection(Server(address), name, "cosine", DIM)
    state, times = collection.state(), dict[str, float]()
    assert isinstance(state, State)
    seen = {"guarantee_timestamp": max(1, state.timestamp)}
    for level, more in (("Strong", {}), ("Bounded", {}), ("Customized", seen)):
        its = list[float]()
        for query in queries[:50]:
            with collection.server.asked() as client:
                start = time.perf_counter()
                client.search(name, [query], limit=K, output_fields=["id"], consistency_level=level, **more)
                its.append(1000 * (time.perf_counter() - start))
        times[level] = float(np.median(its))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--server-pid", type=int, help="of Milvus, for its memory")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), help="of indexes in Milvus [default: all]")
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    cloud = Cloud()
    codes, queries = cloud.draw(chosen.count, 0), cloud.draw(QUERIES, 1)
    scores = queries @ codes.T
    truth = 1 + np.argpartition(-scores, K, axis=1)[:, :K]
    if chosen.ask:
        ask(chosen.ask, queries, truth)
        return
    half = Budget(memory_bytes=4 * DIM * chosen.count // 2)
    runs: list[tuple[str, Budget, Kind | None]] = [("faiss", Budget(), None), ("faiss", half, None)]
    runs += [(chosen.address, Budget(), kind) for kind in map(KINDS.__getitem__, chosen.kinds)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "i"
        make(place, codes)
        for vectors, budget, kind in runs:
            source.to_try = lambda *facts, kind=kind: iter([kind])
            start = time.perf_counter()
            with write_index(place) as index:
                index.keep_budget(budget)
                index.keep_vectors("faiss")
                index.keep_vectors(vectors)
                index.refresh_caches()
                layout, filled = index.layout(), time.perf_counter() - start
            command = [sys.executable, __file__, vectors, "--count", str(chosen.count), "--ask", str(place)]
            said = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            served = f", server {resident_mb(chosen.server_pid):,.0f} MB" if chosen.server_pid else ""
            print(
                f"{layout.name}: filled in {filled:.1f} s, recall {said['recall']:.4f} (measured {layout.recall:.4f}), "
                f"{said['ms']:.2f} ms a query (a tenth within {said['quick_ms']:.2f}), first {said['first_s']:.2f} s, "
                f"reader +{said['mb']:,.0f} MB{served}",
                flush=True,
            )
        kept = json.loads((place / "vectors.json").read_text())
        print(levels_ms(chosen.address, f"{kept['collection']}_cosine", queries))
        with write_index(place) as index:
            index.keep_vectors("faiss")


if __name__ == "__main__":
    main()
