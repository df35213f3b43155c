"""Losses, gradients and networks against formulas written out by hand, in float64."""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.errors import TrainingError
from train.data import METHOD_STREAM, Draws
from train.losses import avg, correlation, critic_qp, squared_distance, standardize, std
from train.method import Batch
from train.methods.ogan import OGAN
from train.networks import DownConv, Encoder, Generator, UpConv, count_parameters
from train.recipe import PRESETS, Recipe, Shape, changed, preset

pytestmark = pytest.mark.usefixtures("one_thread")

RNG = np.random.default_rng(0)
A, B = RNG.standard_normal((2, 6, 10)) * 3 + 1
X, Y = RNG.uniform(-1, 1, (2, 6, 3, 8, 8))


def close(ours: Tensor, reference: np.ndarray) -> bool:
    return ours.dtype == torch.float64 and ours.shape == reference.shape and np.allclose(ours, reference, 1e-12, 1e-12)


def test_avg_std_and_standardize_are_those_of_numpy() -> None:
    v = torch.from_numpy(A)
    assert close(avg(v), A.mean(1))
    assert close(std(v), np.sqrt(((A - A.mean(1, keepdims=True)) ** 2).sum(1) / 10))  # by N, not by N-1
    code = standardize(v)
    assert close(code, (A - A.mean(1, keepdims=True)) / A.std(1, keepdims=True))
    assert close(code.square().sum(1), np.full(6, 10.0))  # |N(v)|^2 = d


def test_correlation_is_pearsons() -> None:
    assert close(correlation(torch.from_numpy(A), torch.from_numpy(B)), np.diag(np.corrcoef(A, B)[:6, 6:]))


def test_a_code_without_spread_is_finite_and_so_is_its_gradient() -> None:
    flat = torch.ones(2, 10, requires_grad=True)
    correlation(flat, torch.from_numpy(A[:2]).float()).sum().backward()
    assert torch.isfinite(standardize(flat)).all()
    assert flat.grad is not None and torch.isfinite(flat.grad).all()


def test_critic_is_real_minus_fake_with_the_quadratic_term() -> None:
    real, fake, distance = A[:, 0], B[:, 0], ((X - Y) ** 2).mean((1, 2, 3))
    ours_distance = squared_distance(torch.from_numpy(X), torch.from_numpy(Y))
    assert close(ours_distance, distance)
    ours = critic_qp(torch.from_numpy(real), torch.from_numpy(fake), ours_distance)
    assert close(ours, real - fake + 0.25 * (real - fake) ** 2 / distance)


def test_half_precision_pictures_are_compared_in_float32() -> None:
    x, y = (torch.from_numpy(side).bfloat16() for side in (X, Y))
    distance = squared_distance(x, y)
    assert distance.dtype == torch.float32
    assert torch.equal(distance, squared_distance(x.float(), y.float()))


def test_shapes_that_would_broadcast_are_refused() -> None:
    column, row = torch.ones(6, 1), torch.ones(6)  # (B,1)^2 / (B,) would be (B,B), and its mean a number like any
    for shapes in [(column, column, row), (row, row, column), (column, column, column), (row, column, row)]:
        with pytest.raises(AssertionError):
            critic_qp(*shapes)
    with pytest.raises(AssertionError):
        correlation(torch.ones(6, 4), torch.ones(1, 4))
    with pytest.raises(AssertionError):
        squared_distance(torch.ones(6, 3, 8, 8), torch.ones(1, 3, 8, 8))


def batch_of(x: Tensor, z: Tensor) -> Batch:
    recipe = Recipe(batch_size=len(x))
    return Batch(x, torch.full((len(x),), -1), z, Draws(recipe, METHOD_STREAM, 0, torch.device("cpu")), 0)


def three_pass_gradients(model: OGAN, x: Tensor, z: Tensor, weight: float) -> None:
    """The reference: E(x), E(G(z)) and E(sg G(z)) in one joint loss, one backward pass.

    E's share is avg E(x) - avg E(sg G) + QP, G's is avg E(G). The latter leaves avg E(G) on E too, which a second
    - avg E(sg G) takes away again; rho is wanted on both. Written out in plain torch, no code shared.
    """
    fake = model.generator(z)
    raw_real, raw_fake, raw_still = model.encoder(x), model.encoder(fake), model.encoder(fake.detach())
    real, through, still = raw_real.mean(1), raw_fake.mean(1), raw_still.mean(1)
    pixels = ((x - fake.detach()) ** 2).flatten(1).mean(1)
    a, b = z - z.mean(1, keepdim=True), raw_fake - raw_fake.mean(1, keepdim=True)
    rho = (a * b).sum(1) / (a.pow(2).sum(1) * b.pow(2).sum(1)).sqrt()
    joint = (real - still) + (through - still) + (real - still) ** 2 / (4 * pixels) - weight * rho
    joint.mean().backward()


@pytest.mark.parametrize("kernel", [4, 5])
@pytest.mark.parametrize("self_modulated", [False, True])
def test_two_passes_give_the_gradients_of_three(kernel: int, self_modulated: bool) -> None:
    torch.manual_seed(1)
    recipe = Recipe(image_size=32, latent_dim=12, width=4, max_width=16, kernel=kernel, self_modulated=self_modulated)
    recipe = changed(recipe, correlation_weight=0.7)
    ours = OGAN(recipe).double()
    for parameter in ours.parameters():  # larger than N(0, 0.02), so that no term of the loss is small
        nn.init.normal_(parameter, std=0.2)
    theirs = copy.deepcopy(ours)
    x = torch.rand(6, 3, 32, 32, dtype=torch.float64) * 2 - 1
    z = torch.randn(6, 12, dtype=torch.float64)
    figures = ours.accumulate_gradients(batch_of(x, z))
    three_pass_gradients(theirs, x, z, 0.7)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert p.grad is not None and q.grad is not None and p.grad.dtype == torch.float64
        scale = q.grad.abs().max()
        assert scale > 1e-8, f"{name} learns nothing"
        assert (p.grad - q.grad).abs().max() <= 1e-9 * scale, name
    assert all(value.ndim == 0 and not value.requires_grad for value in figures.values())
    assert torch.isclose(figures["loss_g"], figures["d_fake"] - 0.7 * figures["rho"], rtol=1e-12)


def test_real_and_generated_pictures_are_batches_of_their_own() -> None:
    """BatchNorm must not mix them: what E says of the real ones is the same whatever the others are."""
    torch.manual_seed(2)
    model = OGAN(Recipe(image_size=32, latent_dim=8, width=4, max_width=16))
    x, z = torch.rand(5, 3, 32, 32), torch.randn(2, 5, 8)
    expected = avg(copy.deepcopy(model).encoder(x)).mean()
    for some_z in z:
        figures = copy.deepcopy(model).accumulate_gradients(batch_of(x, some_z))
        assert torch.equal(figures["d_real"], expected)


@pytest.mark.parametrize("kernel", [4, 5])
@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_networks_map_pictures_to_codes_and_back(size: int, kernel: int) -> None:
    encoder = Encoder(Shape(size, 4, 16, kernel), 10)
    raw = encoder(torch.rand(2, 3, size, size))
    assert raw.shape == (2, 10) and raw.dtype == torch.float32
    for self_modulated in (False, True):
        painted = Generator(Shape(size, 4, 16, kernel, self_modulated), 10)(torch.randn(2, 10))
        assert painted.shape == (2, 3, size, size) and painted.abs().max() <= 1


def test_results_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert Encoder(Shape(32, 4, 16), 8)(torch.rand(2, 3, 32, 32)).dtype == torch.float32
        assert Generator(Shape(32, 4, 16), 8)(torch.randn(2, 8)).dtype == torch.float32


def test_channels_double_up_to_the_widest() -> None:
    assert Shape(128, 64, 2048).channels == [64, 128, 256, 512, 1024]
    assert Shape(256, 32, 200).channels == [32, 64, 128, 200, 200, 200]
    for size in (4, 48, 100):
        with pytest.raises(ValueError):
            _ = Shape(size, 8, 8).channels


@pytest.mark.parametrize("kernel", [4, 5])
def test_convolutions_pad_as_tensorflows_same(kernel: int) -> None:
    down = DownConv(3, 7, kernel, bias=True).double()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    total = (16 // 2 - 1) * 2 + kernel - 16  # TensorFlow's rule; the smaller half goes to the left and the top
    left, right = total // 2, total - total // 2
    assert (left, right) == {4: (1, 1), 5: (1, 2)}[kernel]
    reference = F.conv2d(F.pad(x, (left, right, left, right)), down.weight, down.bias, stride=2)
    assert down(x).shape == (2, 7, 8, 8)
    assert torch.allclose(down(x), reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", [4, 5])
def test_upwards_is_the_adjoint_of_downwards(kernel: int) -> None:
    down, up = DownConv(3, 7, kernel, bias=False).double(), UpConv(7, 3, kernel, bias=False).double()
    up.weight = down.weight
    x, y = torch.randn(2, 3, 16, 16, dtype=torch.float64), torch.randn(2, 7, 8, 8, dtype=torch.float64)
    assert up(y).shape == x.shape
    assert torch.allclose((down(x) * y).sum(), (x * up(y)).sum(), rtol=1e-12)


def test_paper_128_has_the_papers_shapes() -> None:
    model = OGAN(preset("paper-128"))
    widths, side = [64, 128, 256, 512, 1024], 4
    first = 3 * 64 * 25 + 64  # the one convolution with a bias: no BatchNorm follows it
    others = sum(a * b * 25 + 2 * b for a, b in pairwise(widths))
    assert count_parameters(model.encoder) == first + others + 1024 * side**2 * 128 + 128
    up = sum(a * b * 25 for a, b in pairwise(widths)) + 64 * 3 * 25 + 3
    assert count_parameters(model.generator) == 128 * 1024 * side**2 + 2 * sum(widths) + up


def test_no_convolution_before_a_batchnorm_has_a_bias() -> None:
    encoder = Encoder(Shape(64, 4, 16), 8)
    stages = list(encoder.features)
    convolutions = [stage for stage in stages if isinstance(stage, DownConv)]
    assert [c.bias is not None for c in convolutions] == [True, False, False, False]
    assert not isinstance(stages[1], nn.BatchNorm2d)
    assert sum(isinstance(stage, nn.BatchNorm2d) for stage in stages) == 3
    for self_modulated in (False, True):
        generator = Generator(Shape(64, 4, 16, self_modulated=self_modulated), 8)
        assert [c.bias is not None for c in generator.convs] == [False, False, False, True]
        assert generator.dense.bias is None


def test_weights_start_as_the_reference_has_them() -> None:
    torch.manual_seed(0)
    model = OGAN(preset("slim-32"))
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert module.bias is None or not module.bias.any()
        if isinstance(module, nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-3, 0.01)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_recipes_that_build(name: str) -> None:
    recipe = preset(name)
    assert name.endswith(f"-{recipe.image_size}")
    with torch.device("meta"):  # shapes without the memory
        model = OGAN(recipe)
        features = model.encoder.features(torch.empty(2, 3, recipe.image_size, recipe.image_size)).flatten(1)
        assert model.encoder.head(features).shape == (2, recipe.latent_dim)
        painted = model.generator(torch.empty(2, recipe.latent_dim))
        assert painted.shape == (2, 3, recipe.image_size, recipe.image_size)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("image_size", 48),
        ("image_size", 0),
        ("latent_dim", 1),
        ("width", 0),
        ("max_width", -1),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("kernel", 3),
        ("ema_decay", 1.0),
        ("ema_decay", -0.1),
        ("decay_share", 1.5),
        ("warmup_steps", -1),
        ("correlation_weight", float("nan")),
        ("seed", -1),
    ],
)
def test_settings_that_cannot_be_are_named(setting: str, value: float) -> None:
    with pytest.raises(TrainingError, match=setting):
        changed(Recipe(), **{setting: value})
    with pytest.raises(TrainingError, match=setting):
        preset("slim-64", **{setting: value})


def test_presets_take_changes_and_unknown_ones_list_the_known() -> None:
    other = preset("slim-64", latent_dim=32, kernel=None)
    assert (other.latent_dim, other.kernel) == (32, preset("slim-64").kernel)
    with pytest.raises(TrainingError, match=r"huge-64.*slim-64.*paper-128"):
        preset("huge-64")
