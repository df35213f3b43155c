"""Mutations of files: of bytes, and of the values in JSON."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

ODD_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "x",
    "\0", "\ud800", "../../x", "/etc/passwd", "\x1b[2J", "a" * 5000, [], [[]], {}, {"": None}, [1, "2", None],
]  # fmt: skip
ODD_BYTES = [b"\0", b"\xff", b"\x7f", b"\x80", b"\xff" * 4, b"\xff" * 8, b"\0" * 8, b"\xff" * 7 + b"\x7f", b"\0" * 64]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """``data`` with one to eight random faults; JSON is mutated as JSON half of the time."""
    if data[:1] == b"{" and rng.random() < 0.5:
        return mutated_json(data, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        data = _one_fault(data, rng)
    return data


def _one_fault(data: bytes, rng: random.Random) -> bytes:
    at, until = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    near, odd = min(until, at + rng.choice((1, 2, 4, 8, 64))), rng.choice(ODD_BYTES)
    faults = [
        lambda: data[:at],  # cut off
        lambda: data[:at] + data[near:],  # a piece is missing
        lambda: data[:near] + data[at:],  # or there twice
        lambda: data[:at] + odd + data[at:],
        lambda: data[:at] + odd + data[at + len(odd) :],
        lambda: data[:at] + data[at:until][::-1] + data[until:],
        lambda: data[:at] + rng.randbytes(1) + data[at + 1 :],
        lambda: data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :] if at < len(data) else data,
    ]
    return rng.choice(faults)()


def mutated_json(data: bytes, rng: random.Random) -> bytes:
    """JSON, or lines of JSON, with one to three values or keys that are odd, missing or nested deeply."""
    try:
        parts = [json.loads(data)]
    except ValueError:
        parts = [json.loads(line) for line in data.splitlines()]
    for _ in range(rng.randint(1, 3)):
        _spoil(rng.choice(parts), rng)
    text = "".join(json.dumps(part) + "\n" for part in parts)
    if rng.random() < 0.03:
        text = "[" * 100_000 + text
    return text.encode("utf-8", "surrogatepass")


def _spoil(node: Any, rng: random.Random) -> None:
    while isinstance(node, dict | list) and node:
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.7:
            node = node[key]
            continue
        fault = rng.randrange(4)
        if fault == 0:
            del node[key]
        elif fault == 1 and isinstance(node, dict):
            node[rng.choice(("x", "../../x", "\0", "a" * 3000))] = node.pop(key)
        else:
            node[key] = deepcopy(rng.choice(ODD_VALUES))  # the next fault may be inside it
        return
