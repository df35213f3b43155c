"""Questions: sums of pictures and directions against sums by hand, and what the command line makes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run, draw_shapes, write_shapes
from PIL import Image

from index.records import Direction
from retrieval import NoDirection, PictureRefused, Retriever, load_model
from retrieval.explore.directions import along
from retrieval.explore.sums import weighted_sum
from retrieval.questions import Answer, Question, Term, ask, ask_all, parse_directions, parse_term, parse_terms
from retrieval.seen import Seen

COUNT = 60


@pytest.fixture(scope="module")
def own_scale_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained autoencoder of 32 px and 16 dimensions: its codes are not standardized."""
    import torch

    from train import checkpoint
    from train.data import CachedPictures
    from train.export import export
    from train.recipe import Recipe

    recipe = Recipe(method="ae", image_size=32, latent_dim=16, width=8, max_width=32, batch_size=16)
    folder, cpu = tmp_path_factory.mktemp("own-scale") / "bundle", torch.device("cpu")
    state = checkpoint.new_state(recipe, cpu, "float32")
    export(state, CachedPictures(draw_shapes(64)[0]), folder, {"name": "own-scale"}, cpu)
    return folder


@pytest.fixture(scope="module", params=["standardized", "own scale"])
def collection(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, own_scale_bundle: Path
) -> Path:
    """A folder with pictures, two of them outside the index, an index of the rest, and two directions."""
    folder = tmp_path_factory.mktemp("collection")
    bundle = tiny_bundle if request.param == "standardized" else own_scale_bundle
    write_shapes(folder / "photos", COUNT, seed=5)
    write_shapes(folder / "outside", 2, seed=6)
    rng = np.random.default_rng(7)
    with Retriever.build(folder / "photos", folder / "index", model=bundle, workers=1) as retriever:
        assert retriever.model.standardized == (request.param == "standardized")
        for name in ("rise", "fall"):
            vector = rng.normal(0, 0.7, retriever.latent_dim).astype(np.float32)
            retriever.keep_direction(Direction(name, vector, 9, 9, None))
    return folder


class ByHand:
    """All codes of a collection, and rankings by the two definitions."""

    def __init__(self, folder: Path, retriever: Retriever) -> None:
        self.paths = [str(path) for path in sorted((folder / "photos").iterdir())]
        self.outside = [str(path) for path in sorted((folder / "outside").iterdir())]
        self.pixels = [np.asarray(Image.open(path)) for path in self.paths[:3]]
        self.standardized = retriever.model.standardized
        names = self.paths + self.outside
        self.codes = dict(zip(names, retriever.model.encode(names).astype(np.float64), strict=True))
        self.directions = {name: way.vector.astype(np.float64) for name, way in retriever.directions().items()}

    def draw_terms(self, rng: np.random.Generator, count: int) -> list[Term]:
        """Pictures of the index, from outside and as pixels, and directions, with weights of either sign."""
        weights = rng.uniform(0.2, 2.5, count) * rng.choice([-1, 1], count)
        return [self._draw_term(rng, float(weight)) for weight in weights]

    def _draw_term(self, rng: np.random.Generator, weight: float) -> Term:
        kind = rng.choice(["inside", "inside", "outside", "pixels", "direction"])
        if kind == "direction":
            return Term(weight, str(rng.choice(sorted(self.directions))), is_direction=True)
        if kind == "pixels":
            return Term(weight, self.pixels[rng.integers(len(self.pixels))])
        return Term(weight, str(rng.choice(self.paths if kind == "inside" else self.outside)))

    def vector(self, term: Term) -> np.ndarray:
        if term.is_direction:
            return self.directions[term.name]
        if isinstance(term.operand, np.ndarray):
            (place,) = [i for i, pixels in enumerate(self.pixels) if pixels is term.operand]
            return self.codes[self.paths[place]]
        return self.codes[str(term.operand)]

    def code(self, terms: tuple[Term, ...]) -> np.ndarray:
        total = sum(term.weight * self.vector(term) for term in terms)
        return (total - total.mean()) / total.std() if self.standardized else np.asarray(total)

    def ranked(self, question: Question) -> list[float]:
        """The best values that there are: distances from below, similarities from above."""
        named = {term.operand for term in question.terms if isinstance(term.operand, str)}
        values = [self.value(path, question) for path in self.paths if path not in named]
        return sorted(values, reverse=question.metric == "cosine")[: question.k]

    def value(self, path: str, question: Question) -> float:
        code, other = self.code(question.terms), self.codes[path]
        if question.metric == "euclidean":
            return float(np.linalg.norm(code - other))
        return float(code @ other / np.linalg.norm(code) / np.linalg.norm(other))

    def check(self, answer: Answer) -> None:
        question = answer.question
        np.testing.assert_allclose(answer.code, self.code(question.terms), atol=2e-4)
        found = [hit.distance if question.metric == "euclidean" else hit.similarity for hit in answer.hits]
        np.testing.assert_allclose(found, self.ranked(question), atol=2e-4)
        np.testing.assert_allclose(found, [self.value(hit.path, question) for hit in answer.hits], atol=2e-4)
        assert [hit.rank for hit in answer.hits] == list(range(1, len(found) + 1))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_answers_equal_sums_by_hand(collection: Path, count: int) -> None:
    rng = np.random.default_rng(count)
    with Retriever.open(collection / "index") as retriever:
        by_hand = ByHand(collection, retriever)
        for _ in range(25):
            metric: Any = rng.choice(["euclidean", "cosine"])
            question = Question(tuple(by_hand.draw_terms(rng, count)), int(rng.integers(1, COUNT + 5)), str(metric))
            by_hand.check(ask(retriever, question))


def test_many_questions_are_answered_as_one_by_one(collection: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = Term(1.0, str(tmp_path / "broken.png"))
    with Retriever.open(collection / "index") as retriever:
        by_hand = ByHand(collection, retriever)
        questions = [
            Question(tuple(by_hand.draw_terms(rng, rng.integers(1, 4))), int(rng.choice([3, 7])), metric)
            for metric in ("euclidean", "cosine")
            for _ in range(20)
        ]
        for place in (0, 13, 39):
            questions[place] = replace(questions[place], terms=(*questions[place].terms, broken))
        answers = ask_all(retriever, questions)
    assert len(answers) == len(questions)
    for place, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        if place in (0, 13, 39):
            assert isinstance(answer, PictureRefused) and "broken.png" in str(answer)
        else:
            assert isinstance(answer, Answer) and answer.question is question
            by_hand.check(answer)


def test_pictures_of_many_questions_are_encoded_in_batches(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shapes(tmp_path / "new", 30, seed=8)
    new = [str(path) for path in sorted((tmp_path / "new").iterdir())]
    with Retriever.open(collection / "index") as retriever:
        indexed = str(next((collection / "photos").iterdir()))
        sizes: list[int] = []
        encode = retriever.model.encode_squares
        monkeypatch.setattr(
            retriever.model, "encode_squares", lambda squares: [sizes.append(len(squares)), encode(squares)][1]
        )
        answers = ask_all(retriever, [Question((Term(1.0, path), Term(0.5, indexed))) for path in [*new, *new]])
        assert len(answers) == 60 and all(isinstance(answer, Answer) for answer in answers)
        assert sizes == [30]  # each that is new once, together; none that is indexed


def test_a_changed_picture_is_read_again_and_still_left_out(
    shape_folder: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    with Retriever.build(shape_folder, tmp_path / "i", model=tiny_bundle, workers=1) as retriever:
        changed, *others = sorted(shape_folder.rglob("*.png"))
        write_shapes(tmp_path / "other", 1, seed=9)
        changed.write_bytes(next((tmp_path / "other").iterdir()).read_bytes())
        answers = ask_all(retriever, [Question((Term(w, str(changed)),), 24) for w in (1.0, 3.0)])
        for answer in answers:
            assert isinstance(answer, Answer)
            np.testing.assert_allclose(answer.code, load_model(tiny_bundle).encode([changed])[0], atol=1e-5)
            assert sorted(hit.path for hit in answer.hits) == sorted(map(str, others))


def test_what_was_seen_before_is_asked_without_its_file(collection: Path) -> None:
    with Retriever.open(collection / "index") as retriever:
        found = retriever.pictures(most=2)
        looks = [retriever.look_at(one.path) for one in found]
        by_path = ask(retriever, Question((Term(1.0, found[0].path), Term(-0.5, found[1].path)), k=5))
        by_look = ask(retriever, Question((Term(1.0, looks[0]), Term(-0.5, looks[1])), k=5))
        assert by_look.hits == by_path.hits and np.array_equal(by_look.code, by_path.code)
        (alone, code) = (
            ask(retriever, Question((Term(1.0, one),), k=5)) for one in (looks[0], Seen.of_code(looks[0].code))
        )
        assert (alone.realism, alone.title) == (looks[0].realism, f"#{found[0].id}")
        assert code.realism is None and code.novelty is None
        assert code.hits[0].id == found[0].id and code.hits[0].distance == 0  # a code has no picture to leave out


def test_directions_are_read_once_for_all_questions(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Retriever.open(collection / "index") as retriever:
        path = str(next((collection / "photos").iterdir()))
        reads: list[int] = []
        directions = retriever.directions
        monkeypatch.setattr(retriever, "directions", lambda: [reads.append(1), directions()][1])
        ways = [Term(weight, name, is_direction=True) for weight in (0.5, 2.0) for name in ("rise", "fall")]
        ask_all(retriever, [Question((Term(1.0, path), way, ways[0])) for way in ways])
        assert reads == [1]
        with pytest.raises(NoDirection, match="knows no direction 'smile'"):
            ask(retriever, Question((Term(1.0, path), Term(1.0, "smile", is_direction=True))))


def test_the_weight_of_a_single_term_counts(collection: Path) -> None:
    with Retriever.open(collection / "index") as retriever:
        path = str(next((collection / "photos").iterdir()))
        plain, opposite, double = (ask(retriever, Question((Term(w, path),), COUNT)) for w in (1.0, -1.0, 2.0))
        np.testing.assert_array_equal(plain.code, retriever.look_at(path).code)
        np.testing.assert_allclose(opposite.code, -plain.code, atol=1e-5)
        factor = 1 if retriever.model.standardized else 2
        np.testing.assert_allclose(double.code, factor * plain.code, atol=1e-5)
        assert [hit.id for hit in opposite.hits] != [hit.id for hit in plain.hits]
        by_similarity = [ask(retriever, Question((Term(w, path),), COUNT, "cosine")).hits for w in (1.0, -1.0)]
        assert [hit.id for hit in by_similarity[1]] == [hit.id for hit in by_similarity[0]][::-1]
        seen = retriever.look_at(path)
        assert (plain.realism, plain.spread) == (seen.realism, seen.spread)
        assert opposite.realism is opposite.spread is opposite.novelty is None  # of no picture


def test_questions_that_make_no_sense(collection: Path) -> None:
    with Retriever.open(collection / "index") as retriever:
        path = str(next((collection / "photos").iterdir()))
        for weight in (float("nan"), float("inf")):
            with pytest.raises(ValueError, match="finite number"):
                Term(weight, path)
        with pytest.raises(ValueError, match="at least"):
            Question(())
        with pytest.raises(ValueError, match="k must be"):
            ask(retriever, Question((Term(1.0, path),), k=0))
        with pytest.raises(ValueError, match="metric must be"):
            ask(retriever, Question((Term(1.0, path),), metric="manhattan"))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="too large to add up"):
            ask(retriever, Question((Term(9e40, path), Term(1.0, path))))
        assert ask_all(retriever, []) == []


def test_small_weights_are_no_cancelling_and_cancelling_is_none_of_scale() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (2, 16)).astype(np.float32)
    expected = weighted_sum(np.stack([a, b]), [1.0, -0.5], standardized=True)
    for factor in (1e-12, 1e-5, 1e9):
        got = weighted_sum(np.stack([a, b]), [factor, -0.5 * factor], standardized=True)
        np.testing.assert_allclose(got, expected, atol=1e-5)
        with pytest.raises(ValueError, match="cancel out"):
            weighted_sum(np.stack([a, a]), [factor, -factor], standardized=True)
    with pytest.raises(ValueError, match="cancel out"):
        weighted_sum(a[None], [0.0], standardized=True)
    np.testing.assert_array_equal(weighted_sum(np.stack([a, a]), [1.0, -1.0], standardized=False), np.zeros(16))


def test_a_way_along_a_direction(collection: Path) -> None:
    rng = np.random.default_rng(3)
    with Retriever.open(collection / "index") as retriever:
        by_hand, way = ByHand(collection, retriever), retriever.direction("rise")
    for path in rng.choice(by_hand.paths, 5):
        steps = rng.uniform(-3, 3, 6).tolist()
        code = by_hand.codes[str(path)].astype(np.float32)
        expected = [by_hand.code((Term(1.0, str(path)), Term(s, "rise", is_direction=True))) for s in steps]
        np.testing.assert_allclose(along(way, code, steps, by_hand.standardized), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "terms"),
    [
        ("a.jpg", None),
        ("a.jpg b.jpg", None),
        ("-", None),
        ("a.jpg -", None),
        ("a + b", [Term(1, "a"), Term(1, "b")]),
        ("a + 0.5*b - 2*c.jpg", [Term(1, "a"), Term(0.5, "b"), Term(-2, "c.jpg")]),
        ("3*a - b*c", [Term(3, "a"), Term(-1, "b*c")]),
        ("-1*a - -.5*b", [Term(-1, "a"), Term(0.5, "b")]),
    ],
)
def test_words_become_terms(words: str, terms: list[Term] | None) -> None:
    assert parse_terms(words.split()) == terms


@pytest.mark.parametrize("words", ["a + + b", "a b + c", "+ a - b", "a + b -", "a +", "+ a", "+"])
def test_signs_and_pictures_take_turns(words: str) -> None:
    with pytest.raises(ValueError, match="take turns"):
        parse_terms(words.split())


def test_a_title_reads_as_the_question(collection: Path) -> None:
    rng = np.random.default_rng(4)
    for count in (1, 2, 3, 4):
        for _ in range(20):
            weights = [float(f"{w:.3g}") for w in rng.normal(0, 1, count) * 10.0 ** rng.integers(-6, 7, count)]
            weights = [1.0 if rng.random() < 0.2 else weight for weight in weights]
            terms = tuple(Term(weight, f"{place}.jpg") for place, weight in enumerate(weights))
            words = Question(terms).title.split()
            assert (parse_terms(words) or [parse_term(words[0])]) == list(terms)
    assert str(Term(1.0, np.zeros((3, 4, 3), np.uint8))) == "4x3 pixels"


def test_a_file_that_looks_weighted_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_term("2*a.jpg") == Term(2.0, "a.jpg")
    (tmp_path / "2*a.jpg").touch()
    assert parse_term("2*a.jpg") == Term(1.0, "2*a.jpg")
    assert parse_terms(["b", "-", "2*a.jpg"]) == [Term(1.0, "b"), Term(-1.0, "2*a.jpg")]
    assert parse_directions(["2*a.jpg"]) == [Term(2.0, "a.jpg", is_direction=True)]


def test_words_become_directions() -> None:
    terms = parse_directions(["smile", "0.5*beard"], ["2*hat"])
    assert [(term.weight, term.name) for term in terms] == [(1.0, "smile"), (0.5, "beard"), (-2.0, "hat")]
    assert all(term.is_direction for term in terms)
    assert Question((Term(1.0, "a"), *terms)).title == "a + smile + 0.5*beard - 2*hat"


def test_the_command_adds_up_previews_and_leaves_its_terms_out(
    shape_folder: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    Retriever.build(shape_folder, tmp_path / "i", model=tiny_bundle).close()
    a, b, c = map(str, sorted(shape_folder.rglob("*.png"))[:3])
    program = str(Path(sys.executable).with_name("latent"))

    def query(*words: str) -> subprocess.CompletedProcess[str]:
        line = [program, "query", *words, "--index", str(tmp_path / "i"), "--format", "paths", "-k", "5"]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = query(a, "+", f"0.5*{b}", "-", c, "--preview", "sum.png", "--sheet", "hits.png")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5 and not {a, b, c} & {str(tmp_path / p) for p in done.stdout.splitlines()}
    with Image.open(tmp_path / "sum.png") as strip, Image.open(tmp_path / "hits.png") as sheet:
        assert strip.width > 4 * 128 and sheet.width > 5 * 128  # three pictures and their sum; a query and five hits
    assert query(a, "--preview", "one.png").returncode == 0 and (tmp_path / "one.png").exists()
    assert query(a, "+", "+", b).returncode == 2
    assert "cancel out" in query(a, "-", a).stderr
    assert "too large to add up" in query(a, "+", f"{9 * 10**40}*{a}").stderr
    assert query(a, "+", "missing.jpg").returncode == 1


def test_the_command_asks_for_the_opposite(shape_folder: Path, tmp_path: Path, tiny_bundle: Path, latent: Run) -> None:
    Retriever.build(shape_folder, tmp_path / ".latent", model=tiny_bundle).close()
    paths = sorted(shape_folder.rglob("*.png"))
    odd = tmp_path / "2*odd.png"
    draw = np.asarray(Image.open(paths[3]))
    Image.fromarray(draw[:, ::-1]).save(odd)
    name = os.path.relpath(paths[0], tmp_path)
    words = ("query", "--format", "json", "-k", 24, "--")
    done = latent(*words, name, f"-1*{name}", f"2*{name}", odd.name)
    plain, opposite, double, file = json.loads(done.stdout)["queries"]
    assert [answer["query"] for answer in (plain, opposite, double, file)] == [
        name,
        f"-1*{name}",
        f"2*{name}",
        "2*odd.png",
    ]
    found = [[hit["path"] for hit in answer["hits"]] for answer in (plain, opposite, double)]
    assert len(found[0]) == 23 and found[1] == found[0][::-1] and found[2] == found[0]
    assert file["realism"] is not None and opposite["realism"] is None
    seen = load_model(tiny_bundle).encode([odd])
    with Retriever.open(tmp_path / ".latent") as retriever:
        nearest = retriever.query_codes(seen, 1)[0][0]
    assert str(tmp_path / file["hits"][0]["path"]) == nearest.path
    listed = latent("query", "-", "--format", "jsonl", "-k", 1, stdin=None, input=odd.name)
    assert json.loads(listed.stdout)["query"] == odd.name
    assert latent("query", "-", stdin=None, input=f"2*{name}", code=1).stderr.startswith(f"Error: 2*{name}: ")


@pytest.mark.parametrize(
    ("share", "is_novel"), [(None, False), (0.0, False), (0.99, False), (0.9901, True), (1.0, True)]
)
def test_an_answer_is_novel_beyond_a_hundredth(share: float | None, is_novel: bool) -> None:
    question = Question((Term(1.0, "a.jpg"),))
    assert Answer(question, np.zeros(4, np.float32), [], novelty=share).is_novel is is_novel
