"""What was offered to be done, until it is done: each offer has a nonce, which is good once."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from dataclasses import dataclass

from retrieval.defaults import Action
from serve.errors import Refused

NONCE_BYTES = 32
LASTS_S = 600
OFFERS_MOST = 16


@dataclass(frozen=True)
class _Offer:
    plan: str
    digest: str
    action: Action
    ends_s: float


class Offers:
    """Offers by the hashes of their nonces. Any thread may ask."""

    def __init__(self, lasts_s: int = LASTS_S) -> None:
        self.lasts_s = lasts_s
        self._offers: dict[bytes, _Offer] = {}
        self._lock = threading.Lock()

    def make(self, plan: str, digest: str, action: Action) -> str:
        """The nonce of a new offer to do ``action`` by the plan of that id, as long as it has that digest."""
        nonce = secrets.token_urlsafe(NONCE_BYTES)
        with self._lock:
            self._offers[_key(nonce)] = _Offer(plan, digest, action, time.monotonic() + self.lasts_s)
            while len(self._offers) > OFFERS_MOST:
                del self._offers[next(iter(self._offers))]
        return nonce

    def use(self, nonce: str, plan: str, digest: str) -> Action:
        """What was offered. The nonce is used up, whatever comes of it.

        Raises:
            Refused: there is no such offer, or it is of another plan, or of what the plan was before.
        """
        with self._lock:
            offer = self._offers.pop(_key(nonce), None)
        if offer is None or offer.plan != plan or offer.ends_s < time.monotonic():
            raise Refused(409, "no_offer", "this was not offered, or it was used before; confirm again")
        if offer.digest != digest:
            raise Refused(409, "plan_changed", "the plan was changed meanwhile; confirm again")
        return offer.action


def _key(nonce: str) -> bytes:
    return hashlib.sha256(nonce.encode("utf-8", "surrogatepass")).digest()
