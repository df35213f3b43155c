"""The interface of every index. SQL, FAISS, files and locks stay behind it.

An index is opened for reading (``Index``) or, by one process at a time, for writing (``IndexWriter``); see
``index.opening``. Any number of threads may read through one ``Index``. All reads inside ``rows.snapshot()`` see one
state of the index, and so does each ``search``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from index.records import Budget, Change, Direction, Facts, Floats, Found, Layout, Meta, Metric, Neighbour, Row, State
from index.where import Order, Where


class Rows(Protocol):
    """Facts about files, and codes."""

    def snapshot(self) -> AbstractContextManager[None]:
        """All reads of this thread inside see one state of the index. A nested snapshot joins the outer one."""

    def meta(self) -> Meta:
        """Facts about the index as a whole."""

    def roots(self) -> dict[int, str]:
        """Id of each photo root -> its absolute path on this machine."""

    def listing(self, root_id: int) -> dict[bytes, Row]:
        """All rows of a root by path."""

    def at_path(self, root_id: int, path: bytes) -> Row | None:
        """The row of a path relative to its root."""

    def found(self, ids: Sequence[int]) -> dict[int, Found]:
        """The pictures among ``ids`` that can be found."""

    def found_page(self, after: int, count: int, where: Where | None = None) -> tuple[list[Found], Floats]:
        """The next ``count`` pictures that can be found and match ``where``, with ids above ``after``, by id, and their
        codes (n, d)."""

    def listed(
        self, where: Where | None, order: Order, descending: bool, count: int | None, offset: int
    ) -> list[Found]:
        """At most ``count`` pictures that can be found and match ``where``, in an order, after the first ``offset``. Of
        equals the one with the lower id comes first, and what is not known last.

        Raises:
            ValueError: there is no such order.
        """

    def with_words(self, text: str) -> list[int]:
        """Ids of the pictures whose path, title or keywords have all words of ``text``, or words that begin so; best
        first. Letters count without case and accents."""

    def count(self, where: Where) -> int:
        """How many pictures can be found and match ``where``."""

    def hashes_by_size(self, sizes: Iterable[int]) -> dict[int, frozenset[bytes]]:
        """Content hashes of the encoded files of these sizes in bytes."""

    def coded_by_hash(self, hashes: Iterable[bytes]) -> dict[bytes, tuple[Row, Floats]]:
        """For each of these contents that has a code: the row with the lowest id, and its code (d,)."""

    def codes(self, ids: Sequence[int]) -> dict[int, Floats]:
        """Codes (d,) of those ``ids`` that have one."""

    def some_looks(self, count: int) -> Floats:
        """Realism and spread, float32 (n, 2), of about ``count`` pictures that can be found; the same on every call."""

    def facts(self, hashes: Iterable[bytes]) -> dict[bytes, Facts]:
        """The facts of these contents, of those that have any.

        Raises:
            IndexDamaged: facts are not as they were written.
        """

    def without_facts(self) -> list[Row]:
        """Rows of pictures that can be found and whose contents have no facts, by root and path."""

    def count_without_facts(self) -> int:
        """The number of ``without_facts``."""

    def counts(self) -> dict[str, int]:
        """Number of rows in each state."""

    def skipped(self) -> list[Row]:
        """Rows of files that were skipped, with the reasons."""


class RowsWriter(Rows, Protocol):
    """``Rows`` that can be written. Each call is one transaction, and so is all that is done inside ``snapshot()``."""

    def claim(self, root_ids: Collection[int]) -> set[int]:
        """Those of these roots that no other process works on. They are this one's until the index is closed.

        Where one process alone may write, that is all of them.
        """

    def add_root(self, path: str) -> int:
        """Return the id of the root at the absolute ``path``; add the root if it is new."""

    def drop_root(self, root_id: int) -> int:
        """Delete a root with all its rows and codes. Return the number of deleted rows."""

    def apply(self, changes: Sequence[Change]) -> None:
        """Write rows, codes and facts. If the code of a change is None, the row's old code is deleted.

        Facts of a content that no row has any more are deleted, here and wherever rows lose their contents.
        """

    def keep_facts(self, facts: Mapping[bytes, Facts]) -> None:
        """Store facts of contents, in place of older ones. No generation begins: what is searched stays the same."""

    def mark(self, ids: Sequence[int], status: State, forget_codes: bool = False) -> None:
        """Set the state of rows. ``forget_codes`` also deletes their codes, content hashes and looks."""


class Notes(Protocol):
    """What the user told the index."""

    def kept_apart(self) -> set[frozenset[bytes]]:
        """Pairs of content hashes that the user marked as not copies."""

    def directions(self) -> dict[str, Direction]:
        """The learned directions, by name."""


class NotesWriter(Notes, Protocol):
    """``Notes`` that can be written."""

    def keep_apart(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Mark pairs of contents as not copies of each other."""

    def keep_direction(self, direction: Direction) -> None:
        """Store a direction. It replaces one of the same name."""

    def forget_direction(self, name: str) -> None:
        """Delete the direction of that name, if there is one."""


class Index(Protocol):
    """An index opened for reading."""

    @property
    def address(self) -> str: ...

    @property
    def budget(self) -> Budget:
        """Limits for a search, as they were given."""

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
        """Return the ``k`` nearest pictures to each query float32 (n, d), nearest first, ties by ascending id.

        ``left_out`` holds for each query the ids to exclude. ``where`` filters the pictures that may be found.
        """

    def layout(self) -> Layout:
        """How codes are laid out for searching, and what a search costs."""

    def sizes(self) -> dict[str, int]:
        """Stored bytes of ``catalog``, ``caches`` and ``model``."""

    def faults(self) -> list[str]:
        """Faults inside the index, in words; empty if there are none."""

    def excluded(self) -> tuple[str, ...]:
        """The patterns of files that are left out, as they were given with a build."""

    def model_folder(self) -> Path:
        """The folder to read the index's copy of its model from."""

    def close(self) -> None: ...


class IndexWriter(Index, Protocol):
    """An index opened for writing: a folder by this process alone, a server by several, each at its own roots."""

    @property
    def rows(self) -> RowsWriter: ...

    @property
    def notes(self) -> NotesWriter: ...

    def refresh_caches(self) -> None:
        """Update the caches, so that searches of the new state start quickly."""

    def repair(self) -> None:
        """Rebuild all derived data."""

    def keep_budget(self, budget: Budget) -> None:
        """Store ``budget``. Caches are built within it from now on."""

    def keep_vectors(self, address: str) -> None:
        """Store which Milvus proposes candidates of a search (``milvus://HOST:19530``), or that FAISS does (``faiss``).

        Raises:
            AddressUnknown: it is neither.
            IndexUnreachable: Milvus does not answer, or does not let this user in.
            MissingExtra: its driver is not installed.
        """

    def keep_excluded(self, patterns: Sequence[str]) -> None:
        """Store the patterns of files that are left out, in place of earlier ones."""

    def keep_model(self, fill: Callable[[Path], None]) -> None:
        """Replace the index's copy of its model. ``fill`` writes the new one into an empty folder."""

    def change_model(self, facts: Meta, fill: Callable[[Path], None], changes: Iterable[Sequence[Change]]) -> None:
        """Become an index of another model, in one transaction. Directions, which were of the old codes, are forgotten.

        Args:
            facts: name and digest of the model, length of its codes, and whether they are standardized.
            fill: writes the copy of the model into an empty folder.
            changes: of every row there is; a row without a code in them loses its code.
        """

    def staging(self) -> Path:
        """The folder on this machine in which the next state of the index can be prepared; it may not exist."""

    def clear_staging(self) -> None:
        """Delete what was prepared."""
