"""Hits without their copies: of several copies of one picture among the hits, the nearest one stands for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from retrieval.arrays import Floats
from retrieval.pictures.shared import decode_all
from retrieval.pictures.workers import Task

if TYPE_CHECKING:
    from retrieval.copies.seen import Seen
    from retrieval.searcher import Hit, Searcher

NEAR = 0.95  # cosine of two codes, from which on pictures are looked at: saved again or scaled, copies have more


class Collapsing:
    """Collapses lists of hits. Each picture is looked at once, and only if the code of another hit is near its own."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self._seen: dict[str, tuple[bytes | None, Seen | None]] = {}

    def collapsed(self, hits: Sequence[Hit]) -> list[Hit]:
        """The hits that are no copies of better ones, ranked anew, each with the paths of its copies."""
        codes = self._searcher.index.rows.codes([hit.id for hit in hits])
        kept: list[tuple[Hit, list[str]]] = []
        for hit in hits:
            near = [its for its in kept if _can_be_copies(its[0], hit, codes)]
            self._look_at([hit.path, *(one.path for one, _ in near)] if near else [])
            its = next((its for its in near if self._are_copies(its[0].path, hit.path)), None)
            if its is None:
                kept.append((hit, []))
            else:
                its[1].append(hit.path)
        return [replace(hit, rank=rank, copies=tuple(copies)) for rank, (hit, copies) in enumerate(kept, 1)]

    def _look_at(self, paths: Sequence[str]) -> None:
        new = [path for path in dict.fromkeys(paths) if path not in self._seen]
        if not new:  # as in most queries, which need not wait for what compares pictures
            return
        from retrieval.copies.look import LOOK_PX
        from retrieval.copies.seen import seen_in

        for path, decoded in zip(new, decode_all([Task(path, frame="look") for path in new], LOOK_PX), strict=True):
            self._seen[path] = decoded.content_hash, seen_in(decoded)

    def _are_copies(self, a: str, b: str) -> bool:
        """Whether two files have the same bytes, or show the same at every place."""
        from retrieval.copies.verdict import stretched, verdict

        (hash_a, one), (hash_b, other) = self._seen[a], self._seen[b]
        if one is None or other is None:
            return False
        if hash_a == hash_b:
            return True
        if one.holds_more or other.holds_more or one.look.is_faint or other.look.is_faint:
            return False
        found = verdict(one.look, other.look, stretched(one.look, other.look))
        return found.answer == "copy" and not found.differs


def _can_be_copies(a: Hit, b: Hit, codes: Mapping[int, Floats]) -> bool:
    """Whether the codes are near, and the files here to be compared."""
    return not (a.is_elsewhere or b.is_elsewhere) and _are_near(codes.get(a.id), codes.get(b.id))


def _are_near(a: Floats | None, b: Floats | None) -> bool:
    if a is None or b is None:
        return False
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) >= NEAR * lengths
