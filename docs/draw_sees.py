"""What the shipped models see in ten real photographs: the figures and tables of docs/what-it-sees.md.

    python docs/draw_sees.py --collection FOLDER [--model photos-64] [--looks 2] [--page] [--with-photographs FOLDER]

The photographs come inside the package scikit-image (pip install scikit-image). Hits are found in the pictures of the
collection, a folder with a folder for each class. The tables are printed. --page writes them into the page, with the
figures, which show what a generator draws from codes and no picture of anybody else's: those are for your eyes, in the
sheets of --with-photographs. What is measured replaces the same model and looks in docs/reports/sees.json.

The models of faces need the extra faces: they are also asked for the portrait's face.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retrieval import Answer, LatentError, PathError, Question, Retriever, Term, ask, load_model, shipped_models
from retrieval.arrays import Floats, Pixels
from retrieval.atomic import write
from retrieval.explore.explain import answer_row
from retrieval.explore.fitting import UNLIKE
from retrieval.models.model import Model
from retrieval.pages.sheet import Cell, SheetRow, sheet_png
from retrieval.pictures.thumbnail import thumbnail
from retrieval.roots.faces import faces_of, largest_faces

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "what-it-sees.md"
REPORT = ROOT / "docs" / "reports" / "sees.json"
FIGURES = ROOT / "docs" / "figures"
HITS, DRAWN = 10, 5
SOME = 100  # pictures of persons in which faces are looked for, at most
SHRUNK, QUALITY = 0.75, 60  # every clone of the project downloads the figures
FACE = "astronaut, the face"
Report = dict[str, dict[str, dict[str, Any]]]  # by model, by looks


@dataclass(frozen=True)
class Photograph:
    """A photograph of scikit-image: its file, the function of ``skimage.data`` that gives it, its licence in the words
    of that function, and the classes of Caltech-101 that a person would call of its kind."""

    file: str
    function: str
    shows: str
    licence: str
    kinds: frozenset[str] = frozenset()


PERSONS = frozenset({"Faces", "Faces_easy"})
CATS = frozenset({"wild_cat", "Leopards", "cougar_face", "cougar_body"})
PHOTOGRAPHS = {
    "astronaut": Photograph("astronaut.png", "astronaut", "a portrait, to the waist", "public domain", PERSONS),
    "camera": Photograph("camera.png", "camera", "a man at a camera; grey", "CC0", PERSONS | {"camera"}),
    "chelsea": Photograph("chelsea.png", "chelsea", "a cat's face", "CC0", CATS),
    "coffee": Photograph("coffee.png", "coffee", "a cup on a table", "CC0", frozenset({"cup"})),
    "motorcycle": Photograph(
        "motorcycle_left.png", "stereo_motorcycle", "a motorcycle", "none stated", frozenset({"Motorbikes"})
    ),
    "rocket": Photograph("rocket.jpg", "rocket", "a rocket at dusk", "public domain"),
    "coins": Photograph("coins.png", "coins", "24 coins in rows; grey", "no known restrictions"),
    "brick": Photograph("brick.png", "brick", "a brick wall; grey", "CC0"),
    "page": Photograph("page.png", "page", "printed text; grey", "none stated"),
    "hubble_deep_field": Photograph("hubble_deep_field.jpg", "hubble_deep_field", "stars", "public domain"),
}


@dataclass(frozen=True)
class Row:
    """What a model made of one photograph: the classes of its hits, best first; the correlation of its code and that of
    what is decoded from it; the shares of what the model learnt, and of the collection, that are less unusual, and
    whether ``latent query`` warns of them."""

    hits: list[str]
    cycle: float
    unlike: float
    novel: float
    warns_unlike: bool
    warns_novel: bool


@dataclass(frozen=True)
class Asked:
    """A photograph, or the face in it, and what an index answered."""

    path: str
    answer: Answer


def photographs() -> dict[str, str]:
    """The path of each photograph.

    Raises:
        PathError: scikit-image is not installed, or has other files.
    """
    package = find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        raise PathError("the photographs come inside the package scikit-image: pip install scikit-image")
    data = Path(package.submodule_search_locations[0]) / "data"
    paths = {name: data / one.file for name, one in PHOTOGRAPHS.items()}
    if lacking := [path.name for path in paths.values() if not path.is_file()]:
        raise PathError(f"{data} holds no {', '.join(lacking)}; version 0.26 of scikit-image does")
    return {name: os.fspath(path) for name, path in paths.items()}


def class_of(collection: Path, path: str) -> str:
    return Path(path).relative_to(collection).parts[0]


def classes_in(collection: Path, retriever: Retriever) -> set[str]:
    """The folders in which indexed pictures lie.

    Raises:
        PathError: a picture lies in no folder of a class, or there are too few of them.
    """
    found = [Path(one.path).relative_to(collection).parts for one in retriever.pictures()]
    if len(found) < HITS or any(len(parts) == 1 for parts in found):
        raise PathError(f"{collection} must hold {HITS} pictures at least, all in folders by class")
    return {parts[0] for parts in found}


def questions(retriever: Retriever, paths: Mapping[str, str]) -> dict[str, Asked]:
    """Ask an index for each picture."""
    return {name: Asked(path, ask(retriever, Question((Term(1.0, path),), HITS))) for name, path in paths.items()}


def row_of(model: Model, answer: Answer, collection: Path) -> Row:
    seen = model.encode_painted(model.decode(answer.code[None])).codes[0]  # with two looks, of the whole picture's part
    return Row(
        [class_of(collection, hit.path) for hit in answer.hits],
        round(float(np.corrcoef(answer.code[: len(seen)], seen)[0, 1]), 3),
        round(answer.unfamiliarity or 0.0, 3),
        round(answer.novelty or 0.0, 3),
        answer.is_unfamiliar,
        answer.is_novel,
    )


def drawn_grey(retriever: Retriever, collection: Path) -> dict[str, int]:
    """Of faces in the collection's pictures of persons: how many are drawn with less than half of their colour, and how
    many are unlike what the model learnt."""
    model = retriever.model
    persons = [one.path for one in retriever.pictures() if class_of(collection, one.path) in PERSONS]
    faces = [faces_of(path) for path in persons[:: 1 + len(persons) // SOME]]
    squares = [one for one in model.squares([*chain(*faces)]) if isinstance(one, np.ndarray)]
    if not squares:
        return {"faces": 0, "grey": 0, "unlike": 0}
    encoded = model.encode_squares(squares)
    grey = colours(model.decode(encoded.codes)) < colours(np.stack(squares)) / 2
    unlike = encoded.unfamiliarity > UNLIKE
    return {"faces": len(squares), "grey": int(grey.sum()), "unlike": int(unlike.sum())}


def colours(pictures: Pixels) -> Floats:
    """How far the channels of each picture are apart, on average over its pixels: float32 (n,), of 255."""
    return np.asarray(np.ptp(pictures.astype(np.float32), axis=-1).mean(axis=(1, 2)), np.float32)


def figure(retriever: Retriever, collection: Path, asked: Mapping[str, Asked]) -> bytes:
    """A JPEG: for each photograph what is decoded from its code, and from those of its first hits."""
    rows = []
    for name, one in asked.items():
        (drawn,), hits = retriever.decode(one.answer.code[None]), one.answer.hits[:DRAWN]
        cells = [
            Cell(pixels, (), (class_of(collection, hit.path),))
            for hit, pixels in zip(hits, retriever.decode(hits), strict=True)
        ]
        rows.append(SheetRow(Cell(drawn, (), (name,)), cells))
    with Image.open(BytesIO(sheet_png(rows))) as large:
        small = large.convert("RGB").resize((round(SHRUNK * large.width), round(SHRUNK * large.height)))
    small.save(jpeg := BytesIO(), "JPEG", quality=QUALITY, optimize=True)
    return jpeg.getvalue()


def sheet(retriever: Retriever, asked: Mapping[str, Asked]) -> bytes:
    """A PNG with the photographs and their hits, each above what is decoded from its code."""
    rows = [
        answer_row(retriever, thumbnail(one.path), (name,), one.answer.code, one.answer.hits)
        for name, one in asked.items()
    ]
    return sheet_png(rows)


def tables(report: Report, model: str) -> list[str]:
    """Lines of the page: what a model made of the photographs, for each number of looks that was measured."""
    lines = []
    for looks, its in sorted(report[model].items()):
        seen = "One look: the central square" if looks == "1" else "Two looks: the whole picture and its central square"
        lines += [
            f"![What {model} draws from the code of each photograph and of five hits]({figure_name(model, looks)})",
            "",
            f"{seen}. {its['pictures']:,} pictures of {its['classes']} classes, {its['command']}:",
            "",
            "| photograph | its ten hits, by class | of its kind | cycle | unlike what it learnt | novel here |",
            "|---|---|---|---|---|---|",
            *(_line(name, Row(**row)) for name, row in its["rows"].items()),
            "",
            *(_of_faces(its["of_faces"]) if "of_faces" in its else ()),
        ]
    return lines


def figure_name(model: str, looks: str) -> str:
    return f"figures/{model}/sees-{looks}.jpg"


def _line(name: str, row: Row) -> str:
    counted = ", ".join(f"{kind} {count}" for kind, count in Counter(row.hits).most_common())
    kinds = kinds_of(name)
    right = [kind in kinds for kind in row.hits]
    judged = f"{sum(right)} of ten, first {'too' if right[0] else 'not'}" if any(right) else "none"
    shares = (_share(row.unlike, row.warns_unlike), _share(row.novel, row.warns_novel))
    return f"| {' | '.join([name, counted, judged if kinds else '-', f'{row.cycle:.2f}', *shares])} |"


def _of_faces(found: dict[str, int]) -> list[str]:
    drawn = f"Of {found['faces']} faces in its pictures of persons, {found['grey']} are drawn with less than half of"
    return [
        f"{drawn} their colour. {found['unlike']} are further from what the model learnt than {UNLIKE:.0%} of that.",
        "",
    ]


def kinds_of(name: str) -> frozenset[str]:
    return PHOTOGRAPHS[name.partition(",")[0]].kinds


def _share(share: float, warns: bool) -> str:
    return f"**{share:.0%}**" if warns else f"{share:.0%}"


def list_of_photographs() -> list[str]:
    """Lines of the page: each photograph, with where it can be seen, its licence, and what is of its kind."""
    place = "https://scikit-image.org/docs/stable/api/skimage.data.html#skimage.data."
    return [
        "| photograph | shows | licence, as scikit-image states it | of its kind |",
        "|---|---|---|---|",
        *(
            f"| [{name}]({place}{one.function}) | {one.shows} | {one.licence} | {', '.join(sorted(one.kinds)) or '-'} |"
            for name, one in PHOTOGRAPHS.items()
        ),
        "",
    ]


def page_of(text: str, report: Report) -> str:
    """The page with its tables written anew.

    Raises:
        ValueError: the page has no place for one of them.
    """
    parts = {"photographs": list_of_photographs(), **{model: tables(report, model) for model in report}}
    for mark, lines in parts.items():
        start, end = (text.index(one) for one in (f"<!-- {mark} -->", f"<!-- end of {mark} -->"))
        text = text[:start] + "\n".join([f"<!-- {mark} -->", *lines]) + text[end:]
    return text


def note(model: str, looks: str, measured: dict[str, Any], drawn: bytes) -> None:
    """Put what was measured into the report, the figure beside it, and the tables of the report into the page."""
    report: Report = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {}
    report.setdefault(model, {})[looks] = measured
    place = PAGE.parent / figure_name(model, looks)
    place.parent.mkdir(parents=True, exist_ok=True)
    write(place, drawn)
    write(REPORT, (json.dumps(report, indent=1) + "\n").encode())
    write(PAGE, page_of(PAGE.read_text(encoding="utf-8"), report).encode())


def measure(given: argparse.Namespace, name: str, paths: Mapping[str, str]) -> list[str]:
    """Ask one model for all photographs. Returns the lines of its tables."""
    collection = given.collection.resolve()
    model = name if given.looks is None else load_model(name).with_looks(given.looks)
    measured: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as scratch,
        Retriever.build(collection, index=Path(scratch) / "index", model=model) as retriever,
    ):
        classes, looks = classes_in(collection, retriever), str(retriever.model.looks)
        if name.startswith("faces"):
            paths = {FACE: largest_faces([paths["astronaut"]])[0], **paths}
            measured["of_faces"] = drawn_grey(retriever, collection)
        asked = questions(retriever, paths)
        measured |= {
            "pictures": len(retriever),
            "classes": len(classes),
            "command": f"`python docs/draw_sees.py --collection FOLDER --model {name} --looks {looks} --page`",
            "rows": {name: asdict(row_of(retriever.model, one.answer, collection)) for name, one in asked.items()},
        }
        if given.page:
            note(name, looks, measured, figure(retriever, collection, asked))
        if given.with_photographs:
            write(given.with_photographs / f"{name}-{looks}.png", sheet(retriever, asked))
    return tables({name: {looks: measured}}, name)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--collection", type=Path, required=True, help="pictures in folders by class")
    words.add_argument("--model", action="append", choices=shipped_models(), help="repeatable; by default all")
    words.add_argument("--looks", type=int, choices=(1, 2), help="at each picture; by default as an index is built")
    words.add_argument("--page", action="store_true", help="write figures, report and page")
    words.add_argument("--with-photographs", type=Path, metavar="FOLDER", help="write sheets with the pictures there")
    given = words.parse_args()
    sheets = given.with_photographs
    if sheets and sheets.resolve().is_relative_to(ROOT):
        words.error(f"{sheets} lies in {ROOT}, which holds no pictures from elsewhere; name another folder")
    try:
        if sheets:
            sheets.mkdir(parents=True, exist_ok=True)
        paths = photographs()
        for name in given.model or shipped_models():
            print("\n".join(measure(given, name, paths)), flush=True)
    except (LatentError, OSError) as error:
        raise SystemExit(f"Error: {error}") from error


if __name__ == "__main__":
    main()
