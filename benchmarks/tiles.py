"""What tiles give: things that are pasted into larger photographs, asked for with the thing itself.

    python benchmarks/tiles.py PHOTOS --count 100

Both things and grounds are photographs of the folder; a ground is enlarged to 3,000 pixels. R@1 and R@10 are the shares
of things whose photograph is the first hit, and one of ten. Time is processor time, of all processes together.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from beside import processor_s
from PIL import Image

from retrieval import Retriever, find_images
from retrieval.roots.regions import file_of, regions_address

SHARES = (0.1, 0.2, 0.3, 0.5)  # of the longest side of a thing, of the shorter side of the photograph
LONGEST = 3000
FIRST = 10


def scaled(path: str, longest: float) -> Image.Image:
    """A photograph whose longest side is so long."""
    with Image.open(path) as opened:
        photo = opened.convert("RGB")
    size = [max(1, round(length * longest / max(photo.size))) for length in photo.size]
    return photo.resize((size[0], size[1]), Image.Resampling.BICUBIC)


def pasted(ground: str, thing: str, share: float, rng: np.random.Generator) -> Image.Image:
    picture = scaled(ground, LONGEST)
    small = scaled(thing, share * min(picture.size))
    left, top = (int(rng.integers(0, all_of - its + 1)) for all_of, its in zip(picture.size, small.size, strict=True))
    picture.paste(small, (left, top))
    return picture


def measured(photos: str, things: list[str], index: Path, model: str) -> tuple[float, float, float]:
    """R@1, R@10 and milliseconds a picture."""
    start = processor_s()
    with Retriever.build([photos], index, model=model, workers=1) as retriever:
        took = processor_s() - start
        hits = retriever.query_batch(things, FIRST)
    names = [[Path(file_of(one.path)).stem for one in some] for some in hits]
    first = np.mean([some[0] == str(number) for number, some in enumerate(names)])
    among = np.mean([str(number) in some for number, some in enumerate(names)])
    return float(first), float(among), 1000 * took / len(things)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("photos")
    words.add_argument("--count", type=int, default=100)
    words.add_argument("--model", default="photos-64")
    given = words.parse_args()
    rng = np.random.default_rng(0)
    paths = [file.path for file in find_images(given.photos)]
    chosen = [paths[row] for row in rng.permutation(len(paths))[: 2 * given.count]]
    things, grounds = chosen[: given.count], chosen[given.count :]
    print("| side of a thing | whole: R@1 | R@10 | ms | tiles: R@1 | R@10 | ms |\n|---|---|---|---|---|---|---|")
    for share in SHARES:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "photos"
            folder.mkdir()
            for number, (ground, thing) in enumerate(zip(grounds, things, strict=True)):
                pasted(ground, thing, share, rng).save(folder / f"{number}.jpg", quality=90)
            cells = [f"{share:.0%}"]
            for place in (str(folder), regions_address("tiles", folder)):
                first, among, took = measured(place, things, Path(scratch) / f"i{len(cells)}", given.model)
                cells += [f"{first:.2f}", f"{among:.2f}", f"{took:.0f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
