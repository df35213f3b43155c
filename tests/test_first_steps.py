"""The program as somebody meets it who has not read the documentation: typos, half commands, full disks, Ctrl-C."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Run, write_shapes

PROGRAM = str(Path(sys.executable).with_name("latent"))


@pytest.fixture
def indexed(tmp_path: Path, latent: Run) -> Path:
    """Ten pictures and their index in the current folder. Returns one of them."""
    write_shapes(tmp_path / "photos", 10)
    latent("index", "build", "photos")
    return tmp_path / "photos" / "shape-0-003.png"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("qurey a.jpg", "Did you mean 'query'?"),
        ("build photos", "Did you mean 'index build'?"),
        ("biuld photos", "Did you mean 'index build'?"),
        ("index biuld photos", "Did you mean 'build'?"),
        ("query a.jpg --fromat json", "Did you mean '--format'?"),
        ("index build photos --modle faces-64", "Did you mean '--model'?"),
    ],
)
def test_a_typo_is_answered_with_what_was_meant(latent: Run, tmp_path: Path, typed: str, meant: str) -> None:
    (tmp_path / "photos").mkdir()
    assert meant in latent(*typed.split(), code=2).stderr


def test_a_word_that_is_like_nothing_gets_no_guess(latent: Run) -> None:
    said = latent("xyzzy", code=2).stderr
    assert "No such command 'xyzzy'." in said and "Did you mean" not in said


@pytest.mark.parametrize("words", [["{}", "+"], ["+", "{}"], ["+"], ["{}", "+", "{}", "-"]])
def test_a_sum_that_lacks_a_picture_says_so(latent: Run, indexed: Path, words: list[str]) -> None:
    said = latent("query", *(word.format(indexed) for word in words), code=2).stderr
    assert "a picture is missing" in said and "a.jpg + b.jpg" in said


def test_a_dash_at_the_end_is_still_standard_input(latent: Run, indexed: Path) -> None:
    done = latent("query", indexed, "-", "-k", "1", "--format", "jsonl", stdin=None, input=f"{indexed}\n")
    assert len(done.stdout.splitlines()) == 2


def test_a_folder_is_no_query(latent: Run, indexed: Path) -> None:
    for words in (["query", "photos"], ["query", indexed, "+", "photos"], ["reconstruct", "photos", "-o", "out"]):
        said = latent(*words, code=2).stderr
        assert "photos is a folder" in said and "latent index build photos" in said and "find photos" in said
    assert "is a folder" in latent("interpolate", indexed, "photos", "-o", "x.png", code=2).stderr


def test_without_an_index_the_ways_out_are_named(latent: Run, tmp_path: Path) -> None:
    said = latent("query", "a.jpg", code=3).stderr
    assert "--index" in said and "LATENT_INDEX" in said and "latent index build" in said


def test_hits_whose_file_is_gone_say_so(latent: Run, indexed: Path, tmp_path: Path) -> None:
    before = json.loads(latent("query", indexed, "-k", "3", "--format", "json", "--copies", "show").stdout)
    first = before["queries"][0]["hits"][0]
    assert first["gone"] is False
    (tmp_path / first["path"]).unlink()
    shown = latent("query", indexed, "-k", "3", "--sheet", "hits.png", "--copies", "show")
    lines = [line for line in shown.stdout.splitlines() if line.endswith("(gone)")]
    assert len(lines) == 1 and first["path"] in lines[0]
    assert "gone since they were indexed: 1 hit" in shown.stderr and "latent index update" in shown.stderr
    after = json.loads(latent("query", indexed, "-k", "3", "--format", "json", "--copies", "show").stdout)
    assert [hit["gone"] for hit in after["queries"][0]["hits"]] == [True, False, False]
    page = latent("query", indexed, "-k", "3", "--html", "hits.html", "--copies", "show")
    assert "gone" in page.stderr and f"gone: {Path(first['path']).name}" in (tmp_path / "hits.html").read_text()


def no_room() -> None:
    """The size that no file may exceed, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))


@pytest.mark.parametrize(
    "words",
    [
        ["map", "-o", "out.html"],
        ["sample", "4", "-o", "made", "--sheet", "out.png"],
        ["features", "-o", "out.npz"],
        [
            "train",
            "photos",
            "-o",
            "out",
            "--steps",
            "2",
            "--size",
            "32",
            "--width",
            "8",
            "--batch",
            "4",
            "--device",
            "cpu",
        ],
    ],
    ids=lambda words: words[0],
)
def test_a_full_disk_names_the_file(latent: Run, indexed: Path, words: list[str]) -> None:
    """A write that fails at 8,000 bytes."""
    done = latent(*words, code=1, preexec_fn=no_room)
    assert "Traceback" not in done.stderr and "too large" in done.stderr
    assert any(name in done.stderr.splitlines()[-1] for name in ("out", "made")), done.stderr


def test_full_standard_output_is_named(latent: Run, indexed: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [PROGRAM, "query", indexed],
            cwd=indexed.parents[1],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1 and "No space left on device: standard output" in done.stderr


def test_a_second_undo_had_nothing_to_do(latent: Run, indexed: Path, tmp_path: Path) -> None:
    shutil.copyfile(indexed, tmp_path / "photos" / "again.png")
    latent("index", "update")
    latent("dedup", "find", "-o", "plan.json")
    latent("dedup", "apply", "plan.json", "--action", "move", "--to", "aside", "--yes")
    first = latent("dedup", "undo", "plan.json.journal")
    assert "back: 1 file; left: 0" in first.stdout and "index update" in first.stderr
    second = latent("dedup", "undo", "plan.json.journal")
    assert "back: 0 files; before: 1; left: 0" in second.stdout
    assert "Nothing was left to do" in second.stderr and "index update" not in second.stderr
    assert (tmp_path / "photos" / "again.png").exists()


def test_ctrl_c_promises_to_go_on_only_where_it_does(tmp_path: Path, indexed: Path) -> None:
    wait = tmp_path / "pipe"
    os.mkfifo(wait)
    process = subprocess.Popen([PROGRAM, "query", "-"], cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(2)  # it waits for paths
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Interrupted." in said
    assert b"continue" not in said and b"kept" not in said


def test_training_that_is_too_short_says_so(latent: Run, tmp_path: Path) -> None:
    write_shapes(tmp_path / "photos", 10)
    small = ["--size", "32", "--width", "8", "--batch", "4", "--device", "cpu"]
    for words in (["--dry-run"], []):
        said = latent("train", "photos", "-o", "run", "--steps", "2", *small, *words).stderr
        assert "2 steps are few" in said and "mean little" in said
    planned = latent("train", "photos", "-o", "run2", "--steps", "5000", *small, "--dry-run").stderr
    assert "mean little" not in planned
