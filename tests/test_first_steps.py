"""The program as somebody meets it who has not read the documentation: typos, half commands, full disks, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
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
        ("index build photos --modle faces-64", "Did you mean one of: '--model', '--name'?"),
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


def cpu_time(process: int) -> int:
    """Hundredths of a second that a process has used."""
    return sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]))


def test_ctrl_c_promises_to_go_on_only_where_it_does(tmp_path: Path, indexed: Path) -> None:
    process = subprocess.Popen([PROGRAM, "query", "-"], cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    spent = -1
    while (now := cpu_time(process.pid)) != spent or now < 10:  # it starts; then it waits for paths
        spent = now
        time.sleep(0.5)
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


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's data of its own, and an empty current folder beside the pictures."""
    monkeypatch.setenv("LATENT_DATA", str(tmp_path / "data"))
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def test_pictures_that_lie_elsewhere_get_an_index_by_name(latent: Run, tmp_path: Path, own_data: Path) -> None:
    write_shapes(tmp_path / "Holidays", 6)
    picture = tmp_path / "Holidays" / "shape-0-003.png"
    assert "no index" in latent("query", picture, code=3, cwd=own_data).stderr
    built = latent("index", "build", tmp_path / "Holidays", cwd=own_data)
    assert "is called Holidays" in built.stderr and not list(own_data.iterdir())
    assert (tmp_path / "data" / "named" / "Holidays" / "catalog.db").exists()
    found = latent("query", picture, "-k", 2, "--format", "paths", cwd=own_data)
    assert len(found.stdout.splitlines()) == 2
    assert "there is no index here; using Holidays" in found.stderr
    assert "unchanged 6" in latent("index", "build", tmp_path / "Holidays", cwd=own_data).stdout  # the same again

    write_shapes(tmp_path / "other" / "Holidays", 4, seed=5)  # another folder of that name
    second = latent("index", "build", tmp_path / "other" / "Holidays", cwd=own_data)
    assert re.search(r"is called Holidays-[0-9a-f]{8}\.", second.stderr) and "4 pictures" in second.stdout
    assert "using Holidays-" in latent("index", "status", cwd=own_data).stderr  # the last one
    by_name = latent("index", "status", "--index", "Holidays", cwd=own_data)
    assert "Note" not in by_name.stderr and str(tmp_path / "Holidays") in by_name.stdout


def test_an_index_gets_the_name_that_is_asked_for(latent: Run, tmp_path: Path, own_data: Path) -> None:
    write_shapes(own_data / "photos", 4)
    latent("index", "build", "photos", "--name", "mine", cwd=own_data)
    assert not (own_data / ".latent").exists()
    assert "mine" in latent("index", "status", "--index", "mine", cwd=own_data).stdout
    for wrong in ("a/b", ".hidden", "", "x" * 300):
        assert (
            "no index can be called" in latent("index", "build", "photos", "--name", wrong, code=3, cwd=own_data).stderr
        )
    both = latent("index", "build", "photos", "--name", "a", "--index", "b", code=2, cwd=own_data)
    assert "exclude each other" in both.stderr


def test_pictures_here_and_indexes_above_are_indexed_in_place(latent: Run, tmp_path: Path, own_data: Path) -> None:
    write_shapes(own_data / "photos", 4)
    write_shapes(tmp_path / "elsewhere", 4, seed=3)
    assert "called" not in latent("index", "build", ".", cwd=own_data / "photos").stderr
    assert (own_data / "photos" / ".latent" / "catalog.db").exists()
    latent("index", "build", tmp_path / "elsewhere", cwd=own_data / "photos")  # there is one here
    assert "Note" not in latent("index", "status", cwd=own_data / "photos").stderr
    latent("index", "build", "photos", cwd=own_data)
    assert (own_data / ".latent" / "catalog.db").exists() and not (tmp_path / "data" / "named").exists()


def test_without_a_place_for_data_the_index_is_made_here(latent: Run, tmp_path: Path, own_data: Path) -> None:
    write_shapes(tmp_path / "elsewhere", 4)
    (tmp_path / "data").write_text("no folder")
    latent("index", "build", tmp_path / "elsewhere", cwd=own_data)
    assert (own_data / ".latent" / "catalog.db").exists()
    assert "no place for data" in latent("index", "build", "../elsewhere", "--name", "x", code=2, cwd=own_data).stderr


def test_limits_show_what_they_decided(latent: Run, indexed: Path) -> None:
    done = latent("index", "update", "--memory", "2GB", "--latency", "20ms")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("search: "))
    assert "exact (every code is compared)" in line and "finds all" in line and "ms a query" in line
    assert line.endswith("asked for: at most 2.0 GB, at most 20 ms")
    assert "any memory, at most 5 ms" in latent("index", "update", "--latency", "5ms").stdout
    assert "search:" not in latent("index", "update").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_for_each_shell(latent: Run, shell: str) -> None:
    script = latent("completion", shell).stdout
    assert "_LATENT_COMPLETE" in script and f"{shell}_complete" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_program_completes_what_the_script_asks_for(latent: Run) -> None:
    for typed, expected in (("latent que", "query"), ("latent index bu", "build"), ("latent query --form", "--format")):
        asked = {"_LATENT_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
        assert f"plain,{expected}" in latent(env={**os.environ, **asked}).stdout


def test_torch_for_gpus_without_one_is_noticed() -> None:
    from train.devices import is_for_absent_gpu

    assert is_for_absent_gpu("12.8", has_gpu=False)
    assert not is_for_absent_gpu("12.8", has_gpu=True) and not is_for_absent_gpu(None, has_gpu=False)
