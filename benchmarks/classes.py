"""Are samples sharp, and do they show the class that was asked for? Of the models of a comparison.

    python benchmarks/classes.py runs/compared PHOTOS... --held-out HELD_OUT --labels 'filename:\\d+_(\\d)_'

Sharpness is the mean of |Laplacian| of the grey picture, as a share of that of held-out pictures. Whether a class is
seen is judged by a linear probe on the codes of another model, which learns it from PHOTOS; how often it is right of
held-out pictures is the most that can be expected.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from retrieval import load_model
from retrieval.arrays import Floats, Pixels
from retrieval.models.model import Model
from train.labelled import read_labelled
from train.labels import label_reader
from train.session import BUNDLE

SAMPLES, LEARNT = 500, 6000  # of each class; pictures that the probe learns from


def sharpness(pixels: Pixels) -> float:
    """Mean |Laplacian| of grey pictures (n, s, s, 3), inside their borders."""
    grey = pixels.astype(float).mean(axis=3)
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return float(np.abs(4 * grey[:, 1:-1, 1:-1] - around).mean())


def codes_of(judge: Model, pixels: Pixels) -> Floats:
    return judge.encode(list(pixels))


def judged(model: Model, judge: Model, probe: LogisticRegression, real: float) -> str:
    """The cells of a model's line."""
    if not model.classes or not {*model.classes} <= {*probe.classes_}:  # categories of InfoGAN's own have other names
        return f"{sharpness(model.sample(2 * SAMPLES, seed=5)) / real:.2f} | "
    sharp, seen = list[float](), list[float]()
    for name in model.classes:
        samples = model.sample(SAMPLES, seed=5, of_class=name)
        sharp.append(sharpness(samples) / real)
        seen.append(float((probe.predict(codes_of(judge, samples)) == name).mean()))
    return f"{np.mean(sharp):.2f} | {np.mean(seen):.2f} ({', '.join(f'{one:.2f}' for one in seen)})"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("runs", type=Path, help="the folder of a comparison")
    words.add_argument("photos", nargs="+")
    words.add_argument("--held-out", required=True)
    words.add_argument("--labels", required=True, help="the class alone, as filename:REGEX with one group")
    words.add_argument("--judge", default="faces-64")
    options = words.parse_args()

    models = {path.parent.name: load_model(path, "cpu") for path in sorted(options.runs.glob(f"*/{BUNDLE}"))}
    size, judge = next(iter(models.values())).image_size, load_model(options.judge, "cpu")
    label_of = label_reader(options.labels)

    def read(photos: list[str]) -> tuple[Pixels, np.ndarray]:
        found = read_labelled(photos, size, label_of, 0)
        (labels,) = found.columns.values()
        return found.pixels, labels

    pixels, labels = read(options.photos)
    held_out, right = read([options.held_out])
    some = np.random.default_rng(0).permutation(len(pixels))[:LEARNT]
    probe = LogisticRegression(max_iter=1000).fit(codes_of(judge, pixels[some]), labels[some])
    real = sharpness(held_out)
    print("| samples of | sharpness, of real pictures' | class seen |\n|---|---|---|")
    print(f"| held-out pictures | 1.00 | {probe.score(codes_of(judge, held_out), right):.2f} |")
    for name, model in models.items():
        print(f"| {name} | {judged(model, judge, probe, real)} |", flush=True)


if __name__ == "__main__":
    main()
