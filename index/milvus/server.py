"""A Milvus, asked through pymilvus: one connection, and its errors as our own. pymilvus is imported on first use."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from index.errors import IndexUnreachable, MissingExtra, pip_line
from index.forks import abandon, watch
from index.milvus.address import uri_of

CONNECT_TIMEOUT_S = 5.0
ASK_TIMEOUT_S = 30.0  # of a search, a page, a change
SHORT_TIMEOUT_S = 5.0  # of what takes milliseconds
WORK_TIMEOUT_S = 24 * 3600.0  # of building an index
MOST_SAID = 300  # characters of Milvus's words
TOKEN = "MILVUS_TOKEN"


class Refused(IndexUnreachable):
    """Milvus answered that it cannot do that."""

    code = "vectors_refused"


class Server:
    """The Milvus at an address. It is reached when it is first asked. Any thread may ask."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._client: Any = None
        self._reaching = threading.Lock()
        watch(self)

    def after_fork(self) -> None:
        abandon(self._client)
        self._client, self._reaching = None, threading.Lock()

    def reach(self) -> Any:
        """pymilvus's client.

        Raises:
            IndexUnreachable: Milvus does not answer, or does not let this user in.
            MissingExtra: pymilvus is not installed.
        """
        with self._reaching:
            if self._client is None:
                self._client = self._reached()
            return self._client

    def _reached(self) -> Any:
        client_of = _pymilvus().MilvusClient
        with self._answering():
            uri = uri_of(self.address)
            return client_of(uri=uri, token=os.environ.get(TOKEN, ""), timeout=CONNECT_TIMEOUT_S)

    @contextmanager
    def asked(self) -> Iterator[Any]:
        """The client; its errors are raised as our own.

        Raises:
            IndexUnreachable, MissingExtra: as ``reach``.
            Refused: Milvus cannot do what it is asked.
        """
        client = self.reach()
        with self._answering():
            yield client

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """pymilvus's errors as ours, without its traceback: frames of that hold the token."""
        ours: IndexUnreachable | None = None
        try:
            yield
        except _errors() as error:
            ours = self._ours(error)
        if ours is not None:
            raise ours from None

    def _ours(self, error: Exception) -> IndexUnreachable:
        said = " ".join(str(getattr(error, "message", "") or error).split())[:MOST_SAID]
        if (token := os.environ.get(TOKEN)) and token in said:
            said = said.replace(token, "***")
        if _is_silent(error, said):
            return IndexUnreachable(f"the Milvus at {self.address} does not answer: {said}", code="vectors_unreachable")
        return Refused(f"the Milvus at {self.address} refused: {said}")


def _is_silent(error: Exception, said: str) -> bool:
    """Whether no answer came, as far as pymilvus tells the one from the other."""
    import grpc

    code = error.code() if isinstance(error, grpc.RpcError) else getattr(error, "code", None)
    silent = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return code in (*silent, 2) or "Retry timeout" in said or "closed channel" in said


def _errors() -> tuple[type[Exception], ...]:
    import grpc

    return (_pymilvus().MilvusException, grpc.RpcError, ConnectionError, ValueError)


def _pymilvus() -> Any:
    try:
        import pymilvus
    except ImportError as error:
        raise MissingExtra(f"searching in Milvus needs pymilvus: {pip_line('milvus')}") from error
    for name in ("pymilvus", "grpc._server"):  # they log tracebacks of what is raised, too, or of what Lite has not
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return pymilvus
