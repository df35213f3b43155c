"""An index that another program serves, for reading, behind the door of every index.

It answers what a search needs: hits, codes, counts, words. Its pictures lie elsewhere, so all else raises NotServed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

from index.errors import IndexBusy, IndexMismatch, IndexUnreachable, NotServed
from index.exact import said
from index.facts import Facts
from index.http import ServerError, Transport
from index.parallel import answered
from index.records import Budget, Direction, Floats, Found, Layout, Meta, Metric, Neighbour, Row
from index.served.answers import (
    Garbage,
    are_in_order,
    count_of,
    digest_of,
    floats_of,
    generation_of,
    ids_of,
    looks_of,
    meta_of,
    neighbours_of,
    parsed,
)
from index.served.tokens import TOKEN, token_for
from index.where import Order, Where

TIMEOUT_S = 30.0
HITS_MOST, QUERIES_MOST, IDS_MOST, BODY_BYTES_MOST = 10_000, 256, 10_000, 1_000_000  # of one request
ALL_MOST = 1_000_000  # hits of a query, in pages
ID_BYTES = 20  # of an id in JSON, at most
TRIES = 3  # if the index changes between the pages of one answer
UNKNOWN_ROUTE, NO_KEY = 404, (401, 403)

T = TypeVar("T")


class Served:
    """An index at http://host:port (``index.door.Index``). Any thread may use it."""

    def __init__(self, address: str, timeout_s: float = TIMEOUT_S) -> None:
        """No request is made yet. ``timeout_s``: how long one answer may take.

        Raises:
            AddressUnknown: the file of tokens cannot be read.
        """
        self.address, self._model_digest, self.latent_dim = address, "", 0
        self._token = token_for(address)
        self._transport, self._timeout_s = Transport(address, self._token, timeout_s), timeout_s
        self.budget = Budget()
        self.rows, self.notes = ServedRows(self), ServedNotes()

    @classmethod
    def open(cls, address: str, timeout_s: float = TIMEOUT_S) -> Served:
        """The index, once it has answered.

        Raises:
            IndexUnreachable: nobody answers in time, or what answers is no index, or wants another token.
            AddressUnknown: the file of tokens cannot be read.
        """
        opened = cls(address, timeout_s)
        facts = opened.rows.meta()
        opened._model_digest, opened.latent_dim = facts.model_digest, facts.latent_dim
        return opened

    def search(
        self,
        xq: Floats,
        k: int,
        metric: Metric,
        left_out: Sequence[Collection[int]] | None = None,
        where: Where | None = None,
    ) -> list[list[Neighbour]]:
        """As ``index.door.Index.search``.

        Raises:
            IndexUnreachable, IndexMismatch: see ``ask``.
            ValueError: the filter cannot be sent.
        """
        words = "" if where is None else said(where)
        out = [sorted(map(int, ids)) for ids in left_out] if left_out is not None else [[] for _ in xq]
        each_bytes = len(_text(xq[:1])) + ID_BYTES * max(map(len, out), default=0)
        fitting = (BODY_BYTES_MOST - len(words.encode())) // max(1, each_bytes)
        at_once = max(1, min(QUERIES_MOST, HITS_MOST // k, fitting))
        hits: list[list[Neighbour]] = []
        for start in range(0, len(xq), at_once):
            part = slice(start, start + at_once)
            body = {"codes": _text(xq[part]), "left_out": out[part], "where": words or None}
            hits += self._searched(min(k, ALL_MOST), len(xq[part]), metric, body)
        return hits

    def _searched(self, k: int, queries: int, metric: Metric, body: dict[str, Any]) -> list[list[Neighbour]]:
        """The hits of some queries; of a single one in pages, all of one generation."""
        for _ in range(TRIES):
            hits, generations = [list[Neighbour]() for _ in range(queries)], set[int]()
            for offset in range(0, k, HITS_MOST):
                most = min(HITS_MOST, k - offset)
                read = partial(_hits_of, address=self.address, queries=queries, k=most, metric=metric)
                asked = body | {"metric": metric, "k": most, "offset": offset}
                told, generation = self.ask("search", read, body=asked)
                generations.add(generation)
                hits = [[*some, *more] for some, more in zip(hits, told, strict=True)]
                if len(told[0]) < most:
                    break
            if len(generations) == 1:
                return self._in_order(hits, metric)
        raise IndexBusy(f"{self.address} is being written while it answers; ask again")

    def _in_order(self, hits: list[list[Neighbour]], metric: Metric) -> list[list[Neighbour]]:
        if not all(are_in_order(some, metric) for some in hits):  # of several pages
            raise IndexUnreachable(f"{self.address} answers as no index does: its pages are in no order")
        if any(len(some) >= ALL_MOST for some in hits):
            self.refuse(f"tell {ALL_MOST:,} hits or more at once")
        return hits

    def ask(
        self,
        route: str,
        read: Callable[[dict[str, Any]], T],
        words: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
    ) -> T:
        """What ``read`` takes from an answer.

        Raises:
            IndexUnreachable: nobody answers in time, what answers is no index, or it wants another token.
            IndexMismatch: it holds codes of another model than when it was opened.
        """
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        get = partial(self._transport.get, f"shard/{route}", words, content, kind="application/json")
        try:
            told = parsed(self._in_time(get))
            digest = digest_of(told)
            answer = read(told)
        except ServerError as error:
            raise IndexUnreachable(self._refusal(error)) from error
        except Garbage as error:
            raise IndexUnreachable(
                f"{self.address} answers as no index does: {error}", code="no_index_there"
            ) from error
        if self._model_digest not in ("", digest):
            raise IndexMismatch(f"{self.address} holds codes of another model than before", code="other_models")
        return answer

    def _in_time(self, get: Callable[[], bytes]) -> bytes:
        """What is answered; a server that sends a byte now and then is not waited for."""
        content = answered({0: get}, self._timeout_s)[0]
        if isinstance(content, IndexUnreachable):
            raise ServerError(0, "no_answer", str(content)) from content
        if isinstance(content, Exception):
            raise content
        return content

    def _refusal(self, error: ServerError) -> str:
        if error.status in NO_KEY:
            given = "takes another token than it was sent" if self._token else "wants a token"
            return f"{self.address} {given}; tokens come from {TOKEN}, or from a file with one for each address"
        if error.status == UNKNOWN_ROUTE:
            return f"{self.address} serves no index of this kind, or is of an older version"
        return f"{self.address} does not answer: {str(error)[:300]}"

    def layout(self) -> Layout:
        self.refuse("say how its codes are laid out")

    def sizes(self) -> dict[str, int]:
        self.refuse("say how large it is")

    def faults(self) -> list[str]:
        self.refuse("be verified")

    def excluded(self) -> tuple[str, ...]:
        self.refuse("say what it leaves out")

    def model_folder(self) -> Path:
        self.refuse("pass on its model")

    def close(self) -> None:
        """Nothing is open between requests."""

    def refuse(self, what: str) -> NoReturn:
        raise NotServed(f"{self.address} is served, and cannot {what} from here; do that on its own machine")


class ServedRows:
    """Rows of a served index (``index.door.Rows``), as far as it tells them. It names no folder, so it has no roots."""

    def __init__(self, index: Served) -> None:
        self._index = index

    def snapshot(self) -> AbstractContextManager[None]:
        """Each answer is of one state; several may be of several."""
        return nullcontext()

    def meta(self) -> Meta:
        return self._index.ask("facts", meta_of)

    def roots(self) -> dict[int, str]:
        return {}

    def at_path(self, root_id: int, path: bytes) -> Row | None:
        return None

    def codes(self, ids: Sequence[int]) -> dict[int, Floats]:
        codes = dict[int, Floats]()
        for start in range(0, len(ids), IDS_MOST):
            codes |= self._index.ask("codes", self._codes_of, body={"ids": [*map(int, ids[start : start + IDS_MOST])]})
        return {one: codes[one] for one in ids if one in codes}

    def _codes_of(self, told: dict[str, Any]) -> dict[int, Floats]:
        ids = ids_of(told).tolist()
        return dict(zip(ids, floats_of(told, "codes", len(ids), self._index.latent_dim), strict=True))

    def count(self, where: Where) -> int:
        return self._index.ask("count", count_of, body={"where": said(where)})

    def with_words(self, text: str) -> list[int]:
        ids: list[int] = self._index.ask("words", ids_of, {"text": text}).tolist()
        return ids

    def some_looks(self, count: int) -> Floats:
        return self._index.ask("looks", looks_of, {"count": count})

    def found(self, ids: Sequence[int]) -> dict[int, Found]:
        self._index.refuse("tell the files of pictures")

    def found_page(self, after: int, count: int, where: Where | None = None) -> tuple[list[Found], Floats]:
        self._index.refuse("list all its pictures")

    def listing(self, root_id: int) -> dict[bytes, Row]:
        self._index.refuse("list the rows of a folder")

    def listed(
        self, where: Where | None, order: Order, descending: bool, count: int | None, offset: int
    ) -> list[Found]:
        self._index.refuse("list pictures in an order")

    def hashes_by_size(self, sizes: Iterable[int]) -> dict[int, frozenset[bytes]]:
        self._index.refuse("be built")

    def coded_by_hash(self, hashes: Iterable[bytes]) -> dict[bytes, tuple[Row, Floats]]:
        self._index.refuse("be built")

    def facts(self, hashes: Iterable[bytes]) -> dict[bytes, Facts]:
        self._index.refuse("tell the facts of pictures")

    def without_facts(self) -> list[Row]:
        self._index.refuse("list its files")

    def count_without_facts(self) -> int:
        self._index.refuse("count its files")

    def counts(self) -> dict[str, int]:
        self._index.refuse("count its files")

    def skipped(self) -> list[Row]:
        self._index.refuse("list what was skipped")


class ServedNotes:
    """Notes of a served index stay there."""

    def kept_apart(self) -> set[frozenset[bytes]]:
        return set()

    def directions(self) -> dict[str, Direction]:
        return {}


def _hits_of(
    told: dict[str, Any], address: str, queries: int, k: int, metric: Metric
) -> tuple[list[list[Neighbour]], int]:
    """Hits, and the generation that they are of."""
    return neighbours_of(told, address, queries, k, metric), generation_of(told)


def _text(codes: Floats) -> str:
    return base64.b64encode(np.ascontiguousarray(codes, "<f4").tobytes()).decode("ascii")
