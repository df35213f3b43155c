"""The faces in one picture, and which of them a question is asked with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from retrieval.errors import PictureRefused
from retrieval.pictures.faces import check_faces
from retrieval.pictures.kinds import NO_FACE
from retrieval.pictures.regions import largest, with_box
from retrieval.roots.regions import regions_address

if TYPE_CHECKING:
    from retrieval.pictures.decoded import Decoded


def face_of(path: str | os.PathLike[str], number: int) -> str:
    """The address of the ``number``-th face of a picture from the left, from 1.

    Raises:
        MissingExtra: the package is not installed.
        PictureRefused: the file cannot be read as a picture, or has no such face.
    """
    found = faces_of(path)
    if not found:
        raise PictureRefused(f"{os.fspath(path)}: {NO_FACE}")
    if number > len(found):
        raise PictureRefused(f"{os.fspath(path)}: there is no face {number}, only {len(found)}")
    return found[number - 1]


def largest_faces(paths: Sequence[str]) -> list[str]:
    """The address of the largest face of each picture of this machine; the path itself, where none can be found.

    Raises:
        MissingExtra: the package is not installed.
    """
    boxes = [decoded.boxes for decoded in _looked_at(paths)]
    return [
        with_box(regions_address("faces", path), largest(some)) if some else path
        for path, some in zip(paths, boxes, strict=True)
    ]


def faces_of(path: str | os.PathLike[str]) -> list[str]:
    """The addresses of the faces in a picture of this machine, from left to right.

    Raises:
        MissingExtra: the package is not installed.
        PictureRefused: the file cannot be read as a picture.
    """
    (decoded,) = _looked_at([path])
    if decoded.reason is not None:
        raise decoded.refusal()
    return [with_box(regions_address("faces", path), box) for box in decoded.boxes]


def _looked_at(paths: Sequence[str | os.PathLike[str]]) -> list[Decoded]:
    from retrieval.pictures.shared import decode_all
    from retrieval.pictures.workers import Task

    check_faces()
    return decode_all([Task(os.path.realpath(path), want="faces", force=True) for path in paths], 0)
