"""A real object store for the tests: moto's server, on this machine alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import httpx
import pytest

SECRET = "a-key-that-nobody-may-see"
SIGNED = {  # moto checks no signature
    "Authorization": "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
}


class Buckets:
    """A store with a bucket called pictures."""

    name = "pictures"

    def __init__(self, log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.origin, self._log = f"http://127.0.0.1:{self.port}", log
        self.environment = {
            "AWS_ENDPOINT_URL": self.origin,
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.start()
        httpx.put(f"{self.origin}/{self.name}").raise_for_status()

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        ends_s = time.monotonic() + 60
        while time.monotonic() < ends_s and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(self._log.read_text())

    def pause(self) -> None:
        """As when the network is cut: it takes connections, and says nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """It is gone, and with it all that it held."""
        self.process.kill()
        self.process.wait()

    def put(self, key: str, content: bytes) -> str:
        httpx.put(f"{self.origin}/{self.name}/{quote(key)}", content=content, headers=SIGNED).raise_for_status()
        return f"s3://{self.name}/{key}"

    def put_folder(self, folder: Path, prefix: str) -> str:
        """Copy all files below a folder. Returns the URL of the copy."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder)}", path.read_bytes())
        return f"s3://{self.name}/{prefix}"

    def remove(self, key: str) -> None:
        httpx.delete(f"{self.origin}/{self.name}/{quote(key)}", headers=SIGNED).raise_for_status()


@contextmanager
def started() -> Iterator[Buckets]:
    """A store that ends with the context."""
    pytest.importorskip("moto", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed (extra stores)")
    with TemporaryDirectory(prefix="tests-s3-") as folder:
        some = Buckets(Path(folder) / "log")
        try:
            yield some
        finally:
            some.stop()


@pytest.fixture(scope="module")
def buckets() -> Iterator[Buckets]:
    with started() as some:
        yield some
