"""Groups of copies: the best file to keep comes first, and takes only its own copies, so that groups do not chain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from retrieval.copies.keeping import Candidate, Ranking
from retrieval.copies.members import Member, Picture
from retrieval.copies.plan import Evidence, Group
from retrieval.copies.search import Edge
from retrieval.pictures.traits import Traits

MayGo = Callable[[Member, Member], bool]
Between = Callable[[Sequence[tuple[int, int]]], Sequence[Edge]]


def groupable(pictures: Sequence[Picture], edges: Sequence[Edge]) -> list[str]:
    """The paths of all files that may be in a group."""
    rows = {row for edge in edges for row in (edge.a, edge.b)}
    rows |= {row for row, picture in enumerate(pictures) if sum(map(len, picture)) > 1}
    return [one.path for row in sorted(rows) for content in pictures[row] for one in content]


class Grouping:
    """Forms the groups. ``between`` says which further pairs are copies: a picture may have more than were proposed."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        edges: Sequence[Edge],
        traits: Mapping[str, Traits],
        ranking: Ranking,
        may_go: MayGo,
        kinds: Collection[str],
        between: Between,
    ) -> None:
        self._pictures, self._traits, self._ranking = pictures, dict(traits), ranking
        self._may_go, self._kinds, self._between = may_go, kinds, between
        self._edges: defaultdict[int, dict[int, Edge]] = defaultdict(dict)
        self._tried: set[tuple[int, int]] = set()
        self._note(edges)

    def groups(self) -> list[Group]:
        """All groups of two files and more, ordered by the rank of the files to keep."""
        self._level_detail()
        candidates = [Candidate(one, self._traits[one.path]) for row in self._rows() for one in self._members(row)]
        row_of = {one.path: row for row in self._rows() for one in self._members(row)}
        taken: set[str] = set()
        groups = []
        for keeper in sorted(candidates, key=self._ranking):
            if keeper.member.path in taken:
                continue
            taken.add(keeper.member.path)
            evidence = self._own(keeper, row_of[keeper.member.path], taken)
            if evidence:
                taken |= {one.path for one in evidence}
                groups.append(Group(keeper.member.path, [one.path for one in evidence], evidence))
        return groups

    def _level_detail(self) -> None:
        """Give copies of one size the same detail: noise of compression would count as more."""
        for rows in self._connected():
            members = [one for row in rows for one in self._members(row)]
            most = dict.fromkeys({one.pixels for one in members}, 0.0)
            for one in members:
                most[one.pixels] = max(most[one.pixels], self._traits[one.path].detail)
            for one in members:
                self._traits[one.path] = self._traits[one.path]._replace(detail=most[one.pixels])

    def _connected(self) -> Iterator[list[int]]:
        """The rows that are copies of one another, directly or not."""
        waiting = set(self._rows())
        while waiting:
            found = [waiting.pop()]
            for row in found:
                near = self._edges[row].keys() & waiting if row in self._edges else set()
                waiting -= near
                found += near
            yield found

    def _rows(self) -> list[int]:
        return sorted(
            row
            for row, picture in enumerate(self._pictures)
            if row in self._edges or any(one.path in self._traits for one in picture[0])
        )

    def _members(self, row: int) -> list[Member]:
        return [one for content in self._pictures[row] for one in content]

    def _own(self, keeper: Candidate, row: int, taken: set[str]) -> list[Evidence]:
        """The copies of a file that nobody took: those of the same samples, then others by row."""
        evidence = self._same(keeper, row, taken)
        for other, edge in sorted(self._copies_of(row, taken).items()):
            its = [one for one in self._members(other) if one.path not in taken and self._may_go(keeper.member, one)]
            evidence += [self._evidence(keeper, one, edge) for one in its if self._shows_all(one, edge)]
        return evidence

    def _same(self, keeper: Candidate, row: int, taken: set[str]) -> list[Evidence]:
        evidence = []
        for content in self._pictures[row]:
            kind = "bytes" if keeper.member in content else "pixels"
            for one in content:
                if kind in self._kinds and one.path not in taken and self._may_go(keeper.member, one):
                    because = self._ranking.why(keeper, Candidate(one, self._traits[one.path]))
                    evidence.append(Evidence(one.path, kind, 0.0, 1.0, because=because))  # type: ignore[arg-type]
        return evidence

    def _shows_all(self, one: Member, edge: Edge) -> bool:
        """Whether what is seen of a file is all that it holds: else only a file of the same samples takes its place."""
        return edge.kind == "pixels" or not self._traits[one.path].holds_more

    def _evidence(self, keeper: Candidate, one: Member, edge: Edge) -> Evidence:
        because = self._ranking.why(keeper, Candidate(one, self._traits[one.path]))
        found = edge.verdict
        places = found.places if self._pictures[edge.a][0][0].path == keeper.member.path else ()
        return Evidence(one.path, edge.kind, edge.distance, found.alike, edge.turned, found.differs, places, because)

    def _copies_of(self, row: int, taken: set[str]) -> dict[int, Edge]:
        """All copies of a picture: those that were found, and among their copies those that are its own."""
        asked: set[int] = {row}
        while further := sorted(
            other
            for near in self._edges[row]
            for other in self._edges[near]
            if other not in asked and other not in self._edges[row] and self._is_free(other, taken)
        ):
            further = list(dict.fromkeys(further))
            asked |= set(further)
            untried = [(row, other) for other in further if (min(row, other), max(row, other)) not in self._tried]
            self._tried |= {(min(pair), max(pair)) for pair in untried}
            self._note([edge for edge in self._between(untried) if edge.kind in self._kinds])
        return self._edges[row]

    def _is_free(self, row: int, taken: set[str]) -> bool:
        return any(one.path not in taken for one in self._members(row))

    def _note(self, edges: Sequence[Edge]) -> None:
        for edge in edges:
            self._edges[edge.a][edge.b] = self._edges[edge.b][edge.a] = edge
