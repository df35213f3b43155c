"""What two looks give: neighbours of the same class among pictures in folders by class, with one look and with two.

    python benchmarks/looks.py PHOTOS --model photos-64

Each picture is asked in turn (leave-one-out). kNN-20 is the share of pictures whose class has most of their 20 nearest;
P@10 the share of the ten nearest that are of the same class. Time is processor time, of all processes together.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from retrieval import Retriever, load_model

NEIGHBOURS, FIRST = 20, 10


def processor_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measured(photos: Path, model: str, looks: int) -> tuple[float, float, float]:
    """kNN-20, P@10 and milliseconds a picture."""
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
    count = len(class_of)
    return right / count, same / (FIRST * count), 1000 * took / count


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("photos", type=Path)
    words.add_argument("--model", default="photos-64")
    given = words.parse_args()
    print("| looks | numbers | kNN-20 | P@10 | ms a picture |\n|---|---|---|---|---|")
    for looks in (1, 2):
        alike, first, took = measured(given.photos.resolve(), given.model, looks)
        dim = load_model(given.model).with_looks(looks).latent_dim
        print(f"| {looks} | {dim} | {alike:.3f} | {first:.3f} | {took:.2f} |", flush=True)


if __name__ == "__main__":
    main()
