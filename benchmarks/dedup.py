"""How well copies are found: planted ones of many kinds, beside perceptual hashes over the same files.

Pictures are samples of `faces-64`, which all show a face in the middle and so are hard to tell apart by a hash; or
those of --photos. Of some of them copies are written, one kind of alteration each; all other pairs are wrong.

* ours: `latent index build` and `latent dedup find`, with its own threshold, with and without --invariant mirror;
* imagehash, imagededup: their perceptual hashes with the distances that their documentation names, where installed.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from beside import Line, arguments_of, tell
from PIL import Image

from retrieval import Plan, Retriever, find_copies, load_model
from train.copies import ALTERATIONS

MODEL = "photos-64"
Pairs = set[frozenset[str]]


def plant(folder: Path, originals: list[Image.Image], each: int) -> dict[frozenset[str], str]:
    """Write originals and ``each`` copies of every kind; the true pairs with their kinds."""
    folder.mkdir(parents=True)
    for number, image in enumerate(originals):
        image.save(folder / f"{number:05d}.png")
    truth = {}
    for number, (kind, _) in enumerate(itertools.product(ALTERATIONS, range(each))):
        copy = folder / f"copy-{number:05d}.jpg"
        ALTERATIONS[kind](originals[number]).convert("RGB").save(copy, quality=90)
        truth[frozenset((str(folder / f"{number:05d}.png"), str(copy)))] = kind
    return truth


def pairs_of(plan: Plan) -> Pairs:
    """Every two of a group."""
    groups = ((group.keep, *group.remove) for group in plan.groups)
    return {frozenset(pair) for group in groups for pair in itertools.combinations(group, 2)}


def hashed(paths: list[Path], hash_of: Callable[[Path], np.ndarray], most_bits: int) -> Pairs:
    """Pairs of pictures whose hashes differ in no more bits."""
    bits = np.stack([hash_of(path) for path in paths]).astype(np.float32)
    signs = 2 * bits - 1
    differing = (bits.shape[1] - signs @ signs.T) / 2
    rows, columns = np.nonzero(np.triu(differing <= most_bits, 1))
    return {frozenset((str(paths[a]), str(paths[b]))) for a, b in zip(rows, columns, strict=True)}


def peers() -> Iterable[tuple[str, Callable[[Path], np.ndarray], int]]:
    if find_spec("imagehash"):
        import imagehash

        for most in (0, 4, 8):
            yield f"imagehash pHash, {most} bits", lambda path: imagehash.phash(Image.open(path)).hash.ravel(), most
        yield "imagehash dHash, 4 bits", lambda path: imagehash.dhash(Image.open(path)).hash.ravel(), 4
    try:
        from imagededup.methods import PHash
    except Exception:  # not there, or without the torchvision that fits
        return
    hasher = PHash(verbose=False)

    def bits(path: Path) -> np.ndarray:
        return np.array([int(bit) for bit in f"{int(hasher.encode_image(str(path)), 16):064b}"])

    yield "imagededup PHash, 10 bits", bits, 10


def scored(found: Pairs, truth: Iterable[frozenset[str]]) -> tuple[float, float, float]:
    """Precision, recall, F1."""
    true = set(truth)
    hits = len(found & true)
    precision, recall = hits / max(1, len(found)), hits / len(true)
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


def main() -> None:
    arguments = arguments_of(
        __doc__, pictures=(2000, "originals"), each=(40, "copies of each kind"), photos=("", "a folder of originals")
    )
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.photos:
            files = sorted(path for path in Path(arguments.photos).rglob("*") if path.is_file())[: arguments.pictures]
            originals = [Image.open(path).convert("RGB") for path in files]
        else:
            samples = load_model("faces-64").sample(arguments.pictures, seed=21)
            originals = [Image.fromarray(one).resize((160, 160), Image.Resampling.BICUBIC) for one in samples]
        folder = Path(scratch) / "photos"
        truth = plant(folder, originals, arguments.each)
        results: dict[str, tuple[Pairs, float]] = {}
        start = time.perf_counter()
        with Retriever.build(folder, Path(scratch) / "index", model=MODEL) as retriever:
            indexed_s = time.perf_counter() - start
            for name, invariant in (("latent", ()), ("latent, mirror", ("mirror",))):
                start = time.perf_counter()
                plan = find_copies(retriever, invariant=invariant)
                results[name] = pairs_of(plan), indexed_s + time.perf_counter() - start
        paths = sorted(folder.iterdir())
        for name, hash_of, most in peers():
            start = time.perf_counter()
            found = hashed(paths, hash_of, most)
            results[name] = found, time.perf_counter() - start
    best = max((scored(found, truth)[2] for name, (found, _) in results.items() if "latent" not in name), default=0.0)
    lines = []
    for name, (found, seconds) in results.items():
        precision, recall, f1 = scored(found, truth)
        wrong = len(found - set(truth))
        what = f"{name}: precision {precision:.3f}, recall {recall:.3f}, {wrong:,} wrong, {seconds:.1f} s"
        lines.append(
            Line(what, f"F1 {f1:.3f}", f"best hash {best:.3f}", f1 / max(best, 1e-9), 1.0 if "latent" in name else None)
        )
    found = results["latent, mirror"][0]
    for kind in ALTERATIONS:
        its = [pair for pair, its_kind in truth.items() if its_kind == kind]
        share = sum(pair in found for pair in its) / len(its)
        lines.append(Line(f"latent, mirror: {kind}", f"{share:.3f}", "all", share))
    tell("dedup", lines, arguments)


if __name__ == "__main__":
    main()
