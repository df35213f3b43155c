"""The search for pairs: what codes propose, what a glance leaves of it, and what the second look says of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from retrieval.arrays import Floats
from retrieval.copies.candidates import Rows, Surroundings, Voters
from retrieval.copies.features import Features
from retrieval.copies.judging import Judges, name_of
from retrieval.copies.kinds import Kind, kind_of
from retrieval.copies.members import Described, Picture, digests_of
from retrieval.copies.promise import Promise, measured
from retrieval.copies.proposals import MIRRORED, Proposal, proposed
from retrieval.copies.verdict import Verdict
from retrieval.pictures.traits import Traits
from retrieval.pictures.workers import DecoderPool
from retrieval.progress import OnProgress


@dataclass(frozen=True)
class Edge:
    """Two pictures, by row, that have something to do with each other; the first one was ``turned``."""

    a: int
    b: int
    kind: Kind
    distance: float
    verdict: Verdict
    turned: str = ""


class Search:
    """A search among ``pictures`` with codes (n, d), a row each."""

    def __init__(self, pictures: Sequence[Picture], codes: Floats, described: Described, pool: DecoderPool) -> None:
        self._codes, self._described, self._pool = codes, described, pool
        self._paths = [picture[0][0].path for picture in pictures]
        self._judges = Judges(self._paths, pool)
        self._allowed = 0.0

    def edges(
        self, false_matches: float, threshold: float | None, mirrored: bool, report: OnProgress | None = None
    ) -> tuple[list[Edge], Promise]:
        """All pairs that are found, each once, ordered by rows; and what is promised of them."""
        count, surroundings = len(self._paths), Surroundings(self._codes)
        turns = (0, MIRRORED) if mirrored else (0,)
        sides = [Features.room_for(count) for _ in turns]
        for number, (side, turn) in enumerate(zip(sides, turns, strict=True)):
            for done in side.survey(self._paths, self._pool, turn):
                if report:
                    report(number * count + done, len(turns) * count)
        straight, voters = sides[0], Voters(sides[0])
        outstanding = {pair for pair in surroundings.standing_out() if not straight.faint[list(pair)].any()}
        proposals: list[Proposal] = []
        looked_at = 0
        for side, turn in zip(sides, turns, strict=True):
            pairs = outstanding.union(*voters.named_by(side))
            near = [pair for pair in sorted(pairs) if threshold is None or self._distance(*pair) <= threshold]
            proposals += self._worth_a_look(near, side, straight, turn)
            looked_at += len(near)
        promise = measured(surroundings, straight, self._judges, looked_at, false_matches)
        self._allowed = promise.allowed
        return self._judged(proposals), promise

    def between(self, pairs: Sequence[tuple[int, int]]) -> list[Edge]:
        """The pairs of rows among ``pairs`` that have something to do with each other."""
        return self._judged([Proposal(a, b) for a, b in pairs])

    def _distance(self, a: int, b: int) -> float:
        return float(np.linalg.norm(self._codes[a].astype(np.float64) - self._codes[b]))

    def _worth_a_look(self, pairs: Rows, these: Features, those: Features, turn: int) -> list[Proposal]:
        with ThreadPoolExecutor(self._pool.workers) as threads:
            found = threads.map(lambda pair: proposed(these, those, pair, turn), pairs, chunksize=64)
            return [one for one in found if one]

    def _judged(self, proposals: Sequence[Proposal]) -> list[Edge]:
        found = self._judges.of(proposals)
        seen = [
            (one, verdict, more) for one, (verdict, more) in zip(proposals, found, strict=True) if verdict.alike > 0
        ]
        told = {row for one, verdict, _ in seen if verdict.answer != "other" for row in (one.a, one.b)}
        traits = self._described.of(self._paths[row] for row in sorted(told))
        edges: dict[tuple[int, int], Edge] = {}
        for one, verdict, more in seen:
            its = (traits.get(self._paths[row], Traits()).facts for row in (one.a, one.b))
            kind = kind_of(self._held_to(verdict), more, *its, is_turned=one.turn > 0)
            if kind:
                far = self._distance(one.a, one.b)
                edges.setdefault((one.a, one.b), Edge(one.a, one.b, kind, far, verdict, name_of(one.turn)))
        return self._with_equal_samples(list(edges.values()))

    def _held_to(self, verdict: Verdict) -> Verdict:
        """The verdict, if it disagrees in no more than is allowed; else nobody can tell."""
        is_copy = verdict.answer == "copy" and 1 - verdict.alike > self._allowed
        return Verdict("unsure", verdict.alike, verdict.differs, verdict.places) if is_copy else verdict

    def _with_equal_samples(self, edges: list[Edge]) -> list[Edge]:
        """Pairs that only seem to be saved again may hold the same samples."""
        rows = sorted({row for edge in edges if edge.kind == "scaled" for row in (edge.a, edge.b)})
        by_path = digests_of([self._paths[row] for row in rows], self._pool)
        digests = {row: by_path[self._paths[row]] for row in rows}
        return [
            Edge(edge.a, edge.b, "pixels", edge.distance, edge.verdict)
            if edge.a in digests and edge.kind == "scaled" and digests[edge.a] == digests[edge.b] is not None
            else edge
            for edge in edges
        ]
