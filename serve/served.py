"""What the routes share: the collection, the threads that ask it, the page, and what is counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram

from retrieval.library import Library
from serve.allowed import READ_ONLY, Allowed
from serve.collection import Collection
from serve.copies import Reviews
from serve.errors import Refused
from serve.jobs import Jobs
from serve.page import Part
from serve.plane import Planes
from serve.shards import Shard
from serve.work import Work

PATIENCE_S = 3.0  # with work that is given up
UPLOADS_MOST = 8  # at once; each is in memory
STREAMS_MOST = 32  # of events, at once
BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30)


class Slots:
    """Counts what is under way, such as uploads. Used from the thread of the event loop alone."""

    def __init__(self, most: int, full: str) -> None:
        self._left, self._full = most, full

    @contextmanager
    def one(self) -> Iterator[None]:
        if self._left <= 0:
            raise Refused(429, "busy", self._full)
        self._left -= 1
        try:
            yield
        finally:
            self._left += 1


class Metrics:
    """Counts and times of requests, by route: addresses hold what people look for, and are not kept."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._count = Counter(
            "latent_requests", "Requests by route and status", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "latent_request_seconds", "Seconds until the answer", ["route"], registry=self.registry, buckets=BUCKETS_S
        )

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        self._count.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


def _uploads() -> Slots:
    return Slots(UPLOADS_MOST, "too many pictures are being uploaded; ask again later")


def _streams() -> Slots:
    return Slots(STREAMS_MOST, "too many watch; ask for the job itself")


@dataclass
class Served:
    """What one server has. ``library`` is None if it only reads."""

    collection: Collection
    work: Work
    page: Mapping[str, Part]
    reviews: Reviews
    planes: Planes
    shard: Shard
    library: Library | None = None
    jobs: Jobs = field(default_factory=Jobs)
    metrics: Metrics = field(default_factory=Metrics)
    uploads: Slots = field(default_factory=_uploads)
    streams: Slots = field(default_factory=_streams)

    @classmethod
    def of(cls, collection: Collection, work: Work, page: Mapping[str, Part], allowed: Allowed) -> Served:
        searcher = collection.searcher
        library = searcher if allowed.writes else None
        reviews, shard = Reviews(searcher, library, allowed), Shard(searcher.index)
        return cls(collection, work, page, reviews, Planes(searcher), shard, library)

    def close(self) -> None:
        """Give up what is under way."""
        self.planes.stop(PATIENCE_S)
        self.work.close()

    def writable(self) -> Library:
        """The index, to be written. Raises Refused: this server only reads."""
        if self.library is None:
            raise READ_ONLY
        return self.library
