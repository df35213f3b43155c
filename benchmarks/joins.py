"""All pairs of near codes, compared with FAISS's own range search alone over the same blocks; and their memory.

The codes have the covariance of a model's codes; a hundredth of them are copies with a little noise.
"""

from __future__ import annotations

import resource

import faiss
import numpy as np
from beside import Line, alternately, arguments_of, tell
from structures import Cloud

from index.joins import BLOCK, close_pairs

WITHIN = 4.0  # codes have length sqrt(128) = 11.3


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    arguments = arguments_of(__doc__, codes=(1_000_000, "codes"), rounds=(1, "rounds"))
    cloud, count = Cloud(), arguments.codes
    codes = np.concatenate([batch for _, batch in cloud.batches(count)])
    copies = count // 100
    codes[-copies:] = codes[:copies] + np.random.default_rng(0).normal(0, 0.1, (copies, codes.shape[1]))
    index = faiss.IndexFlatL2(codes.shape[1])
    index.add(codes)
    found, extra_gb = [0, 0], [0.0]
    before_gb = peak_gb()

    def ours() -> None:
        found[0] = sum(len(pairs) for pairs in close_pairs(codes, WITHIN))
        extra_gb[0] = extra_gb[0] or peak_gb() - before_gb  # of the first round, before FAISS allocates its own

    def plain() -> None:
        blocks = [
            index.range_search(codes[start : start + BLOCK], WITHIN**2)[0][-1] for start in range(0, count, BLOCK)
        ]
        found[1] = (int(sum(blocks)) - count) // 2

    seconds = alternately(arguments.rounds, ours=ours, plain=plain)
    pairs = f"{found[0]:,} pairs of {count:,} codes"
    lines = [
        Line(
            pairs,
            f"{seconds['ours']:.1f} s",
            f"FAISS {seconds['plain']:.1f} s",
            seconds["ours"] / seconds["plain"],
            at_most=1.2,
        ),
        Line("the same pairs", f"{found[0]:,}", f"FAISS {found[1]:,}", found[0] / max(1, found[1])),
        Line("memory above the codes", f"{extra_gb[0]:.2f} GB", "1 GB", extra_gb[0], at_most=1.0),
    ]
    tell("joins", lines, arguments)


if __name__ == "__main__":
    main()
