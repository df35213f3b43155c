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
    command = ["git", f"--git-dir={root.parent}/.git", f"--work-tree={root}", "ls-files", "-z", "--others", f"--exclude-per-directory={IGNORE_NAME}"]
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
