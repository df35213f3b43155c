"""Can a model tell pictures that are unlike all it learnt? Kinds of foreign pictures, drawn, against held-out pictures
of its own kind.

    python benchmarks/novelty.py --model photos-64 --own photos-test.tar --other faces-test.tar

For each kind, the area under the receiver's curve (AUROC) of the distance from what the model learnt (``unfamiliarity``
is its rank): the probability that a foreign picture is farther than one of the model's own kind.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import negatives
import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from sklearn.metrics import roc_auc_score

from retrieval import load_model
from retrieval.models.model import Model
from retrieval.pictures.workers import DecoderPool
from train.sources import find_sources

OF_A_KIND, OWN = 200, 2000
TARGET = 0.95  # of the mean
SIDE = 128
Rng = np.random.Generator


def picture(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def white_noise(number: int, rng: Rng) -> Image.Image:
    return picture(rng.uniform(0, 256, (SIDE, SIDE, 3)))


def pink_noise(number: int, rng: Rng) -> Image.Image:
    """The spectrum of photographs, without their phases."""
    frequency = np.fft.fftfreq(SIDE)
    fall = 1 / np.maximum(np.hypot(frequency[:, None], frequency), 1 / SIDE)
    channels = [np.fft.ifft2(np.fft.fft2(rng.normal(size=(SIDE, SIDE))) * fall).real for _ in range(3)]
    values = np.stack(channels, 2)
    return picture((values - values.mean()) / values.std() * 45 + rng.uniform(90, 160))


def sketches(number: int, rng: Rng) -> Image.Image:
    """Strokes and arcs on white."""
    page = Image.new("RGB", (256, 256), "white")
    pen = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(8, 30))):
        stroke = [(int(x), int(y)) for x, y in rng.integers(0, 256, (int(rng.integers(2, 5)), 2))]
        pen.line(stroke, "black", int(rng.integers(1, 4)), "curve")
        (left, right), (top, bottom) = (np.sort(rng.integers(0, 256, 2)) for _ in range(2))
        pen.arc((left, top, right + 1, bottom + 1), *map(float, rng.uniform(0, 360, 2)), "black", 2)
    return page


def slices(number: int, rng: Rng) -> Image.Image:
    """Grey ellipses inside one another on black, as in a slice of a body."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    values = np.zeros((SIDE, SIDE))
    for inner in range(10):
        at = rng.uniform(-0.5, 0.5, 2) if inner else np.zeros(2)
        radii = rng.uniform(0.05, 0.4, 2) if inner else rng.uniform(0.6, 0.9, 2)
        angle = rng.uniform(0, np.pi)
        u = (x - at[0]) * np.cos(angle) + (y - at[1]) * np.sin(angle)
        v = (y - at[1]) * np.cos(angle) - (x - at[0]) * np.sin(angle)
        values += ((u / radii[0]) ** 2 + (v / radii[1]) ** 2 < 1) * (rng.uniform(-0.2, 0.5) if inner else 0.4)
    return picture(values * 150 + rng.normal(0, 8, values.shape)).convert("RGB").filter(ImageFilter.GaussianBlur(1))


def fields(number: int, rng: Rng) -> Image.Image:
    """Fields and the ways between them, from above."""
    centres = rng.uniform(0, SIDE, (int(rng.integers(12, 40)), 2))
    y, x = np.mgrid[:SIDE, :SIDE]
    apart = np.hypot(x[..., None] - centres[:, 0], y[..., None] - centres[:, 1])
    colours = rng.uniform((60, 70, 40), (150, 150, 90), (len(centres), 3))
    values = colours[apart.argmin(2)] + rng.normal(0, 9, (SIDE, SIDE, 1))
    nearest = np.sort(apart, 2)
    values[nearest[..., 1] - nearest[..., 0] < rng.uniform(0.5, 2)] = rng.uniform(120, 200)
    return picture(values)


KINDS: dict[str, negatives.Draw] = {
    "letters": negatives.letters,
    "receipts": negatives.receipts,
    "slides": negatives.slides,
    "charts": negatives.charts,
    "chats": negatives.chats,
    "maps": negatives.maps,
    "sketches": sketches,
    "icons": negatives.logos,
    "emoji": negatives.emoji,
    "flags": negatives.flags,
    "white noise": white_noise,
    "pink noise": pink_noise,
    "slices of bodies": slices,
    "fields from above": fields,
    "star fields": negatives.stars,
}


def distances(model: Model, pictures: list[Image.Image]) -> np.ndarray:
    if model.learnt is None:
        raise SystemExit(f"{model.name} does not say what it learnt")
    squares = np.stack([one for one in model.squares(pictures) if isinstance(one, np.ndarray)])
    seen = model.encode_squares(squares)
    return model.learnt.distances_of(seen.realism, seen.spread, squares)


def of_archive(path: str, model: Model) -> Iterator[Image.Image]:
    """Pictures of a folder or an archive, drawn."""
    with DecoderPool(model.image_size) as pool:
        tasks = find_sources([path])
        order = np.random.default_rng(0).permutation(len(tasks))
        for decoded in pool.map([tasks[row] for row in order], model.image_size):
            if decoded.pixels is not None:
                yield Image.fromarray(decoded.pixels)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--model", default="photos-64")
    words.add_argument("--own", required=True, help="pictures of the model's own kind that it did not learn from")
    words.add_argument("--other", help="pictures of another kind, beside those that are drawn")
    given = words.parse_args()
    model = load_model(given.model)
    own = distances(model, list(islice(of_archive(given.own, model), OWN)))
    found = {
        kind: distances(model, [draw(number, np.random.default_rng(number)) for number in range(OF_A_KIND)])
        for kind, draw in KINDS.items()
    }
    if given.other:
        found[Path(given.other).stem] = distances(model, list(islice(of_archive(given.other, model), OWN)))
    areas = {
        kind: roc_auc_score(np.repeat([0, 1], [len(own), len(away)]), np.concatenate([own, away]))
        for kind, away in found.items()
    }
    print("| kind | AUROC |\n|---|---|")
    for kind, area in areas.items():
        print(f"| {kind} | {area:.3f} |")
    mean = float(np.mean([*areas.values()]))
    print(f"| mean (target {TARGET}: {'met' if mean >= TARGET else 'missed'}) | {mean:.3f} |")


if __name__ == "__main__":
    main()
