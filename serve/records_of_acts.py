"""What is asked and answered by the routes of jobs, of the index and of copies, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from retrieval.copies.kinds import Kind as CopyKind
from serve import jobs
from serve.records import K_MOST, Asked, ErrorFacts

KINDS = r"^[a-z]{1,20}(,[a-z]{1,20}){0,9}$"
PLAN_ID = r"^[0-9a-f]{32}$"

Decision = Literal["open", "keep", "skip", "apart", "done"]
Movement = Literal["trash", "move"]


class Page(Asked):
    limit: int = Field(50, ge=1, le=K_MOST)
    offset: int = Field(0, ge=0, le=2**31)


class Updating(Asked):
    retry: bool = Field(False, description="read skipped files again")


class JobNumber(Asked):
    id: int = Field(ge=0, lt=2**31)


class Watching(Asked):
    seconds: float = Field(60, ge=0.1, le=600, description="after which the stream ends")


class Finding(Asked):
    """As the options of ``latent dedup find``."""

    kinds: str | None = Field(None, pattern=KINDS, description="kinds of copies that the plan removes")
    false_matches: float = Field(1.0, gt=0, le=1e6, description="expected number of wrong pairs, at most")
    mirrored: bool = False
    folders: Literal["all", "within", "across"] = "all"


class GroupPage(Asked):
    """Groups from the number ``start`` on: decisions meanwhile shift no page."""

    limit: int = Field(20, ge=1, le=K_MOST)
    start: int = Field(0, ge=0, lt=2**31)
    decision: Decision | None = None


class Deciding(Asked):
    """Without ``group``, of all groups that are open."""

    decision: Literal["open", "keep", "skip"]
    group: int | None = Field(None, ge=0, lt=2**31)


class Parting(Asked):
    """Without ``copy``, all copies of the group."""

    group: int = Field(ge=0, lt=2**31)
    copy_number: int | None = Field(None, ge=0, lt=2**31, alias="copy")


class Offering(Asked):
    action: Movement = "trash"


class Applying(Asked):
    nonce: str = Field(min_length=1, max_length=100)


class JobFacts(BaseModel):
    id: int
    kind: jobs.Kind
    state: jobs.State
    done: int
    total: int
    result: dict[str, int | str] | None
    error: ErrorFacts | None

    @classmethod
    def of(cls, job: jobs.Job) -> JobFacts:
        error = None if job.error is None else ErrorFacts(code=job.error.code, message=job.error.message)
        result = None if job.result is None else dict(job.result)
        return cls(
            id=job.id, kind=job.kind, state=job.state, done=job.done, total=job.total, result=result, error=error
        )


class Told(BaseModel):
    """The running job, or the last one; none since the server started."""

    job: JobFacts | None

    @classmethod
    def of(cls, job: jobs.Job | None) -> Told:
        return cls(job=None if job is None else JobFacts.of(job))


class Root(BaseModel):
    """An indexed folder, by its own name. ``there``: it is not on a drive that is unplugged."""

    name: str
    there: bool


class Reason(BaseModel):
    reason: str
    count: int


class Index(BaseModel):
    pictures: int
    skipped: int
    vanished: int
    removed: int
    other_files: int
    other_kinds: dict[str, int]
    reasons: list[Reason]
    excluded: list[str]
    roots: list[Root]
    missing_facts: int
    generation: int
    catalog_bytes: int
    caches_bytes: int
    model_bytes: int
    search: str
    read_only: bool


class SkippedFile(BaseModel):
    name: str
    folder: str
    reason: str


class SkippedFiles(BaseModel):
    files: list[SkippedFile]
    total: int


class PlanFile(BaseModel):
    """A file of a plan. ``id`` is None if the index does not hold it any more."""

    id: int | None
    name: str
    folder: str
    width: int | None
    height: int | None
    size_bytes: int
    changed: str | None = Field(description="date of the file, ISO 8601")


class CopyFile(PlanFile):
    """A copy, and why it is one. ``places``: left, top, right and bottom of what differs, as shares of the kept one."""

    kind: CopyKind
    why: str
    because: str
    alike: float
    distance: float
    places: list[tuple[float, float, float, float]]
    apart: bool = Field(description="the user said that it is no copy")
    left: str = Field(description="why apply left it alone")


class CopyGroup(BaseModel):
    number: int
    decision: Decision
    kept: PlanFile
    copies: list[CopyFile]


class CopyGroups(BaseModel):
    """``next`` is the number at which the next page starts, None after the last one."""

    groups: list[CopyGroup]
    total: int
    next: int | None


class KindFacts(BaseModel):
    kind: CopyKind
    title: str
    means: str
    count: int
    only_listed: bool = Field(description="the plan removes none of them")


class PlanFacts(BaseModel):
    """A plan for copies. ``files`` and ``bytes`` are those that its kept groups remove."""

    id: str
    made: str
    groups: int
    decided: dict[Decision, int]
    files: int
    bytes: int
    kinds: list[KindFacts]
    wrong_pairs: str
    registered: bool
    hash: str
    can_undo: bool


class Plans(BaseModel):
    """The plans of this index, the newest first, and what may be done with them."""

    plans: list[PlanFacts]
    actions: list[Movement]
    may_download: bool


class Offer(BaseModel):
    """What ``apply`` would do. The nonce is good once, and for the plan of this hash."""

    nonce: str
    hash: str
    action: Movement
    groups: int
    files: int
    bytes: int
    expires_s: int


PlanId = Annotated[str, Field(pattern=PLAN_ID)]
