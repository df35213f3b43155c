"""The collections of an index in Milvus: filled, caught up, measured, compared with the catalog.

One process at a time changes them (``lock``); it says so in the collection before and after. So whoever is killed
leaves a collection that says that it is not whole. The next one goes on from the state before, if the history of the
catalog still leads through what was begun, else it fills the collection anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np

from index.errors import IndexBusy, IndexDamaged, LatentError
from index.forks import watch
from index.local.caches import Truth
from index.local.catalog import Catalog
from index.local.snapshot import stored_form
from index.local.snapshots import KINDS, QUESTIONS, TRIES, cache_kind, is_of
from index.local.structures import FEWEST, Quality, fits
from index.milvus.address import Vectors
from index.milvus.collection import MOST, Collection
from index.milvus.kinds import WANTED_RECALL, Measured, best, to_try
from index.milvus.proposals import Proposals
from index.milvus.server import Server
from index.milvus.state import State
from index.records import Budget, Floats, Ids, Layout, Meta, Metric

LADDER = (20, 100, 200, 500, 1000, 2000)  # numbers of candidates to try
WORTH = 0.001  # recall that more candidates must bring
TIMED = 20  # queries
SHORT_PATIENCE_S = 2.0  # inside a transaction, which a writer may be waiting for
PATIENCE_S = 60.0  # of a reader, while another process fills a collection
LONG_PATIENCE_S = 3600.0  # of a writer
FOLLOWED_MOST = 0.5  # share of the codes; if more changed, filling anew is as quick
BLUR = 1e-5

Lock = Callable[[float], AbstractContextManager[None]]
"""Keeps other processes from changing the collections; takes the longest wait in seconds, and raises IndexBusy."""


class MilvusSource:
    """The collections of an index (``index.local.proposing.Source``). Any thread may use it."""

    tries = 10

    def __init__(self, vectors: Vectors, rows: Catalog, budget: Callable[[], Budget], lock: Lock) -> None:
        self.vectors = vectors
        self._rows, self._budget, self._lock = rows, budget, lock
        self._server = Server(vectors.address)
        self._latest: dict[Metric, Proposals] = {}
        self._making = threading.Lock()
        watch(self)

    def after_fork(self) -> None:
        self._making = threading.Lock()

    def reach(self) -> None:
        """Raises IndexUnreachable or MissingExtra: Milvus cannot be asked."""
        with self._server.asked() as client:
            client.get_server_version()

    def collection(self, kind: Metric) -> Collection:
        name = f"{self.vectors.collection}_{kind}"
        return Collection(self._server, name, kind, self._rows.meta().latent_dim)

    def forget(self) -> None:
        self._latest.clear()

    def latest(self, metric: Metric) -> Proposals | None:
        facts = self._rows.meta()
        latest = self._latest.get(cache_kind(metric, facts))
        return latest if latest is not None and is_of(latest, facts) else None

    def current(self, metric: Metric, must_save: bool = False) -> Proposals:
        """The proposals of the catalog's current state; inside a transaction, of the state that it sees."""
        if (latest := self.latest(metric)) is not None:
            return latest
        # Do not wait long inside a transaction: who changes the collection may be waiting for this reader.
        inside = self._rows.in_transaction
        with nullcontext() if inside else self._making:
            if (latest := self.latest(metric)) is not None:
                return latest  # another thread has made it meanwhile
            kind = cache_kind(metric, self._rows.meta())
            patience_s = SHORT_PATIENCE_S if inside else LONG_PATIENCE_S if must_save else PATIENCE_S
            made = self._made(self.collection(kind), patience_s)
            self._latest[kind] = made
            return made

    def _made(self, collection: Collection, patience_s: float) -> Proposals:
        state = collection.state()
        if state is None or not state.is_of(self._rows.meta()):
            with self._lock(patience_s):
                state = self._brought_up(collection)
        else:
            collection.load()
        return Proposals(collection, state, self._rows.code_pages)

    def _brought_up(self, collection: Collection) -> State:
        """Bring the collection to the catalog's state, under the lock: by changes if possible, else filled anew."""
        state = collection.state()
        for _ in range(TRIES):
            facts = self._rows.meta()
            if state is not None and state.is_of(facts):
                collection.load()
                return state
            if state is not None and state.generation > facts.generation and self._rows.in_transaction:
                break  # this transaction sees an older state than others have brought it to
            base = state if state is not None and self._leads_here(state) else self._filled(collection)
            state = self._followed(collection, base)
        if state is None or not state.whole or self._rows.in_transaction:
            raise IndexBusy(f"the index changes faster than the codes in {self.vectors.address} can follow; try again")
        return state  # a writer was quicker; who asks sees that, and asks again

    def _leads_here(self, state: State) -> bool:
        """Whether the changes since a state lead to the catalog's; also from what was begun and not finished."""
        with self._rows.transaction():
            facts = self._rows.meta()
            if self._rows.stamp_of(state.generation) != state.stamp or state.generation < facts.rebuild_from:
                return False
            return state.whole or self._rows.stamp_of(state.to_generation) == state.to_stamp

    def _followed(self, collection: Collection, base: State) -> State | None:
        """Apply the changes since ``base``. None if that did not lead to the catalog's codes."""
        with self._rows.transaction():
            if not self._leads_here(base):
                return None
            facts = self._rows.meta()
            touched, ids, codes = self._rows.changed_since(base.generation)
        if len(touched) > FOLLOWED_MOST * facts.found + MOST and base.whole:
            return None
        begun = replace(base, whole=False, to_generation=facts.generation, to_stamp=facts.stamp, token=_token())
        collection.note(begun)
        collection.load()
        last = max(base.timestamp, collection.delete(np.setdiff1d(touched, ids)), collection.upsert(ids, codes))
        found = replace(begun, generation=facts.generation, stamp=facts.stamp, count=facts.found, timestamp=last)
        if collection.count(found) != facts.found:
            return None
        whole = replace(found, whole=True, token=_token())
        collection.note(whole)
        return whole

    def _filled(self, collection: Collection) -> State:
        """Fill the collection anew, page by page, so that no writer waits. What was written meanwhile is to follow."""
        facts = self._rows.meta()
        begun = State(facts.generation, facts.stamp, to_generation=facts.generation, to_stamp=facts.stamp)
        # Until all pages are there, it leads nowhere: no generation has this stamp.
        collection.create(replace(begun, to_stamp=b""))
        last = 0
        for ids, codes in self._rows.code_pages():
            last = collection.upsert(ids, codes)
        filled = replace(begun, count=facts.found, timestamp=last)
        return self._tuned(collection, filled, facts)

    def _tuned(self, collection: Collection, state: State, facts: Meta) -> State:
        """Choose the index by what is measured of it, within the budget."""
        budget, measured = self._budget(), list[Measured]()
        truth = self._truth(collection.metric) if facts.found >= FEWEST else None
        for kind in to_try(facts.found, facts.latent_dim, budget):
            collection.build(kind, facts.found)
            measured.append(_measured(collection, replace(state, kind=kind), truth, facts.found))
            if truth is None or measured[-1].suits(facts.found, facts.latent_dim, budget):
                break
        taken = best(measured, facts.found, facts.latent_dim, budget)
        if taken is not measured[-1]:
            collection.build(taken.kind, facts.found)
        return replace(
            state, kind=taken.kind, quality=taken.quality, latency_s=taken.latency_s, budget=budget, token=_token()
        )

    def _truth(self, kind: Metric) -> Truth:
        truth = Truth(kind, self._rows.some_codes(QUESTIONS))
        for ids, codes in self._rows.code_pages():
            truth.add(ids, codes)
        return truth

    def refresh(self) -> None:
        """Bring existing collections, and the first one, to the catalog's state; choose the index anew if outgrown."""
        facts = self._rows.meta()
        first = cache_kind("euclidean", facts)
        for kind in KINDS:
            collection = self.collection(kind)
            if kind == first or collection.state() is not None:
                made = self.current(kind, must_save=True)
                if self._is_outgrown(made.state):
                    self._tune_again(collection)

    def _is_outgrown(self, state: State) -> bool:
        grown = state.count >= FEWEST and state.count > 2 * state.quality.measured_at
        return grown or state.budget != self._budget()

    def _tune_again(self, collection: Collection) -> None:
        with self._lock(LONG_PATIENCE_S):
            state = collection.state()
            if state is None or not state.whole or not self._is_outgrown(state):
                return  # another process did it, or changes it now
            begun = replace(state, whole=False, to_generation=state.generation, to_stamp=state.stamp, token=_token())
            collection.note(begun)
            self.forget()
            tuned = self._tuned(collection, begun, replace(self._rows.meta(), found=state.count))
            collection.note(replace(tuned, whole=True, token=_token()))

    def drop(self) -> None:
        """Delete the collections."""
        with self._lock(PATIENCE_S):
            self.forget()
            for kind in KINDS:
                self.collection(kind).drop()

    def layout(self, budget: Budget) -> Layout:
        """The index that was chosen for the first collection, its expected memory, and what was measured."""
        facts = self._rows.meta()
        try:
            state = self.collection(cache_kind("euclidean", facts)).state()
        except LatentError:
            return Layout(f"Milvus at {self.vectors.address}, which does not answer", 0, 0.0, 0.0, True)
        if state is None or not state.quality.candidates:
            return Layout(f"Milvus at {self.vectors.address}, to be filled", 0, 0.0, 0.0, True)
        memory = state.kind.memory_bytes(facts.found, facts.latent_dim)
        name = f"{state.kind} in Milvus at {self.vectors.address}"
        return Layout(name, memory, state.latency_s, state.quality.recall, fits(memory, state.latency_s, budget))

    def faults(self) -> list[str]:
        """Where collections that say that they are whole differ from the catalog. To be only behind is no fault."""
        try:
            return [fault for kind in KINDS if (fault := self._fault_of(self.collection(kind))) is not None]
        except LatentError as error:
            return [f"vectors: {error}"]

    def _fault_of(self, collection: Collection) -> str | None:
        facts, state = self._rows.meta(), collection.state()
        if state is None or not state.is_of(facts):
            return None
        collection.load()
        try:
            fault = self._difference(collection, state)
        except IndexDamaged:  # of the catalog, whose faults are listed elsewhere
            return None
        now = collection.state()
        if fault is None or now is None or now.token != state.token or self._rows.meta() != facts:
            return None  # or it was changed meanwhile
        return f"vectors: {collection.name} in {self.vectors.address} {fault}"

    def _difference(self, collection: Collection, state: State) -> str | None:
        if (count := collection.count(state)) != state.count:
            return f"holds {count:,} codes, and not {state.count:,}"
        last = 0
        for ids, codes in self._rows.code_pages():
            there, stored = collection.codes(last, int(ids[-1]), state)
            if not np.array_equal(there, ids):
                return "does not hold the catalog's pictures"
            if not np.allclose(stored, stored_form(codes, collection.metric), atol=BLUR):
                return "does not hold the catalog's codes"
            last = int(ids[-1])
        return None


def _measured(collection: Collection, state: State, truth: Truth | None, count: int) -> Measured:
    """Recall of the ten nearest at the fewest candidates that are enough, and the median time of a query for them."""
    quality, xq = Quality(LADDER[0], count, 1.0), None
    if truth is not None:
        xq = truth.xq
        for candidates in LADDER:
            proposed, _ = collection.search(xq, min(candidates, count), state)
            recall = _recall(truth.ids, proposed)
            if candidates > LADDER[0] and recall < quality.recall + WORTH:
                break  # what lists miss, no number of candidates finds
            quality = Quality(candidates, count, recall)
            if recall >= WANTED_RECALL:
                break
    if xq is None:
        xq = np.eye(1, collection.dim, dtype=np.float32)
    return Measured(state.kind, quality, _latency_s(collection, state, xq, min(quality.candidates, max(1, count))))


def _recall(nearest: Ids, proposed: Ids) -> float:
    return float(np.mean([np.isin(*pair).mean() for pair in zip(nearest, proposed, strict=True)]))


def _latency_s(collection: Collection, state: State, xq: Floats, k: int) -> float:
    times = list[float]()
    for number in range(TIMED):
        start = time.perf_counter()
        collection.search(xq[number % len(xq)][None], k, state)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _token() -> str:
    return State(0, b"").token
