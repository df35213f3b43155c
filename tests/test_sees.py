"""docs/what-it-sees.md: its tables are those of its report, its figures are there, and what is missing is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import write_shapes

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import draw_sees  # noqa: E402

SMALL = 150_000  # bytes of a figure


def run(*words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(ROOT / "docs" / "draw_sees.py"), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(program, capture_output=True, text=True, check=False, env=environment)


def test_the_tables_of_the_page_are_those_of_the_report() -> None:
    report = json.loads(draw_sees.REPORT.read_text(encoding="utf-8"))
    page = draw_sees.PAGE.read_text(encoding="utf-8")
    assert set(report) == {"faces-128", "faces-64", "photos-64"}
    assert draw_sees.page_of(page, report) == page


def test_each_figure_is_there_and_small() -> None:
    report = json.loads(draw_sees.REPORT.read_text(encoding="utf-8"))
    for model, by_looks in report.items():
        for looks in by_looks:
            figure = draw_sees.PAGE.parent / draw_sees.figure_name(model, looks)
            assert 10_000 < figure.stat().st_size < SMALL, figure


def test_sheets_with_photographs_are_not_written_into_the_repository(tmp_path: Path) -> None:
    done = run("--collection", str(tmp_path), "--with-photographs", str(ROOT / "docs" / "figures" / "mine"))
    assert done.returncode == 2 and "holds no pictures from elsewhere" in done.stderr
    assert not (ROOT / "docs" / "figures" / "mine").exists()


def test_photographs_and_hits_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(draw_sees.PathError, match="pip install scikit-image"):
        draw_sees.photographs()
    (tmp_path / "skimage").mkdir()
    (tmp_path / "skimage" / "__init__.py").touch()
    with pytest.raises(draw_sees.PathError, match=r"holds no astronaut\.png"):
        draw_sees.photographs()


def test_a_collection_without_classes_is_refused(tmp_path: Path) -> None:
    write_shapes(tmp_path / "photos" / "round", 12)
    photos = tmp_path / "photos"
    with draw_sees.Retriever.build(photos, index=tmp_path / "index") as retriever:
        assert draw_sees.classes_in(photos, retriever) == {"round"}
    write_shapes(photos, 1, seed=1)
    with (
        draw_sees.Retriever.build(photos, index=tmp_path / "index") as retriever,
        pytest.raises(draw_sees.PathError, match="in folders by class"),
    ):
        draw_sees.classes_in(photos, retriever)
