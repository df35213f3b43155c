"""Files are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from index.atomic import ABANDONED_S, clear_abandoned
from retrieval.atomic import append, replacing, write

posix = pytest.mark.skipif(sys.platform == "win32", reason="links, masks and limits are others there")
ROOT = Path(__file__).parents[1]
LENGTH = 3_000_000


def started(code: str, *words: object, stdin: int | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from retrieval.atomic import replacing, write\nimport sys, time\n" + code]
    pipes = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*command, *map(str, words)], **pipes, cwd=ROOT)  # type: ignore[call-overload,no-any-return]


def is_whole(content: bytes) -> bool:
    return len(content) == LENGTH and content == content[:1] * LENGTH


def test_contents_are_written_as_they_are(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(70_000)
    write(tmp_path / "a", b"old")
    write(tmp_path / "a", data)
    write(str(tmp_path / "b"), "\u00fc\n\udcff")
    assert (tmp_path / "a").read_bytes() == data and (tmp_path / "b").read_bytes() == b"\xc3\xbc\n\xff"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_process_killed_while_it_writes_leaves_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    target.write_bytes(b"old")
    half = (
        "with replacing(sys.argv[1]) as part:\n part.write_bytes(b'half')\n print('half', flush=True)\n time.sleep(60)"
    )
    with started(half, target) as process:
        assert process.stdout is not None and process.stdout.readline() == b"half\n"
        process.kill()
    assert target.read_bytes() == b"old"
    (left,) = [path.name for path in tmp_path.iterdir() if path != target]
    assert re.fullmatch(r"plan\.json\.[0-9a-f]{16}\.part", left)
    write(target, b"new")
    assert target.read_bytes() == b"new"


def test_only_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    """Builders on a server keep their caches in one folder: one must not take the other's file from under it."""
    half = "with replacing(sys.argv[1]) as part:\n part.write_bytes(b'half')\n print('half', flush=True)\n input()"
    with started(half, tmp_path / "cache", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"half\n"
        names = {"cache.0.part", "cache.1.part", "another.0.part"}
        for name in names:
            (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / "cache.0.part", times=(0, time.time() - 1.1 * ABANDONED_S))
        (folder := tmp_path / "cache.2.part").mkdir()
        (folder / "model").write_bytes(b"half")
        os.utime(folder, times=(0, time.time() - 1.1 * ABANDONED_S))
        clear_abandoned(tmp_path, "cache.*")
        assert {path.name for path in tmp_path.iterdir()} > names - {"cache.0.part"}
        assert not (tmp_path / "cache.0.part").exists() and not folder.exists()
        process.communicate(b"\n")
    assert process.returncode == 0 and (tmp_path / "cache").read_bytes() == b"half"


def test_killed_at_any_moment_a_file_is_whole(tmp_path: Path) -> None:
    rng, target = np.random.default_rng(0), tmp_path / "file"
    write(target, b"0" * LENGTH)
    endless = (
        "print('on', flush=True)\nwhile True:\n for c in b'ab':\n  write(sys.argv[1], bytes([c]) * int(sys.argv[2]))"
    )
    seen = set()
    for delay_s in rng.uniform(0.02, 0.1, 8):
        with started(endless, target, LENGTH) as process:
            assert process.stdout is not None and process.stdout.readline() == b"on\n"
            time.sleep(delay_s)
            process.kill()
        assert is_whole(target.read_bytes())
        seen.add(target.read_bytes()[:1])
    assert seen - {b"0"}  # something was written indeed


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    for error in (RuntimeError("in the middle"), KeyboardInterrupt(), BrokenPipeError(32, "nobody reads")):
        with pytest.raises(type(error)) as raised, replacing(target) as part:
            part.write_bytes(b"half")
            raise error
        assert raised.value is error
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and target.read_bytes() == b"old"


def test_an_error_about_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised, replacing(tmp_path / "file"):
        (tmp_path / "source").read_bytes()
    assert raised.value.filename == str(tmp_path / "source") and not list(tmp_path.iterdir())


def test_an_error_of_the_folder_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        write(tmp_path / "nowhere" / "file", b"")
    assert raised.value.filename == str(tmp_path / "nowhere" / "file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError if sys.platform != "win32" else OSError, match="folder"):
        write(tmp_path / "folder", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_two_writers_at_once_end_with_one_whole_content(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write(target, b"0" * LENGTH)
    often = "for n in range(40):\n write(sys.argv[1], sys.argv[3].encode() * int(sys.argv[2]))"
    writers = [started(often, target, LENGTH, letter) for letter in "abc"]
    looks = []
    while any(process.poll() is None for process in writers):
        looks.append(target.read_bytes())
        assert is_whole(looks[-1])
        looks[-1] = looks[-1][:1]
    assert [process.communicate()[1] for process in writers] == [b""] * 3
    assert is_whole(target.read_bytes()) and target.read_bytes()[:1] in b"abc" and len(set(looks)) > 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@posix
def test_a_full_disk_leaves_the_old_file_and_names_it(tmp_path: Path) -> None:
    """The limit on a file's size fails in the midst of a write, as a full disk does."""
    target = tmp_path / "file"
    target.write_bytes(b"old")
    code = """
import os, resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write(sys.argv[1], b"x" * 1_000_000)
except OSError as error:
    print(error.filename == sys.argv[1], os.strerror(error.errno) == error.strerror)
"""
    out, errors = started(code, target).communicate()
    assert (out, errors) == (b"True True\n", b"")
    assert target.read_bytes() == b"old" and [path.name for path in tmp_path.iterdir()] == ["file"]


@posix
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o027])
def test_a_new_file_is_for_its_user_alone_and_a_replaced_one_keeps_its_mode(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write(tmp_path / "file", b"")
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
        for mode in (0o644, 0o660, 0o400):
            (tmp_path / "file").chmod(mode)
            write(tmp_path / "file", b"")
            assert (tmp_path / "file").stat().st_mode & 0o777 == mode
        (tmp_path / "link").symlink_to(tmp_path / "shared")
        (tmp_path / "shared").touch(0o666)
        write(tmp_path / "link", b"")
        assert (tmp_path / "link").lstat().st_mode & 0o777 == 0o600 and not (tmp_path / "link").is_symlink()
    finally:
        os.umask(before)


@posix
def test_nothing_is_written_through_a_link_that_was_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, target = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"precious")
    names = set()
    for _ in range(20):
        with replacing(target) as part:
            names.add(part.name)
    assert len(names) == 20  # nobody knows where to plant it; and if he guessed right:
    monkeypatch.setattr(secrets, "token_hex", lambda count: "0" * 2 * count)
    (tmp_path / f"file.{'0' * 16}.part").symlink_to(victim)
    with pytest.raises(FileExistsError) as raised:
        write(target, b"evil")
    assert raised.value.filename == str(target)
    assert victim.read_bytes() == b"precious" and target.read_bytes() == b""


@posix
def test_a_link_at_the_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"precious")
    (tmp_path / "file").symlink_to(tmp_path / "other")
    write(tmp_path / "file", b"new")
    assert not (tmp_path / "file").is_symlink() and (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "other").read_bytes() == b"precious"


@posix
def test_pipes_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    """As root could replace them, and a container's user is root."""
    os.mkfifo(tmp_path / "pipe")
    with started("write(sys.argv[1], b'through')", tmp_path / "pipe") as process:
        read = subprocess.run(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, timeout=30, check=True)
    assert (process.returncode, read.stdout) == (0, b"through") and (tmp_path / "pipe").is_fifo()
    (tmp_path / "nothing").symlink_to("/dev/null")
    write(tmp_path / "nothing", b"gone")
    assert (tmp_path / "nothing").is_symlink() and (tmp_path / "nothing").is_char_device()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="standard output has no name there")
def test_standard_output_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")  # as /dev/stdout, which a wrong writer would destroy
    words = [sys.executable, "-c", "import sys; from retrieval.atomic import write; write(sys.argv[1], 'out')"]
    with open(tmp_path / "redirected", "wb") as file:
        subprocess.run([*words, str(tmp_path / "stdout")], stdout=file, cwd=ROOT, check=True)
    assert (tmp_path / "redirected").read_bytes() == b"out" and (tmp_path / "stdout").is_symlink()


@posix
@pytest.mark.parametrize("name", ["n" * 255, "\u00fc" * 127, "\U0001f600" * 63, os.fsdecode(b"\xff" * 255)])
def test_names_as_long_as_they_may_be(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, b"there")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"there")]


@posix
def test_what_is_appended_goes_through_no_link(tmp_path: Path) -> None:
    append(tmp_path / "notes", "one\n")
    append(tmp_path / "notes", "zw\u00f6lf\n")
    assert (tmp_path / "notes").read_bytes() == b"one\nzw\xc3\xb6lf\n"
    assert (tmp_path / "notes").stat().st_mode & 0o777 == 0o600
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to("precious")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError, match=r"link|device"):
            append(tmp_path / name, "x")
    assert (tmp_path / "precious").read_text() == "precious"


def test_no_file_is_written_in_another_way() -> None:
    """Neither in place nor by a replacement made by hand, but for what moves a person's own files."""
    appending = r"""open\([^)]*["']a["']"""
    by_hand = re.compile(
        appending + r"|\.write_text\(|\.write_bytes\(|os\.replace\(|os\.rename\(|fromarray\(.*\)\.save\((?!buffer)"
    )
    sources = [path for room in ("retrieval", "cli", "train") for path in (ROOT / room).rglob("*.py")]
    found = {path.relative_to(ROOT).as_posix() for path in sources if by_hand.search(path.read_text(encoding="utf-8"))}
    assert len(sources) > 50 and found == {"retrieval/copies/held.py"}
