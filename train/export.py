"""Export of a trained model to a bundle: re-estimate BatchNorm on real pictures, write ONNX, check and quantize it."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn

from retrieval.arrays import Pixels
from retrieval.atomic import replace_folder, replacing
from retrieval.errors import TrainingError
from retrieval.models.bundle import seal
from retrieval.models.description import ENCODER, GENERATOR
from retrieval.models.learnt import FIELD, Doubles, measured, points_of
from retrieval.models.model import Model, load_model
from train.checkpoint import State
from train.data import Pictures, latents, taken, to_signed
from train.method import Method
from train.quantize import CALIBRATION_PICTURES, CHECK_PICTURES, quantize

TOLERANCE = 1e-3  # largest |difference| between the codes of torch and of ONNX Runtime
RE_ESTIMATION_PICTURES = 50_000
LOOKED_AT = 4000  # pictures, for quantiles of how they look to the model
GREY, SHARP, BOTH = 0.1, 0.2, 0.05  # shares of these that are looked at so as well
BATCH = 256
OPSET = 18


class EncoderGraph(nn.Module):
    """What ``encoder.onnx`` computes: uint8 (n, s, s, 3) -> code, realism, spread."""

    def __init__(self, model: Method) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.model.encode(images.permute(0, 3, 1, 2).float() / 127.5 - 1)


class GeneratorGraph(nn.Module):
    """What ``generator.onnx`` computes: code (n, d), including its class part -> uint8 (n, s, s, 3)."""

    def __init__(self, model: Method) -> None:
        super().__init__()
        self.generator = model.generator

    def forward(self, code: Tensor) -> Tensor:
        pixels: Tensor = ((self.generator(code) + 1) * 127.5).round().clamp(0, 255)
        return pixels.permute(0, 2, 3, 1).to(torch.uint8)


def export(
    state: State, pictures: Pictures, folder: Path, facts: dict[str, Any], device: torch.device, exact: bool = False
) -> Model:
    """Write the averaged model as a bundle into ``folder`` and check it against torch.

    Args:
        facts: entries of ``model.json`` beyond the recipe, at least ``name``.
        exact: keep the encoder in float32 instead of quantizing it.

    Raises:
        TrainingError: on real pictures, the codes of torch and of the bundle differ by ``TOLERANCE`` or more.
    """
    model = state.average
    re_estimate(model, pictures, device)
    model.cpu().eval()
    if model.given is not None:
        return _beside(model.given, state, pictures, folder, facts)
    sample = taken(pictures, np.arange(min(32, len(pictures))))
    encoder, code = EncoderGraph(model), torch.zeros(4, model.code_dim)
    facts = {**facts, **_own_facts(state, len(pictures))}

    def fill(part: Path) -> None:
        if model.has_encoder:
            images = torch.from_numpy(sample[:4].copy())
            _write(encoder, images, part / ENCODER, "images", ["code", "realism", "spread"])
        _write(GeneratorGraph(model), code, part / GENERATOR, "code", ["images"])
        seal(part, facts)
        if model.has_encoder:
            difference = largest_difference(encoder, load_model(part, device="cpu"), sample)
            if not difference < TOLERANCE:
                raise TrainingError(f"the exported encoder's codes differ from torch's by {difference:.2g}")
            bits = {"encoder_bits": 32} if exact else in_eight_bits(part / ENCODER, pictures)
            seal(part, facts | bits)
            seal(part, facts | bits | what_was_learnt(load_model(part, device="cpu"), pictures))

    folder.parent.mkdir(parents=True, exist_ok=True)
    replace_folder(folder, fill)  # only a bundle of this run
    return load_model(folder, device="cpu")


def _beside(given: Model, state: State, pictures: Pictures, folder: Path, facts: dict[str, Any]) -> Model:
    """Write the encoder of ``given``, bit by bit, and the generator that was learnt for it."""
    model = state.average
    facts = {**facts, **_own_facts(state, len(pictures)), **state.model.further_facts(pictures)}

    def fill(part: Path) -> None:
        given.write_to(part, generator=False)
        _write(GeneratorGraph(model), torch.zeros(4, model.code_dim), part / GENERATOR, "code", ["images"])
        seal(part, facts)

    folder.parent.mkdir(parents=True, exist_ok=True)
    replace_folder(folder, fill)
    return load_model(folder, device="cpu")


def _own_facts(state: State, pictures: int) -> dict[str, Any]:
    recipe, model = state.recipe, state.average
    return {
        "method": recipe.method,
        "image_size": recipe.image_size,
        "latent_dim": model.code_dim,
        "normalisation": "standardized" if model.standardized else "none",
        "decode_scale": model.decode_scale,
        "classes": list(model.classes),
        "centres": model.centres(),
        "paints_slowly": model.paints_slowly,
        "channels": 3,
        "training_pictures": pictures,
        "steps": state.step,
        "seed": recipe.seed,
        "recipe": dataclasses.asdict(recipe),
        "versions": {"torch": torch.__version__, "opset": OPSET},
    }


def in_eight_bits(encoder: Path, pictures: Pictures) -> dict[str, Any]:
    """Quantize an ``encoder.onnx`` in place if that preserves its codes; return the entries for ``model.json``."""
    some = np.random.default_rng(0).permutation(len(pictures))[: CALIBRATION_PICTURES + CHECK_PICTURES]
    cosine = quantize(encoder, taken(pictures, some))
    return {"encoder_bits": 32} if cosine is None else {"encoder_bits": 8, "encoder_cosine": round(cosine, 4)}


def what_was_learnt(bundle: Model, pictures: Pictures) -> dict[str, Any]:
    """The entry for ``model.json`` against which other pictures are held; none if there are too few pictures."""
    some = np.random.default_rng(0).permutation(len(pictures))[:LOOKED_AT]
    batches = np.array_split(some, max(1, -(-len(some) // BATCH)))
    points = [_points_of(bundle, as_others_take_them(taken(pictures, batch))) for batch in batches]
    table = measured(np.concatenate(points), len(some))
    return {} if table is None else {FIELD: table}


def _points_of(bundle: Model, squares: Pixels) -> Doubles:
    seen = bundle.encode_squares(squares)
    return points_of(seen.realism, seen.spread, squares)


def as_others_take_them(squares: Pixels) -> Pixels:
    """Pictures uint8 (n, s, s, 3), and after them some of the same in grey, sharpened, and both: (m, s, s, 3).

    Photographs from elsewhere are often grey, or sharper, since they were scaled down from larger ones. Neither says
    that a model does not know what they show.
    """
    order = np.random.default_rng(0).permutation(len(squares))
    grey, sharp, both = (squares[order[: int(share * len(squares))]] for share in (GREY, SHARP, BOTH))
    altered = [*map(_grey, grey), *map(_sharpened, sharp), *(_sharpened(_grey(one)) for one in both)]
    return np.concatenate([squares, np.array(altered, np.uint8).reshape(-1, *squares.shape[1:])])


def _grey(square: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(square).convert("L").convert("RGB"))


def _sharpened(square: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(square).filter(ImageFilter.UnsharpMask(radius=1, percent=80, threshold=0)))


def largest_difference(encoder: EncoderGraph, bundle: Model, sample: Pixels) -> float:
    """max |code of torch - code of ONNX Runtime| / the codes' standard deviation, over uint8 (n, s, s, 3)."""
    with torch.no_grad():
        ours = encoder(torch.from_numpy(sample.copy()))[0].numpy()
    return float(np.abs(ours - bundle.encode_squares(sample).codes).max() / max(ours.std(), 1e-6))


def re_estimate(model: Method, pictures: Pictures, device: torch.device) -> None:
    """Re-estimate BatchNorm's statistics: those of E on real pictures only, those of G on the codes it will decode.

    In training, E sees real and generated pictures in turn; in use, only real ones.
    """
    model.to(device)
    if model.has_encoder and model.given is None:
        with estimating([child for child in model.children() if child is not model.generator]):
            for x in _real_batches(pictures, device):
                model.encode(x)
    with estimating([model.generator]) as norms:
        for code in _codes_to_paint(model, pictures, device) if norms else ():
            model.generator(code)


@contextmanager
def estimating(networks: Sequence[nn.Module]) -> Iterator[list[nn.BatchNorm2d]]:
    """Reset the BatchNorms of ``networks``; their statistics become the plain mean over the batches that follow."""
    norms = [m for network in networks for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        yield norms
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.eval()


def _codes_to_paint(model: Method, pictures: Pictures, device: torch.device) -> Iterator[Tensor]:
    if model.paints_prior:
        seeded = dataclasses.replace(model.recipe, batch_size=BATCH)
        for step in range(model.painted_once // BATCH):
            yield model.whole_code(latents(seeded, step, device))
    else:
        for x in islice(_real_batches(pictures, device), max(1, model.painted_once // BATCH)):
            yield model.encode(x)[0]


def _real_batches(pictures: Pictures, device: torch.device) -> Iterator[Tensor]:
    chosen = np.random.default_rng(0).permutation(len(pictures))[:RE_ESTIMATION_PICTURES]
    batches = np.array_split(chosen, -(-len(chosen) // BATCH))  # of nearly equal size, since each has the same weight
    for batch in pictures.batches(iter(batches)):
        yield to_signed(batch.pixels, device)


def _write(graph: nn.Module, example: Tensor, path: Path, input_name: str, output_names: list[str]) -> None:
    noisy = logging.getLogger("torch.onnx"), logging.getLogger("onnxscript")
    levels = [logger.level for logger in noisy]
    try:
        for logger in noisy:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph.eval(),
                (example,),
                dynamo=True,
                input_names=[input_name],
                output_names=output_names,
                dynamic_shapes=({0: torch.export.Dim("n", min=1, max=2**20)},),
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)
    assert program is not None
    with replacing(path) as part:
        program.save(str(part), external_data=False)
        strip_traces(part)


def strip_traces(path: Path) -> None:
    """Remove the exporter's notes on each node: lines of source code, and their paths on this machine."""
    import onnx

    model = onnx.load(path)
    for noted in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
    ):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    onnx.save(model, path)
