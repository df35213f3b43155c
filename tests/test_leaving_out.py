"""What is left out of an index: patterns in gitignore's grammar, compared with git itself, and system folders."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from retrieval import find_images
from retrieval.pictures.leaving_out import IGNORE_NAME, MOST_BYTES, LeftOut, system_folder
from retrieval.pictures.patterns import MOST_LENGTH, parsed, verdict

NAMES = ("a", "b", "c", "ab", "abc", "bca", "a.b", "cc.a", "#a", "!b", "a b", "a\nb", "A", "[a]", "*b", "caf\udce9")
PIECES = ("a", "b", "c", "ab", ".", "*", "?", "[ab]", "[!a]", "[^b]", "[a-c]", "\\*", "\\[", "A", "!", "#", "[]a]")
WHOLE = ("**", "*", "a", "b", "ab", "*.b", "?")


def drawn_pattern(rng: np.random.Generator) -> str:
    segments = []
    for _ in range(1 + int(rng.choice([0, 0, 1, 2, 3]))):
        if rng.random() < 0.5:
            segments.append(str(rng.choice(WHOLE)))
        else:
            segments.append("".join(rng.choice(PIECES, 1 + rng.integers(4))))
    start = "!" * (rng.random() < 0.35) + "/" * (rng.random() < 0.2)
    return start + "/".join(segments) + "/" * (rng.random() < 0.3)


def grow(rng: np.random.Generator, folder: Path, depth: int) -> None:
    """A drawn tree of files, with a file of drawn patterns in some folders."""
    for name in rng.choice(NAMES, 1 + rng.integers(5), replace=False):
        path = folder / str(name)
        if depth and rng.random() < 0.5:
            path.mkdir()
            grow(rng, path, depth - 1)
        else:
            path.touch()
    if rng.random() < 0.4:
        ends = [str(rng.choice(["\n", "\r\n", "\n\n", "\n# no pattern\n"])) for _ in range(4)]
        text = "".join(drawn_pattern(rng) + end for end in ends[: 1 + rng.integers(4)])
        mark = b"\xef\xbb\xbf" if rng.random() < 0.1 else b""
        (folder / IGNORE_NAME).write_bytes(mark + os.fsencode(text))


def kept_by_git(root: Path, chosen: list[str]) -> set[str]:
    """The files that git would add, if its files of patterns had our name."""
    command = [
        "git",
        f"--git-dir={root.parent}/.git",
        f"--work-tree={root}",
        "ls-files",
        "-z",
        "--others",
        f"--exclude-per-directory={IGNORE_NAME}",
    ]
    command += [f"--exclude={pattern}" for pattern in chosen]
    done = subprocess.run(command, cwd=root, capture_output=True, check=True)
    files = {os.fsdecode(name) for name in done.stdout.split(b"\0") if name}
    return {name for name in files if os.path.basename(name) != IGNORE_NAME}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the oracle")
@pytest.mark.parametrize("seed", range(6))
def test_the_walk_keeps_what_git_keeps(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    subprocess.run(["git", "init", "-q", tmp_path], check=True, capture_output=True)
    patterns = left = 0
    for number in range(25):
        root = tmp_path / "tree"
        root.mkdir()
        grow(rng, root, 4)
        chosen = [drawn_pattern(rng) for _ in range(rng.integers(3))]
        chosen = [pattern for pattern in chosen if not parsed([pattern])[1]]
        expected = kept_by_git(root, chosen)
        tally = LeftOut()
        found = {os.path.relpath(file.path, root) for file in find_images(root, exclude=chosen, tally=tally)}
        words = [(path, path.read_bytes()) for path in root.rglob(IGNORE_NAME)]
        assert found == expected, (number, chosen, words)
        patterns += len(chosen) + len(words)
        left += tally.by_patterns
        shutil.rmtree(root)
    assert patterns > 20 and left > 20


def names_below(root: Path, tally: LeftOut | None = None, **more: object) -> set[str]:
    return {os.path.relpath(file.path, root) for file in find_images(root, tally=tally, **more)}  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(20))
def test_no_pattern_costs_more_than_its_length(seed: int) -> None:
    """As regular expressions are usually matched, each further wildcard would take a hundred times as long."""
    rng = np.random.default_rng(seed)
    stars = "*".join(rng.choice(["a", "aa", "a?", "[ab]"], 30)) + "*b"
    folders = "**/" + "/**/".join(rng.choice(["a", "*", "a*a*"], 20)) + "/**/b"
    patterns, faults = parsed([stars, folders, f"!{stars}/", f"x/{stars}"])
    assert len(patterns) == 4 and not faults
    started = time.process_time()
    assert verdict(patterns, "a" * 255) is None
    assert verdict(patterns, "/".join(["a" * 60] * 60)) is None
    assert time.process_time() - started < 2


def test_a_hostile_file_of_patterns_costs_itself_alone(tmp_path: Path) -> None:
    for folder in ("huge", "many", "wrong", "link", "pipe", "folder", "binary"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").touch()
        (tmp_path / folder / "b.jpg").touch()
    (tmp_path / "huge" / IGNORE_NAME).write_text("a.jpg\n" + "# filling\n" * MOST_BYTES + "b.jpg\n")
    (tmp_path / "many" / IGNORE_NAME).write_text("a.jpg\n" + "x\n" * 2000 + "b.jpg\n")
    lines = ["[a", "!", "x" * (MOST_LENGTH + 1), "[z-a]", "a\\", "[[:alpha:]].jpg", "/", "b.jpg"]
    (tmp_path / "wrong" / IGNORE_NAME).write_text("\n".join(lines))
    (tmp_path / "link" / IGNORE_NAME).symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe" / IGNORE_NAME)
    (tmp_path / "folder" / IGNORE_NAME).mkdir()
    (tmp_path / "binary" / IGNORE_NAME).write_bytes(bytes(range(256)) * 9 + b"\nb.jpg\n")
    tally = LeftOut()
    left = {f"{folder}/b.jpg" for folder in ("huge", "many", "link", "pipe", "folder")}
    left |= {f"{folder}/a.jpg" for folder in ("wrong", "link", "pipe", "folder", "binary")}
    assert names_below(tmp_path, tally) == left
    faults = "\n".join(tally.faults)
    for number in range(1, 8):
        assert f"{tmp_path}/wrong/{IGNORE_NAME}, line {number}: " in faults
    for folder in ("huge", "many", "link", "pipe", "folder"):
        assert f"{tmp_path}/{folder}/{IGNORE_NAME}" in faults
    assert f"wrong/{IGNORE_NAME}, line 8" not in faults


SYSTEM = {  # folder: its name in the summary
    "@eaDir": "@eaDir",
    "@EADIR": "@eaDir",
    "#recycle": "#recycle",
    "#snapshot": "#snapshot",
    "$RECYCLE.BIN": "$RECYCLE.BIN",
    "$Recycle.Bin": "$RECYCLE.BIN",
    "System Volume Information": "System Volume Information",
    "lost+found": "lost+found",
    ".Trash-1000": ".Trash-*",
    ".thumbnails": ".thumbnails",
    "My Catalog Previews.lrdata": "*.lrdata",
    "__MACOSX": "__MACOSX",
    "mipmaps-0123abc.d": "mipmaps-*.d",
    "Mine.photoslibrary/resources": "*.photoslibrary/resources",
}
PLAIN = ("recycle", "eaDir", "Previews", "lrdata", "snapshot", "resources", "Trash", "#2024", "lost+found 2", "mipmaps")


def test_system_folders_are_left_out_and_counted_by_name(tmp_path: Path) -> None:
    for folder in [*SYSTEM, *PLAIN]:
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "deep" / "x.jpg").touch()
    (tmp_path / "Mine.photoslibrary" / "x.jpg").touch()
    tally = LeftOut()
    assert names_below(tmp_path, tally) == {f"{folder}/deep/x.jpg" for folder in PLAIN} | {"Mine.photoslibrary/x.jpg"}
    expected: dict[str, int] = {}
    for name in SYSTEM.values():
        expected[name] = expected.get(name, 0) + 1
    assert tally.system_folders == expected and not tally.by_patterns
    for folder, name in SYSTEM.items():
        assert system_folder(str(tmp_path / folder)) == name
        assert names_below(tmp_path / folder) == {"deep/x.jpg"}  # the user named it
    (tmp_path / IGNORE_NAME).write_text("!@eaDir/\n")
    assert "@eaDir/deep/x.jpg" in names_below(tmp_path)
    (tmp_path / "@tmp").touch()  # a file may be called so
    assert "@tmp" in names_below(tmp_path)


def test_rules_above_hold_in_a_folder_that_is_walked_alone(tmp_path: Path) -> None:
    for name in ("in/a.jpg", "in/b.jpg", "in/deep/a.jpg", "a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / IGNORE_NAME).write_text("a.jpg\n/in/b.jpg\n")
    (tmp_path / "in" / "deep" / IGNORE_NAME).write_text("!a.jpg\n")
    inside = {os.path.relpath(file.path, tmp_path) for file in find_images(tmp_path / "in", within=tmp_path)}
    assert inside == {"in/deep/a.jpg"}
    assert names_below(tmp_path / "in") == {"a.jpg", "b.jpg", "deep/a.jpg"}
    (tmp_path / "#a.jpg").touch()
    assert "#a.jpg" not in names_below(tmp_path, exclude=["#*"]) and "#a.jpg" in names_below(tmp_path)
    with pytest.raises(ValueError, match="bracket"):
        names_below(tmp_path, exclude=["x", "[x"])
