"""The Python door, as somebody meets it: what it takes, what it says of wrong arguments, what it shows."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import retrieval
from retrieval import PictureRefused, Question, Retriever, Term, ask, find_copies, load_model


def test_k_that_is_no_number_is_a_type_error(shape_folder: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    with Retriever.build(shape_folder, index=tmp_path / "index", model=str(tiny_bundle), workers=1) as retriever:
        picture = next(shape_folder.glob("*.png"))
        for wrong in ("3", 3.0, "ten"):
            with pytest.raises(TypeError, match="k must be a whole number, not"):
                retriever.query(picture, k=wrong)  # type: ignore[arg-type]
        assert len(retriever.query(picture, k=np.int64(3))) == 3  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a picture is a path"):
            retriever.query(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_an_opened_picture_is_read_like_its_file(
    shape_folder: Path, tiny_bundle: Path, tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = tmp_path / "turned.png"
    with Image.open(sorted(shape_folder.glob("*.png"))[0]) as picture:
        wide = picture.resize((90, 48))
        wide.putalpha(200)
        wide.save(turned, exif=exif)
    with (
        Retriever.build(shape_folder, index=tmp_path / "index", model=str(tiny_bundle), workers=1) as retriever,
        Image.open(turned) as opened,
    ):
        assert [hit.path for hit in retriever.query(opened, 3)] == [hit.path for hit in retriever.query(turned, 3)]
        assert np.array_equal(retriever.model.encode([opened]), retriever.model.encode([turned]))
        with pytest.raises(TypeError, match=r"encode\(\[picture\]\)"):
            retriever.model.encode(opened)  # type: ignore[arg-type]
        assert ask(retriever, Question((Term(1.0, opened),), k=1)).title == "90x48 pixels"


def test_a_closed_picture_is_refused(tiny_bundle: Path, shape_folder: Path) -> None:
    with Image.open(next(shape_folder.glob("*.png"))) as opened:
        pass
    with pytest.raises(PictureRefused):
        load_model(tiny_bundle).encode([opened])


def test_reprs_are_short(shape_folder: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    with Retriever.build(shape_folder, index=tmp_path / "index", model=str(tiny_bundle), workers=1) as retriever:
        answer = ask(retriever, Question((Term(1.0, next(shape_folder.glob("*.png"))),), k=2))
        shown = [retriever, retriever.model, answer.hits[0], answer, find_copies(retriever)]
    expected = ["Retriever('/", "Model('tiny', 32 px", "Hit(1, '/", "Answer('/", "Plan("]
    for one, start in zip(shown, expected, strict=True):
        assert repr(one).startswith(start) and len(repr(one)) < 300 and "\n" not in repr(one)
    assert repr(retriever).startswith("Retriever('/")  # closed, too


def test_the_version_is_that_of_the_package() -> None:
    assert retrieval.__version__ == version("latent-search")
