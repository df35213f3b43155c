"""Join a cluster of Ray, or start one on this machine. Ray is imported here alone, and only when it is asked for.

The words for a cluster are Ray's own: ``HOST:PORT`` is the address of a head, as ``ray start --address`` takes it.
``ray`` starts Ray on this machine: bound to loopback, without its dashboard, and with a token that nobody else has,
since whoever reaches a cluster of Ray can run programs in it.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from retrieval.errors import ClusterError, MissingExtra, pip_line
from retrieval.pictures.workers import cores

HERE = "ray"
HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")
STORE_BYTES = 256 << 20  # of Ray's store of objects: outcomes of a batch take 0.3 MB
CONNECT_S, PROBE_S = 5, 30
ROOM = 24  # characters of a folder for temporary files: paths of sockets have few, and Ray takes most of them
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would tell the makers of Ray
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_LOG_LEVEL": "ERROR",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what it would print of its processes on standard output
}
HERE_ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else addresses of this machine that are not loopback
    "RAY_prestart_worker_first_driver": "0",  # processes that no actor uses
    "RAY_enable_worker_prestart": "0",
    "RAY_worker_niceness": "0",  # as the processes of a build without Ray
}
MODE, TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
SOON = {"RAY_gcs_rpc_server_connect_timeout_s": "5", "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}


def checked_cluster(on: str) -> str:
    """``on``, if it names a cluster: ``ray``, or the ``HOST:PORT`` of a head.

    Raises:
        ValueError: it does not.
    """
    if on == HERE:
        return on
    if on.startswith("ray://"):
        raise ValueError(
            "ray:// is an address of Ray Client, which is not used here; run this on a machine of the cluster, and "
            "give the HOST:PORT of its head, to which the other machines of the cluster were joined"
        )
    words = HOST_AND_PORT.fullmatch(on)
    if words is None or not 0 < int(words[2]) < 1 << 16:
        raise ValueError(f"{on!r} is no cluster: give ray, for this machine, or the HOST:PORT of a head of Ray")
    return on


def check_cluster(on: str) -> None:
    """Check that Ray is installed, and that a head answers at ``on``. This takes some seconds.

    Raises:
        ValueError: ``on`` names no cluster.
        MissingExtra: Ray is not installed.
        ClusterError: no head answers.
    """
    if not _ray(checked_cluster(on)).is_initialized() and on != HERE:
        _check_connects(on)
        _check_answers(on)


def _ray(on: str) -> Any:
    """The module ray. It reads its environment when it is imported, so that is set before."""
    words = QUIET if on != HERE else QUIET | HERE_ALONE
    for name, value in words.items():
        os.environ.setdefault(name, value)
    if on == HERE and "ray" not in sys.modules and MODE not in os.environ:
        os.environ.update({MODE: "token", TOKEN: secrets.token_hex(32)})
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtra(f"work on a cluster needs Ray: {pip_line('cluster')}") from error
    return ray


def _check_connects(on: str) -> None:
    host, port = on.rsplit(":", 1)
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError as error:
        raise ClusterError(f"no head of Ray answers at {on}: {error.strerror or error}") from error


def _check_answers(on: str) -> None:
    """Ask in another process: Ray ends the one that waits in vain."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    try:
        asked = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PROBE_S,
            check=False,
            env={**os.environ, **SOON, "RAY_ADDRESS": on},
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"what answers at {on} is no head of Ray, or it is too busy") from error
    if asked.returncode == 0:
        return
    if "Unauthenticated" in asked.stderr:
        raise ClusterError(f"the head of Ray at {on} asks for a token: see RAY_AUTH_MODE in Ray's documentation")
    if "version" in asked.stderr.lower():
        raise ClusterError(f"the cluster at {on} runs another version of Ray: {_last_line(asked.stderr)}")
    raise ClusterError(f"what answers at {on} is no head of Ray")


@contextmanager
def joined(on: str, cpus: int | None = None) -> Iterator[Any]:
    """The module ray, connected to the cluster ``on``; ``cpus`` of this machine take part if it is started here.

    If the caller's own program is connected already, that connection serves, and stays.

    Raises:
        ClusterError: there is no such cluster, or this machine is not part of it.
    """
    ray = _ray(on)
    if ray.is_initialized():
        yield ray
        return
    with _started(ray, cpus or cores()) if on == HERE else _connected(ray, on):
        try:
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _started(ray: Any, cpus: int) -> Iterator[None]:
    if os.environ.get(MODE) != "token":
        raise ClusterError(
            "Ray was imported by this program before, without a token that would keep others out; connect it as you "
            "like (ray.init), and that connection is used"
        )
    place = None if len(gettempdir()) <= ROOM else "/tmp"
    with TemporaryDirectory(prefix="latent-ray-", dir=place, ignore_cleanup_errors=True) as folder:
        _init(
            ray,
            "Ray cannot be started on this machine",
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
        )
        yield


@contextmanager
def _connected(ray: Any, on: str) -> Iterator[None]:
    _init(ray, f"Ray at {on} cannot be joined; this machine must be part of it", address=on)
    yield


def _init(ray: Any, refused: str, **words: Any) -> None:
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **words)
    except Exception as error:  # some are of no kind of their own
        ray.shutdown()
        raise ClusterError(f"{refused}: {_last_line(str(error))}") from error


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "for no reason that it told"
