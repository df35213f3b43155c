"""Faults of a catalog and its caches, in words. Codes are read in pages, so that no writer waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sqlalchemy import func, select

from index.local.cachefile import CacheUnusable
from index.local.caches import VectorCache
from index.local.catalog import Catalog
from index.local.tables import codes, pictures


def catalog_faults(rows: Catalog) -> list[str]:
    """Faults inside the catalog; empty if there are none."""
    found: list[str] = []
    with rows.transaction() as connection:
        checked = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        found += [f"catalog: {line}" for line in checked if line != "ok"]
        coded = select(func.count()).select_from(pictures).join(codes).where(pictures.c.status == "found")
        plain = select(func.count()).select_from(pictures).where(pictures.c.status == "found")
        with_code, findable = connection.scalar(coded) or 0, connection.scalar(plain) or 0
        if with_code != findable:
            found.append(f"catalog: {findable - with_code} found pictures have no code")
        if findable != (counted := rows.meta().found):
            found.append(f"catalog: {findable} pictures can be found, but {counted} are counted")
    for ids, matrix in rows.code_pages():
        found += [f"catalog: the code of picture {i} is not finite" for i in ids[~np.isfinite(matrix).all(1)]]
    return found


def cache_faults(rows: Catalog, paths: dict[str, Path]) -> list[str]:
    """Faults of the cache files, which are given by kind. A cache that is only behind is not a fault."""
    return [fault for kind, path in paths.items() if path.exists() for fault in _faults_of(rows, kind, path)]


def _faults_of(rows: Catalog, kind: str, path: Path) -> Iterator[str]:
    facts = rows.meta()
    try:
        cache = VectorCache.load(path, kind, facts.latent_dim)  # type: ignore[arg-type]
    except CacheUnusable as error:
        yield f"cache: {error}"
        return
    if (cache.generation, cache.stamp) != (facts.generation, facts.stamp):
        return
    agrees = _agrees(cache, rows)
    if not agrees and rows.meta() == facts:  # and no writer changed the catalog meanwhile
        yield f"cache: {path.name} does not hold the catalog's codes"


def _agrees(cache: VectorCache, rows: Catalog) -> bool:
    cached, row = cache.ids(), 0
    for ids, matrix in rows.code_pages():
        if not np.array_equal(cached[row : row + len(ids)], ids) or not cache.holds(ids, matrix):
            return False
        row += len(ids)
    return row == len(cached)
