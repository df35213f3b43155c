"""A larger site: the commands of docs/scale.md, on a real PostgreSQL, with real servers."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from index.errors import IndexMismatch, IndexUnreachable
from retrieval import Searcher
from tests.conftest import write_shapes
from tests.servers import Server
from tests.serving import wait_for

pytest.importorskip("fastapi", reason="latent serve needs the extra web")

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
PORTS = ("8701", "8702", "8703")


def lines_of_the_page() -> list[str]:
    section = PAGE.read_text(encoding="utf-8").partition("## PostgreSQL and three `latent serve`\n")[2]
    (block, *_) = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    return block.splitlines()


def free_ports(count: int) -> list[str]:
    bound = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(one.getsockname()[1]) for one in bound]
    for one in bound:
        one.close()
    return ports


class Site:
    """The folder in which the lines run, and the servers that they start, by port."""

    def __init__(self, folder: Path, index: str) -> None:
        self.folder, self.ports = folder, dict(zip(PORTS, free_ports(3), strict=True))
        self.servers: dict[str, subprocess.Popen[bytes]] = {}
        path = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
        self.environment = {**os.environ, "INDEX": index, "PATH": path, "BROWSER": "true"}

    def run(self, line: str) -> str:
        """Run a line in a shell; one that ends with & goes on, until its port answers."""
        for written, port in self.ports.items():
            line = line.replace(written, port)
        plain = line.removesuffix("&").strip()
        began = subprocess.Popen(
            ["bash", "-c", f"exec {plain}" if line != plain else plain],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if line == plain else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if line == plain else subprocess.DEVNULL,
        )
        if line == plain:
            told = began.communicate(timeout=120)[0].decode()
            assert began.returncode == 0, f"{line}\n{told}"
            return told
        self.servers[port := line.split("--port ")[1].split()[0]] = began
        wait_for(began, port)
        return ""

    def names(self, port: str, asked: Path) -> list[str]:
        """The names of the ten hits that a server gives."""
        with Searcher.open(f"http://127.0.0.1:{port}", timeout_s=60) as searcher:
            return [hit.path.rpartition("/")[2] for hit in searcher.query(asked, 10)]


@pytest.fixture
def site(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    for name in ("LATENT_TOKEN", "LATENT_TOKENS", "LATENT_INDEX"):
        monkeypatch.delenv(name, raising=False)
    write_shapes(tmp_path / "Pictures", 14)
    write_shapes(tmp_path, 1, seed=3)
    (tmp_path / "shape-3-000.png").rename(tmp_path / "face.jpg")  # content counts, not the suffix
    with ending(Site(tmp_path, server.new())) as site:
        yield site


@contextmanager
def ending(site: Site) -> Iterator[Site]:
    try:
        yield site
    finally:
        for one in site.servers.values():
            one.kill()
            one.wait()


def test_the_commands_of_the_page_serve_one_index_by_three_servers(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    *lines, update = lines_of_the_page()
    assert len(lines) == 6 and update.startswith("latent index update")
    said = [site.run(line) for line in lines]
    first, second, third = site.ports.values()
    assert f"http://127.0.0.1:{second}/shape-0-" in said[-1]
    monkeypatch.setenv("LATENT_TOKEN", (site.folder / "token").read_text().strip())
    face = site.folder / "face.jpg"
    names = site.names(first, face)
    assert len(names) == 10 and names == site.names(second, face) == site.names(third, face)
    with pytest.raises(IndexMismatch, match="are one index"):
        Searcher.open([f"http://127.0.0.1:{port}" for port in (first, second)])

    site.servers[second].kill()
    site.servers[second].wait()
    with pytest.raises(IndexUnreachable, match=f"{second} does not answer"):
        site.names(second, face)
    assert site.names(first, face) == site.names(third, face) == names

    (site.folder / "Pictures" / "new.png").write_bytes(face.read_bytes())
    site.run(update)
    for port in (first, third):
        assert site.names(port, face)[0] == "new.png"
