"""What the doors promise: states, formats, words, and how their functions are called."""

from __future__ import annotations

import ast
import inspect
import re
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import retrieval
from cli.hints import HINTS, with_hint
from cli.main import COMMANDS
from index.door import Index, IndexWriter, Notes, NotesWriter, Rows, RowsWriter
from index.errors import LatentError
from index.local.cachefile import MAGIC, TAIL, Trailer, trailer_of
from index.local.store import Store
from index.local.structures import Quality, Structure
from index.trust import DIGEST_BYTES
from tests.codes import random_codes
from tests.servers import make_store

ROOMS = ("index", "retrieval", "train")
HERE = Path(__file__).parent.parent
FEW_BY_POSITION = 2  # arguments of a public function that may be given without their names


def test_an_inner_snapshot_is_the_outer_one(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    make_store(folder, random_codes(20, 0, True), True)
    with Store.open(folder) as store, Store.writing(folder) as other:
        with store.rows.snapshot():
            before = store.rows.meta()
            with store.rows.snapshot():
                assert store.rows.meta() == before
            assert store.rows.in_transaction  # and the inner one did not end it
            assert store.rows.meta() == before and len(store.rows.found_page(0, 100)[0]) == before.found
        assert not store.rows.in_transaction
        other.rows.mark([3, 4], "vanished")
        assert store.rows.meta().found == before.found - 2


def test_a_trailer_is_written_field_by_field(tmp_path: Path) -> None:
    """Reordering the fields of a record must not change the format of files that lie on disks."""
    trailer = Trailer(7, bytes(range(16)), Structure(True, 64, 5), Quality(200, 3000, 0.25))
    packed = struct.pack("<8sq16s?qqqqd", MAGIC, 7, bytes(range(16)), True, 64, 5, 200, 3000, 0.25)
    assert trailer.packed() == packed and len(packed) + DIGEST_BYTES == TAIL
    (tmp_path / "x.faiss").write_bytes(b"codes" + packed + bytes(DIGEST_BYTES))
    assert trailer_of(tmp_path / "x.faiss") == trailer
    assert {field.name for field in fields(Structure)} == {"quantized", "lists", "probes"}
    assert {field.name for field in fields(Quality)} == {"candidates", "measured_at", "recall"}


def test_an_index_is_one_file_without_a_write_ahead_log(tmp_path: Path) -> None:
    """So it can be read from a folder that cannot be written, and lie on a network drive."""
    folder = tmp_path / "i"
    make_store(folder, random_codes(20, 0, True), True)
    with Store.open(folder) as store, store.rows.transaction():
        names = {path.name for path in folder.iterdir()}
        with closing(sqlite3.connect(folder / "catalog.db")) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert names == {"catalog.db", "cosine.faiss", "lock"}


@pytest.mark.parametrize(
    ("promised", "kept"),
    [
        (Index, "reading"),
        (Rows, "reading"),
        (Notes, "reading"),
        (IndexWriter, "writing"),
        (RowsWriter, "writing"),
        (NotesWriter, "writing"),
    ],
)
def test_an_index_in_a_folder_keeps_what_the_door_promises(tmp_path: Path, promised: type, kept: str) -> None:
    """Every name of the Protocol, with the Protocol's arguments in its order."""
    make_store(tmp_path / "i", random_codes(3, 0, True), True)
    with Store.open(tmp_path / "i") if kept == "reading" else Store.writing(tmp_path / "i") as store:
        part = {"Rows": store.rows, "Notes": store.notes}.get(promised.__name__.removesuffix("Writer"), store)
        names = [name for base in promised.__mro__ for name in vars(base) if not name.startswith("_")]
        assert len(names) > 1
        for name in names:
            if callable(promise := inspect.getattr_static(promised, name)):
                wanted = list(inspect.signature(promise).parameters)[1:]
                assert list(inspect.signature(getattr(part, name)).parameters)[: len(wanted)] == wanted, name
            else:
                assert hasattr(part, name)


def texts_of(room: str) -> Iterator[tuple[str, str]]:
    """Where each text in the code is, and the text without its holes; docstrings are not texts that anybody is told."""
    for path in sorted((HERE / room).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        told_nobody = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told_nobody:
                yield f"{path.relative_to(HERE)}:{node.lineno}", node.value


@pytest.mark.parametrize("room", ROOMS)
def test_no_text_of_the_library_names_the_command_line(room: str) -> None:
    """Who reads it in Python or over HTTP has no options. The command line adds its own words (``cli.hints``)."""
    texts = list(texts_of(room))
    assert len(texts) > 100
    words = re.compile(rf"(^|\s)--[a-z]|\blatent ({'|'.join(COMMANDS)})\b")
    titles = {f"latent {name}" for name in COMMANDS}  # of pages
    found = [(place, text) for place, text in texts if words.search(text) and text not in titles]
    assert found == []


def test_every_hint_is_of_an_error_that_there_is() -> None:
    raised = set()
    for room in ROOMS:
        for path in (HERE / room).rglob("*.py"):
            raised |= set(re.findall(r"\"([a-z_]+)\"", path.read_text(encoding="utf-8")))
    assert set(HINTS) <= raised and len(HINTS) > 5
    error = LatentError("This is so", code="not_an_index", suggestion="there")
    assert with_hint(error) == "This is so; try --index there"
    assert with_hint(LatentError("This is so")) == "This is so"


def public_functions() -> Iterator[tuple[str, Any]]:
    for name in retrieval.__all__:
        thing = getattr(retrieval, name)
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing) and not issubclass(thing, Exception):
            for member, function in inspect.getmembers(thing, inspect.isroutine):
                if not member.startswith("_") and getattr(function, "__module__", "").startswith("retrieval"):
                    yield f"{name}.{member}", function


def test_public_functions_take_two_arguments_by_position_at_most() -> None:
    """The third on have to be named, so that more can come without breaking anybody's call."""
    named = dict(public_functions())
    assert {"find_copies", "Retriever.build", "Model.decode", "load_model"} <= set(named)
    too_many = {}
    for name, function in named.items():
        kinds = [one for one in inspect.signature(function).parameters.values() if one.name not in ("self", "cls")]
        by_position = [one.name for one in kinds if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        optional = [one.name for one in kinds if one.name in by_position and one.default is not inspect.Parameter.empty]
        if len(by_position) > FEW_BY_POSITION and optional and by_position.index(optional[-1]) >= FEW_BY_POSITION:
            too_many[name] = by_position
    assert too_many == {}


CLOCKS = re.compile(r"\b(time\.time|time_ns\(|datetime\.now|utcnow|date\.today|CURRENT_TIMESTAMP|\bnow\(\))")


@pytest.mark.parametrize("room", ["index", "retrieval"])
def test_no_answer_and_no_row_depends_on_the_time_of_day(room: str) -> None:
    """The clocks of the machines that share an index may differ: dates are compared as files and cameras tell them."""
    asked = {
        f"{path.relative_to(HERE)}: {line.strip()}"
        for path in (HERE / room).rglob("*.py")
        for line in path.read_text().splitlines()
        if CLOCKS.search(line)
    }
    assert asked == set()
