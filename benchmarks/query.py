"""What a query costs: in a new process, compared with `import torch`, and in a running process.

* cold: `latent query` in a new process; the import times of its libraries show where the time goes;
* warm: `Retriever.query`, compared with only encoding the same file and searching the same FAISS index;
* batch: 1,024 codes at once, compared with FAISS alone;
* threads: eight threads that query one searcher, each with its own picture and its hits decoded, compared with one.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from beside import SIZES, Line, alternately, arguments_of, latent, make_photos, make_tiny, tell

from index.local.snapshot import Snapshot, stored_form
from index.local.store import Store
from retrieval import Retriever

THREADS = 8
LIBRARIES = ("numpy", "click", "PIL.Image", "sqlalchemy", "onnxruntime", "faiss")


def python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def bench_cold(index: Path, query: Path, count: int, rounds: int) -> list[Line]:
    sides: dict[str, Callable[[], object]] = {name: lambda name=name: python(f"import {name}") for name in LIBRARIES}
    seconds = alternately(
        rounds,
        query=lambda: latent("query", str(query), "--index", str(index)),
        torch=lambda: python("import torch"),
        nothing=lambda: python("pass"),
        all=lambda: python("import " + ", ".join(LIBRARIES)),
        **sides,
    )
    ours, nothing = seconds["query"], seconds["nothing"]
    lines = [
        Line(
            f"cold query, {count:,} indexed",
            f"{ours:.2f} s",
            f"import torch {seconds['torch']:.2f} s",
            ours / seconds["torch"],
            at_most=0.45,
        ),
        Line("the same", f"{ours:.2f} s", "0.9 s", ours / 0.9, at_most=1.0),
        Line("Python alone", f"{nothing:.2f} s", "of the cold query", nothing / ours),
    ]
    for name in LIBRARIES:
        lines.append(
            Line(
                f"importing {name}",
                f"{seconds[name] - nothing:.2f} s",
                "of the cold query",
                (seconds[name] - nothing) / ours,
            )
        )
    rest = ours - seconds["all"]
    return [
        *lines,
        Line("all else: our code, the encoder, FAISS's file", f"{rest:.2f} s", "of the cold query", rest / ours),
    ]


def searched(retriever: Retriever) -> Snapshot:
    """The snapshot that searches of the index read."""
    assert isinstance(retriever.index, Store)
    return retriever.index.cache("euclidean")


def bench_warm(retriever: Retriever, paths: list[Path], size: str) -> list[Line]:
    model, cache = retriever.model, searched(retriever)

    def ours(path: Path) -> None:
        retriever.query(str(path), 10)

    def raw(path: Path) -> None:
        cache.faiss_index.search(stored_form(model.encode([str(path)]), cache.metric), 10)

    seconds: dict[str, list[float]] = {"ours": [], "raw": []}
    for number, path in enumerate(paths):
        for name, side in (("ours", ours), ("raw", raw))[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            side(path)
            seconds[name].append(time.perf_counter() - start)
    a, b = (1000 * statistics.median(seconds[name][10:]) for name in ("ours", "raw"))
    return [Line(f"warm query, {size} JPEG, median", f"{a:.1f} ms", f"encode + FAISS {b:.1f} ms", a / b, at_most=1.15)]


def bench_batch(retriever: Retriever, rounds: int) -> list[Line]:
    cache = searched(retriever)
    _, codes = next(retriever.found())
    xq = codes[:1024] + np.random.default_rng(0).normal(0, 0.3, codes[:1024].shape).astype(np.float32)
    seconds = alternately(
        rounds,
        ours=lambda: retriever.query_codes(xq, 10),
        raw=lambda: cache.faiss_index.search(stored_form(xq, cache.metric), 10),
    )
    rates = {name: len(xq) / value for name, value in seconds.items()}
    return [
        Line(
            "1,024 queries at once",
            f"{rates['ours']:,.0f}/s",
            f"FAISS {rates['raw']:,.0f}/s",
            rates["ours"] / rates["raw"],
        )
    ]


def bench_threads(retriever: Retriever, paths: list[Path], rounds: int) -> list[Line]:
    """Eight threads that query one searcher, each with its own picture and its hits decoded."""

    def ask(path: Path) -> None:
        retriever.decode(retriever.query(str(path), 10))

    with ThreadPoolExecutor(THREADS) as pool:
        seconds = alternately(
            rounds, one=lambda: [ask(path) for path in paths], many=lambda: list(pool.map(ask, paths))
        )
    one, many = (len(paths) / seconds[name] for name in ("one", "many"))
    return [Line(f"{THREADS} threads, hits decoded", f"{many:.1f}/s", f"one thread {one:.1f}/s", many / one)]


def main() -> None:
    arguments = arguments_of(
        __doc__, indexed=(100_000, "pictures in the index"), queries=(200, "warm queries"), rounds=(9, "rounds")
    )
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        make_tiny(scratch / "many", arguments.indexed)
        latent("index", "build", str(scratch / "many"), "--index", str(scratch / "index"))
        sizes = {name: make_photos(scratch / name, arguments.queries, SIZES[name]) for name in ("0.1 MP", "2 MP")}
        lines = bench_cold(scratch / "index", sizes["0.1 MP"][0], arguments.indexed, arguments.rounds)
        with Retriever.open(scratch / "index") as retriever:
            for name, paths in sizes.items():
                lines += bench_warm(retriever, paths, name)
            lines += bench_batch(retriever, arguments.rounds)
            lines += bench_threads(retriever, sizes["0.1 MP"][:40], 3)
    tell("query", lines, arguments)


if __name__ == "__main__":
    main()
