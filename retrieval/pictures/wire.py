"""How tasks and answers are written between this process and its worker processes: fixed structs, never pickles.

What a decoder was made to do by a hostile file may have made its process hostile. So an answer is data of known kinds
and lengths, and is refused if it is anything else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO, NamedTuple, get_args

from retrieval.pictures.facts import MOST_FACTS_BYTES, packed_facts, read_facts
from retrieval.pictures.regions import BOX, EVERYTHING, MOST
from retrieval.pictures.tasks import (
    DIGEST_BYTES,
    MOST_JPEG_PIXELS,
    MOST_PIXELS,
    MOST_REASON,
    WITH_BOXES,
    WITH_FACTS,
    WITH_PIXELS,
    Answer,
    Frame,
    Task,
    Want,
)
from retrieval.pictures.traits import TRAITS
from retrieval.text import short_line

READY = b"ready"
HASH_BYTES = 16
COUNT = struct.Struct("<Q")  # of bytes of known hashes, or of tasks
# Bytes of path and source, offset, length or -1, size_px, frame, force, want, whether there is a box, and the box.
TASK = struct.Struct("<IIQqIB?B?4d")
ANSWER = struct.Struct("<B?16s??4IQI")  # the fields of Head
REFUSED, KNOWN, DECODED = range(3)
FRAMES: tuple[Frame, ...] = get_args(Frame)
WANTS: tuple[Want, ...] = get_args(Want)


class NoAnswer(Exception):
    """What a worker process sent is not an answer to its task."""


def packed_task(path: bytes, source: bytes, task: Task, size_px: int) -> bytes:
    """``source`` is empty if the file is that of the path."""
    length = -1 if task.length is None else task.length
    kinds = (FRAMES.index(task.frame), task.force, WANTS.index(task.want))
    box = task.box is not None, *(task.box or EVERYTHING)
    return TASK.pack(len(path), len(source), task.offset, length, size_px, *kinds, *box) + path + source


def read_task(stream: BinaryIO) -> tuple[bytes, bytes, Task, int]:
    """The path, the source, the rest of the task, and ``size_px``. Raises EOFError at the end."""
    count, more, offset, length, size_px, frame, force, want, has_box, *box = TASK.unpack(_read(stream, TASK.size))
    left, top, right, bottom = box
    task = Task("", offset, None if length < 0 else length, FRAMES[frame], force, WANTS[want])
    if has_box:
        task = task._replace(box=(left, top, right, bottom))
    return _read(stream, count), _read(stream, more), task, size_px


def read_block(source: BinaryIO) -> bytes:
    return _read(source, read_count(source))


def read_count(source: BinaryIO) -> int:
    (count,) = COUNT.unpack(_read(source, COUNT.size))
    return int(count)


def _read(source: BinaryIO, count: int) -> bytes:
    data = source.read(count)
    if len(data) < count:
        raise EOFError
    return data


def packed_answer(answer: Answer) -> bytes:
    kind = REFUSED if answer.reason is not None else KNOWN if answer.pixels is None else DECODED
    follows = (answer.reason or "").encode() if answer.pixels is None else answer.pixels
    content_hash = answer.content_hash or bytes(HASH_BYTES)
    is_hashed, sizes = answer.content_hash is not None, (answer.width_px, answer.height_px, *answer.frame_px)
    flags, facts = (answer.passing, answer.holds_more), packed_facts(answer.facts) if answer.facts else b""
    return ANSWER.pack(kind, is_hashed, content_hash, *flags, *sizes, len(follows), len(facts)) + follows + facts


class Head(NamedTuple):
    """What stands before an answer's pixels or reason, which are ``follow_bytes`` long, and its facts."""

    kind: int
    hashed: bool
    content_hash: bytes
    passing: bool
    holds_more: bool
    width_px: int
    height_px: int
    across: int
    down: int
    follow_bytes: int
    facts_bytes: int


def read_answer(read: Callable[[int], bytearray], task: Task, size_px: int) -> tuple[Answer, bytearray]:
    """The answer to ``task`` without its pixels, and these. ``read`` returns so many bytes.

    Raises:
        NoAnswer: it is of no known kind, or not as long as this task's must be. Then no more than its head is read. Or
            its facts are none.
    """
    head = Head(*ANSWER.unpack(read(ANSWER.size)))
    if not _fits(head, task, size_px):
        raise NoAnswer
    follows = read(head.follow_bytes)
    reason = short_line(follows.decode(errors="replace"), MOST_REASON) or "?" if head.kind == REFUSED else None
    content_hash = head.content_hash if head.hashed else None
    sizes = (head.width_px, head.height_px, (head.across, head.down))
    try:
        facts = read_facts(bytes(read(head.facts_bytes))) if head.facts_bytes else None
    except ValueError as error:
        raise NoAnswer from error
    answer = Answer(content_hash, None, *sizes, reason, head.passing, head.holds_more, facts)
    return answer, follows if reason is None else bytearray()


def _fits(head: Head, task: Task, size_px: int) -> bool:
    if head.kind == REFUSED:
        return head.follow_bytes <= 4 * MOST_REASON and not head.facts_bytes
    if head.kind == KNOWN:
        return head.hashed and not task.force and head.follow_bytes == head.facts_bytes == 0
    is_picture = head.hashed and 0 < head.width_px * head.height_px <= MOST_JPEG_PIXELS
    has_facts = 0 < head.facts_bytes <= MOST_FACTS_BYTES if task.want in WITH_FACTS else not head.facts_bytes
    return head.kind == DECODED and is_picture and has_facts and head.follow_bytes == _bytes_of(head, task, size_px)


def _bytes_of(head: Head, task: Task, size_px: int) -> int | None:
    """How long that must be which follows, pixels of a task's frame or other; None if the frame cannot be so large."""
    if task.want in WITH_BOXES:
        return head.follow_bytes if head.follow_bytes in range(0, BOX.size * MOST + 1, BOX.size) else None
    if task.want not in WITH_PIXELS:
        return {"samples": DIGEST_BYTES, "traits": TRAITS.size, "facts": 0}[task.want]
    if task.frame == "look" and max(head.across, head.down) > size_px:
        return None
    high = size_px * (2 if task.frame == "looks" else 1)
    if task.frame not in ("original", "look") and (head.across, head.down) != (size_px, high):
        return None
    return 3 * head.across * head.down if 0 < head.across * head.down <= MOST_PIXELS else None
