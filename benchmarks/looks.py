"""What two looks give: neighbours of the same class among pictures in folders by class, with one look and with two.

    python benchmarks/looks.py PHOTOS --model photos-64

Each picture is asked in turn (leave-one-out). kNN-20 is the share of pictures whose class has most of their 20 nearest;
P@10 the share of the ten nearest that are of the same class. Time is processor time, of all processes together. Then
--copies pictures are altered in nine ways each, and asked with: how many times the picture itself is the first.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from beside import processor_s
from PIL import Image

from retrieval import Retriever, load_model
from train.copies import ALTERATIONS

NEIGHBOURS, FIRST = 20, 10


@dataclass(frozen=True)
class Measured:
    """kNN-20, P@10, milliseconds a picture, and R@1 of each kind of altered copies."""

    alike: float
    first: float
    took_ms: float
    copies: dict[str, float]


def measured(photos: Path, model: str, looks: int, copies: int) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        start = processor_s()
        with Retriever.build(photos, Path(folder) / "i", model=load_model(model).with_looks(looks)) as retriever:
            took = processor_s() - start
            class_of = {one.id: Path(one.path).relative_to(photos).parts[0] for one in retriever.pictures()}
            right = same = 0
            for ids, codes in retriever.index.rows.code_pages():
                found = retriever.index.search(codes, NEIGHBOURS + 1, "cosine")
                for number, hits in zip(ids.tolist(), found, strict=True):
                    others = [class_of[one.id] for one in hits if one.id != number][:NEIGHBOURS]
                    right += Counter(others).most_common(1)[0][0] == class_of[number]
                    same += sum(one == class_of[number] for one in others[:FIRST])
            found = found_again(retriever, copies)
    count = len(class_of)
    return Measured(right / count, same / (FIRST * count), 1000 * took / count, found)


def found_again(retriever: Retriever, count: int) -> dict[str, float]:
    """R@1 of ``count`` pictures of an index, altered in each way. Pictures with equal codes are one."""
    pictures = list(retriever.pictures())
    chosen = [pictures[row] for row in np.random.default_rng(0).permutation(len(pictures))[:count]]
    right = dict.fromkeys(ALTERATIONS, 0)
    for one in chosen:
        with Image.open(one.path) as opened:
            picture = opened.convert("RGB")
        codes = retriever.model.encode([np.asarray(alter(picture)) for alter in ALTERATIONS.values()])
        own = retriever.index.rows.codes([one.id])[one.id]
        for name, hits in zip(ALTERATIONS, retriever.index.search(codes, 1, "cosine"), strict=True):
            right[name] += np.allclose(retriever.index.rows.codes([hits[0].id])[hits[0].id], own, atol=1e-4)
    return {name: of_all / len(chosen) for name, of_all in right.items()}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("photos", type=Path)
    words.add_argument("--model", default="photos-64")
    words.add_argument("--copies", type=int, default=600, help="pictures that are altered")
    given = words.parse_args()
    heads = ["looks", "numbers", "kNN-20", "P@10", "ms a picture", *ALTERATIONS]
    print(f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", sep="\n")
    for looks in (1, 2):
        one = measured(given.photos.resolve(), given.model, looks, given.copies)
        dim = load_model(given.model).with_looks(looks).latent_dim
        values = [f"{value:.3f}" for value in (one.alike, one.first)] + [f"{one.took_ms:.2f}"]
        values += [f"{value:.3f}" for value in one.copies.values()]
        print(f"| {looks} | {dim} | {' | '.join(values)} |", flush=True)


if __name__ == "__main__":
    main()
