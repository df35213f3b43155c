"""Facts and figures of an index."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from index.door import Index


@dataclass(frozen=True)
class Status:
    """Facts and figures of an index; sizes in bytes.

    ``search`` names the layout of the codes. ``search_memory_bytes`` and ``search_latency_s`` of one query are expected
    values. ``search_recall`` is the share of the ten nearest that was found when the layout was built, 1 if exact.
    ``search_fits`` is False if no layout is within the budget.
    """

    folder: str
    model_name: str
    model_digest: str
    latent_dim: int
    generation: int
    found: int
    skipped: int
    vanished: int
    removed: int
    roots: list[str]
    reasons: dict[str, int]
    catalog_bytes: int
    caches_bytes: int
    model_bytes: int
    search: str
    search_memory_bytes: int
    search_latency_s: float
    search_recall: float
    search_fits: bool


def status_of(index: Index) -> Status:
    """Return counts, model, sizes and generation of an index."""
    with index.rows.snapshot():
        facts, counts, roots = index.rows.meta(), index.rows.counts(), index.rows.roots()
        reasons = Counter(row.reason or "?" for row in index.rows.skipped())
    layout, sizes = index.layout(), index.sizes()
    return Status(
        folder=index.address,
        model_name=facts.model_name,
        model_digest=facts.model_digest,
        latent_dim=facts.latent_dim,
        generation=facts.generation,
        found=facts.found,
        skipped=counts.get("skipped", 0),
        vanished=counts.get("vanished", 0),
        removed=counts.get("removed", 0),
        roots=list(roots.values()),
        reasons=dict(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))),
        catalog_bytes=sizes["catalog"],
        caches_bytes=sizes["caches"],
        model_bytes=sizes["model"],
        search=layout.name,
        search_memory_bytes=layout.memory_bytes,
        search_latency_s=layout.latency_s,
        search_recall=layout.recall,
        search_fits=layout.fits,
    )
