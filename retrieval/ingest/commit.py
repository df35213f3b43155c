"""Write outcomes as rows and codes, batch by batch. The only writer of an index does this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from index.door import RowsWriter
from index.records import READ_AGAIN, Change, Row
from retrieval.ingest.encode import Content, Outcome
from retrieval.ingest.survey import Survey, Work
from retrieval.pictures.files import date_ns
from retrieval.pictures.kinds import other_kind
from retrieval.pictures.leaving_out import LeftOut
from retrieval.progress import OnProgress

SUMS = ("added", "changed", "renamed", "removed", "encoded")  # counts of what was done
EXAMPLES = 3  # paths named for one reason
CHANGED = "changed while it was read"


@dataclass
class Summary:
    """Counts of files in a build or an update of these folders, as they stand after it.

    ``skipped`` counts pictures that could not be read, now or before; ``reasons`` and ``examples`` say why, and name
    some. ``other_kinds`` counts other files, which were never meant to be pictures, by their kind.
    """

    added: int = 0
    changed: int = 0
    renamed: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: int = 0
    encoded: int = 0  # pictures that the encoder encoded: not files of equal bytes, nor renamed ones
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    other_kinds: Counter[str] = field(default_factory=Counter)
    left_out: LeftOut = field(default_factory=LeftOut)
    left: int = 0  # files that were not looked at, since others come first
    missing_folders: list[str] = field(default_factory=list)
    why_missing: dict[str, str] = field(default_factory=dict)  # of those that are not just gone, by folder
    unreadable_folders: list[str] = field(default_factory=list)
    links_outside: list[str] = field(default_factory=list)  # links that lead out of their root, and were not followed

    @property
    def other_files(self) -> int:
        return self.other_kinds.total()

    def after(self, before: Summary) -> Summary:
        """The sum of this and of what was done ``before`` in the same work: what came then is not unchanged now."""
        counts = {name: getattr(self, name) + getattr(before, name) for name in SUMS}
        unchanged = self.unchanged - before.added - before.changed - before.renamed
        return replace(self, **counts, unchanged=unchanged)

    def skip(self, reason: str, path: str) -> None:
        if kind := other_kind(reason, path):
            self.other_kinds[kind] += 1
            return
        self.skipped += 1
        self.reasons[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append(path)


def commit_all(
    rows: RowsWriter,
    found: Survey,
    batches: Iterable[Sequence[Outcome]],
    again: Callable[[str], Outcome],
    report: OnProgress | None,
) -> Summary:
    """Write the outcomes of all files of a survey, in its order, batch by batch.

    ``again`` as for ``Committer``; ``report`` takes (files done, files to do).
    """
    committer, report = Committer(rows, found, again), report or (lambda done, total: None)
    left, done = iter(found.work), 0
    report(done, len(found.work))
    for outcomes in batches:
        committer.take(list(islice(left, len(outcomes))), outcomes)
        done += len(outcomes)
        report(done, len(found.work))
    return committer.finish()


class Committer:
    """Writes the outcomes of a survey's files. A killed process loses only its current batch."""

    def __init__(self, rows: RowsWriter, survey: Survey, again: Callable[[str], Outcome]) -> None:
        """``again`` reads a file again, if its content was known when it was read but is not any more."""
        self._rows, self._survey, self._again = rows, survey, again
        self._missing = _Missing(survey.gone, survey.away)
        self.summary = Summary(
            added=len(survey.back),
            unchanged=survey.unchanged,
            left=survey.left,
            missing_folders=[scope.folder for scope in survey.missing],
            why_missing=survey.why_missing,
            unreadable_folders=survey.unreadable_folders,
            links_outside=survey.links_outside,
            left_out=survey.left_out,
        )
        for path, reason in survey.known:
            self.summary.skip(reason, path)
        rows.mark(survey.back, "found")

    def take(self, work: Sequence[Work], outcomes: Sequence[Outcome]) -> None:
        """Write a batch in one transaction. ``outcomes`` are those of ``work``, in its order."""
        contents, outcomes = self._contents(outcomes)
        changes: list[Change] = []
        for item, outcome in zip(work, outcomes, strict=True):
            content = contents.get(outcome.content_hash or b"") if outcome.reason is None else None
            if outcome.passing and item.row is not None and item.row.status == "found":
                self.summary.skip(
                    outcome.reason or "?", outcome.path
                )  # its row and code stay until it can be read again
                continue
            is_new = item.row is None and content is not None
            old = self._missing.take(outcome.content_hash) if is_new else None
            self._count(item, outcome, content is not None, old is not None)
            changes.append(_change(item, outcome, content, old or item.row))
        self._rows.apply(changes)

    def finish(self) -> Summary:
        """Mark rows of missing files as vanished. Drop a missing folder if all its pictures were found elsewhere."""
        lost = self._missing.left()
        self._rows.mark(lost, "vanished")
        self.summary.removed += len(lost)
        for scope in self._survey.missing:
            if not self._rows.listing(scope.root_id):
                self._rows.drop_root(scope.root_id)
                self.summary.missing_folders.remove(scope.folder)
        return self.summary

    def _contents(self, outcomes: Sequence[Outcome]) -> tuple[dict[bytes, Content], list[Outcome]]:
        """Content by hash, from the index if it is already encoded, so equal contents share one code; and the outcomes,
        of which some may have been read again.
        """
        known = self._coded(outcomes)
        before = frozenset(known)
        lost = {one.path for one in outcomes if _is_known(one) and one.content_hash not in known}
        outcomes = [self._read_again(one) if one.path in lost else one for one in outcomes]
        for one in outcomes:
            if one.content is not None and one.content_hash is not None and one.content_hash not in known:
                known[one.content_hash] = one.content
        self.summary.encoded += len(
            {one.content_hash for one in outcomes if one.content is not None and one.content_hash not in before}
        )
        return known, outcomes

    def _read_again(self, outcome: Outcome) -> Outcome:
        """Read a file again whose content was known before. If the file has changed, return the old outcome."""
        again = self._again(outcome.path)
        return again if again.content_hash == outcome.content_hash else outcome

    def _coded(self, outcomes: Iterable[Outcome]) -> dict[bytes, Content]:
        hashes = {one.content_hash for one in outcomes if one.reason is None and one.content_hash is not None}
        return {
            content_hash: Content(row.width_px, row.height_px, row.realism, row.spread, row.unfamiliarity, code)
            for content_hash, (row, code) in self._rows.coded_by_hash(hashes).items()
        }

    def _count(self, item: Work, outcome: Outcome, usable: bool, renamed: bool) -> None:
        summary = self.summary
        if not usable:
            summary.skip(outcome.reason or CHANGED, outcome.path)
        elif renamed:
            summary.renamed += 1
        elif item.row is None or item.row.status != "found":
            summary.added += 1
        elif item.row.content_hash == outcome.content_hash:
            summary.unchanged += 1  # only its date was touched
        else:
            summary.changed += 1


def _is_known(outcome: Outcome) -> bool:
    return outcome.content is None and outcome.reason is None


class _Missing:
    """Rows without a file, by content: a new file of equal content is the old one, renamed.

    The files of ``gone`` rows are missing. ``away`` rows belong to a missing folder; they stay until their files are
    found elsewhere.
    """

    def __init__(self, gone: list[Row], away: list[Row]) -> None:
        self._rows = {row.id: row for row in gone}
        self._by_hash: dict[bytes, list[Row]] = {}
        for row in sorted([*gone, *away], key=lambda row: (row.root_id, row.path), reverse=True):
            if row.content_hash is not None:
                self._by_hash.setdefault(row.content_hash, []).append(row)

    def take(self, content_hash: bytes | None) -> Row | None:
        same = self._by_hash.get(content_hash or b"")
        if not same:
            return None
        row = same.pop()
        self._rows.pop(row.id, None)
        return row

    def left(self) -> list[int]:
        """Ids of rows that had a file until now and have none any more."""
        return [row.id for row in self._rows.values() if row.id is not None and row.status in ("found", "skipped")]


def _change(item: Work, outcome: Outcome, content: Content | None, row: Row | None) -> Change:
    """The change that writes the row of a file. It overwrites ``row`` if there is one."""
    scope, file = item.scope, item.file
    mine = Row(
        id=row.id if row is not None else None,
        root_id=scope.root_id,
        path=scope.relative(file.path),
        size_bytes=file.size_bytes,
        mtime_ns=READ_AGAIN if outcome.passing else date_ns(file.mtime_ns),
        ctime_ns=date_ns(file.ctime_ns),
        content_hash=outcome.content_hash,
        status="found" if content is not None else "skipped",
        reason=None if content is not None else outcome.reason or CHANGED,
        width_px=content.width_px if content is not None else None,
        height_px=content.height_px if content is not None else None,
        realism=content.realism if content is not None else None,
        spread=content.spread if content is not None else None,
        unfamiliarity=content.unfamiliarity if content is not None else None,
    )
    return Change(mine, content.code, content.facts) if content is not None else Change(mine)
