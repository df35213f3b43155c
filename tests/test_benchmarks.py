"""The benchmarks' own arithmetic, held against a plain computation."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_shapes
from PIL import Image

ROOT = Path(__file__).parents[1]


@pytest.fixture
def quality(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import quality as module

    return module


def test_votes_and_ages_equal_brute_force(quality: object) -> None:
    rng = np.random.default_rng(0)
    xb, xq = rng.standard_normal((300, 16)).astype(np.float32), rng.standard_normal((40, 16)).astype(np.float32)
    yb = np.stack([rng.integers(0, 90, 300), rng.integers(0, 2, 300), rng.integers(0, 5, 300)], axis=1)
    yq = np.stack([rng.integers(0, 90, 40), rng.integers(0, 2, 40), rng.integers(0, 5, 40)], axis=1)
    outcomes = quality.figures(xb, yb, xq, yq)  # type: ignore[attr-defined]
    for row, query in enumerate(xq.astype(np.float64)):
        cosine = xb @ query / np.linalg.norm(xb, axis=1) / np.linalg.norm(query)
        order = np.argsort(-cosine)[:20]
        for column, measure in ((1, "gender kNN-20"), (2, "race kNN-20")):
            votes = {label: np.exp(cosine[order][yb[order, column] == label] / 0.07).sum() for label in range(5)}
            assert outcomes[measure][row] == (max(votes, key=votes.__getitem__) == yq[row, column])
        assert outcomes["age error"][row] == pytest.approx(abs(yb[order[:10], 0].mean() - yq[row, 0]))


def test_the_quality_command_runs_on_archives(tmp_path: Path, tiny_bundle: Path) -> None:
    """From end to end, on drawn pictures with labels in their names."""
    for name, count, seed in (("gallery", 200, 0), ("queries", 30, 1)):
        pixels, kinds = draw_shapes(count, seed)
        folder = tmp_path / name
        folder.mkdir()
        for number, (picture, kind) in enumerate(zip(pixels, kinds, strict=True)):
            Image.fromarray(picture).save(folder / f"{10 * kind}_{kind % 2}_{kind}_{number}.png")
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            tar.add(folder, arcname=name)
    words = [sys.executable, str(ROOT / "benchmarks" / "quality.py"), str(tiny_bundle)]
    words += ["--gallery", str(tmp_path / "gallery.tar"), "--queries", str(tmp_path / "queries")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "30 queries against 200 pictures" in done.stdout
    for row in ("raw pixels", "PCA-16, half-whitened", "code N(E(x))", "cycle correlation"):
        assert row in done.stdout
