"""Facts and figures of an index."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from index.door import Index
from index.errors import IndexDamaged
from retrieval.pictures.kinds import counted_kinds, other_kind


@dataclass(frozen=True)
class Status:
    """Facts and figures of an index; sizes in bytes.

    ``skipped`` counts pictures that could not be read, and ``reasons`` says why. ``other_kinds`` counts ``other_files``
    by kind, which were never meant to be pictures. ``excluded`` holds the patterns of what is left out.
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
    other_files: int
    other_kinds: dict[str, int]
    excluded: list[str]
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
        skipped = [(row.reason or "?", os.fsdecode(row.path)) for row in index.rows.skipped()]
    kinds = [other_kind(*one) for one in skipped]
    reasons = Counter(reason for (reason, _), kind in zip(skipped, kinds, strict=True) if kind is None)
    others = counted_kinds(kind for kind in kinds if kind is not None)
    layout, sizes = index.layout(), index.sizes()
    return Status(
        folder=index.address,
        model_name=facts.model_name,
        model_digest=facts.model_digest,
        latent_dim=facts.latent_dim,
        generation=facts.generation,
        found=facts.found,
        skipped=reasons.total(),
        vanished=counts.get("vanished", 0),
        removed=counts.get("removed", 0),
        other_files=sum(others.values()),
        other_kinds=others,
        excluded=_excluded(index),
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


def _excluded(index: Index) -> list[str]:
    """The patterns of what is left out; none if they are damaged, which an update and ``verify`` say."""
    try:
        return list(index.excluded())
    except IndexDamaged:
        return []
