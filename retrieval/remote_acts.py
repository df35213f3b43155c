"""What takes long or changes something at a served index: updates, and copies. ``Client`` has these methods."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from retrieval.progress import OnProgress

LOOK_S = 0.2
GROUPS_MOST = 200  # of an answer

Decision = Literal["open", "keep", "skip"]


@dataclass(frozen=True)
class RemoteJob:
    """A job of the server. ``result`` is there when it is done, ``error`` ({"code", "message"}) when it failed."""

    id: int
    kind: Literal["update", "find", "apply", "undo"]
    state: Literal["running", "done", "cancelled", "failed"]
    done: int
    total: int
    result: dict[str, int | str] | None
    error: dict[str, str] | None


@dataclass(frozen=True)
class RemoteSkipped:
    """A picture that could not be read; ``folder`` is relative to its root."""

    name: str
    folder: str
    reason: str


@dataclass(frozen=True)
class RemotePlan:
    """A plan for copies. ``decided`` counts groups by decision; ``files`` and ``bytes`` are what would go by now."""

    id: str
    made: str
    groups: int
    decided: dict[str, int]
    files: int
    bytes: int
    kinds: list[dict[str, Any]]
    wrong_pairs: str
    registered: bool
    hash: str
    can_undo: bool


@dataclass(frozen=True)
class RemoteGroup:
    """A file to keep and its copies, each with the evidence, as the server says them."""

    number: int
    decision: Literal["open", "keep", "skip", "apart", "done"]
    kept: dict[str, Any]
    copies: list[dict[str, Any]]


@dataclass(frozen=True)
class RemoteOffer:
    """What ``apply`` would do. ``nonce`` is good once, for the plan of this hash, and so many seconds."""

    nonce: str
    hash: str
    action: Literal["trash", "move"]
    groups: int
    files: int
    bytes: int
    expires_s: int


class Acts(ABC):
    """Methods of ``Client``. All raise ``ServerError`` where the server refuses; jobs also where they fail."""

    @abstractmethod
    def _json(self, route: str, words: dict[str, Any] | None = None, body: bytes | None = None) -> dict[str, Any]: ...

    @abstractmethod
    def _post(self, route: str, words: dict[str, Any] | None = None) -> dict[str, Any]: ...

    @abstractmethod
    def _failure(self, code: str, message: str) -> Exception: ...

    def index(self) -> dict[str, Any]:
        """What the index holds, and why files were skipped."""
        return self._json("index")

    def skipped(self, most: int = 50, offset: int = 0) -> list[RemoteSkipped]:
        """Pictures that could not be read, by path."""
        told = self._json("skipped", {"limit": most, "offset": offset})
        return [RemoteSkipped(**one) for one in told["files"]]

    def job(self) -> RemoteJob | None:
        """The job that runs, or the last one; None if there was none since the server started."""
        told = self._json("job")["job"]
        return None if told is None else RemoteJob(**told)

    def cancel(self, job: RemoteJob) -> None:
        """Tell a job to end. What it has done stays done."""
        self._post("job/cancel", {"id": job.id})

    def update(self, *, retry: bool = False, report: OnProgress | None = None) -> RemoteJob:
        """Bring the index up to date with its folders, and wait for it. ``report`` takes (files done, files to do)."""
        return self._waited(self._post("update", {"retry": str(retry).lower()}), report)

    def find_copies(
        self,
        *,
        kinds: Sequence[str] | None = None,
        false_matches: float = 1.0,
        mirrored: bool = False,
        folders: Literal["all", "within", "across"] = "all",
        report: OnProgress | None = None,
    ) -> RemotePlan:
        """Make a plan for copies, and wait for it. Arguments as for ``retrieval.find_copies``."""
        words = {"kinds": None if kinds is None else ",".join(kinds), "mirrored": str(mirrored).lower()}
        begun = self._post("copies/find", {**words, "false_matches": false_matches, "folders": folders})
        job = self._waited(begun, report)
        if job.result is None:
            raise self._failure("cancelled", "the search for copies was cancelled")
        return RemotePlan(**self._json(f"copies/{job.result['plan']}"))

    def plans(self) -> list[RemotePlan]:
        """The plans of this index, the newest first."""
        return [RemotePlan(**one) for one in self._json("copies")["plans"]]

    def groups(self, plan: RemotePlan, decision: str | None = None) -> Iterator[RemoteGroup]:
        """The groups of a plan, by number."""
        start: int | None = 0
        while start is not None:
            words = {"limit": GROUPS_MOST, "start": start, "decision": decision}
            told = self._json(f"copies/{plan.id}/groups", words)
            yield from (RemoteGroup(**one) for one in told["groups"])
            start = told["next"]

    def decide(self, plan: RemotePlan, decision: Decision, *, group: int | None = None) -> RemotePlan:
        """Note what is to be done with a group, or with all that are open. Nothing is done."""
        return RemotePlan(**self._post(f"copies/{plan.id}/decide", {"decision": decision, "group": group}))

    def keep_apart(self, plan: RemotePlan, group: int, *, copy: int | None = None) -> RemotePlan:
        """Remember that a copy of a group, or all of them, are none."""
        return RemotePlan(**self._post(f"copies/{plan.id}/part", {"group": group, "copy": copy}))

    def offer(self, plan: RemotePlan, action: Literal["trash", "move"] = "trash") -> RemoteOffer:
        """What would be done with the groups that are to be kept."""
        return RemoteOffer(**self._post(f"copies/{plan.id}/offer", {"action": action}))

    def apply(self, plan: RemotePlan, offer: RemoteOffer, *, report: OnProgress | None = None) -> RemoteJob:
        """Do what was offered, and wait for it."""
        return self._waited(self._post(f"copies/{plan.id}/apply", {"nonce": offer.nonce}), report)

    def undo(self, plan: RemotePlan, report: OnProgress | None = None) -> RemoteJob:
        """Bring back what was trashed or moved, and wait for it."""
        return self._waited(self._post(f"copies/{plan.id}/undo"), report)

    def _waited(self, begun: dict[str, Any], report: OnProgress | None) -> RemoteJob:
        """The job when it has ended. Another one may have begun since; then its result is not known any more."""
        job = RemoteJob(**begun)
        while job.state == "running":
            if report is not None:
                report(job.done, job.total)
            time.sleep(LOOK_S)
            now = self.job()
            if now is None or now.id != job.id:
                raise self._failure("job_lost", "another job began before this one's result was asked for")
            job = now
        if job.error is not None:
            raise self._failure(job.error["code"], job.error["message"])
        return job
