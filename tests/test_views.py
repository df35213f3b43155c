"""Second views and the term that compares them."""

from __future__ import annotations

import copy
import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from test_losses import batch_of, three_pass_gradients
from torch import nn

from retrieval.errors import TrainingError
from train.checkpoint import new_state
from train.data import METHOD_STREAM, CachedPictures, Draws
from train.loop import Hooks, train
from train.losses import twin_loss
from train.methods.ogan_views import REDUNDANCY, OGANViews, Settings
from train.recipe import Budget, Recipe, changed
from train.views import VIEWS, ViewStrength, second_view

CPU = torch.device("cpu")
STILL = ViewStrength(crop=1.0, aspect=0.0, rotation=0.0, light=0.0, colour=0.0, grey=0.0)
RECIPE = Recipe(batch_size=40)


def draws(rank: int = 0, world: int = 1) -> Draws:
    return Draws(RECIPE, METHOD_STREAM, 5, CPU, rank, world)


def pictures() -> torch.Tensor:
    return torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8


def test_twin_loss_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 50, 7))
    c = np.corrcoef(a.T, b.T)[:7, 7:]
    own = sum((1 - c[i, i]) ** 2 for i in range(7))
    others = sum(c[i, j] ** 2 for i in range(7) for j in range(7) if i != j)
    found = twin_loss(torch.from_numpy(a), torch.from_numpy(b), 0.3)
    assert found.item() == pytest.approx((own + 0.3 * others) / 7, rel=1e-12)
    same = torch.from_numpy(a)
    assert twin_loss(same, same, 0.0).item() == pytest.approx(0, abs=1e-12)


def test_a_number_that_never_changes_breaks_nothing() -> None:
    a = torch.ones(8, 4, requires_grad=True)
    twin_loss(a, torch.ones(8, 4), 0.2).backward()
    assert a.grad is not None and bool(a.grad.isfinite().all())


def test_a_view_that_may_change_nothing_is_the_picture_or_its_mirror_image() -> None:
    x = pictures()
    view = second_view(x, STILL, draws())
    same = [torch.allclose(v, p, atol=1e-5) for v, p in zip(view, x, strict=True)]
    turned = [torch.allclose(v, p.flip(2), atol=1e-5) for v, p in zip(view, x, strict=True)]
    assert all(a != b for a, b in zip(same, turned, strict=True)) and 5 < sum(turned) < 35


@pytest.mark.parametrize("name", VIEWS)
def test_views_differ_from_their_pictures_and_stay_in_range(name: str) -> None:
    x = pictures()
    view = second_view(x, VIEWS[name], draws())
    assert view.shape == x.shape and view.abs().max() <= 1 and bool(view.isfinite().all())
    assert all(not torch.allclose(v, p, atol=1e-2) for v, p in zip(view, x, strict=True))


def test_a_crop_shows_a_part_and_enlarges_it() -> None:
    ramp = torch.linspace(-1, 1, 64).expand(40, 3, 64, 64).contiguous()  # brightness is the place
    view = second_view(ramp, dataclasses.replace(STILL, crop=0.5), draws())
    shown = view.amax((1, 2, 3)) - view.amin((1, 2, 3))
    assert shown.max() <= 2.01 and 0.95 <= shown.min() < 1.3  # of 2, half the side at least


def test_views_are_as_sharp_in_half_precision() -> None:
    x = pictures()
    expected = second_view(x, VIEWS["gentle"], draws())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(second_view(x, VIEWS["gentle"], draws()), expected)


def test_colour_may_go() -> None:
    view = second_view(pictures(), dataclasses.replace(STILL, grey=1.0), draws())
    assert torch.allclose(view[:, 0], view[:, 1]) and torch.allclose(view[:, 0], view[:, 2])


def test_a_picture_gets_the_same_view_whichever_process_has_it() -> None:
    x = pictures()
    alone = second_view(x, VIEWS["strong"], draws())
    for rank in range(2):
        assert torch.equal(second_view(x[rank::2], VIEWS["strong"], draws(rank, 2)), alone[rank::2])


def small_twins(**own: object) -> tuple[OGANViews, OGANViews]:
    """Two models of the same weights, in float64."""
    settings = Settings(view_weight=0.8, **own)  # type: ignore[arg-type]
    ours = OGANViews(Recipe("ogan-views", image_size=32, latent_dim=12, width=4, max_width=16, settings=settings))
    for parameter in ours.double().parameters():
        nn.init.normal_(parameter, std=0.2)
    return ours, copy.deepcopy(ours)


def comparison(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """0.8 times the twin loss of raw codes (6, 12), written out."""
    a, b = (v - v.mean(1, keepdim=True) for v in (a, b))
    a, b = (v / v.pow(2).mean(1, keepdim=True).sqrt() for v in (a, b))
    a, b = ((v - v.mean(0)) / v.std(0, unbiased=False) for v in (a, b))
    c = torch.einsum("ni,nj->ij", a, b) / 6
    target = torch.eye(12, dtype=torch.float64)
    weights = target + REDUNDANCY * (1 - target)
    return 0.8 * (weights * (target - c) ** 2).sum() / 12


def test_the_term_is_added_to_the_encoders_loss_alone() -> None:
    torch.manual_seed(3)
    ours, theirs = small_twins()
    x = torch.rand(6, 3, 32, 32, dtype=torch.float64) * 2 - 1
    z = torch.randn(6, 12, dtype=torch.float64)
    view = second_view(x, VIEWS["gentle"], batch_of(x, z).draws)
    figures = ours.accumulate_gradients(batch_of(x, z))
    three_pass_gradients(theirs, x, z, ours.settings.correlation_weight)
    term = comparison(theirs.encoder(x), theirs.encoder(view))
    term.backward()
    assert figures["views"].item() == pytest.approx(term.item(), rel=1e-9)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert p.grad is not None and q.grad is not None
        assert (p.grad - q.grad).abs().max() <= 1e-8 * q.grad.abs().max(), name


def test_before_the_game_begins_views_alone_teach_the_encoder_and_no_weight_of_the_generator_moves() -> None:
    torch.manual_seed(4)
    ours, theirs = small_twins(views_first=0.3)
    x = torch.rand(6, 3, 32, 32, dtype=torch.float64) * 2 - 1
    batch = batch_of(x, torch.randn(6, 12, dtype=torch.float64))
    draws = batch_of(x, batch.z).draws
    one, other = second_view(x, VIEWS["gentle"], draws), second_view(x, VIEWS["gentle"], draws)
    figures = ours.accumulate_gradients(dataclasses.replace(batch, share_done=0.29))
    term = comparison(theirs.encoder(one), theirs.encoder(other))
    term.backward()
    assert not torch.equal(one, other) and {name: value.item() for name, value in figures.items()} == {
        "views": pytest.approx(term.item(), rel=1e-9)
    }
    for p, q in zip(ours.encoder.parameters(), theirs.encoder.parameters(), strict=True):
        assert p.grad is not None and q.grad is not None
        assert (p.grad - q.grad).abs().max() <= 1e-8 * q.grad.abs().max()
    assert all(p.grad is None for p in ours.generator.parameters())
    ours.accumulate_gradients(dataclasses.replace(batch, share_done=0.3))
    assert all(p.grad is not None for p in ours.generator.parameters())


@pytest.mark.parametrize("seed", range(3))
def test_views_come_first_for_their_share_of_the_run(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps, share = int(rng.integers(4, 9)), float(rng.uniform(0.2, 0.8))
    small = Recipe(image_size=32, latent_dim=8, width=4, max_width=8, batch_size=8)
    state = new_state(changed(small, method="ogan-views", views_first=share), CPU, "float32")
    drawn = CachedPictures(rng.integers(0, 256, (16, 32, 32, 3), np.uint8))
    seen: list[list[torch.Tensor]] = []

    def watch() -> bool:
        seen.append([p.detach().clone() for p in state.model.generator.parameters()])
        return False

    assert train(state, drawn, Budget(steps=steps), tmp_path, CPU, hooks=Hooks(should_stop=watch))
    seen.append([p.detach().clone() for p in state.model.generator.parameters()])
    moved = [any(not torch.equal(p, q) for p, q in zip(*pair, strict=True)) for pair in pairwise(seen)]
    assert moved == [step / steps >= share for step in range(steps)]


@pytest.mark.parametrize("share", [-0.1, 1.0, 7.0, float("nan")])
def test_a_share_that_leaves_no_game_is_refused(share: float) -> None:
    with pytest.raises(TrainingError, match=r"views_first must be"):
        changed(Recipe(), method="ogan-views", views_first=share)


def test_unknown_views_and_methods_are_named() -> None:
    with pytest.raises(TrainingError, match=r"wild.*gentle, strong"):
        changed(Recipe(), method="ogan-views", views="wild")
    with pytest.raises(TrainingError, match=r"gan.*ogan, ogan-views"):
        Recipe(method="gan")
