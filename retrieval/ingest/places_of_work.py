"""Where the files of a build are encoded: on this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Protocol

from index.door import RowsWriter
from retrieval.ingest.commit import Summary
from retrieval.ingest.local import ingest
from retrieval.ingest.survey import Scope
from retrieval.models.model import Model
from retrieval.progress import OnProgress


class Ingest(Protocol):
    """As ``local.ingest``."""

    def __call__(
        self,
        rows: RowsWriter,
        model: Model,
        scopes: Iterable[Scope],
        workers: int | None = None,
        report: OnProgress | None = None,
    ) -> Summary: ...


def ingest_of(on: str | None) -> Ingest:
    """How to ingest on a cluster, or on this machine (None). A cluster is asked before anything is done.

    Raises:
        ValueError: ``on`` names no cluster.
        MissingExtra: Ray is not installed.
        ClusterError: no cluster answers there.
    """
    if on is None:
        return partial(in_parts, ingest)
    from retrieval.ingest.cluster import ingest_on
    from retrieval.ingest.joining import check_cluster

    check_cluster(on)
    return partial(in_parts, partial(ingest_on, on))


def in_parts(
    once: Ingest,
    rows: RowsWriter,
    model: Model,
    scopes: Iterable[Scope],
    workers: int | None = None,
    report: OnProgress | None = None,
) -> Summary:
    """Ingest until no files are left, or none of those can be read now: what was written stays, whatever happens."""
    scopes = list(scopes)
    summary = once(rows, model, scopes, workers, report)
    while summary.left:
        more = once(rows, model, scopes, workers, report).after(summary)
        if more.left >= summary.left:
            return more
        summary = more
    return summary
