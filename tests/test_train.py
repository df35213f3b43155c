"""Data, loop, checkpoints, export and ``latent train``, on drawn shapes. Run as a script it is one torchrun process."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from conftest import Run, draw_shapes, write_shapes
from PIL import Image

import train.loop
from cli.main import latent as program
from retrieval.errors import Diverged, TrainingError
from retrieval.models.model import Model, load_model
from retrieval.pictures.decode import read_image, square
from retrieval.pictures.workers import Task
from train import checkpoint
from train.checkpoint import CHECKPOINT, State, new_state
from train.data import (
    CachedPictures,
    DevicePictures,
    Pictures,
    StreamedPictures,
    brought_near,
    latents,
    mirrored,
    open_pictures,
    shuffled,
    to_signed,
)
from train.devices import Processes, join_processes
from train.export import EncoderGraph, export, re_estimate
from train.grid import to_pixels
from train.loop import Hooks, Pace, learning_rate
from train.quantize import quantize
from train.recipe import Budget, Recipe, changed, preset, read_recipe
from train.session import Setting, new_run, resumed_run, run_session
from train.sources import find_sources
from train.step import Trainer

CPU = torch.device("cpu")
SMALL = Recipe(image_size=32, latent_dim=8, width=4, max_width=8, batch_size=8, warmup_steps=10)
SMALL_WORDS = (
    "--size",
    32,
    "--dim",
    8,
    "--width",
    4,
    "--max-width",
    8,
    "--batch",
    8,
    "--device",
    "cpu",
    "--workers",
    1,
)
GIGABYTE = 10**9


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """In the processes that are started too: the machine is shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


# ---------------------------------------------------------------- pictures


def decoded(path: Path, size_px: int = 32) -> np.ndarray:
    return square(read_image(path, cover_px=size_px).pixels, size_px)


def open_small(*paths: Path, cache: Path, budget: int = GIGABYTE) -> Pictures:
    return open_pictures(paths, 32, cache, budget, workers=1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Files that decoding must cut and scale: JPEG and PNG, no square, larger than 32 px; one of them in a folder."""
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for number, pixels in enumerate(draw_shapes(11, seed=5, side=96)[0]):
        name = "inner/last.jpg" if number == 10 else f"{number:02d}.{('png', 'jpg')[number % 2]}"
        Image.fromarray(pixels[: 70 + number]).save(folder / name)
    return folder


def pack(archive: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            tar.addfile(facts, io.BytesIO(content))
    return archive


def test_sources_are_the_files_of_folders_and_the_members_of_archives(photos: Path, tmp_path: Path) -> None:
    (photos / ".hidden.png").write_bytes(b"x")
    (photos / "Thumbs.db").write_bytes(b"x")
    files = sorted(path for path in photos.rglob("*.[pj]*g") if not path.name.startswith("."))
    junk = {"pictures/._01.jpg": b"x", "pictures/.DS_Store": b"x", "pictures/Thumbs.db": b"x", "desktop.ini": b"x"}
    members = {f"pictures/{path.name}": path.read_bytes() for path in files}
    archive = pack(tmp_path / "some.tar", {**junk, **members})
    of_folder, of_archive = find_sources([photos]), find_sources([archive])
    assert sorted(task.path for task in of_folder) == [str(path) for path in files]
    stretches = [archive.read_bytes()[task.offset : task.offset + (task.length or 0)] for task in of_archive]
    assert stretches == list(members.values())
    assert find_sources([photos, archive]) == of_folder + of_archive


def test_what_is_no_source_is_refused_by_name(photos: Path, tmp_path: Path) -> None:
    packed = pack(tmp_path / "some.tar.gz", {"a.png": b"x" * 2000}, "w:gz")
    text = tmp_path / "notes.txt"
    text.write_text("no archive, this, though it is long enough for a header\n" * 20)
    cut = tmp_path / "cut.tar"
    cut.write_bytes(pack(tmp_path / "whole.tar", {"a.png": b"x" * 9000, "b.png": b"y" * 9000}).read_bytes()[:4000])
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (packed, text, cut, empty, tmp_path / "missing"):
        with pytest.raises(TrainingError, match=path.name):
            find_sources([photos, path] if path is not empty else [path])


def test_the_cache_holds_what_the_search_would_see(photos: Path, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    pictures = open_pictures([photos], 32, tmp_path / "cache", GIGABYTE, 2, lambda *counts: done.append(counts))
    assert isinstance(pictures, CachedPictures)
    expected = np.stack([decoded(Path(task.path)) for task in find_sources([photos])])
    assert pictures.pixels.dtype == np.uint8 and np.array_equal(pictures.pixels, expected)
    assert done == [(number, 11) for number in range(1, 12)]
    assert not list((tmp_path / "cache").glob("*.part")) and not list((tmp_path / "cache").glob("*.json"))


def test_an_archive_gives_the_pictures_of_the_folder_it_was_packed_from(photos: Path, tmp_path: Path) -> None:
    files = [Path(task.path) for task in find_sources([photos])]
    archive = pack(tmp_path / "some.tar", {path.name: path.read_bytes() for path in files})
    from_folder, from_archive = (open_small(path, cache=tmp_path / "cache") for path in (photos, archive))
    assert isinstance(from_folder, CachedPictures) and isinstance(from_archive, CachedPictures)
    assert np.array_equal(from_folder.pixels, from_archive.pixels)


def test_files_that_cannot_be_decoded_are_left_out_and_listed(photos: Path, tmp_path: Path) -> None:
    good = np.stack([decoded(Path(task.path)) for task in find_sources([photos])])
    whole = (photos / "00.png").read_bytes()
    bad = {"000-first.png": b"", "05-text.jpg": b"no picture", "zz-cut.png": whole[: len(whole) // 2]}
    for name, content in bad.items():
        (photos / name).write_bytes(content)
    pictures = open_small(photos, cache=tmp_path / "cache")
    assert isinstance(pictures, CachedPictures) and np.array_equal(pictures.pixels, good)
    (listed,) = (tmp_path / "cache").glob("*.npy.refused.json")
    refused = json.loads(listed.read_text())
    assert set(refused) == {f"{photos / name}@0" for name in bad}
    assert refused[f"{photos / '000-first.png'}@0"] == "empty file"
    assert all(refused.values())


def test_a_set_without_pictures_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"no picture")
    (folder / "b.jpg").write_bytes(b"no picture")
    for _ in range(2):  # the second time from the cache
        with pytest.raises(TrainingError, match=r"only 0 of 2 files .* see .*refused\.json"):
            open_small(folder, cache=tmp_path / "cache")
    stream = open_small(folder, cache=tmp_path / "cache", budget=0)
    with pytest.raises(TrainingError, match="none of 4 files"):
        next(iter(stream.batches(iter([np.array([0, 1, 0, 1])]))))


def test_the_cache_is_kept_until_a_file_changes(photos: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    open_small(photos, cache=cache)
    (made,) = cache.glob("*.npy")
    before = made.stat()
    open_small(photos, cache=cache)
    assert list(cache.glob("*.npy")) == [made]
    assert (made.stat().st_mtime_ns, made.stat().st_ino) == (before.st_mtime_ns, before.st_ino)

    changed = photos / "00.png"
    Image.fromarray(np.full((40, 40, 3), 77, np.uint8)).save(changed)
    os.utime(changed, ns=(0, changed.stat().st_mtime_ns + 10**9))
    pictures = open_small(photos, cache=cache)
    assert isinstance(pictures, CachedPictures) and (pictures.pixels[0] == 77).all()
    assert len(list(cache.glob("*.npy"))) == 2
    open_pictures([photos], 64, cache, GIGABYTE, 1)  # another size is another set
    assert len(list(cache.glob("*.npy"))) == 3


def test_a_stream_gives_the_batches_of_the_cache(photos: Path, tmp_path: Path) -> None:
    cached, stream = (open_small(photos, cache=tmp_path / "cache", budget=budget) for budget in (GIGABYTE, 0))
    assert isinstance(cached, CachedPictures) and isinstance(stream, StreamedPictures)
    assert len(cached) == len(stream) == 11
    both = [islice(pictures.batches(shuffled(11, SMALL, 3)), 5) for pictures in (cached, stream)]
    for ours, theirs in zip(*both, strict=True):
        assert ours.pixels.shape == (8, 32, 32, 3) and np.array_equal(ours.pixels, theirs.pixels)
        assert ours.labels.tolist() == theirs.labels.tolist() == [-1] * 8


def test_a_stream_fills_the_place_of_bad_files_from_their_batch(photos: Path, tmp_path: Path) -> None:
    (photos / "000.png").write_bytes(b"no picture")
    stream = open_small(photos, cache=tmp_path / "cache", budget=0)
    (batch,) = stream.batches(iter([np.array([1, 0, 2])]))
    first, second = decoded(photos / "00.png"), decoded(photos / "01.jpg")
    assert np.array_equal(batch.pixels, np.stack([first, second, first]))


@pytest.mark.parametrize("budget", [GIGABYTE, 0])
def test_labels_stay_with_their_pictures(photos: Path, tmp_path: Path, budget: int) -> None:
    """Past files that cannot be decoded too, whether they are dropped (cache) or stood in for (stream)."""
    (photos / "03.jpg").write_bytes(b"no picture")

    def label_of(task: Task) -> int:
        name = os.path.basename(task.path)
        return -1 if name == "last.jpg" else int(name[:2])

    pictures = open_pictures([photos], 32, tmp_path / "cache", budget, 1, label_of=label_of)
    rows = np.arange(len(pictures))
    (batch,) = pictures.batches(iter([rows]))
    good = [path for path in photos.rglob("*.*g") if path.name != "03.jpg"]
    expected = {decoded(path).tobytes(): label_of(Task(str(path))) for path in good}
    assert len(batch.labels) == (10 if budget else 11) and -1 in batch.labels
    for pixels, label in zip(batch.pixels, batch.labels, strict=True):
        assert expected[pixels.tobytes()] == label


def test_pictures_on_a_device_are_those_of_the_cache() -> None:
    cached = CachedPictures(draw_shapes(11)[0], np.arange(11))
    near = DevicePictures(cached, CPU)
    assert len(near) == 11
    both = [islice(pictures.batches(shuffled(11, SMALL, 2)), 3) for pictures in (cached, near)]
    for ours, theirs in zip(*both, strict=True):
        assert torch.equal(to_signed(ours.pixels, CPU), to_signed(theirs.pixels, CPU))
        assert ours.labels.tolist() == theirs.labels.tolist() and len(ours) == len(theirs) == 8
    assert brought_near(cached, CPU) is cached  # there is nothing to gain


def test_every_picture_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    seen = np.concatenate(list(islice(shuffled(10, SMALL, 0), 5)))  # 5 batches of 8: 4 epochs of 10
    epochs = seen.reshape(4, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    other = np.concatenate(list(islice(shuffled(10, dataclasses.replace(SMALL, seed=1), 0), 5)))
    assert not np.array_equal(seen, other)


@pytest.mark.parametrize("first_step", [1, 2, 7])
def test_order_after_a_resume_is_the_undisturbed_one(first_step: int) -> None:
    straight = list(islice(shuffled(10, SMALL, 0), first_step, first_step + 4))
    assert np.array_equal(straight, list(islice(shuffled(10, SMALL, first_step), 4)))


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_batch_of_one(world: int) -> None:
    """Interleaved, the pictures, flips and latents of all ranks are those of a single process."""
    x = torch.rand(8, 3, 32, 32)

    def woven(parts: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(parts, dim=1).flatten(0, 1)

    for step in (0, 5):
        orders = [torch.from_numpy(next(shuffled(11, SMALL, step, rank, world))) for rank in range(world)]
        assert torch.equal(woven(orders), torch.from_numpy(next(shuffled(11, SMALL, step))))
        drawn = [latents(SMALL, step, CPU, rank, world) for rank in range(world)]
        assert torch.equal(woven(drawn), latents(SMALL, step, CPU))
        turned = [mirrored(x[rank::world], SMALL, step, rank, world) for rank in range(world)]
        assert torch.equal(woven(turned), mirrored(x, SMALL, step))


def test_mirroring_turns_half_of_the_pictures_left_to_right() -> None:
    recipe = dataclasses.replace(SMALL, batch_size=400)
    x = torch.rand(400, 3, 4, 4)
    result = mirrored(x, recipe, 0)
    turned = (result == x.flip(3)).flatten(1).all(1)
    assert torch.equal(result[~turned], x[~turned])
    assert 150 < int(turned.sum()) < 250


def test_pixels_keep_their_place_and_range() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    pixels[0, 0, 1] = (0, 255, 51)
    x = to_signed(pixels, CPU)
    assert x.shape == (2, 3, 4, 4) and x.dtype == torch.float32
    assert x[0, :, 0, 1].tolist() == pytest.approx([-1, 1, -0.6])
    assert np.array_equal(to_pixels(x), pixels)


# ---------------------------------------------------------------- the loop


def small_pictures(count: int = 64) -> CachedPictures:
    return CachedPictures(draw_shapes(count)[0])


def train_small(state: State, run: Path, steps: int, **more: object) -> bool:
    return train.loop.train(state, small_pictures(), Budget(steps=steps), run, CPU, **more)  # type: ignore[arg-type]


def assert_same_bits(ours: object, theirs: object, place: str = "") -> None:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), place
        for key in ours.keys() - {"elapsed_s"}:  # the clock alone may differ
            assert_same_bits(ours[key], theirs[key], f"{place}/{key}")
    elif isinstance(ours, list) and isinstance(theirs, list):
        for number, pair in enumerate(zip(ours, theirs, strict=True)):
            assert_same_bits(*pair, f"{place}/{number}")
    elif isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs), place
    else:
        assert ours == theirs, place


def checkpoint_of(run: Path) -> dict[str, object]:
    return dict(torch.load(run / CHECKPOINT, weights_only=True))


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_average_follows_its_rule_in_numpy(decay: float) -> None:
    """decay min(d, (1+n)/(10+n)), which reaches 0.5 at n = 8; BatchNorm's statistics are averaged too."""
    state = new_state(dataclasses.replace(SMALL, ema_decay=decay), CPU, "float32")
    average: dict[str, np.ndarray] = {}
    for update in range(14):
        with torch.no_grad():
            for tensor in state.model.state_dict().values():
                tensor.normal_() if tensor.is_floating_point() else tensor.add_(1)
        state.follow()
        state.step += 1
        share = 0.0 if update == 0 else min(decay, (1 + update) / (10 + update))
        for name, value in state.model.state_dict().items():
            current = value.numpy().astype(np.float64)
            average[name] = current if update == 0 else share * average[name] + (1 - share) * current
    ours = state.average.state_dict()
    assert any(name.endswith("running_var") for name in ours)
    for name, value in ours.items():
        expected = 14 if name.endswith("num_batches_tracked") else average[name]
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_learning_rate_warms_up_holds_and_falls() -> None:
    recipe = dataclasses.replace(SMALL, learning_rate=1.0, warmup_steps=10, decay_share=0.5)
    assert [learning_rate(recipe, step, 0.0) for step in (0, 4, 9, 50)] == pytest.approx([0.1, 0.5, 1, 1])
    assert [learning_rate(recipe, 50, share) for share in (0.5, 0.75, 1.0)] == pytest.approx([1, 0.5, 0])
    steady = dataclasses.replace(recipe, warmup_steps=0, decay_share=0.0)
    assert learning_rate(steady, 0, 0.0) == learning_rate(steady, 0, 1.0) == 1


@pytest.fixture
def deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_training_reaches_the_same_bits(tmp_path: Path, precision: str) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert train_small(new_state(SMALL, CPU, precision), straight, 40)

    first = new_state(SMALL, CPU, precision)
    assert not train_small(first, broken, 40, hooks=Hooks(should_stop=lambda: first.step >= 20))
    assert_same_bits(checkpoint_of(broken)["step"], 20)
    second = checkpoint.load(broken, CPU)
    assert (second.recipe, second.precision, second.step) == (SMALL, precision, 20)
    assert train_small(second, broken, 40)
    assert_same_bits(checkpoint_of(straight), checkpoint_of(broken))
    start = new_state(SMALL, CPU, precision).model.state_dict()
    trained = second.model.state_dict()
    assert not any(torch.equal(trained[name], start[name]) for name in start), "something did not learn"


@pytest.mark.usefixtures("deterministic")
def test_a_streamed_training_reaches_the_bits_of_a_cached_one(photos: Path, tmp_path: Path) -> None:
    for name, budget in (("cached", GIGABYTE), ("streamed", 0)):
        pictures = open_small(photos, cache=tmp_path / "cache", budget=budget)
        train.loop.train(new_state(SMALL, CPU, "float32"), pictures, Budget(steps=5), tmp_path / name, CPU)
    assert_same_bits(checkpoint_of(tmp_path / "cached"), checkpoint_of(tmp_path / "streamed"))


def test_a_stop_before_the_first_step_leaves_something_to_resume(tmp_path: Path) -> None:
    assert not train_small(new_state(SMALL, CPU, "float32"), tmp_path, 20, hooks=Hooks(should_stop=lambda: True))
    state = checkpoint.load(tmp_path, CPU)
    assert state.step == 0 and train_small(state, tmp_path, 20)


def test_steps_and_minutes_count_over_all_sessions(tmp_path: Path) -> None:
    state = new_state(SMALL, CPU, "float32")
    assert train_small(state, tmp_path, 20) and state.step == 20
    assert train_small(state, tmp_path, 20) and state.step == 20
    state.elapsed_s = 59.9
    assert train.loop.train(state, small_pictures(), Budget(minutes=1), tmp_path, CPU)
    assert state.step > 20 and 60 <= state.elapsed_s < 75


def poison(state: State) -> None:
    with torch.no_grad():
        state.model.generator.dense.weight[0, 0] = float("nan")


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    state = new_state(SMALL, CPU, "float32")
    kept: list[bytes] = []

    def spoil(
        progress: train.loop.TrainingProgress,
    ) -> None:  # called before the checkpoint of its step would be written
        if progress.step == 40:
            kept.append((tmp_path / CHECKPOINT).read_bytes())
            poison(state)

    with pytest.raises(Diverged, match=r"step 60: loss_e.*go on from it with a lower learning rate"):
        train_small(state, tmp_path, 200, hooks=Hooks(spoil), pace=Pace(checkpoint_every_s=0, grid_every_s=GIGABYTE))
    assert kept == [(tmp_path / CHECKPOINT).read_bytes()]
    good = checkpoint.load(tmp_path, CPU)
    assert good.step == 20
    assert all(torch.isfinite(tensor).all() for tensor in good.average.state_dict().values())


def test_a_nan_between_the_last_look_and_the_end_leaves_no_bundle(tmp_path: Path) -> None:
    state = new_state(SMALL, CPU, "float32")
    setting = Setting(tmp_path, CPU, "float32", Processes(), tmp_path / "cache", GIGABYTE)
    hooks = Hooks(lambda progress: poison(state))
    with pytest.raises(Diverged, match=r"step 25: .* Nothing was saved yet"):
        run_session(state, small_pictures(), Budget(steps=25), setting, hooks, {})
    assert not (tmp_path / "bundle").exists() and not (tmp_path / CHECKPOINT).exists()


def stats_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]


def test_stats_repeat_no_step_after_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.loop, "STATS_EVERY", 20)
    state = new_state(SMALL, CPU, "float32")
    train_small(state, tmp_path, 100, hooks=Hooks(should_stop=lambda: state.step >= 50))
    saved = (tmp_path / CHECKPOINT).read_bytes()
    train_small(state, tmp_path, 100, hooks=Hooks(should_stop=lambda: state.step >= 90))
    assert [line["step"] for line in stats_of(tmp_path)] == [20, 40, 60, 80]
    (tmp_path / CHECKPOINT).write_bytes(saved)  # as if the power had failed at step 90
    with open(tmp_path / "stats.jsonl", "a") as file:
        file.write('{"step": 100, "pic')
    train_small(checkpoint.load(tmp_path, CPU), tmp_path, 100)
    lines = stats_of(tmp_path)
    assert [line["step"] for line in lines] == [20, 40, 60, 80, 100]
    figures = {"loss_e", "loss_g", "rho", "d_real", "d_fake"}
    assert all(line.keys() == {*figures, *lines[0]} and line["pictures"] == 8 * line["step"] for line in lines)


# ---------------------------------------------------------------- a model that learns


@dataclass(frozen=True)
class Learnt:
    run: Path
    state: State
    model: Model
    progress: list[train.loop.TrainingProgress]


TINY = Recipe(
    image_size=32,
    latent_dim=32,
    width=16,
    max_width=64,
    batch_size=32,
    learning_rate=1e-3,
    warmup_steps=50,
    ema_decay=0.99,
)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    """A tiny O-GAN, 300 steps on 1,024 drawn shapes: about six seconds of one core."""
    run = tmp_path_factory.mktemp("runs") / "shapes"
    setting = Setting(run, CPU, "float32", Processes(), run / "cache", GIGABYTE)
    state, progress = new_run(TINY, setting), []
    hooks = Hooks(progress.append)
    facts = {"training_data": {"name": "drawn shapes", "licence": "MIT"}}
    model = run_session(state, small_pictures(1024), Budget(steps=300), setting, hooks, facts)
    assert model is not None
    return Learnt(run, state, model, progress)


def precision_at(k: int, encode: Callable[[np.ndarray], np.ndarray]) -> float:
    """Share of the k nearest of 1,024 training shapes that are of the kind of a held-out one."""
    (gallery, gallery_kinds), (queries, kinds) = draw_shapes(1024), draw_shapes(400, seed=1000)
    nearest = np.argsort(-encode(queries) @ encode(gallery).T, axis=1)[:, :k]
    return float((gallery_kinds[nearest] == kinds[:, None]).mean())


def test_a_tiny_ogan_finds_the_same_shape_far_better_than_an_untrained_one(learnt: Learnt) -> None:
    untrained = new_state(TINY, CPU, "float32").average
    re_estimate(untrained, small_pictures(1024), CPU)  # the same care that export takes
    graph = EncoderGraph(untrained).eval()

    @torch.no_grad()
    def random_codes(pixels: np.ndarray) -> np.ndarray:
        return graph(torch.from_numpy(pixels))[0].numpy()

    before, after = precision_at(10, random_codes), precision_at(10, learnt.model.encode)
    # 0.77 -> 0.98 here; over four seeds .77 to .82 -> .97 to .99. Of the wrong neighbours two thirds must be mended.
    assert before < 0.85 and after > 0.93, (before, after)
    assert 1 - after < (1 - before) / 3, (before, after)
    assert precision_at(1, learnt.model.encode) > 0.97


def test_codes_know_the_latents_they_came_from(learnt: Learnt) -> None:
    """The correlation term at work: z -> G -> E finds z again, and a picture resembles its reconstruction."""
    assert learnt.progress[-1].figures["rho"] > 0.6
    shapes = draw_shapes(64, seed=2000)[0]
    repainted = learnt.model.decode(learnt.model.encode(shapes)).astype(float)
    errors = ((shapes[:, None] - repainted[None]) ** 2).mean((2, 3, 4))
    own, others = np.diag(errors).mean(), errors[~np.eye(64, dtype=bool)].mean()
    assert own < 0.6 * others, (own, others)  # 0.4 here


def test_a_bundle_in_float32_gives_the_codes_of_torch(learnt: Learnt, tmp_path: Path) -> None:
    model = export(learnt.state, small_pictures(1024), tmp_path / "exact", {"name": "exact"}, CPU, exact=True)
    assert model.facts["encoder_bits"] == 32
    graph = EncoderGraph(learnt.state.average)
    for count in (1, 3, 70):  # one, few, and more than a batch of the bundle
        shapes = draw_shapes(count, seed=3000)[0]
        ours = model.encode_fully(shapes)
        with torch.no_grad():
            codes, realism, spread = (output.numpy() for output in graph(torch.from_numpy(shapes)))
        assert ours.codes.shape == (count, 32) and ours.codes.dtype == np.float32
        assert np.abs(ours.codes - codes).max() < 1e-3
        np.testing.assert_allclose(ours.realism, realism, atol=1e-3)
        np.testing.assert_allclose(ours.spread, spread, atol=1e-3)
        assert np.abs(ours.codes.mean(1)).max() < 1e-5 and np.abs(ours.codes.std(1) - 1).max() < 1e-3


def test_a_bundle_in_eight_bits_gives_nearly_these_codes_whatever_the_batch(learnt: Learnt) -> None:
    assert learnt.model.facts["encoder_bits"] == 8 and learnt.model.facts["encoder_cosine"] >= 0.995
    shapes = draw_shapes(200, seed=3000)[0]
    with torch.no_grad():
        exact, realism, spread = (
            output.numpy() for output in EncoderGraph(learnt.state.average)(torch.from_numpy(shapes))
        )
    ours = learnt.model.encode_fully(shapes)
    assert (ours.codes * exact).mean(1).mean() > 0.995  # both are standardized: this is their cosine
    assert np.corrcoef(ours.realism, realism)[0, 1] > 0.99 and np.abs(ours.spread - spread).max() < 0.05 * spread.mean()
    assert np.abs(ours.codes.mean(1)).max() < 1e-5 and np.abs(ours.codes.std(1) - 1).max() < 1e-3
    one_by_one = np.concatenate([learnt.model.encode(shapes[i : i + 1]) for i in range(20)])
    np.testing.assert_allclose(one_by_one, ours.codes[:20], atol=1e-5)


def test_an_encoder_that_eight_bits_would_spoil_stays_as_it_is(learnt: Learnt, tmp_path: Path) -> None:
    """Calibrated on grey pictures, no range fits; and where no picture is left to check with, nothing is risked."""
    export(learnt.state, small_pictures(1024), tmp_path / "exact", {"name": "exact"}, CPU, exact=True)
    encoder = tmp_path / "exact" / "encoder.onnx"
    before = encoder.read_bytes()
    shapes = draw_shapes(256, seed=3000)[0]
    assert quantize(encoder, np.concatenate([np.full_like(shapes[:128], 127), shapes])) is None
    assert quantize(encoder, shapes[:128]) is None
    assert encoder.read_bytes() == before
    assert (quantize(encoder, shapes) or 0) >= 0.995
    assert encoder.stat().st_size < len(before)


def test_the_bundle_paints_what_torch_paints(learnt: Learnt) -> None:
    z = np.random.default_rng(4).standard_normal((70, 32), dtype=np.float32)
    painted = learnt.model.paint(z)
    with torch.no_grad():
        expected = to_pixels(learnt.state.average.generator(torch.from_numpy(z)))
    assert painted.shape == (70, 32, 32, 3) and painted.dtype == np.uint8
    assert np.abs(painted.astype(int) - expected.astype(int)).max() <= 1  # rounding at .5
    assert painted.std() > 10


def test_the_description_is_complete_and_the_files_are_sealed(learnt: Learnt) -> None:
    facts = json.loads((learnt.run / "bundle" / "model.json").read_text())
    assert facts["recipe"] == json.loads((learnt.run / "recipe.json").read_text())
    assert read_recipe(facts["recipe"]) == TINY
    expected = {
        "schema": 1,
        "name": "shapes",
        "method": "ogan",
        "image_size": 32,
        "latent_dim": 32,
        "normalisation": "standardized",
        "channels": 3,
        "training_pictures": 1024,
        "training_data": {"name": "drawn shapes", "licence": "MIT"},
        "steps": 300,
        "seed": 0,
    }
    assert {key: facts[key] for key in expected} == expected
    assert set(facts["files"]) == {"encoder.onnx", "generator.onnx"}
    assert {path.name for path in (learnt.run / "bundle").iterdir()} == {*facts["files"], "model.json"}
    load_model(learnt.run / "bundle", "cpu").check()
    for name in facts["files"]:  # nobody's folders are passed on
        assert b"export.py" not in (learnt.run / "bundle" / name).read_bytes()


def test_a_run_leaves_stats_grids_and_progress(learnt: Learnt) -> None:
    assert [line["step"] for line in stats_of(learnt.run)] == [100, 200, 300]
    assert [progress.step for progress in learnt.progress] == list(range(20, 301, 20))
    assert learnt.progress[-1].share_done == 1 and learnt.progress[-1].seconds_left == 0
    for name in ("samples", "pairs"):  # 8 x 8 samples; 32 pairs of picture and reconstruction
        with Image.open(learnt.run / "grids" / f"{name}-00000300.png") as grid:
            assert (grid.format, grid.mode, grid.size) == ("PNG", "RGB", (256, 256))
    with Image.open(learnt.run / "grids" / "pairs-00000300.png") as grid:
        chosen = np.random.default_rng(0).permutation(1024)[:2]
        for column, picture in zip((0, 2), chosen, strict=True):
            tile = np.asarray(grid)[:32, 32 * column : 32 * (column + 1)]
            assert np.array_equal(tile, small_pictures(1024).pixels[picture])


def test_a_small_set_has_a_small_grid_of_pairs(tmp_path: Path) -> None:
    state = new_state(SMALL, CPU, "float32")
    train.loop.train(state, small_pictures(10), Budget(steps=1), tmp_path, CPU)
    with Image.open(tmp_path / "grids" / "pairs-00000001.png") as grid:
        assert grid.size == (8 * 32, 3 * 32)  # 20 tiles in rows of 8


def test_batchnorm_is_re_estimated_on_real_pictures_alone() -> None:
    """Each picture counts the same, where their number is no multiple of the batch: 300 are more than one batch."""
    model, pictures = new_state(SMALL, CPU, "float32").model, small_pictures(300)
    re_estimate(model, pictures, CPU)
    with torch.no_grad():
        before_norm = model.encoder.features[:3](to_signed(pictures.pixels, CPU))
    norm = model.encoder.features[3]
    assert isinstance(norm, torch.nn.BatchNorm2d) and norm.momentum == 0.01 and model.training
    torch.testing.assert_close(norm.running_mean, before_norm.mean((0, 2, 3)), rtol=1e-4, atol=1e-7)
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_var, before_norm.var((0, 2, 3)), rtol=0.02, atol=0)


def test_a_batch_of_one_can_be_exported(tmp_path: Path) -> None:
    recipe = dataclasses.replace(SMALL, batch_size=1)
    model = export(new_state(recipe, CPU, "float32"), small_pictures(2), tmp_path, {"name": "one"}, CPU)
    assert model.decode(model.encode(small_pictures(3).pixels)).shape == (3, 32, 32, 3)


# ---------------------------------------------------------------- sessions and the command line


def spoken(*words: object) -> Result:
    """The command in this process: quicker than a program of its own, through the same door."""
    return CliRunner().invoke(program, ["train", *map(str, words)], prog_name="latent")


def saved_run(run: Path) -> Path:
    run.mkdir(parents=True)
    checkpoint.save(new_state(SMALL, CPU, "float32"), run)
    return run


def test_dry_run_prints_the_plan_and_leaves_nothing(shape_folder: Path, tmp_path: Path) -> None:
    result = spoken(shape_folder, "-o", tmp_path / "run", "--dry-run", "--steps", 300, *SMALL_WORDS)
    assert result.exit_code == 0, result.output
    plan = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert list(plan) == ["files", "cache", "encoder", "generator", "memory", "device", "rate", "steps", "time"]
    assert plan["files"] == "24" and plan["device"].startswith("cpu")
    assert plan["cache"] == "73.7 kB on disk at 32 px"  # 24 x 32 x 32 x 3 bytes
    assert plan["steps"] == "300 of 8 pictures: each is seen 100.0 times"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--resume"], 1, "nothing to resume"),
        (["--preset", "huge-64"], 1, "no preset 'huge-64'"),
        (["--kernel", "3"], 1, "kernel 3"),
        (["--steps", "5", "--minutes", "1"], 2, "--steps and --minutes exclude each other"),
        (["--deterministic"], 2, "--deterministic needs --steps"),
        (["--size", "48"], 2, "--size"),
        (["--steps", "0"], 2, "--steps"),
    ],
)
def test_what_cannot_be_is_said_clearly(
    shape_folder: Path, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    result = spoken(shape_folder, "-o", tmp_path / "run", *words)
    assert result.exit_code == code, result.output
    assert "Error: " in result.stderr and message in result.stderr and not result.stdout
    assert not (tmp_path / "run").exists()


def test_pictures_that_are_not_there_are_named(latent: Run, tmp_path: Path) -> None:
    done = latent("train", "nowhere", "-o", "run", "--steps", 5, *SMALL_WORDS, code=1)
    assert done.stderr.strip() == "Error: nowhere: no such folder or .tar archive"
    assert not done.stdout and not (tmp_path / "run").exists()


def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(shape_folder: Path, tmp_path: Path) -> None:
    run = saved_run(tmp_path / "run")
    before = (run / CHECKPOINT).read_bytes()
    over = spoken(shape_folder, "-o", run, "--steps", 5, *SMALL_WORDS)
    assert over.exit_code == 1 and "holds a training already" in over.stderr and "--resume" in over.stderr
    other = spoken(shape_folder, "-o", run, "--steps", 5, "--resume", "--size", 32, "--dim", 16)
    assert other.exit_code == 1 and "was begun with latent_dim 8, not 16" in other.stderr
    for words, message in (
        (["--preset", "slim-64"], "was begun with image_size 32, not 64"),
        (["--preset", "paper-32"], "was begun with width 4, not 64"),
        (["--preset", "huge"], "no preset 'huge'"),
        (["--precision", "bfloat16"], "was begun in float32"),
    ):
        other = spoken(shape_folder, "-o", run, "--steps", 5, "--resume", *words)
        assert other.exit_code == 1 and message in other.stderr, other.stderr
    assert (run / CHECKPOINT).read_bytes() == before


def test_a_resumed_run_keeps_its_budget(shape_folder: Path, tmp_path: Path) -> None:
    state, run = new_state(SMALL, CPU, "float32"), tmp_path / "run"
    assert not train_small(state, run, 30, hooks=Hooks(should_stop=lambda: state.step >= 10))
    plan = spoken(shape_folder, "-o", run, "--resume", "--dry-run")
    assert "30 of 8 pictures" in plan.stdout, plan.output
    done = spoken(shape_folder, "-o", run, "--resume")
    assert done.exit_code == 0 and "Done after 30 steps" in done.stderr and "in place of" not in done.stderr, (
        done.output
    )
    more = spoken(shape_folder, "-o", run, "--resume", "--steps", 40)
    assert "Done after 40 steps" in more.stderr and "to end after 40 steps, in place of 30 steps" in more.stderr


def test_the_learning_rate_alone_may_change(tmp_path: Path) -> None:
    run = saved_run(tmp_path / "run")
    setting = Setting(run, CPU, "float32", Processes(), tmp_path, GIGABYTE)
    state = resumed_run({"learning_rate": 1e-5, "latent_dim": 8, "kernel": None}, setting)
    assert state.recipe == dataclasses.replace(SMALL, learning_rate=1e-5)
    with pytest.raises(TrainingError, match="kernel"):
        resumed_run({"kernel": 5}, setting)


ALL_AT_ONCE = {  # what recipes held beside the common settings, whatever the method, until methods owned theirs
    "adversary": "qp",
    "head": "avg",
    "reconstruction": "rho",
    "correlation_weight": 0.5,
    "views": "gentle",
    "view_weight": 0.5,
    "distance": "l1",
    "clusters": 0,
}


def in_the_old_form(recipe: Recipe) -> dict[str, object]:
    said = dataclasses.asdict(recipe)
    return {**ALL_AT_ONCE, **said.pop("settings"), **said}


OLD = {
    "ogan": changed(SMALL, adversary="hinge", correlation_weight=0.25),
    "ogan-views": changed(SMALL, method="ogan-views", views="strong", view_weight=0.1),
    "gan-qp": changed(SMALL, method="gan-qp", distance="l2"),
    "aae": changed(SMALL, method="aae", clusters=3),
    "cvae-gan": changed(SMALL, method="cvae-gan", classes=("a", "b")),
    "vae": changed(SMALL, method="vae"),
}


@pytest.mark.parametrize("method", OLD)
def test_recipes_of_the_old_form_are_read(method: str) -> None:
    old = in_the_old_form(OLD[method])
    assert "settings" not in old and set(ALL_AT_ONCE) <= set(old)
    assert read_recipe(old) == OLD[method] == read_recipe(json.loads(json.dumps(old)))
    assert read_recipe(json.loads(json.dumps(dataclasses.asdict(OLD[method])))) == OLD[method]
    with pytest.raises(TrainingError, match="no setting 'speed'"):
        read_recipe({**old, "speed": 3})


def test_what_numpy_counted_and_named_makes_a_checkpoint_that_is_read(tmp_path: Path) -> None:
    """Classes come from columns of labels, and a seed from a generator of seeds: none is Python's own."""
    names, seed = np.unique(np.array(["cat", "dog", "cat"])), np.random.default_rng().integers(1000)
    counted = {"seed": seed, "learning_rate": np.float64(1e-3), "mirror": np.bool_(False)}
    for own in (
        {"method": "cvae-gan", "classes": names},
        {"method": "infogan", "categories": np.int64(3), "information_weight": np.float64(0.5)},
    ):
        recipe = changed(SMALL, **counted, **own)
        checkpoint.save(new_state(recipe, CPU, "float32"), tmp_path)
        read = checkpoint.load(tmp_path, CPU).recipe
        assert read == recipe and (read.seed, read.mirror) == (int(seed), False)


@pytest.mark.parametrize(
    "odd",
    [{"width": "wide"}, {"settings": 3}, {"kernel": None}, {"method": ["ogan"]}, {"seed": True}, {"classes": [1, 2]}],
)
def test_what_is_no_recipe_is_said_to_be_none(odd: dict[str, object]) -> None:
    with pytest.raises(TrainingError):
        read_recipe({**dataclasses.asdict(SMALL), **odd})


def test_the_models_that_ship_hold_readable_recipes() -> None:
    for name, own in {
        "faces-64": {"correlation_weight": 0.5, "adversary": "qp"},
        "faces-128": {"views": "gentle"},
        "photos-64": {"views": "strong", "view_weight": 0.5},
    }.items():
        model = load_model(name, "cpu")
        recipe = read_recipe(model.facts["recipe"])
        assert (recipe.method, recipe.image_size) == (model.facts["method"], model.image_size)
        assert own.items() <= vars(recipe.settings).items()


@pytest.mark.usefixtures("deterministic")
def test_a_checkpoint_of_the_old_form_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    recipe, straight, broken = OLD["ogan-views"], tmp_path / "straight", tmp_path / "broken"
    assert train_small(new_state(recipe, CPU, "float32"), straight, 30)
    first = new_state(recipe, CPU, "float32")
    assert not train_small(first, broken, 30, hooks=Hooks(should_stop=lambda: first.step >= 10))
    torch.save({**checkpoint_of(broken), "recipe": in_the_old_form(recipe)}, broken / CHECKPOINT)
    setting = Setting(broken, CPU, "float32", Processes(), tmp_path, GIGABYTE)
    state = resumed_run({"method": "ogan-views", "views": "strong", "kernel": None}, setting)
    assert state.recipe == recipe and state.step == 10
    for changes, complaint in (
        ({"views": "gentle"}, "was begun with views strong, not gentle"),
        ({"clusters": 3}, "clusters say nothing to method ogan-views, only to aae"),
        ({"speed": 3}, "no setting 'speed'"),
    ):
        with pytest.raises(TrainingError, match=complaint):
            resumed_run(changes, setting)
    assert train_small(state, broken, 30)
    assert_same_bits(checkpoint_of(straight), checkpoint_of(broken))


def test_a_preset_that_speaks_to_another_method_resumes_too(tmp_path: Path) -> None:
    """paper-256 names the weight of O-GAN's correlation; a VAE of that preset has none."""
    recipe = dataclasses.replace(preset("paper-256", method="vae"), width=4, max_width=8)
    checkpoint.save(new_state(recipe, CPU, "float32"), tmp_path)
    setting = Setting(tmp_path, CPU, "float32", Processes(), tmp_path, GIGABYTE)
    with pytest.raises(TrainingError, match=r"was begun with (width|max_width) "):
        resumed_run({}, setting, "paper-256")
    state = resumed_run({"width": 4, "max_width": 8, "learning_rate": 3e-5}, setting, "paper-256")
    assert state.recipe == dataclasses.replace(recipe, learning_rate=3e-5)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    run = saved_run(tmp_path / "run")
    (run / CHECKPOINT).write_bytes((run / CHECKPOINT).read_bytes()[:1000])
    with pytest.raises(TrainingError, match=rf"{CHECKPOINT} cannot be read"):
        checkpoint.load(run, CPU)


def interrupted(words: list[object], awaited: Path) -> tuple[int, str, str]:
    """Run the program, send it a Ctrl-C as soon as something is in the file ``awaited``."""
    command = [str(Path(sys.executable).with_name("latent")), *map(str, words)]
    deadline = time.monotonic() + 120
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not (awaited.exists() and awaited.stat().st_size) and process.poll() is None:
                assert time.monotonic() < deadline, "the program does not come to it"
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=120)
        finally:
            process.kill()
    return process.returncode, stdout, stderr


def test_an_interrupted_program_resumes_to_the_same_bytes(latent: Run, shape_folder: Path, tmp_path: Path) -> None:
    words = ["train", shape_folder, "--steps", 400, "--deterministic", *SMALL_WORDS]
    straight, broken = tmp_path / "straight" / "run", tmp_path / "broken" / "run"  # the name goes into model.json
    done = latent(*words, "-o", straight)
    assert load_model(done.stdout.strip() and straight / "bundle", "cpu").facts["steps"] == 400

    code, stdout, stderr = interrupted([*words, "-o", broken], broken / "stats.jsonl")  # its first line: step 100
    assert code == 130, stderr
    assert not stdout and "Saved at step" in stderr and "--resume" in stderr
    step = checkpoint_of(broken)["step"]
    assert isinstance(step, int) and 100 <= step < 400
    assert not (broken / "bundle").exists()

    latent(*words, "-o", broken, "--resume")
    assert_same_bits(checkpoint_of(straight), checkpoint_of(broken))
    for name in ("model.json", "encoder.onnx", "generator.onnx"):
        assert (straight / "bundle" / name).read_bytes() == (broken / "bundle" / name).read_bytes(), name
    assert [line["step"] for line in stats_of(broken)] == [100, 200, 300, 400]


# ---------------------------------------------------------------- several processes


def torchrun(*words: object) -> str:
    launcher = Path(sys.executable).with_name("torchrun")
    command = [launcher, "--standalone", "--nproc-per-node", 2, *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_two_processes_train_one_model(tmp_path: Path) -> None:
    write_shapes(tmp_path / "photos", 24)
    run = tmp_path / "run"
    latent_program = Path(sys.executable).with_name("latent")
    words = ["train", tmp_path / "photos", "-o", run, "--steps", 20, *SMALL_WORDS]
    stdout = torchrun("--no-python", latent_program, *words)
    assert stdout.strip().endswith("bundle") and stdout.count("bundle") == 1  # the first alone speaks
    model = load_model(run / "bundle", "cpu")
    assert model.facts["steps"] == 20 and model.encode(small_pictures(3).pixels).shape == (3, 8)


def gradients_with_fixed_statistics(processes: Processes) -> dict[str, torch.Tensor]:
    """One step on this process' share of a batch, BatchNorm in eval mode: its batches would differ."""
    state = new_state(SMALL, CPU, "float32")
    state.model.eval()
    (examples,) = small_pictures().batches(islice(shuffled(64, SMALL, 0, processes.rank, processes.world), 1))
    Trainer(state, CPU, processes).step(examples, 1e-4)
    return {name: p.grad.clone() for name, p in state.model.named_parameters() if p.grad is not None}


def be_one_process(folder: Path) -> None:
    torch.set_num_threads(1)
    processes = join_processes("cpu")
    gradients = gradients_with_fixed_statistics(processes)
    state = new_state(SMALL, CPU, "float32")
    train.loop.train(state, small_pictures(), Budget(steps=30), folder / "run", CPU, processes)
    weights = {name: p.detach() for name, p in state.model.named_parameters()}
    torch.save({"gradients": gradients, "weights": weights}, folder / f"rank-{processes.rank}.pt")


def test_two_processes_agree_with_each_other_and_with_one(tmp_path: Path) -> None:
    torchrun(__file__, tmp_path)
    first, second = (torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in range(2))
    assert_same_bits(first, second)
    alone = gradients_with_fixed_statistics(Processes())
    assert alone.keys() == first["gradients"].keys() == first["weights"].keys()
    for name, gradient in alone.items():
        error = (first["gradients"][name] - gradient).abs().max()
        assert gradient.abs().max() > 0 and error <= 1e-4 * gradient.abs().max(), name


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="batch of 8 cannot be shared by 3"):
        train_small(new_state(SMALL, CPU, "float32"), tmp_path, 5, processes=Processes(world=3))


if __name__ == "__main__":
    be_one_process(Path(sys.argv[1]))


def test_a_run_inside_its_photos_is_not_learnt_from(tmp_path: Path) -> None:
    write_shapes(tmp_path / "photos", 4)
    write_shapes(tmp_path / "photos" / "run" / "grids", 3)
    found = find_sources([tmp_path / "photos"], left_out=tmp_path / "photos" / "run")
    assert len(found) == 4
