"""Worker processes: which copy of the package they run, what they are told, and how much of it."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xxhash
from PIL import Image

import retrieval
from retrieval import LatentError
from retrieval.pictures.worker_process import Hashes
from retrieval.pictures.workers import CHUNK, CHUNKS_AHEAD, Decoded, DecoderPool, Task, decode

SIZE_PX = 32
PACKAGES = Path(retrieval.__file__).parents[1]

# Which copy of the package. In each copy a worker leaves a note of the file that it runs.

NOTE = """
with open(os.environ["NOTE"], "a") as _note:
    print(__file__, file=_note)
"""
PROGRAM = """
import os, sys
{before}
from retrieval.pictures.workers import DecoderPool, Task
{after}
with DecoderPool(32, workers=1) as pool:
    (decoded,) = pool.map([Task(os.devnull)])
import retrieval
print(os.path.dirname(retrieval.__file__), decoded.reason, sep=chr(10))
"""


def copy_of_the_package(folder: Path) -> Path:
    for name in ("retrieval", "index"):
        shutil.copytree(PACKAGES / name, folder / name, ignore=shutil.ignore_patterns("bundles", "__pycache__"))
    with open(folder / "retrieval" / "pictures" / "worker_process.py", "a") as code:
        code.write(NOTE)
    return folder


@dataclass(frozen=True)
class Places:
    """Two copies, and a folder without one."""

    one: Path
    other: Path
    empty: Path


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    folder = tmp_path_factory.mktemp("copies").resolve()
    for name in ("one", "other", "empty"):
        (folder / name).mkdir()
    return Places(copy_of_the_package(folder / "one"), copy_of_the_package(folder / "other"), folder / "empty")


def copies_that_run(
    cwd: Path, note: Path, before: str = "", after: str = "", python_path: Path | None = None, typed: bool = False
) -> tuple[Path, Path]:
    """The copy that a program runs which is started in ``cwd`` by ``python -c``, or typed, and its worker's copy."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"NOTE": str(note)}
    if python_path is not None:
        environment["PYTHONPATH"] = str(python_path)
    text = PROGRAM.format(before=before, after=after)
    done = subprocess.run(
        [sys.executable] if typed else [sys.executable, "-c", text],
        input=text if typed else "",
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    parent, reason = done.stdout.splitlines()
    assert reason == "not a regular file"
    (worker,) = note.read_text().splitlines()  # one was started, and it ran a copy that leaves a note
    return Path(parent).resolve().parent, Path(worker).resolve().parents[2]


def test_a_checkout_that_lies_in_the_current_folder(places: Places, tmp_path: Path) -> None:
    for number, typed in enumerate((False, True)):
        for python_path in (None, places.other):
            note = tmp_path / f"{number} {python_path is None}"
            ran = copies_that_run(places.one, note, python_path=python_path, typed=typed)
            assert ran == (places.one, places.one)


@pytest.mark.parametrize("then", ["empty", "other"])
def test_the_current_folder_may_change(places: Places, tmp_path: Path, then: str) -> None:
    after = f"os.chdir({str(getattr(places, then))!r})"
    assert copies_that_run(places.one, tmp_path / "note", after=after) == (places.one, places.one)


def test_a_relative_place_in_the_path(places: Places, tmp_path: Path) -> None:
    before = "sys.path.insert(0, os.path.join(os.pardir, 'one'))"
    after = f"os.chdir({str(tmp_path)!r})"
    assert copies_that_run(places.empty, tmp_path / "note", before, after) == (places.one, places.one)


def test_the_path_may_change(places: Places, tmp_path: Path) -> None:
    ran = copies_that_run(places.one, tmp_path / "note", after=f"sys.path.insert(0, {str(places.other)!r})")
    assert ran == (places.one, places.one)


def test_what_lies_beside_an_installed_package_hides_nothing(places: Places, tmp_path: Path) -> None:
    """Installed packages come after the standard library, of which some lie beside them in other versions."""
    installed = copy_of_the_package(tmp_path.resolve() / "installed")
    (installed / "bisect.py").write_text("raise ImportError('not this one')")
    before = f"sys.path.append({str(installed)!r})"
    assert copies_that_run(places.empty, tmp_path / "note", before) == (installed, installed)


def test_settings_are_numbers_and_never_a_program(tmp_path: Path) -> None:
    """The size comes from a model's description, which anyone may have written."""
    hole = tmp_path / "hole"
    size = f"32, 30.0) if open({str(hole)!r}, 'w') else (0"
    with DecoderPool(size, workers=1) as pool, pytest.raises(ValueError, match="invalid literal"):  # type: ignore[arg-type]
        list(pool.map([Task(os.devnull)]))
    assert not hole.exists()


def test_a_worker_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with DecoderPool(SIZE_PX, workers=1) as pool, pytest.raises(LatentError, match="could not start"):
        list(pool.map([Task(os.devnull)]))


def test_the_pool_runs_ahead_so_far_and_no_farther() -> None:
    """A list of tasks may be longer than memory holds: this one has no end."""
    taken = itertools.count()
    with DecoderPool(SIZE_PX, workers=7) as pool:
        next(pool.map(Task(os.devnull) for _ in taken))
        assert next(taken) == CHUNK * CHUNKS_AHEAD


# Known contents


def drawn(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.fromarray(np.full((SIZE_PX, SIZE_PX, 3), 3 * number, np.uint8)).save(path)
    return paths


def hash_at(path: Path) -> bytes:
    return xxhash.xxh3_128(path.read_bytes()).digest()


def check(decoded: Decoded, path: Path, known: bool) -> None:
    assert (decoded.task.path, decoded.reason, decoded.content_hash) == (str(path), None, hash_at(path))
    assert (decoded.pixels is None) == known


def many_hashes(count: int) -> set[bytes]:
    data = np.random.default_rng(0).bytes(16 * count)
    return {data[start : start + 16] for start in range(0, len(data), 16)}


def test_a_relative_path_is_one_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after the caller went elsewhere, where another picture has that name, and where none has."""
    colours = dict(zip("abc", np.random.default_rng().permutation(256)[:3], strict=True))
    for folder, colour in colours.items():
        (tmp_path / folder).mkdir()
        Image.new("L", (SIZE_PX, SIZE_PX), int(colour)).save(tmp_path / folder / "same.png")
    with DecoderPool(SIZE_PX, workers=1) as pool:
        for folder, colour in colours.items():
            monkeypatch.chdir(tmp_path / folder)
            for path in ("same.png", os.path.join(os.pardir, folder, "same.png")):
                (decoded,) = pool.map([Task(path)])
                assert decoded.task.path == path and decoded.pixels is not None and (decoded.pixels == colour).all()
        monkeypatch.chdir(tmp_path)
        (decoded,) = pool.map([Task("same.png")])
        assert decoded.reason is not None and "No such file" in decoded.reason


def test_what_is_known_is_not_decoded_unless_it_must_be(tmp_path: Path) -> None:
    paths = drawn(tmp_path, 40)
    known = many_hashes(1000) | {hash_at(path) for path in paths[::3]}
    tasks = [Task(str(path), force=number % 2 == 1) for number, path in enumerate(paths)]
    with DecoderPool(SIZE_PX, workers=2, known=known) as pool:
        results = list(pool.map(tasks))
    here = [decode(task, SIZE_PX, known) for task in tasks]
    for number, (path, there, same) in enumerate(zip(paths, results, here, strict=True)):
        for decoded in (there, same):
            check(decoded, path, known=number % 3 == 0 and number % 2 == 0)


def test_a_worker_that_follows_one_that_died_is_told_too(tmp_path: Path) -> None:
    paths = drawn(tmp_path, 2)
    with DecoderPool(SIZE_PX, workers=1, known={hash_at(paths[0])}) as pool:
        for killed in (False, True):
            if killed:
                (worker,) = pool._alive
                os.kill(worker.process.pid, signal.SIGKILL)
                worker.process.wait()
                (lost,) = pool.map([Task(str(paths[0]))])
                assert (lost.reason, lost.passing) == ("decoder died of SIGKILL", True)
            for path, decoded in zip(paths, pool.map(Task(str(path)) for path in paths), strict=True):
                check(decoded, path, known=path == paths[0])


@pytest.mark.skipif(not os.access("/proc/self/io", os.R_OK), reason="this system does not count what is written")
def test_known_hashes_are_sent_to_each_worker_once(tmp_path: Path) -> None:
    (path,), known, count = drawn(tmp_path, 1), many_hashes(100_000), 400
    before = bytes_written()
    with DecoderPool(SIZE_PX, workers=2, known=known | {hash_at(path)}) as pool:
        for decoded in pool.map([Task(str(path))] * count):
            check(decoded, path, known=True)
        sent = bytes_written() - before  # later what the workers wrote is counted too
    assert 16 * len(known) < sent < 2 * 16 * len(known) + count * (len(str(path)) + 100)


def bytes_written() -> int:
    """By this process until now, into pipes too."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["wchar"])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
def test_hashes_in_one_piece_are_a_set(count: int) -> None:
    some = many_hashes(2 * count + 1)
    inside = set(sorted(some)[1::2])
    hashes = Hashes(b"".join(sorted(inside)))
    assert len(inside) == count
    for one in some | {bytes(16), b"\xff" * 16}:
        assert (one in hashes) == (one in inside)
    assert None not in hashes and b"" not in hashes
