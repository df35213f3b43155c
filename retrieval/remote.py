"""A client of ``latent serve`` that needs no package beyond those of the library.

>>> latent = connect("http://127.0.0.1:8765", token)       # doctest: +SKIP
>>> hits = latent.query("face.jpg", k=10, where="taken >= 2024-06").hits
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from index.http import ServerError, Transport
from index.records import Ids, Metric
from retrieval.arrays import Floats, Pixels
from retrieval.remote_acts import Acts

POLL_S = 0.3

Asked = int | str | os.PathLike[str] | bytes | Floats
"""An id, the path of a picture, its bytes, or a code."""


@dataclass(frozen=True)
class RemoteHit:
    """As ``Hit``, without the path; ``folder`` is relative to its root. ``copies`` counts those that it stands for."""

    id: int
    rank: int
    name: str
    folder: str
    distance: float
    similarity: float
    realism: float
    width: int
    height: int
    copies: int
    gone: bool
    box: list[float] | None = None  # of a face or a tile in its picture


@dataclass(frozen=True)
class RemoteAnswer:
    """As ``Answer``."""

    hits: list[RemoteHit]
    code: Floats
    novelty: float | None
    unfamiliarity: float | None


@dataclass(frozen=True)
class RemotePicture:
    """A picture of the index; ``taken`` in ISO 8601."""

    id: int
    name: str
    folder: str
    realism: float
    width: int
    height: int
    gone: bool
    taken: str | None
    size_bytes: int
    box: list[float] | None = None


@dataclass(frozen=True)
class RemoteCluster:
    """``count`` pictures round ``position`` (x, y); ``typical`` is the id of one. Its prototype is
    ``decode(code, scale)``."""

    position: tuple[float, float]
    count: int
    typical: int
    code: Floats
    scale: float | None


@dataclass(frozen=True)
class RemoteMap:
    """Pictures on a plane: columns of n, and what their numbers mean.

    ``ids`` int64, ``positions`` float32 (n, 2) from 0 to 1, ``cluster`` uint16 places in ``clusters``, ``folder``
    uint32 places in ``folders``, ``taken_s`` float64 seconds from 1970 on or NaN, ``novelty`` float32 shares or NaN.
    ``total`` is the size of the collection, of which so many were drawn.
    """

    generation: int
    total: int
    ids: Ids
    names: list[str]
    positions: Floats
    cluster: npt.NDArray[np.uint16]
    clusters: list[RemoteCluster]
    folder: npt.NDArray[np.uint32]
    folders: list[str]
    taken_s: npt.NDArray[np.float64]
    novelty: Floats


class Client(Acts):
    """A served index. Methods answer as those of ``Searcher``; any thread may call them."""

    def __init__(self, url: str, token: str) -> None:
        self._get = Transport(url, token).get

    def status(self) -> dict[str, Any]:
        return self._json("status")

    def query(
        self,
        picture: Asked,
        k: int = 10,
        *,
        metric: Metric = "euclidean",
        where: str | None = None,
        text: str | None = None,
        prefer: str | None = None,
        within: float | None = None,
        offset: int = 0,
        copies: Literal["show", "collapse"] = "show",
        like: Sequence[int] = (),
        unlike: Sequence[int] = (),
    ) -> RemoteAnswer:
        """The ``k`` pictures nearest to a picture or a code.

        Raises:
            ServerError: the server refuses that; the message says why.
        """
        words: dict[str, Any] = {
            "k": k,
            "metric": metric,
            "where": where,
            "text": text,
            "prefer": prefer,
            "within": within,
            "offset": offset,
            "copies": copies,
            "like": _listed(like),
            "unlike": _listed(unlike),
        }
        if isinstance(picture, int):
            told = self._json("query", words | {"id": picture})
        elif isinstance(picture, np.ndarray):
            told = self._json("query", words | {"code": _text(picture)})
        else:
            told = self._json("query", words, picture if isinstance(picture, bytes) else Path(picture).read_bytes())
        hits = [RemoteHit(**hit) for hit in told["hits"]]
        return RemoteAnswer(hits, _code(told["code"]), told["novelty"], told["unfamiliarity"])

    def pictures(
        self,
        where: str | None = None,
        *,
        text: str | None = None,
        order: str = "path",
        reverse: bool = False,
        most: int = 100,
        offset: int = 0,
    ) -> list[RemotePicture]:
        """Pictures that pass a filter, in an order. Raises as ``query``."""
        words = {
            "where": where,
            "text": text,
            "order": order,
            "reverse": str(reverse).lower(),
            "limit": most,
            "offset": offset,
        }
        return [RemotePicture(**item) for item in self._json("items", words)["items"]]

    def map(self, wait_s: float = 600.0, report: Callable[[str, int, int], None] | None = None) -> RemoteMap:
        """The collection on a plane, once it is made; ``report`` is told (stage, done, total).

        Raises:
            ServerError: the server refuses that, or it takes too long.
        """
        ends_s = time.monotonic() + wait_s
        while "stage" in (told := self._json("map")):
            if time.monotonic() > ends_s:
                raise ServerError(0, "no_answer", "the map is not made in time; ask again later")
            if report is not None:
                report(told["stage"], told["done"], told["total"])
            time.sleep(POLL_S)
        return _map(told)

    def decode(self, code: Floats, scale: float | None = None) -> Pixels:
        """Decode a code (d,) to uint8 (s, s, 3). Raises as ``query``."""
        return _pixels(self._get("paint", {"code": _text(code), "scale": scale}))

    def thumbnail(self, identifier: int, size: Literal[128, 256, 512, 1024] = 256) -> Pixels:
        """A picture, uint8 (h, w, 3), scaled down to fit into a square. Raises as ``query``."""
        return _pixels(self._get(f"items/{identifier}/thumbnail", {"size": size}))

    def _json(self, route: str, words: dict[str, Any] | None = None, body: bytes | None = None) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._get(route, words or {}, body))
        return told

    def _post(self, route: str, words: dict[str, Any] | None = None) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._get(route, words or {}, method="POST"))
        return told

    def _failure(self, code: str, message: str) -> ServerError:
        return ServerError(0, code, message)


def connect(url: str, token: str) -> Client:
    """A client of the server at ``url``, with the token of its token file. No request is made yet."""
    return Client(url, token)


def _listed(ids: Sequence[int]) -> str | None:
    return ",".join(map(str, ids)) or None


def _text(code: Floats) -> str:
    return base64.urlsafe_b64encode(np.asarray(code, "<f4").tobytes()).decode("ascii")


def _code(text: str) -> Floats:
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)


def _map(told: dict[str, Any]) -> RemoteMap:
    clusters = [
        RemoteCluster((one["x"], one["y"]), one["count"], one["typical"], _code(one["code"]), one["scale"])
        for one in told["clusters"]
    ]
    kinds = {"ids": "<i8", "positions": "<f4", "cluster": "<u2", "folder": "<u4", "taken_s": "<f8", "novelty": "<f4"}
    columns = {name: np.frombuffer(base64.b64decode(told[name]), kind) for name, kind in kinds.items()}
    columns["positions"] = columns["positions"].reshape(-1, 2)
    return RemoteMap(**told | columns | {"clusters": clusters})


def _pixels(content: bytes) -> Pixels:
    with Image.open(BytesIO(content), formats=["PNG", "WEBP"]) as image:
        return np.asarray(image.convert("RGB"))
