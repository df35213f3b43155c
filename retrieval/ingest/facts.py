"""Read the facts that an index lacks: it is of an older version, or they were damaged. Nothing is encoded again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from index.door import RowsWriter
from index.facts import Facts
from retrieval.ingest.encode import BATCH_FILES
from retrieval.pictures.workers import DecoderPool, Task
from retrieval.places import absolute
from retrieval.progress import OnProgress


@dataclass
class FactsSummary:
    """``read``: contents that have facts now; ``left``: those whose files changed, vanished or cannot be read."""

    read: int = 0
    left: int = 0


def read_lacking_facts(rows: RowsWriter, workers: int | None = None, report: OnProgress | None = None) -> FactsSummary:
    """Read the facts of each content of a found picture that has none, from the first of its files that still holds it.

    Each batch is one transaction, so a killed process loses only its current one. Rows and codes are not changed.
    """
    report, roots = report or (lambda done, total: None), rows.roots()
    files: dict[bytes, list[str]] = {}
    for row in rows.without_facts():
        files.setdefault(row.content_hash or b"", []).append(absolute(row, roots))
    total, summary = len(files), FactsSummary()
    report(0, total)
    with DecoderPool(0, workers) as pool:
        while files:  # once for all contents, unless some files are not what they were
            done = set[bytes]()
            for known in _batches(pool, files):
                rows.keep_facts(known)
                done |= known.keys()
                report(summary.read + len(done), total)
            summary.read += len(done)
            files = {one: paths[1:] for one, paths in files.items() if one not in done and paths[1:]}
    summary.left = total - summary.read
    return summary


def _batches(pool: DecoderPool, files: dict[bytes, list[str]]) -> Iterator[dict[bytes, Facts]]:
    """Facts of the first file of each content, if it holds that content."""
    results = pool.map(Task(paths[0], want="facts") for paths in files.values())
    wanted = iter(files)
    while batch := list(islice(results, BATCH_FILES)):
        pairs = zip(islice(wanted, len(batch)), batch, strict=True)
        yield {content: one.facts for content, one in pairs if one.facts and one.content_hash == content}
