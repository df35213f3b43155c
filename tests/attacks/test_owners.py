"""Attacks by an index that lies where its victim works: planted above a folder, downloaded, of another user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from index.errors import NoIndex, NotTrusted
from index.opening import exists, is_known, open_index, write_index
from retrieval import locate_index, trust_index
from tests.attacks.catalogs import make_index
from tests.conftest import Run

STRANGER = 12_345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index that somebody else has put above the current folder."""
    with monkeypatch.context() as patch:
        patch.setenv("LATENT_DATA", str(tmp_path / "stranger"))
        make_index(tmp_path / "downloads" / ".latent")
    monkeypatch.delenv("LATENT_INDEX", raising=False)
    (tmp_path / "downloads" / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "downloads" / "a" / "b")
    return tmp_path / "downloads" / ".latent"


def test_a_planted_index_is_taken_only_when_it_is_named(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert exists(planted) and not is_known(planted)
    with pytest.raises(NotTrusted, match="was not made here by you") as caught:
        locate_index()
    assert caught.value.code == "unknown_index" and caught.value.facts["folder"] == str(planted)
    assert locate_index(planted) == planted
    monkeypatch.setenv("LATENT_INDEX", str(planted))
    assert locate_index() == planted
    with open_index(planted) as index:  # type: ignore[attr-defined]
        assert index.rows.meta().found


def test_trust_is_given_once_and_can_be_taken_back(planted: Path) -> None:
    assert trust_index() == planted and is_known(planted)
    assert locate_index() == planted
    assert trust_index(forget=True) == planted and not is_known(planted)
    trust_index(planted, forget=True)  # twice is once
    with pytest.raises(NotTrusted):
        locate_index()
    with pytest.raises(NoIndex):
        trust_index(planted.parent)


def test_an_index_that_this_user_made_is_known_where_it_was_made(tmp_path: Path) -> None:
    made, moved = tmp_path / "one" / ".latent", tmp_path / "two" / ".latent"
    make_index(made)
    assert is_known(made) and locate_index(start=made.parent) == made
    moved.parent.mkdir()
    os.rename(made, moved)
    assert not is_known(moved)
    assert not exists(made) and locate_index(start=made.parent) == made  # a new one is made there
    with pytest.raises(NotTrusted):
        locate_index(start=moved.parent)


def test_commands_say_what_a_named_index_is_trusted_with(planted: Path, latent: Run) -> None:
    here = Path.cwd()
    commands = [["index", "status"], ["query", "x.jpg"], ["index", "build", "."], ["dedup", "find"]]
    for words in (*commands, ["map", "-o", "x.html"]):
        done = latent(*words, code=3, cwd=here)
        assert "was not made here by you" in done.stderr and f"latent index trust {planted}" in done.stderr, words
        assert not done.stdout
    done = latent("index", "status", "--index", str(planted))
    assert "Note: " in done.stderr and "its model runs: m (digest)" in done.stderr
    assert "folders that it names are read: downloads/photos" in done.stderr
    assert "found" not in done.stderr and "pictures    40" in done.stdout
    assert "its model runs: m" in latent("index", "trust", cwd=here).stdout
    assert not latent("index", "status", cwd=here).stderr
    latent("index", "trust", "--forget", cwd=here)
    latent("index", "status", code=3, cwd=here)


@as_root
@pytest.mark.parametrize("place", ["folder", "index", "catalog"])
def test_an_index_of_another_user_is_opened_only_if_it_is_trusted_as_it_is(tmp_path: Path, place: str) -> None:
    index = tmp_path / "shared" / ".latent"
    make_index(index)
    taken = {"folder": index.parent, "index": index, "catalog": index / "catalog.db"}[place]
    os.chown(taken, STRANGER, -1)
    for way in (lambda: open_index(index), lambda: write_index(index).__enter__()):
        with pytest.raises(NotTrusted, match=f"{taken} belongs to another user .user id {STRANGER}.") as caught:
            way()
        assert caught.value.code == "other_owner"
    trust_index(index)
    open_index(index).close()
    os.chown(taken, STRANGER + 1, -1)  # not whom the user trusted
    with pytest.raises(NotTrusted):
        open_index(index)
    os.chown(taken, 0, -1)
    open_index(index).close()


@as_root
def test_a_new_index_in_a_folder_of_another_user_can_be_made_and_not_be_swapped(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, STRANGER, -1)
    make_index(shared / ".latent")
    open_index(shared / ".latent").close()
    shutil.rmtree(shared / ".latent")
    shutil.copytree(_of_a_stranger(tmp_path), shared / ".latent")
    os.chown(shared / ".latent", STRANGER, -1)
    with pytest.raises(NotTrusted):
        open_index(shared / ".latent")


def _of_a_stranger(tmp_path: Path) -> Path:
    make_index(tmp_path / "stranger" / "index")
    return tmp_path / "stranger" / "index"


@as_root
@pytest.mark.parametrize("caller", [str(STRANGER), "", "no number", str(STRANGER + 1)])
def test_root_by_sudo_works_on_the_files_of_the_caller(tmp_path: Path, caller: str) -> None:
    index = tmp_path / "home" / ".latent"
    make_index(index)
    for path in (index.parent, index, index / "catalog.db"):
        os.chown(path, STRANGER, -1)
    code = f"from index.opening import open_index; open_index({str(index)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={**os.environ, "SUDO_UID": caller, "LATENT_DATA": str(tmp_path / "root")},
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0) == (caller == str(STRANGER)), done.stderr


def test_without_a_place_for_notes_an_index_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LATENT_DATA", str(tmp_path / "file" / "data"))
    make_index(tmp_path / ".latent")
    with pytest.raises(NotTrusted) as refused:
        locate_index(start=tmp_path)
    assert refused.value.code == "unnoted_index"
    open_index(locate_index(tmp_path / ".latent")).close()
    with pytest.raises(Exception, match="cannot be noted") as caught:
        trust_index(tmp_path / ".latent")
    assert caught.value.code == "no_user_folder"  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["", "\n", "\n0 0 0\n", "zero\n", "0 0 0x\n", "\x00", "9" * 5000])
def test_a_damaged_note_is_no_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LATENT_DATA", str(tmp_path / "data"))
    make_index(tmp_path / ".latent")
    (note,) = (tmp_path / "data" / "indexes").iterdir()
    assert note.stat().st_mode & 0o777 == 0o600 and note.parent.stat().st_mode & 0o777 == 0o700
    note.write_text(text)
    assert not is_known(tmp_path / ".latent")
