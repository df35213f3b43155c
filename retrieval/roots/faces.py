"""The faces in one picture, and which of them a question is asked with."""

from __future__ import annotations

import os

from retrieval.errors import PictureRefused
from retrieval.pictures.faces import check_faces
from retrieval.pictures.kinds import NO_FACE
from retrieval.pictures.regions import largest, split_box, with_box
from retrieval.roots.regions import regions_address


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
        boxes = (split_box(one)[1] for one in found)
        return with_box(regions_address("faces", path), largest(box for box in boxes if box is not None))
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
    return [with_box(regions_address("faces", path), box) for box in decoded.boxes]
