"""Arithmetic with pictures: what lies at ``a + b - c`` in the space of codes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.model import Floats
from retrieval.retriever import Retriever

SIGNS = {"+": 1.0, "-": -1.0}
WEIGHED = re.compile(r"(\d+(?:\.\d+)?)\*(.+)", re.DOTALL)


@dataclass(frozen=True)
class Term:
    """A picture and how much of its code is added."""

    weight: float
    path: str


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


def _term(sign: float, word: str) -> Term:
    weighed = WEIGHED.fullmatch(word)
    return Term(sign * float(weighed[1]), weighed[2]) if weighed else Term(sign, word)


def combined(retriever: Retriever, terms: Sequence[Term]) -> Floats:
    """The code (d,) that terms add up to, standardized where those of the model are.

    Raises:
        PictureRefused: a picture cannot be read.
        ValueError: the terms cancel out.
    """
    codes = np.concatenate([retriever.look_at(term.path).codes for term in terms])
    added: Floats = np.asarray([term.weight for term in terms], np.float32) @ codes
    if not retriever.model.standardized:
        return added
    spread = float(added.std())
    if spread < 1e-4:
        raise ValueError("these pictures cancel out, and nothing is left to look for")
    return np.asarray((added - added.mean()) / spread, np.float32)
