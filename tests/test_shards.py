"""Indexes that other programs serve, searched as one with folders: real servers, and programs that are none."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.errors import AddressUnknown, IndexMismatch, IndexUnreachable, LatentError, NotServed
from index.many import SHIFT
from index.opening import open_index, place_of, write_index
from index.records import Change, Floats, Meta, Metric, Row
from index.served.answers import Garbage, neighbours_of
from index.served.store import HITS_MOST
from index.where import AllOf, AnyOf, Compare, InFolder, Listed, Matches, Not, Unusual, Where
from retrieval import Question, Retriever, Searcher, Term, ask, load_model
from retrieval.explore.explain import answer_row
from retrieval.models.model import Model
from tests.conftest import Run, add_codes, write_shapes

try:
    import fastapi  # noqa: F401
    import httpx
    import uvicorn  # noqa: F401

    from tests.serving import Site, ended, started
except ImportError:
    pytest.skip("served indexes need the extra web, and their tests httpx", allow_module_level=True)

PARTS, SERVED = 8, (1, 4, 5)
COUNT = 400  # drawn pictures in each part
TOKEN = "LATENT_TOKEN"


# ---------------------------------------------------------------- the same hits as one index


@dataclass(frozen=True)
class Home:
    """Eight indexes of drawn codes, of which three are served, and what is in them."""

    folder: Path
    addresses: list[str]
    sites: list[Site]
    tokens: Path


def fill(index: Path, photos: Path, model: Model, codes: Floats, part: int) -> None:
    """An index of pictures that are only rows: facts by their number, and some codes that are in other parts, too."""
    with write_index(index, create=Meta(model.name, model.digest, model.latent_dim, model.standardized)) as writer:
        writer.keep_model(model.write_to)
        root = writer.rows.add_root(str(photos))
        rows = (
            Row(
                root,
                f"{n % 3}/{part}-{n:04d}.jpg".encode(),
                1000 + n,
                10**18 + 10**9 * n,
                "found",
                b"%016d" % (part * COUNT + n),
                64 + n % 50,
                64,
                float(n % 7),
                1.0 + n % 5,
            )
            for n in range(len(codes))
        )
        writer.rows.apply([Change(row, code) for row, code in zip(rows, codes, strict=True)])
        writer.refresh_caches()


@pytest.fixture(scope="module")
def codes(tiny_bundle: Path) -> Floats:
    """float32 (parts, count, d), standardized; every tenth code is that of another part's picture."""
    dim = load_model(tiny_bundle).latent_dim
    codes = np.random.default_rng(1).standard_normal((PARTS, COUNT, dim), dtype=np.float32)
    codes = (codes - codes.mean(2, keepdims=True)) / codes.std(2, keepdims=True)
    codes[1:, ::10] = codes[:-1, ::10]
    return codes


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, codes: Floats) -> Iterator[Home]:
    folder, model = tmp_path_factory.mktemp("shards"), load_model(tiny_bundle)
    for part in range(PARTS):
        fill(folder / str(part) / ".latent", folder / "photos" / str(part), model, codes[part], part)
    addresses = [str(folder / str(part) / ".latent") for part in range(PARTS)]
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        beginning = [pool.submit(stack.enter_context, serving(folder / str(part))) for part in SERVED]
        sites = [one.result() for one in beginning]
        tokens = folder / "tokens"
        tokens.touch(0o600)
        lines = [f"{site.origin} {site.token}" for site in sites[:-1]]
        tokens.write_text("\n".join(["# mine", *lines, f"{sites[-1].origin} {sites[-1].folder / 's' / 'token'}", ""]))
        for part, site in zip(SERVED, sites, strict=True):
            addresses[part] = site.origin
        yield Home(folder, addresses, sites, tokens)


@contextmanager
def serving(folder: Path) -> Iterator[Site]:
    (folder / "s").mkdir()
    site = started(folder, "--read-only", token=folder / "s" / "token", scratch=folder / "s")
    try:
        yield site
    finally:
        if site.process.poll() is None:
            ended(site)


@pytest.fixture(autouse=True)
def no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (TOKEN, "LATENT_TOKENS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def many(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Searcher]:
    monkeypatch.setenv("LATENT_TOKENS", str(home.tokens))
    with Searcher.open(home.addresses) as many:
        yield many
        assert not many.absent


def brute_force(
    codes: Floats, query: Floats, metric: Metric, passes: Callable[[int, int], bool], left_out: set[int]
) -> list[tuple[int, float]]:
    """(id of the whole, distance) of all that pass, nearest first, ties by id."""
    ids = [place << SHIFT | n + 1 for place in range(PARTS) for n in range(COUNT)]
    xb, xq = codes.reshape(-1, codes.shape[2]).astype(np.float64), query.astype(np.float64)
    distances = np.linalg.norm(xb - xq, axis=1)
    # On standardized codes both metrics are one order; equal codes have equal distances, whatever BLAS adds first.
    norms = np.linalg.norm(xb, axis=1) * np.linalg.norm(xq)
    by = distances if metric == "euclidean" else -np.round((xb * xq).sum(1) / norms, 12)
    order = np.lexsort((ids, by))
    stays = (at for at in order if ids[at] not in left_out and passes(int(at) // COUNT, int(at) % COUNT))
    return [(ids[at], float(distances[at])) for at in stays]


Passes = Callable[[int, int], bool]


def drawn_filter(rng: np.random.Generator, home: Home, levels: int = 2) -> tuple[Where, Passes]:
    """A filter, and what it lets pass by the part and the number of a picture."""
    if levels and rng.random() < 0.6:
        (one, a), (other, b) = (drawn_filter(rng, home, levels - 1) for _ in range(2))
        return [
            (AllOf((one, other)), lambda part, n: a(part, n) and b(part, n)),
            (AnyOf((one, other)), lambda part, n: a(part, n) or b(part, n)),
            (Not(one), lambda part, n: not a(part, n)),
        ][rng.integers(3)]
    most, folder, own = int(rng.integers(COUNT)), int(rng.integers(3)), int(rng.integers(PARTS))
    ids = frozenset(int(one) << SHIFT | int(n) for one, n in rng.integers((0, 1), (PARTS, COUNT + 1), (900, 2)))
    return [
        (Compare("size_bytes", "<=", 1000 + most), lambda part, n: n <= most),
        (Compare("mtime_ns", ">", 10**18 + 10**9 * most), lambda part, n: n > most),
        (Matches("folder", str(folder)), lambda part, n: n % 3 == folder),
        (Matches("name", f"{own}-*"), lambda part, n: part == own),
        (InFolder(str(home.folder / "photos" / str(own))), lambda part, n: part == own),
        (Compare("realism", "=", folder), lambda part, n: n % 7 == folder),
        (Listed(ids), lambda part, n: part << SHIFT | n + 1 in ids),
        (Unusual((3.0, 0.0), (1.0, 0.0, 0.0), 4.5, 1e-6), lambda part, n: (n % 7 - 3) ** 2 > 4.5),
    ][rng.integers(8)]  # type: ignore[return-value]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_hits_are_those_of_brute_force_over_all(home: Home, many: Searcher, codes: Floats, metric: Metric) -> None:
    rng = np.random.default_rng(2)
    hits_seen, elsewhere = 0, 0
    for turn in range(40):
        where, passes = drawn_filter(rng, home) if turn % 4 else (None, lambda part, n: True)
        queries = rng.standard_normal((3, codes.shape[2]), dtype=np.float32)
        queries[1] = codes[rng.integers(PARTS), 10 * rng.integers(COUNT // 10)]  # with ties in two parts
        out = [{int(one) << SHIFT | int(rng.integers(1, COUNT + 1)) for one in range(PARTS)} for _ in queries]
        k = int((1, 10, 100, 5000)[rng.integers(4)])
        answers = many.index.search(queries, k, metric, out, where)
        for query, left_out, hits in zip(queries, out, answers, strict=True):
            wanted = brute_force(codes, query, metric, passes, left_out)[:k]
            assert [(hit.id, hit.distance) for hit in hits] == wanted
            hits_seen += len(hits)
            elsewhere += sum(hit.picture.path.startswith("http://") for hit in hits)
        if where is not None:
            assert many.count(where) == sum(passes(part, n) for part in range(PARTS) for n in range(COUNT))
    assert hits_seen > 10_000 and elsewhere > 2000


def test_what_a_hit_tells_is_what_its_own_index_holds(home: Home, many: Searcher, codes: Floats) -> None:
    (hits,) = many.index.search(codes[4, :1], 500, "euclidean")
    own = open_index(home.folder / "4" / ".latent")
    served = [hit.picture for hit in hits if hit.id >> SHIFT == 4]
    assert len(served) > 20 and served[0].path == f"{home.addresses[4]}/0/4-0000.jpg"
    held = own.rows.found([one.id & (1 << SHIFT) - 1 for one in served])
    for one in served:
        theirs = held[one.id & (1 << SHIFT) - 1]
        assert one[2:] == theirs[2:] and one.path.endswith(theirs.path.rpartition("/photos/4")[2])
    own.close()


def test_questions_decode_and_words(home: Home, many: Searcher, codes: Floats) -> None:
    found = many.query_codes(codes[:3, 5], 40, where="text = '0004'")
    assert {hit.path.rpartition("-")[2] for hits in found for hit in hits} == {"0004.jpg"} and len(found[0]) == PARTS
    assert len(many) == PARTS * COUNT and many.looks().shape[1] == 2
    hits = many.query_codes(codes[1, 5][None], 30)[0]
    assert any(hit.is_elsewhere for hit in hits) and not all(hit.is_elsewhere for hit in hits)
    by_id = np.stack([codes[hit.id >> SHIFT, (hit.id & (1 << SHIFT) - 1) - 1] for hit in hits])
    assert np.array_equal(many.decode(hits), many.model.decode(by_id))
    assert not any(hit.is_gone for hit in hits if hit.is_elsewhere)
    within = many.query_codes(codes[1, 5][None], within=4.0)[0]
    assert [hit.distance <= 4.0 for hit in within] == [True] * len(within) and len(within) > 3


def test_more_hits_than_one_answer_holds_come_in_pages(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shapes(tmp_path / "photos", 1)
    Retriever.build(tmp_path / "photos", index=tmp_path / ".latent", model=str(tiny_bundle), workers=1).close()
    add_codes(tmp_path / ".latent", count := HITS_MOST + 500)
    with serving(tmp_path) as site, Searcher.open(tmp_path / ".latent") as here:
        monkeypatch.setenv(TOKEN, site.token)
        code = np.random.default_rng(3).standard_normal((1, here.latent_dim), dtype=np.float32)
        ours, theirs = (
            index.search(code, count + 1000, "euclidean")[0] for index in (open_index(site.origin), here.index)
        )
        assert [(hit.id, hit.distance) for hit in ours] == [(hit.id, hit.distance) for hit in theirs]
        assert len(ours) == count + 1


# ---------------------------------------------------------------- servers that fail


class Stranger(BaseHTTPRequestHandler):
    """A program that answers ``said`` to everything."""

    said: Callable[[str], bytes]

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.wfile.write(type(self).said(self.path))

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def stranger(said: Callable[[str], bytes]) -> Iterator[str]:
    kind = type("Said", (Stranger,), {"said": staticmethod(said)})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def http(body: bytes, head: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.0 {head}\r\nContent-Length: {size}\r\n\r\n".encode() + body


@contextmanager
def silent() -> Iterator[str]:
    """What accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def dripping() -> Iterator[str]:
    """What sends one character of an endless header ten times a second."""
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.0 200 OK\r\nX: ")
            while not ended.wait(0.1):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=drip, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)


def facts_of(home: Home, **changed: Any) -> dict[str, Any]:
    told: dict[str, Any] = httpx.get(
        f"{home.sites[0].origin}/api/v1/shard/facts", headers=home.sites[0].key, timeout=60
    ).json()
    return told | changed


def test_who_does_not_answer_is_named_and_the_others_answer(
    home: Home, codes: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENT_TOKENS", str(home.tokens))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = f"http://127.0.0.1:{closed.getsockname()[1]}"
    rest = brute_force(codes, codes[2, 3], "euclidean", lambda part, n: part < 2, set())[:200]
    with (
        silent() as hanging,
        dripping() as slow,
        stranger(lambda path: http(b"{}", "401 Unauthorized")) as locked,
    ):
        bad = {
            refusing: "no server answers",
            hanging: "no answer in 1 s|timed out",
            slow: "no answer in 1 s",
            locked: "wants a token",
        }
        for address, words in bad.items():
            begun_s = time.monotonic()
            with Searcher.open([*home.addresses[:2], address], timeout_s=1) as some:
                (hits,) = some.query_codes(codes[2, 3][None], 200)
                assert [hit.id for hit in hits] == [one for one, _ in rest]
                assert list(some.absent) == [address]
                with pytest.raises(IndexUnreachable, match=words):
                    open_index(address, timeout_s=1)
            assert time.monotonic() - begun_s < 15
            with pytest.raises(Exception, match=address):
                Searcher.open([*home.addresses[:2], address], timeout_s=1, strict=True)


def test_strangers_answers_are_refused(home: Home, codes: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    """What answers as no index does is named; the others answer. Nothing is kept of a huge answer but its refusal."""
    monkeypatch.setenv("LATENT_TOKENS", str(home.tokens))
    own = home.addresses[0]
    fine = facts_of(home)
    for facts, words in (
        (b"<html>", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no object"),
        (b'{"model_digest": "\\ud800"}', "model_digest in its answer is no text"),
        (json.dumps(fine | {"latent_dim": 2.5}).encode(), "latent_dim in its answer is no such number"),
        (json.dumps(fine | {"pictures": 10**30}).encode(), "pictures in its answer is no such number"),
        (json.dumps(fine | {"model": "m" * 10**6}).encode(), "model in its answer is no text"),
        (json.dumps(fine | {"standardized": 1}).encode(), "standardized"),
    ):
        with (
            stranger(lambda path, facts=facts: http(facts)) as address,  # type: ignore[misc]
            Searcher.open([own, address], timeout_s=20) as some,
        ):
            assert words in some.absent[address]
            assert len(some.query_codes(codes[0, :1], 3)[0]) == 3
    with stranger(lambda path: b"no HTTP at all\r\n\r\n") as address, pytest.raises(IndexUnreachable):
        open_index(address)
    with (
        stranger(lambda path: http(b"", "302 Found\r\nLocation: " + home.sites[0].origin)) as address,
        pytest.raises(IndexUnreachable, match="status 302"),
    ):
        open_index(address)
    with stranger(lambda path: http(b"x" * (65 << 20))) as address, pytest.raises(IndexUnreachable, match="64 MiB"):
        open_index(address)


def test_who_dies_in_the_midst_is_named_and_left_alone_for_a_while(
    home: Home, codes: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENT_TOKENS", str(home.tokens))
    facts, asked = json.dumps(facts_of(home)).encode(), list[str]()

    def dies(path: str) -> bytes:
        asked.append(path)
        return http(facts) if "facts" in path else http(b'{"counts": [', length=10_000)

    with stranger(dies) as address, Searcher.open([home.addresses[0], address]) as some:
        assert not some.absent
        (hits,) = some.query_codes(codes[0, :1], 3)
        assert len(hits) == 3 and "broke off" in some.absent[address]
        before = len(asked)
        assert len(some.query_codes(codes[0, :1], 3)[0]) == 3 and some.decode(hits).shape[0] == 3
        assert len(asked) == before  # who failed lately is not waited for again


def test_a_server_that_is_killed_is_named(home: Home, tiny_bundle: Path, tmp_path: Path, codes: Floats) -> None:
    fill(tmp_path / ".latent", tmp_path / "photos", load_model(tiny_bundle), codes[7], 7)
    with serving(tmp_path) as site, pytest.MonkeyPatch.context() as patch:
        patch.setenv(TOKEN, site.token)
        with Searcher.open([home.addresses[0], site.origin]) as some:
            ids = {hit.id >> SHIFT for hit in some.query_codes(codes[7, :1], 100)[0]}
            assert ids == {0, 1} and not some.absent
            site.process.kill()
            site.process.wait()
            assert site.process.stdout is not None
            site.process.stdout.close()
            ids = {hit.id >> SHIFT for hit in some.query_codes(codes[7, :1], 100)[0]}
            assert ids == {0} and "no server answers" in some.absent[site.origin]


def test_servers_of_another_model_are_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENT_TOKENS", str(home.tokens))
    for changed in ({"model_digest": "0" * 64}, {"latent_dim": 99}):
        other = json.dumps(facts_of(home, **changed)).encode()
        with (
            stranger(lambda path, other=other: http(other)) as address,  # type: ignore[misc]
            pytest.raises(IndexMismatch, match="only codes of one model can be compared"),
        ):
            Searcher.open([home.addresses[0], address])
    facts = [facts_of(home), facts_of(home, model_digest="0" * 64)]
    with stranger(lambda path: http(json.dumps(facts.pop(0)).encode())) as address:
        index = open_index(address)
        with pytest.raises(IndexMismatch, match="another model than before"):
            index.rows.meta()


def test_lies_about_hits_are_refused(home: Home, codes: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change of a true answer is noticed, and no hit of it is taken."""
    site = home.sites[0]
    body = {"codes": base64.b64encode(codes[0, 0].tobytes()).decode(), "k": 4}
    told = httpx.post(f"{site.origin}/api/v1/shard/search", json=body, headers=site.key, timeout=60).json()
    (hits,) = neighbours_of(told, site.origin, 1, 4, "euclidean")
    assert len(hits) == 4

    def column(name: str, kind: str, *numbers: float) -> dict[str, str]:
        own = np.frombuffer(base64.b64decode(told[name]), kind).copy()
        own[: len(numbers)] = numbers
        return {name: base64.b64encode(own.tobytes()).decode()}

    lies: list[dict[str, Any]] = [
        {"counts": [5]},
        {"counts": [-1]},
        {"counts": [True]},
        {"counts": [4, 0]},
        {"counts": {}},
        {"ids": told["ids"][:-4]},
        {"ids": "?"},
        {"ids": None},
        column("ids", "<i8", -1),
        column("ids", "<i8", 1 << SHIFT),
        column("ids", "<i8", *[hits[1].id] * 2),
        column("distances", "<f8", 1e9),
        column("distances", "<f8", float("nan")),
        column("similarities", "<f8", float("inf")),
        column("width", "<i8", -5),
        column("unfamiliarity", "<f8", 1.5),
        {"names": told["names"][:-1]},
        {"names": [7, *told["names"][1:]]},
        {"names": ["x" * 10**5, *told["names"][1:]]},
        {"hashes": ["zz", *told["hashes"][1:]]},
    ]
    for lie in lies:
        with pytest.raises(Garbage):
            neighbours_of(told | lie, site.origin, 1, 4, "euclidean")
    older = {name: one for name, one in told.items() if name != "unfamiliarity"}
    assert {hit.picture.unfamiliarity for hit in neighbours_of(older, site.origin, 1, 4, "euclidean")[0]} == {None}


def test_pages_without_end_are_refused(home: Home, codes: Floats) -> None:
    """Who answers each page with the same hits is not asked for ever."""
    facts = facts_of(home)

    def text(numbers: Sequence[float], kind: str) -> str:
        return base64.b64encode(np.asarray(numbers, kind).tobytes()).decode()

    whole, real = text(range(HITS_MOST), "<i8"), text([1.0] * HITS_MOST, "<f8")
    columns = dict.fromkeys(("ids", "width", "height", "size_bytes", "mtime_ns"), whole)
    columns |= dict.fromkeys(("distances", "similarities", "realism", "spread", "unfamiliarity"), real)
    texts = {name: ["aa"] * HITS_MOST for name in ("hashes", "names", "folders")}
    page = http(json.dumps(facts | columns | texts | {"counts": [HITS_MOST]}).encode())
    asked: list[str] = []

    def said(path: str) -> bytes:
        asked.append(path)
        return http(json.dumps(facts).encode()) if "facts" in path else page

    with stranger(said) as address:
        index = open_index(address)
        assert len(index.search(codes[0, :1], HITS_MOST, "euclidean")[0]) == HITS_MOST
        with pytest.raises(IndexUnreachable, match="pages are in no order"):
            index.search(codes[0, :1], 3 * HITS_MOST, "euclidean")
    assert len(asked) == 5


def test_paths_of_strangers_are_only_text(
    home: Home, codes: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, latent: Run, tiny_bundle: Path
) -> None:
    """A name that climbs to a file of this machine, or acts on a terminal, does neither."""
    monkeypatch.setenv("LATENT_TOKENS", str(home.tokens))
    write_shapes(tmp_path, 1)
    site = home.sites[0]

    def said_by_it(path: str) -> bytes:
        if "facts" in path:
            return http(json.dumps(facts_of(home)).encode())
        if "looks" in path:
            return http(json.dumps(facts_of(home) | {"looks": ""}).encode())
        body = {"codes": base64.b64encode(codes[0, 0].tobytes()).decode(), "k": 10}
        told = httpx.post(f"{site.origin}/api/v1/shard/search", json=body, headers=site.key, timeout=60).json()
        if "codes" in path:
            some = base64.b64encode(np.tile(codes[0, 0], (10, 1)).tobytes()).decode()
            return http(json.dumps(told | {"codes": some}).encode())
        told["names"][:2] = ["../../../shape-0-000.png", "\x1b[31mred\n"]
        return http(json.dumps(told).encode())

    monkeypatch.chdir(tmp_path)
    with stranger(said_by_it) as address:
        (tmp_path / address / "0").mkdir(parents=True)  # if the path of a hit were one of a file, it would be there
        assert os.path.exists(f"{address}/0/../../../shape-0-000.png")
        with Searcher.open(address, model=tiny_bundle) as searcher:
            hits = searcher.query_codes(codes[0, :1], 10)[0]
            assert hits[0].path == f"{address}/0/../../../shape-0-000.png" and not hits[0].is_gone
            row = answer_row(searcher, None, (), codes[0, 0], hits)
            assert all(np.array_equal(cell.picture, row.hits[1].picture) for cell in row.hits)
        words = ["query", tmp_path / "shape-0-000.png", "--index", address, "--model", tiny_bundle]
        done = latent(*words, "--sheet", tmp_path / "s.png", "--decode", tmp_path / "d")
        assert "\x1b" not in done.stdout and f"{address}/0/../../../shape-0-000.png" not in done.stderr
        assert "10 hits of served indexes: the sheet shows what the model decodes, not the files" in done.stderr
        assert "gone" not in done.stdout and len(list((tmp_path / "d").iterdir())) == 10
        assert all(one.parent == tmp_path / "d" for one in (tmp_path / "d").rglob("*"))


# ---------------------------------------------------------------- addresses, tokens, and what is not asked


def test_addresses_have_one_spelling_and_no_secrets() -> None:
    assert place_of("HTTP://LocalHost:8765/") == "http://localhost:8765"
    assert place_of("https://photos.example/latent/") == "https://photos.example/latent"
    assert place_of("http://[::1]:80") == "http://[::1]:80"
    for bad in ("http://", "http://h:x", "http://h/?a=1", "http://h/#a", "http://h /", "http://hö"):
        with pytest.raises(AddressUnknown, match="an address such as"):
            place_of(bad)
    with pytest.raises(AddressUnknown, match="holds a password") as error:
        place_of("http://me:geheim@host:1")
    assert "geheim" not in str(error.value)


def test_tokens_go_to_their_own_server_alone(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard_tokens: list[str | None] = []

    class Listening(Stranger):
        def do_GET(self) -> None:
            heard_tokens.append(self.headers.get("Authorization"))
            self.wfile.write(http(b"{}"))

    with ThreadingHTTPServer(("127.0.0.1", 0), Listening) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"

        def sent() -> str | None:
            with pytest.raises(LatentError):
                open_index(address)
            return heard_tokens.pop()

        monkeypatch.setenv("LATENT_TOKENS", str(home.tokens))
        assert sent() is None  # the tokens there are of other servers
        monkeypatch.setenv(TOKEN, "for-all")
        assert sent() == "Bearer for-all"
        own = tmp_path / "own"
        own.write_text(f"{address.upper().replace('HTTP', 'http')}/  its-own\n")
        own.chmod(0o600)
        monkeypatch.setenv("LATENT_TOKENS", str(own))
        assert sent() == "Bearer its-own"
        monkeypatch.delenv("LATENT_TOKENS")
        monkeypatch.setenv("LATENT_DATA", str(tmp_path))
        own.rename(tmp_path / "tokens")
        assert sent() == "Bearer its-own"
        server.shutdown()
    (tmp_path / "tokens").chmod(0o644)
    with pytest.raises(AddressUnknown, match="only you may read it"):
        open_index(address)
    (tmp_path / "tokens").write_text("not an address\n")
    (tmp_path / "tokens").chmod(0o600)
    with pytest.raises(AddressUnknown, match="line 1: it must be an address and a token"):
        open_index(address)
    monkeypatch.setenv("LATENT_TOKENS", str(tmp_path / "none"))
    with pytest.raises(AddressUnknown, match="cannot be read"):
        open_index(address)


def test_a_served_index_is_neither_written_nor_listed_from_here(
    home: Home, latent: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LATENT_TOKENS", str(home.tokens))
    address = home.addresses[SERVED[0]]
    for words in (
        ["index", "update"],
        ["index", "status"],
        ["features", "-o", tmp_path / "codes.csv"],
    ):
        assert f"{address} is served" in latent(*words, "--index", address, code=1).stderr, words
    assert "is served already" in latent("serve", "--index", address, "--no-open", "--port", 0, code=2).stderr
    assert "needs no trust" in latent("index", "trust", address, code=1).stderr
    with pytest.raises(NotServed, match="cannot list pictures in an order"):
        Searcher.open(address).pictures()
    with pytest.raises(NotServed):
        Searcher.open([home.addresses[0], address]).index.rows.facts([b"x"])


def test_the_program_asks_folders_and_servers_together(
    home: Home, latent: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, codes: Floats, tiny_bundle: Path
) -> None:
    monkeypatch.setenv("LATENT_TOKENS", str(home.tokens))
    write_shapes(tmp_path / "photos", 2, seed=5)
    asked = tmp_path / "photos" / "shape-5-000.png"
    (tmp_path / "parts.txt").write_text("\n".join(home.addresses) + "\n")
    words = ["query", asked, "-k", 300, "--where", "size < 1100", "--format", "json"]
    told = json.loads(latent(*words, "--index", tmp_path / "parts.txt").stdout)
    hits = told["queries"][0]["hits"]
    code = load_model(tiny_bundle).encode([asked])[0]
    wanted = brute_force(codes, code, "euclidean", lambda part, n: n < 100, set())[:300]
    assert [hit["distance"] for hit in hits] == [distance for _, distance in wanted] and "absent" not in told
    served = [hit for hit in hits if hit["path"].startswith("http://127.0.0.1:")]
    assert len(served) > 50 and not any(hit["gone"] for hit in served)
    with silent() as hanging:
        more = ["--index", tmp_path / "parts.txt", "--index", hanging, "--timeout", 3]
        done = latent(*words, *more)
        assert json.loads(done.stdout)["absent"].keys() == {hanging}
        assert f"the answer is partial, without {hanging}" in done.stderr
        assert hanging in latent(*words, *more, "--strict", code=1).stderr
    alone = ["query", asked, "--index", home.addresses[1]]
    assert "--model DIR" in latent(*alone, code=1).stderr
    assert home.addresses[1] in latent(*alone, "--model", tiny_bundle).stdout
    assert "not of" in latent(*alone, "--model", "photos-64", code=3).stderr
    monkeypatch.delenv("LATENT_TOKENS")
    assert "wants a token" in latent(*alone, code=1).stderr


def test_a_shipped_model_is_known_by_its_digest(tmp_path: Path, latent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shapes(tmp_path / "photos", 6)
    Retriever.build(tmp_path / "photos", index=tmp_path / ".latent", model="photos-64", workers=1).close()
    with serving(tmp_path) as site:
        monkeypatch.setenv(TOKEN, site.token)
        asked = tmp_path / "photos" / "shape-0-001.png"
        with Searcher.open(site.origin) as served, Searcher.open(tmp_path / ".latent") as here:
            ours, theirs = (one.query_codes(here.look_at(asked).code[None], 6)[0] for one in (served, here))
            assert [(hit.id, hit.distance) for hit in ours] == [(hit.id, hit.distance) for hit in theirs]
            answer = ask(served, Question((Term(1.0, str(asked)),), 3, words="shape"))
            assert [hit.id for hit in answer.hits][:1] == [theirs[0].id]
        assert httpx.get(f"{site.origin}/api/v1/status", headers=site.key, timeout=60).json()["model_digest"]
        assert site.origin in latent("query", asked, "--index", site.origin, "--format", "paths").stdout
