"""A generator for a given encoder: its game, the encoder in torch, its bundle, and what cannot be painted for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, draw_shapes, write_shapes
from torch import Tensor

from retrieval import Library, ModelError, TrainingError, add_model, load_model
from retrieval.models.prior import drawn, fitted
from train.checkpoint import new_state
from train.data import METHOD_STREAM, CachedPictures, Draws
from train.devices import Processes
from train.export import export
from train.frozen import FrozenEncoder, quantized, resized
from train.loop import Hooks
from train.losses import standardize
from train.method import Batch
from train.methods.decoder import Decoder, ScaledGenerator
from train.recipe import Budget, Recipe, Shape, changed
from train.session import Setting, new_run, resumed_run, run_session

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra encoders)")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SIDE, CELL, DIM = 64, 8, 40  # of what the encoder is shown, of its cells, and of its codes
SMALL = {"image_size": 32, "width": 12, "max_width": 48, "batch_size": 16, "warmup_steps": 20, "learning_rate": 1e-3}


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENT_DATA", str(tmp_path / "data"))


def write_encoder(path: Path, *more: Any, scale: float = 1.0, bias: float = 0.0) -> None:
    """relu(W cells + bias), where cells are averages of (n, 3, 64, 64); ``more`` nodes come before the end."""
    cells = SIDE // CELL
    weights = np.random.default_rng(0).normal(size=(3 * cells**2, DIM)).astype(np.float32) * scale
    nodes = [
        helper.make_node("AveragePool", ["pixels"], ["cells"], kernel_shape=[CELL] * 2, strides=[CELL] * 2),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["coded"]),
        helper.make_node("Add", ["coded", "bias"], ["moved"]),
        *more,
        helper.make_node("Relu", ["moved"] if not more else ["more"], ["code"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("code", TensorProto.FLOAT, ["n", DIM])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.full(DIM, bias, np.float32), "bias"),
        ],
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=8), str(path))


@pytest.fixture(params=["unit", "none", "standardize"])
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The name of an added encoder, whose codes are of one kind each."""
    write_encoder(tmp_path / "net.onnx", scale=3.0)
    add_model(tmp_path / "net.onnx", "net", normalise=request.param)
    return "net"


def recipe_for(encoder: str | Path, **more: Any) -> Recipe:
    return changed(Recipe(), **{**SMALL, "method": "decoder", "encoder": str(encoder), **more})


def batch_of(x: Tensor) -> Batch:
    recipe = Recipe(batch_size=len(x))
    draws = Draws(recipe, METHOD_STREAM, 0, CPU)
    return Batch(x, torch.full((len(x),), -1), torch.zeros(len(x), 2), draws, 0)


# ---------------------------------------------------------------- the game


def in_float64(model: Decoder) -> Tensor:
    """Make a decoder's networks float64, and its encoder a projection, which is returned."""
    projection = torch.from_numpy(np.random.default_rng(1).normal(size=(3 * 16, DIM)))

    def project(x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(x, x.shape[-1] // 4).flatten(1) @ projection

    model.double()
    model.seen_by = project  # type: ignore[assignment]
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.generator.mean.copy_(torch.linspace(-1, 1, DIM))
    model.generator.spread.copy_(torch.linspace(0.5, 2, DIM))
    return projection


def test_its_gradients_are_those_of_the_losses_written_out(encoder: str) -> None:
    """In plain torch, with one backward pass for each player; no code shared but the networks."""
    model = Decoder(recipe_for(encoder, correlation_weight=0.7, pixel_weight=0.3, mixtures=0.5))
    projection = in_float64(model)
    x = torch.rand(8, 3, SIDE, SIDE, dtype=torch.float64) * 2 - 1
    figures = model.accumulate_gradients(batch_of(x))
    ours = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert ours.keys() == dict(model.named_parameters()).keys()
    model.zero_grad()

    def code_of(y: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(y, y.shape[-1] // 4).flatten(1) @ projection

    u = torch.from_numpy(np.random.default_rng((0, METHOD_STREAM, 0)).random((8, 2)).astype(np.float32)).double()
    codes = code_of(x)
    wanted = codes.clone()
    for row in range(8):
        if u[row, 0] < 0.5:
            t, a, b = u[row, 1], codes[row], codes[row - 1]
            mix = t * a + (1 - t) * b
            wanted[row] = mix / mix.norm() * (t * a.norm() + (1 - t) * b.norm())
    own = u[:, 0] >= 0.5
    assert 0 < own.sum() < 8
    small = resized(x, 32)
    others = small[[7, 0, 1, 2, 3, 4, 5, 6]]
    fake = model.generator(wanted)
    d_real, d_fake = model.critic(others).mean(1), model.critic(fake.detach()).mean(1)
    far = ((others - fake.detach()) ** 2).flatten(1).mean(1)
    loss_d = (d_real - d_fake + (d_real - d_fake) ** 2 / (4 * far)).mean()
    of_critic = torch.autograd.grad(loss_d, list(model.critic.parameters()))

    a, b = wanted - model.generator.mean, code_of(fake) - model.generator.mean
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    rho = ((a * b).sum(1) / (a.pow(2).sum(1) * b.pow(2).sum(1)).sqrt()).mean()
    pixels = ((small - fake) ** 2).flatten(1).mean(1)[own].mean()
    loss_g = model.critic(fake).mean(1).mean() - 0.7 * rho + 0.3 * pixels
    of_generator = torch.autograd.grad(loss_g, list(model.generator.parameters()))
    names = [f"critic.{name}" for name, _ in model.critic.named_parameters()]
    names += [f"generator.{name}" for name, _ in model.generator.named_parameters()]
    for name, reference in zip(names, (*of_critic, *of_generator), strict=True):
        scale = reference.abs().max()
        assert scale > 1e-9 or name == "critic.head.bias", f"{name} learns nothing"  # only differences count
        assert (ours[name] - reference).abs().max() <= 1e-8 * scale + 1e-15, name
    assert torch.isclose(figures["rho"], rho.detach()) and torch.isclose(figures["pixels"], pixels.detach())


def test_mixtures_stay_on_the_sphere_that_codes_are_on(encoder: str) -> None:
    model = Decoder(recipe_for(encoder, mixtures=1))
    codes = torch.randn(64, DIM)
    draws = Draws(Recipe(batch_size=64), METHOD_STREAM, 0, CPU)
    mixed, is_own = model.mixed(standardize(codes), draws)
    assert torch.allclose(mixed.norm(dim=1), torch.full((64,), DIM**0.5), rtol=1e-5) and not is_own.any()
    assert mixed.mean(1).abs().max() < 1e-5
    none, is_own = Decoder(recipe_for(encoder, mixtures=0)).mixed(codes, draws)
    assert torch.allclose(none, codes) and is_own.all()


def test_what_goes_into_g_is_scaled_and_dead_numbers_make_no_noise() -> None:
    generator = ScaledGenerator(Shape(32, 4, 16), 6)
    rng = np.random.default_rng(0)
    codes = rng.normal(5, 0.02, (500, 6)).astype(np.float32)
    codes[:, 3] = 7
    generator.measure(torch.from_numpy(codes))
    shown = (torch.from_numpy(codes) - generator.mean) / generator.spread
    assert shown.mean(0).abs().max() < 1e-3 and shown.std(0)[[0, 1, 2, 4, 5]].sub(1).abs().max() < 0.01
    assert shown[:, 3].abs().max() < 1e-3 and generator.spread[3] > 0.001


# ---------------------------------------------------------------- the encoder in torch


def test_a_converted_encoder_is_the_one_that_was_exported(tmp_path: Path) -> None:
    """Codes, and gradients at the pictures, are those of the network that the graph was made of."""
    recipe = Recipe(image_size=32, latent_dim=16, width=8, max_width=32)
    state = new_state(recipe, CPU, "float32")
    pictures = CachedPictures(draw_shapes(64)[0])
    bundle = export(state, pictures, tmp_path / "b", {"name": "b"}, CPU, exact=True)
    frozen = FrozenEncoder(bundle)
    assert frozen.difference(pictures.pixels) < 1e-4
    x = (torch.rand(4, 3, 32, 32) * 2 - 1).requires_grad_()
    wanted = torch.randn(4, 16)
    slopes = [torch.autograd.grad((wanted * codes).sum(), x)[0] for codes in (frozen(x), state.average.encode(x)[0])]
    assert torch.allclose(*slopes, rtol=1e-3, atol=1e-4 * float(slopes[1].abs().max()))
    assert not list(frozen._network.parameters()) or not any(p.requires_grad for p in frozen._network.parameters())


@pytest.mark.parametrize("name", ["faces-64", "photos-64"])
def test_eight_bits_round_as_they_do_elsewhere_and_pass_gradients(name: str) -> None:
    model = load_model(name, "cpu")
    frozen, (pixels, _) = FrozenEncoder(model), draw_shapes(32, side=64)
    assert frozen.difference(pixels) < 0.1
    ours = frozen(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1)
    theirs = torch.from_numpy(model.encode_squares(pixels).codes)
    assert float((ours * theirs).mean(1).min()) > 0.999  # of codes with mean 0 and standard deviation 1
    x, goal = torch.zeros(2, 3, 64, 64, requires_grad=True), theirs[:2]
    rho = []
    for _ in range(12):  # up the slope the code comes nearer
        agreement = (frozen(x) * goal).mean(1)
        rho.append(float(agreement.mean().detach()))
        (slope,) = torch.autograd.grad(agreement.sum(), x)
        x = (x + 0.05 * slope.sign()).clamp(-1, 1).detach().requires_grad_()
    assert rho[-1] > rho[0] + 0.3, rho


def test_rounding_has_no_gradient_inside_its_levels_and_none_outside() -> None:
    x = torch.tensor([-1.0, 0.26, 0.74, 99.0], requires_grad=True)
    q = quantized(x, torch.tensor(0.5), torch.tensor(3, dtype=torch.uint8), 1)
    assert q.tolist() == [1.0, 4.0, 4.0, 201.0]
    q = quantized(torch.cat([x, torch.tensor([-9.0, 200.0])]), torch.tensor(0.5), torch.tensor(3, dtype=torch.uint8), 1)
    assert q.tolist() == [1.0, 4.0, 4.0, 201.0, 0.0, 255.0]
    (slope,) = torch.autograd.grad(q.sum(), x)
    assert slope.tolist() == [2.0] * 4


def test_pictures_are_scaled_as_files_are() -> None:
    from retrieval.pictures.decode import framed

    (pixels, _) = draw_shapes(4, side=64)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    for side in (32, 96):
        ours = (resized(x, side) + 1) * 127.5
        theirs = np.stack([framed(one, side, "square") for one in pixels]).transpose(0, 3, 1, 2)
        apart = np.abs(ours.numpy() - theirs)
        assert np.quantile(apart, 0.99) < 1.5 and apart.mean() < 0.5  # Pillow rounds and clips twice, at edges more


def test_an_operator_that_torch_lacks_is_named(tmp_path: Path) -> None:
    write_encoder(tmp_path / "net.onnx", helper.make_node("QuickGelu", ["moved"], ["more"], domain="com.microsoft"))
    add_model(tmp_path / "net.onnx", "odd")
    with pytest.raises(TrainingError, match="cannot be converted to torch: it has the operator QuickGelu"):
        Decoder(recipe_for("odd"))


# ---------------------------------------------------------------- a run and its bundle


def setting(run: Path) -> Setting:
    return Setting(run, CPU, "float32", Processes(), run / "cache", 10**9)


def trained(run: Path, recipe: Recipe, steps: int, count: int = 256) -> Any:
    pictures = CachedPictures(draw_shapes(count, side=SIDE)[0])
    state = new_run(recipe, setting(run))
    return run_session(state, pictures, Budget(steps=steps), setting(run), Hooks(), {"name": "painter"})


def cycle(model: Any) -> float:
    """rho(c, E(G(c))) of pictures it has not seen, less what all pictures have in common."""
    codes = model.encode_squares(draw_shapes(128, seed=5, side=SIDE)[0]).codes
    again = model.encode_painted(model.paint(codes)).codes
    mean = codes.mean(0)
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(codes - mean, again - mean, strict=True)]))


def test_it_learns_to_paint_what_an_encoder_sees(encoder: str, tmp_path: Path) -> None:
    """And its bundle has the encoder itself, to the last bit, and says whose it is."""
    before = trained(tmp_path / "untrained", recipe_for(encoder), 1)
    model = trained(tmp_path / "run", recipe_for(encoder, pixel_weight=1.0), 150)
    assert cycle(model) > cycle(before) + 0.3, (cycle(before), cycle(model))
    given = load_model(encoder)
    pixels = draw_shapes(20, seed=6, side=SIDE)[0]
    assert model.digest == given.digest
    assert np.array_equal(model.encode_squares(pixels).codes, given.encode_squares(pixels).codes)
    assert (model.image_size, model.painted_size) == (SIDE, 32) and model.decode(model.encode(pixels)).shape[1] == 32
    facts = json.loads((model.folder / "model.json").read_text())
    assert facts["method"] == "decoder" and facts["encoder"] == {"name": "net", "digest": given.digest}
    assert facts["encoder_difference"] < 1e-3 and str(tmp_path) not in json.dumps(facts)

    codes = model.draw_codes(400, seed=1)
    real = given.encode_squares(draw_shapes(256, side=SIDE)[0]).codes
    assert np.abs(codes.mean(0) - real.mean(0)).max() < 0.5 * real.std() and model.sample(3).shape == (3, 32, 32, 3)
    assert abs(np.linalg.norm(codes, axis=1).mean() / np.linalg.norm(real, axis=1).mean() - 1) < 0.1
    with pytest.raises(TrainingError, match="holds a training already"):
        trained(tmp_path / "run", recipe_for(encoder), 1)


def test_a_resumed_run_is_one_that_was_not_stopped(encoder: str, tmp_path: Path) -> None:
    pictures, recipe = CachedPictures(draw_shapes(64, side=SIDE)[0]), recipe_for(encoder)
    whole = trained(tmp_path / "whole", recipe, 6, 64)
    run = tmp_path / "halves"
    stops = iter([False] * 3 + [True] * 9)
    state = new_run(recipe, setting(run))
    stopping = Hooks(should_stop=lambda: next(stops))
    assert run_session(state, pictures, Budget(steps=6), setting(run), stopping, {"name": "p"}) is None
    state = resumed_run({}, setting(run))
    assert state.step == 3
    model = run_session(state, pictures, Budget(steps=6), setting(run), Hooks(), {"name": "p"})
    assert model is not None
    codes = model.draw_codes(8)
    assert np.abs(model.paint(codes).astype(int) - whole.paint(codes)).max() <= 1


def test_the_commands(latent_here: Run, encoder: str, tmp_path: Path) -> None:
    """From a file to pictures of what it sees, as a user would."""
    photos = tmp_path / "photos"
    write_shapes(photos, 24, side=100)
    words = ("--size", 32, "--width", 4, "--max-width", 8, "--batch", 8, "--steps", 4, "--workers", 1)
    latent_here("train", photos, "-o", "run", "--method", "decoder", "--encoder", encoder, *words)
    assert (tmp_path / "run" / "grids" / "pairs-00000004.png").exists()
    shown = latent_here("models", "show", "run/bundle").stdout
    assert f"of {encoder}" in shown and "paints 32 x 32" in shown and "Gaussian" in shown
    latent_here("index", "build", photos, "--model", "run/bundle", "--workers", 1)
    latent_here(
        "query", photos / "shape-0-001.png", "--decode", "d", "--sheet", "s.png", "--html", "h.html", "--explain"
    )
    latent_here("sample", 3, "-o", "s", "--model", "run/bundle")
    latent_here(
        "interpolate", photos / "shape-0-001.png", photos / "shape-0-002.png", "-o", "i.png", "--model", "run/bundle"
    )
    latent_here("reconstruct", photos / "shape-0-001.png", "-o", "r", "--model", "run/bundle")
    latent_here("map", "-o", "m.html")
    assert len(list((tmp_path / "d").iterdir())) == 10
    latent_here("index", "build", photos, "--index", "other", "--model", encoder, "--workers", 1)
    assert (
        "replaced, and nothing encoded"
        in latent_here("index", "migrate", "--index", "other", "--model", "run/bundle").stdout
    )
    latent_here("query", photos / "shape-0-001.png", "--index", "other", "--decode", "o")
    latent_here("train", photos, "-o", "run", "--resume", "--steps", 6, "--workers", 1)
    assert load_model(tmp_path / "run" / "bundle").facts["steps"] == 6
    plan = latent_here(
        "train", photos, "-o", "x", "--method", "decoder", "--encoder", encoder, *words, "--dry-run"
    ).stdout
    assert "generator" in plan and "encoder" not in plan


def test_a_model_with_two_looks_paints_too(encoder: str, tmp_path: Path) -> None:
    if (model := trained(tmp_path / "run", recipe_for(encoder), 2, 64)).frame != "square":
        pytest.skip("it sees whole pictures")
    two = model.with_looks(2)
    write_shapes(tmp_path / "photos", 4)
    with Library.build(tmp_path / "photos", tmp_path / "i", model=two, workers=1) as library:
        assert library.latent_dim == 2 * DIM and two.decode(two.draw_codes(2)).shape == (2, 32, 32, 3)


def test_a_prior_is_what_codes_are_like() -> None:
    rng = np.random.default_rng(0)
    codes = (rng.normal(size=(4000, 12)) @ rng.normal(size=(12, 12)) + 3).astype(np.float32)
    prior = fitted(codes)
    again = drawn(prior, 4000, np.random.default_rng(1))
    assert np.abs(np.cov(again.T) - np.cov(codes.T)).max() < 0.15 * np.abs(np.cov(codes.T)).max()
    assert np.abs(again.mean(0) - codes.mean(0)).max() < 0.3
    wide = fitted(rng.normal(size=(300, 5000)).astype(np.float32))
    assert len(wide["axes"]) == 13 and wide["rest"] > 0.9  # of 5,000 numbers each


# ---------------------------------------------------------------- what cannot be painted for


def test_encoders_that_cannot_be_painted_for(encoder: str, tmp_path: Path, tiny_bundle: Path) -> None:
    with pytest.raises(TrainingError, match="it needs one"):
        changed(Recipe(), **SMALL, method="decoder")
    with pytest.raises(TrainingError, match=f"latent_dim is {DIM} with what else was said, not 16"):
        recipe_for(encoder, latent_dim=16)
    with pytest.raises(TrainingError, match="has 40 numbers, not 128"):
        Recipe(method="decoder", settings=recipe_for(encoder).settings)
    with pytest.raises(ModelError, match="no model 'nobody'"):
        recipe_for("nobody")
    with pytest.raises(TrainingError, match="must lie in"):
        recipe_for(encoder, mixtures=1.5)
    alone = tmp_path / "alone"
    shutil.copytree(tiny_bundle, alone)
    facts = json.loads((alone / "model.json").read_text())
    del facts["files"]["encoder.onnx"]
    (alone / "model.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="has no encoder"):
        recipe_for(alone)


def test_the_encoder_of_a_run_may_not_change(tmp_path: Path) -> None:
    write_encoder(tmp_path / "net.onnx", scale=3.0)
    model = add_model(tmp_path / "net.onnx", "net").model
    trained(tmp_path / "run", recipe_for("net"), 2, 64)
    shutil.rmtree(model.folder)
    write_encoder(tmp_path / "net.onnx", scale=2.0)
    add_model(tmp_path / "net.onnx", "net")
    with pytest.raises(TrainingError, match="is another one than this run was begun with"):
        resumed_run({}, setting(tmp_path / "run"))


def test_codes_that_say_nothing(tmp_path: Path) -> None:
    """Of these pictures: an encoder may tell others apart."""
    write_encoder(tmp_path / "net.onnx", scale=3.0)
    add_model(tmp_path / "net.onnx", "net", normalise="none")
    run, plain = tmp_path / "run", CachedPictures(np.full((32, SIDE, SIDE, 3), 90, np.uint8))
    with pytest.raises(TrainingError, match="gives all pictures the same code"):
        run_session(
            new_run(recipe_for("net"), setting(run)), plain, Budget(steps=1), setting(run), Hooks(), {"name": "p"}
        )


def test_codes_that_are_no_numbers(tmp_path: Path) -> None:
    """log of a dark picture: tried on others, it was an encoder."""
    write_encoder(tmp_path / "net.onnx", helper.make_node("Log", ["moved"], ["more"]), scale=0.0, bias=1.0)
    path = tmp_path / "net.onnx"
    graph = onnx.load(str(path))
    weights = next(one for one in graph.graph.initializer if one.name == "weights")
    weights.CopyFrom(
        numpy_helper.from_array(np.abs(np.random.default_rng(0).normal(size=(192, DIM))).astype(np.float32), "weights")
    )
    bias = next(one for one in graph.graph.initializer if one.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(DIM, -1, np.float32), "bias"))
    onnx.save(graph, str(path))
    add_model(path, "log", normalise="none")
    dark = CachedPictures(np.zeros((32, SIDE, SIDE, 3), np.uint8))
    run = tmp_path / "run"
    with pytest.raises(ModelError, match="not finite"):
        run_session(
            new_run(recipe_for("log"), setting(run)), dark, Budget(steps=1), setting(run), Hooks(), {"name": "p"}
        )


def test_a_conversion_that_gives_other_codes_is_refused(encoder: str) -> None:
    frozen = FrozenEncoder(load_model(encoder))
    frozen._network.register_forward_hook(lambda module, given, out: tuple(3 * one for one in out))
    with pytest.raises(TrainingError, match="gives other codes than ONNX Runtime: they differ by"):
        frozen.difference(draw_shapes(8, side=SIDE)[0])
