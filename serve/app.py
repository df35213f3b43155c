"""The application: routes behind the guard, and errors in one form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

import retrieval
from retrieval.errors import LatentError
from retrieval.pictures.workers import cores
from serve.allowed import Allowed
from serve.collection import Collection
from serve.errors import FAILED, Refused, bad_words, refusal_of
from serve.guard import Guard, hosts_of
from serve.keys import Keys
from serve.page import read_page
from serve.routes import api, page
from serve.routes_of_acts import acts
from serve.routes_of_shards import shards
from serve.served import Served
from serve.work import Work

LEAST_THREADS = 4


def serve(collection: Collection, allowed: Allowed) -> Served:
    """What is served of an index, as far as it is allowed."""
    return Served.of(collection, Work(max(LEAST_THREADS, cores())), read_page(), allowed)


def build_app(served: Served, keys: Keys, host: str, port: int) -> Guard:
    """The application that answers at ``host`` and ``port``."""
    app = FastAPI(
        title="latent", version=retrieval.__version__, docs_url=None, redoc_url=None, openapi_url=None, lifespan=_ending
    )
    app.state.served = served
    app.include_router(api)
    app.include_router(acts)
    app.include_router(shards)
    app.include_router(page)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(LatentError, _refused)
    app.add_exception_handler(ValueError, _bad_words)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _failed)
    return Guard(app, keys, hosts_of(host, port), f"latent-{port}", served.metrics)


@asynccontextmanager
async def _ending(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.served.close()


def _answer(refused: Refused) -> JSONResponse:
    body = {"error": {"code": refused.code, "message": refused.message}}
    return JSONResponse(body, refused.status)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    refused = refusal_of(error)
    if refused is None:
        raise error
    return _answer(refused)


async def _bad_words(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, ValueError) or isinstance(error, UnicodeError | ValidationError):  # faults of this program
        raise error
    return _answer(refusal_of(error) or bad_words(error))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    said = [f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors()[:5]]
    return _answer(Refused(422, "invalid", "; ".join(said)[:1000]))


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _answer(Refused(error.status_code, "not_found" if error.status_code == 404 else "http", str(error.detail)))


async def _failed(request: Request, error: Exception) -> JSONResponse:
    """Something that nobody expected. The guard notes it in the log of the server."""
    return _answer(FAILED)
