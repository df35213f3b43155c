"""What a search needs of whatever proposes candidates: FAISS in this process, or Milvus elsewhere.

Candidates are only proposed. The catalog decides which of them are there, and its codes in which order.
"""

from __future__ import annotations

from typing import Protocol

from index.errors import IndexBusy
from index.records import Budget, Floats, Ids, Layout, Metric


class Outdated(IndexBusy):
    """What proposes candidates is being changed to another state of the index; ask anew."""

    code = "index_busy"


class Proposals(Protocol):
    """Codes at ``generation`` of the history that ``stamp`` identifies. Any number of threads may ask at once.

    All but its attributes may raise Outdated.
    """

    @property
    def generation(self) -> int: ...

    @property
    def stamp(self) -> bytes: ...

    @property
    def quantized(self) -> bool:
        """Whether nearer codes may be missed, so that more candidates are asked for than are wanted."""

    @property
    def most(self) -> int:
        """The most candidates that can be asked for without a scan of all codes in the catalog."""

    def __len__(self) -> int: ...

    def search(self, xq: Floats, k: int) -> Ids:
        """Ids (n, min(k, len)) of the codes nearest to queries (n, d), best first; negative if too few were seen."""

    def search_among(self, xq: Floats, k: int, ids: Ids) -> Ids:
        """As ``search``, for one query (1, d), among ``ids`` (m,) alone."""

    def proposals_for(self, k: int) -> int:
        """Number of candidates to rank for the ``k`` nearest."""

    def ties(self, query: Floats, ids: Ids) -> Ids:
        """All ids whose codes may be as near to ``query`` (d,) as those of ``ids`` (n,)."""

    def lowest_of_equals(self, ids: Ids, k: int) -> Ids:
        """Those of ``ids`` that may be among the nearest: of equal codes, the lowest ``k`` ids are enough."""


class Source(Protocol):
    """Where proposals of the index's current state come from. Any thread may use it."""

    tries: int  # of a reader whose proposals are outdated before they are asked, until writers have to wait

    def latest(self, metric: Metric) -> Proposals | None:
        """The last ones that were made, if they are of the state that the catalog has now; else None."""

    def current(self, metric: Metric, must_save: bool = False) -> Proposals:
        """Those of the catalog's current state; inside a transaction, of the state that it sees. They are made first
        if need be.

        Raises:
            IndexUnwritable: with ``must_save``, they cannot be kept.
            IndexUnreachable: what holds them does not answer.
            IndexBusy: another process makes them, and is not done soon.
        """

    def forget(self) -> None:
        """Have ``current`` look again."""

    def refresh(self) -> None:
        """Bring all that exist, and the first, to the catalog's current state, in the structure for its size."""

    def drop(self) -> None:
        """Delete them. They are made again on next use."""

    def faults(self) -> list[str]:
        """Faults, in words. To be only behind is none."""

    def layout(self, budget: Budget) -> Layout:
        """How they are laid out, and what a search costs."""
