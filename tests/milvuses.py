"""A real Milvus for the tests, in a network of its own; and Milvus Lite, which needs no server."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Milvus:
    """A server in a folder of its own, reached by a Unix socket there."""

    def __init__(self, folder: Path) -> None:
        self.address = f"milvus+unix://{folder}/socket"
        command = [sys.executable, "-m", "tests.milvus_alone", str(folder)]
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        if not said:
            self.process.wait(20)
            pytest.skip(f"no Milvus runs here: {(folder / 'log').read_text().strip().splitlines()[-1:]}")
        self.pid = int(said)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It takes connections, and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture(scope="session")
def milvus() -> Iterator[Milvus]:
    """The server of this session. Where it is not installed, the tests that need it are skipped."""
    pytest.importorskip("pymilvus", reason="the driver of Milvus is not installed (extra milvus)")
    if importlib.util.find_spec("milvus") is None:
        pytest.skip("no Milvus is installed (package milvus, Linux on x86-64)")
    folder = Path(tempfile.mkdtemp(prefix="tests-milvus-"))
    try:
        one = Milvus(folder)
        try:
            yield one
        finally:
            one.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def lite(tmp_path: Path) -> str:
    """The address of a Milvus Lite, which this process runs and which no other may open meanwhile."""
    pytest.importorskip("pymilvus", reason="the driver of Milvus is not installed (extra milvus)")
    pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed (package milvus-lite)")
    return f"milvus://{tmp_path}/vectors.db"
