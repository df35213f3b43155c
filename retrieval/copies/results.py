"""What came of an act, and the index that hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from retrieval.defaults import Action

if TYPE_CHECKING:
    from retrieval.library import Library


@dataclass(frozen=True)
class Act:
    """The result for one file.

    ``left`` is why it was left alone, "" if the act was done, or could be in a dry run. ``failed``: the system refused;
    else the file, or the kept one, is not as it was. ``before``: an earlier run did it; with ``undo``, it was back
    already. ``beside`` is the picture that a file goes with, "" if it is a picture itself. ``stays`` are the files that
    belonged to a deleted picture.
    """

    action: Action | Literal["undo"]
    path: str
    to: str = ""
    left: str = ""
    size_bytes: int = 0
    failed: bool = False
    before: bool = False
    beside: str = ""
    stays: tuple[str, ...] = ()


@contextmanager
def telling(library: Library | None) -> Iterator[Callable[[Sequence[str]], object]]:
    """Hold the writer's lock of an index, and yield what tells it that files are gone; of no index, what does nothing.

    Raises:
        IndexBusy, IndexUnwritable: it cannot be told.
    """
    if library is None:
        yield lambda paths: None
    else:
        with library.noting_gone() as note:
            yield note
