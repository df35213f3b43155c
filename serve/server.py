"""Start the server on a socket that is already bound, so that its port is known before the first request."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

import uvicorn

from serve.app import build_app
from serve.keys import Keys
from serve.served import Served

CONNECTIONS_MOST = 256
KEEP_ALIVE_S = 10
HEAD_BYTES = 256 << 10  # of a request: the longest code, each character of it escaped, and the longest filters fit
SHUTDOWN_S = 3  # requests that are under way may end
JOB_ENDS_S = 30  # a job ends with its batch; a second Ctrl-C ends it at once, and loses that batch


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens at an address of this machine; port 0 takes a free one.

    Raises:
        OSError: it cannot be bound.
        ValueError: the address means all of this machine's.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    if ipaddress.ip_address(str(address[0]).partition("%")[0]).is_unspecified:
        raise ValueError(f"{host} means all addresses of this machine; name the one that is meant")
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(CONNECTIONS_MOST)
    except BaseException:
        bound.close()
        raise
    return bound


def origin_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Says when it answers, and when it ends."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], object], ending: Callable[[], object]) -> None:
        super().__init__(config)
        self._started, self._ending = started, ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)


def run(served: Served, keys: Keys, host: str, bound: socket.socket, started: Callable[[], object]) -> None:
    """Serve until the process is interrupted. ``started`` is called when requests are answered.

    A job that runs is told to end, and waited for: what it committed stays, and the same job goes on from there.
    """
    app = build_app(served, keys, host, bound.getsockname()[1])
    config = uvicorn.Config(
        app,
        http="h11",
        h11_max_incomplete_event_size=HEAD_BYTES,
        ws="none",
        lifespan="on",  # it ends what is being made
        log_level="warning",
        access_log=False,  # addresses hold launch tokens, and what people look for
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_MOST,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    try:
        _Server(config, started, served.jobs.stop).run(sockets=[bound])
    finally:
        served.jobs.stop()
        served.jobs.join(JOB_ENDS_S)
