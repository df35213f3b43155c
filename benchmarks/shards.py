"""Eight indexes searched as one, against one index of the same pictures: the same hits, and the time of a query.

    python benchmarks/shards.py --count 100000

Codes are drawn; some are in several shards. The shards are folders, or served by eight ``latent serve`` on this
machine, or four and four. Every answer is compared with that of the one index, to the last id. All are asked in turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from index.door import Index
from index.many import SHIFT
from index.opening import open_index, open_indexes, write_index
from index.records import Change, Floats, Meta, Row
from index.where import Compare, Matches, Where
from retrieval import Model, load_model

SHARDS, BATCH_ROWS, QUERIES, K = 8, 5000, 60, 10
FILTERS: dict[str, Where | None] = {
    "no filter": None,
    "half": Compare("mtime_ns", "<", 10**18 + 500),
    "a hundredth": Matches("folder", "07"),
}


def write(folder: Path, model: Model, codes: Floats, numbers: Sequence[int]) -> None:
    """An index of rows without files, with the codes (n, d) of these numbers."""
    with write_index(folder, create=Meta(model.name, model.digest, model.latent_dim, model.standardized)) as writer:
        writer.keep_model(model.write_to)
        root = writer.rows.add_root(str(folder.parent / "photos"))
        for start in range(0, len(numbers), BATCH_ROWS):
            part = numbers[start : start + BATCH_ROWS]
            writer.rows.apply([Change(row_of(number, root), codes[number]) for number in part])
        writer.refresh_caches()


def row_of(number: int, root: int) -> Row:
    path, content = b"%02d/%07d.jpg" % (number % 100, number), number.to_bytes(32, "little")
    return Row(root, path, 500_000, 10**18 + number % 1000, "found", content, 1600, 1200, 0.1, 1.0, ctime_ns=10**18)


@contextmanager
def served(home: Path) -> Iterator[str]:
    """The address of ``latent serve`` for the index in a folder."""
    command = [sys.executable, "-c", "from cli.main import main; main()", "serve", "--index", str(home / ".latent")]
    command += ["--port", "0", "--no-open", "--read-only", "--token-file", str(home.parent / "token")]
    paths = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    own = os.environ | {"PYTHONPATH": paths, "XDG_CACHE_HOME": str(home / "cache")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=own) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().partition("/?")[0]
        finally:
            process.kill()


def compared(asked: dict[str, Index], xq: Floats, where: Where | None, per_shard: int) -> dict[str, float]:
    """The median milliseconds of a query of each, asked in turn; the first holds all, and the others must agree."""
    times: dict[str, list[float]] = {name: [] for name in asked}
    for query in xq:
        answers = []
        for name, index in asked.items():
            start = time.perf_counter()
            (hits,) = index.search(query[None], K, "euclidean", None, where)
            times[name].append(1000 * (time.perf_counter() - start))
            ids = [(hit.id >> SHIFT) * per_shard + (hit.id & (1 << SHIFT) - 1) for hit in hits]
            answers.append([(one, hit.distance) for one, hit in zip(ids, hits, strict=True)])
        assert all(answer == answers[0] for answer in answers), "hits differ"
    return {name: statistics.median(its[len(its) // 10 :]) for name, its in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--model", default="photos-64")
    chosen = parser.parse_args()
    model, per_shard = load_model(chosen.model), chosen.count // SHARDS
    codes = np.random.default_rng(0).standard_normal((SHARDS * per_shard, model.latent_dim), dtype=np.float32)
    codes = (codes - codes.mean(1, keepdims=True)) / codes.std(1, keepdims=True)
    codes[per_shard::100] = codes[: (SHARDS - 1) * per_shard : 100]  # ties between shards
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        home = Path(scratch)
        (home / "whole").mkdir()
        write(home / "whole" / ".latent", model, codes, range(len(codes)))
        folders = [home / str(shard) for shard in range(SHARDS)]
        for shard, folder in enumerate(folders):
            folder.mkdir()
            write(folder / ".latent", model, codes, range(shard * per_shard, (shard + 1) * per_shard))
        addresses = [stack.enter_context(served(folder)) for folder in folders]
        os.environ["LATENT_TOKEN"] = (home / "token").read_text().strip()
        local = [str(folder / ".latent") for folder in folders]
        asked = {
            "one index": open_index(home / "whole" / ".latent"),
            "8 folders": open_indexes(local),
            "4 folders, 4 served": open_indexes([*local[:4], *addresses[4:]]),
            "8 served": open_indexes(addresses),
        }
        rng = np.random.default_rng(1)
        xq = rng.standard_normal((QUERIES, model.latent_dim), dtype=np.float32)
        xq[::4] = codes[100 * rng.integers(0, len(codes) // 100, len(xq[::4]))]
        for name, where in FILTERS.items():
            medians = compared(asked, xq, where, per_shard)
            first = medians["one index"]
            told = ", ".join(f"{kind} {ms:.1f} ms ({ms / first:.2f})" for kind, ms in medians.items())
            print(f"{SHARDS * per_shard:,} pictures, {name}: {told}; all hits the same")
        for index in asked.values():
            index.close()


if __name__ == "__main__":
    main()
