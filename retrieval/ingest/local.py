"""The three steps on this machine.

Files are read and committed in the order of their names. So a build that was killed anywhere and started again ends
with the same catalog as one that was not.
"""

from __future__ import annotations

from collections.abc import Iterable

from index.door import RowsWriter
from retrieval.ingest.commit import Summary, commit_all
from retrieval.ingest.encode import Encoder
from retrieval.ingest.survey import Scope, known_contents, survey
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
    found = survey(rows, scopes, report)
    with Encoder(model, known_contents(rows, found), workers) as encoder:
        batches = encoder.batches((item.file for item in found.work), rows.coded_by_hash)
        return commit_all(rows, found, batches, encoder.again, report)
