"""Find copies in a collection: codes propose pairs, a comparison of the pictures confirms them, and each group has one
file to keep.

Nothing here changes a file. The result is a plan, which the user can read and edit.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from index.joins import Pairs, close_pairs, cross_pairs
from retrieval.arrays import Floats, Pixels
from retrieval.copies.calibration import UNCALIBRATED, Background, Rule, measure_background
from retrieval.copies.compare import same_pixels
from retrieval.copies.members import RULES, Archive, Known, Member, all_members, by_content
from retrieval.copies.plan import Evidence, Group, Kind, Plan
from retrieval.copies.similarity import Fingerprint, Turn, likeness, turns_of
from retrieval.defaults import KEEP
from retrieval.pictures.workers import DecoderPool, Task
from retrieval.progress import OnProgress
from retrieval.searcher import Searcher

Folders = Literal["all", "within", "across"]
BLOCK = 1024  # rows of a join at once: the pictures decoded for them are held in memory
FARTHEST = 1e6  # larger than any distance of codes, with a finite square


class Squares:
    """The collection's pictures, scaled down, decoded by worker processes."""

    def __init__(self, paths: Sequence[str], pool: DecoderPool) -> None:
        self._paths, self._pool = paths, pool

    def __iter__(self) -> Iterator[Pixels | None]:
        return self.of(range(len(self._paths)))

    def of(self, rows: Iterable[int], whole: bool = False) -> Iterator[Pixels | None]:
        """Pictures of these rows, in order: the central squares, or whole. None if one cannot be read now."""
        for decoded in self._pool.map(Task(self._paths[row], frame="squeezed" if whole else "square") for row in rows):
            yield decoded.pixels

    def likenesses(self, pairs: Sequence[tuple[int, int]], turn: Turn = np.asarray) -> list[float | None]:
        """For each pair the likeness of the first picture, turned, and the second; None if one cannot be read.

        Codes know only the central square. Here the whole pictures are compared.
        """
        rows = sorted({row for pair in pairs for row in pair})
        straight: dict[int, Fingerprint] = {}
        turned: dict[int, Fingerprint] = {}
        first = {a for a, _ in pairs}
        for row, pixels in zip(rows, self.of(rows, whole=True), strict=True):
            if pixels is not None:
                straight[row] = Fingerprint(pixels)
                if row in first:
                    turned[row] = Fingerprint(np.ascontiguousarray(turn(pixels)))
        return [likeness(turned[a], straight[b]) if a in turned and b in straight else None for a, b in pairs]


def find_copies(
    retriever: Searcher,
    false_matches: float = 1.0,
    *,
    threshold: float | None = None,
    invariant: Sequence[str] = (),
    against: Sequence[str | os.PathLike[str]] = (),
    folders: Folders = "all",
    keep: Sequence[str] = KEEP,
    workers: int | None = None,
    report: OnProgress | None = None,
) -> Plan:
    """Find copies among the pictures of an index.

    Args:
        false_matches: expected number of wrong pairs, estimated on this collection.
        threshold: a Euclidean distance of codes, in place of ``false_matches``.
        invariant: "mirror" and "rotate" count as copies too; each decodes the collection again.
        against: folders of an archive. Its files are kept; only files outside it may be removed.
        folders: find copies anywhere, only within one folder, or only across folders.
        keep: rules for the file to keep. The first rule that tells two files apart decides.
        workers: number of worker processes that decode files, by default one per core.
        report: called with (pictures compared with the others, pictures).

    Raises:
        PathError: no indexed picture is in a folder of the archive.
        JoinTooWide: ``threshold`` is so large that nearly all pairs are within it.
        ValueError: an unknown rule or invariance, or a number out of range.
    """
    _check(false_matches, threshold, keep)
    turns = turns_of(invariant)
    archive = Archive(against)
    members, codes = all_members(retriever)
    archive.check(members)
    known = Known()
    contents = by_content(members, keep, archive, known)
    firsts = [same[0] for same in contents]
    codes = codes[[one.number for one in firsts]]
    with DecoderPool(retriever.model.image_size, workers) as pool:
        squares = Squares([one.path for one in firsts], pool)
        background = measure_background(codes, squares.likenesses)
        rule = _rule(background, threshold, false_matches / (1 + len(turns)), retriever.latent_dim)
        copies = _Copies(rule)
        for number, pairs in enumerate(close_pairs(codes, rule.threshold, BLOCK), 1):
            copies.take(pairs, squares.likenesses(pairs.rows()))
            if report:
                report(min(number * BLOCK, len(firsts)), len(firsts))
        for name, turn in turns:
            for pairs in cross_pairs(_turned_codes(retriever, squares, turn), codes, rule.threshold, BLOCK):
                copies.take(pairs, squares.likenesses(pairs.rows(), turn), name)
    copies.part(retriever.kept_apart(), [one.content_hash for one in firsts])
    groups = _groups(contents, copies, archive, folders, known)
    listed = {path for group in groups for path in (group.keep, *group.remove)}
    facts = {one.path: its for one in members if one.path in listed and (its := known.of(one))}
    expected = None if rule.expected is None else rule.expected * (1 + len(turns))
    looked_at = background.looked_at if background else 0
    return Plan(rule.threshold, expected, rule.near, rule.needed(rule.threshold), looked_at, groups, facts)


def _rule(background: Background | None, threshold: float | None, false_matches: float, latent_dim: int) -> Rule:
    if threshold is not None:
        return background.rule_within(threshold) if background else Rule(threshold, threshold)
    if background is not None:
        return background.rule_for(false_matches)
    uncalibrated = float(UNCALIBRATED * np.sqrt(2 * latent_dim))
    return Rule(uncalibrated, uncalibrated)


class _Copies:
    """The copies of each picture, with the evidence."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self.of: defaultdict[int, dict[int, tuple[float, float, str]]] = defaultdict(dict)

    def take(self, pairs: Pairs, likenesses: Sequence[float | None], turned: str = "") -> None:
        for (a, b), distance, like in zip(pairs.rows(), pairs.distances.tolist(), likenesses, strict=True):
            if like is not None and a != b and like >= self._rule.needed(distance) and b not in self.of[a]:
                self.of[a][b] = self.of[b][a] = (distance, like, turned)

    def part(self, kept_apart: set[frozenset[bytes]], contents: Sequence[bytes | None]) -> None:
        """Drop pairs of contents that the user marked as not copies."""
        rows = {content: row for row, content in enumerate(contents)}
        for pair in kept_apart:
            a, b = (rows.get(content) for content in pair)
            if a is not None and b is not None:
                self.of[a].pop(b, None)
                self.of[b].pop(a, None)


def _check(false_matches: float, threshold: float | None, keep: Sequence[str]) -> None:
    if not false_matches > 0:
        raise ValueError(f"false_matches must be above 0, not {false_matches}")
    if threshold is not None and not 0 <= threshold <= FARTHEST:
        raise ValueError(f"threshold must be a distance, 0 to {FARTHEST:g}, not {threshold}")
    for word in keep:
        if word not in RULES:
            raise ValueError(f"keep has no {word!r}; it knows {', '.join(RULES)}")


def _turned_codes(retriever: Searcher, squares: Squares, turn: Turn) -> Floats:
    """Codes of all pictures, turned. If a picture cannot be read, its code is far from all others."""
    found: list[Floats] = []
    batch: list[Pixels | None] = []
    size = retriever.model.image_size

    def encode() -> None:
        filled = [np.zeros((size, size, 3), np.uint8) if one is None else turn(one) for one in batch]
        codes = retriever.model.encode_squares(np.stack(filled)) if batch else None
        if codes is not None:
            unread = np.array([one is None for one in batch])
            found.append(np.where(unread[:, None], np.float32(1e6), codes.codes))
        batch.clear()

    for pixels in squares:
        batch.append(pixels)
        if len(batch) == BLOCK:
            encode()
    encode()
    return np.concatenate([np.empty((0, retriever.latent_dim), np.float32), *found])


def _groups(
    contents: list[list[Member]], copies: _Copies, archive: Archive, folders: Folders, known: Known
) -> list[Group]:
    """Groups, best files to keep first. Each takes all its copies that no better one took."""
    taken: set[int] = set()
    groups = []
    for number, same in enumerate(contents):
        if number in taken:
            continue
        taken.add(number)
        keeper = same[0]
        going = [one for one in same[1:] if _may_go(keeper, one, archive, folders)]
        evidence = [Evidence(one.path, "bytes", 0.0, 1.0) for one in going if known.of(one)]
        for other, (distance, like, turned) in sorted(copies.of.get(number, {}).items()):
            its = [one for one in contents[other] if _may_go(keeper, one, archive, folders) and known.of(one)]
            if other in taken or not its:
                continue
            taken.add(other)
            kind: Kind = "pixels" if not turned and like > 0.999 and same_pixels(keeper.path, its[0].path) else "near"
            evidence += [Evidence(one.path, kind, distance, like, turned) for one in its]
        if evidence and known.of(keeper):
            groups.append(Group(keeper.path, [one.path for one in evidence], evidence))
    return groups


def _may_go(keeper: Member, one: Member, archive: Archive, folders: Folders) -> bool:
    together = os.path.dirname(keeper.path) == os.path.dirname(one.path)
    fits = folders == "all" or together == (folders == "within")
    return fits and one.path not in archive and not _is_the_same_file(keeper.path, one.path)


def _is_the_same_file(a: str, b: str) -> bool:
    """Whether two paths are names of one file; removing one of them frees no space."""
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False
