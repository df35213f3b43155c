"""Find copies in a collection: codes propose pairs, a comparison of the pictures confirms them, and each group has one
file to keep.

Nothing here changes a file. The result is a plan, which the user can read and edit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Literal

from retrieval.copies.grouping import Grouping, groupable
from retrieval.copies.keeping import RULES, Ranking
from retrieval.copies.kinds import KINDS
from retrieval.copies.members import (
    Archive,
    Described,
    Known,
    Member,
    Picture,
    all_members,
    by_content,
    by_samples,
    of_files,
)
from retrieval.copies.plan import Other, Plan
from retrieval.copies.registration import can_register
from retrieval.copies.search import Edge, Search
from retrieval.defaults import KEEP, PROPOSED
from retrieval.filters import Filter
from retrieval.pictures.workers import DecoderPool
from retrieval.progress import OnProgress
from retrieval.roots.opening import is_file
from retrieval.searcher import Searcher

Folders = Literal["all", "within", "across"]
FARTHEST = 1e6  # larger than any distance of codes, with a finite square


def find_copies(
    retriever: Searcher,
    false_matches: float = 1.0,
    *,
    threshold: float | None = None,
    mirrored: bool = False,
    against: Sequence[str | os.PathLike[str]] = (),
    folders: Folders = "all",
    keep: Sequence[str] = KEEP,
    kinds: Sequence[str] = PROPOSED,
    where: Filter | None = None,
    workers: int | None = None,
    report: OnProgress | None = None,
) -> Plan:
    """Find copies among the pictures of an index.

    Args:
        false_matches: expected number of wrong pairs, at most, estimated on this collection.
        threshold: the largest Euclidean distance of two codes, if there is to be one.
        mirrored: look for mirrored copies, too; each picture is decoded once more.
        against: folders of an archive. Its files are kept; only files outside it may be removed.
        folders: find copies anywhere, only within one folder, or only across folders.
        keep: rules for the file to keep. The first rule that tells two files apart decides.
        kinds: the kinds of copies that the plan removes (``retrieval.copies.kinds``). The others are only listed.
        where: the pictures among which copies are sought, as in ``Searcher.query``.
        workers: number of worker processes that decode files, and of threads that compare them: by default one per
            core.
        report: called with (pictures looked at, pictures).

    Raises:
        PathError: no indexed picture is in a folder of the archive.
        ValueError: an unknown rule or kind, or a number out of range.
    """
    _check(false_matches, threshold, keep, kinds)
    archive, known = Archive(against), Known()
    members, codes = all_members(retriever, where)
    archive.check(members)
    contents = by_content(members, known)
    apart = retriever.kept_apart()

    def may_go(kept: Member, one: Member) -> bool:
        is_told = frozenset((kept.content_hash, one.content_hash)) in apart
        return not is_told and _may_go(kept, one, archive, folders) and known.of(one) is not None

    with DecoderPool(retriever.model.image_size, workers) as pool:
        pictures, codes = by_samples(contents, codes, pool)
        described = Described(pool)
        search = Search(pictures, codes, described, pool)
        edges, promise = search.edges(false_matches, threshold, mirrored, report)
        here = of_files(pictures)
        wanted = [edge for edge in edges if edge.kind in kinds and _are_here(edge, here)]
        facts = described.of(groupable(here, wanted))
        ranking = Ranking(keep, archive.__contains__)
        groups = Grouping(here, wanted, facts, ranking, may_go, kinds, search.between).groups()
    by_path = {one.path: one for one in members}
    groups = [group for group in groups if known.of(by_path[group.keep])]
    listed = [path for group in groups for path in (group.keep, *group.remove)]
    files = {path: its for path in listed if (its := known.of(by_path[path]))}
    listed_only = (edge for edge in edges if edge.kind not in kinds or not _are_here(edge, here))
    others = [_other(edge, pictures) for edge in listed_only if not _is_told(edge, pictures, apart)]
    others += [other for picture in pictures for other in _same_elsewhere(picture)]
    promised = (promise.expected, promise.estimated_from, 1 - promise.allowed, can_register())
    return Plan(*promised, groups, others, files, sum(not is_file(one.path) for one in members))


def _are_here(edge: Edge, here: Sequence[Picture]) -> bool:
    """Whether both pictures of a pair have files on this machine, so that one may go."""
    return bool(here[edge.a][0] and here[edge.b][0])


def _same_elsewhere(picture: Picture) -> Iterator[Other]:
    """Pairs of the same samples of which one is no file: they are told, and neither goes."""
    first, *rest = [one for content in picture for one in content]
    for one in rest:
        if not (is_file(first.path) and is_file(one.path)):
            same = first.content_hash == one.content_hash
            yield Other(first.path, one.path, "bytes" if same else "pixels", 0.0, 1.0)


def _other(edge: Edge, pictures: Sequence[Picture]) -> Other:
    a, b = (pictures[row][0][0].path for row in (edge.a, edge.b))
    return Other(a, b, edge.kind, edge.distance, edge.verdict.alike, edge.turned, edge.verdict.differs)


def _is_told(edge: Edge, pictures: Sequence[Picture], apart: set[frozenset[bytes]]) -> bool:
    """Whether the user said that these are not copies."""
    return frozenset(pictures[row][0][0].content_hash for row in (edge.a, edge.b)) in apart


def _check(false_matches: float, threshold: float | None, keep: Sequence[str], kinds: Sequence[str]) -> None:
    if not false_matches > 0:
        raise ValueError(f"false_matches must be above 0, not {false_matches}")
    if threshold is not None and not 0 <= threshold <= FARTHEST:
        raise ValueError(f"threshold must be a distance, 0 to {FARTHEST:g}, not {threshold}")
    known = {"keep": (keep, RULES), "kinds": (kinds, KINDS)}
    for name, (words, knows) in known.items():
        for word in words:
            if word not in knows:
                raise ValueError(f"{name} has no {word!r}; it knows {', '.join(knows)}")


def _may_go(kept: Member, one: Member, archive: Archive, folders: Folders) -> bool:
    together = os.path.dirname(kept.path) == os.path.dirname(one.path)
    fits = folders == "all" or together == (folders == "within")
    return fits and one.path not in archive and not _is_the_same_file(kept.path, one.path)


def _is_the_same_file(a: str, b: str) -> bool:
    """Whether two paths are names of one file; removing one of them frees no space."""
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False
