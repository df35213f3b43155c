"""Compare two files, without an index: are they copies of one picture, and if not, what are they?"""

from __future__ import annotations

import filecmp
import os
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from retrieval.copies.judging import judge, name_of
from retrieval.copies.kinds import COPIES, Kind, kind_of
from retrieval.copies.look import LOOK_PX
from retrieval.copies.registration import can_register
from retrieval.copies.seen import Seen, seen_in
from retrieval.copies.verdict import Place, Verdict
from retrieval.models.model import Model
from retrieval.pictures.shared import decode_all
from retrieval.pictures.traits import Traits
from retrieval.pictures.workers import Decoded, Task

TURNS = (0, 4, 2, 1, 3, 6, 5, 7)  # of ``Look.turned``, the usual ones first
WITH_POINTS = 2  # so many of them are needed if points are looked for, which are the same after any turn but a mirror's


@dataclass(frozen=True)
class Compared:
    """What two pictures are: ``copies`` of one, "no" copies, or "unsure" if nobody can tell.

    ``kind`` says what kind of copies, or what else they have in common ("" if nothing); ``distance`` is that of their
    codes, ``alike`` the share of tiles that agree. ``differs`` says what differs, at ``places`` of the first picture.
    """

    copies: Literal["yes", "no", "unsure"]
    kind: Kind | Literal[""]
    distance: float
    alike: float = 1.0
    turned: str = ""
    differs: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()


def compare_pictures(a: str | os.PathLike[str], b: str | os.PathLike[str], model: Model) -> Compared:
    """Compare two files: are they copies of one picture? Turned and mirrored ones are. ``model`` makes their codes.

    Raises:
        PictureRefused: a file cannot be read as a picture; the message names it.
    """
    distance = float(np.linalg.norm(np.subtract(*model.encode([os.fspath(a), os.fspath(b)]))))
    if filecmp.cmp(a, b, shallow=False):
        return Compared("yes", "bytes", distance)
    if same_pixels(os.fspath(a), os.fspath(b)):
        return Compared("yes", "pixels", distance)
    looks = decode_all([Task(os.fspath(path), frame="look") for path in (a, b)], LOOK_PX)
    found, turned = _verdict(*map(_seen, looks))
    more = any(one.holds_more for one in looks)
    wanted = [Task(os.fspath(path), frame="original", want="traits") for path in (a, b)]
    traits = [one.traits or Traits() for one in decode_all(wanted, 0)]
    kind = kind_of(found, more, *(one.facts for one in traits))
    if kind in COPIES:
        return Compared("yes", kind, distance, found.alike, turned, found.differs, found.places)
    is_unsure = kind is None and found.answer == "unsure"
    return Compared("unsure" if is_unsure else "no", kind or "", distance, found.alike, "", found.differs, found.places)


def same_pixels(a: str, b: str) -> bool:
    """Whether two files hold the same samples when upright: all frames, alpha, all bits. False if one is unreadable."""
    one, other = decode_all([Task(path, frame="original", want="samples") for path in (a, b)], 0)
    return one.digest is not None and one.digest == other.digest


def _seen(decoded: Decoded) -> Seen:
    seen = seen_in(decoded)
    if seen is None:
        refusal = decoded.pixels_or_refusal()
        assert isinstance(refusal, Exception)
        raise refusal
    return seen


def _verdict(a: Seen, b: Seen) -> tuple[Verdict, str]:
    """The verdict, and the turn of the first picture that made it: of copies, or as they are."""
    first = judge(a, b)
    if first.answer == "copy" or a.look.is_faint or b.look.is_faint:
        return first, ""
    for turn in TURNS[1 : WITH_POINTS if can_register() else None]:
        found = judge(a.turned(turn), b)
        if found.answer == "copy":
            return replace(found, differs=(name_of(turn), *found.differs), places=()), name_of(turn)
    return first, ""
