"""How well persons are found again: each photograph of one asks for the others, by all of it and by its largest face.

    python benchmarks/persons.py FOLDER --half 1

FOLDER holds a folder for each person. Of persons with five photographs or more, the first five are taken; of each two
persons in alphabetical order, one belongs to half 0, for choosing, and one to half 1, for reporting. A photograph is
never its own hit. R@1 and R@10 are the shares of photographs whose first hit, or one of ten, shows the person; in
brackets, intervals of 95% over persons, by bootstrap.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np

from retrieval import Retriever
from retrieval.roots.regions import file_of, regions_address

EACH = 5
FIRST = 10
MOST_FACES = 20  # of one photograph, which all may be nearer than any other


def persons_of(folder: Path, half: int) -> dict[str, list[Path]]:
    """The first five photographs of each person of a half who has so many."""
    everybody = {one.name: sorted(one.iterdir()) for one in folder.iterdir() if one.is_dir()}
    several = sorted(name for name, paths in everybody.items() if len(paths) >= EACH)
    return {name: everybody[name][:EACH] for name in several[half::2]}


def copied_to(place: Path, photo: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(photo, place)
    return place


def outcomes(place: str, asked: list[Path], index: Path, model: str) -> tuple[list[str], np.ndarray]:
    """The persons of the photographs that can ask, and whether the first hit, and one of ten, shows them: (n, 2)."""
    with Retriever.build([place], index, model=model) as retriever:
        indexed = {file_of(one.path) for one in retriever.pictures()}
        able = [path for path in asked if str(path) in indexed]  # not where no face was found
        hits = retriever.query_batch([str(path) for path in able], FIRST + MOST_FACES)
    right = []
    for path, some in zip(able, hits, strict=True):
        others = dict.fromkeys(file_of(one.path) for one in some if file_of(one.path) != str(path))
        shown = [Path(one).parent.name == path.parent.name for one in others][:FIRST]
        right.append((shown[0], any(shown)))
    return [path.parent.name for path in able], np.array(right, float)


def interval(right: np.ndarray, names: list[str], rng: np.random.Generator) -> tuple[float, float]:
    """Of the mean over photographs, when persons are drawn again."""
    persons = [np.flatnonzero(np.array(names) == name) for name in dict.fromkeys(names)]
    drawn = (rng.integers(0, len(persons), len(persons)) for _ in range(1000))
    means = [right[np.concatenate([persons[one] for one in some])].mean() for some in drawn]
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def cell(values: np.ndarray, names: list[str]) -> str:
    low, high = interval(values, names, np.random.default_rng(0))
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("folder", type=Path)
    words.add_argument("--half", type=int, choices=(0, 1), required=True)
    words.add_argument("--model", nargs="+", default=["faces-128"])
    given = words.parse_args()
    photos = persons_of(given.folder.absolute(), given.half)
    asked = [path for paths in photos.values() for path in paths]
    print(f"{len(photos)} persons\n\n| model | indexed | photographs | R@1 | R@10 |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "photos"
        copies = [copied_to(folder / path.parent.name / path.name, path) for path in asked]
        for model in given.model:
            for number, place in enumerate((str(folder), regions_address("faces", folder))):
                index = Path(scratch) / f"{Path(model).parent.name}{Path(model).name}-{number}"
                names, right = outcomes(place, copies, index, model)
                what = ("whole photographs", "faces")[number]
                cells = [cell(column, names) for column in right.T]
                print(f"| {model} | {what} | {len(names)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
