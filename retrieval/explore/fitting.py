"""Whether a model fits a collection: how much of it is unlike what the model learnt, and which shipped model fits more.

Of 2,000 held-out faces, faces-128 finds 4% unlike what it learnt; of photographs of other things, 86% (Tiny ImageNet)
and 95% (Caltech-101). The other way round nothing is seen: photos-64 learnt from photographs of people, too, and finds
2% of the faces unlike those.
"""

from __future__ import annotations

import numpy as np

from index.where import Compare
from retrieval.errors import ModelError
from retrieval.models.bundle import shipped_models
from retrieval.models.model import Model, load_model
from retrieval.opened import Opened

UNLIKE = 0.95  # further from the average than this share of what a model learnt
MOST = 0.5  # of a collection: from here on the model is the wrong one
FEWEST = 10  # pictures in a collection, to say anything of it
TRIED = 64  # pictures that another model is tried on
PAGE = 2000


def share_unlike(opened: Opened) -> float | None:
    """The share of a collection that is unlike what its model learnt; None if that is not known."""
    rows = opened.index.rows
    known = rows.count(Compare("unfamiliarity", ">=", 0))
    return None if known < FEWEST else rows.count(Compare("unfamiliarity", ">", UNLIKE)) / known


def fitting_model(opened: Opened, share: float) -> str | None:
    """The shipped model that finds least of the collection unlike what it learnt, if less than half of ``share``.

    Each is tried on a sample of the files.
    """
    pictures, _ = opened.index.rows.found_page(0, PAGE)
    chosen = np.random.default_rng(0).permutation(len(pictures))[:TRIED]
    paths = [pictures[number].path for number in chosen]
    others = [load_model(name, opened.device) for name in shipped_models()]
    shares = {other.name: _share(other, paths) for other in others if other.digest != opened.model.digest}
    known = {name: found for name, found in shares.items() if found is not None and found < share / 2}
    return min(known, key=lambda name: known[name], default=None)


def _share(model: Model, paths: list[str]) -> float | None:
    if model.learnt is None:
        return None
    squares = [one for one in model.squares(paths) if isinstance(one, np.ndarray)]
    if not squares:
        return None
    try:
        seen = model.encode_squares(np.stack(squares))
    except ModelError:
        return None
    return float(np.mean(seen.unfamiliarity > UNLIKE))
