"""How well a model's codes find faces of the same gender, race and age, beside raw and whitened pixels.

    python benchmarks/quality.py BUNDLE --gallery TRAIN.tar ... --queries TEST.tar ...

File names start with ``age_gender_race_``, as UTKFace has them. The gallery are the training pictures, the
queries others; a query is never in the gallery. Printed, with 95% bootstrap intervals over the queries:

* kNN-20: the label that the 20 nearest vote for, each with weight exp(similarity / 0.07);
* age error: |age - mean age of the 10 nearest|, in years, on average;
* cycle correlation: rho(z, E(G(z))) on fresh z ~ N(0, I).
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np

from index.vectors import import_faiss, unit
from retrieval import Model, load_model
from retrieval.images import Pixels
from retrieval.model import seal
from retrieval.workers import DecoderPool, stack
from train.data import find_sources

LABELS = re.compile(r"(\d+)_(\d)_(\d)_")
TEMPERATURE = 0.07


def read(paths: list[Path], size_px: int) -> tuple[Pixels, np.ndarray]:
    """Pictures uint8 (n, s, s, 3) and their labels (n, 3): age, gender, race; files without labels are left out."""
    import tarfile

    names: dict[tuple[str, int], str] = {}
    for path in paths:
        if path.is_file():
            with tarfile.open(path) as tar:
                names |= {(str(path), member.offset_data): member.name for member in tar}
    pictures, labels = [], []
    with DecoderPool(size_px) as pool:
        for one in pool.map(find_sources(paths)):
            name = names.get((one.task.path, one.task.offset), one.task.path)
            matched = LABELS.match(Path(name).name)
            if one.pixels is not None and matched:
                pictures.append(one)
                labels.append([int(group) for group in matched.groups()])
    return stack(pictures), np.array(labels)


def nearest(xb: np.ndarray, xq: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine similarities (n, k) and rows (n, k) of the k nearest of ``xb`` for each of ``xq``."""
    index = import_faiss().IndexFlatIP(xb.shape[1])
    index.add(unit(xb))
    similarities, rows = index.search(unit(xq), k)
    return similarities, rows


def vote(similarities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The label with the largest sum of exp(s / T) among neighbours (n, k)."""
    weights = np.exp((similarities - similarities[:, :1]) / TEMPERATURE)
    classes = np.unique(labels)
    return classes[np.argmax([(weights * (labels == one)).sum(1) for one in classes], axis=0)]


def figures(xb: np.ndarray, yb: np.ndarray, xq: np.ndarray, yq: np.ndarray) -> dict[str, np.ndarray]:
    """Each query's outcome (n,) in the three measures."""
    similarities, rows = nearest(xb, xq, 20)
    return {
        "gender kNN-20": vote(similarities, yb[rows, 1]) == yq[:, 1],
        "race kNN-20": vote(similarities, yb[rows, 2]) == yq[:, 2],
        "age error": np.abs(yb[rows[:, :10], 0].mean(1) - yq[:, 0]),
    }


def interval(outcomes: np.ndarray) -> tuple[float, float, float]:
    """Mean and the 95% bootstrap interval over queries."""
    rng = np.random.default_rng(0)
    means = [outcomes[rng.integers(0, len(outcomes), len(outcomes))].mean() for _ in range(1000)]
    return float(outcomes.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def raw_pixels(pictures: Pixels) -> np.ndarray:
    return pictures.reshape(len(pictures), -1).astype(np.float32)


def whitened_pixels(gallery: Pixels, queries: Pixels, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """PCA to ``dim`` numbers, each divided by the square root of its standard deviation (half-whitened)."""
    flat = gallery.reshape(len(gallery), -1).astype(np.float32)
    mean = flat.mean(0)
    sample = flat[np.random.default_rng(0).permutation(len(flat))[:4000]] - mean
    values, vectors = np.linalg.eigh(sample @ sample.T)  # fewer pictures than pixels: the small Gram matrix
    scales = np.sqrt(values[::-1][:dim])
    axes = sample.T @ vectors[:, ::-1][:, :dim] / scales
    project = axes / np.sqrt(scales / np.sqrt(len(sample)))
    return (flat - mean) @ project, (queries.reshape(len(queries), -1).astype(np.float32) - mean) @ project


def cycle_correlation(model: Model, count: int = 2000) -> float:
    z = np.random.default_rng(12345).standard_normal((count, model.latent_dim), dtype=np.float32)
    codes = model.encode(model.decode(z, scale=1.0))
    standard = (z - z.mean(1, keepdims=True)) / z.std(1, keepdims=True)
    return float((standard * codes).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--gallery", type=Path, nargs="+", required=True)
    parser.add_argument("--queries", type=Path, nargs="+", required=True)
    parser.add_argument("-o", "--output", type=Path, help="write the table as JSON too")
    parser.add_argument(
        "--record", action="store_true", help="write the figures of the code into the bundle's model.json"
    )
    arguments = parser.parse_args()

    model = load_model(arguments.bundle)
    gallery, yb = read(arguments.gallery, model.image_size)
    queries, yq = read(arguments.queries, model.image_size)
    print(f"{model.name}: {len(queries):,} queries against {len(gallery):,} pictures")
    white_b, white_q = whitened_pixels(gallery, queries, model.latent_dim)
    described = {
        "raw pixels": (raw_pixels(gallery), raw_pixels(queries)),
        f"PCA-{model.latent_dim}, half-whitened": (white_b, white_q),
        "code N(E(x))": (model.encode_squares(gallery).codes, model.encode_squares(queries).codes),
    }
    table = {name: {m: interval(v) for m, v in figures(xb, yb, xq, yq).items()} for name, (xb, xq) in described.items()}
    for name, row in table.items():
        print(
            f"{name:<26}" + "  ".join(f"{m} {mean:.3f} [{low:.3f}, {high:.3f}]" for m, (mean, low, high) in row.items())
        )
    cycle = cycle_correlation(model)
    print(f"cycle correlation {cycle:.3f}")
    if arguments.record:
        measured = {measure: round(mean, 4) for measure, (mean, _, _) in table["code N(E(x))"].items()}
        seal(model.folder, {**model.facts, "metrics": {**measured, "cycle correlation": round(cycle, 4)}})
    if arguments.output:
        arguments.output.write_text(
            json.dumps({"model": model.name, "table": table, "cycle_correlation": cycle}, indent=2)
        )


if __name__ == "__main__":
    main()
