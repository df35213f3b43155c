"""The routes: each asks the collection in a thread, and says what comes back in HTTP's words."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import ClientDisconnect

from retrieval.arrays import Pixels
from retrieval.roots.at_hand import spooled
from serve import records
from serve.errors import Refused
from serve.files import MOST_UPLOAD_BYTES
from serve.served import Served
from serve.work import TIMEOUT_S

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": records.Error} for status in (400, 403, 404, 409, 413, 415, 422, 429, 503)
}
PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
WEBP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/webp": {}}},
    304: {"description": "the picture that the client has is the same"},
}
MAP: dict[int | str, dict[str, Any]] = {
    202: {"model": records.MapProgress, "description": "it is being made"},
    304: {"description": "the map that the client has is the same"},
}
TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}}

api = APIRouter(prefix="/api/v1", responses=ERRORS)
page = APIRouter(include_in_schema=False)

Identifier = Annotated[int, InPath(ge=0, lt=2**63)]
DirectionName = Annotated[str, InPath(max_length=100)]
Other = Annotated[records.OtherCode, Query()]


def served_of(request: Request) -> Served:
    served: Served = request.app.state.served
    return served


@api.get("/healthz")
async def healthz() -> records.Health:
    """Whether the server runs. The one answer that needs no authentication."""
    return records.Health()


@api.get("/status")
async def status(request: Request) -> records.Status:
    served = served_of(request)
    return await served.work.run(served.collection.status, read_only=served.library is None)


@api.get("/query")
async def query_known(request: Request, options: Annotated[records.OptionsOfKnown, Query()]) -> records.Hits:
    """The pictures nearest to one of the index, or to a code."""
    served = served_of(request)
    return await served.work.run(served.collection.query_known, options)


@api.post("/query", openapi_extra=records.UPLOAD)
async def query_upload(request: Request, options: Annotated[records.Options, Query()]) -> records.Hits:
    """The pictures nearest to the picture in the body, which is not kept."""
    served = served_of(request)
    _check_kind(request.headers.get("content-type", ""))
    with served.uploads.one(), spooled() as (file, path):
        await _receive(request, file)
        return await served.work.run(served.collection.query_upload, path, options)


@api.get("/items")
async def items(request: Request, asked: Annotated[records.Listing, Query()]) -> records.Items:
    """Pictures by filter and order."""
    served = served_of(request)
    return await served.work.run(served.collection.items, asked)


@api.get("/items/{identifier}")
async def item(request: Request, identifier: Identifier) -> records.FullItem:
    """All that is known of a picture."""
    served = served_of(request)
    return await served.work.run(served.collection.item, identifier)


@api.get("/items/{identifier}/thumbnail", response_class=Response, responses=WEBP)
async def thumbnail(
    request: Request, identifier: Identifier, asked: Annotated[records.ThumbnailSize, Query()]
) -> Response:
    """The whole picture, decoded and encoded again: upright, without metadata."""
    served = served_of(request)
    found = await served.work.run(served.collection.found, identifier)
    headers = {"ETag": f'"{found.content_hash.hex()}-{asked.size}"', "Cache-Control": "private, no-cache"}
    if _has(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    content, is_same = await served.work.run(served.collection.thumbnail, identifier, int(asked.size))
    return Response(content, media_type="image/webp", headers=headers if is_same else None)


@api.get("/items/{identifier}/path")
async def place(request: Request, identifier: Identifier) -> records.Place:
    """Where the file of a picture lies; told on this machine alone. No other answer names a path."""
    served = served_of(request)
    return await served.work.run(served.collection.place, identifier)


@api.post("/items/{identifier}/reveal", status_code=204, response_class=Response)
async def reveal(request: Request, identifier: Identifier) -> Response:
    """Open the folder of a picture on the screen of this machine."""
    served = served_of(request)
    await served.work.run(served.collection.reveal, identifier)
    return Response(status_code=204)


@api.get("/items/{identifier}/painting", response_class=Response, responses=PNG)
async def painting(request: Request, identifier: Identifier) -> Response:
    """What the index sees of a picture: its decoded code."""
    served = served_of(request)
    return _png(await served.work.run(served.collection.painting, identifier))


@api.get("/items/{identifier}/difference", response_class=Response, responses=PNG)
async def difference(request: Request, identifier: Identifier, other: Other) -> Response:
    """Where the painting of a picture differs from that of another picture or code."""
    served = served_of(request)
    return _png(await served.work.run(served.collection.difference, identifier, other))


@api.get("/paint", response_class=Response, responses=PNG)
async def paint(request: Request, asked: Annotated[records.Painting, Query()]) -> Response:
    """A decoded code."""
    served = served_of(request)
    return _png(await served.work.run(served.collection.paint_code, asked))


@api.get("/interpolate")
async def interpolate(request: Request, asked: Annotated[records.Between, Query()]) -> records.Code:
    """A code between those of two pictures."""
    served = served_of(request)
    return await served.work.run(served.collection.interpolate, asked)


@api.get("/sample")
async def sample(request: Request, asked: Annotated[records.Sampling, Query()]) -> records.Codes:
    """Random codes, to be painted with scale=1; or codes round another one."""
    served = served_of(request)
    return await served.work.run(served.collection.sample, asked)


@api.get("/sum")
async def weighted(request: Request, asked: Annotated[records.Sum, Query()]) -> records.Code:
    """A weighted sum of pictures, by number, and of directions, by name."""
    served = served_of(request)
    return await served.work.run(served.collection.sum, asked)


@api.get("/directions")
async def directions(request: Request) -> records.Directions:
    served = served_of(request)
    return await served.work.run(served.collection.directions)


@api.post("/directions")
async def teach(request: Request, taught: records.Teaching) -> records.DirectionFacts:
    """Learn a direction from pictures of the index, and store it. It replaces one of the same name."""
    served = served_of(request)
    served.writable()
    return await served.work.run(served.collection.teach, taught)


@api.delete("/directions/{name}", status_code=204, response_class=Response)
async def forget_direction(request: Request, name: DirectionName) -> Response:
    served = served_of(request)
    served.writable()
    await served.work.run(served.collection.forget_direction, name)
    return Response(status_code=204)


@api.get("/map", response_model=records.Map, responses=MAP)
async def plane(request: Request) -> Response:
    """The collection on a plane. The first request has it made, and says how far that is."""
    served = served_of(request)
    told = await served.work.run(served.planes.get)
    if isinstance(told, records.MapProgress):
        return Response(told.model_dump_json(), 202, media_type="application/json")
    headers = {"ETag": told.tag, "Cache-Control": "private, no-cache"}
    if _has(request, told.tag):
        return Response(status_code=304, headers=headers)
    return Response(told.body, media_type="application/json", headers=headers)


@api.get("/metrics", response_class=Response, responses=TEXT)
async def metrics(request: Request) -> Response:
    """Counts and times of requests, in Prometheus's format."""
    return Response(generate_latest(served_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)


@api.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> dict[str, Any]:
    return request.app.openapi()  # type: ignore[no-any-return]


@page.get("/")
async def index(request: Request) -> Response:
    return _part(request, "index.html")


@page.get("/assets/{name:path}")
async def asset(request: Request, name: str) -> Response:
    return _part(request, f"assets/{name}")


def _part(request: Request, name: str) -> Response:
    part = served_of(request).page.get(name)
    if part is None:
        raise Refused(404, "not_found", "there is nothing of that name")
    headers = {"ETag": part.tag, "Cache-Control": "private, no-cache"}
    if _has(request, part.tag):
        return Response(status_code=304, headers=headers)
    return Response(part.content, headers={**headers, "Content-Type": part.kind})


def _has(request: Request, tag: str) -> bool:
    """Whether the client has that version already."""
    return tag in [word.strip().removeprefix("W/") for word in request.headers.get("if-none-match", "").split(",")]


def _png(pixels: Pixels) -> Response:
    from retrieval.pages.raster import png

    return Response(png(pixels), media_type="image/png")


def _check_kind(kind: str) -> None:
    plain = kind.partition(";")[0].strip().lower()
    if plain != "application/octet-stream" and not plain.startswith("image/"):
        raise Refused(415, "not_a_picture", "the body must be a picture: image/* or application/octet-stream")


async def _receive(request: Request, file: Any) -> None:
    """Write the body into a file. Raises Refused: 413 if it is too large, 503 if it does not come."""
    too_large = Refused(413, "too_large", f"a picture may have {MOST_UPLOAD_BYTES >> 20} MiB")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MOST_UPLOAD_BYTES:
        raise too_large
    received = 0
    try:
        async with asyncio.timeout(TIMEOUT_S):
            async for block in request.stream():
                received += len(block)
                if received > MOST_UPLOAD_BYTES:
                    raise too_large
                file.write(block)
    except TimeoutError:
        raise Refused(503, "timeout", "the picture did not come") from None
    except ClientDisconnect:
        raise Refused(400, "incomplete", "the picture did not come as a whole") from None
