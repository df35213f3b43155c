"""What a filter costs: queries with filters that let 1%, 10%, 50% and 99% pass, beside queries without one.

Codes and facts are drawn. Every answer is compared with brute force over what the filter lets pass; with quantized
codes the share of the right hits stands beside that of queries without a filter.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import xxhash
from beside import Line, arguments_of, tell

from index.local.store import Store
from index.records import Change, Facts, Meta, Row
from index.where import AllOf, Compare, Matches, Where

DIM, K = 128, 10
SHARES = (0.001, 0.01, 0.1, 0.5, 0.99)
AT_ONCE = 10_000
DAY_US = 86_400_000_000


def drawn_codes(count: int, rng: np.random.Generator) -> np.ndarray:
    """Standardized codes in clusters, as pictures have them."""
    centres = rng.normal(size=(200, DIM))
    codes = centres[rng.integers(200, size=count)] + rng.normal(size=(count, DIM))
    codes -= codes.mean(1, keepdims=True)
    return (codes / codes.std(1, keepdims=True)).astype(np.float32)


def changes(codes: np.ndarray, shares: np.ndarray) -> Iterator[Change]:
    """A picture for each code. ``shares`` (n,), uniform in 0..1, are its width, its date and its camera."""
    for number, (code, share) in enumerate(zip(codes, shares.tolist(), strict=True)):
        content = xxhash.xxh3_128_digest(b"%d" % number)  # in no order, as hashes are
        row = Row(
            1,
            b"%03d/%03d/%08d.jpg" % (number % 97, number % 89, number),
            size_bytes=1000 + number,
            mtime_ns=number,
            status="found",
            content_hash=content,
            width_px=1 + int(share * 1e6),
            height_px=1000,
            realism=0.0,
            spread=1.0,
        )
        facts = Facts("JPEG", 1, 8, "RGB", False, taken_us=int(share * 10_000) * DAY_US, camera=f"{share:.6f}")
        yield Change(row, code, facts)


def make(folder: Path, codes: np.ndarray, shares: np.ndarray) -> None:
    """Make an index of these codes."""
    with Store.writing(folder, create=Meta("m", "digest", DIM, True)) as store:
        store.rows.add_root(str(folder.parent))
        for some in batched(changes(codes, shares), AT_ONCE):
            store.rows.apply(some)
        store.refresh_caches()


def batched(all_: Iterator[Change], size: int) -> Iterator[list[Change]]:
    while some := list(islice(all_, size)):
        yield some


def filters(share: float) -> dict[str, Where]:
    below = f"{share:.6f}"
    assert below.startswith("0.")
    return {
        "width": Compare("width_px", "<=", share * 1e6),
        "taken": Compare("taken_us", "<", share * 10_000 * DAY_US),
        "taken and folder": AllOf((Compare("taken_us", "<", share * 10_000 * DAY_US), Matches("folder", "*"))),
    }


def seconds_of(store: Store, xq: np.ndarray, where: Where | None) -> tuple[float, list[list[int]]]:
    """Median time of a query, and the ids of each."""
    times, found = [], []
    for query in xq:
        start = time.perf_counter()
        (hits,) = store.search(query[None], K, "cosine", where=where)
        times.append(time.perf_counter() - start)
        found.append([one.id for one in hits])
    return statistics.median(times), found


def recall(found: list[list[int]], codes: np.ndarray, xq: np.ndarray, allowed: np.ndarray) -> float:
    """The share of the right hits, in the right places."""
    ids = np.flatnonzero(allowed)
    right = 0
    for query, its in zip(xq, found, strict=True):
        distances = np.linalg.norm(codes[ids].astype(np.float64) - query, axis=1)
        wanted = ids[np.lexsort((ids, distances))[:K]] + 1
        right += len(set(wanted.tolist()) & set(its))
    return right / (K * len(xq))


def main() -> None:
    arguments = arguments_of(
        __doc__,
        count=(300_000, "pictures"),
        queries=(20, "queries of each kind"),
        keep=("", "a folder to keep the index in"),
    )
    rng = np.random.default_rng(0)
    codes, shares = drawn_codes(arguments.count, rng), rng.uniform(size=arguments.count)
    xq = drawn_codes(arguments.count, np.random.default_rng(0))[: arguments.queries] + 0.0
    xq = xq[:, ::-1].copy() * 0.3 + xq * 0.7
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(arguments.keep or scratch) / f"{arguments.count}.latent"
        if not folder.exists():
            make(folder, codes, shares)
        with Store.open(folder) as store:
            seconds_of(store, xq[:2], None)
            plain, found = seconds_of(store, xq, None)
            everything = recall(found, codes, xq, np.ones(len(codes), bool))
            print(f"{store.layout().name}: {1e3 * plain:.1f} ms without a filter, recall {everything:.3f}", flush=True)
            for share in SHARES:
                for name, where in filters(share).items():
                    seconds_of(store, xq[:1], where)
                    plain, _ = seconds_of(store, xq, None)
                    ours, found = seconds_of(store, xq, where)
                    allowed = shares <= share if name == "width" else (shares * 10_000).astype(int) < share * 10_000
                    right = recall(found, codes, xq, allowed)
                    lines.append(
                        Line(
                            f"{arguments.count:,} pictures, {name}: {100 * share:g}% pass, recall {right:.3f}",
                            f"{1e3 * ours:.1f} ms",
                            f"without a filter {1e3 * plain:.1f} ms",
                            ours / plain,
                            at_most=2.0,
                        )
                    )
                    print(lines[-1].cells(), flush=True)
    tell("filters", lines, arguments)


if __name__ == "__main__":
    main()
