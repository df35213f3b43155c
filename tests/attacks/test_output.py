"""Names from a stranger reach a terminal, a table or a page as text: they act on none of them."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest

from cli.console import say, tell
from cli.main import COMMANDS, latent
from retrieval.text import csv_cell, printable, without_controls
from tests.conftest import Run, write_shapes

ROOT = Path(__file__).parent.parent.parent
ACTING = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *map(chr, range(0x2028, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
]
NAMES = [
    "\x1b[2J\x1b[31mred.png",
    "title\x1b]0;owned\x07.png",
    "two\nlines.png",
    "carriage\rreturn.png",
    "gnp\u202e.exe.png",
    "\u2066isolate\u2069.png",
    "\x9b31mc1.png",
    "tab\there.png",
    "=cmd|'-C calc'!A0.png",
    "@SUM(1+1).png",
    "+1.png",
    "-1.png",
    "plain.png",
    "üñïçödé 👩‍👧.png",
]


RAW = {"text": False, "errors": None}  # in text mode, Python turns a carriage return into a newline


def acting(text: str | bytes, but: str = "\n") -> set[str]:
    if isinstance(text, bytes):
        text = text.decode(errors="surrogateescape")
    return {letter for letter in text if letter in ACTING and letter not in but}


def drawn(count: int, seed: int) -> Iterator[str]:
    """Texts of which a third of the characters act, and others are of any plane, also undecodable bytes."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        kinds = rng.integers(0, 3, rng.integers(0, 20))
        yield "".join(
            ACTING[rng.integers(len(ACTING))]
            if kind == 0
            else chr(rng.integers(0x20, 0x3000))
            if kind == 1
            else chr(0xDC80 + rng.integers(0x80))
            for kind in kinds
        )


def test_a_line_stays_a_line_whatever_it_holds(capfd: pytest.CaptureFixture[str]) -> None:
    for number, text in enumerate(drawn(2000, 1)):
        (tell if number % 2 else say)(text)
        out, err = capfd.readouterr()
        shown = out if number % 2 else err
        assert (
            shown.endswith("\n") and "\n" not in shown[:-1] and not acting(shown, "\n\t") and not out * (1 - number % 2)
        )


def test_escaping_keeps_texts_apart_from_what_acts() -> None:
    for text in drawn(2000, 2):
        assert not acting(printable(text), "") and not acting(without_controls(text), "")
        assert "".join(letter for letter in text if letter not in ACTING) == "".join(
            letter for letter in _unescaped(without_controls(text), text) if letter not in ACTING
        )
        assert not csv_cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert without_controls("üñ 👩‍👧.png") == "üñ 👩‍👧.png"


def _unescaped(shown: str, text: str) -> str:
    for letter in ACTING:
        if letter in text:
            shown = shown.replace(letter.encode("unicode_escape").decode(), letter)
    return shown


def test_all_output_goes_through_one_function() -> None:
    """Whatever prints by itself forgets to escape one day."""
    for path in (ROOT / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and path.name != "console.py":
                called = ast.unparse(node.func)
                assert called not in ("click.echo", "click.secho", "print", "sys.stdout.write", "sys.stderr.write"), (
                    path
                )
    for room in ("index", "retrieval", "train"):
        for path in (ROOT / room).rglob("*.py"):
            assert "sys.stderr.write" not in path.read_text() and "sys.stdout" not in path.read_text().replace(
                "redirect_stdout", ""
            )


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index of pictures of odd names, and of files that are no pictures."""
    home = tmp_path_factory.mktemp("strange")
    write_shapes(home / "drawn", len(NAMES))
    (home / "photos").mkdir()
    for name, path in zip(NAMES, sorted((home / "drawn").iterdir()), strict=True):
        path.rename(home / "photos" / name)
        (home / "photos" / f"no{name}").write_text("no picture")
    (home / "photos" / "again.png").write_bytes((home / "photos" / NAMES[0]).read_bytes())
    program = [str(Path(sys.executable).with_name("latent")), "index", "build", "photos"]
    done = subprocess.run(program, cwd=home, capture_output=True, text=True, errors="surrogateescape", check=True)
    assert not acting(done.stdout + done.stderr)
    return home


@pytest.mark.parametrize(
    "words",
    [
        ["query", "photos/plain.png", "-k", "50"],
        ["query", "photos/plain.png", "-k", "50", "--format", "csv"],
        ["query", "photos/plain.png", "-k", "50", "--format", "json"],
        ["query", "photos/plain.png", "-k", "50", "--format", "jsonl"],
        ["query", "photos/plain.png", "-k", "50", "--format", "paths"],
        ["query", f"photos/{NAMES[0]}", f"photos/{NAMES[1]}", "--html", "h.html"],
        ["index", "status", "--skipped"],
        ["index", "status", "--skipped", "--format", "json"],
        ["index", "verify"],
        ["dedup", "find", "--csv", "copies.csv"],
        ["reconstruct", f"photos/{NAMES[0]}", "-o", "decoded"],
        ["compare", f"photos/{NAMES[0]}", "photos/again.png"],
    ],
)
def test_odd_names_do_not_act(strange: Path, latent: Run, words: list[str]) -> None:
    done = latent(*words, cwd=strange, **RAW)
    assert not acting(done.stdout + done.stderr, "\n\t") and len(done.stdout) > 10
    if words[:2] == ["dedup", "find"]:
        assert not acting((strange / "copies.csv").read_text())


@pytest.mark.parametrize(
    "words",
    [
        ["query", "\x1b[31mno.png"],
        ["query", "photos/no\x1b[2J\x1b[31mred.png"],
        ["\x1b[31m"],
        ["--\x1b[31m"],
        ["index", "build", "\x1b[31mno"],
        ["index", "remove", "\x1b[31mno"],
        ["query", "photos/plain.png", "--plus", "\x1b]0;x\x07"],
        ["query", "photos/plain.png", "--format", "\x1b[31m"],
        ["direction", "\x1b[31m", "--forget"],
        ["sample", "1", "-o", "x", "--model", "\x1b[31m"],
        ["features", "-o", "\x1b[31m.doc"],
        ["query", "photos/plain.png", "--index", "\x1b[31m"],
        ["query", "photos/plain.png", "--sheet", "\x1b[31m"],
        ["dedup", "apply", "\x1b[31m"],
    ],
)
def test_errors_repeat_words_escaped(strange: Path, words: list[str]) -> None:
    program = str(Path(sys.executable).with_name("latent"))
    done = subprocess.run([program, *words], cwd=strange, capture_output=True, check=False)
    assert done.returncode in (1, 2, 3) and b"Traceback" not in done.stderr, done.stderr
    assert b"\\x1b" in done.stderr and not acting(done.stdout + done.stderr), done.stderr


def test_paths_for_programs_are_exact_with_nul(strange: Path, latent: Run) -> None:
    done = latent("query", "photos/plain.png", "-k", 50, "--format", "paths", "-0", cwd=strange, **RAW)
    found = {os.fsdecode(os.path.basename(path)) for path in done.stdout.split(b"\0") if path}  # type: ignore[arg-type]
    assert found == {*NAMES, "again.png"} - {"plain.png"}


def test_no_cell_of_a_table_is_a_formula(strange: Path) -> None:
    program = str(Path(sys.executable).with_name("latent"))
    command = [program, "query", "plain.png", "-k", "50", "--format", "csv", "--index", "../.latent"]
    done = subprocess.run(command, cwd=strange / "photos", capture_output=True, text=True, check=True)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    paths = {row["path"] for row in rows}
    assert len(rows) == len(NAMES) and {"'=cmd|'-C calc'!A0.png", "'@SUM(1+1).png", "'+1.png", "./-1.png"} <= paths
    assert not any(cell.startswith(("=", "+", "@", "\t", "\r")) for row in rows for cell in row.values())


def test_help_holds_no_control_characters() -> None:
    def pages(command: click.Command, name: str) -> Iterator[str]:
        with click.Context(command, info_name=name) as context:
            yield command.get_help(context)
            for inner in command.list_commands(context) if isinstance(command, click.Group) else ():
                found = command.get_command(context, inner)
                assert found is not None
                yield from pages(found, inner)

    seen = list(pages(latent, "latent"))
    assert len(seen) > len(COMMANDS) and not acting("".join(seen))


def test_a_terminal_gets_no_more_than_a_pipe(strange: Path) -> None:
    """On a terminal there are bars; the names beside them are escaped as well."""
    leader, follower = pty.openpty()
    program = str(Path(sys.executable).with_name("latent"))
    done = subprocess.run(
        [program, "query", "photos/plain.png", "-k", "50"], cwd=strange, stdout=follower, stderr=follower, check=True
    )
    os.close(follower)
    shown = b""
    try:
        while part := os.read(leader, 65536):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(leader)
    assert done.returncode == 0 and b"\\x1b[2J" in shown and b"\x1b" not in shown


def test_directions_of_a_stranger_are_shown_escaped(strange: Path, latent: Run) -> None:
    from retrieval import Direction, Retriever

    for name in ("ok", "\x1b[31mred", "\u202etxt"):
        with Retriever.open(strange / ".latent") as retriever:
            try:
                retriever.keep_direction(Direction(name, np.ones(retriever.latent_dim, np.float32), 3, 3, None))
            except ValueError:  # refused where it comes in
                continue
    done = latent("direction", cwd=strange)
    assert "ok" in done.stdout and not acting(done.stdout)
    assert json.loads(latent("direction", "--format", "json", cwd=strange).stdout)["directions"]
