"""The regions in a folder's pictures, each a picture of its own: faces, or tiles.

The address of a region is that of its picture with its box (``retrieval.pictures.regions``):
``faces://home/me/Pictures/party.jpg#xywh=percent:12.5,30,8.25,11``. Without a box it stands for the picture itself: one
of tiles for all of it; one of faces for nothing, since none was found, and nobody looks again before the file changes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from index.roots import RegionKind, is_url, region_kind
from retrieval.errors import PathError
from retrieval.pictures.faces import check_faces
from retrieval.pictures.files import FoundFile, Part, date_ns
from retrieval.pictures.regions import EVERYTHING, NOTHING, Box, split_box, with_box
from retrieval.progress import OnProgress
from retrieval.roots.folder import Folder, file_facts
from retrieval.roots.root import Looking

# What an address without a box stands for.
BARE: dict[RegionKind, Box] = {"faces": NOTHING, "tiles": EVERYTHING}
AT_ONCE = 2000  # files in which regions are looked for before what was found is written


def regions_address(kind: RegionKind, path: str | os.PathLike[str]) -> str:
    """The address of the regions in a folder, or in a picture.

    Raises:
        PathError: it is no path of this machine.
    """
    if is_url(text := os.fspath(path)):
        raise PathError(f"{text} is no folder of this machine, in which {kind} could be looked for")
    return address_in(kind, os.path.realpath(text))


def address_in(kind: RegionKind, path: str, box: Box | None = None) -> str:
    """The address of the regions in a file or folder, by its absolute path, or of one of them."""
    address = f"{kind}:/{path}"
    if box is None or (box == BARE[kind] and (box == NOTHING or split_box(path)[1] is None)):
        return address
    return with_box(address, box)  # that of all of a file whose name ends as a box does, too


def region_at(address: str) -> tuple[str, Box | None]:
    """The file of this machine that an address of a region leads to, and its box; another path as it is."""
    kind = region_kind(address)
    if kind is None:
        return address, None
    path, box = split_box(address)
    return path.removeprefix(f"{kind}:/"), box or BARE[kind]


def file_of(address: str) -> str:
    """The file or folder of this machine whose regions an address stands for; another path as it is."""
    return region_at(address)[0]


def name_of(address: str) -> str:
    """The name of a picture's file, and of a region the left upper corner, in percent: to stand below it."""
    name = os.path.basename(file_of(address))
    return f"{name} {corner}%" if (corner := corner_of(address)) else name


def corner_of(address: str) -> str | None:
    """The left upper corner of a region, in percent; None of what is no part of a picture."""
    _, box = region_at(address)
    return None if box in (None, NOTHING, EVERYTHING) else f"{100 * box[0]:.0f},{100 * box[1]:.0f}"


def first_of_each_picture(paths: Iterable[str], left_out: Iterable[str] = ()) -> list[int]:
    """The places of all paths but those of further tiles of a picture, or of one that is ``left_out``."""
    pictures, places = {file_of(path) for path in left_out if region_kind(path) == "tiles"}, list[int]()
    for place, path in enumerate(paths):
        if region_kind(path) == "tiles":
            if (picture := file_of(path)) in pictures:
                continue
            pictures.add(picture)
        places.append(place)
    return places


@dataclass(frozen=True)
class Regions:
    """The regions in the pictures of a folder of this machine, all of one kind."""

    address: str

    @property
    def in_place(self) -> bool:
        return True

    @property
    def _kind(self) -> RegionKind:
        kind = region_kind(self.address)
        assert kind is not None
        return kind

    @property
    def _folder(self) -> Folder:
        return Folder(file_of(self.address))

    def check(self) -> None:
        if self._kind == "faces":
            check_faces()
        self._folder.check()

    def is_there(self, folder: str) -> bool:
        return self._folder.is_there(file_of(folder))

    def find(self, folder: str, looking: Looking) -> Iterator[FoundFile]:
        """Pictures that the index knows, and that have not changed, are not looked at again. Of the others, ``AT_ONCE``
        are looked at, if that is done in parts.
        """
        inner = Looking(tuple(map(file_of, looking.left_out)), looking.follow_links, looking.exclude, looking.tally)
        files = [*self._folder.find(file_of(folder), inner)]
        looking.unreadable += [address_in(self._kind, path) for path in inner.unreadable]
        looking.outside += [address_in(self._kind, path) for path in inner.outside]
        known: dict[str, list[FoundFile]] = {}
        for one in looking.known:
            known.setdefault(file_of(one.path), []).append(one)
        new = [file for file in files if not _is_as_known(file, known.get(file.path, []))]
        some = new[:AT_ONCE] if looking.in_parts else new
        later = {file.path for file in new[len(some) :]}
        looking.left += len(later)
        found = dict(zip((file.path for file in some), self._boxes_in(some, looking.report), strict=True))
        for file in files:
            if file.path in found:
                yield from (self._region(file, box) for box in found[file.path] or [BARE[self._kind]])
            elif file.path in later:
                yield from known.get(file.path, [])
            else:
                yield from (self._region(file, region_at(one.path)[1]) for one in known[file.path])

    def facts(self, paths: Sequence[str]) -> list[FoundFile | None]:
        return [self.at(path) for path in paths]

    def read(self, part: Part, most: int) -> bytes:
        with open(part.source, "rb") as file:
            return file.read(most + 1)

    def at(self, path: str) -> FoundFile | None:
        name, box = region_at(path)
        file = file_facts(name)
        return None if file is None else self._region(file, box)

    def _region(self, file: FoundFile, box: Box | None) -> FoundFile:
        return file._replace(path=address_in(self._kind, file.path, box), part=Part(file.path, box=box))

    def _boxes_in(self, files: Sequence[FoundFile], report: OnProgress | None) -> Iterator[list[Box]]:
        """The boxes of regions in each file; none if it cannot be read, which whoever reads it will say."""
        from retrieval.pictures.workers import DecoderPool, Task

        if not files:
            return
        with DecoderPool(0) as pool:
            for done, decoded in enumerate(pool.map(Task(file.path, want=self._kind) for file in files), 1):
                yield decoded.boxes
                if report:
                    report(done, len(files))


def _is_as_known(file: FoundFile, known: Sequence[FoundFile]) -> bool:
    """Whether the regions in a file are known, as it is now."""
    now = (file.size_bytes, date_ns(file.mtime_ns), date_ns(file.ctime_ns))
    return bool(known) and all((one.size_bytes, one.mtime_ns, one.ctime_ns) == now for one in known)
