"""The routes of long work: jobs and their events, the index as a whole, and copies. No request has a body."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from serve import records_of_acts as records
from serve.events import EventStream
from serve.routes import ERRORS, served_of
from serve.updating import facts_of_index, skipped_files, update_of

STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
PLAN: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"schema": {"type": "object"}}}}}
PLAN_FILE = {"Content-Disposition": 'attachment; filename="plan.json"'}

acts = APIRouter(prefix="/api/v1", responses=ERRORS)


@acts.get("/index")
async def index(request: Request) -> records.Index:
    """What the index holds, and why files were skipped."""
    served = served_of(request)
    searcher, read_only = served.collection.searcher, served.library is None
    return await served.work.run(facts_of_index, searcher, read_only)


@acts.get("/skipped")
async def skipped(request: Request, page: Annotated[records.Page, Query()]) -> records.SkippedFiles:
    """Pictures that could not be read, with the reasons."""
    served = served_of(request)
    return await served.work.run(skipped_files, served.collection.searcher, page)


@acts.post("/update", status_code=202)
async def update(request: Request, asked: Annotated[records.Updating, Query()]) -> records.JobFacts:
    """Begin to bring the index up to date with its folders."""
    served = served_of(request)
    return records.JobFacts.of(served.jobs.start("update", update_of(served.writable(), asked.retry)))


@acts.get("/job")
async def job(request: Request) -> records.Told:
    """The job that runs, or the last one."""
    return records.Told.of(served_of(request).jobs.last)


@acts.post("/job/cancel", status_code=202)
async def cancel(request: Request, asked: Annotated[records.JobNumber, Query()]) -> records.JobFacts:
    """Tell the job of that number to end. What it has done stays done."""
    return records.JobFacts.of(served_of(request).jobs.cancel(asked.id))


@acts.get("/events", response_class=Response, responses=STREAM)
async def events(request: Request, asked: Annotated[records.Watching, Query()]) -> Response:
    """Server-sent events ``job``: as ``GET job``, at once and after each change."""
    served = served_of(request)
    return EventStream(served.jobs, served.streams, asked.seconds)


@acts.post("/copies/find", status_code=202)
async def find(request: Request, asked: Annotated[records.Finding, Query()]) -> records.JobFacts:
    """Begin to make a plan for copies. The result of the job names it."""
    served = served_of(request)
    return records.JobFacts.of(served.jobs.start("find", served.reviews.find(asked)))


@acts.get("/copies")
async def plans(request: Request) -> records.Plans:
    """The plans of this index."""
    served = served_of(request)
    return await served.work.run(served.reviews.all)


@acts.get("/copies/{plan}")
async def plan_facts(request: Request, plan: records.PlanId) -> records.PlanFacts:
    """A plan, and how far it is decided."""
    served = served_of(request)
    return await served.work.run(served.reviews.facts, plan)


@acts.get("/copies/{plan}/groups")
async def groups(
    request: Request, plan: records.PlanId, asked: Annotated[records.GroupPage, Query()]
) -> records.CopyGroups:
    """Groups of copies: the file to keep and the others, and why."""
    served = served_of(request)
    return await served.work.run(served.reviews.groups, plan, asked)


@acts.get("/copies/{plan}/file", response_class=Response, responses=PLAN)
async def plan_file(request: Request, plan: records.PlanId) -> Response:
    """What is to be kept so far, as a plan for ``latent dedup apply``. It names paths, so only this machine gets it."""
    served = served_of(request)
    content = await served.work.run(served.reviews.file, plan)
    return Response(content, media_type="application/json", headers=PLAN_FILE)


@acts.post("/copies/{plan}/decide")
async def decide(
    request: Request, plan: records.PlanId, asked: Annotated[records.Deciding, Query()]
) -> records.PlanFacts:
    """Note what is to be done with a group. Nothing is done."""
    served = served_of(request)
    return await served.work.run(served.reviews.decide, plan, asked)


@acts.post("/copies/{plan}/part")
async def part(request: Request, plan: records.PlanId, asked: Annotated[records.Parting, Query()]) -> records.PlanFacts:
    """Remember that these are no copies."""
    served = served_of(request)
    return await served.work.run(served.reviews.part, plan, asked)


@acts.post("/copies/{plan}/offer")
async def offer(request: Request, plan: records.PlanId, asked: Annotated[records.Offering, Query()]) -> records.Offer:
    """What would be done, in counts and bytes, and a nonce to have it done."""
    served = served_of(request)
    return await served.work.run(served.reviews.offer, plan, asked)


@acts.post("/copies/{plan}/apply", status_code=202)
async def apply(
    request: Request, plan: records.PlanId, asked: Annotated[records.Applying, Query()]
) -> records.JobFacts:
    """Begin to do what was offered."""
    served = served_of(request)
    served.jobs.check_free()
    work = await served.work.run(served.reviews.apply, plan, asked)
    return records.JobFacts.of(served.jobs.start("apply", work))


@acts.post("/copies/{plan}/undo", status_code=202)
async def undo(request: Request, plan: records.PlanId) -> records.JobFacts:
    """Begin to bring back what was trashed or moved by this plan."""
    served = served_of(request)
    work = await served.work.run(served.reviews.undo, plan)
    return records.JobFacts.of(served.jobs.start("undo", work))
