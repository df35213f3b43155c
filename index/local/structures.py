"""Choose the FAISS structure by the cost of a search, not by its name.

* exact: every code in float32, all of them scanned;
* quantized: four bits for each pair of dimensions (product quantization, Jegou et al., TPAMI 2011), all of them scanned
  by table lookups in vector registers (Andre et al., VLDB 2015), and the best candidates ranked by their codes in the
  catalog: an eighth of the memory, at most a tenth of the time;
* inverted: quantized, and only the codes in the lists nearest to the query are scanned.

Codes of pictures have an effective dimension of 80 and more, where lists miss much: with a tenth of the codes scanned
they find .78 to .91 of the ten nearest, quantization with 500 candidates .997 of a million (docs/scale.md). So lists
are the last choice, for when even a scan of the quantized codes takes too long.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from index.atomic import write
from index.records import Budget

BUDGET_NAME = "budget.json"
MOST_CHARACTERS = 1000  # of that file
EXACT_MOST = 300_000  # codes; more are searched exactly only if a budget allows it
FEWEST = 1000  # codes that tables can be learned from; fewer are always searched exactly
PATIENCE_S = 0.1  # latency of one query, if the budget has none
SCAN_BYTES_PER_S = 8e9  # one core reading codes: a cautious figure, see docs/performance.md
RANKING_S = 0.004  # ranking candidates by their codes in the catalog
SHARES = (0.5, 0.25, 0.125, 0.0625)  # of the lists, scanned for one query
LISTS_MOST = 8192
ID_BYTES = 8


def read_budget(folder: Path) -> Budget:
    """The budget of an index; ``Budget()`` if none can be read, since only caches depend on it."""
    try:
        with open(folder / BUDGET_NAME, encoding="utf-8") as file:
            kept = json.loads(file.read(MOST_CHARACTERS))
        limits = [_limit(kept[name]) for name in ("memory_bytes", "latency_s")]
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return Budget()
    return Budget(*limits)


def _limit(value: object) -> Any:
    """A limit that may have been written: none, or a number above 0.

    Raises:
        ValueError, OverflowError: it is something else.
    """
    if value is not None and not (type(value) in (int, float) and 0 < float(value) < math.inf):  # type: ignore[arg-type]
        raise ValueError("no limit")
    return value


def write_budget(folder: Path, budget: Budget) -> None:
    write(folder / BUDGET_NAME, json.dumps(asdict(budget)) + "\n")


@dataclass(frozen=True)
class Structure:
    """A way to lay out codes. If there are ``lists``, a query scans ``probes`` of them."""

    quantized: bool = False
    lists: int = 0
    probes: int = 0

    def factory(self, dim: int) -> str:
        """FAISS's factory string. Quantized codes are packed for vector registers later, in a ``Snapshot``."""
        if not self.quantized:
            return "Flat"
        product = f"PQ{pairs(dim)}x4"
        return f"IVF{self.lists},{product}" if self.lists else product

    @property
    def learns_from(self) -> int:
        """Number of codes that its tables are learned from."""
        return max(65_536, 40 * self.lists) if self.quantized else 0

    @property
    def share(self) -> float:
        """Share of the codes that one query scans."""
        return self.probes / self.lists if self.lists else 1.0

    def memory_bytes(self, count: int, dim: int) -> int:
        """Memory of ``count`` codes of ``dim`` dimensions."""
        each = 2 * ((pairs(dim) + 1) // 2) if self.quantized else 4 * dim  # twice: stored, and packed
        return count * (each + ID_BYTES) + self.lists * 4 * dim

    def latency_s(self, count: int, dim: int) -> float:
        """Expected time of one query on one core, when the index is in memory."""
        scanned = self.share * count * (pairs(dim) / 2 if self.quantized else 4 * dim) + self.lists * 4 * dim
        return scanned / SCAN_BYTES_PER_S + (RANKING_S if self.quantized else 0.0)

    def fits(self, count: int, dim: int, budget: Budget) -> bool:
        return fits(self.memory_bytes(count, dim), self.latency_s(count, dim), budget)

    def __str__(self) -> str:
        if not self.quantized:
            return "exact"
        return f"{self.probes:,} of {self.lists:,} lists, quantized" if self.lists else "quantized"


@dataclass(frozen=True)
class Quality:
    """Quality of a cache: with ``candidates`` ranked exactly, it found ``recall`` of the ten nearest of a sample when
    it held ``measured_at`` codes. An exact cache needs no candidates.
    """

    candidates: int = 0
    measured_at: int = 0
    recall: float = 1.0


UNMEASURED = Quality()
EXACT, QUANTIZED = Structure(), Structure(quantized=True)


def fits(memory_bytes: float, latency_s: float, budget: Budget) -> bool:
    """Whether memory and latency are within ``budget``."""
    patience = PATIENCE_S if budget.latency_s is None else budget.latency_s
    memory = math.inf if budget.memory_bytes is None else budget.memory_bytes
    return memory_bytes <= memory and latency_s <= patience


def choose(count: int, dim: int, budget: Budget) -> Structure:
    """The structure within ``budget`` that loses least recall; if there is none, the one nearest to the budget."""
    if count < FEWEST:
        return EXACT
    exact = [EXACT] if budget != Budget() or count <= EXACT_MOST else []
    lists = min(LISTS_MOST, 2 ** max(4, round(math.log2(4 * math.sqrt(max(count, 1))))))
    inverted = [Structure(True, lists, math.ceil(share * lists)) for share in SHARES]
    options = [*exact, QUANTIZED, *inverted]
    return next((one for one in options if one.fits(count, dim, budget)), _nearest_miss(count, dim, budget, options))


def _nearest_miss(count: int, dim: int, budget: Budget, options: list[Structure]) -> Structure:
    """The quickest structure that fits into the memory, else the smallest."""
    in_memory = [one for one in options if one.memory_bytes(count, dim) <= (budget.memory_bytes or math.inf)]
    if in_memory:
        return min(in_memory, key=lambda one: one.latency_s(count, dim))
    return min(options, key=lambda one: one.memory_bytes(count, dim))


def pairs(dim: int) -> int:
    """Number of parts of a quantized code: pairs of dimensions if ``dim`` is even, else single ones."""
    return dim // 2 if dim % 2 == 0 else dim
