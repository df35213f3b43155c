"""Outcomes to rows and codes, batch by batch, by the single writer of an index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from index.door import RowsWriter
from index.records import READ_AGAIN, Change, Row
from retrieval.ingest.encode import Content, Outcome
from retrieval.ingest.survey import Survey, Work

CHANGED = "changed while it was read"


@dataclass
class Summary:
    """What a build or an update did, in files; ``reasons`` counts why files were skipped this time."""

    added: int = 0
    changed: int = 0
    renamed: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: int = 0
    encoded: int = 0  # pictures that went through the encoder; copies and renamed files do not
    reasons: Counter[str] = field(default_factory=Counter)
    missing_folders: list[str] = field(default_factory=list)
    unreadable_folders: list[str] = field(default_factory=list)

    def skip(self, reason: str) -> None:
        self.skipped += 1
        self.reasons[reason] += 1


class Committer:
    """Writes what became of a survey's files. A process that is killed loses its running batch alone."""

    def __init__(self, rows: RowsWriter, survey: Survey, again: Callable[[str], Outcome]) -> None:
        """``again`` gives the outcome of a file whose content was known when it was read, and is not any more."""
        self._rows, self._survey, self._again = rows, survey, again
        self._missing = _Missing(survey.gone, survey.away)
        self.summary = Summary(
            added=len(survey.back),
            unchanged=survey.unchanged,
            missing_folders=[scope.folder for scope in survey.missing],
            unreadable_folders=survey.unreadable_folders,
        )
        rows.mark(survey.back, "found")

    def take(self, work: Sequence[Work], outcomes: Sequence[Outcome]) -> None:
        """Write a batch in one transaction; ``outcomes`` are those of ``work``."""
        contents, outcomes = self._contents(outcomes)
        changes: list[Change] = []
        for item, outcome in zip(work, outcomes, strict=True):
            content = contents.get(outcome.content_hash or b"") if outcome.reason is None else None
            if outcome.passing and item.row is not None and item.row.status == "found":
                self.summary.skip(outcome.reason or "")  # what is known of it stays until it can be read again
                continue
            is_new = item.row is None and content is not None
            old = self._missing.take(outcome.content_hash) if is_new else None
            self._count(item, outcome, content is not None, old is not None)
            changes.append(_change(item, outcome, content, old or item.row))
        self._rows.apply(changes)

    def finish(self) -> Summary:
        """Rows whose files are gone are found no more; a missing folder whose pictures all turned up is forgotten."""
        lost = self._missing.left()
        self._rows.mark(lost, "vanished")
        self.summary.removed += len(lost)
        for scope in self._survey.missing:
            if not self._rows.listing(scope.root_id):
                self._rows.drop_root(scope.root_id)
                self.summary.missing_folders.remove(scope.folder)
        return self.summary

    def _contents(self, outcomes: Sequence[Outcome]) -> tuple[dict[bytes, Content], list[Outcome]]:
        """What is known of each content, from the index where it is coded already: equal contents share one code.

        With the outcomes, some of which may have had to be read again.
        """
        known = self._coded(outcomes)
        lost = {one.path for one in outcomes if _is_known(one) and one.content_hash not in known}
        outcomes = [self._read_again(one) if one.path in lost else one for one in outcomes]
        for one in outcomes:
            if one.content is not None and one.content_hash is not None and one.content_hash not in known:
                known[one.content_hash] = one.content
        self.summary.encoded += len({one.content_hash for one in outcomes if one.content is not None})
        return known, outcomes

    def _read_again(self, outcome: Outcome) -> Outcome:
        """The outcome of a file whose content was known when it was read; as it was, where it has changed since."""
        again = self._again(outcome.path)
        return again if again.content_hash == outcome.content_hash else outcome

    def _coded(self, outcomes: Iterable[Outcome]) -> dict[bytes, Content]:
        hashes = {one.content_hash for one in outcomes if one.reason is None and one.content_hash is not None}
        return {
            content_hash: Content(row.width_px, row.height_px, row.realism, row.spread, code)
            for content_hash, (row, code) in self._rows.coded_by_hash(hashes).items()
        }

    def _count(self, item: Work, outcome: Outcome, usable: bool, renamed: bool) -> None:
        summary = self.summary
        if not usable:
            summary.skip(outcome.reason or CHANGED)
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
    """Rows without a file, by content: a new file of the same content is the old one under a new name.

    Of rows ``gone`` the file is known to be missing. Those that are ``away`` belong to a folder that is not there:
    they may turn up elsewhere, but until then they stay.
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
        """Ids of rows that stood for a file until now and have none any more."""
        return [row.id for row in self._rows.values() if row.id is not None and row.status in ("found", "skipped")]


def _change(item: Work, outcome: Outcome, content: Content | None, row: Row | None) -> Change:
    """The row for a file, in the place of ``row`` where there is one."""
    scope, file = item.scope, item.file
    mine = Row(
        id=row.id if row is not None else None,
        root_id=scope.root_id,
        path=scope.relative(file.path),
        size_bytes=file.size_bytes,
        mtime_ns=READ_AGAIN if outcome.passing else file.mtime_ns,
        ctime_ns=file.ctime_ns,
        content_hash=outcome.content_hash,
        status="found" if content is not None else "skipped",
        reason=None if content is not None else outcome.reason or CHANGED,
        width_px=content.width_px if content is not None else None,
        height_px=content.height_px if content is not None else None,
        realism=content.realism if content is not None else None,
        spread=content.spread if content is not None else None,
    )
    return Change(mine, content.code if content is not None else None)
