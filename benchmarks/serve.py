"""Queries by id over HTTP beside the searcher in this process: p50 and p99 at 1, 8 and 32 clients.

Starts ``latent serve`` on a free port with an index of drawn pictures. ``python benchmarks/serve.py``
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from retrieval import Question, Retriever, Searcher, Term, ask
from tests.conftest import write_shapes

PICTURES, QUERIES, K = 2000, 1000, 10
CLIENTS = (1, 8, 32)


def timed(calls: Sequence[Callable[[int], object]], ids: list[int], clients: int) -> list[tuple[float, float]]:
    """p50 and p99 of each call in milliseconds. They take turns, since the machine may be busy with other things."""

    def one(number: int) -> list[float]:
        took = []
        for call in calls:
            began = time.perf_counter()
            call(number)
            took.append(1000 * (time.perf_counter() - began))
        return took

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, ids[:50]))  # connections and caches
        took = np.array(list(pool.map(one, ids)))
    return [(float(np.percentile(its, 50)), float(np.percentile(its, 99))) for its in took.T]


def over_http(port: int, token: str, route: str) -> Callable[[int], object]:
    mine = local()

    def get(number: int) -> bytes:
        if not hasattr(mine, "connection"):
            mine.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        mine.connection.request("GET", route.format(number), headers={"Authorization": f"Bearer {token}"})
        answer = mine.connection.getresponse()
        content: bytes = answer.read()
        assert answer.status == 200, content
        return content

    return get


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        write_shapes(home / "photos", PICTURES)
        Retriever.build(home / "photos", index=home / ".latent").close()
        command = [sys.executable, "-c", "from cli.main import main; main()", "serve", "--index", str(home / ".latent")]
        command += ["--port", "0", "--no-open", "--token-file", str(home / "token")]
        paths = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PYTHONPATH": paths},
        ) as process:
            try:
                assert process.stdout is not None
                port = int(process.stdout.readline().rpartition(":")[2].partition("/")[0])
                measure(home, port, (home / "token").read_text().strip())
            finally:
                process.terminate()


def measure(home: Path, port: int, token: str) -> None:
    query, thumbnail, painting = (
        over_http(port, token, f"/api/v1/{route}")
        for route in (f"query?id={{}}&k={K}", "items/{}/thumbnail?size=256", "items/{}/painting")
    )
    with Searcher.open(home / ".latent") as searcher:
        paths = {one.id: one.path for one in searcher.pictures()}
        numbers = np.random.default_rng(0).choice(sorted(paths), QUERIES).tolist()

        def here(number: int) -> object:
            return ask(searcher, Question((Term(1.0, paths[number]),), k=K))

        print(
            "| clients | searcher p50, p99 ms | HTTP query | thumbnail, seen before | painting |\n|---|---|---|---|---|"
        )
        for clients in CLIENTS:
            timed([thumbnail], sorted(set(numbers)), clients)
            cells = [*timed([here, query], numbers, clients), *timed([thumbnail], numbers, clients)]
            cells += timed([painting], numbers[:100], clients)
            print(f"| {clients} | " + " | ".join(f"{p50:.1f}, {p99:.1f}" for p50, p99 in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
