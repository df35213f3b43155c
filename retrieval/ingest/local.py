"""The three steps on this machine.

Files are read and committed in the order of their names. So a build that was killed anywhere and started again ends
with the same catalog as one that was not.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from index.door import RowsWriter
from retrieval.ingest.commit import Committer, Summary
from retrieval.ingest.encode import Encoder
from retrieval.ingest.survey import Scope, survey
from retrieval.models.model import Model
from retrieval.progress import OnProgress


def ingest(
    rows: RowsWriter,
    model: Model,
    scopes: Iterable[Scope],
    workers: int | None = None,
    report: OnProgress | None = None,
) -> Summary:
    """Bring the rows below ``scopes`` up to date with the files; ``report`` takes (files done, files to do)."""
    found = survey(rows, scopes)
    sizes = rows.hashes_by_size(item.file.size_bytes for item in found.work)
    report = report or (lambda done, total: None)
    with Encoder(model, frozenset[bytes]().union(*sizes.values()), workers) as encoder:
        committer = Committer(rows, found, encoder.again)
        left, done = iter(found.work), 0
        report(done, len(found.work))
        for outcomes in encoder.batches((item.file.path for item in found.work), rows.coded_by_hash):
            committer.take(list(islice(left, len(outcomes))), outcomes)
            done += len(outcomes)
            report(done, len(found.work))
        return committer.finish()
