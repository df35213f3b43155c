"""The kinds of indexes in Milvus that codes are searched by, and which is taken.

Codes of pictures have an effective dimension of 80 and more, where lists and graphs miss some. So all codes are
compared (FLAT), which misses none, as long as that takes no longer than the budget allows. Else a graph (HNSW) is
built; and where neither fits into the memory, lists of codes of one byte a dimension (IVF_SQ8). What is taken is
decided by what was measured, not by what it is called.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from index.local.structures import Quality, fits
from index.records import Budget

ID_BYTES = 8
LINKS, BUILT_WITH = 16, 200  # of a graph: neighbours of a code; candidates for them
LEAST_EFFORT, MOST_EFFORT = 64, 32_768
MOST_LISTS = 4096
PROBED = 0.25  # share of the lists
WANTED_RECALL = 0.99


@dataclass(frozen=True)
class Kind:
    """A kind of index, by Milvus's name."""

    name: str

    def built_with(self, count: int) -> dict[str, Any]:
        """Parameters to build it for ``count`` codes."""
        if self.name == "HNSW":
            return {"M": LINKS, "efConstruction": BUILT_WITH}
        return {"nlist": _lists(count)} if self.name == "IVF_SQ8" else {}

    def asked_with(self, k: int, count: int, everywhere: bool = False) -> dict[str, Any]:
        """Parameters of a search for ``k`` candidates; ``everywhere``: in all lists."""
        if self.name == "HNSW":
            return {"ef": min(max(k, LEAST_EFFORT), MOST_EFFORT)}
        if self.name == "IVF_SQ8":
            lists = _lists(count)
            return {"nprobe": lists if everywhere else math.ceil(PROBED * lists)}
        return {}

    def memory_bytes(self, count: int, dim: int) -> int:
        """Expected memory of ``count`` codes of ``dim`` dimensions in Milvus."""
        if self.name == "IVF_SQ8":
            return count * (dim + ID_BYTES) + 4 * dim * _lists(count)
        links = 4 * 2 * LINKS if self.name == "HNSW" else 0
        return count * (4 * dim + ID_BYTES + links)

    def __str__(self) -> str:
        return self.name


def _lists(count: int) -> int:
    return int(min(MOST_LISTS, max(16, 4 * math.sqrt(count))))


FLAT, HNSW, IVF_SQ8 = Kind("FLAT"), Kind("HNSW"), Kind("IVF_SQ8")
KINDS = {kind.name: kind for kind in (FLAT, HNSW, IVF_SQ8)}


@dataclass(frozen=True)
class Measured:
    """A kind with what was measured of it."""

    kind: Kind
    quality: Quality
    latency_s: float

    def suits(self, count: int, dim: int, budget: Budget) -> bool:
        within = fits(self.kind.memory_bytes(count, dim), self.latency_s, budget)
        return within and self.quality.recall >= WANTED_RECALL


def to_try(count: int, dim: int, budget: Budget) -> Iterator[Kind]:
    """The kinds that fit into the memory, the first that loses nothing; if none does, the smallest."""
    fitting = [kind for kind in KINDS.values() if fits(kind.memory_bytes(count, dim), 0.0, budget)]
    yield from fitting or [IVF_SQ8]


def best(measured: list[Measured], count: int, dim: int, budget: Budget) -> Measured:
    """The last one if it suits; else, of those within the budget, the one that finds most; else the quickest."""
    if measured[-1].suits(count, dim, budget):
        return measured[-1]
    if within := [one for one in measured if fits(one.kind.memory_bytes(count, dim), one.latency_s, budget)]:
        return max(within, key=lambda one: one.quality.recall)
    return min(measured, key=lambda one: one.latency_s)
