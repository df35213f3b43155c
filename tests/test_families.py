"""Each method learns something in seconds, and its bundle serves where O-GAN's does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SHAPES, Run, draw_shapes
from PIL import Image

from retrieval import Retriever
from retrieval.errors import ModelError
from retrieval.models.model import Model, load_model
from train.checkpoint import new_state
from train.data import CachedPictures, no_labels, shuffled, to_signed
from train.devices import Processes
from train.export import export
from train.grid import to_pixels
from train.loop import Hooks
from train.measures import sliced_wasserstein
from train.methods import method_names
from train.methods.aae import HEADS_APART, cluster_heads
from train.methods.pixelcnn import PixelByPixel, PixelCNN, as_levels, draw
from train.methods.pixelrnn import PixelRNN
from train.recipe import Budget, Recipe, changed
from train.session import Setting, new_run, run_session
from train.step import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]
STEPS = 120
VARIANTS: dict[str, dict[str, object]] = {
    **{method: {"method": method} for method in method_names() if method not in ("pixelcnn", "pixelrnn", "decoder")},
    "cvae-gan": {"method": "cvae-gan", "classes": SHAPES},
    "cvae": {"method": "cvae", "classes": SHAPES},
    "cgan": {"method": "cgan", "classes": SHAPES},
    "infogan": {"method": "infogan", "categories": 3, "noise": 4},
    "aae, labels": {"method": "aae", "classes": SHAPES},
    "aae, plane": {"method": "aae", "clusters": 4, "latent_dim": 2},
    "ogan, wgan-gp": {"method": "ogan", "adversary": "wgan-gp"},
    "ogan, linear": {"method": "ogan", "head": "linear", "adversary": "ns"},
}
ENCODING = [name for name in VARIANTS if name not in ("cgan", "gan-qp")]
REPAINTING = ["ogan", "ogan-views", "bigan-qp", "ae", "vae", "aae", "aae, labels", "aae, plane", "cvae", "cvae-gan"]
REPAINTING += ["introvae"]


def recipe_of(variant: str) -> Recipe:
    small = {"image_size": 32, "latent_dim": 16, "width": 12, "max_width": 48, "batch_size": 32, "warmup_steps": 50}
    return changed(Recipe(), **{**small, "learning_rate": 1e-3, "ema_decay": 0.99, **VARIANTS[variant]})


def shapes(variant: str, count: int = 1024) -> CachedPictures:
    pixels, kinds = draw_shapes(count)
    if not recipe_of(variant).classes:
        return CachedPictures(pixels)
    labels = kinds.astype(np.int64)
    if variant == "aae, labels":
        labels[40:] = -1  # semi-supervised
    return CachedPictures(pixels, labels)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Model, Model]]:
    """Of each variant the untrained and the trained model, a few seconds of one core each, when first asked for."""
    folder = tmp_path_factory.mktemp("families")

    class Trained(dict[str, tuple[Model, Model]]):
        def __missing__(self, variant: str) -> tuple[Model, Model]:
            run = folder / variant.replace(", ", "-")
            setting = Setting(run, CPU, "float32", Processes(), run / "cache", 10**9)
            before = export(
                new_state(recipe_of(variant), CPU, "float32"),
                shapes(variant),
                run / "before",
                {"name": "untrained"},
                CPU,
            )
            state = new_run(recipe_of(variant), Setting(run / "run", *list(vars(setting).values())[1:]))
            after = run_session(
                state,
                shapes(variant),
                Budget(steps=STEPS),
                Setting(run / "run", *list(vars(setting).values())[1:]),
                Hooks(),
                {},
            )
            assert after is not None
            self[variant] = before, after
            return self[variant]

    return Trained()


def errors(model: Model, pixels: np.ndarray) -> float:
    """Mean squared error of repainting, in shares of the pictures' own variance."""
    repainted = model.decode(model.encode(pixels)).astype(float)
    return float(((pixels - repainted) ** 2).mean() / pixels.astype(float).var())


@pytest.mark.parametrize("variant", REPAINTING)
def test_reconstructions_get_better(learnt: dict[str, tuple[Model, Model]], variant: str) -> None:
    held_out = draw_shapes(200, seed=77)[0]
    before, after = (errors(model, held_out) for model in learnt[variant])
    assert after < 0.75 * before, (before, after)


@pytest.mark.parametrize("variant", VARIANTS)
def test_samples_come_nearer_to_the_pictures(learnt: dict[str, tuple[Model, Model]], variant: str) -> None:
    held_out = draw_shapes(400, seed=78)[0]
    before, after = (sliced_wasserstein(model.sample(400), held_out)[16] for model in learnt[variant])
    assert after < before, (before, after)


@pytest.mark.parametrize("variant", ENCODING)
def test_bundles_index_query_and_decode(learnt: dict[str, tuple[Model, Model]], tmp_path: Path, variant: str) -> None:
    model = learnt[variant][1]
    pixels = draw_shapes(24, seed=5)[0]
    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / "photos" / f"{number:02d}.png")
    Image.fromarray(pixels[3]).save(tmp_path / "query.png")
    with Retriever.build(tmp_path / "photos", index=tmp_path / "index", model=model, workers=1) as retriever:
        for metric in ("euclidean", "cosine"):
            hits = retriever.query(tmp_path / "query.png", k=24, metric=metric)
            assert len(hits) == 24 and hits[0].path.endswith("03.png") and hits[0].distance < 1e-3
            codes = model.encode(pixels).astype(np.float64)
            if metric == "euclidean":
                exact = np.linalg.norm(codes - codes[3], axis=1)
                assert [hit.distance for hit in hits] == pytest.approx(sorted(exact), abs=1e-3)
            else:
                exact = codes @ codes[3] / np.linalg.norm(codes, axis=1) / np.linalg.norm(codes[3])
                assert [hit.similarity for hit in hits] == pytest.approx(sorted(exact, reverse=True), abs=1e-5)
        assert retriever.decode(hits).shape == (24, 32, 32, 3)


def rankings_by_both(model: Model) -> tuple[list[int], list[int]]:
    codes = model.encode(draw_shapes(300, seed=6)[0]).astype(np.float64)
    xq, xb = codes[0], codes[1:]
    euclid = np.argsort(np.linalg.norm(xb - xq, axis=1), kind="stable")
    cosine = np.argsort(-(xb @ xq) / np.linalg.norm(xb, axis=1), kind="stable")
    return euclid[:50].tolist(), cosine[:50].tolist()


def test_the_metrics_rank_alike_for_ogan_and_apart_for_others(learnt: dict[str, tuple[Model, Model]]) -> None:
    for variant, alike in (("ogan", True), ("ogan-views", True), ("ae", False), ("vae", False), ("bigan", False)):
        model = learnt[variant][1]
        assert model.standardized == alike
        euclid, cosine = rankings_by_both(model)
        assert (euclid == cosine) == alike, variant


def test_a_generator_alone_draws_and_is_refused_where_codes_are_needed(
    learnt: dict[str, tuple[Model, Model]], latent_here: Run, tmp_path: Path
) -> None:
    bundle = learnt["gan-qp"][1].folder
    assert not (bundle / "encoder.onnx").exists()
    assert latent_here("sample", 3, "-o", "dreams", "--model", bundle).stdout.count("\n") == 3
    (tmp_path / "photos").mkdir()
    Image.fromarray(draw_shapes(1)[0][0]).save(tmp_path / "photos" / "a.png")
    for words in (
        ("index", "build", "photos", "--model", bundle),
        ("reconstruct", "photos/a.png", "-o", "again", "--model", bundle),
        ("interpolate", "photos/a.png", "photos/a.png", "-o", "way.png", "--model", bundle),
    ):
        said = latent_here(*words, code=1).stderr
        assert "has no encoder" in said and "Traceback" not in said, words
    assert not (tmp_path / ".latent" / "catalog.db").exists()


@pytest.mark.parametrize(("method", "steps"), [("pixelcnn", 40), ("pixelrnn", 70)])
def test_what_draws_pixel_by_pixel_learns_and_its_bundle_draws_as_torch_does(
    method: str, steps: int, tmp_path: Path
) -> None:
    recipe = changed(recipe_of("ogan"), method=method, batch_size=8)
    state, figures = new_state(recipe, CPU, "float32"), []
    trainer = Trainer(state, CPU, Processes())
    pictures = CachedPictures(draw_shapes(64)[0])
    for examples in islice(pictures.batches(shuffled(64, recipe, 0)), steps):
        figures.append(float(trainer.step(examples, 1e-3)["bits"]))
    assert np.mean(figures[-3:]) < 0.8 * np.mean(figures[:3]), figures
    model = export(state, pictures, tmp_path / "bundle", {"name": "pixels"}, CPU)
    codes = model.encode(pictures.pixels[:2])
    drawn = model.decode(codes)
    network = state.average.generator
    with torch.no_grad():  # each pixel is what torch draws where those before it stand
        again = to_pixels(draw(network.distributions(to_signed(drawn, CPU), torch.from_numpy(codes)), network.dice))
    assert (np.abs(drawn.astype(int) - again) <= 1).mean() > 0.999
    assert np.array_equal(drawn[:1], model.decode(codes[:1])) and not np.array_equal(drawn[0], drawn[1])


@pytest.mark.parametrize("kind", [PixelCNN, PixelRNN])
def test_what_is_drawn_is_what_one_pixel_after_the_other_would_be(kind: type[PixelByPixel]) -> None:
    side, count, dim = 8, 3, 4
    seed = int(np.random.default_rng().integers(2**31))
    torch.manual_seed(seed)
    network = kind(side, dim).eval().double()
    with torch.no_grad():
        for parameter in network.parameters():  # so that a pixel depends much on those before it
            parameter.mul_(1.5)
        code = torch.randn(count, dim, dtype=torch.double)
        expected = torch.zeros(count, 3, side, side, dtype=torch.double)
        for pixel in range(side**2):
            row, column = divmod(pixel, side)
            drawn = as_levels(draw(network.distributions(expected, code), network.dice))
            expected[:, :, row, column] = drawn[:, :, row, column]
        assert torch.equal(network(code), expected), seed
    assert len(expected.unique()) > 20 and not torch.equal(expected[0], expected[1])


# ---------------------------------------------------------------- classes


def test_a_class_is_painted_and_swapped(
    learnt: dict[str, tuple[Model, Model]], latent_here: Run, tmp_path: Path
) -> None:
    model = learnt["cvae-gan"][1]
    assert model.classes == list(SHAPES) and model.latent_dim == 16 + 4
    pixels, kinds = draw_shapes(200, seed=9)
    codes = model.encode(pixels)
    assert (codes[:, 16:].argmax(1) == kinds).mean() > 0.9  # what C says; 0.25 by chance
    swapped = model.with_class(codes, "disc")
    assert np.array_equal(swapped[:, :16], codes[:, :16]) and (swapped[:, 16:].argmax(1) == 0).all()
    drawn = model.sample(40, seed=3, of_class="square")
    assert (model.encode(drawn)[:, 16:].argmax(1) == 1).mean() > 0.6

    Image.fromarray(pixels[3]).save(tmp_path / "cross.png")
    latent_here("swap", "cross.png", "--class", "disc", "--model", model.folder, "-o", "disc.png")
    with Image.open(tmp_path / "disc.png") as strip:
        assert strip.width > 2 * strip.height
    assert latent_here("sample", 2, "--class", "disc", "-o", "d", "--model", model.folder).stdout.count("\n") == 2
    unknown = latent_here("swap", "cross.png", "--class", "star", "--model", model.folder, "-o", "x.png", code=1).stderr
    assert "knows no class 'star'" in unknown and "disc" in unknown
    assert "knows no classes" in latent_here("sample", 1, "--class", "disc", "-o", "e", code=1).stderr
    with pytest.raises(ModelError, match="no class"):
        model.sample(1, of_class="star")


def test_forty_labels_teach_the_classes_of_the_rest(learnt: dict[str, tuple[Model, Model]]) -> None:
    model = learnt["aae, labels"][1]
    pixels, kinds = draw_shapes(400, seed=10)
    right = (model.encode(pixels)[:, 16:].argmax(1) == kinds).mean()
    assert right > 0.5, right  # 0.25 by chance


def test_a_plane_is_painted(learnt: dict[str, tuple[Model, Model]]) -> None:
    model = learnt["aae, plane"][1]
    assert model.latent_dim == 2 and len(model.facts["centres"]) == 4
    planes = list((model.folder.parent / "grids").glob("plane-*.png"))
    with Image.open(planes[0]) as plane:
        assert plane.size == (20 * 32, 20 * 32)
    centres = np.array(model.facts["centres"])
    assert nearest_two(centres) > 0.9 * HEADS_APART
    codes = model.draw_codes(500, seed=1)
    assert codes.shape == (500, 2) and (np.ptp(codes, axis=0) > np.ptp(centres, axis=0)).all()  # spread over the heads


@pytest.mark.parametrize("count", [2, 3, 7, 16, 20])
def test_cluster_heads_begin_apart_and_around_the_middle(count: int) -> None:
    heads = cluster_heads(count).weight.detach().numpy().T
    assert heads.shape == (count, 2) and nearest_two(heads) == pytest.approx(HEADS_APART)
    np.testing.assert_allclose(heads.mean(axis=0), 0, atol=1e-5)


def nearest_two(points: np.ndarray) -> float:
    """The least distance of two of the points (n, 2)."""
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    return float(apart[~np.eye(len(points), dtype=bool)].min())


# ---------------------------------------------------------------- labels that do not fit


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    for number, (picture, kind) in enumerate(zip(*draw_shapes(24), strict=True)):
        folder = tmp_path / "labelled" / SHAPES[kind]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number:03d}.png")
    return tmp_path / "labelled"


TINY = ("--size", 32, "--dim", 8, "--width", 4, "--max-width", 8, "--batch", 8, "--steps", 4, "--workers", 1)


def test_training_with_labels_from_the_command_line(latent_here: Run, labelled: Path, tmp_path: Path) -> None:
    latent_here("train", labelled, "-o", "run", "--method", "cvae-gan", "--labels", "folder", *TINY)
    assert load_model(tmp_path / "run" / "bundle").classes == sorted(SHAPES)
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["method"] == "cvae-gan" and recipe["classes"] == sorted(SHAPES)
    words = ("train", labelled, "-o", "run", "--steps", 6, "--workers", 1, "--resume")
    assert "name them again with --labels" in latent_here(*words, code=1).stderr
    latent_here(*words, "--labels", "folder")  # the method and its sizes need not be said again
    assert load_model(tmp_path / "run" / "bundle").facts["steps"] == 6


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (None, "it needs labels; give them with --labels"),
        (r"filename:(\d)\d\d\.jpg", "has a label"),
        (r"filename:.*\.(png)", "the same label, 'png'"),
        (r"filename:(?P<a>\d)(?P<b>\d)", "several labels (a, b)"),
        ("nowhere.csv", "neither folder, filename:REGEX nor a CSV file"),
    ],
)
def test_labels_that_do_not_fit(latent_here: Run, labelled: Path, labels: str | None, complaint: str) -> None:
    words = ["train", labelled, "-o", "run", "--method", "cvae-gan", *TINY]
    said = latent_here(*words, *(["--labels", labels] if labels else []), code=1).stderr
    assert complaint in said and "Traceback" not in said


def test_the_plan_of_every_method(latent_here: Run, labelled: Path) -> None:
    for method in method_names():
        more = ("--labels", "folder") if method in ("cgan", "cvae", "cvae-gan") else ()
        more = ("--encoder", "faces-64", "--dim", 128) if method == "decoder" else more
        done = latent_here("train", labelled, "-o", "run", "--method", method, *TINY, *more, "--dry-run")
        assert "parameters" in done.stdout and not (labelled.parent / "run").exists(), method


NEW_METHOD = '''"""Half an O-GAN: a method that did not exist."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from train.methods import ogan
from train.settings import declare


@dataclass(frozen=True)
class Settings(ogan.Settings):
    share: float = declare(1.0, "Of the gradients, how much is kept.", at_least=0)
    is_told: bool = declare(False, "Whether it is told.", option="told")


class HalfOGAN(ogan.OGAN):
    def further_terms(self, batch, raw_real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        told = {"share": raw_real.sum() * 0 + self.settings.share} if self.settings.is_told else {}
        return {**super().further_terms(batch, raw_real, fake), **told}
'''


def test_a_new_method_is_one_file(labelled: Path, tmp_path: Path) -> None:
    """Dropped into a copy of the tree, it is offered, explained and trained; no other file knows of it."""
    tree = tmp_path / "tree"
    for room in ("cli", "train", "retrieval", "index"):
        shutil.copytree(ROOT / room, tree / room, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "program.py").write_text("from cli.main import main\n\nif __name__ == '__main__':\n    main()\n")
    (tree / "train" / "methods" / "half_ogan.py").write_text(NEW_METHOD)

    def run(*words: object, code: int = 0) -> str:
        command = [sys.executable, str(tree / "program.py"), *map(str, words)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    page = "".join(run("train", "--help").split())  # however it was wrapped
    assert "|half-ogan|" in page and "--shareFLOATOfthegradients,howmuchiskept(half-ogan)." in page
    assert "--told/--no-told" in page
    words = ("train", labelled, "-o", "run", "--method", "half-ogan", *TINY, "--steps", 2)
    run(*words, "--share", 0.25, "--told", "--adversary", "ns")
    facts = json.loads((tmp_path / "run" / "bundle" / "model.json").read_text())
    own = {"share": 0.25, "is_told": True, "adversary": "ns", "head": "avg", "reconstruction": "rho"}
    assert facts["recipe"]["settings"] == {**own, "correlation_weight": 0.5} and facts["method"] == "half-ogan"
    assert facts["steps"] == 2 and facts["recipe"]["image_size"] == 32
    assert "share must be 0 at least, not -1.0" in run(*words[:3], "other", *words[4:], "--share", -1, code=1)
    assert "share say nothing to method vae, only to half-ogan" in run(
        "train", labelled, "-o", "other", *TINY, "--method", "vae", "--share", 1, code=1
    )


def test_labels_and_methods_that_ignore_them(latent_here: Run, labelled: Path) -> None:
    said = latent_here("train", labelled, "-o", "run", "--method", "vae", "--labels", "folder", *TINY, code=1).stderr
    assert "say nothing to method vae" in said


def test_help_fits_a_screen_and_the_rest_has_its_own(latent_here: Run) -> None:
    lines = latent_here("train", "--help").stdout.splitlines()
    assert len(lines) <= 60 and "--adversary" in "\n".join(lines)
    settings = latent_here("train", "--settings").stdout
    for option in ("--width", "--lambda", "--learning-rate", "--mirror/--no-mirror"):
        assert option in settings
    assert no_labels(3).tolist() == [-1, -1, -1]


def test_no_page_of_help_imports_torch() -> None:
    """It takes a second, and who only searches has none."""
    code = (
        "import sys\nfrom cli.main import main\nsys.modules['torch'] = None\n"  # importing it raises ImportError
        "try:\n    main()\nfinally:\n    assert sys.modules['torch'] is None\n"
    )
    for words in (
        ["--help"],
        ["train", "--help"],
        ["train", "--settings"],
        ["benchmark", "--help"],
        ["evaluate", "--help"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0 and len(done.stdout.splitlines()) > 8, f"{words}\n{done.stderr}"
