"""Server-sent events: how the running job stands, to as many as watch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from serve.jobs import Jobs
from serve.records_of_acts import Told
from serve.served import Slots

LOOK_S, BEAT_S = 0.1, 10.0
AGAIN_MS = 500  # after which a browser asks again


class EventStream(StreamingResponse):
    """A stream that counts as long as it is open. Raises Refused if there are too many."""

    def __init__(self, jobs: Jobs, slots: Slots, seconds: float) -> None:
        super().__init__(events(jobs, seconds), media_type="text/event-stream")
        self._slots = slots

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._slots.one():
            await super().__call__(scope, receive, send)


async def events(jobs: Jobs, seconds: float) -> AsyncIterator[str]:
    """An event ``job`` at once and after each change. The stream ends after ``seconds``, and when the server does."""
    yield f"retry: {AGAIN_MS}\n\n"
    ends_s = time.monotonic() + seconds
    said, said_s = "", time.monotonic()
    while not jobs.is_stopping:
        data = Told.of(jobs.last).model_dump_json()
        if data != said:
            said, said_s = data, time.monotonic()
            yield f"event: job\ndata: {data}\n\n"
        elif time.monotonic() - said_s > BEAT_S:  # shows whether somebody is there
            said_s = time.monotonic()
            yield ": \n\n"
        if time.monotonic() >= ends_s:
            return
        await asyncio.sleep(min(LOOK_S, max(0.0, ends_s - time.monotonic())))
