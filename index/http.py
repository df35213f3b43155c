"""One request to ``latent serve``. Redirects and proxies are not followed; answers are bounded in size and time."""

from __future__ import annotations

import json
from http.client import HTTPException
from time import monotonic
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from index.errors import LatentError

TIMEOUT_S = 60.0
MOST_ANSWER_BYTES, MOST_REFUSAL_BYTES, BLOCK_BYTES = 64 << 20, 64 << 10, 1 << 16
BINARY = "application/octet-stream"


class ServerError(LatentError):
    """The server refused a request, or there is none. ``status`` is that of HTTP; 0 if there was no answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message, code)
        self.status = status


class _NoRedirects(HTTPRedirectHandler):
    """The token goes to nobody else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Transport:
    """Requests to one server; any thread may make them."""

    def __init__(self, url: str, token: str | None, timeout_s: float = TIMEOUT_S) -> None:
        """``timeout_s``: how long one answer may take."""
        self._url, self._token, self._timeout_s = url.rstrip("/") + "/api/v1/", token, timeout_s
        self._opener: OpenerDirector = build_opener(ProxyHandler({}), _NoRedirects())

    def get(
        self,
        route: str,
        words: dict[str, Any] | None = None,
        body: bytes | None = None,
        *,
        kind: str = BINARY,
        method: str | None = None,
    ) -> bytes:
        """The content of an answer. With a ``body``, of a media type ``kind``, the request is a POST.

        Raises:
            ServerError: the server refuses it, does not answer in time, or answers with too much.
        """
        given = urlencode({name: value for name, value in (words or {}).items() if value is not None})
        request = Request(f"{self._url}{route}?{given}", body, method=method)
        if self._token is not None:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        if body is not None:
            request.add_header("Content-Type", kind)
        ends_s = monotonic() + self._timeout_s
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                return self._read(answer, ends_s)
        except HTTPError as error:
            with error:
                raise _refusal(error) from None
        except (OSError, HTTPException, ValueError) as error:  # ValueError: heads that are none
            raise ServerError(0, "no_answer", f"no server answers at {self._url}: {_said(error)}") from error

    def _read(self, answer: Any, ends_s: float) -> bytes:
        parts, received = list[bytes](), 0
        while part := answer.read1(BLOCK_BYTES):
            parts.append(part)
            received += len(part)
            if received > MOST_ANSWER_BYTES:
                raise ServerError(0, "too_large", f"{self._url} answers with more than {MOST_ANSWER_BYTES >> 20} MiB")
            if monotonic() > ends_s:
                raise ServerError(0, "no_answer", f"{self._url} did not end its answer in {self._timeout_s:g} s")
        if answer.length:  # so many bytes were promised and did not come
            raise ServerError(0, "no_answer", f"{self._url} broke off its answer")
        return b"".join(parts)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _refusal(error: HTTPError) -> ServerError:
    try:
        told = json.loads(error.read(MOST_REFUSAL_BYTES))["error"]
        return ServerError(error.code, str(told["code"]), str(told["message"]))
    except (OSError, HTTPException, ValueError, LookupError, TypeError, RecursionError):
        return ServerError(error.code, "error", f"the server answered with status {error.code}")
