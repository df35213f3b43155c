"""The recipes of the README, one a scale: a folder, a server, a cluster. Its lines run, and the three answer alike."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import clusters, stores
from tests.conftest import write_shapes
from tests.servers import Server
from tests.serving import wait_for
from tests.test_site import free_ports

pytest.importorskip("ray.data", reason="Ray is not installed (extra cluster)")
pytest.importorskip("fastapi", reason="latent serve needs the extra web")
pytestmark = pytest.mark.alone

README = Path(__file__).parents[1] / "README.md"
PICTURES, PORT = 30, "8765"
Hit = tuple[str, float]  # the path below the root, and the distance


def recipes() -> dict[str, list[str]]:
    """The lines of each recipe, by its name."""
    text = README.read_text(encoding="utf-8").partition("## From a laptop to a cluster\n")[2].partition("\n## ")[0]
    found = re.findall(r"\*\*(A \w+)\*\*.*?```bash\n(.*?)```", text, flags=re.DOTALL)
    return {name: block.splitlines() for name, block in found}


@dataclass
class Place:
    """Where the lines run: ``instead`` holds what stands in place of the README's addresses and paths."""

    folder: Path
    environment: dict[str, str]
    instead: dict[str, str]
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, line: str, more: str = "") -> str:
        """Run a line in a shell, and return what it prints; one that ends with & goes on."""
        for written, here in self.instead.items():
            line = line.replace(written, here)
        if line.endswith("&"):
            self._serve(line.removesuffix("&"))
            return ""
        done = subprocess.run(
            ["bash", "-c", f"{line} {more}"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0 and "Traceback" not in done.stderr, f"{line}\n{done.stdout}\n{done.stderr}"
        assert stores.SECRET not in done.stdout + done.stderr
        return done.stdout

    def _serve(self, line: str) -> None:
        began = subprocess.Popen(
            ["bash", "-c", f"exec {line} --port {self.instead[PORT]}"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.servers.append(began)
        wait_for(began, self.instead[PORT])

    def hits(self, line: str) -> list[Hit]:
        """The hits of a query: their paths below the root, and their whole distances."""
        told = [json.loads(one) for one in self.run(line, "--format jsonl").splitlines()]
        return [(one["path"].partition("shapes/")[2], one["distance"]) for one in told]


@pytest.fixture
def place(tmp_path: Path, server: Server) -> Iterator[Place]:
    """A home with pictures, which are also in a bucket; PostgreSQL; a store; a cluster of two nodes that reach it."""
    write_shapes(tmp_path / "Pictures" / "shapes", PICTURES)
    (tmp_path / "Pictures" / "shapes" / "cut.png").write_bytes(
        (tmp_path / "Pictures" / "shapes" / "shape-0-001.png").read_bytes()[:500]
    )
    write_shapes(tmp_path, 1, seed=7)
    (tmp_path / "shape-7-000.png").rename(tmp_path / "face.jpg")  # content counts, not the suffix
    with ExitStack() as held:
        buckets = held.enter_context(stores.started())
        url = buckets.put_folder(tmp_path / "Pictures", "photos")
        nodes = held.enter_context(clusters.started(2, **buckets.environment))
        (port,) = free_ports(1)
        path = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
        own = {"HOME": str(tmp_path), "PATH": path, "XDG_CACHE_HOME": str(tmp_path / "caches"), "BROWSER": "true"}
        unset = ("LATENT_INDEX", "LATENT_TOKEN", "LATENT_TOKENS")
        environment = {name: value for name, value in os.environ.items() if name not in unset}
        instead = {
            "postgresql://me@db.example/photos": f"'{server.new()}'",
            "postgresql://me@db.example/album": f"'{server.new()}'",
            "s3://bucket/photos": url,
            "/mnt/photos": str(tmp_path / "Pictures"),
            "10.0.0.1:6379": nodes.address,
            PORT: port,
        }
        one = Place(tmp_path, environment | clusters.QUIET | buckets.environment | own, instead)
        held.callback(lambda: [(each.kill(), each.wait()) for each in one.servers])
        yield one


def test_the_recipes_run_and_answer_alike(place: Place) -> None:
    found = recipes()
    assert list(found) == ["A folder", "A server", "A cluster"]
    answers: list[list[Hit]] = []
    for lines in found.values():
        for line in lines:
            said = place.run(line)
            if " query " in line:
                assert "shape-0-" in said
                answers.append(place.hits(line))
            if " build " in line:
                assert f"added {PICTURES} " in said and "skipped 1\n" in said
            if " update " in line:
                assert f"unchanged {PICTURES} " in said
    folder, server, cluster = answers
    assert len(folder) == 10 and folder == server == cluster
