"""How fast it is, always beside something else in the same run, since machines differ and are shared.

    python benchmarks/speed.py [--pictures 400] [--rounds 5] [-o speed.json]

* ingest: pictures/s of ``latent index build`` against decoding the same files with as many workers, and no more;
* memory: the largest process of that build, and of one ten times smaller;
* cold query: a new process that answers from an index, against ``python -c "import torch"``.

Medians of rounds in which the two sides take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from retrieval import load_model
from retrieval.workers import DecoderPool, Task

SIZES = {"0.1 MP": (400, 300), "2 MP": (1732, 1155), "12 MP": (4032, 3024)}


def make_photos(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """JPEGs of a photo's size with a photo's detail: an enlarged sample under fine noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 6, (size[1], size[0], 1)).astype(np.int16)
    paths = []
    for number, pixels in enumerate(load_model("faces-64").sample(count)):
        large = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), np.int16)
        grained = np.clip(large + np.roll(grain, number * 37, axis=1), 0, 255).astype(np.uint8)
        path = folder / f"{number:05d}.jpg"
        Image.fromarray(grained).save(path, quality=90)
        paths.append(path)
    return paths


def alternately(rounds: int, **sides: Callable[[], None]) -> dict[str, float]:
    """Median seconds of each side, taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def latent(*words: str) -> None:
    program = str(Path(sys.executable).with_name("latent"))
    subprocess.run([program, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def bench_ingest(scratch: Path, name: str, count: int, rounds: int) -> dict[str, float]:
    paths = make_photos(scratch / name, count, SIZES[name])
    turn = iter(range(10_000))

    def decode() -> None:
        with DecoderPool(64) as pool:
            for _ in pool.map(Task(str(path)) for path in paths):
                pass

    def build() -> None:
        latent("index", "build", str(scratch / name), "--index", str(scratch / f"index-{name}-{next(turn)}"))

    seconds = alternately(rounds, decode=decode, build=build)
    rates = {side: count / value for side, value in seconds.items()}
    return {
        "decode_only_per_s": rates["decode"],
        "index_build_per_s": rates["build"],
        "ratio": rates["build"] / rates["decode"],
    }


def bench_memory(scratch: Path, folder: Path) -> dict[str, float]:
    """Largest resident process, in MB, of builds over a tenth of the pictures and over all of them."""
    few = scratch / "few"
    few.mkdir()
    files = sorted(folder.iterdir())
    for path in files[: len(files) // 10]:
        os.link(path, few / path.name)
    program = str(Path(sys.executable).with_name("latent"))
    return {
        f"{len(list(where.iterdir()))} pictures, MB": _peak_mb(
            [program, "index", "build", str(where), "--index", str(scratch / f"memory-{where.name}")]
        )
        for where in (few, folder)
    }


def _peak_mb(words: list[str]) -> float:
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, text=True)
    return int(done.stdout) / 1024


def bench_cold_query(scratch: Path, folder: Path, rounds: int) -> dict[str, float]:
    index = str(scratch / "cold")
    latent("index", "build", str(folder), "--index", index)
    query = scratch / "query.jpg"
    Image.fromarray(load_model("faces-64").sample(1, seed=99)[0]).save(query)

    def torch_alone() -> None:
        subprocess.run([sys.executable, "-c", "import torch"], check=True)

    def ask() -> None:
        latent("query", str(query), "--index", index)

    seconds = alternately(rounds, query=ask, torch=torch_alone)
    return {
        "cold_query_s": seconds["query"],
        "import_torch_s": seconds["torch"],
        "ratio": seconds["query"] / seconds["torch"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=400, help="files of each size (a fifth of it at 12 MP)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, help="write the figures as JSON too")
    arguments = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for name in SIZES:
            count = max(10, arguments.pictures // (5 if name == "12 MP" else 1))
            results[f"ingest, {name} JPEG"] = bench_ingest(scratch, name, count, arguments.rounds)
        results["memory of a build"] = bench_memory(scratch, scratch / "0.1 MP")
        results["cold query"] = bench_cold_query(scratch, scratch / "0.1 MP", arguments.rounds)
    for name, figures in results.items():
        print(f"{name:<24}" + "  ".join(f"{key} {value:,.2f}" for key, value in figures.items()))
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
