"""Sums of pictures: what they mean, and what the command line makes of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import Retriever
from retrieval.ask import Term, combined, parse_terms


@pytest.mark.parametrize(
    ("words", "terms"),
    [
        ("a.jpg", None),
        ("a.jpg b.jpg", None),
        ("-", None),
        ("a.jpg -", None),
        ("a + b", [Term(1, "a"), Term(1, "b")]),
        ("a + 0.5*b - 2*c.jpg", [Term(1, "a"), Term(0.5, "b"), Term(-2, "c.jpg")]),
        ("3*a - b*c", [Term(3, "a"), Term(-1, "b*c")]),
    ],
)
def test_words_become_terms(words: str, terms: list[Term] | None) -> None:
    assert parse_terms(words.split()) == terms


@pytest.mark.parametrize("words", ["a + + b", "a b + c", "+ a - b", "a + b -"])
def test_signs_and_pictures_take_turns(words: str) -> None:
    with pytest.raises(ValueError, match="take turns"):
        parse_terms(words.split())


def test_a_sum_is_the_sum_of_codes_standardized(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    with Retriever.build(shape_folder, tmp_path / "i", model=tiny_bundle) as retriever:
        a, b = map(str, sorted(shape_folder.rglob("*.png"))[:2])
        codes = [retriever.look_at(path).code.astype(np.float64) for path in (a, b)]
        expected = codes[0] - 0.5 * codes[1]
        expected = (expected - expected.mean()) / expected.std()
        np.testing.assert_allclose(combined(retriever, [Term(1, a), Term(-0.5, b)])[0], expected, atol=1e-5)
        np.testing.assert_allclose(combined(retriever, [Term(1, a), Term(1, a)])[0], codes[0], atol=1e-5)
        with pytest.raises(ValueError, match="cancel out"):
            combined(retriever, [Term(1, a), Term(-1, a)])


def test_the_command_adds_up_previews_and_leaves_its_terms_out(
    shape_folder: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    Retriever.build(shape_folder, tmp_path / "i", model=tiny_bundle).close()
    a, b, c = map(str, sorted(shape_folder.rglob("*.png"))[:3])
    program = str(Path(sys.executable).with_name("latent"))

    def query(*words: str) -> subprocess.CompletedProcess[str]:
        line = [program, "query", *words, "--index", str(tmp_path / "i"), "--format", "paths", "-k", "5"]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = query(a, "+", f"0.5*{b}", "-", c, "--preview", "sum.png", "--sheet", "hits.png")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5 and not {a, b, c} & {str(tmp_path / p) for p in done.stdout.splitlines()}
    with Image.open(tmp_path / "sum.png") as strip, Image.open(tmp_path / "hits.png") as sheet:
        assert strip.width > 4 * 128 and sheet.width > 5 * 128  # three pictures and their sum; a query and five hits
    assert query(a, "--preview", "one.png").returncode == 0 and (tmp_path / "one.png").exists()
    assert query(a, "+", "+", b).returncode == 2
    assert "cancel out" in query(a, "-", a).stderr
    assert "too large to add up" in query(a, "+", f"{9 * 10**40}*{a}").stderr
    assert query(a, "+", "missing.jpg").returncode == 1
