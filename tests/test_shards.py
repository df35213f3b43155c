"""Indexes that other programs serve, searched as one with folders: real servers, and programs that are none."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.errors import AddressUnknown, IndexUnreachable, NotServed
from index.exact import LEAVES_MOST, LONGEST, heard, said
from index.grammar import FilterError
from index.many import SHIFT, Many
from index.opening import open_index, open_indexes, place_of, write_index
from index.records import Change, Floats, Meta, Metric, Row
from index.served.answers import Garbage, neighbours_of
from index.served.store import HITS_MOST, Served
from index.where import (
    FACTS,
    TEXTS,
    AllOf,
    AnyOf,
    Compare,
    InFolder,
    Known,
    Listed,
    Matches,
    Near,
    Not,
    Unusual,
    Where,
)
from retrieval import Question, Retriever, Searcher, Term, ask, load_model
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


# ---------------------------------------------------------------- filters in words


def drawn_leaf(rng: np.random.Generator) -> Where:
    words = ("canon*", "it's", 'say "x"', "none", "a/", "", "(x) and not", "näme ☃", "\n")
    match rng.integers(7):
        case 0:
            value = [7, -3.25, 1e-9, 2**62, 1.7e18, 0.1][rng.integers(6)]
            fact, sign = FACTS[rng.integers(len(FACTS))], ("=", "!=", "<", "<=", ">", ">=")[rng.integers(6)]
            return Compare(fact, sign, value)  # type: ignore[arg-type]
        case 1:
            fact = TEXTS[rng.integers(len(TEXTS))]
            word = words[rng.integers(len(words))]
            return Matches(fact, word.replace("?", "") if fact == "keyword" else word)  # type: ignore[arg-type]
        case 2:
            return Known(("is_raw", "taken_us", "camera", "keyword")[rng.integers(4)])  # type: ignore[arg-type]
        case 3:
            return Near(*(float(one) for one in rng.uniform(0.1, 80, 3)))
        case 4:
            x, y, xx, xy, yy, radius = (float(one) for one in rng.normal(0, 1e3, 6))
            return Unusual((x, y), (xx, xy, yy), abs(radius), 1e-6)
        case 5:
            return Listed(frozenset(int(one) for one in rng.integers(0, 2**40, rng.integers(5))))
    return InFolder(f"/photos/it's {rng.integers(9)}")


def drawn(rng: np.random.Generator, levels: int = 3) -> Where:
    if not levels or rng.random() < 0.3:
        return drawn_leaf(rng)
    terms = tuple(drawn(rng, levels - 1) for _ in range(rng.integers(4)))
    kinds: list[Callable[[], Where]] = [
        lambda: AllOf(terms),
        lambda: AnyOf(terms),
        lambda: Not(drawn(rng, levels - 1)),
    ]
    return kinds[rng.integers(3)]()


def plain(where: Where) -> Where:
    """The same filter, in the form in which the grammar reads it: lists in lists are one, lists of one are the one."""
    match where:
        case Not(term):
            return Not(plain(term))
        case AllOf(terms):
            parts = [plain(one) for one in terms]
            joined = [
                one for part in parts for one in (part.terms if isinstance(part, AllOf) and part.terms else [part])
            ]
            return joined[0] if len(joined) == 1 else AllOf(tuple(joined))
        case AnyOf(terms):
            return plain(terms[0]) if len(terms) == 1 else AnyOf(tuple(plain(one) for one in terms))
    return where


def test_every_filter_is_heard_as_it_was_said() -> None:
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(2000):
        where = drawn(rng)
        kinds.add(type(where))
        assert heard(said(where)) == plain(where), said(where)
    assert len(kinds) == 10


def test_what_cannot_be_said_is_refused() -> None:
    deep: Where = Known("camera")
    for _ in range(60):
        deep = Not(deep)
    for where, words in (
        (deep, "inside each other"),
        (Listed(frozenset(range(10**6, 10**6 + LONGEST // 8 + 1))), "lists too much"),
        (AnyOf((Known("camera"),) * (LEAVES_MOST + 1)), "lists too much"),
        (InFolder("/photos/\udcff"), "no Unicode"),
        (Compare("mtime_ns", ">", 2**63), "too large"),
        (Unusual((float("inf"), 0.0), (1.0, 1.0, 1.0), 1.0, 1.0), "no number"),
    ):
        with pytest.raises(ValueError, match=words):
            said(where)


def test_strange_words_are_refused_or_heard_in_time() -> None:
    for text in ("", "(" * LONGEST, "'" * (LONGEST - 1), "not " * 1000, "width_px > 1e999", "listed = '1.5'", "no = 1"):
        begun_s = time.monotonic()
        with pytest.raises(FilterError):
            heard(text)
        assert time.monotonic() - begun_s < 5
    with pytest.raises(ValueError, match="at most 1000 conditions"):
        heard(" or ".join(["known = camera"] * (LEAVES_MOST + 1)))


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
        writer.keep_model(lambda folder: model.write_to(folder))
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
    with ExitStack() as stack:
        sites = [stack.enter_context(serving(folder / str(part))) for part in SERVED]
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

    do_POST = do_GET

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
    with silent() as hanging, stranger(lambda path: http(b"{}", "401 Unauthorized")) as locked:
        bad = {
            refusing: "no server answers",
            hanging: "no answer in 1 s|timed out",
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
