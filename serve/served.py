"""What the routes share: the collection, the threads that ask it, the page, and what is counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram

from serve.collection import Collection
from serve.errors import Refused
from serve.page import Part
from serve.plane import Planes
from serve.work import Work

PATIENCE_S = 3.0  # with work that is given up
UPLOADS_MOST = 8  # at once; each is in memory
BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30)


class Uploads:
    """Counts the uploads that are under way. Used from the thread of the event loop alone."""

    def __init__(self, most: int = UPLOADS_MOST) -> None:
        self._left = most

    @contextmanager
    def one(self) -> Iterator[None]:
        if self._left <= 0:
            raise Refused(429, "busy", "too many pictures are being uploaded; ask again later")
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


@dataclass
class Served:
    collection: Collection
    work: Work
    page: Mapping[str, Part]
    planes: Planes
    metrics: Metrics = field(default_factory=Metrics)
    uploads: Uploads = field(default_factory=Uploads)

    def close(self) -> None:
        """Give up what is under way."""
        self.planes.stop(PATIENCE_S)
        self.work.close()
