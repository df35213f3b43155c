"""Search and encoding on a GPU, compared with its memory bandwidth and the CPU.

Needs the extra `gpu` and onnxruntime-gpu.

* exact search of one query and of 1,024 at once, compared with reading all codes once at the bandwidth of a copy;
* the encoder on ONNX Runtime's CUDA provider, compared with the CPU's.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from beside import Line, alternately, arguments_of, tell
from structures import MODEL, Cloud

from index.local.caches import VectorCache
from index.local.structures import EXACT
from retrieval import LatentError, load_model


def bandwidth_bytes_per_s() -> float:
    """Bandwidth of the GPU's own memory: a large copy reads and writes."""
    import torch

    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(10):
        target.copy_(source)
    torch.cuda.synchronize()
    return 2 * 10 * source.nbytes / (time.perf_counter() - start)


def bench_search(cloud: Cloud, count: int, rounds: int) -> list[Line]:
    cache = VectorCache.empty("cosine", len(cloud.mean), 0, b"", EXACT)
    for ids, codes in cloud.batches(count):
        cache.add(ids, codes)
    cpu = cache.frozen()
    gpu = cpu.on_gpu()
    xq = cloud.draw(1024, 5)
    same = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(gpu.search(xq, 10), cpu.search(xq, 10), strict=True)])
    seconds = alternately(rounds, one=lambda: gpu.search(xq[:1], 10), many=lambda: gpu.search(xq, 10))
    floor = EXACT.memory_bytes(count, len(cloud.mean)) / bandwidth_bytes_per_s()
    return [
        Line(
            f"one query of {count:,}",
            f"{1000 * seconds['one']:.2f} ms",
            f"reading the codes once {1000 * floor:.2f} ms",
            seconds["one"] / floor,
        ),
        Line(
            "1,024 at once",
            f"{1024 / seconds['many']:,.0f}/s",
            f"one by one {1 / seconds['one']:,.0f}/s",
            1024 / seconds["many"] * seconds["one"],
        ),
        Line("the CPU's ten nearest found", f"{same:.4f}", "1", same, at_least=0.999),
    ]


def bench_encoder(rounds: int) -> list[Line]:
    squares = np.random.default_rng(0).integers(0, 256, (4096, 64, 64, 3), np.uint8)
    here, there = load_model(MODEL, "cpu"), load_model(MODEL, "cuda")
    seconds = alternately(rounds, cpu=lambda: here.encode_squares(squares), cuda=lambda: there.encode_squares(squares))
    rates = {name: len(squares) / value for name, value in seconds.items()}
    return [Line("encoder", f"{rates['cuda']:,.0f}/s", f"CPU {rates['cpu']:,.0f}/s", rates["cuda"] / rates["cpu"])]


def main() -> None:
    arguments = arguments_of(__doc__, codes=(1_000_000, "codes"), rounds=(9, "rounds"))
    try:
        lines = bench_search(Cloud(), arguments.codes, arguments.rounds) + bench_encoder(arguments.rounds)
    except LatentError as error:
        sys.exit(f"Error: {error}")
    tell("gpu", lines, arguments)


if __name__ == "__main__":
    main()
