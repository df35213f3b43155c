"""Compare two files, without an index: are they copies of one picture?"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from retrieval.copies.plan import Kind
from retrieval.copies.similarity import ALIKE, Fingerprint, likeness, turns_of
from retrieval.models.model import Model
from retrieval.pictures.shared import decode_all
from retrieval.pictures.workers import Task


@dataclass(frozen=True)
class Compared:
    """The kind of copies that two pictures are ("" if none), the distance of their codes, and their likeness."""

    kind: Kind | Literal[""]
    distance: float
    likeness: float
    turned: str = ""


def compare_pictures(
    a: str | os.PathLike[str], b: str | os.PathLike[str], model: Model, *, invariant: Sequence[str] = ()
) -> Compared:
    """Compare two files: are they copies of one picture? ``invariant`` as in ``find_copies``.

    Raises:
        PictureRefused: a file cannot be read as a picture; the message names it.
        ValueError: there is no such invariance.
    """
    turns = turns_of(invariant)
    frames = [model.squeezed(path) for path in (a, b)]
    there = Fingerprint(frames[1])
    fits = [(likeness(Fingerprint(frames[0]), there), "")]
    fits += [(likeness(Fingerprint(np.ascontiguousarray(turn(frames[0]))), there), name) for name, turn in turns]
    like, turned = max(fits, key=lambda fit: fit[0])
    distance = float(np.linalg.norm(np.subtract(*model.encode([os.fspath(a), os.fspath(b)]))))
    if filecmp.cmp(a, b, shallow=False):
        return Compared("bytes", distance, like)
    if not turned and same_pixels(os.fspath(a), os.fspath(b)):
        return Compared("pixels", distance, like)
    return Compared("near" if like >= ALIKE else "", distance, like, turned if like >= ALIKE else "")


def same_pixels(a: str, b: str) -> bool:
    """Whether two files have equal pixels when upright; False if one cannot be read."""
    one, other = decode_all([Task(path, frame="original", digest=True) for path in (a, b)], 0)
    return one.digest is not None and one.digest == other.digest
