"""Write the sheets of docs/methods.md from the runs of a comparison: python docs/draw_methods.py runs/compared [NAME]

They are ``figures/NAME-samples.jpg`` and ``figures/NAME-reconstructions.jpg``, by default of the name "methods". Every
method decodes the same generated faces, since the training pictures may not be published.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from retrieval import load_model
from retrieval.pictures.decode import square
from train.compare import SHOWN, draw_methods, run_name
from train.session import BUNDLE

FIGURES = Path(__file__).parent / "figures"


def main() -> None:
    runs, sheets = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "methods"
    names = json.loads((runs / "report.json").read_text())["runs"]
    bundles = {name: runs / run_name(name, 0) / BUNDLE for name in names}
    models = {name: load_model(bundle, "cpu") for name, bundle in bundles.items() if bundle.exists()}
    side = next(iter(models.values())).image_size
    faces = load_model("faces-64").sample(SHOWN, seed=3)
    for path in draw_methods(models, np.stack([square(face, side) for face in faces]), FIGURES):
        with Image.open(path) as sheet:  # a JPEG is a tenth of the PNG; pictures were enlarged from 32 px
            sheet.save(FIGURES / f"{sheets}-{path.stem}.jpg", quality=80)
        path.unlink()


if __name__ == "__main__":
    main()
