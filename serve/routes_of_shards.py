"""Routes by which another ``latent`` searches this index together with its own (``--index http://...``)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from serve import records_of_shards as records
from serve.routes import ERRORS, served_of

shards = APIRouter(prefix="/api/v1/shard", responses=ERRORS)


@shards.get("/facts")
async def facts(request: Request) -> records.ShardFacts:
    """The model whose codes these are, and how many."""
    served = served_of(request)
    return await served.work.run(served.shard.facts)


@shards.post("/search")
async def search(request: Request, asked: records.Searched) -> records.ShardHits:
    """The pictures nearest to codes; at most 10,000 hits in all. It is read, not written."""
    served = served_of(request)
    return await served.work.run(served.shard.search, asked)


@shards.post("/count")
async def count(request: Request, asked: records.Counted) -> records.ShardCount:
    """How many pictures pass a filter."""
    served = served_of(request)
    return await served.work.run(served.shard.count, asked)


@shards.post("/codes")
async def codes(request: Request, asked: records.Wanted) -> records.ShardCodes:
    """The codes of pictures, by id."""
    served = served_of(request)
    return await served.work.run(served.shard.codes, asked)


@shards.get("/words")
async def words(request: Request, asked: Annotated[records.Worded, Query()]) -> records.ShardIds:
    """The pictures with these words in path, title or keywords."""
    served = served_of(request)
    return await served.work.run(served.shard.words, asked)


@shards.get("/looks")
async def looks(request: Request, asked: Annotated[records.Looked, Query()]) -> records.ShardLooks:
    """What pictures look like to the critic, by which novelty is measured."""
    served = served_of(request)
    return await served.work.run(served.shard.looks, asked)
