"""Long work of the server: one job at a time, in a thread of its own, which many may watch and anybody may cancel."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from retrieval.progress import OnProgress
from serve.errors import FAILED, Refused, bad_words, refusal_of

Kind = Literal["update", "find", "apply", "undo"]
State = Literal["running", "done", "cancelled", "failed"]
Result = Mapping[str, int | str]
Work = Callable[[OnProgress], Result]
"""Does the work. It reports (done, total), and is cancelled where it reports."""

LOG = logging.getLogger("latent.serve")


class Cancelled(Exception):
    """The work was told to end where it reported."""


@dataclass(frozen=True)
class Job:
    """A job as it stands. ``result`` is there when it is done, ``error`` when it failed."""

    id: int
    kind: Kind
    state: State = "running"
    done: int = 0
    total: int = 0
    result: Result | None = None
    error: Refused | None = None


class Jobs:
    """The running job, or the last one. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._thread: threading.Thread | None = None
        self._cancelled, self._stopping = threading.Event(), threading.Event()

    @property
    def last(self) -> Job | None:
        return self._job

    @property
    def is_stopping(self) -> bool:
        """Whether the server ends."""
        return self._stopping.is_set()

    def start(self, kind: Kind, work: Work) -> Job:
        """Begin a job.

        Raises:
            Refused: another one runs, or the server ends.
        """
        with self._lock:
            self.check_free()
            job = self._job = Job(1 if self._job is None else self._job.id + 1, kind)
            self._cancelled.clear()
            self._thread = threading.Thread(target=self._run, args=(work,), name=f"job-{kind}", daemon=True)
            self._thread.start()
            return job

    def check_free(self) -> None:
        """Raise Refused if a job runs, or the server ends."""
        if self.is_stopping:
            raise Refused(503, "ending", "the server ends")
        if self._job is not None and self._job.state == "running":
            raise Refused(409, "job_runs", "another job runs; wait for it, or cancel it")

    def cancel(self, number: int) -> Job:
        """Tell the job of that number to end. It ends where it next reports.

        Raises:
            Refused: that job does not run.
        """
        with self._lock:
            job = self._job
            if job is None or job.id != number or job.state != "running":
                raise Refused(409, "no_job", "that job does not run")
            self._cancelled.set()
            return job

    def stop(self) -> None:
        """The server ends: the running job is cancelled, and no other begins."""
        self._stopping.set()
        self._cancelled.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the running job. Returns whether it ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    def _run(self, work: Work) -> None:
        try:
            self._set(state="done", result=work(self._report))
        except Cancelled:
            self._set(state="cancelled")
        except Exception as error:
            refused = bad_words(error) if isinstance(error, ValueError) else refusal_of(error)
            if refused is None:
                LOG.exception("a job failed")
            self._set(state="failed", error=refused or FAILED)

    def _report(self, done: int, total: int) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        self._set(done=done, total=total)

    def _set(self, **changes: object) -> None:
        with self._lock:
            assert self._job is not None
            self._job = replace(self._job, **changes)  # type: ignore[arg-type]
