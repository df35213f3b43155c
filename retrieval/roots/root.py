"""What every place of pictures can do, whatever its kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from retrieval.pictures.files import FoundFile, Part
from retrieval.pictures.leaving_out import LeftOut
from retrieval.progress import OnProgress


@dataclass
class Looking:
    """What a listing leaves out, and what it tells beside the files: ``tally``, folders that are ``unreadable``, and
    links that lead ``outside``.
    """

    left_out: tuple[str, ...] = ()  # folders inside that are roots themselves, and the index itself
    follow_links: bool = False
    exclude: tuple[str, ...] = ()
    tally: LeftOut = field(default_factory=LeftOut)
    known: Iterable[FoundFile] = ()  # what the index knows, as it was then
    in_parts: bool = True  # what takes long is done for some files alone; the others stay as they are known
    left: int = 0  # such files
    report: OnProgress | None = None
    unreadable: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


class Root(Protocol):
    """A place of pictures. The path of a picture is that of the place, a slash, and its path in there."""

    @property
    def address(self) -> str:
        """The absolute path of a folder or archive, or the URL of a store."""

    def check(self) -> None:
        """Ask whether pictures can be listed.

        Raises:
            PathError: there is no such place.
            RootUnreadable: it does not answer, or is damaged.
            MissingExtra: a package is needed to read it.
        """

    def is_there(self, folder: str) -> bool:
        """Whether ``folder``, which is the place or one in it, is there and can be listed, as far as is known now."""

    def find(self, folder: str, looking: Looking) -> Iterable[FoundFile]:
        """The files below ``folder`` that may be pictures. What is wrong with the place is raised before the first.

        Raises:
            RootUnreadable: it cannot be listed, so nothing is known of what is gone.
        """

    def facts(self, paths: Sequence[str]) -> list[FoundFile | None]:
        """Size and dates of pictures as they are now; None for what is not there.

        Raises:
            RootUnreadable: that cannot be known now.
        """


class Holder(Root, Protocol):
    """A place whose pictures are no files of this machine."""

    @property
    def in_place(self) -> bool:
        """Whether its parts can be read where they lie, as bytes of a file of this machine."""

    def read(self, part: Part, most: int) -> bytes:
        """The bytes of a picture; if there are more than ``most``, so many and some more.

        Raises:
            FileNotFoundError: it is not there.
            RootUnreadable: it cannot be read now.
        """

    def at(self, path: str) -> FoundFile | None:
        """The picture of that path, and which part of the place it is; None if there is none. Raises as ``facts``."""
