"""An index in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from index.local.store import Store
from retrieval.models.kept import MODEL_FOLDER


@dataclass(frozen=True)
class Status:
    """An index in numbers; sizes in bytes.

    ``search`` is how the codes are laid out. ``search_memory_bytes`` and ``search_latency_s`` are what that is expected
    to take; ``search_recall`` is what part of the ten nearest it found when it was built, 1 where it is exact;
    ``search_fits`` is False where no structure is within the budget.
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


def status_of(folder: Path, store: Store) -> Status:
    """Counts, model, sizes and generation of the index in ``folder``."""
    catalog, facts = store.catalog, store.catalog.meta()
    counts = catalog.counts()
    reasons = Counter(row.reason or "?" for row in catalog.skipped())
    structure, quality = store.layout()
    return Status(
        folder=str(folder),
        model_name=facts.model_name,
        model_digest=facts.model_digest,
        latent_dim=facts.latent_dim,
        generation=facts.generation,
        found=facts.found,
        skipped=counts.get("skipped", 0),
        vanished=counts.get("vanished", 0),
        removed=counts.get("removed", 0),
        roots=list(catalog.roots().values()),
        reasons=dict(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))),
        catalog_bytes=catalog.path.stat().st_size,
        caches_bytes=sum(path.stat().st_size for path in folder.glob("*.faiss")),
        model_bytes=sum(path.stat().st_size for path in (folder / MODEL_FOLDER).glob("*")),
        search=str(structure),
        search_memory_bytes=structure.memory_bytes(facts.found, facts.latent_dim),
        search_latency_s=structure.latency_s(facts.found, facts.latent_dim),
        search_recall=quality.recall,
        search_fits=structure.fits(facts.found, facts.latent_dim, store.budget),
    )
