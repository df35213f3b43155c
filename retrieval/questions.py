"""``Question -> Answer``: a weighted sum of pictures and directions gives a code; its nearest pictures are the hits."""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from index.where import AllOf, Listed
from retrieval.arrays import Floats
from retrieval.defaults import NOVEL
from retrieval.errors import PictureRefused
from retrieval.explore.sums import weighted_sum
from retrieval.filters import where_of
from retrieval.pictures.given import is_file, size_of
from retrieval.roots.regions import first_of_each_picture
from retrieval.searcher import Hit, checked_most
from retrieval.seen import Seen, largest_faces_in, look_at_these

if TYPE_CHECKING:
    from index.records import Metric
    from retrieval.filters import Filter
    from retrieval.pictures.given import Given as Query
    from retrieval.searcher import Searcher

    Liked = Query | Seen | Hit  # a picture that a user marked

SIGNS = {"+": 1.0, "-": -1.0}
WEIGHED = re.compile(r"(-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\*(.+)", re.DOTALL)
ANSWERED_AT_ONCE = 256  # questions in one search
LIKED, UNLIKED = 0.75, 0.25  # weights of the averages of pictures that are liked, and are not, beside the question's
WIDENED, WIDEST = 2, 16  # times as many hits are asked for if copies among them leave fewer than k, and at most


@dataclass(frozen=True)
class Term:
    """One weighted operand of a sum: a picture (a path, uint8 (h, w, 3), one of Pillow's, or what was seen in one
    before) or the name of a direction.

    Raises:
        ValueError: the weight is not finite.
    """

    weight: float
    operand: Query | Seen
    is_direction: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise ValueError(f"a weight must be a finite number, not {self.weight}")

    @property
    def name(self) -> str:
        """The direction's name, the picture's path or ids, or the size of the pixels."""
        if isinstance(self.operand, Seen):
            return "+".join(f"#{one}" for one in sorted(self.operand.ids)) or "a code"
        if not is_file(self.operand):
            return "x".join(str(side) for side in size_of(self.operand)) + " pixels"
        return os.fspath(self.operand)

    @property
    def is_plain(self) -> bool:
        """Whether this is a picture with weight 1."""
        return self.weight == 1 and not self.is_direction

    def __str__(self) -> str:
        return self.name if self.weight == 1 else f"{self.weight:g}*{self.name}"


ANYTHING = (Term(1.0, ""),)


@dataclass(frozen=True)
class Question:
    """Which ``k`` pictures are nearest to a weighted sum of pictures and directions? ``k``, ``where``, ``within`` and
    ``offset`` as in ``Searcher.query``. Pictures that have ``words`` in path, title or keywords move up: both orders
    are merged (``retrieval.explore.fusion``), and copies are shown. With ``copies`` "collapse", one hit stands for all
    copies of a picture that were saved again or scaled.

    If codes are standardized, a positive factor common to all weights changes nothing; the factor -1 gives the
    opposite code.

    Raises:
        ValueError: there are no terms.
    """

    terms: tuple[Term, ...]
    k: int | None = None
    metric: Metric = "euclidean"
    where: Filter | None = None
    copies: Literal["show", "collapse"] = "show"
    within: float | None = None
    offset: int = 0
    words: str | None = None

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError("a question needs a picture or a direction at least")

    @property
    def is_sum(self) -> bool:
        """Whether the code is computed from terms, instead of being that of one picture."""
        return len(self.terms) > 1 or not self.terms[0].is_plain

    @property
    def title(self) -> str:
        """The question on one line, as ``parse_terms`` reads it: ``a.jpg + 0.5*b.jpg - smile``."""
        first, *others = self.terms
        signed = [("-" if term.weight < 0 else "+", Term(abs(term.weight), term.name)) for term in others]
        return " ".join([str(first), *(f"{sign} {term}" for sign, term in signed)])


@dataclass(frozen=True)
class Answer:
    """A question, its code float32 (d,), and its hits, best first.

    If the question is one picture, ``realism`` is -avg(E(x)), ``spread`` is std(E(x)), and ``novelty`` is the share of
    the collection that is less novel (None if the collection is too small to tell). ``unfamiliarity`` is the same of
    what the model learnt (None if it does not say). For sums all four are None.
    """

    question: Question
    code: Floats
    hits: list[Hit]
    realism: float | None = None
    spread: float | None = None
    novelty: float | None = None
    unfamiliarity: float | None = None

    def __repr__(self) -> str:
        return f"Answer({self.title!r}, {len(self.hits)} hits)"

    @property
    def title(self) -> str:
        return self.question.title

    @property
    def is_novel(self) -> bool:
        """Whether the picture is so unlike the collection that the model may not know its kind, and hits mean less."""
        return self.novelty is not None and self.novelty > NOVEL

    @property
    def is_unfamiliar(self) -> bool:
        """Whether the picture is so unlike what the model learnt that its code, and so its hits, mean little."""
        return self.unfamiliarity is not None and self.unfamiliarity > NOVEL


def ask(searcher: Searcher, question: Question) -> Answer:
    """Answer one question. Its own pictures are left out of its hits.

    Raises:
        PictureRefused: a picture cannot be read.
        NoDirection: the index has no direction of that name.
        ValueError: the terms cancel out, ``k`` is below 1, or there is no such metric.
    """
    (answer,) = ask_all(searcher, [question])
    if isinstance(answer, PictureRefused):
        raise answer
    return answer


def ask_all(searcher: Searcher, questions: Sequence[Question]) -> list[Answer | PictureRefused]:
    """As ``ask``, for many questions. Their pictures are encoded in batches.

    If a picture cannot be read, the ``PictureRefused`` takes the place of its answer; other questions are answered.
    """
    questions = _of_faces(searcher, questions)
    directions = _vectors(searcher, questions)
    answers: dict[int, Answer | PictureRefused] = {}
    for places in _batches(questions):
        answers |= zip(places, _ask_batch(searcher, [questions[place] for place in places], directions), strict=True)
    return [answers[place] for place in range(len(questions))]


def refined(question: Question, like: Sequence[Liked] = (), unlike: Sequence[Liked] = ()) -> Question:
    """The question, moved towards the average of some pictures and away from that of others: relevance feedback
    (Rocchio, in The SMART Retrieval System, 1971), with weights 1, 0.75 and 0.25. These pictures are left out of
    the hits."""
    moved = [
        Term(weight / len(some), one.path if isinstance(one, Hit) else one)
        for some, weight in ((like, LIKED), (unlike, -UNLIKED))
        for one in some
    ]
    return replace(question, terms=(*question.terms, *moved))


def parse_term(word: str, is_direction: bool = False) -> Term:
    """Parse ``0.5*a.jpg`` as a term. If a file of exactly that name exists, the term is that file."""
    weighed = None if not is_direction and os.path.lexists(word) else WEIGHED.fullmatch(word)
    return Term(float(weighed[1]), weighed[2], is_direction) if weighed else Term(1.0, word, is_direction)


def parse_terms(words: Sequence[str]) -> list[Term] | None:
    """Parse the words of ``a.jpg + 0.5*b.jpg - c.jpg`` as terms. Return None if no sign is among them; a ``-`` at an
    end is none.

    Raises:
        ValueError: pictures and signs do not alternate.
    """
    if not any(word in SIGNS for word in words[1:-1]) and "+" not in words:  # "-" at an end is standard input
        return None
    if words[0] in SIGNS or words[-1] in SIGNS:
        side, sign = ("before", words[0]) if words[0] in SIGNS else ("after", words[-1])
        raise ValueError(f"a picture is missing {side} {sign}; signs must take turns with them: a.jpg + b.jpg - 0.5*c")
    if len(words) % 2 == 0 or any((word in SIGNS) != bool(place % 2) for place, word in enumerate(words)):
        raise ValueError("pictures and signs must take turns: a.jpg + b.jpg - 0.5*c.jpg")
    signs = [1.0, *(SIGNS[word] for word in words[1::2])]
    return [_times(sign, parse_term(word)) for sign, word in zip(signs, words[::2], strict=True)]


def parse_directions(plus: Iterable[str], minus: Iterable[str] = ()) -> list[Term]:
    """Parse directions to add, ``smile`` or ``0.5*smile``, and directions to subtract."""
    signed = [(1.0, word) for word in plus] + [(-1.0, word) for word in minus]
    return [_times(sign, parse_term(word, is_direction=True)) for sign, word in signed]


def _times(sign: float, term: Term) -> Term:
    return Term(sign * term.weight, term.operand, term.is_direction)


def _of_faces(searcher: Searcher, questions: Sequence[Question]) -> Sequence[Question]:
    """The questions with the address of a face in place of its picture, where faces are indexed: answers show it."""
    if not searcher.holds("faces"):
        return questions
    terms = [term for question in questions for term in question.terms]
    faces = iter(largest_faces_in(searcher, [one.operand for one in terms if not one.is_direction]))
    asked = iter(one if one.is_direction else replace(one, operand=next(faces)) for one in terms)
    return [replace(question, terms=tuple(next(asked) for _ in question.terms)) for question in questions]


def _vectors(searcher: Searcher, questions: Sequence[Question]) -> dict[str, Floats]:
    """The vectors of all directions in the questions, read from the index once."""
    names = {term.name for question in questions for term in question.terms if term.is_direction}
    known = searcher.directions() if names else {}
    return {name: (known.get(name) or searcher.direction(name)).vector for name in sorted(names)}


def _batches(questions: Sequence[Question]) -> Iterator[list[int]]:
    """Places of questions that one search can answer: equal but for their terms."""
    alike: defaultdict[Question, list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        alike[replace(question, terms=ANYTHING)].append(place)
    for places in alike.values():
        yield from (places[start : start + ANSWERED_AT_ONCE] for start in range(0, len(places), ANSWERED_AT_ONCE))


def _ask_batch(
    searcher: Searcher, questions: Sequence[Question], directions: Mapping[str, Floats]
) -> list[Answer | PictureRefused]:
    looks = _looks(searcher, questions)
    seen = {place: look for place, look in enumerate(looks) if not isinstance(look, PictureRefused)}
    codes = {place: _code(searcher, questions[place], look, directions) for place, look in seen.items()}
    left_out = [frozenset[int]().union(*(one.ids for one in look)) for look in seen.values()]
    matrix = np.stack(list(codes.values())) if codes else np.empty((0, searcher.latent_dim), np.float32)
    hits = _hits(searcher, questions[0], matrix, left_out)
    answers = {
        place: _answer(searcher, questions[place], seen[place], codes[place], found)
        for place, found in zip(codes, hits, strict=True)
    }
    return [look if isinstance(look, PictureRefused) else answers[place] for place, look in enumerate(looks)]


def _hits(searcher: Searcher, like: Question, matrix: Floats, left_out: Sequence[frozenset[int]]) -> list[list[Hit]]:
    """The hits of codes (n, d), for questions that equal ``like`` but for their terms."""
    most = checked_most(like.k, like.within, like.offset)

    def asked(k: int, rows: Sequence[int]) -> list[list[Hit]]:
        """The ``k`` best hits of some of the codes."""
        out = [left_out[row] for row in rows]
        return searcher.query_codes(
            matrix[rows], k, metric=like.metric, left_out=out, where=like.where, within=like.within
        )

    every = list(range(len(matrix)))
    if like.words is not None:
        return [some[like.offset :] for some in _merged(searcher, like, matrix, left_out, most + like.offset)]
    if like.copies == "show":
        return [some[like.offset :] for some in asked(most + like.offset, every)]
    from retrieval.copies.collapse import Collapsing

    collapsing, wanted = Collapsing(searcher), most + like.offset
    hits = asked(wanted, every)
    collapsed = [collapsing.collapsed(some) for some in hits]
    widened = wanted
    while widened < WIDEST * wanted and (
        short := [n for n, some in enumerate(hits) if _is_short(some, collapsed[n], widened, wanted)]
    ):
        widened *= WIDENED
        for number, some in zip(short, asked(widened, short), strict=True):
            hits[number], collapsed[number] = some, collapsing.collapsed(some)
    return [some[like.offset : wanted] for some in collapsed]


def _merged(
    searcher: Searcher, like: Question, matrix: Floats, left_out: Sequence[frozenset[int]], wanted: int
) -> list[list[Hit]]:
    """The best by both orders, that of the codes and that of the words."""
    from retrieval.explore.fusion import DEEP, fused

    where = where_of(searcher, like.where)
    named = searcher.index.rows.with_words(like.words or "")
    deep = max(DEEP, wanted)
    hits = searcher.query_codes(matrix, deep, metric=like.metric, left_out=left_out, where=where, within=like.within)
    terms = (Listed(frozenset(named[:deep])), *((where,) if where is not None else ()))
    other = searcher.query_codes(
        matrix, deep, metric=like.metric, left_out=left_out, where=AllOf(terms), within=like.within
    )
    return [fused(its, _of_other_pictures(more, its), named, wanted) for its, more in zip(hits, other, strict=True)]


def _of_other_pictures(hits: Sequence[Hit], others: Sequence[Hit]) -> list[Hit]:
    """The hits without tiles of pictures of which ``others`` have a tile."""
    return [hits[place] for place in first_of_each_picture((one.path for one in hits), [one.path for one in others])]


def _is_short(hits: Sequence[Hit], collapsed: Sequence[Hit], asked: int, wanted: int) -> bool:
    """Whether there are fewer hits than are wanted, and there may be more."""
    return len(collapsed) < wanted and len(hits) == asked


def _looks(searcher: Searcher, questions: Sequence[Question]) -> list[list[Seen] | PictureRefused]:
    """For each question: what the model sees in its pictures, in the order of its terms, or the first refusal."""
    pictures = [[term.operand for term in question.terms if not term.is_direction] for question in questions]
    looks = iter(look_at_these(searcher, [picture for some in pictures for picture in some]))
    return [_all_or_refusal([next(looks) for _ in some]) for some in pictures]


def _all_or_refusal(looks: Sequence[Seen | PictureRefused]) -> list[Seen] | PictureRefused:
    seen: list[Seen] = []
    for look in looks:
        if isinstance(look, PictureRefused):
            return look
        seen.append(look)
    return seen


def _code(searcher: Searcher, question: Question, seen: Sequence[Seen], directions: Mapping[str, Floats]) -> Floats:
    """The code (d,) of a question: the sum of its terms."""
    if not question.is_sum:
        return seen[0].code
    codes = iter(seen)
    vectors = [directions[term.name] if term.is_direction else next(codes).code for term in question.terms]
    return weighted_sum(np.stack(vectors), [term.weight for term in question.terms], searcher.model.standardized)


def _answer(searcher: Searcher, question: Question, seen: Sequence[Seen], code: Floats, hits: list[Hit]) -> Answer:
    look = None if question.is_sum else seen[0]
    if look is None or not look.is_of_picture:
        return Answer(question, code, hits)
    return Answer(question, code, hits, look.realism, look.spread, searcher.novelty(look), look.unfamiliarity)
