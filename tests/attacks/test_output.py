"""Names from a stranger reach a terminal, a table or a page as text: they act on none of them."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import pty
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import click
import numpy as np
import pytest

from cli.console import say, tell
from cli.main import COMMANDS, latent
from retrieval.copies.plan import Evidence, FileFacts, Group, Other, Plan
from retrieval.explore.plane import Cluster, Plane
from retrieval.pages.embedded import Embedded
from retrieval.pages.map import map_html
from retrieval.pages.plan import plan_html
from retrieval.pages.raster import data_uri
from retrieval.pages.report import report_html
from retrieval.pages.sheet import Cell, SheetRow, sheet_html
from retrieval.pictures.thumbnail import THUMB_PX
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
        ["show", f"photos/{NAMES[0]}", "photos/again.png"],
        ["show", f"photos/{NAMES[0]}", "--format", "json"],
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
    words = ["query", "photos/plain.png", "-k", 50, "--copies", "show", "--format", "paths", "-0"]
    done = latent(*words, cwd=strange, **RAW)
    found = {os.fsdecode(os.path.basename(path)) for path in done.stdout.split(b"\0") if path}  # type: ignore[arg-type]
    assert found == {*NAMES, "again.png"} - {"plain.png"}


def test_no_cell_of_a_table_is_a_formula(strange: Path) -> None:
    program = str(Path(sys.executable).with_name("latent"))
    words = ["query", "plain.png", "-k", "50", "--copies", "show", "--format", "csv", "--index", "../.latent"]
    command = [program, *words]
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


# ---- pages


def pages() -> dict[str, str]:
    """Every kind of page, with names that would break out of a page that let them."""
    names = [
        "</script><script>document.title='owned'</script>",
        "<img src=x onerror=document.title='owned'>",
        "\u202e'\"",
    ]
    picture = np.zeros((THUMB_PX, THUMB_PX, 3), np.uint8)
    cells = [Cell(picture, [picture], (name, name), name) for name in names]
    clusters = [Cluster((0.5, 0.5), 3, picture)]
    plane = Plane([f"/{name}" for name in names], np.array([[0.1, 0.2], [0.5, 0.5], [0.9, 0.3]]), clusters, 3)
    table = {name: {name: (0.1, 0.0, 0.2)} for name in names}
    files = {f"/{name}": FileFacts(3, 0, "0" * 64) for name in names}
    copy = Evidence(f"/{names[1]}", "scaled", 0.5, 1.0, "", (names[2],), ((0.1, 0.1, 0.5, 0.5),), names[0])
    other = Other(f"/{names[0]}", f"/{names[2]}", "series", 0.5, 1.0)
    plan = Plan(None, groups=[Group(f"/{names[0]}", [copy.path], [copy])], others=[other], files=files)
    return {
        "plan": plan_html(plan, dict.fromkeys(files, Embedded(data_uri(picture), THUMB_PX, THUMB_PX, 9, 9))),
        "sheet": sheet_html([SheetRow(cells[0], cells[1:])], names[0], names[1]),
        "map": map_html(plane, [picture] * 3),
        "report": report_html(names[0], table, {names[1]: 0.5}),
    }


class Policed(HTMLParser):
    """What a page loads or runs, and its policy."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.metas: list[dict[str, str | None]] = []
        self.before_policy: list[str] = []
        self.nonces: list[str | None] = []
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        if tag == "meta":
            self.metas.append(facts)
        elif not any(one.get("http-equiv") for one in self.metas):
            self.before_policy.append(tag)
        if tag in ("script", "style"):
            self.nonces.append(facts.get("nonce"))
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "a")
        assert not any(name.startswith("on") or name in ("style", "href", "srcset") for name in facts), facts
        if "src" in facts:
            self.sources.append(str(facts["src"]))


def test_every_page_forbids_whatever_it_does_not_need() -> None:
    assert len(pages()) + 1 == len(list((ROOT / "retrieval/pages/templates").glob("*.html")))  # and the base of all
    for name, page in pages().items():
        seen = Policed(page)
        policy = next(str(one["content"]) for one in seen.metas if one.get("http-equiv") == "Content-Security-Policy")
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert seen.before_policy == ["html", "head"], name
        assert (
            rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
            and rules["img-src"] == "data:"
        )
        assert rules["style-src"] == rules["script-src"] and set(rules) <= {
            *("default-src", "img-src", "style-src", "script-src", "base-uri", "form-action")
        }
        assert {f"'nonce-{nonce}'" for nonce in seen.nonces} == {rules["style-src"]} and len(str(seen.nonces[0])) >= 20
        assert all(source.startswith("data:image/") for source in seen.sources)
        assert {"name": "referrer", "content": "no-referrer"} in seen.metas
        assert str(seen.nonces[0]) not in pages()[name]  # each page has its own


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("name", ["plan", "sheet", "map", "report"])
def test_a_browser_shows_a_page_and_runs_nothing_else(tmp_path: Path, name: str) -> None:
    """The page's own style and script run without a complaint; one that a stranger added does not."""
    page, server = pages()[name], socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    whole, broken = tmp_path / "whole.html", tmp_path / "broken.html"
    whole.write_text(page, encoding="utf-8")
    asks = f"http://127.0.0.1:{server.getsockname()[1]}/"
    planted = f"<script>document.title='owned'</script><img src='{asks}'><style>@import url('{asks}')</style>"
    broken.write_text(page.replace("<body>", "<body>" + planted), encoding="utf-8")
    dom, said = browsed(whole, tmp_path)
    assert "CONSOLE" not in said and "<title>owned" not in dom, said
    if name == "map":
        assert "3 pictures" in dom  # its script has run
    dom, said = browsed(broken, tmp_path)
    assert "<title>owned" not in dom and said.count("CONSOLE") >= 2 and "Content Security Policy" in said, said
    with pytest.raises(BlockingIOError):  # nobody has called
        server.accept()
    server.close()


def browsed(page: Path, home: Path) -> tuple[str, str]:
    """The document that Chromium makes of a page, and what it says of it."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=2000"]
    command = ["chromium", *flags, f"--user-data-dir={home / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True, text=True)
    return done.stdout, done.stderr
