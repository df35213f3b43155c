"""Redraw the figures of docs/figures.md with the shipped models.

    python docs/draw_figures.py [--pictures FOLDER] [-o docs/figures]

The papers show photographs. The licence of the training faces does not allow that here. So without --pictures, the
pictures that are indexed, queried and reconstructed are samples of the generator.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from index.records import Metric
from retrieval import Model, Retriever, load_model, shipped_models
from retrieval.atomic import write
from retrieval.explore.explain import answer_row
from retrieval.explore.plane import lay_out, thumbnails
from retrieval.pages.map import map_png
from retrieval.pages.sheet import Cell, SheetRow, sheet_png, strip_png
from retrieval.pictures.decode import read_image, square
from retrieval.pictures.thumbnail import thumbnail

LIBRARY = 600
QUERIES = 2


def library(model: Model, folder: Path) -> None:
    """Write samples as JPEG files, to be indexed like any pictures."""
    folder.mkdir(parents=True)
    for number, pixels in enumerate(model.sample(LIBRARY, seed=11)):
        Image.fromarray(pixels).save(folder / f"{number:04d}.jpg", quality=92)


def draw(model: Model, pictures: Path, target: Path) -> None:
    """Draw all figures of one model."""
    target.mkdir(parents=True, exist_ok=True)
    samples = [Cell(pixels, (), ()) for pixels in model.sample(33, seed=5)]
    write(target / "samples.png", sheet_png([SheetRow(samples[0], samples[1:])]))
    paths = sorted(str(path) for path in pictures.rglob("*") if path.is_file())[:10]
    originals = np.stack([square(read_image(path).pixels, model.image_size) for path in paths])
    codes = model.encode(originals)
    decoded = zip(originals, model.decode(codes, model.decode_scale), model.decode(codes), strict=True)
    columns = [Cell(real, [first, corrected], ()) for real, first, corrected in decoded]
    write(target / "reconstructions.png", sheet_png([SheetRow(columns[0], columns[1:])]))
    way = model.interpolate(codes[0], codes[1], 8)
    write(target / "interpolation.png", strip_png([[thumbnail(paths[0])], way, [thumbnail(paths[1])]]))
    with (
        tempfile.TemporaryDirectory() as scratch,
        Retriever.build(pictures, index=Path(scratch) / "index", model=model) as retriever,
    ):
        for metric in ("euclidean", "cosine"):
            rows = [row(retriever, path, metric) for path in paths[2 : 2 + QUERIES]]
            write(target / f"neighbours-{metric}.png", sheet_png(rows))
        write(target / "explained.png", sheet_png([row(retriever, paths[2], "euclidean", heat=True)]))
        plane = lay_out(retriever, most=LIBRARY)
        write(target / "map.png", map_png(plane, thumbnails(plane.paths))[0])
    for drawn in target.glob("*.png"):
        _as_jpeg(drawn, shrink=2 if drawn.stem == "map" else 1)


def _as_jpeg(drawn: Path, shrink: int) -> None:
    """Convert to JPEG, a fifth of the size, since every clone of the project downloads it."""
    with Image.open(drawn) as picture:
        small = picture.convert("RGB").resize((picture.width // shrink, picture.height // shrink))
        small.save(drawn.with_suffix(".jpg"), quality=88)
    drawn.unlink()


def row(retriever: Retriever, path: str, metric: Metric, heat: bool = False) -> SheetRow:
    """A query and its hits, each with its decoded code."""
    code = retriever.look_at(path).code
    return answer_row(retriever, thumbnail(path), ("query",), code, retriever.query(path, 8, metric), heat=heat)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="a folder of pictures whose licence allows to show them")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "figures")
    arguments = parser.parse_args()
    for name in shipped_models():
        model = load_model(name)
        with tempfile.TemporaryDirectory() as scratch:
            pictures = arguments.pictures or Path(scratch) / "library"
            if not arguments.pictures:
                library(model, pictures)
            draw(model, pictures, arguments.output / name)
        print(f"drew {arguments.output / name}")


if __name__ == "__main__":
    main()
