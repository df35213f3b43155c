"""Joins against brute force in float64, to the last pair."""

from __future__ import annotations

import numpy as np
import pytest

from index.errors import JoinTooWide
from index.joins import close_pairs, cross_pairs


def brute_force(xq: np.ndarray, xb: np.ndarray, within: float) -> set[tuple[int, int]]:
    distances = np.linalg.norm(xq[:, None].astype(np.float64) - xb[None], axis=2)
    return {(int(a), int(b)) for a, b in zip(*np.nonzero(distances <= within), strict=True)}


def clumps(count: int, seed: int, dim: int = 24) -> np.ndarray:
    """Rows of which many lie near each other, and some are equal."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, count // 5), dim))
    codes = centres[rng.integers(0, len(centres), count)] + rng.choice(
        [0, 0.01, 0.3], (count, 1)
    ) * rng.standard_normal((count, dim))
    return codes.astype(np.float32)


@pytest.mark.parametrize("block", [1, 7, 64, 10_000])
@pytest.mark.parametrize("within", [0.0, 0.05, 1.0, 2.5])
def test_every_pair_is_found_once_whatever_the_blocks(block: int, within: float) -> None:
    codes = clumps(150, 1)
    expected = {(a, b) for a, b in brute_force(codes, codes, within) if a < b}
    assert len(expected) > 20
    found = [pair for pairs in close_pairs(codes, within, block) for pair in zip(pairs.a, pairs.b, strict=True)]
    assert len(found) == len(set(found)) and set(found) == expected


@pytest.mark.parametrize("block", [3, 1000])
def test_pairs_of_two_sets(block: int) -> None:
    xq, xb = clumps(60, 2), np.concatenate([clumps(60, 2)[:30], clumps(100, 3)])
    found = {pair for pairs in cross_pairs(xq, xb, 0.5, block) for pair in zip(pairs.a, pairs.b, strict=True)}
    assert found == brute_force(xq, xb, 0.5) and len(found) > 30


def test_nearest_come_first_with_exact_distances() -> None:
    codes = clumps(200, 4)
    (pairs,) = close_pairs(codes, 3.0)
    exact = np.linalg.norm(codes[pairs.a].astype(np.float64) - codes[pairs.b], axis=1)
    np.testing.assert_allclose(pairs.distances, exact, rtol=1e-6)
    assert (np.diff(pairs.distances) >= 0).all() and len(pairs) > 100


def test_few_rows_and_none() -> None:
    assert [len(pairs) for pairs in close_pairs(clumps(1, 5), 1.0)] == [0]
    assert list(close_pairs(np.empty((0, 4), np.float32), 1.0)) == []
    assert [len(pairs) for pairs in cross_pairs(clumps(3, 5), np.empty((0, 24), np.float32), 1.0)] == [0]


def test_a_distance_within_which_everything_lies_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.joins.PAIRS_MOST", 1000)
    with pytest.raises(JoinTooWide, match=r"10,000 pairs lie within 100 .* choose a smaller distance"):
        list(close_pairs(clumps(100, 6), 100.0))
