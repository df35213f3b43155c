"""The real ``latent serve`` on a free port, asked over HTTP: what its tests share."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx


@dataclass(frozen=True)
class Site:
    """A running server."""

    origin: str
    launch: str
    token: str
    process: subprocess.Popen[str]
    log: Path
    folder: Path

    @property
    def port(self) -> int:
        return int(self.origin.rpartition(":")[2])

    @property
    def key(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def get(self, route: str, **words: Any) -> httpx.Response:
        return httpx.get(f"{self.origin}/api/v1/{route}", params=words, headers=self.key, timeout=60)

    def post(self, body: bytes, headers: dict[str, str] | None = None, **words: Any) -> httpx.Response:
        kind = {"Content-Type": "image/png", **self.key, **(headers or {})}
        return httpx.post(f"{self.origin}/api/v1/query", content=body, params=words, headers=kind, timeout=60)


def started(folder: Path, *words: str, token: Path | None, scratch: Path) -> Site:
    """Start the real program; its temporary files go to ``scratch``."""
    log = scratch / "log"
    command = [str(Path(sys.executable).with_name("latent")), "serve", "--index", str(folder / ".latent")]
    command += ["--port", "0", "--no-open", *(["--token-file", str(token)] if token else []), *words]
    (scratch / "tmp").mkdir()
    own = {"TMPDIR": str(scratch / "tmp"), "XDG_CACHE_HOME": str(scratch / "cache"), "BROWSER": "true", "DISPLAY": ""}
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | own,
        )
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], 60)
    line = process.stdout.readline() if ready else ""
    found = re.fullmatch(r"(http://\S+)/\?launch=(\S+)\n", line)
    assert found, (line, log.read_text())
    return Site(found[1], found[2], token.read_text().strip() if token else "", process, log, folder)


def ended(site: Site, with_signal: int = signal.SIGINT) -> int:
    site.process.send_signal(with_signal)
    try:
        code = site.process.wait(20)
    finally:
        site.process.kill()
    assert site.process.stdout is not None
    with site.process.stdout as output:
        assert output.read() == ""  # nothing but the link: no log of requests
    return code


def told(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer: httpx.Response, status: int, code: str) -> str:
    assert answer.status_code == status, (answer.status_code, answer.text)
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"} and error["code"] == code, error
    return str(error["message"])


def raw(site: Site, *lines: str) -> str:
    with socket.create_connection(("127.0.0.1", site.port), 10) as connection:
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        return connection.makefile(errors="replace").read()


def wait_for(process: subprocess.Popen[bytes], port: str) -> None:
    """Wait until a server answers."""
    ends_s = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < ends_s:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/api/v1/healthz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"{port} does not answer")
