"""``latent serve``: copies, the index and jobs over HTTP, against the command line and a searcher in this process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval import Retriever, Searcher, ServerError, connect, find_copies
from tests.conftest import Run, write_shapes
from tests.scenes import write_copies, write_scenes

try:
    import fastapi  # noqa: F401
    import httpx
    import uvicorn  # noqa: F401

    from serve.errors import Refused
    from serve.jobs import Jobs
    from serve.offers import Offers
    from serve.served import STREAMS_MOST
    from tests.serving import Site, ended, raw, refused, started, told
except ImportError:
    pytest.skip("latent serve needs the extra web, and its tests httpx", allow_module_level=True)

SECRET = "a very secret place"
SCENES, COPIED = 24, 6
KINDS = "bytes,pixels,scaled,edited"
WAIT_S = 90
BATCH = 256  # files that an update commits at once
NEW = 4 * BATCH
READ_AGAIN = 1  # of the files that are copied for each test, one comes before the new ones


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """A folder with an index of scenes and copies of some of them; the truth: name of a copy -> its scene."""
    home = tmp_path_factory.mktemp("copied") / SECRET
    truth = write_copies(home / "photos" / "phone", write_scenes(home / "photos", SCENES)[:COPIED])
    (home / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(400))
    (home / "photos" / "notes.txt").write_text("no picture")
    Retriever.build(home / "photos", index=home / ".latent", workers=1).close()
    return home, truth


@pytest.fixture
def home(made: tuple[Path, dict[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it with its own trash and its own data of the user, since these tests move files."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    home = tmp_path / SECRET
    shutil.copytree(made[0], home, copy_function=shutil.copy2)
    return home


@pytest.fixture
def serving(home: Path, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Starts servers of it, and ends them."""
    sites: list[Site] = []

    def serving(*options: str) -> Site:
        scratch = tmp_path / f"server-{len(sites)}"
        scratch.mkdir()
        sites.append(started(home, *options, token=tmp_path / "token", scratch=scratch))
        return sites[-1]

    yield serving
    for site in sites:
        if site.process.poll() is None:
            ended(site)
        elif site.process.stdout is not None:
            site.process.stdout.close()
        said = site.log.read_text()
        assert "Traceback" not in said, said


@pytest.fixture(scope="module")
def usual(made: tuple[Path, dict[str, Path]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that carries plans out, for tests that change no file."""
    scratch = tmp_path_factory.mktemp("usual")
    site = started(made[0], "--allow-apply", token=scratch / "token", scratch=scratch)
    yield site
    assert ended(site) == 0 and "Traceback" not in site.log.read_text()


@pytest.fixture(scope="module")
def made_plan(usual: Site) -> str:
    return plan_of(usual)


@pytest.fixture
def plan(usual: Site, made_plan: str) -> str:
    """A plan of which nothing is decided."""
    for number in range(COPIED):
        told(act(usual, f"copies/{made_plan}/decide", group=number, decision="open"))
    return made_plan


def act(site: Site, route: str, **words: Any) -> httpx.Response:
    return httpx.post(f"{site.origin}/api/v1/{route}", params=words, headers=site.key, timeout=60)


def waited(site: Site, begun: httpx.Response) -> Any:
    """The job that a request began, when it has ended."""
    assert begun.status_code == 202, begun.text
    number, ends_s = begun.json()["id"], time.monotonic() + WAIT_S
    while (job := told(site.get("job"))["job"])["state"] == "running":
        assert job["id"] == number and time.monotonic() < ends_s, job
        time.sleep(0.02)
    assert job["id"] == number
    return job


def done(site: Site, begun: httpx.Response) -> Any:
    job = waited(site, begun)
    assert job["state"] == "done", job
    return job["result"]


def plan_of(site: Site) -> str:
    return str(done(site, act(site, "copies/find", kinds=KINDS))["plan"])


def groups_of(site: Site, plan: str, **words: Any) -> list[Any]:
    groups: list[Any] = told(site.get(f"copies/{plan}/groups", limit=200, **words))["groups"]
    return groups


def all_files(home: Path) -> dict[str, bytes]:
    return {str(one.relative_to(home)): one.read_bytes() for one in (home / "photos").rglob("*") if one.is_file()}


# plans


def test_a_plan_is_that_of_the_library_and_names_no_path(usual: Site, plan: str) -> None:
    site, home = usual, usual.folder
    assert re.fullmatch("[0-9a-f]{32}", plan)
    with Searcher.open(home / ".latent") as searcher:
        expected = find_copies(searcher, kinds=tuple(KINDS.split(",")), workers=1)  # type: ignore[arg-type]
    groups = groups_of(site, plan)
    assert len(groups) == len(expected.groups) == COPIED and {group["decision"] for group in groups} == {"open"}
    for number, (group, same) in enumerate(zip(groups, expected.groups, strict=True)):
        assert group["number"] == number and group["kept"]["name"] == Path(same.keep).name
        for copy, evidence in zip(group["copies"], same.evidence, strict=True):
            place = Path(evidence.path).relative_to(home / "photos")
            assert (copy["name"], copy["folder"]) == (place.name, "" if place.parent == Path() else str(place.parent))
            said = (copy["kind"], copy["alike"], copy["distance"], copy["because"])
            assert said == (evidence.kind, evidence.alike, evidence.distance, evidence.because)
            assert [tuple(place) for place in copy["places"]] == list(evidence.places)
            assert copy["size_bytes"] == Path(evidence.path).stat().st_size
            assert site.get(f"items/{copy['id']}/thumbnail").status_code == 200
    assert any(copy["places"] and "a part differs" in copy["why"] for group in groups for copy in group["copies"])
    for route in ("copies", f"copies/{plan}", f"copies/{plan}/groups?limit=200", "index", "skipped", "job"):
        answer = site.get(route)
        assert answer.status_code == 200 and SECRET not in answer.text and str(home) not in answer.text, route


def test_groups_are_paged_by_their_numbers(usual: Site, plan: str) -> None:
    site = usual
    first = told(site.get(f"copies/{plan}/groups", limit=2, decision="open"))
    assert [group["number"] for group in first["groups"]] == [0, 1] and first["next"] == 2
    for number in (0, 3):
        told(act(site, f"copies/{plan}/decide", group=number, decision="skip"))
    second = told(site.get(f"copies/{plan}/groups", limit=3, decision="open", start=first["next"]))
    assert [group["number"] for group in second["groups"]] == [2, 4, 5] and second["next"] is None
    assert second["total"] == COPIED - 2
    skipped = told(site.get(f"copies/{plan}/groups", decision="skip"))
    assert [group["number"] for group in skipped["groups"]] == [0, 3]
    refused(site.get(f"copies/{plan}/groups", limit=201), 422, "invalid")
    refused(act(site, f"copies/{plan}/decide", group=COPIED, decision="keep"), 404, "no_group")
    refused(act(site, f"copies/{plan}/decide", group=1, decision="done"), 422, "invalid")
    refused(act(site, f"copies/{plan}/decide", group=1, decision="keep", path="/etc/passwd"), 422, "invalid")
    refused(site.get(f"copies/{'0' * 32}"), 404, "no_plan")
    refused(site.get("copies/..%2f..%2fkey"), 404, "not_found")
    refused(act(site, "copies/find", kinds="bytes,everything"), 400, "bad_words")


def test_the_downloaded_plan_is_that_of_the_command_line(usual: Site, plan: str, latent: Run, tmp_path: Path) -> None:
    site, home = usual, usual.folder
    told(act(site, f"copies/{plan}/decide", decision="keep"))
    told(act(site, f"copies/{plan}/decide", group=0, decision="skip"))
    answer = site.get(f"copies/{plan}/file")
    assert "attachment" in answer.headers["content-disposition"] and answer.headers["cache-control"] == "no-store"
    (tmp_path / "plan.json").write_bytes(answer.content)
    going = {copy["name"] for group in groups_of(site, plan)[1:] for copy in group["copies"]}
    said = latent("dedup", "apply", "plan.json", "--index", home / ".latent").stdout
    assert all(name in said for name in going) and f"could be done: {len(going)} files" in said


def test_a_plan_and_its_decisions_outlive_the_server(serving: Callable[..., Site]) -> None:
    site = serving()
    plan = plan_of(site)
    told(act(site, f"copies/{plan}/decide", group=1, decision="keep"))
    told(act(site, f"copies/{plan}/decide", group=3, decision="skip"))
    edited = next(group for group in groups_of(site, plan) if group["copies"][0]["kind"] == "edited")
    told(act(site, f"copies/{plan}/part", group=edited["number"]))
    before, facts = groups_of(site, plan), told(site.get(f"copies/{plan}"))
    site.process.send_signal(signal.SIGKILL)
    site.process.wait(20)
    again = serving()
    assert groups_of(again, plan) == before and told(again.get(f"copies/{plan}")) == facts
    assert [one["id"] for one in told(again.get("copies"))["plans"]] == [plan]


def test_what_is_no_copy_is_remembered_as_the_command_line_does(serving: Callable[..., Site], home: Path) -> None:
    site = serving()
    plan = plan_of(site)
    groups = groups_of(site, plan)
    kinds = {group["copies"][0]["kind"]: group["number"] for group in groups}
    refused(act(site, f"copies/{plan}/part", group=kinds["bytes"]), 409, "same_bytes")
    refused(act(site, f"copies/{plan}/part", group=kinds["scaled"], copy=7), 404, "no_copy")
    told(act(site, f"copies/{plan}/decide", group=kinds["scaled"], decision="keep"))
    facts = told(act(site, f"copies/{plan}/part", group=kinds["scaled"], copy=0))
    assert facts["decided"]["apart"] == 1 and facts["decided"]["keep"] == 0
    refused(act(site, f"copies/{plan}/decide", group=kinds["scaled"], decision="keep"), 409, "apart")
    with Searcher.open(home / ".latent") as searcher:
        assert len(searcher.kept_apart()) == 1
        left = find_copies(searcher, kinds=tuple(KINDS.split(",")), workers=1)  # type: ignore[arg-type]
    assert len(left.groups) == COPIED - 1
    again = groups_of(site, plan_of(site))
    parted = groups[kinds["scaled"]]["kept"]["name"]
    assert len(again) == COPIED - 1 and parted not in [group["kept"]["name"] for group in again]


# apply


def test_nothing_goes_without_leave(usual: Site, plan: str, tmp_path: Path) -> None:
    told(act(usual, f"copies/{plan}/decide", decision="keep"))
    home, nonce = usual.folder, told(act(usual, f"copies/{plan}/offer"))["nonce"]
    before = all_files(home)
    site = started(home, token=tmp_path / "token", scratch=tmp_path)  # it has the same plan
    try:
        assert (
            told(site.get("copies"))["actions"] == [] and told(site.get(f"copies/{plan}"))["decided"]["keep"] == COPIED
        )
        for route, words in (("offer", {}), ("offer", {"action": "move"}), ("apply", {"nonce": nonce}), ("undo", {})):
            refused(act(site, f"copies/{plan}/{route}", **words), 403, "no_apply")
    finally:
        ended(site)
    assert all_files(home) == before


def test_apply_does_what_was_confirmed_once_and_undo_brings_it_back(
    serving: Callable[..., Site], home: Path, tmp_path: Path
) -> None:
    site = serving("--allow-apply")
    plan, before = plan_of(site), all_files(home)
    refused(act(site, f"copies/{plan}/offer"), 409, "nothing")
    for number in (0, 1, 2):
        told(act(site, f"copies/{plan}/decide", group=number, decision="keep"))
    offer = told(act(site, f"copies/{plan}/offer"))
    going = [copy for group in groups_of(site, plan)[:3] for copy in group["copies"]]
    told_of = (offer["groups"], offer["files"], offer["bytes"])
    assert told_of == (3, len(going), sum(copy["size_bytes"] for copy in going))
    refused(act(site, f"copies/{plan}/offer", action="move"), 403, "no_apply")
    for wrong in ("delete", "hardlink", "symlink"):
        refused(act(site, f"copies/{plan}/offer", action=wrong), 422, "invalid")
    refused(act(site, f"copies/{plan}/apply"), 422, "invalid")
    refused(act(site, f"copies/{plan}/apply", nonce=offer["hash"]), 409, "no_offer")
    refused(act(site, f"copies/{'0' * 32}/apply", nonce=offer["nonce"]), 404, "no_plan")
    assert all_files(home) == before
    result = done(site, act(site, f"copies/{plan}/apply", nonce=offer["nonce"]))
    assert (result["files"], result["bytes"], result["left"]) == (len(going), offer["bytes"], 0)
    after = all_files(home)
    assert {Path(name).name for name in set(before) - set(after)} == {copy["name"] for copy in going}
    assert all(before[name] == after[name] for name in after)
    refused(act(site, f"copies/{plan}/apply", nonce=offer["nonce"]), 409, "no_offer")  # it is good once
    facts = told(site.get(f"copies/{plan}"))
    assert facts["decided"]["done"] == 3 and facts["can_undo"] and facts["files"] == 0
    assert told(site.get("status"))["pictures"] == SCENES + COPIED - len(going)  # the index knows
    refused(act(site, f"copies/{plan}/decide", group=0, decision="skip"), 409, "done")
    back = done(site, act(site, f"copies/{plan}/undo"))
    assert (back["files"], back["left"]) == (len(going), 0) and all_files(home) == before
    facts = told(site.get(f"copies/{plan}"))
    assert facts["decided"]["open"] == COPIED and not facts["can_undo"]
    assert done(site, act(site, "update"))["added"] == len(going)
    assert told(site.get("status"))["pictures"] == SCENES + COPIED


def test_a_nonce_is_bound_to_what_was_confirmed(usual: Site, plan: str) -> None:
    site, home = usual, usual.folder
    before = all_files(home)
    told(act(site, f"copies/{plan}/decide", group=0, decision="keep"))
    offer = told(act(site, f"copies/{plan}/offer"))
    told(act(site, f"copies/{plan}/decide", group=1, decision="keep"))
    refused(act(site, f"copies/{plan}/apply", nonce=offer["nonce"]), 409, "plan_changed")
    told(act(site, f"copies/{plan}/decide", group=1, decision="open"))
    refused(act(site, f"copies/{plan}/apply", nonce=offer["nonce"]), 409, "no_offer")  # it was used up
    other = plan_of(site)
    told(act(site, f"copies/{other}/decide", group=0, decision="keep"))
    offer = told(act(site, f"copies/{plan}/offer"))
    refused(act(site, f"copies/{other}/apply", nonce=offer["nonce"]), 409, "no_offer")
    assert all_files(home) == before


def test_offers_end() -> None:
    offers = Offers(lasts_s=0)
    nonce = offers.make("a", "digest", "trash")
    time.sleep(0.01)
    with pytest.raises(Refused, match="not offered"):
        offers.use(nonce, "a", "digest")
    lasting = Offers()
    nonces = [lasting.make("a", "digest", "move") for _ in range(40)]
    with pytest.raises(Refused):  # bounded: the oldest go
        lasting.use(nonces[0], "a", "digest")
    assert lasting.use(nonces[-1], "a", "digest") == "move"


def test_copies_are_moved_into_the_servers_folder_alone(
    serving: Callable[..., Site], home: Path, tmp_path: Path
) -> None:
    site = serving("--allow-apply", "--move-to", str(tmp_path / "aside"))
    plan = plan_of(site)
    assert told(site.get("copies"))["actions"] == ["trash", "move"]
    told(act(site, f"copies/{plan}/decide", decision="keep"))
    refused(act(site, f"copies/{plan}/offer", action="move", to="/tmp"), 422, "invalid")
    before = all_files(home)
    offer = told(act(site, f"copies/{plan}/offer", action="move"))
    result = done(site, act(site, f"copies/{plan}/apply", nonce=offer["nonce"]))
    moved = {one.name: one.read_bytes() for one in (tmp_path / "aside").rglob("*") if one.is_file()}
    gone = {Path(name).name: content for name, content in before.items() if name not in all_files(home)}
    assert moved == gone and len(moved) == result["files"] == COPIED
    done(site, act(site, f"copies/{plan}/undo"))
    assert all_files(home) == before


def test_a_file_that_changed_is_left_alone_and_the_reason_names_no_path(
    serving: Callable[..., Site], home: Path
) -> None:
    site = serving("--allow-apply")
    plan = plan_of(site)
    told(act(site, f"copies/{plan}/decide", group=0, decision="keep"))
    (group,) = groups_of(site, plan, decision="keep")
    copy = group["copies"][0]
    path = home / "photos" / copy["folder"] / copy["name"]
    path.write_bytes(path.read_bytes() + b"x")
    offer = told(act(site, f"copies/{plan}/offer"))
    result = done(site, act(site, f"copies/{plan}/apply", nonce=offer["nonce"]))
    assert (result["files"], result["left"]) == (0, 1) and path.exists()
    (group,) = groups_of(site, plan, decision="keep")
    assert "changed" in group["copies"][0]["left"] and "/" not in group["copies"][0]["left"]


def test_the_files_of_a_plan_go_to_its_own_machine_alone() -> None:
    from retrieval.copies.plan import Plan
    from serve.allowed import Allowed
    from serve.copies import Reviews

    class Nowhere:
        class index:  # noqa: N801
            address = "/nowhere"

    for allowed, tells in ((Allowed(tells_paths=True), True), (Allowed(), False)):
        reviews = Reviews(Nowhere(), None, allowed)  # type: ignore[arg-type]
        identifier = reviews._add(Plan(None))
        if tells:
            assert json.loads(reviews.file(identifier))["groups"] == []
        else:
            with pytest.raises(Refused, match="only that machine"):
                reviews.file(identifier)


def test_the_client_reviews_and_updates(serving: Callable[..., Site], home: Path) -> None:
    client = connect((site := serving("--allow-apply")).origin, site.token)
    assert client.job() is None and client.plans() == []
    seen: list[tuple[int, int]] = []
    plan = client.find_copies(kinds=KINDS.split(","), report=lambda done, total: seen.append((done, total)))
    assert plan.groups == COPIED and seen and client.plans() == [plan]
    groups = list(client.groups(plan))
    assert [group.number for group in groups] == list(range(COPIED))
    client.decide(plan, "keep", group=0)
    scaled = next(group.number for group in groups if group.copies[0]["kind"] == "scaled")
    assert client.keep_apart(plan, scaled).decided["apart"] == 1
    before, offer = all_files(home), client.offer(plan)
    job = client.apply(plan, offer)
    assert (
        job.result is not None and job.result["files"] == offer.files == 1 and len(all_files(home)) == len(before) - 1
    )
    with pytest.raises(ServerError, match="confirm again") as error:
        client.apply(plan, offer)
    assert (error.value.status, error.value.code) == (409, "no_offer")
    client.undo(plan)
    assert all_files(home) == before
    updated = client.update()
    assert updated.result is not None and updated.result["added"] == 1 and client.job() == updated
    assert client.index()["skipped"] == 1 and [one.name for one in client.skipped()] == ["broken.jpg"]
    with pytest.raises(ServerError, match="does not run"):
        client.cancel(updated)


# the index


def test_the_index_is_told_with_reasons(serving: Callable[..., Site], home: Path) -> None:
    site = serving()
    index = told(site.get("index"))
    assert (index["pictures"], index["skipped"], index["other_files"]) == (SCENES + COPIED, 1, 1)
    assert index["roots"] == [{"name": "photos", "there": True}] and index["read_only"] is False
    (file,) = told(site.get("skipped"))["files"]
    assert (file["name"], file["folder"]) == ("broken.jpg", "") and file["reason"] == index["reasons"][0]["reason"]
    for number in range(7):
        (home / "photos" / "inner").mkdir(exist_ok=True)
        (home / "photos" / "inner" / f"bad-{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(number))
    result = done(site, act(site, "update"))
    assert result["skipped"] == 8 and result["unchanged"] == SCENES + COPIED
    page = told(site.get("skipped", limit=3, offset=6))
    assert page["total"] == 8 and [one["name"] for one in page["files"]] == ["bad-5.png", "bad-6.png"]
    assert page["files"][0]["folder"] == "inner"
    (home / "photos").rename(home / "unplugged")
    assert told(site.get("index"))["roots"] == [{"name": "photos", "there": False}]


def many(home: Path, count: int = NEW) -> None:
    write_shapes(home / "photos" / "new", count, seed=9, side=48)


def begun_update(site: Site) -> Any:
    """An update that has committed some of its files, and not all."""
    begun = act(site, "update")
    assert begun.status_code == 202
    with httpx.stream("GET", f"{site.origin}/api/v1/events", headers=site.key, timeout=60) as events:
        for line in events.iter_lines():
            if line.startswith("data: "):
                job = json.loads(line.removeprefix("data: "))["job"]
                assert job["state"] == "running", job
                if job["done"] >= BATCH:
                    return job
    raise AssertionError("the update told nothing")


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGKILL])
def test_a_restart_in_the_middle_of_an_update_loses_nothing(
    serving: Callable[..., Site], home: Path, with_signal: signal.Signals
) -> None:
    many(home)
    site = serving()
    job = begun_update(site)
    site.process.send_signal(with_signal)
    assert site.process.wait(40) == (0 if with_signal == signal.SIGINT else -signal.SIGKILL)
    with Searcher.open(home / ".latent") as searcher:
        taken = len(searcher) - SCENES - COPIED
        assert job["done"] - READ_AGAIN <= taken < NEW
    again = serving()
    assert done(again, act(again, "update"))["added"] == NEW - taken
    every = {path.name for path in (home / "photos").rglob("*.*") if path.name not in ("broken.jpg", "notes.txt")}
    with Retriever.open(home / ".latent") as retriever:
        assert {Path(one.path).name for one in retriever.pictures()} == every and not retriever.verify()
        last = retriever.pictures("name = 'shape-9-900.png'")[0].id
        (nearest, *_), *_ = retriever.query_codes(retriever.index.rows.codes([last])[last][None], 1)
        assert nearest.id == last  # the caches know the new ones


def test_an_update_is_cancelled_and_goes_on_with_the_next(serving: Callable[..., Site], home: Path) -> None:
    many(home)
    site = serving()
    job = begun_update(site)
    refused(act(site, "update"), 409, "job_runs")
    refused(act(site, "copies/find"), 409, "job_runs")
    refused(act(site, "job/cancel", id=job["id"] + 1), 409, "no_job")
    assert waited(site, act(site, "job/cancel", id=job["id"]))["state"] == "cancelled"
    refused(act(site, "job/cancel", id=job["id"]), 409, "no_job")
    taken = told(site.get("status"))["pictures"] - SCENES - COPIED
    assert BATCH - READ_AGAIN <= taken < NEW
    assert done(site, act(site, "update"))["added"] == NEW - taken


def test_a_search_for_copies_is_cancelled(serving: Callable[..., Site], home: Path) -> None:
    many(home)
    site = serving()
    done(site, act(site, "update"))
    begun = act(site, "copies/find").json()
    assert waited(site, act(site, "job/cancel", id=begun["id"]))["state"] == "cancelled"
    assert told(site.get("copies"))["plans"] == []


def test_searches_are_answered_while_the_index_is_updated(serving: Callable[..., Site], home: Path) -> None:
    many(home)
    site = serving()
    known = told(site.get("items", limit=1))["items"][0]["id"]
    begun_update(site)
    counts = []
    while told(site.get("job"))["job"]["state"] == "running":
        answer = told(site.get("query", id=known, k=200))
        assert answer["hits"] and len({hit["id"] for hit in answer["hits"]}) == len(answer["hits"])
        counts.append(told(site.get("status"))["pictures"])
    assert counts == sorted(counts)
    assert told(site.get("status"))["pictures"] == SCENES + COPIED + NEW


# what may not be


def test_a_server_that_only_reads_refuses_all_writes(serving: Callable[..., Site], home: Path) -> None:
    site = serving("--read-only")
    catalog = (home / ".latent" / "catalog.db").read_bytes()
    assert told(site.get("status"))["read_only"] is True and told(site.get("index"))["read_only"] is True
    plan = plan_of(site)  # in memory
    told(act(site, f"copies/{plan}/decide", decision="keep"))
    ids = [copy["id"] for copy in groups_of(site, plan)[0]["copies"]]
    writes: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "update", {}),
        ("POST", f"copies/{plan}/part?group=1", {}),
        ("POST", f"copies/{plan}/offer", {}),
        ("POST", f"copies/{plan}/apply?nonce=x", {}),
        ("POST", f"copies/{plan}/undo", {}),
        ("POST", "directions", {"name": "light", "having": ids, "lacking": [1]}),
        ("DELETE", "directions/light", {}),
    ]
    for verb, route, body in writes:
        answer = httpx.request(verb, f"{site.origin}/api/v1/{route}", headers=site.key, json=body or None)
        refused(answer, 403, "read_only")
    assert (home / ".latent" / "catalog.db").read_bytes() == catalog
    assert not list(Path(os.environ["LATENT_DATA"]).glob(f"plans/{plan}"))


@pytest.mark.parametrize("options", [("--read-only", "--allow-apply"), ("--move-to", "x")])
def test_options_that_exclude_each_other(home: Path, latent: Run, options: tuple[str, ...]) -> None:
    latent("serve", "--index", home / ".latent", "--no-open", *options, code=2)


def test_every_write_is_refused_to_other_pages_before_it_is_routed(usual: Site) -> None:
    site, before = usual, told(usual.get("job"))
    schema = told(site.get("openapi.json"))["paths"]
    writes = [(verb, path) for path, verbs in schema.items() for verb in verbs if verb not in ("get", "head")]
    assert len(writes) > 10
    foreign = [{"Origin": "null"}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}]
    foreign += [{"Sec-Fetch-Site": "same-site"}, {"Origin": f"http://127.0.0.1:{site.port + 1}"}]
    for verb, path in [*writes, ("post", "/api/v1/no/such/route")]:
        for headers in foreign:
            answer = httpx.request(verb, site.origin + path, headers={**site.key, **headers})
            refused(answer, 403, "cross_site")
        answer = httpx.request(verb, site.origin + path)
        assert answer.status_code == 403
    assert told(site.get("job")) == before


def test_bodies_of_requests_are_bounded(usual: Site) -> None:
    def pieces(count: int) -> Iterator[bytes]:
        yield b'{"name": "'
        for _ in range(count):
            yield b"x" * (1 << 16)

    headers = {**usual.key, "Content-Type": "application/json"}
    for content in (b"".join(pieces(32)), pieces(32)):  # with its length, and without
        answer = httpx.post(f"{usual.origin}/api/v1/directions", content=content, headers=headers)
        assert answer.status_code == 413, answer.text
    answer = httpx.post(f"{usual.origin}/api/v1/directions", content=pieces(8), headers=headers)
    assert answer.status_code == 422  # no JSON


def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.exceptions import HTTPException

    from serve import guard

    monkeypatch.setattr(guard, "BODY_S", 0.05)

    async def never() -> Any:
        await asyncio.sleep(60)

    with pytest.raises(HTTPException) as error:
        asyncio.run(guard._bounded({"path": "/api/v1/directions"}, never)())  # type: ignore[arg-type]
    assert error.value.status_code == 503


def test_events_are_bounded_and_end_with_the_server(serving: Callable[..., Site], home: Path) -> None:
    site = serving()
    head = [f"Host: 127.0.0.1:{site.port}", f"Authorization: Bearer {site.token}"]
    said = raw(site, "GET /api/v1/events?seconds=0.2 HTTP/1.1", *head)
    assert "text/event-stream" in said and 'data: {"job":null}' in said
    refused(site.get("events", seconds=601), 422, "invalid")
    open_ = threading.Semaphore(0)

    def watch() -> None:
        with httpx.stream("GET", f"{site.origin}/api/v1/events", headers=site.key, timeout=60) as answer:
            open_.release()
            for _ in answer.iter_lines():
                pass

    watchers = [threading.Thread(target=watch, daemon=True) for _ in range(STREAMS_MOST)]
    for watcher in watchers:
        watcher.start()
    assert all(open_.acquire(timeout=30) for _ in watchers)
    refused(site.get("events", seconds=0.1), 429, "busy")
    told(site.get("status"))
    began_s = time.monotonic()
    assert ended(site) == 0 and time.monotonic() - began_s < 10  # streams last a minute
    for watcher in watchers:
        watcher.join(5)
        assert not watcher.is_alive()


def test_what_a_job_raises_is_told_without_paths() -> None:
    from retrieval.errors import IndexUnwritable, PlanError

    def failing(error: Exception) -> Callable[..., Any]:
        def work(report: object) -> Any:
            raise error

        return work

    jobs = Jobs()
    kinds: list[tuple[Exception, str]] = [
        (IndexUnwritable("/home/me is read-only"), "index_unwritable"),
        (PlanError("another apply or undo is running", "acts_busy"), "acts_busy"),
        (ValueError("/home/me"), "bad_words"),
        (OSError("/home/me"), "failed"),
    ]
    for error, code in kinds:
        jobs.start("update", failing(error))
        assert jobs.join(5) and jobs.last is not None and jobs.last.error is not None
        assert jobs.last.state == "failed" and jobs.last.error.code == code and "/" not in jobs.last.error.message
    jobs.stop()
    with pytest.raises(Refused, match="ends"):
        jobs.start("update", failing(OSError()))
