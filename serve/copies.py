"""Copies: plans are made here, decided on by the numbers of their groups, and carried out if the server may do that.

No path comes from a client. What is carried out is a plan that this server made and keeps.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast, get_args

from retrieval.copies.find import find_copies
from retrieval.copies.kinds import KINDS, Kind
from retrieval.defaults import PROPOSED
from serve import records_of_acts as records
from serve.allowed import READ_ONLY
from serve.carrying import brought_back, carried_out
from serve.errors import Refused
from serve.offers import Offers
from serve.plans import Shelf
from serve.reviews import Review, digest, room
from serve.sides import groups_of

if TYPE_CHECKING:
    from retrieval.copies.plan import Plan
    from retrieval.library import Library
    from retrieval.progress import OnProgress
    from retrieval.searcher import Searcher
    from serve.allowed import Allowed
    from serve.jobs import Result, Work

REVIEWS_MOST = 16  # in memory


class Reviews:
    """The plans of an index, and what was decided of them. Any thread may ask."""

    def __init__(self, searcher: Searcher, library: Library | None, allowed: Allowed) -> None:
        """Without ``library``, the server only reads: it makes plans, and keeps them as long as it runs."""
        self._searcher, self._library, self._allowed = searcher, library, allowed
        self._shelf = Shelf(searcher.index.address, keeps=library is not None)
        self._reviews = {one.id: one for one in self._shelf.reviews()}
        self._offers, self._lock = Offers(), threading.RLock()
        self._acting: str | None = None  # the plan that is being carried out

    def all(self) -> records.Plans:
        with self._lock:
            return records.Plans(
                plans=[self._facts(one) for one in self._newest_first()],
                actions=list(self._allowed.actions),
                may_download=self._allowed.tells_paths,
            )

    def facts(self, identifier: str) -> records.PlanFacts:
        with self._lock:
            return self._facts(self._review(identifier))

    def groups(self, identifier: str, asked: records.GroupPage) -> records.CopyGroups:
        with self._lock:
            review = self._review(identifier)
            every = get_args(records.Decision) if asked.decision is None else (asked.decision,)
            numbers = review.numbers(*every)
            rest = [number for number in numbers if number >= asked.start]
            following = rest[asked.limit] if len(rest) > asked.limit else None
            groups = groups_of(self._searcher, review, rest[: asked.limit])
            return records.CopyGroups(groups=groups, total=len(numbers), next=following)

    def file(self, identifier: str) -> str:
        """The plan of what is to be kept so far, as ``latent dedup apply`` reads it. It holds paths."""
        if not self._allowed.tells_paths:
            raise Refused(403, "paths", "a plan names files of the server's machine, so only that machine gets it")
        with self._lock:
            return self._review(identifier).chosen().as_json() + "\n"

    def find(self, asked: records.Finding) -> Work:
        """The work of making a plan. Raises Refused: there is no such kind."""
        kinds = _kinds(asked.kinds)

        def work(report: OnProgress) -> Result:
            plan = find_copies(
                self._searcher,
                asked.false_matches,
                mirrored=asked.mirrored,
                folders=asked.folders,
                kinds=kinds,
                report=report,
            )
            return {"plan": self._add(plan), "groups": len(plan.groups)}

        return work

    def decide(self, identifier: str, asked: records.Deciding) -> records.PlanFacts:
        """Note what is to be done with a group, or with all that are open."""
        with self._changing(identifier) as review:
            for number in review.numbers("open") if asked.group is None else [asked.group]:
                review.group(number)
                if review.decision(number) == "apart":
                    raise Refused(409, "apart", "these are not copies")
                review.decisions[number] = asked.decision
            return self._noted(review)

    def part(self, identifier: str, asked: records.Parting) -> records.PlanFacts:
        """Remember that copies of a group are none, in the index, as ``latent dedup ignore`` does."""
        library = self._writable()
        with self._changing(identifier) as review:
            group, files = review.group(asked.group), review.plan.files
            copies = range(len(group.remove)) if asked.copy_number is None else [asked.copy_number]
            for copy in copies:
                if copy >= len(group.remove):
                    raise Refused(404, "no_copy", "this group has no such copy")
                if files[group.remove[copy]].content_hash == files[group.keep].content_hash:
                    raise Refused(409, "same_bytes", "these hold the same bytes; they are copies, whatever is said")
            for copy in copies:
                library.keep_apart([group.keep, group.remove[copy]])
                review.apart.add((asked.group, copy))
            return self._noted(review)

    def offer(self, identifier: str, asked: records.Offering) -> records.Offer:
        """What would be done with the groups that are to be kept, and a nonce to have it done."""
        self._allowed.check(asked.action)
        with self._changing(identifier) as review:
            chosen = review.chosen()
            if not chosen.groups:
                raise Refused(409, "nothing", "no group is to be kept yet")
            files, size_bytes = room(chosen)
            return records.Offer(
                nonce=self._offers.make(identifier, digest(chosen), asked.action),
                hash=digest(chosen),
                action=asked.action,
                groups=len(chosen.groups),
                files=files,
                bytes=size_bytes,
                expires_s=self._offers.lasts_s,
            )

    def apply(self, identifier: str, asked: records.Applying) -> Work:
        """The work of doing what was offered. Raises Refused: it was not offered, or the plan is another one now."""
        library, journal = self._writable(), self._journal(identifier)
        self._allowed.check()
        with self._changing(identifier) as review:
            numbers, chosen = review.numbers("keep"), review.chosen()
            action = self._offers.use(asked.nonce, identifier, digest(chosen))
        self._allowed.check(action)

        def work(report: OnProgress) -> Result:
            with self._acting_on(review):
                to = self._allowed.move_to if action == "move" else None
                return carried_out(review, numbers, chosen, action, journal, to, library, report)

        return work

    def undo(self, identifier: str) -> Work:
        """The work of bringing back what was trashed or moved. Raises Refused: nothing was."""
        library, journal = self._writable(), self._journal(identifier)
        self._allowed.check()
        with self._changing(identifier) as review:
            if not os.path.exists(journal):
                raise Refused(409, "nothing", "nothing of this plan was carried out")

        def work(report: OnProgress) -> Result:
            with self._acting_on(review):
                return brought_back(review, journal, library, report)

        return work

    def _add(self, plan: Plan) -> str:
        review = Review.of(plan)
        with self._lock:
            self._shelf.store(review)
            self._reviews[review.id] = review
            for old in self._newest_first()[REVIEWS_MOST:]:
                del self._reviews[old.id]
        return review.id

    def _newest_first(self) -> list[Review]:
        return sorted(self._reviews.values(), key=lambda one: one.made, reverse=True)

    def _facts(self, review: Review) -> records.PlanFacts:
        journal = self._shelf.journal(review.id)
        can_undo = bool(self._allowed.actions) and journal is not None and journal.exists() and not review.undone
        return review.facts(can_undo)

    def _noted(self, review: Review) -> records.PlanFacts:
        self._shelf.note(review)
        return self._facts(review)

    def _review(self, identifier: str) -> Review:
        review = self._reviews.get(identifier)
        if review is None:
            raise Refused(404, "no_plan", "there is no such plan; find the copies again")
        return review

    @contextmanager
    def _changing(self, identifier: str) -> Iterator[Review]:
        """Nobody else changes a review meanwhile. Raises Refused: its plan is being carried out."""
        with self._lock:
            review = self._review(identifier)
            if self._acting == identifier:
                raise Refused(409, "job_runs", "this plan is being carried out")
            yield review

    @contextmanager
    def _acting_on(self, review: Review) -> Iterator[None]:
        """A plan is carried out. What came of it is noted, however it ends."""
        with self._lock:
            self._acting = review.id
        try:
            yield
        finally:
            with self._lock:
                self._acting = None
                self._shelf.note(review)

    def _writable(self) -> Library:
        if self._library is None:
            raise READ_ONLY
        return self._library

    def _journal(self, identifier: str) -> str:
        journal = self._shelf.journal(identifier)
        if journal is None:
            raise Refused(409, "no_user_folder", "there is no folder for the journal, so nothing is done")
        return str(journal)


def _kinds(words: str | None) -> tuple[Kind, ...]:
    kinds = tuple(words.split(",")) if words else PROPOSED
    for kind in kinds:
        if kind not in KINDS:
            raise Refused(400, "bad_words", f"there is no kind {kind}; there are {', '.join(KINDS)}")
    return cast("tuple[Kind, ...]", kinds)
