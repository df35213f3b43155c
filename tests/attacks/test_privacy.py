"""Nothing leaves, and nothing is left elsewhere: every command under strace, in an empty network of its own."""

from __future__ import annotations

import ast
import os
import pwd
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from index.errors import DISTRIBUTION
from tests.conftest import write_shapes

ROOT = Path(__file__).parent.parent.parent
PROGRAM = str(Path(sys.executable).with_name("latent"))
CALL = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+|\?)")
PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")
CHANGES = {
    *(
        "mkdir",
        "mkdirat",
        "mknod",
        "mknodat",
        "rename",
        "renameat",
        "renameat2",
        "link",
        "linkat",
        "symlink",
        "symlinkat",
    ),
    *("unlink", "unlinkat", "rmdir", "truncate", "chmod", "fchmodat", "chown", "lchown", "fchownat", "utime", "utimes"),
    *("utimensat", "setxattr", "lsetxattr", "creat"),
}
DEVICES = ("/dev/null", "/dev/tty", "/dev/pts/", "/proc/")
TRAIN = [
    "--preset",
    "slim-32",
    "--width",
    "8",
    "--steps",
    "4",
    "--batch",
    "8",
    "--device",
    "cpu",
    "--workers",
    "1",
]


@dataclass
class Traced:
    """What one command did: sockets, files that it changed, and files below a home that it read."""

    network: list[str] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)


def refused() -> str:
    """Why processes cannot be traced here; "" if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"processes may not be traced here: {done.stderr.strip()}"


def alone() -> list[str]:
    """The command that starts another one in a network of its own, as far as this machine allows it."""
    for words in (["unshare", "-rn"], ["unshare", "-n"]):
        if (
            shutil.which("unshare")
            and subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
        ):
            return [*words, "--"]
    return []


@dataclass(frozen=True)
class Place:
    """The folders of a traced program: its home, its data, its temporary files, and those that it is given."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ
        }
        own = {"HOME": "home", "TMPDIR": "tmp", "LATENT_DATA": "data"}
        return kept | {name: str(self.folder / own[name]) for name in own} | {"PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, words: Sequence[str], name: str) -> Traced:
        traces = self.folder / "traces" / name
        traces.mkdir(parents=True)
        strace = ["strace", "-ff", "--seccomp-bpf", "-qq", "-y", "-s", "4096", "-e", "trace=%network,%file"]
        command = [*alone(), *strace, "-o", str(traces / "of"), *words]
        work = self.folder / "work"
        done = subprocess.run(
            command, cwd=work, env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        traced = Traced()
        for trace in sorted(traces.iterdir()):
            self._read(trace, traced)
        assert len(list(traces.iterdir())) > 0
        return traced

    def _read(self, trace: Path, traced: Traced) -> None:
        folder = str(self.folder / "work")
        for line in trace.read_text(errors="replace").splitlines():
            call = CALL.match(line)
            if not call:
                continue
            name, words, result = call.groups()
            if name in ("chdir",) and result == "0":
                folder = os.path.normpath(os.path.join(folder, PATH.search(words)[2]))  # type: ignore[index]
            self._note_network(name, words, line, traced)
            if result.startswith("-"):
                continue
            paths = [os.path.normpath(os.path.join(at or folder, path)) for at, path in PATH.findall(words)]
            if name in CHANGES or (name in ("open", "openat", "openat2") and WRITES.search(words)):
                traced.changed.update(path for path in paths if not self._is_named(path))
            elif name in ("open", "openat", "openat2", "execve"):
                traced.read.update(path for path in paths if self._is_private(path))

    def _note_network(self, name: str, words: str, line: str, traced: Traced) -> None:
        local = words.startswith(("AF_UNIX", "AF_LOCAL")) or "sun_path" in words or name == "socketpair"
        asks = name in ("socket", "connect", "bind", "sendto", "sendmsg", "sendmmsg", "listen", "accept", "accept4")
        if asks and not local:
            traced.network.append(line)

    def _is_named(self, path: str) -> bool:
        own = [self.folder / one for one in ("work", "tmp", "data")]
        return path.startswith(DEVICES) or any(Path(path).is_relative_to(one) for one in own)

    def _is_private(self, path: str) -> bool:
        """Whether a path is in somebody's home, and is neither Python, a package, nor this program."""
        homes = [self.folder / "home", Path(pwd.getpwuid(os.getuid()).pw_dir)]
        python = [
            Path(one).resolve()
            for one in (sys.prefix, sys.base_prefix, ROOT, *os.environ.get("PYTHONPATH", "").split(":"))
            if one
        ]
        inside = any(Path(path).is_relative_to(one) for one in homes)
        return inside and os.path.isfile(path) and not any(Path(path).resolve().is_relative_to(one) for one in python)


STEPS: dict[str, list[str]] = {
    "build": ["index", "build", "photos", "--workers", "1"],
    "query": ["query", "photos/shape-0-001.png", "--html", "hits.html", "--sheet", "hits.png"],
    "decode": ["query", "photos/shape-0-001.png", "--decode", "decoded", "--explain", "--html", "why.html"],
    "sample": ["sample", "4", "-o", "samples"],
    "status": ["index", "status"],
    "verify": ["index", "verify", "--repair"],
    "map": ["map", "-o", "map.html"],
    "features": ["features", "-o", "codes.csv"],
    "show": ["show", "photos/shape-0-000.png"],
    "find copies": ["dedup", "find", "-o", "plan.json", "--html", "plan.html"],
    "move copies": ["dedup", "apply", "plan.json", "--action", "move", "--to", "aside", "--yes"],
    "undo": ["dedup", "undo", "plan.json.journal"],
    "train and export": ["train", "photos", "-o", "run", *TRAIN],
    "build with it": ["index", "build", "photos", "--index", "own.latent", "--model", "run/bundle"],
}


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Traced]]:
    if reason := refused():
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    place = Place(tmp_path_factory.mktemp("traced"))
    for name in ("home", "tmp", "data", "work"):
        (place.folder / name).mkdir()
    write_shapes(place.folder / "work" / "photos", 30)
    for number in range(3):
        shutil.copy(place.folder / "work/photos/shape-0-000.png", place.folder / f"work/photos/copy{number}.png")
    found = {name: place.run([PROGRAM, *words], name.replace(" ", "-")) for name, words in STEPS.items()}
    assert not list((place.folder / "home").iterdir())
    found["leaks"] = place.run([sys.executable, "-c", LEAKS], "leaks")
    found["telemetry"] = place.run([sys.executable, "-c", TELEMETRY], "telemetry")
    yield found


LEAKS = """
import pathlib, socket
(pathlib.Path.home() / "left-behind").write_text("x")
(pathlib.Path.home() / "left-behind").read_text()
try:
    socket.create_connection(("192.0.2.1", 443), timeout=0.1)
except OSError:
    pass
"""
TELEMETRY = f"""
import time
import onnxruntime
onnxruntime.InferenceSession({str(ROOT / "retrieval/bundles/photos-64/encoder.onnx")!r})
time.sleep(3)
"""


@pytest.mark.parametrize("step", STEPS)
def test_a_command_asks_nobody_and_leaves_nothing_elsewhere(traced: dict[str, Traced], step: str) -> None:
    did = traced[step]
    assert not did.network, did.network[:5]
    assert not did.changed and not did.read, sorted(did.changed | did.read)[:10]


def test_a_leak_would_have_been_seen(traced: dict[str, Traced]) -> None:
    leaks = traced["leaks"]
    assert any("192.0.2.1" in line for line in leaks.network)
    assert [os.path.basename(path) for path in (*leaks.changed, *leaks.read)] == ["left-behind"] * 2


def test_telemetry_would_have_been_seen(traced: dict[str, Traced]) -> None:
    """ONNX Runtime by itself: it keeps files below the home, or asks a host, where this program does not."""
    assert traced["telemetry"].network or traced["telemetry"].changed


def test_one_function_imports_onnx_runtime() -> None:
    """Whoever imports it elsewhere forgets to switch its telemetry off."""
    found = []
    for room in ("index", "retrieval", "train", "cli"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                found += [(path.name, name) for name in names if name.split(".")[0] == "onnxruntime"]
    assert sorted(found) == [("quantize.py", "onnxruntime.quantization"), ("sessions.py", "onnxruntime")]
    lines = (ROOT / "train" / "quantize.py").read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if "from onnxruntime" in line)
    assert lines[place - 1].strip().startswith("runtime()")


def test_the_variable_is_set_before_the_import() -> None:
    code = (
        "import os, sys\nfrom retrieval.models.sessions import runtime\nassert 'onnxruntime' not in sys.modules\n"
        "runtime()\nprint(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1 True\n"


# ---- the name of the package


def test_one_line_says_how_to_install(tmp_path: Path) -> None:
    """Nine messages named somebody else's package: whoever followed one ran a stranger's code."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"] == DISTRIBUTION != "latent"
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "Makefile", ROOT / ".ci" / "run"]
    for path in (
        *pages,
        *(one for room in ("index", "retrieval", "train", "cli") for one in (ROOT / room).rglob("*.py")),
    ):
        text = path.read_text()
        assert not re.search(r"(?<![\w.-])latent\[", text), path
        assert not re.search(r"pip3? install[^\n]*(?<![\w.-])latent(?![\w-])", text), path
        if path.suffix == ".py" and path.name != "errors.py":
            assert DISTRIBUTION not in text and not re.search(r"pip install '(?!\.)", text), path
