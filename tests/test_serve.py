"""``latent serve``: the real server on a free port, asked over HTTP, against a searcher in this process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from index.records import Direction
from retrieval import Question, Retriever, Searcher, Term, ask
from retrieval.errors import (
    IndexBusy,
    IndexDamaged,
    LatentError,
    ModelError,
    NoDirection,
    PathError,
    PictureRefused,
)
from retrieval.explore.sums import weighted_sum
from retrieval.pages.heat import heat_maps
from tests.conftest import Run, draw_shape, write_shapes

try:
    import fastapi  # noqa: F401
    import httpx
    import uvicorn  # noqa: F401

    from retrieval import ServerError, connect
    from serve.collection import Collection
    from serve.errors import Refused, bad_words, refusal_of
    from serve.files import MOST_UPLOAD_BYTES
    from serve.served import UPLOADS_MOST
    from serve.thumbnails import Thumbnails
    from serve.work import Work
    from tests.serving import Site, ended, raw, refused, started, told
except ImportError:
    pytest.skip("latent serve needs the extra web, and its tests httpx", allow_module_level=True)

SECRET = "a very secret place"
PICTURES, SPARE = 120, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """A folder with an index of drawn shapes, one of them twice, and one with a place and a camera in its EXIF."""
    home = tmp_path_factory.mktemp("served") / SECRET
    write_shapes(home / "photos", 40)
    write_shapes(home / "photos" / "inner", PICTURES - 42, seed=1)
    told = Image.Exif()
    told[0x010F], told[0x0112] = "Secretcam", 6
    draw_shape("disc", np.random.default_rng(7), 96).crop((0, 0, 96, 48)).save(home / "photos" / "told.jpg", exif=told)
    with Image.open(home / "photos" / "shape-0-003.png") as picture:
        picture.save(home / "photos" / "copy.png", compress_level=1)
    for number in range(SPARE):
        draw_shape("cross", np.random.default_rng(number), 64).save(home / "photos" / f"spare-{number}.png")
    with Retriever.build(home / "photos", index=home / ".latent", model=str(tiny_bundle), workers=1) as retriever:
        vector = np.random.default_rng(3).standard_normal(retriever.latent_dim, dtype=np.float32)
        retriever.keep_direction(Direction("bright", vector, 9, 9, None))
    return home


@pytest.fixture(scope="module")
def site(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    scratch = tmp_path_factory.mktemp("site")
    site = started(folder, token=scratch / "token", scratch=scratch)
    yield site
    ended(site)


@pytest.fixture(scope="module")
def searcher(folder: Path) -> Iterator[Searcher]:
    with Searcher.open(folder / ".latent") as searcher:
        yield searcher


def webp(rng: np.random.Generator, length: int) -> bytes:
    """What has the head of a WebP file."""
    return b"RIFF" + (length - 8).to_bytes(4, "little") + b"WEBP" + rng.bytes(length - 12)


def code_of(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.frombuffer(base64.b64decode(text), "<f4")


def path_of(searcher: Searcher, name: str) -> str:
    (found,) = searcher.pictures(f"name = '{name}'")
    return found.path


def id_of(searcher: Searcher, name: str) -> int:
    (found,) = searcher.pictures(f"name = '{name}'")
    return found.id


def ids(answer: Any) -> list[int]:
    return [hit["id"] for hit in answer["hits"]]


# answers


OPTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"k": 200}, {"k": 200}),
    ({"k": 7, "offset": 5}, {"k": 7, "offset": 5}),
    ({"k": 9, "metric": "cosine"}, {"k": 9, "metric": "cosine"}),
    ({"k": 50, "within": 5.0}, {"k": 50, "within": 5.0}),
    ({"k": 9, "copies": "collapse"}, {"k": 9, "copies": "collapse"}),
    ({"k": 9, "prefer": "inner"}, {"k": 9, "words": "inner"}),
    ({"k": 9, "where": "folder = inner and width = 64"}, {"k": 9, "where": "folder = inner and width = 64"}),
]


@pytest.mark.parametrize(("words", "same"), OPTIONS)
def test_a_query_answers_as_a_searcher_does(
    site: Site, searcher: Searcher, words: dict[str, Any], same: dict[str, Any]
) -> None:
    path = path_of(searcher, "shape-0-003.png")
    expected = ask(searcher, Question((Term(1.0, path),), **{"k": 10, **same}))
    assert expected.hits
    answer = told(site.get("query", id=id_of(searcher, "shape-0-003.png"), **words))
    assert ids(answer) == [hit.id for hit in expected.hits]
    assert np.array_equal(code_of(answer["code"]), expected.code)
    assert (answer["novelty"], answer["unfamiliarity"]) == (expected.novelty, expected.unfamiliarity)
    for hit, same_hit in zip(answer["hits"], expected.hits, strict=True):
        place = Path(same_hit.path).relative_to(site.folder / "photos")
        assert hit == {
            "id": same_hit.id,
            "rank": same_hit.rank,
            "name": place.name,
            "folder": "" if place.parent == Path() else str(place.parent),
            "distance": same_hit.distance,
            "similarity": same_hit.similarity,
            "realism": same_hit.realism,
            "width": same_hit.width,
            "height": same_hit.height,
            "copies": len(same_hit.copies),
            "gone": False,
            "box": None,
        }


def test_collapsed_copies_are_counted(site: Site, searcher: Searcher) -> None:
    near = told(site.get("query", id=id_of(searcher, "shape-0-002.png"), k=200, copies="collapse"))
    both = {id_of(searcher, name) for name in ("copy.png", "shape-0-003.png")}
    (hit,) = [hit for hit in near["hits"] if hit["id"] in both]
    assert hit["copies"] == 1


def test_feedback_moves_a_query_as_a_searcher_does(site: Site, searcher: Searcher) -> None:
    path, like, unlike = (path_of(searcher, f"shape-0-00{n}.png") for n in (1, 2, 4))
    expected = searcher.refine(ask(searcher, Question((Term(1.0, path),), k=12)), like=[like], unlike=[unlike])
    numbers = [id_of(searcher, f"shape-0-00{n}.png") for n in (1, 2, 4)]
    answer = told(site.get("query", id=numbers[0], k=12, like=numbers[1], unlike=numbers[2]))
    assert ids(answer) == [hit.id for hit in expected.hits]
    assert np.array_equal(code_of(answer["code"]), expected.code)


def test_a_code_is_asked_for_in_both_alphabets(site: Site, searcher: Searcher) -> None:
    code = np.random.default_rng(5).standard_normal((1, searcher.latent_dim), dtype=np.float32)
    expected = [hit.id for hit in searcher.query_codes(code, 20)[0]]
    standard = base64.b64encode(code.tobytes()).decode()
    url = base64.urlsafe_b64encode(code.tobytes()).decode().rstrip("=")
    for text in (standard, url, standard.replace("+", " ")):
        answer = told(site.get("query", code=text, k=20))
        assert ids(answer) == expected and answer["novelty"] is None
    for wrong in ("AAAA", "?", base64.b64encode(code[0, :-1].tobytes()).decode()):
        refused(site.get("query", code=wrong), 400, "bad_words")
    nan = base64.b64encode(np.full(searcher.latent_dim, np.nan, "<f4").tobytes()).decode()
    refused(site.get("query", code=nan), 400, "bad_words")
    refused(site.get("query"), 400, "bad_words")
    refused(site.get("query", id=1, code=url), 400, "bad_words")


def test_an_upload_is_answered_like_its_file(site: Site, searcher: Searcher, tmp_path: Path) -> None:
    picture = tmp_path / "new.jpg"
    draw_shape("square", np.random.default_rng(99), 200).save(picture)
    expected = ask(searcher, Question((Term(1.0, picture),), k=30))
    answer = told(site.post(picture.read_bytes(), k=30))
    assert ids(answer) == [hit.id for hit in expected.hits]
    assert np.array_equal(code_of(answer["code"]), expected.code)
    assert answer["novelty"] == expected.novelty
    known = told(site.post(Path(path_of(searcher, "shape-0-005.png")).read_bytes(), k=1))
    assert ids(known) == [id_of(searcher, "shape-0-005.png")] and known["hits"][0]["distance"] == 0


def test_items_by_filter_and_order(site: Site, searcher: Searcher) -> None:
    for where, order, by, descending in (
        (None, "path", "path", False),
        ("folder = inner", "newest", "taken_us", True),
        ("width < 64", "size", "size_bytes", True),
        (None, "realism", "realism", False),
        (None, "novelty", "novelty", True),
    ):
        every = searcher.pictures(where, order=by, descending=descending)  # type: ignore[arg-type]
        words = {"where": where} if where else {}
        answer = told(site.get("items", order=order, limit=20, offset=3, **words))
        assert [item["id"] for item in answer["items"]] == [one.id for one in every[3:23]]
        assert answer["total"] == len(every)
    assert told(site.get("items", text="copy"))["total"] == 1
    turned = told(site.get("items", order="size", reverse="true", limit=1))["items"][0]
    assert turned["size_bytes"] == min(one.size_bytes for one in searcher.pictures())
    assert "column 1" in refused(site.get("items", where="colour = red"), 400, "bad_filter")


def test_an_item_has_its_facts(site: Site, searcher: Searcher) -> None:
    item = told(site.get(f"items/{id_of(searcher, 'told.jpg')}"))
    assert (item["name"], item["width"], item["height"], item["status"]) == ("told.jpg", 48, 96, "found")
    assert item["facts"]["format"] == "JPEG" and item["facts"]["orientation"] == 6
    assert 0 <= item["novelty"] <= 1 and item["taken"].startswith("20")
    refused(site.get("items/99999"), 404, "no_picture")


def test_paintings_are_those_of_the_model(site: Site, searcher: Searcher) -> None:
    a, b = (id_of(searcher, f"shape-0-00{n}.png") for n in (1, 2))
    codes = searcher.index.rows.codes([a, b])

    def pixels(route: str, **words: Any) -> Any:
        answer = site.get(route, **words)
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/png", answer.text
        return np.asarray(Image.open(BytesIO(answer.content)))

    one, other = searcher.decode(np.stack([codes[a], codes[b]]))
    assert np.array_equal(pixels(f"items/{a}/painting"), one)
    assert np.array_equal(pixels(f"items/{b}/difference", id=a), heat_maps(one, other[None])[0])
    text = base64.urlsafe_b64encode(codes[a].astype("<f4").tobytes()).decode()
    assert np.array_equal(pixels("paint", code=text, scale=0.5), searcher.decode(codes[a][None], 0.5)[0])
    assert np.array_equal(pixels(f"items/{b}/difference", code=text), heat_maps(one, other[None])[0])
    way = code_of(told(site.get("interpolate", a=a, b=b, t=0.25))["code"])
    assert np.array_equal(way, weighted_sum(np.stack([codes[a], codes[b]]), [0.75, 0.25], True))
    vector = searcher.direction("bright").vector
    total = code_of(told(site.get("sum", terms=f"{a},-0.5*{b},2*bright"))["code"])
    assert np.array_equal(total, weighted_sum(np.stack([codes[a], codes[b], vector]), [1, -0.5, 2], True))
    refused(site.get("sum", terms=f"{a},-1*{a}"), 400, "bad_words")
    refused(site.get("sum", terms="2*nobody"), 404, "no_direction")
    drawn = told(site.get("sample", count=3, seed=4))["codes"]
    assert np.array_equal(np.stack([code_of(one) for one in drawn]), searcher.model.draw_codes(3, 4))
    near = told(site.get("sample", count=2, near=text, spread=0.1))["codes"]
    assert all(np.corrcoef(code_of(one), codes[a])[0, 1] > 0.9 for one in near) and near[0] != near[1]


def test_status_and_metrics(site: Site, searcher: Searcher) -> None:
    status = told(site.get("status"))
    assert status["pictures"] == len(searcher) and status["directions"] == ["bright"] and status["read_only"] is False
    assert (status["image_size"], status["latent_dim"], status["has_generator"]) == (32, 16, True)
    site.get("items", text="whatisaskedfor")
    metrics = site.get("metrics").text
    assert 'latent_requests_total{method="GET",route="/api/v1/items",status="200"}' in metrics
    assert "whatisaskedfor" not in metrics and SECRET not in metrics


def test_openapi_says_what_is_served(site: Site) -> None:
    schema = told(site.get("openapi.json"))
    assert schema["openapi"].startswith("3.1")
    served = {path.removeprefix("/api/v1/"): set(verbs) for path, verbs in schema["paths"].items()}
    reads = [
        "healthz",
        "status",
        "items",
        "items/{identifier}",
        "paint",
        "interpolate",
        "sample",
        "sum",
        "map",
        "metrics",
    ]
    reads += [f"items/{{identifier}}/{what}" for what in ("thumbnail", "painting", "difference", "path")]
    reads += [
        "index",
        "skipped",
        "job",
        "events",
        "copies",
        "copies/{plan}",
        "copies/{plan}/groups",
        "copies/{plan}/file",
    ]
    reads += [f"shard/{what}" for what in ("facts", "words", "looks")]
    others = {"query": {"get", "post"}, "directions": {"get", "post"}, "directions/{name}": {"delete"}}
    acts = ["items/{identifier}/reveal", "update", "job/cancel", "copies/find"]
    acts += [f"copies/{{plan}}/{what}" for what in ("decide", "part", "offer", "apply", "undo")]
    acts += [f"shard/{what}" for what in ("search", "count", "codes")]  # questions with bodies
    assert served == {**{name: {"get"} for name in reads}, **others, **{name: {"post"} for name in acts}}
    for verbs in schema["paths"].values():
        for about in verbs.values():
            assert about["responses"]["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/Error")
            assert {"400", "403", "404", "413", "415", "429", "503"} <= set(about["responses"])
            assert {"200", "202", "204"} & set(about["responses"])


def test_the_client_answers_as_a_searcher_does(site: Site, searcher: Searcher, tmp_path: Path) -> None:
    client = connect(site.origin, site.token)
    path = path_of(searcher, "shape-0-001.png")
    expected = searcher.query(path, 8, where="width >= 64")
    answer = client.query(id_of(searcher, "shape-0-001.png"), 8, where="width >= 64")
    assert [(hit.id, hit.distance) for hit in answer.hits] == [(hit.id, hit.distance) for hit in expected]
    assert [hit.id for hit in client.query(answer.code, 9, like=[3]).hits]
    assert client.query(path, 1).hits[0].name == "shape-0-001.png"
    assert np.array_equal(client.decode(answer.code), searcher.decode(answer.code[None])[0])
    assert [one.id for one in client.pictures("folder = inner", most=5)] == [
        one.id for one in searcher.pictures("folder = inner", most=5)
    ]
    assert client.thumbnail(answer.hits[0].id, 128).shape == (64, 64, 3)
    assert client.status()["pictures"] == len(searcher)
    with pytest.raises(ServerError, match="no picture 99999") as error:
        client.query(99999)
    assert (error.value.status, error.value.code) == (404, "no_picture")
    with pytest.raises(ServerError, match="token"):
        connect(site.origin, "wrong").status()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(ServerError, match="no server answers"):
            connect(f"http://127.0.0.1:{free.getsockname()[1]}", "x").status()


def test_many_ask_at_once(site: Site, searcher: Searcher) -> None:
    numbers = [one.id for one in searcher.pictures(most=40)]
    expected = [[hit.id for hit in searcher.query(one.path, 5)] for one in searcher.pictures(most=40)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: ids(told(site.get("query", id=number, k=5))), numbers))
    assert answers == expected


def test_thumbnails(site: Site, searcher: Searcher) -> None:
    number = id_of(searcher, "told.jpg")
    answer = site.get(f"items/{number}/thumbnail", size=128)
    assert answer.headers["content-type"] == "image/webp" and answer.headers["cache-control"].startswith("private")
    tag = answer.headers["etag"]
    again = httpx.get(str(answer.url), headers={**site.key, "If-None-Match": tag})
    assert again.status_code == 304 and again.headers["etag"] == tag and not again.content
    assert site.get(f"items/{number}/thumbnail", size=256).headers["etag"] != tag
    refused(site.get(f"items/{number}/thumbnail", size=100), 422, "invalid")


def test_thumbnails_are_kept_in_a_private_folder_within_a_budget(tmp_path: Path) -> None:
    rng = np.random.default_rng(17)
    pictures = {rng.bytes(16): webp(rng, 4000 + int(rng.integers(2000))) for _ in range(40)}
    most = sum(map(len, pictures.values())) // 2
    folder = tmp_path / "cache" / "thumbnails"
    kept = Thumbnails(folder, most)
    (first, *_), now = pictures, time.time_ns()
    for number, (content_hash, picture) in enumerate(pictures.items()):
        kept.keep(content_hash, 256, picture)
        for path in folder.glob(f"{content_hash.hex()}-256.webp"):
            os.utime(path, ns=(0, now - 10**12 + 10**9 * number))
        assert kept.get(first, 256) == pictures[first]  # used again and again, so it stays
        assert sum(path.stat().st_size for path in folder.iterdir()) <= most
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    last = list(pictures)[-1]
    assert Thumbnails(folder, most).get(last, 256) == pictures[last] and kept.get(last, 128) is None
    (folder / f"{last.hex()}-256.webp").write_bytes(pictures[last][:-7])  # as a power cut leaves it
    assert kept.get(last, 256) is None
    assert (
        Thumbnails(folder, most // 4).get(first, 256) and len(list(folder.iterdir())) < 12
    )  # the budget became smaller


@pytest.mark.parametrize("fault", ["open", "link", "file", "full", "none"])
def test_thumbnails_that_cannot_be_kept_are_made_again(tmp_path: Path, fault: str) -> None:
    rng, folder = np.random.default_rng(18), tmp_path / "thumbnails"
    if fault == "open":
        folder.mkdir()
        folder.chmod(0o755)
    elif fault == "link":
        (tmp_path / "other").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "other")
    elif fault == "file":
        folder.write_bytes(b"")
    kept = Thumbnails(folder, 0 if fault == "none" else 10**6)
    if fault == "full":
        folder.rmdir()
    kept.keep(b"12", 128, webp(rng, 100))
    assert kept.get(b"12", 128) is None and not list(tmp_path.rglob("*.webp"))


def test_a_thumbnail_comes_from_the_cache_only_while_its_file_is_the_same(site: Site, searcher: Searcher) -> None:
    number, path = id_of(searcher, "spare-4.png"), site.folder / "photos" / "spare-4.png"
    before = site.get(f"items/{number}/thumbnail", size=512)
    (kept,) = (site.log.parent / "cache" / "latent" / "thumbnails").glob(f"{before.headers['etag'][1:-1]}.webp")
    assert kept.read_bytes() == before.content
    kept.write_bytes(webp(np.random.default_rng(3), 999))
    assert site.get(f"items/{number}/thumbnail", size=512).content == kept.read_bytes()
    draw_shape("square", np.random.default_rng(45), 80).save(path)
    assert site.get(f"items/{number}/thumbnail", size=512).content not in (kept.read_bytes(), before.content)


def test_directions_are_taught_by_marked_pictures(site: Site, searcher: Searcher) -> None:
    rng, known = np.random.default_rng(19), [found.id for found in searcher.pictures()]
    chosen = [int(one) for one in rng.permutation(known)[:17]]
    having, lacking = chosen[:9], chosen[9:]
    body = {"name": "round", "having": having, "lacking": lacking}
    learnt = told(httpx.post(f"{site.origin}/api/v1/directions", json=body, headers=site.key))
    assert (learnt["having"], learnt["lacking"]) == (9, 8) and 0 <= learnt["accuracy"] <= 1
    codes = searcher.index.rows.codes(known)
    mean = np.mean([codes[one] for one in having], 0) - np.mean([codes[one] for one in lacking], 0)
    assert np.allclose(searcher.direction("round").vector, mean, atol=1e-6)
    assert [one["name"] for one in told(site.get("directions"))["directions"]] == ["bright", "round"]
    moved = told(site.get("sum", terms=f"1*{chosen[0]},2*round"))["code"]
    assert np.allclose(code_of(moved), weighted_sum(np.stack([codes[chosen[0]], mean]), [1, 2], True), atol=1e-5)
    for wrong, status in (
        ({"name": "1,2"}, 400),
        ({"having": []}, 422),
        ({"lacking": [2**40]}, 404),
        ({"name": ""}, 422),
        ({"more": 1}, 422),
    ):
        answer = httpx.post(f"{site.origin}/api/v1/directions", json=body | wrong, headers=site.key)
        assert answer.status_code == status, (wrong, answer.text)
    gone = httpx.delete(f"{site.origin}/api/v1/directions/round", headers=site.key)
    assert gone.status_code == 204 and not gone.content
    refused(httpx.delete(f"{site.origin}/api/v1/directions/round", headers=site.key), 404, "no_direction")


def test_paths_are_told_and_folders_opened_on_this_machine_alone(
    site: Site, searcher: Searcher, folder: Path, tmp_path: Path
) -> None:
    number = id_of(searcher, "told.jpg")
    assert told(site.get(f"items/{number}/path"))["path"] == path_of(searcher, "told.jpg")
    opened = httpx.post(f"{site.origin}/api/v1/items/{number}/reveal", headers=site.key)
    assert opened.status_code == 204 or refused(opened, 409, "no_screen")
    seen: list[str] = []
    with Retriever.open(folder / ".latent") as retriever:
        kept = Thumbnails(tmp_path / "cache", 0)
        Collection(retriever, kept, lambda path: not seen.append(path)).reveal(number)
        assert seen == [path_of(searcher, "told.jpg")]
        for ask in (Collection(retriever, kept).place, Collection(retriever, kept).reveal):
            with pytest.raises(Refused, match="tells no paths") as told_no:
                ask(number)
            assert told_no.value.status == 403


def test_the_page_is_served_to_whoever_has_the_cookie(site: Site) -> None:
    answer = httpx.get(f"{site.origin}/", headers=site.key)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert "<html" in answer.text
    for name in ("../app.py", "..%2fapp.py", "%2e%2e/app.py", "/etc/passwd", "nothing.js"):
        assert httpx.get(f"{site.origin}/assets/{name}", headers=site.key).status_code == 404


# safe by default: each fails if its line is taken away


def test_only_loopback_without_a_token_file(folder: Path, latent: Run, tmp_path: Path) -> None:
    index = folder / ".latent"
    done = latent("serve", "--index", index, "--host", "192.0.2.1", "--no-open", code=2)
    assert "--token-file" in done.stderr
    done = latent("serve", "--index", index, "--host", "0.0.0.0", "--token-file", "t", "--no-open", code=2)
    assert "name the one that is meant" in done.stderr


def test_a_server_listens_at_loopback_alone(site: Site) -> None:
    for line in Path(f"/proc/{site.process.pid}/net/tcp").read_text().splitlines()[1:]:
        address, port = line.split()[1].split(":")
        if int(port, 16) == site.port and line.split()[3] == "0A":
            assert address == "0100007F"
            return
    raise AssertionError("nobody listens")


def test_a_token_file_is_private_and_long(folder: Path, latent: Run, tmp_path: Path, site: Site) -> None:
    assert len(site.token) == 43  # 256 bits
    token = tmp_path / "token"
    for content, mode, words in (
        ("x" * 40, 0o644, "chmod 600"),
        ("short", 0o600, "32 or more"),
        ("a b" * 20, 0o600, ""),
    ):
        token.write_text(content)
        token.chmod(mode)
        done = latent("serve", "--index", folder / ".latent", "--token-file", token, "--no-open", code=1)
        assert words in done.stderr and content not in done.stderr
    (tmp_path / "link").symlink_to(token)
    latent("serve", "--index", folder / ".latent", "--token-file", tmp_path / "link", "--no-open", code=1)


def test_the_launch_link_is_good_once_and_sets_a_strict_cookie(folder: Path, tmp_path: Path) -> None:
    site = started(folder, token=None, scratch=tmp_path)
    try:
        assert len(site.launch) == 43  # 256 bits
        assert httpx.get(f"{site.origin}/api/v1/status").status_code == 403
        assert httpx.get(f"{site.origin}/").status_code == 403
        assert httpx.get(f"{site.origin}/?launch=wrong").status_code == 403
        first = httpx.get(f"{site.origin}/?launch={site.launch}")
        assert first.status_code == 303 and first.headers["location"] == "/"
        name, _, rest = first.headers["set-cookie"].partition("=")
        value, *flags = [part.strip() for part in rest.split(";")]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} == set(flags) and len(value) == 43
        second = httpx.get(f"{site.origin}/?launch={site.launch}")
        assert second.status_code == 403 and "set-cookie" not in second.headers
        cookie = {"Cookie": f"{name}={value}"}
        assert httpx.get(f"{site.origin}/api/v1/status", headers=cookie).status_code == 200
        assert httpx.get(f"{site.origin}/", headers=cookie).status_code == 200
        assert httpx.get(f"{site.origin}/api/v1/status", headers={"Cookie": f"{name}={value}x"}).status_code == 403
        for word in (site.launch, value):  # neither is the token of programs
            bearer = {"Authorization": f"Bearer {word}"}
            assert httpx.get(f"{site.origin}/api/v1/status", headers=bearer).status_code == 403
        upload = {**cookie, "Content-Type": "image/png"}
        assert httpx.post(f"{site.origin}/api/v1/query", content=b"x", headers=upload).status_code == 403
        own = {**upload, "Origin": site.origin, "Sec-Fetch-Site": "same-origin"}
        assert httpx.post(f"{site.origin}/api/v1/query", content=b"x", headers=own).status_code == 422
    finally:
        assert ended(site) == 0
    log = site.log.read_text()
    assert site.launch not in log and value not in log and "wrong" not in log


def test_each_start_has_its_own_secrets(site: Site, folder: Path, tmp_path: Path) -> None:
    other = started(folder, token=None, scratch=tmp_path)
    assert other.launch != site.launch
    assert ended(other, signal.SIGTERM) != 1


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from serve import keys

    compared: list[tuple[bytes, bytes]] = []
    real = keys.hmac.compare_digest

    def noted(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return real(a, b)

    monkeypatch.setattr(keys.hmac, "compare_digest", noted)
    its = keys.Keys("t" * 43)
    assert its.is_token("t" * 43) and not its.is_token("\u00e9") and its.is_cookie(its.cookie) and not its.is_cookie("")
    assert not its.use_launch("no") and its.use_launch(its.launch)
    assert len(compared) == 6 and {len(word) for pair in compared for word in pair} == {32}


def test_tokens_are_in_no_log(site: Site) -> None:
    for headers in (site.key, {"Authorization": f"Bearer {site.token}x"}, {"Cookie": f"latent={site.token}"}):
        for route in (f"status?token={site.token}", "query?id=1", "nothing"):
            httpx.get(f"{site.origin}/api/v1/{route}", headers=headers)
    assert site.token not in site.log.read_text() and site.launch not in site.log.read_text()


def test_other_names_of_the_server_are_refused_before_routing(site: Site) -> None:
    port = site.port
    for good in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
        assert httpx.get(f"{site.origin}/api/v1/healthz", headers={"Host": good}).status_code == 200
    bad = [
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        "localhost",
        f"localhost.:{port}",
        f"127.0.0.1:{port + 1}",
    ]
    bad += [f"127.0.0.2:{port}", f"[::]:{port}", f"0.0.0.0:{port}", f"[::ffff:127.0.0.1]:{port}", ""]
    for host in bad:
        for route in ("api/v1/healthz", "api/v1/nothing", "api/v1/status"):
            answer = httpx.get(f"{site.origin}/{route}", headers={**site.key, "Host": host})
            assert answer.status_code in ((403, 400) if not host else (403,)), (host, answer.text)
    for lines in (["Host: a", f"Host: 127.0.0.1:{port}"], [f"X-Forwarded-Host: 127.0.0.1:{port}", "Host: evil"]):
        assert raw(site, "GET /api/v1/healthz HTTP/1.1", *lines).split()[1] in ("400", "403")
    assert raw(site, "GET /api/v1/healthz HTTP/1.0").split()[1] == "403"


def test_no_other_page_may_ask(site: Site, searcher: Searcher) -> None:
    body = Path(path_of(searcher, "shape-0-001.png")).read_bytes()
    foreign = [
        "null",
        "http://evil.example",
        "https://127.0.0.1:" + str(site.port),
        f"http://127.0.0.1:{site.port + 1}",
    ]
    for origin in foreign:
        refused(site.post(body, {"Origin": origin}), 403, "cross_site")
    for where in ("cross-site", "same-site"):
        refused(site.post(body, {"Sec-Fetch-Site": where}), 403, "cross_site")
        headers = {**site.key, "Sec-Fetch-Site": where}
        refused(httpx.get(f"{site.origin}/api/v1/status", headers=headers), 403, "cross_site")
    told(site.post(body, {"Origin": site.origin, "Sec-Fetch-Site": "same-origin"}))
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST", **site.key}
    for answer in (
        httpx.options(f"{site.origin}/api/v1/query", headers=preflight),
        httpx.get(f"{site.origin}/api/v1/status", headers={**site.key, "Origin": "http://evil.example"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_every_answer_has_the_headers(site: Site) -> None:
    routes = ["healthz", "status", "query?id=1", "query?id=1&k=0", "items/99999", "nothing", "items/1/thumbnail"]
    answers = [httpx.get(f"{site.origin}/api/v1/{route}", headers=site.key) for route in routes]
    answers += [httpx.get(f"{site.origin}/{path}", headers=site.key) for path in ("", "assets/none.js")]
    answers += [httpx.get(f"{site.origin}/api/v1/status"), httpx.get(f"{site.origin}/", headers={"Host": "evil"})]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "*" not in policy
        assert "img-src 'self' blob: data:;" in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in answer.headers
        kept = (
            "private"
            if "thumbnail" in str(answer.url) or answer.headers["content-type"].startswith("text/html")
            else ""
        )
        assert answer.headers["cache-control"].startswith(kept or "no-store"), answer.url


def test_files_outside_the_roots_are_never_read(site: Site, searcher: Searcher, tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    draw_shape("disc", np.random.default_rng(1), 64).save(outside)
    (tmp_path / "elsewhere").mkdir()
    photos = site.folder / "photos"
    inside, linked, pipe, folder, text = (photos / f"spare-{number}.png" for number in range(5))
    numbers = [id_of(searcher, f"spare-{number}.png") for number in range(SPARE)]
    for spare in (linked, pipe, folder):
        spare.unlink()
    linked.symlink_to(outside)
    os.mkfifo(pipe)
    folder.mkdir()
    text.write_text("no picture")

    def thumbnail(number: int) -> httpx.Response:
        return site.get(f"items/{number}/thumbnail")

    assert thumbnail(numbers[0]).status_code == 200
    refused(thumbnail(numbers[1]), 403, "outside")
    refused(thumbnail(numbers[2]), 404, "gone")
    refused(thumbnail(numbers[3]), 404, "gone")
    refused(thumbnail(numbers[4]), 422, "picture_refused")
    linked.unlink()
    linked.symlink_to(inside)
    assert thumbnail(numbers[1]).status_code == 200  # a link that stays inside
    linked.unlink()
    refused(thumbnail(numbers[1]), 404, "gone")
    assert told(site.get(f"items/{numbers[1]}"))["status"] == "gone"
    assert told(site.get(f"items/{numbers[4]}"))["status"] == "changed"
    for word in ("../../etc/passwd", "%2e%2e", "-1", "1.5", str(outside)):
        assert site.get(f"items/{word}/thumbnail").status_code in (404, 422)


def test_a_changed_file_has_no_old_tag(site: Site, searcher: Searcher) -> None:
    number, path = id_of(searcher, "spare-5.png"), site.folder / "photos" / "spare-5.png"
    before = site.get(f"items/{number}/thumbnail")
    draw_shape("square", np.random.default_rng(44), 80).save(path)
    after = site.get(f"items/{number}/thumbnail")
    assert after.content != before.content and "etag" in before.headers and "etag" not in after.headers


def test_pictures_are_encoded_again_without_metadata(site: Site, searcher: Searcher) -> None:
    assert b"Secretcam" in (site.folder / "photos" / "told.jpg").read_bytes()
    answer = site.get(f"items/{id_of(searcher, 'told.jpg')}/thumbnail", size=1024)
    assert b"Secretcam" not in answer.content
    with Image.open(BytesIO(answer.content)) as picture:
        assert picture.format == "WEBP" and picture.size == (48, 96)  # upright
        assert not picture.getexif() and not set(picture.info) & {"exif", "xmp", "icc_profile"}


def test_uploads_are_limited_decoded_apart_and_never_kept(site: Site) -> None:
    head = [f"Host: 127.0.0.1:{site.port}", f"Authorization: Bearer {site.token}", "Content-Type: image/png"]
    said = raw(site, "POST /api/v1/query HTTP/1.1", *head, f"Content-Length: {MOST_UPLOAD_BYTES + 1}")
    assert said.split()[1] == "413"  # before a byte of it came
    blocks = (bytes(1 << 20) for _ in range((MOST_UPLOAD_BYTES >> 20) + 4))
    try:
        answer = httpx.post(
            f"{site.origin}/api/v1/query", content=blocks, headers={**site.key, "Content-Type": "image/png"}
        )
        refused(answer, 413, "too_large")
    except httpx.WriteError:
        pass  # the server hung up
    refused(site.post(b"GIF89a"), 422, "picture_refused")
    refused(site.post(b""), 422, "picture_refused")
    refused(site.post(b"%PDF-1.4 " + bytes(1000)), 422, "picture_refused")
    refused(site.post(b"x", {"Content-Type": "text/html"}), 415, "not_a_picture")
    bomb = BytesIO()
    Image.new("1", (9000, 9000)).save(bomb, "PNG")
    refused(site.post(bomb.getvalue()), 413, "too_many_pixels")
    assert not list((site.log.parent / "tmp").iterdir())
    held = open_files(site)
    assert held and not [one for one in held if "latent-upload" in one or one.endswith("(deleted)")]


def open_files(site: Site) -> list[str]:
    """What the server holds open. Connections end at any time."""
    names: list[str] = []
    for one in Path(f"/proc/{site.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            names.append(os.readlink(one))
    return names


def test_uploads_that_do_not_come_are_bounded(site: Site) -> None:
    head = ["POST /api/v1/query HTTP/1.1", f"Host: 127.0.0.1:{site.port}", f"Authorization: Bearer {site.token}"]
    request = "\r\n".join([*head, "Content-Type: image/png", "Content-Length: 1000", "", "x"]).encode()
    waiting = [socket.create_connection(("127.0.0.1", site.port), 10) for _ in range(UPLOADS_MOST)]
    try:
        for connection in waiting:
            connection.sendall(request)
        time.sleep(0.5)
        refused(site.post(b"GIF89a"), 429, "busy")
        told(site.get("status"))  # all else is answered
    finally:
        for connection in waiting:
            connection.close()
    time.sleep(0.5)
    refused(site.post(b"GIF89a"), 422, "picture_refused")


def test_the_queue_and_the_time_of_requests_are_bounded() -> None:
    async def crowd() -> tuple[list[int], int, str]:
        work, gate = Work(1, queued_most=2, timeout_s=0.3), threading.Event()
        waiting = [asyncio.ensure_future(work.run(gate.wait, 5)) for _ in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(Refused) as full:
            await work.run(str)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        gate.set()
        await asyncio.sleep(0.1)
        answer = await work.run(lambda: "done")
        work.close()
        return [one.status for one in results if isinstance(one, Refused)], full.value.status, answer

    assert asyncio.run(crowd()) == ([503, 503, 503], 429, "done")


def test_no_more_than_200_hits(site: Site) -> None:
    assert "200" in refused(site.get("query", id=1, k=201), 422, "invalid")
    refused(site.get("query", id=1, k=0), 422, "invalid")
    refused(site.get("items", limit=201), 422, "invalid")
    refused(site.get("query", id=1, offset=10**9), 422, "invalid")
    refused(site.get("query", id=1, kk=3), 422, "invalid")


def test_no_answer_names_a_path_of_the_machine(site: Site, searcher: Searcher) -> None:
    routes = [
        "status",
        "items?limit=200",
        "items/1",
        "query?id=1&k=200",
        "openapi.json",
        "metrics",
        "nothing",
        "sum?terms=,",
    ]
    routes += ["query?id=x", "query?id=1&where=width", "query?id=1&within=nan", "sum?terms=1e999*1", "sum?terms=%00"]
    routes += [
        "query?id=1&where=root%20%3D",
        "query?id=1&like=999999",
        "paint?code=AAAA",
        "sample?count=65",
        "items?text=%22",
    ]
    routes += ["query?id=1&where=taken%20%3E%3D%202024-13", "query?id=1&metric=cosine&within=1", "items/0/painting"]
    for route in routes:
        answer = httpx.get(f"{site.origin}/api/v1/{route}", headers=site.key)
        assert answer.status_code < 500, (route, answer.text)
        assert SECRET not in answer.text and str(site.folder) not in answer.text, route
        assert "Traceback" not in answer.text and ".py" not in answer.text, route


def test_errors_of_the_library_are_told_without_its_paths() -> None:
    kinds = [LatentError, PathError, PictureRefused, ModelError, NoDirection, IndexDamaged, IndexBusy]
    refusals = [refusal_of(kind("/home/me/a.jpg: cannot be read")) for kind in kinds]
    refusals.append(bad_words(ValueError("not /home/me/a.jpg")))
    for refusal in refusals:
        assert refusal is not None and "/home" not in refusal.message and 400 <= refusal.status < 600
    assert bad_words(ValueError("k is wrong")).message == "k is wrong"
    assert refusal_of(OSError("/home/me")) is None


def test_a_damaged_index_is_told_without_its_place(folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    home = tmp_path / SECRET
    write_shapes(home / "photos", 12)
    Retriever.build(home / "photos", index=home / ".latent", model=str(tiny_bundle), workers=1).close()
    site = started(home, token=tmp_path / "token", scratch=tmp_path)
    try:
        told(site.get("query", id=1))
        catalog = home / ".latent" / "catalog.db"
        catalog.write_bytes(bytes(os.urandom(catalog.stat().st_size)))
        for route in ("query?id=1", "status", "items", "items/1/thumbnail"):
            answer = httpx.get(f"{site.origin}/api/v1/{route}", headers=site.key)
            assert answer.status_code in (500, 503), answer.text
            assert set(answer.json()) == {"error"} and SECRET not in answer.text and "Traceback" not in answer.text
        told(site.get("healthz"))
    finally:
        ended(site)


def test_the_demo_is_served(tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name("latent"))
    own = os.environ | {"BROWSER": "true", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    words = [program, "demo", "--small", "--serve"]
    with subprocess.Popen(words, cwd=tmp_path, env=own, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as demo:
        assert demo.stdout is not None
        lines = (line.decode() for line in demo.stdout)
        link = next(found[0] for line in lines if (found := re.search(r"http://\S+launch=\S+", line)))
        with httpx.Client(follow_redirects=True, timeout=60) as browser:
            assert "<title>latent</title>" in browser.get(link).text
            assert told(browser.get(f"{link.partition('/?')[0]}/api/v1/status"))["pictures"] == 60
        demo.send_signal(signal.SIGINT)
        assert demo.wait(20) == 0


def test_without_the_extra_the_pip_line_is_said(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['fastapi'] = None\nfrom cli.main import main\n"
        f"sys.argv = ['latent', 'serve', '--index', {str(folder / '.latent')!r}, '--no-open']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "pip install 'latent-search[web]'" in done.stderr, done.stderr


def test_a_port_in_use_is_told(site: Site, latent: Run) -> None:
    done = latent("serve", "--index", site.folder / ".latent", "--port", site.port, "--no-open", code=1)
    assert "--port 0" in done.stderr
