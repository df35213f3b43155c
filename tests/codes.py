"""Codes and rows for tests of an index, and brute force over them."""

from __future__ import annotations

import numpy as np

from index.records import Row

DIM = 24


def standard(codes: np.ndarray) -> np.ndarray:
    codes = codes - codes.mean(1, keepdims=True)
    return (codes / codes.std(1, keepdims=True)).astype(np.float32)


def random_codes(count: int, seed: int, standardized: bool) -> np.ndarray:
    codes = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    codes[count // 2 :: 7] = codes[0]  # exact copies: ties
    return standard(codes) if standardized else codes * np.linspace(0.2, 3, count, dtype=np.float32)[:, None]


def row(number: int, **changes: object) -> Row:
    facts = {"root_id": 1, "path": b"%05d.jpg" % number, "size_bytes": 1, "mtime_ns": number, "status": "found"}
    return Row(**{**facts, "realism": 0.0, "spread": 1.0, "width_px": 1, "height_px": 1, **changes})  # type: ignore[arg-type]


def brute_force(xb: np.ndarray, query: np.ndarray, k: int, metric: str, left_out: set[int]) -> list[int]:
    """Ids, which the catalog counts from 1, in float64; equals by ascending id."""
    xb, query = xb.astype(np.float64), query.astype(np.float64)
    if metric == "euclidean":
        keys = np.linalg.norm(xb - query, axis=1)
    else:
        keys = -(xb @ query) / (np.linalg.norm(xb, axis=1) * np.linalg.norm(query))
    order = sorted(range(len(xb)), key=lambda position: (keys[position], position))
    return [position + 1 for position in order if position + 1 not in left_out][:k]
