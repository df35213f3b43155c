"""Each family of models: its gradients against losses written out by hand, in float64 and with every pass apart."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.errors import TrainingError
from train.adversaries import ADVERSARIES, gradient_penalty
from train.data import METHOD_STREAM, Draws
from train.losses import kl_divergence
from train.method import Batch, Method
from train.methods import declared_settings, method_class, method_names, new_method, pixelcnn, pixelrnn, settings_class
from train.methods.aae import AAE, ADVERSARY_WEIGHT, CLASS_WEIGHT, HEADS_APART
from train.methods.pixelcnn import log_likelihood
from train.recipe import COMMON, Recipe, changed, preset
from train.views import VIEWS

CPU = torch.device("cpu")
CLASSES = ("disc", "square", "cross")
OGAN_CHOICES = {name: one.choices for name, one in declared_settings("ogan").items()}
SMALL = Recipe(image_size=32, latent_dim=6, width=4, max_width=8, batch_size=7)

Gradients = dict[str, Tensor]
Losses = list[tuple[Tensor, Sequence[nn.Module]]]


def small(method: str, **changes: object) -> Recipe:
    return changed(SMALL, method=method, **changes)


def draws(recipe: Recipe) -> Draws:
    return Draws(recipe, METHOD_STREAM, 4, CPU)


def batch_for(recipe: Recipe, y: Sequence[int] | None = None) -> Batch:
    torch.manual_seed(5)
    x = torch.rand(7, 3, 32, 32, dtype=torch.float64) * 2 - 1
    labels = torch.tensor(y if y is not None else [-1] * 7)
    return Batch(x, labels, torch.randn(7, recipe.latent_dim, dtype=torch.float64), draws(recipe), step=4)


def large(recipe: Recipe) -> Method:
    """In float64, with weights so large that no term of a loss is small."""
    torch.manual_seed(3)
    model = new_method(recipe).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.15)
    return model


def assert_gradients(ours: Method, batch: Batch, losses: Callable[[Method], Losses]) -> None:
    """What ``accumulate_gradients`` leaves is the sum of each network's own losses' gradients."""
    theirs = copy.deepcopy(ours)
    figures = ours.accumulate_gradients(batch)
    expected: dict[Tensor, Tensor] = {}
    for loss, networks in losses(theirs):
        weights = [p for network in networks for p in network.parameters()]
        found = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        for p, gradient in zip(weights, found, strict=True):
            if gradient is not None:
                expected[p] = expected.get(p, torch.zeros_like(p)) + gradient
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert p.grad is not None, f"{name} learns nothing"
        scale = float(expected[q].abs().max())
        assert scale > 1e-6 * largest or name.endswith("head.bias"), f"{name} should learn something"
        # A bias of the last layer drops out of a game that looks at differences of scores alone.
        assert (p.grad - expected[q]).abs().max() <= 1e-6 * scale + 1e-10 * largest, name
    assert all(value.ndim == 0 and not value.requires_grad for value in figures.values())


def real_or_not(scores: Tensor, is_real: bool) -> Tensor:
    """Cross entropy of a critic whose score is low for real."""
    return F.binary_cross_entropy_with_logits(-scores, torch.full_like(scores, float(is_real)))


def by_hand(game: str, real: Tensor, fake: Tensor, apart: Tensor) -> tuple[Tensor, Tensor]:
    """What critic and generator minimise, as the papers write it, with D = -score."""
    d_real, d_fake = -real, -fake
    if game == "qp":
        difference = d_real - d_fake
        return (-difference + difference**2 / (4 * apart)).mean(), -d_fake.mean()
    if game == "ns":
        return real_or_not(real, True) + real_or_not(fake, False), real_or_not(fake, True)
    if game == "ls":
        return 0.5 * ((d_real - 1) ** 2 + (d_fake + 1) ** 2).mean(), 0.5 * (d_fake**2).mean()
    if game == "hinge":
        zero = torch.zeros_like(d_real)
        return (torch.maximum(zero, 1 - d_real) + torch.maximum(zero, 1 + d_fake)).mean(), -d_fake.mean()
    return (d_fake - d_real).mean(), -d_fake.mean()


@pytest.mark.parametrize("head", OGAN_CHOICES["head"])
@pytest.mark.parametrize("reconstruction", OGAN_CHOICES["reconstruction"])
@pytest.mark.parametrize("game", OGAN_CHOICES["adversary"])
def test_ogan_in_any_gan(game: str, head: str, reconstruction: str) -> None:
    recipe = small("ogan", adversary=game, head=head, reconstruction=reconstruction, correlation_weight=0.7)
    ours, batch = large(recipe), batch_for(recipe)
    x, z = batch.x, batch.z
    u = draws(recipe).uniform(1)[:, :, None, None].double()

    def losses(model: Method) -> Losses:
        fake = model.generator(z)
        real, of_fake, of_still = model.encoder(x), model.encoder(fake), model.encoder(fake.detach())

        def score(raw: Tensor) -> Tensor:
            return model.head(raw)[:, 0] if head == "linear" else raw.mean(1)

        def tie(raw: Tensor) -> Tensor:
            if reconstruction == "mse":
                return 0.7 * F.mse_loss(raw, z)
            rho = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(z, raw, strict=True)])
            return -0.7 * rho.mean() if reconstruction == "rho" else raw.sum() * 0

        apart = ((x - fake.detach()) ** 2).flatten(1).mean(1)
        loss_e, _ = by_hand(game, score(real), score(of_still), apart)
        _, loss_g = by_hand(game, score(real), score(of_fake), apart)
        critics: list[nn.Module] = [model.encoder] if head == "avg" else [model.encoder, model.head]
        terms: Losses = [
            (loss_e, critics),
            (tie(of_still), [model.encoder]),
            (loss_g + tie(of_fake), [model.generator]),
        ]
        if game == "wgan-gp":
            between = (u * x + (1 - u) * fake.detach()).requires_grad_()
            (slope,) = torch.autograd.grad(score(model.encoder(between)).sum(), between, create_graph=True)
            penalty = 10 * ((slope.pow(2).sum((1, 2, 3)).sqrt() - 1) ** 2).mean()
            terms.append((penalty, critics))
        return terms

    assert_gradients(ours, batch, losses)


@pytest.mark.parametrize("distance", declared_settings("gan-qp")["distance"].choices)
def test_gan_qp(distance: str) -> None:
    recipe = small("gan-qp", distance=distance)
    ours, batch = large(recipe), batch_for(recipe)

    def losses(model: Method) -> Losses:
        fake = model.generator(batch.z)
        still = fake.detach()
        gap = (batch.x - still).flatten(1)
        far = 10 * (gap.abs().mean(1) if distance == "l1" else gap.pow(2).mean(1).sqrt())
        difference = model.critic(still)[:, 0] - model.critic(batch.x)[:, 0]  # T(x) - T(x'), T = -score
        return [
            (-(difference - difference**2 / (2 * far)).mean(), [model.critic]),
            (model.critic(fake).mean(), [model.generator]),
        ]

    assert_gradients(ours, batch, losses)
    odd = large(recipe)
    odd.accumulate_gradients(dataclasses.replace(batch, step=5))
    assert all(p.grad is None for p in odd.generator.parameters())
    assert all(p.grad is not None for p in odd.critic.features.parameters())


def test_bigan_qp() -> None:
    recipe = small("bigan-qp")
    ours, batch = large(recipe), batch_for(recipe)
    assert not any("bias" in name for name, _ in ours.critic.named_parameters())

    def losses(model: Method) -> Losses:
        x, z = batch.x, batch.z
        code, fake = model.encoder(x), model.generator(z)
        still_code, still_fake = code.detach(), fake.detach()
        far = 10 * ((x - still_fake).abs().flatten(1).mean(1) + (still_code - z).abs().mean(1))
        gap = model.critic(still_fake, z) - model.critic(x, still_code)
        players = [model.encoder, model.generator]
        guides = 2 * F.mse_loss(model.encoder(still_fake), z) + 3 * F.mse_loss(model.generator(still_code), x)
        return [
            (-(gap - gap**2 / (2 * far)).mean(), [model.critic]),
            ((model.critic(fake, z) - model.critic(x, code)).mean() + guides, players),
        ]

    assert_gradients(ours, batch, losses)


@pytest.mark.parametrize("method", ["bigan", "ali"])
def test_bigan_and_ali(method: str) -> None:
    recipe = small(method)
    ours, batch = large(recipe), batch_for(recipe)
    noise = draws(recipe).normal(6).double()

    def losses(model: Method) -> Losses:
        x, z = batch.x, batch.z
        raw = model.encoder(x)
        code = raw[:, :6] + torch.exp(raw[:, 6:] / 2) * noise if method == "ali" else raw
        fake = model.generator(z)
        real, drawn = model.critic(x, code), model.critic(fake, z)
        return [
            (real_or_not(real, True) + real_or_not(drawn, False), [model.critic]),
            (real_or_not(real, False) + real_or_not(drawn, True), [model.encoder, model.generator]),
        ]

    assert_gradients(ours, batch, losses)
    codes = ours.encode(batch.x)[0]
    assert torch.equal(codes, ours.encoder(batch.x)[:, :6])  # of ALI the mean


def test_ae_and_vae() -> None:
    for method in ("ae", "vae"):
        recipe = small(method)
        ours, batch = large(recipe), batch_for(recipe)
        noise = draws(recipe).normal(6).double()

        def losses(model: Method, method: str = method, batch: Batch = batch, noise: Tensor = noise) -> Losses:
            raw = model.encoder(batch.x)
            both = [model.encoder, model.generator]
            if method == "ae":
                return [(F.mse_loss(model.generator(raw), batch.x), both)]
            posterior = torch.distributions.Normal(raw[:, :6], torch.exp(raw[:, 6:] / 2))
            prior = torch.distributions.Normal(0.0, 1.0)
            kl = torch.distributions.kl_divergence(posterior, prior).sum(1).mean()
            error = F.mse_loss(model.generator(posterior.mean + posterior.stddev * noise), batch.x)
            numbers = 3 * 32 * 32
            nats = numbers / 2 * torch.log(error) + kl  # -log N(x; G(z), s^2) with s^2 = error, but for a constant
            return [(nats / numbers, both)]

        assert_gradients(ours, batch, losses)


def test_kl_divergence_is_that_of_torch() -> None:
    raw = torch.randn(5, 8, dtype=torch.float64)
    posterior = torch.distributions.Normal(raw[:, :4], torch.exp(raw[:, 4:] / 2))
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(kl_divergence(raw), expected)


@pytest.mark.parametrize("kind", ["plain", "supervised", "semi-supervised", "clusters", "plane"])
def test_aae(kind: str) -> None:
    changes = {
        "plain": {},
        "supervised": {"classes": CLASSES},
        "semi-supervised": {"classes": CLASSES},
        "clusters": {"clusters": 3},
        "plane": {"clusters": 3, "latent_dim": 2},
    }[kind]
    recipe = small("aae", **changes)
    y = {"supervised": [0, 1, 2, 0, 1, 2, 1], "semi-supervised": [0, -1, 2, -1, -1, 1, -1]}.get(kind)
    ours, batch, d = large(recipe), batch_for(recipe, y), recipe.latent_dim
    prior_y = (draws(recipe).uniform(1)[:, 0] * 3).long()

    def losses(model: Method) -> Losses:
        assert isinstance(model, AAE)
        raw = model.encoder(batch.x)
        z, logits = raw[:, :d], raw[:, d:]
        guessed = torch.softmax(logits, 1)
        eaten = z
        if kind != "plain":
            rows = [F.one_hot(c, 3).double() if c >= 0 else g for c, g in zip(batch.y, guessed, strict=True)]
            eaten = torch.cat([z, torch.stack(rows)], 1)
        own: list[nn.Module] = [model.encoder, model.generator]
        apart = torch.zeros(())
        if kind == "plane":
            eaten = z + guessed @ model.heads.weight.T
            own = [*own, model.heads]
            heads = model.heads.weight.T
            gaps = torch.stack([(heads[i] - heads[j]).norm() for i, j in ((0, 1), (0, 2), (1, 2))])
            apart = (HEADS_APART - gaps).clamp_min(0).square().mean()
        terms: Losses = [(F.mse_loss(model.generator(eaten), batch.x) + apart, own)]
        games = [(model.style_critic, batch.z, z)]
        if kind != "plain":
            games.append((model.class_critic, F.one_hot(prior_y, 3).double(), guessed))
        for critic, prior, guess in games:
            real, fake = critic(prior)[:, 0], critic(guess)[:, 0]
            terms.append((real_or_not(real, True) + real_or_not(critic(guess.detach())[:, 0], False), [critic]))
            terms.append((ADVERSARY_WEIGHT * real_or_not(fake, True), [model.encoder]))
        known = [row for row in range(7) if batch.y[row] >= 0]
        if known:
            terms.append((CLASS_WEIGHT * F.cross_entropy(logits[known], batch.y[known]), [model.encoder]))
        return terms

    assert_gradients(ours, batch, losses)
    assert ours.encode(batch.x)[0].shape == (7, ours.code_dim) == (7, {"plain": 6, "plane": 2}.get(kind, 9))
    assert ours.generator(ours.whole_code(batch.z)).shape == batch.x.shape


def test_cvae_gan() -> None:
    recipe = small("cvae-gan", classes=CLASSES)
    labels = [0, 1, 2, 0, 1, 1, 0]
    ours, batch = large(recipe), batch_for(recipe, labels)
    noise = draws(recipe).normal(6).double()

    def losses(model: Method) -> Losses:
        x, y = batch.x, F.one_hot(batch.y, 3).double()
        planes = (y @ model.condition.weight.T)[:, :, None, None] * torch.ones(1, 1, 32, 32)
        raw = model.encoder(torch.cat([x, planes], 1))
        mean, log_variance = raw[:, :6], raw[:, 6:]
        z = mean + torch.exp(log_variance / 2) * noise
        drawn = model.generator(torch.cat([torch.cat([z, y], 1), torch.cat([batch.z, y], 1)]))
        again, dreamt = drawn[:7], drawn[7:]

        def features(network: nn.Module, v: Tensor) -> Tensor:
            return network.features(v).flatten(1)

        kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
        close = 0.5 * ((x - again) ** 2).sum((1, 2, 3)).mean()
        for network in (model.critic, model.classifier):
            close = close + 0.5 * ((features(network, x).detach() - features(network, again)) ** 2).sum(1).mean()
        f_real, f_dreamt = features(model.critic, x).detach(), features(model.critic, dreamt)
        matching = 1e-3 * 0.5 * ((f_real.mean(0) - f_dreamt.mean(0)) ** 2).sum()
        f_real, f_dreamt = features(model.classifier, x).detach(), features(model.classifier, dreamt)
        for c in range(3):
            rows = batch.y == c
            matching = matching + 1e-3 * 0.5 * ((f_real[rows].mean(0) - f_dreamt[rows].mean(0)) ** 2).sum()
        loss_g = (3 * kl + close + matching) / (3 * 32 * 32)
        score = [model.critic(v)[:, 0] for v in (x, again.detach(), dreamt.detach())]
        loss_d = real_or_not(score[0], True) + 0.5 * (real_or_not(score[1], False) + real_or_not(score[2], False))
        return [
            (loss_g, [model.encoder, model.condition, model.generator]),
            (loss_d, [model.critic]),
            (F.cross_entropy(model.classifier(x), batch.y), [model.classifier]),
        ]

    assert_gradients(ours, batch, losses)
    codes = ours.encode(batch.x)[0]
    assert codes.shape == (7, 9) and torch.equal(codes[:, 6:].sum(1), torch.ones(7, dtype=torch.float64))


def conditioned(model: Method, x: Tensor, y: Tensor) -> Tensor:
    planes = (y @ model.condition.weight.T)[:, :, None, None] * torch.ones(1, 1, 32, 32)  # type: ignore[operator]
    return torch.cat([x, planes], 1)


def test_cvae() -> None:
    recipe = small("cvae", classes=CLASSES)
    ours, batch = large(recipe), batch_for(recipe, [0, 1, 2, 0, 1, 1, 0])
    noise = draws(recipe).normal(6).double()

    def losses(model: Method) -> Losses:
        x, y = batch.x, F.one_hot(batch.y, 3).double()
        raw = model.encoder(conditioned(model, x, y))
        posterior = torch.distributions.Normal(raw[:, :6], torch.exp(raw[:, 6:] / 2))
        kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
        z = posterior.mean + posterior.stddev * noise
        error = F.mse_loss(model.generator(torch.cat([z, y], 1)), x)
        numbers = 3 * 32 * 32
        return [
            ((numbers / 2 * torch.log(error) + kl) / numbers, [model.encoder, model.condition, model.generator]),
            (F.cross_entropy(model.classifier(x), batch.y), [model.classifier]),
        ]

    assert_gradients(ours, batch, losses)
    codes = ours.encode(batch.x)[0]
    assert codes.shape == (7, 9) and torch.equal(codes[:, 6:].sum(1), torch.ones(7, dtype=torch.float64))


def test_cgan() -> None:
    recipe = small("cgan", classes=CLASSES)
    ours, batch = large(recipe), batch_for(recipe, [2, 1, 2, 0, 1, 1, 0])

    def losses(model: Method) -> Losses:
        y = F.one_hot(batch.y, 3).double()
        fake = model.generator(torch.cat([batch.z, y], 1))

        def score(shown: Tensor) -> Tensor:
            return model.critic(conditioned(model, shown, y))[:, 0]

        critics = [model.critic, model.condition]
        return [
            (real_or_not(score(batch.x), True) + real_or_not(score(fake.detach()), False), critics),
            (real_or_not(score(fake), True), [model.generator]),
        ]

    assert_gradients(ours, batch, losses)
    with pytest.raises(NotImplementedError):
        ours.encode(batch.x)


@pytest.mark.parametrize("categories", [0, 3])
def test_infogan(categories: int) -> None:
    recipe = small("infogan", categories=categories, noise=4, information_weight=0.7)
    ours, batch = large(recipe), batch_for(recipe)
    stream = draws(recipe)
    kind = (stream.uniform(1)[:, 0] * categories).long()
    noise = stream.normal(4).double()
    y = torch.eye(categories, dtype=torch.float64)[kind] if categories else torch.zeros(7, 0, dtype=torch.float64)

    def losses(model: Method) -> Losses:
        fake = model.generator(torch.cat([batch.z, y], 1), noise)

        def surprise(shown: Tensor) -> Tensor:
            raw = model.encoder(shown)
            told = torch.distributions.Normal(raw[:, 1:7], torch.exp(raw[:, 7:13] / 2))
            nats = -told.log_prob(batch.z).mean() - 0.5 * math.log(2 * math.pi)
            return 0.7 * (nats + (F.cross_entropy(raw[:, 13:], kind) if categories else 0))

        def score(shown: Tensor) -> Tensor:
            return model.encoder(shown)[:, 0]

        still = fake.detach()
        loss_d = real_or_not(score(batch.x), True) + real_or_not(score(still), False) + surprise(still)
        return [(loss_d, [model.encoder]), (real_or_not(score(fake), True) + surprise(fake), [model.generator])]

    assert_gradients(ours, batch, losses)
    codes = ours.encode(batch.x)[0]
    assert codes.shape == (7, 6 + categories) and ours.generator(codes).shape == batch.x.shape
    assert torch.allclose(codes[:, 6:].sum(1), torch.full((7,), float(categories > 0), dtype=torch.float64))


def test_introvae() -> None:
    recipe = small("introvae", margin=60.0, critic_weight=0.4, pixel_weight=0.03)
    ours, batch = large(recipe), batch_for(recipe)
    noise = draws(recipe).normal(6).double()

    def losses(model: Method) -> Losses:
        def divergence(raw: Tensor) -> Tensor:
            posterior = torch.distributions.Normal(raw[:, :6], torch.exp(raw[:, 6:] / 2))
            return torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1).mean() / 6

        raw = model.encoder(batch.x)
        z = raw[:, :6] + torch.exp(raw[:, 6:] / 2) * noise
        error = 0.03 * 16 * 0.5 * ((batch.x - model.generator(z)) ** 2).sum((1, 2, 3)).mean() / 6
        shown = model.generator(z.detach()), model.generator(batch.z)
        still = [divergence(model.encoder(one.detach())) for one in shown]
        assert all(0 < one.item() < 60 for one in still)  # so that the margin is felt
        away = sum(F.relu(60 - one) for one in still)
        return [
            (divergence(raw) + 0.4 * away + error, [model.encoder]),
            (0.4 * sum(divergence(model.encoder(one)) for one in shown) + error, [model.generator]),
        ]

    assert_gradients(ours, batch, losses)
    code, realism, _ = ours.encode(batch.x)
    assert torch.equal(code, ours.encoder(batch.x)[:, :6])
    assert torch.allclose(realism, -kl_divergence(ours.encoder(batch.x)) / 6)


def pixels_of_256_levels(*shape: int) -> Tensor:
    levels = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(2))
    return levels.double() / 127.5 - 1


@pytest.mark.parametrize("method", ["pixelcnn", "pixelrnn"])
def test_methods_that_draw_pixel_by_pixel(method: str) -> None:
    recipe = small(method)
    ours, batch = large(recipe), batch_for(recipe)
    batch = dataclasses.replace(batch, x=pixels_of_256_levels(7, 3, 32, 32))

    def losses(model: Method) -> Losses:
        code = model.encoder(batch.x)
        nats = -log_likelihood(batch.x, model.generator.distributions(batch.x, code)).mean() / (3 * 32 * 32)
        real, fake = model.style_critic(batch.z)[:, 0], model.style_critic(code)[:, 0]
        still = model.style_critic(code.detach())[:, 0]
        return [
            (nats, [model.encoder, model.generator]),
            (real_or_not(real, True) + real_or_not(still, False), [model.style_critic]),
            (pixelcnn.ADVERSARY_WEIGHT * real_or_not(fake, True), [model.encoder]),
        ]

    assert_gradients(ours, batch, losses)


def test_the_probabilities_of_all_levels_sum_to_one() -> None:
    """Of each colour, given those before it."""
    torch.manual_seed(1)
    numbers = torch.randn(1, 5, 10, 1, 1, dtype=torch.float64)
    numbers[:, :, 4:7] -= 2
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    grid = torch.cartesian_prod(levels[::16], levels[::16], levels)  # some reds and greens, every blue
    blues = log_likelihood(grid[:, :, None, None], numbers.expand(len(grid), -1, -1, -1, -1)).exp().view(16, 16, 256)
    greens = torch.cartesian_prod(levels[::16], levels)
    weights, means, log_scales, couplings = (v[0, ..., 0, 0] for v in pixelcnn.parts(numbers))

    def level(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        upper = torch.where(x > 0.999, torch.inf, x + 1 / 255)
        lower = torch.where(x < -0.999, -torch.inf, x - 1 / 255)
        return torch.sigmoid((upper - mean) / log_scale.exp()) - torch.sigmoid((lower - mean) / log_scale.exp())

    red, green = greens[:, :1], greens[:, 1:]
    pairs = level(red, means[:, 0], log_scales[:, 0])
    pairs = pairs * level(green, means[:, 1] + couplings[:, 0] * red, log_scales[:, 1])
    expected = (weights.exp() * pairs).sum(1).view(16, 256)[:, ::16]
    assert torch.allclose(blues.sum(2), expected, rtol=1e-6)
    assert (
        (weights.exp() * pairs)
        .sum(1)
        .view(16, 256)
        .sum(1)
        .allclose((weights.exp() * level(levels[::16, None], means[:, 0], log_scales[:, 0])).sum(1), rtol=1e-9)
    )


@pytest.mark.parametrize(("kind", "reached"), [(pixelcnn.PixelCNN, 0.9), (pixelrnn.PixelRNN, 0.87)])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 5), (7, 0), (4, 7), (7, 7)])
def test_a_pixel_knows_those_before_it_and_no_other(
    kind: type[pixelcnn.PixelByPixel], reached: float, row: int, column: int
) -> None:
    """All that the layers reach: rows of LSTMs, a triangle above, which lacks corners."""
    torch.manual_seed(0)
    network = kind(8, 4).double()
    x = torch.rand(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    network.distributions(x, torch.randn(1, 4, dtype=torch.float64))[0, :, :, row, column].sum().backward()
    felt = x.grad[0].abs().sum(0).flatten() > 0
    place = 8 * row + column
    assert not felt[place:].any()
    assert place == 0 or felt[place - 1] or column == 0
    assert felt[: max(0, place - 8)].float().mean() > reached or place < 9


def test_a_row_of_lstms_is_an_lstm_for_each_pixel_of_it() -> None:
    """With convolutions that see one pixel, each column is torch's own LSTM; wider ones hear its neighbours."""
    torch.manual_seed(0)
    layer, theirs = pixelrnn.RowLSTM(5).double(), torch.nn.LSTMCell(pixelrnn.CHANNELS, pixelrnn.CHANNELS).double()
    x, code = torch.randn(2, pixelrnn.CHANNELS, 6, 7).double(), torch.randn(2, 5).double()
    last = pixelrnn.ALONG_ROW // 2
    with torch.no_grad():
        assert not torch.allclose(layer(x, code)[..., 3], layer(x * (torch.arange(7) != 4), code)[..., 3])
        for weight in (layer.of_row.weight[..., :last], layer.of_above.weight[..., [0, 2]]):
            assert weight.abs().sum() > 0
        layer.of_row.weight[..., :last] = 0
        layer.of_above.weight[..., [0, 2]] = 0
        order = torch.cat(
            [torch.arange(48) + 48 * gate for gate in (2, 1, 3, 0)]
        )  # theirs: i, f, g, o; ours: o, f, i, g
        theirs.weight_ih.copy_(layer.of_row.weight[:, :, 0, last][order])
        theirs.weight_hh.copy_(layer.of_above.weight[:, :, 1][order])
        theirs.bias_hh.zero_()
        ours = layer(x, code)
        for one in range(2):
            theirs.bias_ih.copy_((layer.of_row.bias + layer.of_code(code[one]))[order])
            h, c = torch.zeros(7, 48).double(), torch.zeros(7, 48).double()
            for row in range(6):
                h, c = theirs(x[one, :, row].T, (h, c))
                assert torch.allclose(ours[one, :, row], x[one, :, row] + h.T)


def test_drawing_follows_the_distribution() -> None:
    torch.manual_seed(4)
    numbers = torch.zeros(1, 5, 10, 1, 1)
    numbers[0, :, 0, 0, 0] = torch.tensor([1.0, 0.0, -9, -9, -9])
    numbers[0, 0, 1:4], numbers[0, 1, 1:4] = 0.5, -0.5
    numbers[:, :, 4:7] = -5
    dice = torch.rand(4000, 8, 1, 1)
    drawn = pixelcnn.draw(numbers.expand(4000, -1, -1, -1, -1), dice)[:, 0, 0, 0]
    assert (drawn > 0).float().mean().item() == pytest.approx(1 / (1 + math.exp(-1)), abs=0.03)
    assert drawn[drawn > 0].mean().item() == pytest.approx(0.5, abs=0.01)


def test_the_penalty_is_zero_where_the_slope_is_one() -> None:
    direction = torch.randn(3, 4, 4, dtype=torch.float64)
    direction /= direction.norm()
    x, fake = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    u = torch.rand(5, 1, dtype=torch.float64)
    found = gradient_penalty(lambda v: (v * direction).sum((1, 2, 3)), x, fake, u)
    assert torch.allclose(found, torch.zeros(5, dtype=torch.float64), atol=1e-12)
    steeper = gradient_penalty(lambda v: 3 * (v * direction).sum((1, 2, 3)), x, fake, u)
    assert torch.allclose(steeper, torch.full((5,), 40.0, dtype=torch.float64))


def test_every_method_is_what_its_file_declares() -> None:
    """Settings are read off the source for the command line; that is what the classes say once they are run."""
    known = "aae ae ali bigan bigan-qp cgan cvae cvae-gan decoder gan-qp infogan introvae ogan ogan-views"
    known += " pixelcnn pixelrnn vae"
    assert known.split() == [*method_names()]
    assert tuple(ADVERSARIES) == declared_settings("ogan")["adversary"].choices
    assert tuple(VIEWS) == declared_settings("ogan-views")["views"].choices
    for name in method_names():
        declared, fields = declared_settings(name), dataclasses.fields(settings_class(name))
        assert declared == {field.name: field.metadata["declaration"] for field in fields}
        assert {field.name: field.default for field in fields} == {key: one.default for key, one in declared.items()}
        assert not declared.keys() & COMMON.keys()
        assert method_class(name).__module__.endswith(name.replace("-", "_"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"method": "vae", "adversary": "hinge"}, "adversary say nothing to method vae"),
        ({"method": "ogan", "views": "strong"}, "views say nothing to method ogan, only to ogan-views"),
        ({"method": "ogan", "adversary": "wild"}, r"adversary 'wild' is none of qp, ns, ls, hinge, wgan-gp"),
        (
            {"method": "ogan", "classes": ("a", "b")},
            "labels say nothing to method ogan, only to aae, cgan, cvae, cvae-gan",
        ),
        ({"method": "cvae-gan"}, "needs labels"),
        ({"method": "infogan", "categories": 1}, "categories must be two at least"),
        ({"method": "aae", "clusters": 1}, "clusters must be two at least"),
        ({"method": "aae", "clusters": 3, "classes": ("a", "b")}, "give one of the two"),
    ],
)
def test_settings_that_do_not_fit_a_method(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(TrainingError, match=complaint):
        changed(SMALL, **changes)


def test_a_preset_of_ogan_serves_other_methods() -> None:
    assert preset("paper-256").flat()["correlation_weight"] == 1.0
    other = preset("paper-256", method="vae", latent_dim=64)
    assert (other.method, other.latent_dim, other.width) == ("vae", 64, preset("paper-256").width)
    with pytest.raises(TrainingError, match="correlation_weight say nothing to method vae"):
        preset("paper-256", method="vae", correlation_weight=0.3)


def test_draws_are_independent_of_their_number() -> None:
    """A step's further draws do not repeat its first ones."""
    some = draws(SMALL)
    first, second = some.normal(6), some.normal(6)
    assert not np.allclose(first, second) and torch.equal(first, draws(SMALL).normal(6))
