"""What a collection in Milvus says of itself: which state of which index it holds, and how well it is searched.

It is a property of the collection, written before and after each change (as a seqlock): so what a killed process left
half done is told from what is whole, and a reader sees whether anything was changed while it asked. A stranger may have
written it; what it says decides which candidates are proposed, never what is answered of them.
"""

from __future__ import annotations

import json
import math
import secrets
from dataclasses import dataclass, field, fields
from typing import Any, Self

from index.local.sanity import MOST
from index.local.structures import UNMEASURED, Quality
from index.milvus.kinds import FLAT, KINDS, Kind
from index.records import Budget, Meta

PROPERTY = "latent.state"
MOST_CHARACTERS = 2000
STAMP_BYTES = 16


@dataclass(frozen=True)
class State:
    """The state of a collection.

    It holds the codes of ``generation``, of the history that ``stamp`` identifies; or, if it is not ``whole``, those
    and some changes that lead to ``to_generation`` and ``to_stamp``. ``timestamp`` is Milvus's of the last change:
    whoever asks for it sees all of them. ``token`` is another one after each change.

    ``quality`` and ``latency_s``, the median time of a query, were measured within ``budget``.
    """

    generation: int
    stamp: bytes
    whole: bool = False
    to_generation: int = 0
    to_stamp: bytes = b""
    count: int = 0
    timestamp: int = 0
    kind: Kind = FLAT
    quality: Quality = UNMEASURED
    latency_s: float = 0.0
    budget: Budget = field(default_factory=Budget)
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def is_of(self, facts: Meta) -> bool:
        """Whether it is whole, and of the state that ``facts`` describe."""
        return self.whole and (self.generation, self.stamp) == (facts.generation, facts.stamp)

    def written(self) -> str:
        kept = {one.name: getattr(self, one.name) for one in fields(self)}
        kept |= {"stamp": self.stamp.hex(), "to_stamp": self.to_stamp.hex(), "kind": self.kind.name}
        return json.dumps(kept | {"quality": vars(self.quality), "budget": vars(self.budget)})

    @classmethod
    def read(cls, text: object) -> Self | None:
        """What was written; None if it could not have been."""
        try:
            if not isinstance(text, str) or len(text) > MOST_CHARACTERS:
                return None
            kept = json.loads(text)
            kept |= {name: bytes.fromhex(kept[name]) for name in ("stamp", "to_stamp")}
            kept |= {
                "kind": KINDS[kept["kind"]],
                "quality": Quality(**kept["quality"]),
                "budget": Budget(**kept["budget"]),
            }
            state = cls(**kept)
            return state if _is_sane(state) else None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def _is_sane(state: State) -> bool:
    quality = state.quality
    numbers: list[Any] = [state.generation, state.to_generation, state.count]
    numbers += [quality.candidates, quality.measured_at]
    times: list[Any] = [quality.recall, state.latency_s]
    limits: list[Any] = [state.budget.memory_bytes, state.budget.latency_s]
    return (
        all(type(one) is int and 0 <= one < MOST for one in numbers)
        and type(state.timestamp) is int
        and 0 <= state.timestamp < 2**63
        and all(type(one) in (int, float) and 0 <= one < math.inf for one in times)
        and all(one is None or (type(one) in (int, float) and 0 < one < math.inf) for one in limits)
        and type(state.whole) is bool
        and isinstance(state.token, str)
    )
