"""The collection on a plane, made once for each state of the index in a thread of its own, while requests go on."""

from __future__ import annotations

import base64
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval.explore.novelty import novelties
from retrieval.explore.plane import MOST, Cluster, grouped, paint_scale, placed, sampled
from retrieval.known import Known
from serve import records
from serve.codes import code_text
from serve.collection import place_of, roots_of
from serve.errors import FAILED, Refused, refusal_of

if TYPE_CHECKING:
    from index.records import Found
    from retrieval.arrays import Floats
    from retrieval.searcher import Searcher

FRESH_S = 60.0  # so long a plane is good although the index has changed, as while it is updated
FEWEST = 3
REACH = 2.0  # standard deviations from the centre; beyond them, distances grow by their logarithm alone
EPOCH = datetime(1970, 1, 1)
TOO_FEW = Refused(409, "too_few", f"a map needs {FEWEST} pictures")
LOG = logging.getLogger("latent.serve")

Tell = Callable[[records.MapStage, int, int], None]
"""Called with (stage, done, total). It raises if nobody waits any more."""


class Stopped(Exception):
    """The server ends, so the plane is given up."""


@dataclass(frozen=True)
class Made:
    """A plane as it is sent, for one state of the index, or why there is none. ``at_s`` is a time of ``monotonic``."""

    generation: int
    at_s: float
    body: bytes = b""
    refused: Refused | None = None

    @property
    def tag(self) -> str:
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'

    def is_fresh(self, generation: int) -> bool:
        return self.generation == generation or time.monotonic() - self.at_s < FRESH_S


class Planes:
    """Makes the plane of a collection when it is first asked for, and keeps it. Any thread may ask."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._made: Made | None = None
        self._progress: records.MapProgress | None = None
        self._thread: threading.Thread | None = None

    def get(self) -> Made | records.MapProgress:
        """The plane, or how far it is. If there is none of this state of the index, it is begun.

        Raises:
            Refused: there can be none.
        """
        generation = self._searcher.index.rows.meta().generation
        with self._lock:
            if self._progress is not None:
                return self._progress
            if self._made is not None and self._made.is_fresh(generation):
                if self._made.refused is not None:
                    raise self._made.refused
                return self._made
            self._progress = records.MapProgress(stage="reading", done=0, total=0)
            self._thread = threading.Thread(target=self._make, args=(generation,), name="plane", daemon=True)
            self._thread.start()
            return self._progress

    def stop(self, patience_s: float) -> None:
        """Give up what is being made, and wait until it has ended."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(patience_s)

    def _make(self, generation: int) -> None:
        body, refused = b"", None
        try:
            body = described(self._searcher, generation, self._tell).model_dump_json().encode()
        except Stopped:
            refused = FAILED
        except Exception as error:
            refused = refusal_of(error) or FAILED
            if refused is FAILED:
                LOG.exception("the map failed")
        with self._lock:
            self._made, self._progress = Made(generation, time.monotonic(), body, refused), None

    def _tell(self, stage: records.MapStage, done: int, total: int) -> None:
        if self._stopping.is_set():
            raise Stopped
        self._progress = records.MapProgress(stage=stage, done=done, total=total)


def described(searcher: Searcher, generation: int, tell: Tell) -> records.Map:
    """The plane of at most 100,000 pictures, as columns. Equal collections give equal planes.

    Raises:
        Refused: there are too few.
    """
    total = len(searcher)
    count = min(total, MOST)
    columns, codes = Columns(), np.empty((count, searcher.latent_dim), np.float32)
    roots = roots_of(searcher.index)
    tell("reading", 0, count)
    for pictures, batch in sampled(searcher, total):
        codes[len(columns.ids) : len(columns.ids) + len(batch)] = batch
        columns.add(searcher, pictures, roots)
        tell("reading", len(columns.ids), count)
    codes = codes[: len(columns.ids)]
    if len(codes) < FEWEST:
        raise TOO_FEW
    tell("placing", 0, 1)
    positions = drawn_in(placed(codes))
    tell("grouping", 0, 1)
    clusters = grouped(searcher, codes, positions)
    tell("describing", 0, 1)
    return _record(searcher, generation, total, columns, positions, clusters)


def drawn_in(points: Floats) -> Floats:
    """Move and scale points (n, 2) to reach from 0 to 1. The few that lie far out come nearer, in the same order."""
    away = (points - points.mean(0)) / np.maximum(points.std(0), 1e-6) / REACH
    near = np.where(np.abs(away) <= 1, away, np.sign(away) * (1 + np.log(np.maximum(np.abs(away), 1))))
    low, high = near.min(0), near.max(0)
    return np.asarray((near - low) / np.maximum(high - low, 1e-6), np.float32)


@dataclass
class Columns:
    """Facts of the pictures of a plane, a column each."""

    ids: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    folder: list[int] = field(default_factory=list)
    folders: dict[str, int] = field(default_factory=dict)
    taken_s: list[float] = field(default_factory=list)
    looks: list[tuple[float, float]] = field(default_factory=list)

    def add(self, searcher: Searcher, pictures: Sequence[Found], roots: Sequence[str]) -> None:
        facts = searcher.index.rows.facts([one.content_hash for one in pictures])
        for one in pictures:
            name, folder = place_of(one.path, roots)
            self.ids.append(one.id)
            self.names.append(name)
            self.folder.append(self.folders.setdefault(folder, len(self.folders)))
            known = Known(one.path, "found", mtime_ns=one.mtime_ns, facts=facts.get(one.content_hash))
            self.taken_s.append(_seconds(known))
            self.looks.append((one.realism, one.spread))


def _seconds(known: Known) -> float:
    """Seconds from 1970 on, by the clock of the camera or of the file; NaN if nobody knows."""
    if known.taken is None:
        return float("nan")
    moment, _ = known.taken
    return (moment.replace(tzinfo=None) - EPOCH).total_seconds()


def _record(
    searcher: Searcher, generation: int, total: int, columns: Columns, positions: Floats, clusters: Sequence[Cluster]
) -> records.Map:
    cluster = np.zeros(len(positions), np.uint16)
    for number, one in enumerate(clusters):
        cluster[list(one.members)] = number
    looks = np.array(columns.looks, np.float64)
    return records.Map(
        generation=generation,
        total=total,
        ids=_text(np.array(columns.ids, "<i8")),
        names=columns.names,
        positions=_text(positions.astype("<f4")),
        cluster=_text(cluster.astype("<u2")),
        clusters=[_cluster(searcher, one, columns) for one in clusters],
        folder=_text(np.array(columns.folder, "<u4")),
        folders=list(columns.folders),
        taken_s=_text(np.array(columns.taken_s, "<f8")),
        novelty=_text(novelties(searcher.looks(), looks).astype("<f4")),
    )


def _cluster(searcher: Searcher, cluster: Cluster, columns: Columns) -> records.MapCluster:
    assert cluster.average is not None
    return records.MapCluster(
        x=cluster.position[0],
        y=cluster.position[1],
        count=cluster.count,
        typical=columns.ids[cluster.members[0]],
        code=code_text(cluster.average),
        scale=paint_scale(searcher.model) if searcher.model.has_generator else None,
    )


def _text(column: npt.NDArray[Any]) -> str:
    return base64.b64encode(column.tobytes()).decode("ascii")
