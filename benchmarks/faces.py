"""How well faces are found in photographs: faces of an archive, pasted into photographs without any at several sizes.

    python benchmarks/faces.py --faces faces-test.tar --photos landscapes

A face counts as found if a square overlaps it, without hair and neck, by half of their union. Time is processor time of
one core, decoding included, for photographs as they are.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from retrieval import find_images
from retrieval.pictures.decoded import decode
from retrieval.pictures.faces import SEEN_PX
from retrieval.pictures.workers import DecoderPool, Task
from train.sources import find_sources

SIDES = (0.05, 0.08, 0.12, 0.2, 0.4)  # of a face, as shares of the picture's longest side
LONGEST = 1600
Place = tuple[int, int, int]


def faces_of(archive: str, count: int, rng: np.random.Generator) -> list[Image.Image]:
    tasks = find_sources([archive])
    with DecoderPool(128) as pool:
        chosen = (tasks[row] for row in rng.permutation(len(tasks))[:count])
        return [Image.fromarray(one.pixels) for one in pool.map(chosen) if one.pixels is not None]


def pasted(photo: Image.Image, face: Image.Image, share: float, rng: np.random.Generator) -> tuple[Image.Image, Place]:
    """A photograph of ``LONGEST`` pixels with a face somewhere in it."""
    scale = LONGEST / max(photo.size)
    picture = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC)
    side = min(round(share * LONGEST), *picture.size)
    left, top = (int(rng.integers(0, length - side + 1)) for length in picture.size)
    picture.paste(face.resize((side, side), Image.Resampling.BICUBIC), (left, top))
    return picture, (left + side // 10, top + side // 10, side - side // 5)  # without hair and neck


def overlap(box: tuple[float, ...], size: tuple[int, int], place: Place) -> float:
    left, top, right, bottom = np.multiply(box, size * 2)
    x, y, side = place
    both = max(0.0, min(right, x + side) - max(left, x)) * max(0.0, min(bottom, y + side) - max(top, y))
    return float(both / ((right - left) * (bottom - top) + side**2 - both))


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--faces", required=True)
    words.add_argument("--photos", required=True, help="photographs without faces")
    words.add_argument("--count", type=int, default=100)
    given = words.parse_args()
    rng = np.random.default_rng(0)
    faces = faces_of(given.faces, given.count, rng)
    paths = [file.path for file in find_images(given.photos)]
    chosen = [paths[row] for row in rng.permutation(len(paths))[: given.count]]
    start = time.process_time()
    alone = [decode(Task(path, want="faces"), 0) for path in chosen]
    took = (time.process_time() - start) / len(alone)
    false = sum(len(one.boxes) for one in alone)
    print(f"{len(alone)} photographs without faces: {false} found, {1000 * took:.0f} ms of a core each")
    print(f"| side of a face, of the picture's longest ({SEEN_PX} px seen) | found | others found |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for share in SIDES:
            found = others = 0
            for path, face in zip(chosen, faces, strict=False):
                with Image.open(path) as photo:
                    picture, place = pasted(photo.convert("RGB"), face, share, rng)
                picture.save(file := Path(scratch) / "one.jpg", quality=90)
                boxes = decode(Task(str(file), want="faces"), 0).boxes
                hits = [overlap(box, picture.size, place) > 0.5 for box in boxes]
                found += any(hits)
                others += len(hits) - sum(hits)
            print(f"| {share:.0%} | {found / len(faces):.2f} | {others} |", flush=True)


if __name__ == "__main__":
    main()
