"""What a served index answers, checked: it may be anyone's program. Its paths are only text."""

from __future__ import annotations

import base64
import itertools
import json
import string
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from index.records import Floats, Found, Ids, Meta, Metric, Neighbour

IDS_BELOW = 1 << 40  # as several indexes together tell them apart
DIMENSIONS_MOST, TEXT_MOST, PATH_MOST, HASH_BYTES_MOST = 1 << 16, 200, 1 << 14, 64
SMALL_MOST = 2**31
Scalar = TypeVar("Scalar", bound=np.generic)


class Garbage(ValueError):
    """An answer is not what was asked for. The message fits after the address."""


def parsed(content: bytes) -> dict[str, Any]:
    """The object of a JSON text.

    Raises:
        Garbage: it is none.
    """
    try:
        told = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Garbage("its answer is no JSON") from None
    if not isinstance(told, dict):
        raise Garbage("its answer is no object")
    return told


def meta_of(told: dict[str, Any]) -> Meta:
    """Raises Garbage."""
    if type(standardized := told.get("standardized")) is not bool:
        raise Garbage("its answer does not say whether codes are standardized")
    return Meta(
        model_name=_text(told, "model", TEXT_MOST),
        model_digest=digest_of(told),
        latent_dim=dim_of(told),
        standardized=standardized,
        generation=generation_of(told),
        stamp=_hexadecimal(_text(told, "stamp", 2 * HASH_BYTES_MOST)),
        found=count_of(told),
    )


def digest_of(told: dict[str, Any]) -> str:
    """The digest of the model. Raises Garbage."""
    return _text(told, "model_digest", TEXT_MOST)


def dim_of(told: dict[str, Any]) -> int:
    """The number of dimensions of a code. Raises Garbage."""
    return _whole(told, "latent_dim", 1, DIMENSIONS_MOST)


def generation_of(told: dict[str, Any]) -> int:
    """Raises Garbage."""
    return _whole(told, "generation", 0, 2**62)


def count_of(told: dict[str, Any]) -> int:
    """A number of pictures. Raises Garbage."""
    return _whole(told, "pictures", 0, IDS_BELOW)


def ids_of(told: dict[str, Any], count: int | None = None) -> Ids:
    """Ids int64 (n,), each at most once. Raises Garbage."""
    ids = _column(told, "ids", "<i8", np.int64, count)
    if len(ids) and not (ids.min() >= 0 and ids.max() < IDS_BELOW):
        raise Garbage("it tells ids that no picture has")
    return ids


def floats_of(told: dict[str, Any], name: str, rows: int, wide: int) -> Floats:
    """Finite numbers, float32 (rows, wide). Raises Garbage."""
    return _finite(_column(told, name, "<f4", np.float32, rows * wide)).reshape(rows, wide)


def looks_of(told: dict[str, Any]) -> Floats:
    """Realism and spread, float32 (n, 2). Raises Garbage."""
    looks = _finite(_column(told, "looks", "<f4", np.float32))
    if len(looks) % 2:
        raise Garbage("it tells half of a look")
    return looks.reshape(-1, 2)


def neighbours_of(told: dict[str, Any], address: str, queries: int, k: int, metric: Metric) -> list[list[Neighbour]]:
    """The hits of each of some queries, at most ``k``, nearest first. Raises Garbage."""
    counts = told.get("counts")
    if not isinstance(counts, list) or len(counts) != queries:
        raise Garbage("it does not answer each query")
    if not all(type(count) is int and 0 <= count <= k for count in counts):
        raise Garbage("it tells more hits than were asked for")
    every = _hits(told, address, sum(counts))
    ends = np.cumsum([0, *counts])
    hits = [every[start:end] for start, end in itertools.pairwise(ends)]
    if not all(are_in_order(some, metric) for some in hits):
        raise Garbage("its hits are in no order, or one is there twice")
    return hits


def _hits(told: dict[str, Any], address: str, count: int) -> list[Neighbour]:
    names, folders = (_texts(told, name, count) for name in ("names", "folders"))
    hashes = [_hexadecimal(one) for one in _texts(told, "hashes", count)]
    whole = [_column(told, name, "<i8", np.int64, count).tolist() for name in ("size_bytes", "mtime_ns")]
    sides = [_sides(told, name, count) for name in ("width", "height")]
    real = {
        name: _finite(_column(told, name, "<f8", np.float64, count)).tolist()
        for name in ("distances", "similarities", "realism", "spread")
    }
    ranks = _shares(told, "unfamiliarity", count)
    paths = ("/".join(part for part in (address, *both) if part) for both in zip(folders, names, strict=True))
    facts = zip(
        ids_of(told, count).tolist(), paths, *whole, hashes, *sides, real["realism"], real["spread"], ranks, strict=True
    )
    pictures = (Found(*one) for one in facts)
    return [Neighbour(*one) for one in zip(pictures, real["distances"], real["similarities"], strict=True)]


def are_in_order(hits: Sequence[Neighbour], metric: Metric) -> bool:
    """Whether each hit is there once, the nearest first, ties by id."""
    far = [(hit.distance if metric == "euclidean" else -hit.similarity, hit.id) for hit in hits]
    return far == sorted(far) and len({hit.id for hit in hits}) == len(hits)


def _sides(told: dict[str, Any], name: str, count: int) -> list[int]:
    sides: list[int] = _column(told, name, "<i8", np.int64, count).tolist()
    if not all(0 <= side < SMALL_MOST for side in sides):
        raise Garbage(f"it tells a {name} that no picture has")
    return sides


def _column(
    told: dict[str, Any], name: str, kind: str, own: type[Scalar], count: int | None = None
) -> npt.NDArray[Scalar]:
    text = told.get(name)
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except ValueError:
        data = None
    width = np.dtype(kind).itemsize
    if data is None or len(data) % width or count not in (None, len(data) // width):
        raise Garbage(f"{name} in its answer is not what was asked for")
    return np.frombuffer(data, kind).astype(own)


def _finite(numbers: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    if not np.isfinite(numbers).all():
        raise Garbage("it tells numbers that are none")
    return numbers


def _shares(told: dict[str, Any], name: str, count: int) -> list[float | None]:
    """Shares from 0 to 1; None for those that are not known. Older servers tell none."""
    if name not in told:
        return [None] * count
    shares = _column(told, name, "<f8", np.float64, count)
    if not (np.isnan(shares) | ((shares >= 0) & (shares <= 1))).all():
        raise Garbage(f"{name} in its answer are no shares")
    return [None if np.isnan(one) else one for one in shares.tolist()]


def _texts(told: dict[str, Any], name: str, count: int) -> list[str]:
    texts = told.get(name)
    if not isinstance(texts, list) or len(texts) != count or not all(_is_text(one, PATH_MOST) for one in texts):
        raise Garbage(f"{name} in its answer are no texts")
    return texts


def _text(told: dict[str, Any], name: str, most: int) -> str:
    text = told.get(name)
    if not _is_text(text, most):
        raise Garbage(f"{name} in its answer is no text")
    return str(text)


def _is_text(text: object, most: int) -> bool:
    if not isinstance(text, str) or len(text) > most:
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _whole(told: dict[str, Any], name: str, least: int, most: int) -> int:
    number = told.get(name)
    if type(number) is not int or not least <= number <= most:
        raise Garbage(f"{name} in its answer is no such number")
    return number


def _hexadecimal(text: str) -> bytes:
    if len(text) % 2 or len(text) > 2 * HASH_BYTES_MOST or not set(text) <= set(string.hexdigits):
        raise Garbage("a hash in its answer is none")
    return bytes.fromhex(text)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")
