"""A cluster of Ray on this machine, of real nodes, for the tests."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from retrieval.ingest.joining import HERE_ALONE, QUIET


class Nodes:
    """A cluster of nodes on this machine, of one CPU each."""

    def __init__(self, count: int = 3) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from ray.cluster_utils import Cluster
        words = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_log_monitor": False}
        words |= {"node_ip_address": "127.0.0.1", "include_dashboard": False}
        self.cluster: Any = Cluster()
        _, *self.others = [self._added(words) for _ in range(count)]
        self.address = str(self.cluster.address)

    def _added(self, words: dict[str, Any]) -> Any:
        """A new node. Ray waits half a minute for its processes, which is too short for a busy machine."""
        for _ in range(3):
            try:
                return self.cluster.add_node(**words)
            except Exception as error:
                if "timed out" not in str(error):
                    raise
        raise TimeoutError("no node starts")

    def kill_a_busy_one(self) -> None:
        """As when a machine dies: a node that encodes, and is not the head."""
        raylets = [node.all_processes["raylet"][0].process.pid for node in self.others]
        busy = [one for one in raylets if any("MapWorker" in name for name in children(one))]
        assert busy, "no other node encodes"
        os.kill(busy[0], signal.SIGKILL)


def children(parent: int) -> list[str]:
    """The command lines of the processes that this one has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append((folder / "cmdline").read_text())
        except OSError:  # it has ended
            continue
    return found


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with started() as some:
        yield some


@contextmanager
def started(count: int = 3, **environment: str) -> Iterator[Nodes]:
    """Nodes with this environment, which end with the context."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (QUIET | HERE_ALONE | environment).items():
            patched.setenv(name, value)
        some = Nodes(count)
        try:
            yield some
        finally:
            some.cluster.shutdown()
