"""What the routes ask of the index: pictures by id, never by path, and nothing that names a folder of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from index.where import AllOf, Where
from retrieval.defaults import ORDERS
from retrieval.explore.directions import direction_between
from retrieval.explore.sums import weighted_sum
from retrieval.filters import conditions, with_words
from retrieval.known import Known
from retrieval.places import rows_of_file
from retrieval.questions import Answer, Question, Term, ask, refined
from retrieval.roots.opening import facts_at, is_file
from retrieval.roots.regions import file_of, region_at
from retrieval.seen import Seen, seen_in
from retrieval.status import status_of
from retrieval.text import printable
from serve import records
from serve.codes import code_text, read_code
from serve.errors import Refused
from serve.files import GONE, held, square_of_upload, thumbnail_of

if TYPE_CHECKING:
    from index.door import Index
    from index.facts import Facts
    from index.records import Direction, Found
    from retrieval.arrays import Floats, Pixels
    from retrieval.retriever import Retriever
    from retrieval.searcher import Hit
    from serve.thumbnails import Thumbnails

TERM = re.compile(r"(?:(?P<weight>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\*)?(?P<name>.+)", re.DOTALL)
IDENTIFIER = re.compile(r"\d{1,18}")
TERMS_MOST = 64


class Collection:
    """A searcher, asked in the words of the API. Any thread may ask."""

    def __init__(
        self, retriever: Retriever, thumbnails: Thumbnails, reveal: Callable[[str], bool] | None = None
    ) -> None:
        """``reveal`` opens the folder of a file on the screen, if whoever asks sits there; only they are told paths."""
        self.searcher, self._thumbnails, self._reveal = retriever, thumbnails, reveal

    def status(self, read_only: bool = True) -> records.Status:
        import retrieval

        told, model = status_of(self.searcher.index), self.searcher.model
        return records.Status(
            pictures=told.found,
            model=printable(told.model_name),
            model_digest=told.model_digest,
            image_size=model.image_size,
            latent_dim=told.latent_dim,
            has_generator=model.has_generator,
            generation=told.generation,
            roots=len(told.roots),
            skipped=told.skipped,
            missing_facts=self.searcher.index.rows.count_without_facts(),
            directions=list(self.searcher.directions()),
            reveals=self._reveal is not None,
            read_only=read_only,
            version=retrieval.__version__,
        )

    def query(self, asked: Seen, options: records.Options) -> records.Hits:
        """The hits of what was seen in a picture, or of a code."""
        question = Question(
            (Term(1.0, asked),),
            options.k,
            options.metric,
            self.where(options.where, options.text),
            options.copies,
            options.within,
            options.offset,
            options.prefer or None,
        )
        like, unlike = ([self.seen(one) for one in _ids(words)] for words in (options.like, options.unlike))
        return self._hits(ask(self.searcher, refined(question, like, unlike)))

    def query_known(self, options: records.OptionsOfKnown) -> records.Hits:
        return self.query(self._one_of(options.id, options.code), options)

    def query_upload(self, path: str, options: records.Options) -> records.Hits:
        model = self.searcher.model
        square = square_of_upload(path, model.image_size, model.frame, of_face=self.searcher.holds("faces"))
        encoded = model.encode_squares(square[None])
        return self.query(seen_in(encoded)[0], options)

    def items(self, asked: records.Listing) -> records.Items:
        where = self.where(asked.where, asked.text)
        order, descending = ORDERS[asked.order]
        with self.searcher.index.rows.snapshot():
            found = self.searcher.pictures(
                where, order=order, descending=descending != asked.reverse, most=asked.limit, offset=asked.offset
            )
            total = len(self.searcher) if where is None else self.searcher.count(where)
            facts = self.searcher.index.rows.facts([one.content_hash for one in found])
        roots = self._roots()
        items = [_item(one, roots, facts.get(one.content_hash)) for one in found]
        return records.Items(items=[records.Item(**item) for item in items], total=total)

    def item(self, identifier: int) -> records.FullItem:
        found = self.found(identifier)
        known = self.searcher.index.rows.facts([found.content_hash]).get(found.content_hash)
        facts = None if known is None else {name: _plain(value) for name, value in known._asdict().items()}
        novelty = self.searcher.novelty(Seen(np.empty(0, np.float32), found.realism, found.spread))
        item = _item(found, self._roots(), known)
        return records.FullItem(**item, facts=facts, novelty=novelty, status=_status(found))

    def place(self, identifier: int) -> records.Place:
        path = self.found(identifier).path
        self._revealer()
        return records.Place(path=path.encode("utf-8", "replace").decode("utf-8"))

    def reveal(self, identifier: int) -> None:
        """Open the folder of a picture on the screen of this machine."""
        path, reveal = self.found(identifier).path, self._revealer()
        if not os.path.isdir(os.path.dirname(path)):
            raise GONE
        if not reveal(path):
            raise Refused(409, "no_screen", "the server could not open the folder; is there a screen?")

    def thumbnail(self, identifier: int, side_px: int) -> tuple[bytes, bool]:
        """A picture as WebP, and whether it shows the content that was indexed."""
        found = self.found(identifier)
        with held(found.path, self.searcher.index.rows.roots().values()) as task:
            if (kept := self._thumbnails.get(found.content_hash, side_px)) is not None and _status(found) == "found":
                return kept, True
            picture, content_hash = thumbnail_of(task, side_px)
        if content_hash is not None:
            self._thumbnails.keep(content_hash, side_px, picture)
        return picture, content_hash == found.content_hash

    def painting(self, identifier: int) -> Pixels:
        return self.paint(self.code(identifier))

    def difference(self, identifier: int, other: records.OtherCode) -> Pixels:
        """Where the painting of a picture differs from that of another one, or of a code."""
        from retrieval.pages.heat import heat_maps

        asked = self._one_of(other.id, other.code).code
        one, another = self.searcher.decode(np.stack([asked, self.code(identifier)]))
        return heat_maps(one, another[None])[0]

    def paint_code(self, asked: records.Painting) -> Pixels:
        return self.paint(self._read(asked.code), asked.scale)

    def paint(self, code: Floats, scale: float | None = None) -> Pixels:
        if not self.searcher.model.has_generator:
            raise Refused(409, "no_generator", "the model of this index has no generator, so it paints nothing")
        painted: Pixels = self.searcher.decode(code[None], scale)[0]
        return painted

    def interpolate(self, asked: records.Between) -> records.Code:
        return self._summed([self.code(asked.a), self.code(asked.b)], [1 - asked.t, asked.t])

    def sample(self, asked: records.Sampling) -> records.Codes:
        """Codes drawn from the prior; to be painted with scale 1. Or codes round another one."""
        if asked.near is None:
            drawn = self.searcher.model.draw_codes(asked.count, asked.seed)
            return records.Codes(codes=[code_text(one) for one in drawn])
        near = self._read(asked.near)
        noise = self.searcher.model.draw_noise(asked.count, asked.seed)
        return records.Codes(codes=[self._summed([near, one], [1.0, asked.spread]).code for one in noise])

    def sum(self, asked: records.Sum) -> records.Code:
        terms = asked.terms.split(",")
        if len(terms) > TERMS_MOST:
            raise Refused(400, "bad_words", f"a sum may have {TERMS_MOST} terms")
        pairs = [self._term(word.strip()) for word in terms]
        return self._summed([vector for _, vector in pairs], [weight for weight, _ in pairs])

    def directions(self) -> records.Directions:
        return records.Directions(directions=[_direction(one) for one in self.searcher.directions().values()])

    def teach(self, taught: records.Teaching) -> records.DirectionFacts:
        having, lacking = (np.stack([self.code(one) for one in ids]) for ids in (taught.having, taught.lacking))
        learnt = direction_between(taught.name, having, lacking)
        self.searcher.keep_direction(learnt)
        return _direction(learnt)

    def forget_direction(self, name: str) -> None:
        self.searcher.direction(name)
        self.searcher.forget_direction(name)

    def where(self, words: str | None, text: str | None) -> Where | None:
        """The filter that a request asks for, None if it asks for none."""
        terms = [one.where for one in conditions(self.searcher, words)] if words else []
        terms += [with_words(self.searcher, text)] if text else []
        return AllOf(tuple(terms)) if terms else None

    def found(self, identifier: int) -> Found:
        found = self.searcher.index.rows.found([identifier]).get(identifier)
        if found is None:
            raise Refused(404, "no_picture", f"this index has no picture {identifier}")
        return found

    def code(self, identifier: int) -> Floats:
        """The code of a picture that can be found."""
        self.found(identifier)
        code = self.searcher.index.rows.codes([identifier]).get(identifier)
        if code is None:
            raise Refused(404, "no_picture", f"this index has no picture {identifier}")
        return code

    def seen(self, identifier: int) -> Seen:
        """What the index holds of a picture; its file is not read. All its names are left out of its own hits."""
        rows = self.searcher.index.rows
        with rows.snapshot():
            found, code = self.found(identifier), self.code(identifier)
            names = {row.id for row in rows_of_file(rows, found.path) if row.id is not None}
        return Seen(code, found.realism, found.spread, found.unfamiliarity, frozenset(names | {identifier}))

    def _revealer(self) -> Callable[[str], bool]:
        if self._reveal is None:
            raise Refused(403, "not_here", "this server answers other machines; it tells no paths")
        return self._reveal

    def _one_of(self, identifier: int | None, code: str | None) -> Seen:
        if (identifier is None) == (code is None):
            raise Refused(400, "bad_words", "give either id or code")
        return Seen.of_code(self._read(code)) if code is not None else self.seen(identifier or 0)

    def _read(self, code: str) -> Floats:
        return read_code(code, self.searcher.latent_dim)

    def _term(self, word: str) -> tuple[float, Floats]:
        parts = TERM.fullmatch(word)
        if parts is None:
            raise Refused(400, "bad_words", "a term of a sum is missing")
        weight, name = float(parts["weight"] or 1), parts["name"]
        is_picture = IDENTIFIER.fullmatch(name) is not None
        return weight, self.code(int(name)) if is_picture else self.searcher.direction(name).vector

    def _summed(self, vectors: Sequence[Floats], weights: Sequence[float]) -> records.Code:
        return records.Code(code=code_text(weighted_sum(np.stack(vectors), weights, self.searcher.model.standardized)))

    def _hits(self, answer: Answer) -> records.Hits:
        roots = self._roots()
        return records.Hits(
            hits=[_hit(hit, roots) for hit in answer.hits],
            code=code_text(answer.code),
            novelty=answer.novelty,
            unfamiliarity=answer.unfamiliarity,
        )

    def _roots(self) -> list[str]:
        return roots_of(self.searcher.index)


def _direction(one: Direction) -> records.DirectionFacts:
    return records.DirectionFacts(
        name=one.name, having=one.with_count, lacking=one.without_count, accuracy=one.accuracy
    )


def _ids(words: str | None) -> list[int]:
    return [int(word) for word in words.split(",")] if words else []


def roots_of(index: Index) -> list[str]:
    """The roots, innermost first."""
    return sorted(index.rows.roots().values(), key=len, reverse=True)


def place_of(path: str, roots: Sequence[str]) -> tuple[str, str]:
    """Name, and folder relative to the root."""
    folder, name = os.path.split(path)
    root = next((root for root in roots if path.startswith(os.path.join(root, ""))), folder)
    relative = os.path.relpath(folder, root)
    return printable(name), "" if relative == os.curdir else printable(relative)


def _hit(hit: Hit, roots: Sequence[str]) -> records.Hit:
    path, box = region_at(hit.path)
    name, folder = place_of(path, list(map(file_of, roots)))
    return records.Hit(
        id=hit.id,
        rank=hit.rank,
        name=name,
        folder=folder,
        distance=hit.distance,
        similarity=hit.similarity,
        realism=hit.realism,
        width=hit.width,
        height=hit.height,
        copies=len(hit.copies),
        gone=hit.is_gone,
        box=box and list(box),
    )


def _item(found: Found, roots: Sequence[str], facts: Facts | None) -> dict[str, Any]:
    path, box = region_at(found.path)
    name, folder = place_of(path, list(map(file_of, roots)))
    taken = Known(found.path, "found", mtime_ns=found.mtime_ns, facts=facts).taken
    return {
        "id": found.id,
        "name": name,
        "folder": folder,
        "realism": found.realism,
        "width": found.width_px,
        "height": found.height_px,
        "gone": is_file(found.path)
        and not os.path.lexists(found.path),  # stores are not asked for each picture of a list
        "taken": taken and taken[0].isoformat(),
        "size_bytes": found.size_bytes,
        "box": box and list(box),
    }


def _status(found: Found) -> Literal["found", "changed", "gone"]:
    its = facts_at(found.path)
    if its is None:
        return "gone"
    return "found" if (its.size_bytes, its.mtime_ns) == (found.size_bytes, found.mtime_ns) else "changed"


def _plain(value: object) -> object:
    return printable(value) if isinstance(value, str) and "\n" not in value else value
