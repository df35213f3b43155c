"""The threads that carry out requests: so many at once, so many that wait, and none that is waited for too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from serve.errors import Refused

QUEUED_MOST = 64  # requests that wait for a thread
TIMEOUT_S = 30.0

P = ParamSpec("P")
T = TypeVar("T")


class Work:
    """A thread pool with a bounded queue. Used from the thread of the event loop alone."""

    def __init__(self, threads: int, queued_most: int = QUEUED_MOST, timeout_s: float = TIMEOUT_S) -> None:
        self._most, self._timeout_s = threads + queued_most, timeout_s
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="serve")
        self._under_way = 0

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in a thread, and wait.

        Raises:
            Refused: 429 if the queue is full, 503 if it takes too long. A call that began goes on, and counts until it
                ends; one that still waits is given up.
        """
        if self._under_way >= self._most:
            raise Refused(429, "busy", "the server has too much to do; ask again later")
        self._under_way += 1
        future: Future[T] = self._pool.submit(call, *args, **kwargs)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._ended))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._timeout_s)
        except TimeoutError:
            raise Refused(503, "timeout", "this took too long") from None

    def _ended(self) -> Any:
        self._under_way -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
