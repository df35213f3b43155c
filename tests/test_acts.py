"""Acts on files when something is wrong: the trash, a full disk, a kill before the index was told; and sidecars."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import FrameType

import pytest
from filelock import FileLock
from send2trash import plat_other

from cli.main import latent as latent_group
from retrieval import IndexBusy, Plan, Retriever, apply_plan, undo
from retrieval.copies.moving import aside, unfinished
from retrieval.copies.sidecars import Sidecars
from retrieval.defaults import Action
from tests.attacks.pairs import apply, contents, names, plan_for, use_trash, write_pairs
from tests.conftest import Run, write_shapes

NOBODY = 54321


@pytest.fixture(autouse=True)
def own_trash(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    data = tmp_path_factory.mktemp("data")
    use_trash(monkeypatch, data)
    return data / "Trash"


# The trash


def test_two_files_of_one_name_come_back_each_to_its_place(tmp_path: Path) -> None:
    pairs = [pair for number in range(4) for pair in write_pairs(tmp_path / str(number), 3, 100 + number)]
    before = names(tmp_path)
    assert not any(act.left for act in apply(plan_for(pairs), "trash", tmp_path))
    acts = list(undo(tmp_path / "journal"))
    assert len(acts) == 12 and not any(act.left for act in acts)
    (tmp_path / "journal").unlink()
    assert names(tmp_path) == before


def test_one_odd_entry_of_the_trash_costs_itself(tmp_path: Path, own_trash: Path) -> None:
    plan = plan_for(write_pairs(tmp_path, 4))
    assert not any(act.left for act in apply(plan, "trash", tmp_path))
    info = own_trash / "info"
    (info / "dangling.trashinfo").symlink_to(info / "nothing")
    os.mkfifo(info / "pipe.trashinfo")
    (info / "folder.trashinfo").mkdir()
    (info / "noise.trashinfo").write_bytes(os.urandom(5000))
    (info / "long.trashinfo").write_bytes(b"Path=" + b"%00" * 100_000)
    first = plan.groups[0].remove[0]
    for name, content in (("gone", None), ("other", b"other")):  # of the same path, and newer
        (info / f"{name}.trashinfo").write_text(f"[Trash Info]\nPath={first}\n")
        if content:
            (own_trash / "files" / name).write_bytes(content)
    acts = list(undo(tmp_path / "journal"))
    assert len(acts) == 4 and not any(act.left for act in acts), acts
    assert (own_trash / "files" / "other").read_bytes() == b"other"


def steps_to_undo(folder: Path, count: int) -> int:
    """Instructions of Python code that bringing back so many files takes."""
    apply(plan_for(write_pairs(folder, count, 50)), "trash", folder)
    steps = 0

    def counted(frame: FrameType, event: str, _: object) -> Callable[..., object]:
        nonlocal steps
        frame.f_trace_opcodes = True
        steps += event == "opcode"
        return counted

    before = sys.gettrace()
    sys.settrace(counted)
    try:
        acts = list(undo(folder / "journal"))
    finally:
        sys.settrace(before)
    assert len(acts) == count and not any(act.left for act in acts)
    return steps


def test_to_bring_back_twice_as_many_takes_twice_as_long(tmp_path: Path) -> None:
    few, many = steps_to_undo(tmp_path / "few", 50), steps_to_undo(tmp_path / "many", 100)
    assert 50 < few < many < 2.3 * few


def as_nobody(words: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and output of the program, run by a user who is in no list of users.

    A fork of this process, since that user may not read the program's files.
    """
    for name in ("index.local.store", "retrieval.retriever", "retrieval.copies.undo", "cli.dedup", "cli.hints"):
        import_module(name)
    child = os.fork()
    if child == 0:
        try:
            output = os.open(folder / "output", os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o666)
            os.dup2(output, 1), os.dup2(output, 2)
            os.environ.clear()
            os.environ.update(environment)
            os.chdir(folder)
            os.setgroups([])
            os.setgid(NOBODY), os.setuid(NOBODY)
            plat_other.XDG_DATA_HOME = os.path.expanduser(b"~/.local/share")
            plat_other.HOMETRASH_B = os.path.join(plat_other.XDG_DATA_HOME, b"Trash")
            plat_other.uid = NOBODY
            latent_group(words, standalone_mode=True)
        except SystemExit as end:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(end.code if isinstance(end.code, int) else 99)
        except BaseException:
            traceback.print_exc()
            os._exit(98)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, (folder / "output").read_text()


@pytest.mark.parametrize("trouble", ["no home", "a home that is a file", "a home of another user"])
def test_without_a_trash_nothing_is_said_to_be_done(trouble: str, capfd: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    with capfd.disabled(), tempfile.TemporaryDirectory() as place:  # pytest's folders are closed to others
        os.chmod(place, 0o755)
        work = Path(place) / "work"
        plan_for(write_pairs(work, 3)).save(work / "plan.json")
        for path in (work, *work.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        homes = {"a home that is a file": str(work / "plan.json"), "a home of another user": "/root"}
        environment = {"LATENT_DATA": str(work / "data"), "LATENT_INDEX": str(work / "none")}
        environment |= {"HOME": homes[trouble]} if trouble in homes else {}
        before, words = names(work / "copies"), ["dedup", "apply", "plan.json", "--yes"]
        code, said = as_nobody(words, work, environment)
        assert code == 1 and "done: 0 files" in said and "trash" in said and "--action move" in said, said
        assert names(work / "copies") == before
        code, said = as_nobody([*words, "--action", "move", "--to", "aside"], work, environment)
        assert code == 0 and "done: 3 files" in said and not names(work / "copies"), said


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder on another disk than temporary folders."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        pytest.skip("there is no other disk here")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def test_the_trash_of_another_disk(disk: Path) -> None:
    trash = Path(f"/dev/shm/.Trash-{os.getuid()}")
    was_there = trash.exists()
    try:
        before = names(disk)
        plan = plan_for(write_pairs(disk, 3))
        before = names(disk)
        assert not any(act.left for act in apply(plan, "trash", disk)) and not names(disk / "copies")
        assert not any(act.left for act in undo(disk / "journal"))
        (disk / "journal").unlink()
        assert names(disk) == before
    finally:
        if not was_there:
            shutil.rmtree(trash)


# A full disk


def with_a_limit(limit_bytes: int, act: Callable[[], int]) -> int:
    """What ``act`` returns in a child whose files cannot be larger."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
            code = act()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_what_does_not_fit_on_the_disk_failed_and_leaves_nothing_there(tmp_path: Path, disk: Path) -> None:
    plan = plan_for(write_pairs(tmp_path, 5, size_bytes=100_000))
    before = names(tmp_path / "copies")

    def move() -> int:
        acts = list(apply_plan(plan, "move", tmp_path / "journal", to=disk / "aside", dry_run=False))
        return sum(act.failed and "too large" in act.left for act in acts)

    assert with_a_limit(50_000, move) == 5
    assert names(tmp_path / "copies") == before and not names(disk)
    assert not any(act.left for act in apply(plan, "move", tmp_path)) and not names(tmp_path / "copies")


def test_a_journal_that_cannot_be_continued_stops_everything(tmp_path: Path) -> None:
    """What was done before stays in the journal, and comes back."""
    plan = plan_for(write_pairs(tmp_path, 30, size_bytes=100))
    before = names(tmp_path / "copies")

    def move() -> int:
        try:
            apply(plan, "move", tmp_path)
        except OSError:
            return 7
        return 0

    assert with_a_limit(5000, move) == 7
    gone = set(before) - set(names(tmp_path / "copies"))
    assert 0 < len(gone) < 30 and (tmp_path / "journal").read_bytes().endswith(b"}\n")
    acts = list(undo(tmp_path / "journal"))
    assert {act.path for act in acts if not act.left} == gone and names(tmp_path / "copies") == before


def test_a_refusal_of_the_system_is_exit_code_1_and_a_changed_file_is_not(tmp_path: Path, latent: Run) -> None:
    pairs = write_pairs(tmp_path, 3)
    plan_for(pairs).save(tmp_path / "plan.json")
    os.utime(pairs[0][1])
    taken = (tmp_path / "aside").joinpath(*Path(pairs[1][1]).parts[1:])
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"somebody's")
    words = ["dedup", "apply", "plan.json", "--action", "move", "--to", "aside"]
    assert "could be done: 2 files" in latent(*words).stdout
    done = latent(*words, "--yes", code=1)
    assert "done: 1 file," in done.stdout and "left alone: 2" in done.stdout and "another file" in done.stdout
    taken.unlink()
    done = latent(*words, "--yes")
    assert "done: 1 file," in done.stdout and "before: 1;" in done.stdout and "left alone: 1" in done.stdout


# After a kill


@pytest.mark.parametrize("half", ["set aside", "and the act done"])
@pytest.mark.parametrize("action", ["delete", "move", "hardlink", "symlink"])
def test_names_that_a_killed_process_left_are_settled_by_the_next_run(
    tmp_path: Path, action: Action, half: str
) -> None:
    """As if it was killed after the file was set aside; and in a copy to another disk."""
    pairs = write_pairs(tmp_path, 3)
    plan, before = plan_for(pairs), contents(tmp_path)
    to = tmp_path / "aside" if action == "move" else None
    run = apply_plan(plan, action, tmp_path / "journal", to=to, dry_run=False)
    next(run)
    (entry,) = _entries(tmp_path)
    run.close()  # type: ignore[attr-defined]
    copy = Path(pairs[0][1])
    shutil.copy2(pairs[0][0], copy.with_name(aside(entry)))
    os.utime(copy.with_name(aside(entry)), ns=(0, plan.files[str(copy)].mtime_ns))
    if half == "set aside":  # the act has to be done again
        copy.unlink(missing_ok=True)
        shutil.rmtree(tmp_path / "aside", ignore_errors=True)
    (copy.parent / unfinished(entry)).write_bytes(b"half of it")
    acts = apply(plan, action, tmp_path)
    assert not any(act.left for act in acts if not act.before) and len(acts) == 3
    assert acts[0].before == (action != "delete" and half != "set aside")
    assert not list(tmp_path.rglob("*.latent-part")) and contents(tmp_path) >= before
    assert os.path.lexists(copy) == (action in ("hardlink", "symlink"))


def test_a_move_that_was_killed_between_its_halves_is_finished_both_ways(tmp_path: Path) -> None:
    """Both names lead to one file then, and what is done to one changes its date of change."""
    pairs = write_pairs(tmp_path, 3)
    plan, before = plan_for(pairs), names(tmp_path / "copies")
    acts = apply(plan, "move", tmp_path)
    os.link(acts[1].to, acts[1].path)
    again = apply(plan, "move", tmp_path)
    assert not any(act.left for act in again if not act.before) and not names(tmp_path / "copies")
    os.link(acts[2].to, acts[2].path)
    assert not any(act.left for act in undo(tmp_path / "journal"))
    assert names(tmp_path / "copies") == before and not names(tmp_path / "aside")


def _entries(folder: Path) -> list[str]:
    from retrieval.copies.journal import read_journal

    return [one.token for one in read_journal(folder / "journal")]


@pytest.fixture
def indexed(tmp_path: Path, tiny_bundle: Path) -> tuple[Path, Plan]:
    """An index of pictures and their copies, and a plan for the copies."""
    write_shapes(tmp_path / "photos" / "kept", 12)
    shutil.copytree(tmp_path / "photos" / "kept", tmp_path / "photos" / "copies")
    Retriever.build(tmp_path / "photos", tmp_path / ".latent", model=tiny_bundle, workers=1).close()
    kept = sorted((tmp_path / "photos" / "kept").iterdir())
    plan = plan_for([(str(one), str(tmp_path / "photos" / "copies" / one.name)) for one in kept])
    plan.save(tmp_path / "plan.json")
    return tmp_path, plan


def found(folder: Path) -> int:
    with Retriever.open(folder / ".latent") as retriever:
        assert retriever.verify() == [] or len(retriever) > 12
        return len(retriever)


@pytest.mark.parametrize("next_command", ["apply", "undo", "update"])
def test_what_a_killed_run_did_is_told_to_the_index_by_the_next(
    indexed: tuple[Path, Plan], latent: Run, next_command: str
) -> None:
    folder, plan = indexed
    acts = apply_plan(plan, "delete", folder / "plan.json.journal", dry_run=False)  # and the index is not told
    for _ in range(5):
        next(acts)
    acts.close()  # type: ignore[attr-defined]
    assert found(folder) == 24
    if next_command == "apply":
        done = latent("dedup", "apply", "plan.json", "--action", "delete", "--yes").stdout
        assert done.count("before ") == 5 and "it is gone" not in done and "done: 7 files" in done
    elif next_command == "undo":
        latent("dedup", "undo", "plan.json.journal", code=1)
    else:
        latent("index", "update")
    assert found(folder) == (12 if next_command == "apply" else 19)


def test_a_run_that_is_stopped_tells_the_index_what_it_did(indexed: tuple[Path, Plan]) -> None:
    folder, plan = indexed
    with Retriever.open(folder / ".latent") as retriever:
        acts = apply_plan(plan, "delete", folder / "journal", dry_run=False, library=retriever)
        for _ in range(5):
            next(acts)
        acts.close()  # type: ignore[attr-defined]
    assert found(folder) == 19


def test_a_busy_index_is_known_before_anything_is_done(indexed: tuple[Path, Plan]) -> None:
    folder, plan = indexed
    before = names(folder / "photos")
    lock = FileLock(folder / ".latent" / "lock")
    with Retriever.open(folder / ".latent") as retriever, lock, pytest.raises(IndexBusy):
        list(apply_plan(plan, "delete", folder / "journal", dry_run=False, library=retriever))
    assert names(folder / "photos") == before and not (folder / "journal").exists()


# Links and sidecars


def test_symlinks_are_relative_and_survive_a_move_of_the_whole(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    assert not any(act.left for act in apply(plan_for(write_pairs(folder, 3)), "symlink", tmp_path))
    folder.rename(tmp_path / "moved")
    for copy in sorted((tmp_path / "moved" / "copies").iterdir()):
        assert copy.is_symlink() and copy.read_bytes() == (tmp_path / "moved" / "kept" / copy.name).read_bytes()


GOES = ["000.png.xmp", "000.xmp", "000.AAE", "000.mov", "000.png.json", "000.png.supplemental-meta.json"]
STAYS = ["001.xmp", "0000.xmp", "000.txt.xmp", "other.mov", "00.aae"]


@pytest.fixture
def besides(tmp_path: Path) -> Path:
    """Two pairs. The copies have sidecars, and 001.png has a sister that stays, 001.jpg."""
    write_pairs(tmp_path, 2)
    for name in (*GOES, *STAYS, "001.jpg", "000.txt"):
        (tmp_path / "copies" / name).write_bytes(name.encode())
    (tmp_path / "copies" / "000.txt").unlink()
    return tmp_path


@pytest.mark.parametrize("action", ["move", "trash"])
def test_sidecars_go_with_their_picture_and_come_back(besides: Path, action: Action) -> None:
    pairs = [(str(besides / "kept" / name), str(besides / "copies" / name)) for name in ("000.png", "001.png")]
    plan, before = plan_for(pairs), names(besides)
    acts = apply(plan, action, besides)
    assert not any(act.left for act in acts)
    assert sorted(Path(act.path).name for act in acts if act.beside) == sorted(GOES)
    assert sorted(Path(one).name for one in names(besides / "copies")) == sorted([*STAYS, "001.jpg"])
    assert not any(act.left for act in undo(besides / "journal"))
    (besides / "journal").unlink()
    assert {path: content for path, content in names(besides).items() if "aside" not in path} == before


def test_of_a_deleted_picture_is_said_what_stays(besides: Path, latent: Run) -> None:
    pairs = [(str(besides / "kept" / "000.png"), str(besides / "copies" / "000.png"))]
    plan_for(pairs).save(besides / "plan.json")
    said = latent("dedup", "apply", "plan.json", "--action", "delete", "--yes", cwd=besides).stdout
    stay = [line.split("/")[-1] for line in said.splitlines() if line.startswith("stays ")]
    assert sorted(stay) == sorted(GOES)
    assert (besides / "copies" / "000.mov").exists()


def test_a_picture_that_stays_keeps_its_sidecars(besides: Path) -> None:
    """The move of the picture fails after its sidecars have gone: they come back."""
    plan = plan_for([(str(besides / "kept" / "000.png"), str(besides / "copies" / "000.png"))])
    taken = (besides / "aside").joinpath(*(besides / "copies" / "000.png").parts[1:])
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"somebody's")
    before = names(besides / "copies")
    (act,) = apply(plan, "move", besides)
    assert act.failed and names(besides / "copies") == before


def test_the_last_of_two_pictures_takes_their_sidecar(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.heic", "a.xmp"):
        (tmp_path / name).write_bytes(b"")
    sidecars = Sidecars()
    assert sidecars.of(str(tmp_path / "a.jpg")) == []
    sidecars.gone(str(tmp_path / "a.jpg"))
    assert sidecars.of(str(tmp_path / "a.heic")) == [str(tmp_path / "a.xmp")]


def test_a_dry_run_says_the_same(besides: Path) -> None:
    pairs = [(str(besides / "kept" / name), str(besides / "copies" / name)) for name in ("000.png", "001.png")]
    plan, before = plan_for(pairs), names(besides)
    dry = list(apply_plan(plan, "move", besides / "journal", to=besides / "aside"))
    assert names(besides) == before and dry == apply(plan, "move", besides)


def test_help_names_the_exit_code() -> None:
    said = subprocess.run(
        [str(Path(sys.executable).with_name("latent")), "dedup", "apply", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Exits with 1" in " ".join(said.stdout.split())
