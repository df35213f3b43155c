"""Arithmetic with pictures: what lies at ``a + b - c`` in the space of codes, or some way along a direction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.arrays import Floats
from retrieval.models.model import standardize
from retrieval.retriever import Retriever

SIGNS = {"+": 1.0, "-": -1.0}
WEIGHED = re.compile(r"(\d+(?:\.\d+)?)\*(.+)", re.DOTALL)


@dataclass(frozen=True)
class Term:
    """A picture, or a direction that the index knows by name, and how much of it is added."""

    weight: float
    name: str
    is_direction: bool = False

    def __str__(self) -> str:
        weight = "" if abs(self.weight) == 1 else f"{abs(self.weight):g}*"
        return f"{'-' if self.weight < 0 else '+'} {weight}{self.name}"


def parse_terms(words: Sequence[str]) -> list[Term] | None:
    """``a.jpg + 0.5*b.jpg - c.jpg``, word by word, as terms; None where no sign stands between two words.

    Raises:
        ValueError: a sign without a picture behind it, or two pictures without one between them.
    """
    if not any(word in SIGNS for word in words[1:-1]):
        return None
    if len(words) % 2 == 0 or any((word in SIGNS) != bool(place % 2) for place, word in enumerate(words)):
        raise ValueError("pictures and signs must take turns: a.jpg + b.jpg - 0.5*c.jpg")
    signs = [1.0, *(SIGNS[word] for word in words[1::2])]
    return [_term(sign, word) for sign, word in zip(signs, words[::2], strict=True)]


def parse_directions(plus: Iterable[str], minus: Iterable[str] = ()) -> list[Term]:
    """Directions to go, ``smile`` or ``0.5*smile``, and those to go backwards."""
    signed = [(1.0, word) for word in plus] + [(-1.0, word) for word in minus]
    return [_term(sign, word, is_direction=True) for sign, word in signed]


def _term(sign: float, word: str, is_direction: bool = False) -> Term:
    weighed = WEIGHED.fullmatch(word)
    weight, name = (float(weighed[1]), weighed[2]) if weighed else (1.0, word)
    return Term(sign * weight, name, is_direction)


def combined(retriever: Retriever, terms: Sequence[Term]) -> tuple[Floats, frozenset[int]]:
    """The code (d,) that terms add up to, standardized where those of the model are, and the ids of their pictures.

    Raises:
        PictureRefused: a picture cannot be read.
        NoDirection: the index knows none of that name.
        ValueError: the terms cancel out.
    """
    vectors: list[Floats] = []
    ids: frozenset[int] = frozenset()
    for term in terms:
        if term.is_direction:
            vectors.append(retriever.direction(term.name).vector)
        else:
            seen = retriever.look_at(term.name)
            vectors.append(seen.code)
            ids |= seen.ids
    if len(vectors) == 1:
        return vectors[0], ids
    return added_up(np.stack(vectors), [term.weight for term in terms], retriever.model.standardized), ids


def added_up(vectors: Floats, weights: Sequence[float], standardized: bool) -> Floats:
    """The weighted sum (d,) of vectors (n, d); where codes are ``standardized``, brought to average 0 and deviation 1.

    Raises:
        ValueError: they cancel out.
    """
    total: Floats = np.asarray(np.asarray(weights) @ vectors, np.float32)
    if not np.isfinite(total @ total):
        raise ValueError("the weights are too large to add up")
    if not standardized:
        return total
    if total.std() < 1e-4:
        raise ValueError("these pictures cancel out, and nothing is left to look for")
    return standardize(total)
