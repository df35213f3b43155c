"""Carrying out a plan: what goes, what stays, what comes back; under kill -9, and beside people who change files."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from retrieval import Act, PlanError, Retriever, apply_plan, find_copies, load_plan, undo
from retrieval.copies.held import Folder, hold
from retrieval.copies.moving import carry
from retrieval.copies.plan import FileFacts, Group, Plan
from retrieval.defaults import ACTIONS, Action
from tests.attacks.pairs import use_trash
from tests.conftest import Run, write_shapes

COPIES = 60
Tree = dict[str, tuple[bytes, int]]


@pytest.fixture
def planned(tmp_path: Path, tiny_bundle: Path) -> Path:
    """Pictures, copies of the same bytes of many, an index and a plan; in a folder whose paths are absolute."""
    photos = tmp_path / "photos"
    write_shapes(photos / "kept", 80)
    (photos / "copies").mkdir()
    for number, path in enumerate(sorted((photos / "kept").iterdir())[:COPIES]):
        copy = photos / "copies" / f"copy {number:02d} \N{SNOWMAN}.png"
        copy.write_bytes(path.read_bytes())
        os.utime(copy, ns=(1_700_000_000 * 10**9, 1_700_000_000 * 10**9 + number))
    with Retriever.build(photos, tmp_path / ".latent", model=tiny_bundle, workers=1) as retriever:
        find_copies(retriever, keep=["newest", "path"], threshold=0.0, workers=1).save(tmp_path / "plan.json")
    assert len([path for group in load_plan(tmp_path / "plan.json").groups for path in group.remove]) >= COPIES
    return tmp_path


def tree(folder: Path) -> Tree:
    """Content and date of every file."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".latent" not in path.parts
    }


def run(folder: Path, action: Action, dry_run: bool = False) -> list[Act]:
    plan = load_plan(folder / "plan.json")
    to = folder / "aside" if action == "move" else None
    return list(apply_plan(plan, action, folder / "plan.json.journal", to=to, dry_run=dry_run))


def going(folder: Path) -> list[str]:
    return [path for group in load_plan(folder / "plan.json").groups for path in group.remove]


@pytest.fixture(autouse=True, scope="module")
def own_trash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        use_trash(patch, tmp_path_factory.mktemp("data"))
        yield


@pytest.mark.parametrize("action", ACTIONS)
def test_a_dry_run_changes_nothing(planned: Path, action: Action) -> None:
    before = tree(planned)
    acts = run(planned, action, dry_run=True)
    assert [act.path for act in acts] == going(planned) and not any(act.left for act in acts)
    assert tree(planned) == before


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_leaves_what_must_be_left(planned: Path, action: Action) -> None:
    photos, gone = planned / "photos", going(planned)
    before = tree(photos)
    acts = run(planned, action)
    assert [act.path for act in acts] == gone and not any(act.left for act in acts), [act.left for act in acts]
    after, contents = tree(photos), {content for content, _ in before.values()}
    assert {content for content, _ in after.values()} == contents  # of every picture one copy at least
    for path in set(before) - set(gone):
        assert after[path] == before[path]
    if action in ("hardlink", "symlink"):
        plan = load_plan(planned / "plan.json")
        for group in plan.groups:
            for path in group.remove:
                assert os.path.samefile(path, group.keep) and os.path.islink(path) == (action == "symlink")
    else:
        assert not any(os.path.lexists(path) for path in gone)
    if action == "move":
        for act in acts:
            assert (Path(act.to).read_bytes(), os.stat(act.to).st_mtime_ns) == before[act.path]
            assert act.to.startswith(str(planned / "aside"))
    assert not list(planned.rglob("*.latent-part"))


@pytest.mark.parametrize("action", ["move", "trash"])
def test_undo_brings_everything_back_to_the_last_byte_and_date(planned: Path, action: Action) -> None:
    before = tree(planned / "photos")
    run(planned, action)
    assert tree(planned / "photos") != before
    acts = list(undo(planned / "plan.json.journal"))
    assert len(acts) == len(going(planned)) and not any(act.left for act in acts), acts[:3]
    assert tree(planned / "photos") == before
    assert not any(act.left for act in undo(planned / "plan.json.journal"))  # once more: all is there already
    assert tree(planned / "photos") == before


@pytest.mark.parametrize("trouble", [errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_a_move_to_another_disk_or_one_without_hard_links(
    planned: Path, trouble: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There files are copied whole, with their dates, before the old ones go."""
    before, gone = tree(planned / "photos"), going(planned)
    refused: list[object] = []

    def refuses(source: object, *words: object, **more: object) -> None:
        refused.append(source)
        raise OSError(trouble, os.strerror(trouble))

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", refuses)
        acts = run(planned, "move")
        assert refused[::2] == [Path(act.path).name for act in acts]  # and so was each copy's name, after it
        assert gone == [act.path for act in acts] and not any(act.left for act in acts), acts[:3]
        assert {act.path: tree(planned)[act.to] for act in acts} == {path: before[path] for path in gone}
        assert not any(os.path.lexists(path) for path in gone) and not list(planned.rglob("*.latent-part"))
        assert not any(act.left for act in undo(planned / "plan.json.journal"))
    assert tree(planned / "photos") == before


def test_a_file_that_appears_at_the_place_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"mine")
    (tmp_path / "target").write_bytes(b"another's")
    with hold(str(tmp_path / "source")) as held, Folder(str(tmp_path)) as folder, pytest.raises(FileExistsError):
        carry(held, folder, "target", "0")
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"source": b"mine", "target": b"another's"}


@pytest.mark.parametrize("action", ["hardlink", "symlink", "delete"])
def test_what_cannot_be_undone_says_so(planned: Path, action: Action) -> None:
    run(planned, action)
    after = tree(planned / "photos")
    assert {act.left for act in undo(planned / "plan.json.journal")} == {f"what was done by {action} cannot be undone"}
    assert tree(planned / "photos") == after


def spoil_keeper_gone(keep: Path, path: Path) -> None:
    keep.unlink()


def spoil_keeper_changed(keep: Path, path: Path) -> None:
    keep.write_bytes(keep.read_bytes() + b"more")


def spoil_keeper_of_same_size_and_date(keep: Path, path: Path) -> None:
    facts, content = keep.stat(), bytearray(keep.read_bytes())
    content[-20] ^= 1
    keep.write_bytes(content)
    os.utime(keep, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def spoil_copy_touched(keep: Path, path: Path) -> None:
    os.utime(path)


def spoil_copy_edited(keep: Path, path: Path) -> None:
    facts, content = path.stat(), bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def spoil_copy_gone(keep: Path, path: Path) -> None:
    path.unlink()


def spoil_same_file(keep: Path, path: Path) -> None:
    """The last copy: the kept one is nothing but another name of it."""
    facts = keep.stat()
    path.unlink()
    os.link(keep, path)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("spoil", [value for name, value in sorted(globals().items()) if name.startswith("spoil_")])
def test_what_is_not_as_it_was_is_left_alone(
    planned: Path, action: Action, spoil: Callable[[Path, Path], None]
) -> None:
    group = load_plan(planned / "plan.json").groups[0]
    spoil(Path(group.keep), Path(group.remove[0]))
    before = tree(planned / "photos")
    acts = {act.path: act for act in run(planned, action)}
    assert acts[group.remove[0]].left
    after = tree(planned / "photos")
    for path in (group.keep, group.remove[0]):
        assert after.get(path) == before.get(path)
    assert sum(bool(act.left) for act in acts.values()) == len(group.remove)  # and nothing else was


def test_a_file_with_the_name_of_another_is_not_overwritten(planned: Path) -> None:
    first = run(planned, "move", dry_run=True)[0]
    Path(first.to).parent.mkdir(parents=True)
    Path(first.to).write_bytes(b"somebody's")
    acts = run(planned, "move")
    assert "another file" in acts[0].left and Path(first.to).read_bytes() == b"somebody's"
    assert Path(first.path).exists() and not any(act.left for act in acts[1:])
    Path(acts[1].path).write_bytes(b"a new picture there")
    (back,) = [act for act in undo(planned / "plan.json.journal") if act.path == acts[1].path]
    assert "another file" in back.left and Path(acts[1].path).read_bytes() == b"a new picture there"


@pytest.mark.parametrize("action", ["move", "trash", "delete", "hardlink"])
def test_killed_at_any_moment_nothing_is_lost_and_the_same_command_goes_on(planned: Path, action: Action) -> None:
    before = tree(planned / "photos")
    contents = {content for content, _ in before.values()}
    program = str(Path(sys.executable).with_name("latent"))
    words = [program, "dedup", "apply", "plan.json", "--action", action, "--yes"]
    words += ["--to", "aside"] if action == "move" else []
    chance, ends = random.Random(1), []
    for _ in range(5):
        process = subprocess.Popen(words, cwd=planned, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        journal, size = planned / "plan.json.journal", 0
        size = journal.stat().st_size if journal.exists() else 0
        while process.poll() is None and (not journal.exists() or journal.stat().st_size == size):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.wait()
        after = tree(planned / "photos")
        assert {content for content, _ in after.values()} == contents
        for path in set(before) - set(going(planned)):
            assert after[path] == before[path]
        ends.append(process.returncode)
    assert ends[0] == -signal.SIGKILL
    assert action == "hardlink" or len(after) < len(before)
    done = subprocess.run(words, cwd=planned, capture_output=True, text=True, check=True)
    assert "done: " in done.stdout and not list((planned / "photos").rglob("*.latent-part"))
    if action != "hardlink":
        assert not any(os.path.lexists(path) for path in going(planned))
    if action in ("move", "trash"):
        assert not any(act.left for act in undo(planned / "plan.json.journal"))
        assert tree(planned / "photos") == before


def test_the_catalog_follows(planned: Path) -> None:
    program = str(Path(sys.executable).with_name("latent"))

    def latent(*words: str) -> str:
        return subprocess.run([program, *words], cwd=planned, capture_output=True, text=True, check=True).stdout

    found = len(tree(planned / "photos"))
    assert "could be done" in latent("dedup", "apply", "plan.json", "--action", "delete")
    assert len(tree(planned / "photos")) == found
    latent("dedup", "apply", "plan.json", "--action", "move", "--to", "aside", "--yes")
    with Retriever.open(planned / ".latent") as retriever:
        assert len(retriever) == found - len(going(planned)) and retriever.verify() == []
    latent("dedup", "undo", "plan.json.journal")
    assert f"added {len(going(planned))} " in latent("index", "update")
    with Retriever.open(planned / ".latent") as retriever:
        assert len(retriever) == found and retriever.verify() == []


def edit(change: Callable[[dict], object]) -> Callable[[Path], None]:  # type: ignore[type-arg]
    def edited(path: Path) -> None:
        facts = json.loads(path.read_text())
        change(facts)
        path.write_text(json.dumps(facts))

    return edited


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("keep everything"), "is no plan"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-40]), "is no plan"),
    "a list": (lambda path: path.write_text("[]"), "is no plan"),
    "no groups": (edit(lambda facts: facts.pop("groups")), "is no plan"),
    "unknown file": (edit(lambda facts: facts["groups"][0]["remove"].append("/etc/passwd")), "says nothing"),
    "to go twice": (edit(lambda facts: facts["groups"].append(facts["groups"][0])), "twice"),
    "keeps and goes": (
        edit(lambda facts: facts["groups"][1]["remove"].append(facts["groups"][0]["keep"])),
        "twice",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_plan_that_cannot_be_carried_out_is_refused_whole(planned: Path, case: str) -> None:
    spoil, message = BROKEN[case]
    before = tree(planned / "photos")
    spoil(planned / "plan.json")
    with pytest.raises(PlanError, match=message):
        run(planned, "delete")
    assert tree(planned / "photos") == before


def steps_to_load(path: Path, groups: int) -> int:
    """Instructions of Python code that reading a plan of so many groups takes."""
    names = [(f"/photos/{number}", f"/copies/{number}") for number in range(groups)]
    facts = FileFacts(1, 2, "ab" * 32)
    plan = Plan(1.0, groups=[Group(keep, [copy], []) for keep, copy in names])
    plan.files.update((name, facts) for pair in names for name in pair)
    plan.save(path)
    count = 0

    def counted(frame: FrameType, event: str, _: object) -> Callable[..., object]:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return counted

    before = sys.gettrace()
    sys.settrace(counted)
    try:
        loaded = load_plan(path)
    finally:
        sys.settrace(before)
    assert loaded == plan
    return count


def test_a_plan_of_twice_as_many_groups_takes_twice_as_long_to_read(tmp_path: Path) -> None:
    few, many = steps_to_load(tmp_path / "plan.json", 300), steps_to_load(tmp_path / "plan.json", 600)
    assert 300 < few < many < 2.2 * few


def test_links_are_left_alone_and_led_to_their_end(planned: Path) -> None:
    """A hard link to a link would be a link that leads nowhere from another folder."""
    photos, plan = planned / "photos", load_plan(planned / "plan.json")
    keep, going_to_be_linked, left = plan.groups[0].keep, plan.groups[0].remove[0], plan.groups[1].remove[0]
    for path in (keep, left):
        real = photos / f"real-{Path(path).name}"
        Path(path).rename(real)
        Path(path).symlink_to(os.path.relpath(real, Path(path).parent))
    acts = {act.path: act.left for act in run(planned, "hardlink")}
    assert not acts[going_to_be_linked] and acts[left] == "it is a link, which takes no room"
    assert not os.path.islink(going_to_be_linked) and os.path.samefile(going_to_be_linked, keep)
    assert os.path.islink(left) and os.path.exists(left)


def test_a_journal_that_a_full_disk_cut_off_is_still_a_journal(planned: Path) -> None:
    before, journal = tree(planned / "photos"), planned / "plan.json.journal"
    acts = apply_plan(load_plan(planned / "plan.json"), "move", journal, to=planned / "aside", dry_run=False)
    for _ in range(5):
        next(acts)
    acts.close()  # type: ignore[attr-defined]
    with open(journal, "ab") as file:
        file.write(journal.read_bytes().splitlines()[-1][:-30])  # of the next act, which was not begun
    run(planned, "move")
    assert not any(act.left for act in undo(journal))
    assert tree(planned / "photos") == before


def test_a_name_that_is_no_utf8_comes_back_from_the_trash(tmp_path: Path, tiny_bundle: Path) -> None:
    photos = tmp_path / "photos"
    write_shapes(photos, 3)
    copy = photos / os.fsdecode(b"caf\xe9 100%.png")
    copy.write_bytes(sorted(photos.iterdir())[0].read_bytes())
    os.utime(copy, (0, 0))
    with Retriever.build(photos, tmp_path / ".latent", model=tiny_bundle, workers=1) as retriever:
        find_copies(retriever, keep=["newest"], threshold=0.0, workers=1).save(tmp_path / "plan.json")
    assert going(tmp_path) == [str(copy)]
    before, notes = tree(photos), set(Path(os.environ["XDG_DATA_HOME"]).rglob("*.trashinfo"))
    run(tmp_path, "trash")
    assert len(tree(photos)) == len(before) - 1
    assert len(set(Path(os.environ["XDG_DATA_HOME"]).rglob("*.trashinfo")) - notes) == 1
    assert not any(act.left for act in undo(tmp_path / "plan.json.journal"))
    assert tree(photos) == before
    assert set(Path(os.environ["XDG_DATA_HOME"]).rglob("*.trashinfo")) == notes  # no ghost in the desktop's trash


def test_an_edited_plan_does_what_is_left_in_it(planned: Path) -> None:
    edit(lambda facts: facts.update(groups=facts["groups"][:2]))(planned / "plan.json")
    before = len(tree(planned / "photos"))
    acts = run(planned, "delete")
    assert len(acts) == len(going(planned)) and len(tree(planned / "photos")) == before - len(acts)


def test_moving_needs_a_folder_that_is_not_among_the_pictures(planned: Path, latent: Run) -> None:
    plan, before = load_plan(planned / "plan.json"), tree(planned)
    for to, message in ((None, "name the folder"), (planned / "photos", "another folder")):
        with pytest.raises(PlanError, match=message):
            list(apply_plan(plan, "move", planned / "j", to=to, dry_run=False))
    with pytest.raises(PlanError, match="trash has no use for it"):
        list(apply_plan(plan, "trash", planned / "j", to=planned / "aside"))
    for words, option in (("--action move", "--to DIR"), ("--action trash --to aside", "--to")):
        said = latent("dedup", "apply", "plan.json", *words.split(), "--yes", code=1).stderr
        assert said.startswith("Error: ") and option in said
    assert tree(planned) == before
    with pytest.raises(ValueError, match="no action"):
        list(apply_plan(plan, "burn", planned / "j"))  # type: ignore[arg-type]


def test_without_a_journal_nothing_is_done(planned: Path) -> None:
    before = tree(planned / "photos")
    (planned / "plan.json.journal").mkdir()
    with pytest.raises(OSError, match="directory"):
        run(planned, "delete")
    assert tree(planned / "photos") == before


@pytest.mark.parametrize("text", ["", "no journal", '{"action": "move"}', "[]"])
def test_what_is_no_journal(tmp_path: Path, text: str) -> None:
    (tmp_path / "j").write_text(text + "}\n" if not text.endswith("}") else text)
    with pytest.raises(PlanError, match="is no journal"):
        list(undo(tmp_path / "j"))
