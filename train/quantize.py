"""Encoders in 8 bits: about three times as fast on a CPU and a quarter of the size, with nearly the same codes."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.arrays import Floats, Pixels
from retrieval.atomic import write
from retrieval.models.sessions import runtime

LEAST_COSINE = 0.995
CALIBRATION_PICTURES, CHECK_PICTURES = 128, 256
BATCH = 64
PERCENTILE = 99.9995  # of an activation's values that are inside its range; chosen on training faces and photographs


def quantize(encoder: Path, pictures: Pixels) -> float | None:
    """Quantize ``encoder`` to 8 bits if that preserves its codes; return their mean cosine, or None if it does not.

    Every convolution except the first, which sees the colours directly, gets 7-bit weights, one scale per channel, and
    8-bit activations (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html). CPUs without VNNI
    add 8-bit products in 16 bits, which overflow; with 7-bit weights, all CPUs give the same codes.

    Args:
        encoder: an ``encoder.onnx`` in float32, replaced if mean cosine >= ``LEAST_COSINE``.
        pictures: uint8 (n, s, s, 3), similar to those it will encode; some calibrate it, the rest check it.
    """
    calibration, check = pictures[:CALIBRATION_PICTURES], pictures[CALIBRATION_PICTURES:][:CHECK_PICTURES]
    if not len(check):
        return None
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        folded, small = Path(scratch) / "folded.onnx", Path(scratch) / "small.onnx"
        if not _write_quantized(encoder, folded, small, calibration):
            return None
        cosine = _likeness(_codes(encoder, check), _codes(small, check))
        if not cosine >= LEAST_COSINE:
            return None
        write(encoder, small.read_bytes())
    return cosine


def _write_quantized(encoder: Path, folded: Path, small: Path, calibration: Pixels) -> bool:
    import onnx

    runtime()  # before anything else imports it
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quant_pre_process, quantize_static

    quant_pre_process(str(encoder), str(folded), skip_symbolic_shape=True)
    convolutions = [node.name for node in onnx.load(folded).graph.node if node.op_type == "Conv"]
    if len(convolutions) < 2:
        return False
    quantize_static(
        str(folded),
        str(small),
        _Reader(calibration),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=convolutions[:1],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={"CalibPercentile": PERCENTILE},
    )
    return True


class _Reader:
    """The source of batches for ONNX Runtime's calibration."""

    def __init__(self, pictures: Pixels) -> None:
        self._batches = iter([{"images": pictures[i : i + BATCH]} for i in range(0, len(pictures), BATCH)])

    def get_next(self) -> dict[str, Pixels] | None:
        return next(self._batches, None)

    def __iter__(self) -> Iterator[dict[str, Pixels]]:
        return self._batches


def _codes(encoder: Path, pictures: Pixels) -> Floats:
    ort = runtime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session: Any = ort.InferenceSession(str(encoder), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["code"], batch)[0] for batch in _Reader(pictures)])


def _likeness(exact: Floats, quantized: Floats) -> float:
    """Mean cosine of centred codes; without centring, the mean code may dominate the cosine."""
    centre = exact.mean(0)
    a, b = exact - centre, quantized - centre
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean((a * b).sum(1) / np.maximum(lengths, 1e-12)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantizer, which prints progress, logs advice, and triggers numpy warnings."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
