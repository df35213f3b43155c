"""Attacks on what moves and removes files: plans and journals of strangers, links, swaps, and two at once."""

from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from index import trust
from retrieval import PlanError, apply_plan, find_images, load_plan, undo
from retrieval.copies.held import Folder, Left, hold
from retrieval.copies.journal import Entry, journal_at, read_journal
from retrieval.copies.members import Known, Member, by_content
from retrieval.copies.moving import carry, last_look, remove, replace
from retrieval.copies.plan import FileFacts
from retrieval.defaults import ACTIONS, Action
from tests.attacks.pairs import SEED, apply, contents, names, plan_for, use_trash, write_pairs
from tests.campaigns.mutate import mutated, mutated_json
from tests.conftest import Run

DRAWS = 700


@pytest.fixture(autouse=True)
def own_trash(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    use_trash(monkeypatch, tmp_path_factory.mktemp("data"))


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """Six pairs, of which the copies were moved aside; with the journal."""
    assert not any(act.left for act in apply(plan_for(write_pairs(tmp_path, 6)), "move", tmp_path))
    return tmp_path


def rewrite(journal: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    journal.write_bytes(b"".join(change(journal.read_bytes().splitlines(keepends=True))))


def other_journal(folder: Path) -> list[bytes]:
    """Lines that this user's program wrote about other files."""
    (folder / "other").mkdir()
    apply(plan_for(write_pairs(folder / "other", 6, size_bytes=900)), "move", folder / "other")
    return (folder / "other" / "journal").read_bytes().splitlines(keepends=True)


def of_another_key(lines: list[bytes], folder: Path) -> list[bytes]:
    """The same entries, in a journal that another user's program wrote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENT_DATA", str(folder / "stranger"))
        with journal_at(folder / "theirs") as journal:
            for line in lines[1:]:
                journal.append(Entry(**{key: value for key, value in json.loads(line).items() if key != "hash"}))
    return (folder / "theirs").read_bytes().splitlines(keepends=True)


def without_hashes(lines: list[bytes]) -> list[bytes]:
    def without(line: bytes) -> bytes:
        return json.dumps({key: value for key, value in json.loads(line).items() if key != "hash"}).encode() + b"\n"

    return [without(line) for line in lines[1:]]


FORGERIES: dict[str, Callable[[list[bytes], Path], list[bytes]]] = {
    "without hashes": lambda lines, folder: without_hashes(lines),
    "of another key": of_another_key,
    "reordered": lambda lines, folder: [*lines[:2], lines[3], lines[2], *lines[4:]],
    "one left out": lambda lines, folder: [*lines[:3], *lines[4:]],
    "the first left out": lambda lines, folder: [lines[0], *lines[2:]],
    "one twice": lambda lines, folder: [*lines[:3], lines[2], *lines[3:]],
    "spliced": lambda lines, folder: [*lines[:3], *other_journal(folder)[3:]],
    "another head": lambda lines, folder: [other_journal(folder)[0], *lines[1:]],
    "no head": lambda lines, folder: lines[1:],
    "another target": lambda lines, folder: [lines[0], lines[1].replace(b"/copies/", b"/startup/"), *lines[2:]],
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_undo_believes_no_line_that_this_users_program_did_not_write(moved: Path, forgery: str) -> None:
    rewrite(moved / "journal", lambda lines: FORGERIES[forgery](lines, moved))
    before = names(moved)
    with pytest.raises(PlanError, match=r"line [0-9] of|is no journal") as refused:
        list(undo(moved / "journal"))
    assert refused.value.code == "foreign_journal" and names(moved) == before
    with pytest.raises(PlanError):  # nor is it continued
        apply(plan_for(write_pairs(moved / "more", 1)), "delete", moved)


def test_a_planted_journal_neither_plants_nor_deletes(tmp_path: Path, latent: Run) -> None:
    """The attack: lines that say a file of the attacker was moved from a place that is executed at every start."""
    (tmp_path / "evil").write_text("run me")
    (tmp_path / "precious").write_text("precious")
    content_hash = FileFacts(0, 0, "0" * 64).content_hash
    lines = [
        {"action": "move", "path": str(tmp_path / "startup" / "evil"), "keep": "", "to": str(tmp_path / "evil")},
        {"action": "move", "path": str(tmp_path / "evil"), "keep": "", "to": str(tmp_path / "precious")},
    ]
    for chosen in (lines, [{"schema": 2, "journal": "00", "hash": "00" * 32}, *lines]):
        text = "".join(json.dumps({**line, "content_hash": content_hash}) + "\n" for line in chosen)
        (tmp_path / "plan.json.journal").write_text(text)
        before = names(tmp_path)
        assert "no journal" in latent("dedup", "undo", "plan.json.journal", code=1).stderr
        assert names(tmp_path) == before


def test_of_a_thousand_mutants_of_a_journal_none_does_more_than_it_said(moved: Path) -> None:
    """A mutant is refused, or is the journal with its end cut off."""
    rng, journal = random.Random(SEED), moved / "journal"
    data, entries, held = journal.read_bytes(), read_journal(journal), 0
    for number in range(DRAWS):
        mutant = mutated(data, rng) if number % 2 else mutated_json(data, rng)
        journal.write_bytes(mutant)
        try:
            found = read_journal(journal)
        except PlanError:
            continue
        assert found == entries[: len(found)]
        held += 1
    assert held < DRAWS / 2


@pytest.mark.parametrize("end", [b"", b"{", b'{"action": "move", "path": "/x', b"\0" * 100])
def test_a_cut_off_last_line_is_forgiven_and_replaced(moved: Path, end: bytes) -> None:
    with open(moved / "journal", "ab") as file:
        file.write(end)
    assert len(read_journal(moved / "journal")) == 6
    apply(plan_for(write_pairs(moved / "more", 1)), "delete", moved)
    assert len(read_journal(moved / "journal")) == 7
    acts = list(undo(moved / "journal"))
    assert [bool(act.left) for act in acts] == [True] + 6 * [False]


KINDS = [
    "link",
    "dangling link",
    "link to nothing",
    "hard link",
    "hard link to nothing",
    "another file",
    "pipe",
    "folder",
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_name_of_a_journal_leads_nowhere_else(tmp_path: Path, kind: str) -> None:
    plan, precious = plan_for(write_pairs(tmp_path, 2)), tmp_path / "precious"
    if kind != "dangling link":
        precious.write_bytes(b"" if "nothing" in kind else b"no newline at its end")
    before = contents(tmp_path)
    journal = tmp_path / "journal"
    if kind.startswith("hard"):
        os.link(precious, journal)
    elif "link" in kind:
        journal.symlink_to(precious)
    elif kind == "a text":
        journal.write_bytes(b"a text, and not of ours")
    elif kind == "pipe":
        os.mkfifo(journal)
    else:
        journal.mkdir()
    for action in ("delete", "move"):
        with pytest.raises((PlanError, OSError)):
            apply(plan, action, tmp_path)  # type: ignore[arg-type]
        with pytest.raises(PlanError):
            list(undo(journal))
    assert before <= contents(tmp_path) and len(names(tmp_path / "copies")) == 2
    assert precious.exists() == (kind != "dangling link")


def test_a_journal_is_for_this_user_alone(moved: Path) -> None:
    assert stat.S_IMODE((moved / "journal").stat().st_mode) == 0o600


ODD_PATHS = [
    "..",
    "../x",
    "/a/../b",
    "/a/./b",
    "/a//b",
    "//a/b",
    "a/b",
    "",
    "/",
    "/a/",
    "/a\0b",
    "/\ud800",
    "/" + 40_000 * "a",
]


@pytest.mark.parametrize("odd", ODD_PATHS, ids=range(len(ODD_PATHS)))
@pytest.mark.parametrize("role", ["keep", "remove"])
def test_paths_of_a_plan_are_whole(tmp_path: Path, odd: str, role: str) -> None:
    """With ``..`` in its name a file was moved out of the folder of --to."""
    plan = json.loads(plan_for(write_pairs(tmp_path, 2)).as_json())
    group = plan["groups"][0]
    plan["files"][odd] = plan["files"][group["keep"]]
    group.update({"keep": odd} if role == "keep" else {"remove": [odd]})
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(PlanError):
        load_plan(tmp_path / "plan.json")


def test_of_many_mutants_of_a_plan_each_is_a_plan_or_refused(tmp_path: Path) -> None:
    path, rng = tmp_path / "plan.json", random.Random(SEED)
    data, read = plan_for(write_pairs(tmp_path, 4)).as_json().encode(), 0
    for number in range(DRAWS):
        path.write_bytes(mutated(data, rng) if number % 2 else mutated_json(data, rng))
        try:
            plan = load_plan(path)
        except PlanError as refused:
            assert len(str(refused)) < 1000
            continue
        read += 1
        for act in apply_plan(plan, "move", tmp_path / "unused", to=tmp_path / "aside"):
            assert not act.to or act.to.startswith(str(tmp_path / "aside") + os.sep)
    assert 0 < read < DRAWS


def test_a_pipe_is_no_plan(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plan.json")
    with pytest.raises(PlanError, match="regular file"):
        load_plan(tmp_path / "plan.json")


@pytest.mark.parametrize("schema", [1, 2])
def test_a_plan_of_an_older_version_is_refused(tmp_path: Path, latent: Run, schema: int) -> None:
    """Its hashes can be forged, or its copies may be none."""
    plan = json.loads(plan_for(write_pairs(tmp_path, 2)).as_json())
    (tmp_path / "plan.json").write_text(json.dumps({**plan, "schema": schema}))
    assert "latent dedup find" in latent("dedup", "apply", "plan.json", code=1).stderr


# Links in the way


@pytest.mark.parametrize("place", ["copies", "home"])
def test_links_below_the_target_are_not_followed(tmp_path: Path, place: str) -> None:
    plan, elsewhere = plan_for(write_pairs(tmp_path, 2)), tmp_path / "elsewhere"
    inside = (tmp_path / "aside").joinpath(*(tmp_path / "copies").parts[1:])
    planted = inside if place == "copies" else tmp_path / "aside" / inside.relative_to(tmp_path / "aside").parts[0]
    planted.parent.mkdir(parents=True)
    elsewhere.mkdir()
    planted.symlink_to(elsewhere)
    acts = apply(plan, "move", tmp_path)
    assert all(act.left and act.failed for act in acts) and not list(elsewhere.iterdir())
    assert len(names(tmp_path / "copies")) == 2


@pytest.fixture
def disk() -> Path:
    """A folder on another disk than temporary folders."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == Path("/tmp").stat().st_dev:
        pytest.skip("there is no other disk here")
    import tempfile

    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)  # type: ignore[misc]


def test_a_planted_link_is_not_written_through_across_disks(tmp_path: Path, disk: Path) -> None:
    """A copy on another disk was written to NAME.latent-part, also if that was a link."""
    plan = plan_for(write_pairs(tmp_path, 3))
    (tmp_path / "precious").write_bytes(b"precious")
    for act in apply_plan(plan, "move", tmp_path / "unused", to=disk / "aside"):
        Path(act.to).parent.mkdir(parents=True, exist_ok=True)
        Path(act.to + ".latent-part").symlink_to(tmp_path / "precious")
    before = contents(tmp_path)
    acts = list(apply_plan(plan, "move", tmp_path / "journal", to=disk / "aside", dry_run=False))
    assert not any(act.left for act in acts) and (tmp_path / "precious").read_bytes() == b"precious"
    assert before <= contents(tmp_path) and not names(tmp_path / "copies")
    assert not any(act.left for act in undo(tmp_path / "journal")) and len(names(tmp_path / "copies")) == 3


def test_files_of_our_own_are_no_pictures(tmp_path: Path) -> None:
    for name in ("a.png", "aside-00.latent-part", "copy-00.latent-part"):
        (tmp_path / name).write_bytes(b"")
    assert [os.path.basename(one.path) for one in find_images(tmp_path)] == ["a.png"]


# Between the check and the act


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """A kept file and its copy, and the file ``new``, which takes their names."""
    ((keep, copy),) = write_pairs(tmp_path, 1)
    (tmp_path / "new").write_bytes(b"edited, and the only one")
    return keep, copy


def test_a_copy_that_was_swapped_is_not_removed(tmp_path: Path, pair: tuple[str, str]) -> None:
    with hold(pair[1]) as held:
        os.replace(tmp_path / "new", pair[1])
        with pytest.raises(Left, match="changed"):
            remove(held, "0")
    assert Path(pair[1]).read_bytes() == b"edited, and the only one"


class Swapping(Folder):
    """A folder in which somebody saves another file under a name, at the last moment before it is renamed."""

    def rename(self, name: str, new: str) -> None:
        if not new.endswith("png"):
            os.replace(os.path.join(self.path, "..", "new"), os.path.join(self.path, name))
        super().rename(name, new)


@pytest.mark.parametrize("action", ["remove", "carry", "replace"])
def test_a_copy_that_is_swapped_between_the_look_and_the_act_is_not_removed(
    tmp_path: Path, pair: tuple[str, str], action: str
) -> None:
    with ExitStack() as stack:
        folder, other = stack.enter_context(Swapping(str(tmp_path / "copies"))), Folder(str(tmp_path))
        held, kept = stack.enter_context(folder.hold(Path(pair[1]).name)), stack.enter_context(hold(pair[0]))
        with pytest.raises(Left, match="changed"), other:
            if action == "remove":
                remove(held, "0")
            elif action == "carry":
                carry(held, other, "moved", "0")
            else:
                replace(held, kept, "0", lambda folder, name: folder.symlink(pair[0], name))
    assert Path(pair[1]).read_bytes() == b"edited, and the only one" and not list(tmp_path.rglob("*.latent-part"))


@pytest.mark.parametrize("swapped", ["other bytes", "gone", "another file"])
@pytest.mark.parametrize("action", ["remove", "carry"])
def test_at_the_last_moment_the_kept_file_is_looked_at(
    tmp_path: Path, pair: tuple[str, str], action: str, swapped: str
) -> None:
    def swap_and_look() -> None:
        if swapped == "gone":
            os.rename(pair[0], tmp_path / "elsewhere")
        elif swapped == "another file":
            os.replace(tmp_path / "new", pair[0])
        else:
            facts = os.stat(pair[0])
            Path(pair[0]).write_bytes(bytes(facts.st_size))
            os.utime(pair[0], ns=(facts.st_atime_ns, facts.st_mtime_ns))
        last_look(kept)

    content = Path(pair[1]).read_bytes()
    with hold(pair[1]) as held, hold(pair[0]) as kept, Folder(str(tmp_path)) as folder, pytest.raises(Left):
        remove(held, "0", swap_and_look) if action == "remove" else carry(held, folder, "moved", "0", swap_and_look)
    assert Path(pair[1]).read_bytes() == content and not (tmp_path / "moved").exists()
    assert not list(tmp_path.rglob("*.latent-part"))


def test_a_folder_that_was_swapped_is_not_acted_in(tmp_path: Path, pair: tuple[str, str]) -> None:
    """The name of the folder now leads to files of somebody else."""
    folder, content = tmp_path / "copies", Path(pair[1]).read_bytes()
    with hold(pair[1]) as held:
        folder.rename(tmp_path / "away")
        folder.mkdir()
        Path(pair[1]).write_bytes(content)
        remove(held, "0")
    assert Path(pair[1]).exists() and not list((tmp_path / "away").iterdir())


def test_a_link_that_leads_elsewhere_than_to_the_kept_file_takes_no_place(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    before = names(tmp_path)
    with hold(pair[1]) as copy, hold(pair[0]) as keep, pytest.raises(Left):
        replace(copy, keep, "0", lambda folder, name: folder.symlink("../new", name))
    assert names(tmp_path) == before


SWAPPER = """
import json, os, sys, time
journal, new, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
seen = 0
while seen < count:
    try:
        size = os.stat(journal).st_size
    except OSError:
        continue
    with open(journal, "rb") as file:
        lines = file.read().split(b"\\n")[1:-1]
    if len(lines) > seen:
        seen = len(lines)
        path = json.loads(lines[-1])["path"]
        os.replace(f"{new}/{seen}", path)
"""


@pytest.mark.parametrize("action", ["delete", "move", "hardlink", "symlink"])
def test_a_file_that_takes_a_name_in_the_midst_of_an_act_is_never_lost(tmp_path: Path, action: Action) -> None:
    """A process waits for each line of the journal, and then saves a new picture under the name of the copy."""
    count = 40
    plan = plan_for(write_pairs(tmp_path, count))
    (tmp_path / "new").mkdir()
    for number in range(1, count + 1):
        (tmp_path / "new" / str(number)).write_bytes(b"edited %d" % number)
    before = contents(tmp_path)
    words = [sys.executable, "-S", "-c", SWAPPER, str(tmp_path / "journal"), str(tmp_path / "new"), str(count)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as swapper:
        assert swapper.stdout is not None
        assert swapper.stdout.readline() == b"ready\n"
        apply(plan, action, tmp_path)
        try:
            swapper.wait(20)
        finally:
            swapper.kill()
    assert before <= contents(tmp_path)


# Two at once

ACTING = """
import sys
from retrieval import PlanError, apply_plan, load_plan
plan, action, journal, to = sys.argv[1:]
plan = load_plan(plan)
print("ready", flush=True)
sys.stdin.readline()
try:
    list(apply_plan(plan, action, journal, to=to or None, dry_run=False))
except PlanError as error:
    print(error.code)
"""


@pytest.mark.parametrize("action", ["delete", "symlink", "hardlink", "move"])
def test_two_plans_at_once_that_keep_what_the_other_removes_lose_nothing(tmp_path: Path, action: Action) -> None:
    rounds, said = 8, []
    for number in range(rounds):
        folder = tmp_path / str(number)
        pairs = write_pairs(folder, 30)
        before = contents(folder)
        plan_for(pairs).save(folder / "0.json")
        plan_for([(b, a) for a, b in pairs]).save(folder / "1.json")
        racers = []
        for one in "01":
            to = str(folder / f"aside {one}") if action == "move" else ""
            words = [sys.executable, "-c", ACTING, str(folder / f"{one}.json"), action, str(folder / f"{one}.j"), to]
            racers.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        for racer in racers:
            assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("\n")
            racer.stdin.flush()
        said += [racer.communicate(timeout=60)[0].strip() for racer in racers]
        readable = {path.read_bytes() for path in folder.rglob("*.png")}
        assert readable >= before, number
        for pair in pairs:
            assert action == "move" or any(os.path.exists(path) for path in pair)
    assert set(said) <= {"", "acts_busy"} and said.count("") >= rounds


def test_while_one_acts_another_is_told_to_wait(tmp_path: Path, latent: Run) -> None:
    plan = plan_for(write_pairs(tmp_path, 4))
    plan.save(tmp_path / "plan.json")
    acts = apply_plan(plan, "move", tmp_path / "journal", to=tmp_path / "aside", dry_run=False)
    next(acts)
    for words in (["apply", "plan.json", "--action", "delete", "--yes"], ["undo", "journal"]):
        assert "another apply or undo is running" in latent("dedup", *words, code=1).stderr
    assert len(names(tmp_path / "copies")) == 3
    assert len(list(acts)) == 3
    assert "back: 4 files" in latent("dedup", "undo", "journal").stdout


def test_a_picture_that_a_kept_link_leads_to_is_not_removed(tmp_path: Path) -> None:
    """A second group may remove the end of the link that the first one keeps."""
    ((a, b), (c, d)) = write_pairs(tmp_path, 2)
    os.unlink(a)
    Path(a).symlink_to(d)
    plan = plan_for([(c, d)])
    other = plan_for([(a, b)])
    plan.groups.extend(other.groups)
    plan.files.update(other.files)
    acts = apply(plan, "delete", tmp_path)
    assert acts[0].left == "a kept file is a link to it" and os.path.exists(a) and os.path.exists(d)


# Hashes


def test_files_of_one_forged_hash_are_not_taken_for_copies(tmp_path: Path) -> None:
    """XXH3 can be forged: two pictures with one hash were made. The index is given such a pair."""
    members = []
    for number, content in enumerate((b"first", b"other", b"first")):
        path = tmp_path / f"{number}.png"
        path.write_bytes(content)
        found = path.stat()
        members.append(Member(str(path), number, b"one hash", found.st_size, found.st_mtime_ns, 1, 1))
    groups = by_content(members, Known())
    assert [[one.number for one in group] for group in groups] == [[0, 2], [1]]


@pytest.mark.parametrize("action", ACTIONS)
def test_what_a_plan_says_of_hashes_is_no_proof(tmp_path: Path, action: Action) -> None:
    """A plan of a stranger names two files that differ, with one hash, or each with its own."""
    ((keep, copy),) = write_pairs(tmp_path, 1)
    Path(keep).write_bytes(Path(copy).read_bytes()[::-1])
    os.utime(keep, ns=(0, 0))
    plan = plan_for([(keep, copy)])
    plan.files[keep] = FileFacts(2000, 0, plan.files[copy].content_hash)
    before = names(tmp_path)
    (act,) = apply(plan, action, tmp_path)
    assert act.left == "the kept one was changed since the plan was made"
    assert {**names(tmp_path), str(tmp_path / "journal"): b""} == {**before, str(tmp_path / "journal"): b""}


def test_a_journal_is_believed_by_every_process_of_this_user_and_by_no_other(tmp_path: Path) -> None:
    apply(plan_for(write_pairs(tmp_path, 1)), "move", tmp_path)
    asking = "import sys; from retrieval.copies.journal import read_journal; print(len(read_journal(sys.argv[1])))"
    told = [
        subprocess.run(
            [sys.executable, "-c", asking, str(tmp_path / "journal")],
            env={**os.environ, "LATENT_DATA": data},
            capture_output=True,
            text=True,
            check=False,
        )
        for data in (str(trust.user_folder()), str(tmp_path / "other"))
    ]
    assert told[0].stdout == "1\n" and "PlanError" in told[1].stderr
