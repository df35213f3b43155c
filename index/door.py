"""All that may be asked of an index, wherever it lies. What is behind it (SQL, FAISS, files, locks) stays there.

An index is opened for reading (``Index``) or, by one process at a time, for writing (``IndexWriter``); see
``index.opening``. Any number of threads may read through one ``Index``. Everything that is read inside
``rows.snapshot()`` is one state, and so is all that one ``search`` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from index.records import Budget, Change, Direction, Floats, Found, Layout, Meta, Metric, Neighbour, Row, State
from index.where import Where


class Rows(Protocol):
    """Facts about files, and codes."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Whatever this thread reads inside is one state. An inner one is the outer one."""

    def meta(self) -> Meta:
        """The index as a whole."""

    def roots(self) -> dict[int, str]:
        """Each photo root's id and its absolute path on this machine."""

    def listing(self, root_id: int) -> dict[bytes, Row]:
        """All rows of a root by path."""

    def at_path(self, root_id: int, path: bytes) -> Row | None:
        """The row of a path relative to its root."""

    def found(self, ids: Sequence[int]) -> dict[int, Found]:
        """Those of ``ids`` that can be found."""

    def found_page(self, after: int, count: int) -> tuple[list[Found], Floats]:
        """The next ``count`` pictures that can be found behind the id ``after``, by id, and their codes (n, d)."""

    def hashes_by_size(self, sizes: Iterable[int]) -> dict[int, frozenset[bytes]]:
        """Content hashes of the coded files of these sizes in bytes."""

    def coded_by_hash(self, hashes: Iterable[bytes]) -> dict[bytes, tuple[Row, Floats]]:
        """For each of these contents that is coded, the row with the lowest id, and its code (d,)."""

    def codes(self, ids: Sequence[int]) -> dict[int, Floats]:
        """Codes (d,) of those of ``ids`` that have one."""

    def some_looks(self, count: int) -> Floats:
        """Realism and spread, float32 (n, 2), of about ``count`` pictures that can be found, always the same ones."""

    def counts(self) -> dict[str, int]:
        """How many rows have each state."""

    def skipped(self) -> list[Row]:
        """Files that are no pictures, with the reasons."""


class RowsWriter(Rows, Protocol):
    """The same, written: each call is one transaction."""

    def add_root(self, path: str) -> int:
        """The id of the root at the absolute ``path``, new or known."""

    def drop_root(self, root_id: int) -> int:
        """Forget a root with all its rows and codes; returns how many rows went."""

    def apply(self, changes: Sequence[Change]) -> None:
        """Write rows and codes. A row whose code is None loses the code it had."""

    def mark(self, ids: Sequence[int], status: State, forget_codes: bool = False) -> None:
        """Give rows another state; with ``forget_codes`` nothing of what was seen in them stays."""


class Notes(Protocol):
    """What a person told the index."""

    def kept_apart(self) -> set[frozenset[bytes]]:
        """Pairs of content hashes that are no copies of one another."""

    def directions(self) -> dict[str, Direction]:
        """Directions by name."""


class NotesWriter(Notes, Protocol):
    """The same, written."""

    def keep_apart(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Remember that the pictures of these contents are no copies of one another."""

    def keep_direction(self, direction: Direction) -> None:
        """Remember a direction, in place of one of the same name."""

    def forget_direction(self, name: str) -> None:
        """Forget a direction, if there is one of that name."""


class Index(Protocol):
    """An index opened for reading."""

    @property
    def address(self) -> str: ...

    @property
    def rows(self) -> Rows: ...

    @property
    def notes(self) -> Notes: ...

    def search(
        self,
        xq: Floats,
        k: int,
        metric: Metric,
        left_out: Sequence[Collection[int]] | None = None,
        where: Where | None = None,
    ) -> list[list[Neighbour]]:
        """The ``k`` nearest pictures to each query float32 (n, d), nearest first, equals by ascending id.

        ``left_out`` names for each query the ids that must not be found, ``where`` what may be found at all.
        """

    def layout(self) -> Layout:
        """How codes are laid out for searching, and what that costs."""

    def sizes(self) -> dict[str, int]:
        """Bytes that are kept: of ``catalog``, ``caches`` and ``model``."""

    def faults(self) -> list[str]:
        """What is wrong inside the index, in words; empty where all is well."""

    def model_folder(self) -> Path:
        """Where the index's copy of its model is to be read."""

    def close(self) -> None: ...


class IndexWriter(Index, Protocol):
    """An index opened for writing, alone."""

    @property
    def rows(self) -> RowsWriter: ...

    @property
    def notes(self) -> NotesWriter: ...

    def refresh_caches(self) -> None:
        """Have searches be quick for what was written."""

    def repair(self) -> None:
        """Make anew what is derived."""

    def keep_budget(self, budget: Budget) -> None:
        """Have caches built within ``budget`` from now on."""

    def keep_model(self, fill: Callable[[Path], None]) -> None:
        """Have ``fill`` write a model into an empty folder, and that take the place of the index's copy."""
