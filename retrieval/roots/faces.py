"""The faces of a folder: each face in a picture is one of its own.

The address of a face is that of its picture with the box of the face (``retrieval.pictures.regions``):
``faces://home/me/Pictures/party.jpg#xywh=percent:12.5,30,8.25,11``. A picture without a face is listed as itself, with
an empty box, so that nobody looks for faces in it again before it changes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from index.roots import FACES, is_url
from retrieval.errors import PathError, PictureRefused
from retrieval.pictures.faces import check_faces
from retrieval.pictures.files import FoundFile, Part, date_ns
from retrieval.pictures.kinds import NO_FACE
from retrieval.pictures.regions import NOTHING, Box, largest, split_box, with_box
from retrieval.progress import OnProgress
from retrieval.roots.folder import Folder, file_facts
from retrieval.roots.root import Looking

AT_ONCE = 2000  # files in which faces are looked for before what was found is written
SCHEME = FACES.removesuffix("/")  # before an absolute path


def faces_address(path: str | os.PathLike[str]) -> str:
    """The address of the faces of a folder, or of a picture in it.

    Raises:
        PathError: it is no path of this machine.
    """
    if is_url(text := os.fspath(path)):
        raise PathError(f"{text} is no folder of this machine, in which faces could be looked for")
    return SCHEME + os.path.realpath(text)


def is_of_faces(address: str) -> bool:
    return address.startswith(FACES)


def face_at(address: str) -> tuple[str, Box | None]:
    """The file of this machine that an address of a face leads to, and the face's box; another path as it is."""
    if not is_of_faces(address):
        return address, None
    path, box = split_box(address)
    return path.removeprefix(SCHEME), box


def file_of(address: str) -> str:
    """The file or folder of this machine whose faces an address stands for; another path as it is."""
    return face_at(address)[0]


@dataclass(frozen=True)
class Faces:
    """The faces in the pictures of a folder of this machine."""

    address: str

    @property
    def in_place(self) -> bool:
        return True

    @property
    def _folder(self) -> Folder:
        return Folder(file_of(self.address))

    def check(self) -> None:
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
        looking.unreadable += [SCHEME + path for path in inner.unreadable]
        looking.outside += [SCHEME + path for path in inner.outside]
        known: dict[str, list[FoundFile]] = {}
        for one in looking.known:
            known.setdefault(file_of(one.path), []).append(one)
        new = [file for file in files if not _is_as_known(file, known.get(file.path, []))]
        some = new[:AT_ONCE] if looking.in_parts else new
        later = {file.path for file in new[len(some) :]}
        looking.left += len(later)
        found = dict(zip((file.path for file in some), _boxes_in(some, looking.report), strict=True))
        for file in files:
            if file.path in found:
                boxes = found[file.path]
                yield from (_face(file, box) for box in boxes or [NOTHING])
            elif file.path in later:
                yield from known.get(file.path, [])
            else:
                yield from (_face(file, split_box(one.path)[1] or NOTHING) for one in known[file.path])

    def facts(self, paths: Sequence[str]) -> list[FoundFile | None]:
        return [self.at(path) for path in paths]

    def read(self, part: Part, most: int) -> bytes:
        with open(part.source, "rb") as file:
            return file.read(most + 1)

    def at(self, path: str) -> FoundFile | None:
        file = file_facts(file_of(path))
        return None if file is None else _face(file, split_box(path)[1] or NOTHING)


def _face(file: FoundFile, box: Box) -> FoundFile:
    address = SCHEME + file.path
    return file._replace(path=address if box == NOTHING else with_box(address, box), part=Part(file.path, box=box))


def _is_as_known(file: FoundFile, known: Sequence[FoundFile]) -> bool:
    """Whether the faces of a file are known, as it is now."""
    now = (file.size_bytes, date_ns(file.mtime_ns), date_ns(file.ctime_ns))
    return bool(known) and all((one.size_bytes, one.mtime_ns, one.ctime_ns) == now for one in known)


def _boxes_in(files: Sequence[FoundFile], report: OnProgress | None) -> Iterator[list[Box]]:
    """The boxes of faces in each file; none if it cannot be read, which whoever reads it will say."""
    from retrieval.pictures.workers import DecoderPool, Task

    if not files:
        return
    with DecoderPool(0) as pool:
        for done, decoded in enumerate(pool.map(Task(file.path, want="faces") for file in files), 1):
            yield decoded.boxes
            if report:
                report(done, len(files))


def face_to_ask_with(path: str, number: int | None = None) -> str:
    """The address of a face in a picture: the ``number``-th from the left, from 1, or the largest.

    Raises:
        MissingExtra: the package is not installed.
        PictureRefused: the file cannot be read as a picture, or has no such face.
    """
    found = faces_of(path)
    if not found:
        raise PictureRefused(f"{path}: {NO_FACE}")
    if number is None:
        return with_box(faces_address(path), largest([face_at(one)[1] or NOTHING for one in found]))
    if number > len(found):
        raise PictureRefused(f"{path}: there is no face {number}, only {len(found)}")
    return found[number - 1]


def faces_of(path: str | os.PathLike[str]) -> list[str]:
    """The addresses of the faces in a picture of this machine, from left to right.

    Raises:
        MissingExtra: the package is not installed.
        PictureRefused: the file cannot be read as a picture.
    """
    from retrieval.pictures.shared import decode_all
    from retrieval.pictures.workers import Task

    check_faces()
    (decoded,) = decode_all([Task(os.path.realpath(path), want="faces", force=True)], 0)
    if decoded.reason is not None:
        raise decoded.refusal()
    return [with_box(faces_address(path), box) for box in decoded.boxes]
