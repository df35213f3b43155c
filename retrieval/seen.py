"""Code, realism and spread of pictures: from the index if it holds them unchanged, else encoded in batches."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from retrieval.arrays import Floats
from retrieval.errors import PictureRefused
from retrieval.models.model import Encoded, Model
from retrieval.opened import Opened
from retrieval.pictures.given import is_file
from retrieval.places import is_unchanged, rows_of_file
from retrieval.roots.faces import largest_faces

if TYPE_CHECKING:
    from retrieval.pictures.given import Given as Query

ENCODED_AT_ONCE = 256  # squares in memory


@dataclass(frozen=True)
class Seen:
    """What the model sees in one picture: ``code`` float32 (d,), ``realism`` -avg(E(x)) and ``spread`` std(E(x)).

    ``unfamiliarity``: the share of what the model learnt that is less unusual; None if that is not known. ``ids``: the
    ids of this file in the index, one for each of its names.
    """

    code: Floats
    realism: float
    spread: float
    unfamiliarity: float | None = None
    ids: frozenset[int] = frozenset()

    @classmethod
    def of_code(cls, code: Floats) -> Seen:
        """A code of which no picture is known, so neither realism nor spread are."""
        return cls(code, math.nan, math.nan)

    @property
    def is_of_picture(self) -> bool:
        return not math.isnan(self.realism)


def look_at_all(searcher: Opened, pictures: Sequence[Query | Seen]) -> list[Seen | PictureRefused]:
    """What the model sees in each picture; for a file that cannot be read, the refusal instead.

    An indexed file that did not change is not read. A file that is named twice is read once. What was seen before is
    returned as it is. Where faces are indexed, a file is asked with by its largest face (``largest_faces_in``).

    Raises:
        ValueError: an array that is not uint8 (h, w, 3).
        TypeError: something that is no path, no array and no picture of Pillow's.
    """
    return look_at_these(searcher, largest_faces_in(searcher, pictures))


def look_at_these(searcher: Opened, pictures: Sequence[Query | Seen]) -> list[Seen | PictureRefused]:
    """As ``look_at_all``, of files as they are: with all of each, unless it is the address of a face."""
    distinct = {_key(picture): picture for picture in pictures if not isinstance(picture, Seen)}
    seen = dict(zip(distinct, _look_at(searcher, list(distinct.values())), strict=True))
    return [picture if isinstance(picture, Seen) else seen[_key(picture)] for picture in pictures]


def largest_faces_in(searcher: Opened, pictures: Sequence[Query | Seen]) -> list[Query | Seen]:
    """Where faces are indexed, the address of the largest face in place of each file that has one.

    Raises:
        MissingExtra: faces are indexed, and the package that finds them is not installed.
    """
    named = (os.fspath(one) for one in pictures if not isinstance(one, Seen) and is_file(one))
    files = [one for one in dict.fromkeys(named) if os.path.isfile(one)]
    if not files or not searcher.holds("faces"):
        return list(pictures)
    found = dict(zip(files, largest_faces(files), strict=True))
    return [one if isinstance(one, Seen) or not is_file(one) else found.get(os.fspath(one), one) for one in pictures]


def _key(picture: Query) -> str | int:
    return os.fspath(picture) if is_file(picture) else id(picture)


def _look_at(searcher: Opened, pictures: Sequence[Query]) -> list[Seen | PictureRefused]:
    known = [indexed(searcher, picture) for picture in pictures]
    looks: list[Seen | PictureRefused | None] = [seen for seen, _ in known]
    fresh = [place for place, seen in enumerate(looks) if seen is None]
    for start in range(0, len(fresh), ENCODED_AT_ONCE):
        places = fresh[start : start + ENCODED_AT_ONCE]
        for place, one in zip(places, _encode(searcher.model, [pictures[p] for p in places]), strict=True):
            looks[place] = one if isinstance(one, PictureRefused) else replace(one, ids=known[place][1])
    return [look for look in looks if look is not None]


def _encode(model: Model, pictures: Sequence[Query]) -> list[Seen | PictureRefused]:
    squares = model.squares(pictures)
    read = [one for one in squares if not isinstance(one, PictureRefused)]
    encoded = model.encode_squares(read)
    seen = iter(seen_in(encoded))
    return [one if isinstance(one, PictureRefused) else next(seen) for one in squares]


def seen_in(encoded: Encoded) -> list[Seen]:
    """Each of the encoded pictures."""
    looks = zip(encoded.codes, encoded.realism, encoded.spread, encoded.unfamiliarity, strict=True)
    return [
        Seen(code, float(realism), float(spread), None if math.isnan(rank) else float(rank))
        for code, realism, spread, rank in looks
    ]


def indexed(searcher: Opened, picture: Query) -> tuple[Seen | None, frozenset[int]]:
    """What the index holds of this file, or None if it is new or changed; and the ids of the file, under all names."""
    if not is_file(picture):
        return None, frozenset()
    with searcher.index.rows.snapshot():
        rows = rows_of_file(searcher.index.rows, picture)
        codes = searcher.index.rows.codes([row.id for row in rows[:1] if row.id is not None])
    ids = frozenset(row.id for row in rows if row.id is not None)
    for row in rows[:1]:  # the row of the given name
        code = codes.get(row.id or 0)
        if code is not None and row.status == "found" and is_unchanged(row, picture):
            assert row.realism is not None and row.spread is not None
            return Seen(code, row.realism, row.spread, row.unfamiliarity, ids), ids
    return None, ids
