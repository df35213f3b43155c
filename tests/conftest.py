"""What the tests share: drawn pictures, a small model of their own, and the real program."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw

import cli.main

pytest_plugins = ["tests.milvuses", "tests.servers"]
pytest.register_assert_rewrite("tests.browsing")
os.environ["LATENT_DATA"] = tempfile.mkdtemp(prefix="tests-of-latent-")  # the user's own key and notes stay as they are
atexit.register(shutil.rmtree, os.environ["LATENT_DATA"], ignore_errors=True)

signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in the background

ROWS_AT_ONCE = 5000
SHAPES = ("disc", "square", "triangle", "cross")


def draw_shape(kind: str, rng: np.random.Generator, side: int = 32) -> Image.Image:
    """A bright shape of random place, size and colour on a dark noisy ground."""
    ground = rng.integers(0, 60, (side, side, 3), np.uint8)
    image = Image.fromarray(ground)
    pen = ImageDraw.Draw(image)
    radius = side * rng.uniform(0.22, 0.34)
    x, y = rng.uniform(0.4 * side, 0.6 * side, 2)
    colour = tuple(int(value) for value in rng.integers(130, 256, 3))
    box = (x - radius, y - radius, x + radius, y + radius)
    if kind == "disc":
        pen.ellipse(box, fill=colour)
    elif kind == "square":
        pen.rectangle(box, fill=colour)
    elif kind == "triangle":
        pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=colour)
    else:
        pen.line((x - radius, y, x + radius, y), fill=colour, width=max(2, side // 8))
        pen.line((x, y - radius, x, y + radius), fill=colour, width=max(2, side // 8))
    return image


def draw_shapes(count: int, seed: int = 0, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (n, side, side, 3) and the kind of each (n,)."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(count) % len(SHAPES)
    return np.stack([np.asarray(draw_shape(SHAPES[kind], rng, side)) for kind in kinds]), kinds


@pytest.fixture
def shape_folder(tmp_path: Path) -> Path:
    """24 drawn pictures as PNG, in a folder and one inside it."""
    folder = tmp_path / "photos"
    write_shapes(folder, 16)
    write_shapes(folder / "inner", 8, seed=1)
    return folder


def write_shapes(folder: Path, count: int, seed: int = 0, side: int = 64) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(draw_shapes(count, seed, side)[0]):
        Image.fromarray(pixels).save(folder / f"shape-{seed}-{number:03d}.png")


def add_codes(index: Path, count: int, seed: int = 0) -> None:
    """Add rows with random codes to an index, as if so many pictures had been indexed: there are no such files."""
    from index.opening import write_index
    from index.records import Change, Row

    rng = np.random.default_rng(seed)
    with write_index(index) as writer:
        dim, (root, *_) = writer.rows.meta().latent_dim, writer.rows.roots()
        for start in range(0, count, ROWS_AT_ONCE):
            numbers = range(start, min(count, start + ROWS_AT_ONCE))
            codes = rng.standard_normal((len(numbers), dim), dtype=np.float32)
            codes += 1.5 * rng.standard_normal((12, dim), dtype=np.float32)[np.array(numbers) % 12]  # some groups
            codes = (codes - codes.mean(1, keepdims=True)) / codes.std(1, keepdims=True)
            looks = zip(rng.normal(0, 1, len(codes)), rng.lognormal(0, 0.2, len(codes)), strict=True)
            rows = (
                Row(root, b"%03d/%06d.jpg" % (n % 40, n), 9, 10**18 + 10**12 * n, "found", b"%016d" % n, 64, 64, *look)
                for n, look in zip(numbers, looks, strict=True)
            )
            writer.rows.apply([Change(row, code) for row, code in zip(rows, codes, strict=True)])


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained O-GAN of 32 px and 16 numbers, exported: a second model, quick to run."""
    return make_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


def make_bundle(folder: Path) -> Path:
    import torch

    from train import checkpoint
    from train.data import CachedPictures
    from train.export import export
    from train.recipe import Recipe

    recipe = Recipe(image_size=32, latent_dim=16, width=8, max_width=32, batch_size=16)
    cpu = torch.device("cpu")
    state = checkpoint.new_state(recipe, cpu, "float32")
    export(state, CachedPictures(draw_shapes(64)[0]), folder, {"name": "tiny"}, cpu)
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch on one thread: the machine is shared."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def obey_permissions() -> None:
    """Root may write anywhere; without these two capabilities it is bound by a folder's mode like everybody."""
    if os.geteuid() == 0:
        drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (dac_override, dac_read_search):
            if libc.prctl(drop_from_bounding_set, capability, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "capability cannot be dropped")


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def latent(tmp_path: Path) -> Run:
    """Run the real program in ``tmp_path``: ``latent("query", "a.jpg", code=1)`` asserts its exit code."""

    def run(*words: object, code: int = 0, cwd: Path | None = None, **more: object) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("latent")), *map(os.fspath, map(_word, words))]
        environment = {key: value for key, value in os.environ.items() if key != "LATENT_INDEX"}
        done = subprocess.run(
            command,
            cwd=cwd or tmp_path,
            capture_output=True,
            check=False,
            timeout=300,
            **{"env": environment, "text": True, "errors": "surrogateescape", "stdin": subprocess.DEVNULL, **more},  # type: ignore[arg-type]
        )
        assert done.returncode == code, f"{command} -> {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture
def latent_here(tmp_path: Path) -> Run:
    """As ``latent``, in this process, which has imported torch: some seconds less for each command."""

    def run(*words: object, code: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [os.fspath(_word(word)) for word in words]
        with contextlib.chdir(cwd or tmp_path):
            done = CliRunner(env={"LATENT_INDEX": None}).invoke(cli.main.latent, command, prog_name="latent")
        assert done.exit_code == code, f"{command} -> {done.exit_code}\n{done.output}\n{done.exc_info}"
        return subprocess.CompletedProcess(command, code, done.stdout, done.stderr)

    return run


def _word(word: object) -> str | os.PathLike[str]:
    return word if isinstance(word, str | os.PathLike) else str(word)


def without_facts(database: sqlite3.Connection) -> None:
    """Take from a catalog what schemas 4 and 5 brought."""
    database.execute("drop table facts")
    for column in ("size_bytes", "mtime_ns", "width_px"):
        database.execute(f"drop index ix_pictures_{column}")
    database.execute("alter table pictures drop column unfamiliarity")
