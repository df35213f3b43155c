"""What every request must pass before it is routed, and what every answer carries."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException

from serve.errors import FAILED, Refused
from serve.keys import Keys
from serve.served import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

HTTP_PORT = 80
API, OPEN, UPLOAD = "/api/", "/api/v1/healthz", "/api/v1/query"
MOST_BODY_BYTES = 1 << 20  # of words; uploads have limits of their own
BODY_S = 30.0
READS = ("GET", "HEAD")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OWN_SITE = ("same-origin", "none")  # "none": typed, or a bookmark
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
ALWAYS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}
LOG = logging.getLogger("latent.serve")


def is_loopback(host: str) -> bool:
    """Whether an address is that of this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def hosts_of(host: str, port: int) -> frozenset[str]:
    """All that may stand in the header Host: else a name that an attacker points to this machine would do."""
    names = ["127.0.0.1", "localhost", "[::1]"] if is_loopback(host) else []
    names.append(f"[{host}]" if ":" in host else host)
    bare = names if port == HTTP_PORT else []
    return frozenset(name.lower() for name in [*(f"{name}:{port}" for name in names), *bare])


@dataclass(frozen=True)
class Guard:
    """An ASGI application in front of another one."""

    app: App
    keys: Keys
    hosts: frozenset[str]
    cookie_name: str
    metrics: Metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.perf_counter(), 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_always(message.get("headers", []))
            await send(message)

        try:
            if (answer := self._own_answer(scope)) is not None:
                await _send(guarded, *answer)
            else:
                await self.app(scope, _bounded(scope, receive), guarded)
        except Exception:
            LOG.exception("a request failed")
            if not status:
                await _send(guarded, 500, *_said(scope["path"], FAILED))
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.note(method, route, status, time.perf_counter() - began)

    def _own_answer(self, scope: Scope) -> tuple[int, Headers, bytes] | None:
        """What is answered here: a refusal, or the cookie of the launch link. None lets the request pass."""
        try:
            self._check_host(scope)
            self._check_site(scope)
            if (launched := self._launched(scope)) is not None:
                return launched
            self._check_key(scope)
        except Refused as refused:
            return (refused.status, *_said(scope["path"], refused))
        return None

    def _check_host(self, scope: Scope) -> None:
        given = _all(scope, b"host")
        if len(given) != 1 or given[0].lower() not in self.hosts:
            raise Refused(403, "wrong_host", "this server does not answer under that name")

    def _check_site(self, scope: Scope) -> None:
        """Other pages in the same browser may ask for nothing; they may only link here."""
        sites, origins = _all(scope, b"sec-fetch-site"), _all(scope, b"origin")
        is_link = scope["method"] == "GET" and scope["path"] == "/" and _all(scope, b"sec-fetch-mode") == ["navigate"]
        if any(site not in OWN_SITE for site in sites) and not is_link:
            raise Refused(403, "cross_site", "another page may not ask this server")
        if scope["method"] in READS:
            return
        own = f"http://{_all(scope, b'host')[0].lower()}"
        if any(origin != own for origin in origins):  # "null" as well
            raise Refused(403, "cross_site", "another page may not ask this server")
        if not _all(scope, b"authorization") and not origins and "same-origin" not in sites:
            raise Refused(403, "cross_site", "a browser must say where this comes from")

    def _launched(self, scope: Scope) -> tuple[int, Headers, bytes] | None:
        """The answer to the launch link: a cookie, and the page without the token in its address."""
        words = parse_qs(scope["query_string"].decode("latin-1")).get("launch", []) if scope["path"] == "/" else []
        if not words or scope["method"] != "GET":
            return None
        back = (b"location", b"/")
        if self._has_cookie(scope):
            return 303, [back], b""
        if not self.keys.use_launch(words[0]):
            raise Refused(403, "used_link", "This link was used before, or is of an earlier start.")
        cookie = f"{self.cookie_name}={self.keys.cookie}; Path=/; HttpOnly; SameSite=Strict"
        return 303, [back, (b"set-cookie", cookie.encode("ascii"))], b""

    def _check_key(self, scope: Scope) -> None:
        if scope["path"] == OPEN or self._has_cookie(scope):
            return
        given = _all(scope, b"authorization")
        if len(given) == 1 and given[0][:7].lower() == "bearer " and self.keys.is_token(given[0][7:].strip()):
            return
        raise Refused(403, "no_key", "Open the link that latent serve printed, or send the token of its token file.")

    def _has_cookie(self, scope: Scope) -> bool:
        pairs = (pair.strip().partition("=") for line in _all(scope, b"cookie") for pair in line.split(";"))
        return any(self.keys.is_cookie(value) for name, _, value in pairs if name == self.cookie_name)


def _bounded(scope: Scope, receive: Receive) -> Receive:
    """A body that is small, and comes in time. What follows it, as that the client left, may take any time."""
    if scope["path"] == UPLOAD:
        return receive
    received, is_whole = 0, False

    async def bounded() -> Message:
        nonlocal received, is_whole
        if is_whole:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), BODY_S)
        except TimeoutError:
            raise HTTPException(503, "the request did not come as a whole") from None
        received, is_whole = received + len(message.get("body", b"")), not message.get("more_body", False)
        if received > MOST_BODY_BYTES:
            raise HTTPException(413, f"a request may have {MOST_BODY_BYTES >> 20} MiB")
        return message

    return bounded


def _all(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _with_always(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    given = list(headers)
    more = ALWAYS if any(name == b"cache-control" for name, _ in given) else {**ALWAYS, "cache-control": "no-store"}
    return [*given, *((name.encode(), value.encode()) for name, value in more.items())]


def _said(path: str, refused: Refused) -> tuple[Headers, bytes]:
    """A refusal as JSON for programs, and as text for people."""
    if path.startswith(API):
        body = json.dumps({"error": {"code": refused.code, "message": refused.message}}).encode()
        return [(b"content-type", b"application/json")], body
    return [(b"content-type", b"text/plain; charset=utf-8")], (refused.message + "\n").encode()


async def _send(send: Send, status: int, headers: Headers, body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
