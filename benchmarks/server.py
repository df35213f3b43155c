"""An index on a server against one in a folder: rows written a second, and the time of a query.

    python benchmarks/server.py postgresql://me@/empty_database --count 100000

Codes are drawn; batches are of 256 rows, as a build commits them. Both are measured in turn, on the same codes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from index.opening import open_index, write_index
from index.records import Change, Meta, Row

DIM, BATCH_ROWS, QUERIES = 128, 256, 200


def drawn_row(number: int, root_id: int) -> Row:
    path, content = b"%03d/%07d.jpg" % (number // 1000, number), number.to_bytes(32, "little")
    return Row(root_id, path, 500_000, 10**18 + number, "found", content, 1600, 1200, 0.1, 1.0, ctime_ns=10**18)


def write(place: str, codes: np.ndarray) -> float:
    """Rows written a second."""
    with write_index(place, create=Meta("m", "digest", DIM, True)) as index:
        root_id, start = index.rows.add_root("/photos"), time.perf_counter()
        for first in range(0, len(codes), BATCH_ROWS):
            part = range(first, min(first + BATCH_ROWS, len(codes)))
            index.rows.apply([Change(drawn_row(number, root_id), codes[number]) for number in part])
        rate = len(codes) / (time.perf_counter() - start)
        index.refresh_caches()
    return rate


def query_ms(places: list[str], xq: np.ndarray) -> dict[str, float]:
    """The median time of a query of each, asked in turn."""
    indexes = {place: open_index(place) for place in places}
    times: dict[str, list[float]] = {place: [] for place in places}
    for query in xq:
        for place, index in indexes.items():
            start = time.perf_counter()
            index.search(query[None], 10, "cosine")
            times[place].append(1000 * (time.perf_counter() - start))
    for index in indexes.values():
        index.close()
    return {place: float(np.median(its[len(its) // 10 :])) for place, its in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--count", type=int, default=100_000)
    chosen = parser.parse_args()
    codes = np.random.default_rng(0).standard_normal((chosen.count, DIM)).astype(np.float32)
    codes -= codes.mean(1, keepdims=True)
    codes /= codes.std(1, keepdims=True)
    with tempfile.TemporaryDirectory() as folder:
        places = [str(Path(folder) / "i"), chosen.address]
        rates = {place: write(place, codes) for place in places}
        times = query_ms(places, codes[:QUERIES] + 0.3)
        for place in places:
            print(f"{place}: {rates[place]:,.0f} rows/s, {times[place]:.2f} ms a query")
        rate, slower = (its[places[1]] / its[places[0]] for its in (rates, times))
        print(f"server / folder: rows/s {rate:.2f}, query {slower:.2f}")


if __name__ == "__main__":
    main()
