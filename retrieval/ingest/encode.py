"""Encode files, without an index. Inputs and outputs can be pickled for another process or machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from types import TracebackType

from index.facts import Facts
from retrieval.arrays import Floats
from retrieval.models.model import Model
from retrieval.pictures.files import FoundFile
from retrieval.pictures.workers import Decoded, DecoderPool, Task, stack

BATCH_FILES = 256

Coded = Callable[[Collection[bytes]], Collection[bytes]]
"""Returns those of some content hashes that have been encoded meanwhile."""


@dataclass(frozen=True)
class Content:
    """What an index stores of a picture's content, independent of its path."""

    width_px: int | None
    height_px: int | None
    realism: float | None
    spread: float | None
    unfamiliarity: float | None
    code: Floats
    facts: Facts | None = None  # None if the index has the code already, whether it has facts or not


@dataclass(frozen=True)
class Outcome:
    """The result of reading one file: its ``content``, or the ``reason`` why it is not a picture, or neither if its
    content was known before. ``passing``: the fault is not the file's, so it is read again next time.
    """

    path: str
    content_hash: bytes | None = None
    content: Content | None = None
    reason: str | None = None
    passing: bool = False


ToRead = str | FoundFile
"""A picture to read: its path alone, or as it was found, so that it need not be looked for again."""


class Encoder:
    """Decodes in worker processes and encodes in batches. Files whose content hash is in ``known`` are only hashed.

    >>> with Encoder(model) as encoder:                    # doctest: +SKIP
    ...     for outcomes in encoder.batches(paths): ...
    """

    def __init__(self, model: Model, known: Iterable[bytes] = (), workers: int | None = None) -> None:
        self._model = model
        self._pool = DecoderPool(model.image_size, workers, known=known)

    def batches(self, files: Iterable[ToRead], coded: Coded = lambda hashes: ()) -> Iterator[list[Outcome]]:
        """One outcome per file, in order, ``BATCH_FILES`` at a time. Equal contents in a batch are encoded once."""
        results = self._pool.map(_task(one)._replace(frame=self._model.frame, want="picture") for one in files)
        while batch := list(islice(results, BATCH_FILES)):
            yield self._encoded(batch, coded)

    def again(self, path: str) -> Outcome:
        """Read and encode a file whose content was known but is not any more."""
        return self._encoded(
            list(self._pool.map([Task(path, frame=self._model.frame, force=True, want="picture")])), lambda hashes: ()
        )[0]

    def _encoded(self, batch: list[Decoded], coded: Coded) -> list[Outcome]:
        fresh = {one.content_hash: one for one in reversed(batch) if one.content_hash and one.pixels is not None}
        done = set(coded([*fresh]))
        firsts = [one for one in batch if fresh.get(one.content_hash or b"") is one and one.content_hash not in done]
        contents = dict(zip([one.content_hash for one in firsts], self._contents(firsts), strict=True))
        return [
            Outcome(one.task.path, one.content_hash, contents.get(one.content_hash or b""), one.reason, one.passing)
            for one in batch
        ]

    def _contents(self, firsts: list[Decoded]) -> list[Content]:
        if not firsts:
            return []
        encoded = self._model.encode_squares(stack(firsts))
        looks = zip(firsts, encoded.realism, encoded.spread, encoded.unfamiliarity, encoded.codes, strict=True)
        return [
            Content(one.width_px, one.height_px, float(realism), float(spread), float(unfamiliarity), code, one.facts)
            for one, realism, spread, unfamiliarity, code in looks
        ]

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()

    def __enter__(self) -> Encoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _task(one: ToRead) -> Task:
    if isinstance(one, str):
        return Task(one)
    if one.part is None:
        return Task(one.path)
    return Task(one.path, one.part.offset, one.part.length, source=one.part.source, box=one.part.box)
