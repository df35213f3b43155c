"""The encoder of a bundle as a torch network: its codes are told apart by gradients at its pictures, its weights stay.

ONNX becomes torch by the package onnx2fx. Its own operators for 8-bit numbers round without a gradient and know one
scale for all channels; here they are replaced.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.arrays import Floats, Pixels
from retrieval.errors import MissingExtra, TrainingError, pip_line
from retrieval.models.model import Model
from train.data import to_signed

MOST_DIFFERENCE = 0.1  # between two numbers of a code, of the codes' standard deviation; 8-bit graphs round otherwise
COMPARED = 16  # pictures
LEVELS = {torch.uint8: (0, 255), torch.int8: (-128, 127)}


class FrozenEncoder:
    """E of a bundle, in float32 on any device. No network: neither checkpoints nor optimizers see its weights.

    Copies share it.
    """

    def __init__(self, bundle: Model) -> None:
        """
        Raises:
            MissingExtra: the package onnx2fx is not installed.
            TrainingError: the graph has an operator that cannot be converted; the message names it.
        """
        self.bundle = bundle
        self._network, self._position = _converted(bundle)
        self._network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenEncoder:
        return self

    def __call__(self, x: Tensor) -> Tensor:
        """Pictures (n, 3, s, s) in [-1, 1] of any side -> codes (n, d), as the bundle gives them of such pictures."""
        side = self.bundle.image_size
        with torch.autocast(x.device.type, enabled=False):
            pixels = (resized(x.float(), side) + 1) * 127.5
            network = self._network.to(x.device)
            codes: Tensor = _outputs(network(pixels.permute(0, 2, 3, 1)))[self._position]
            return codes

    def difference(self, pictures: Pixels) -> float:
        """The largest difference to the codes that ONNX Runtime gives, of their standard deviation.

        ``pictures``, uint8 (n, s, s, 3), have the encoder's own side.

        Raises:
            TrainingError: it is more than ``MOST_DIFFERENCE``, or the graph does not run in torch.
        """
        some = pictures[:COMPARED]
        theirs = self.bundle.encode_squares(some).codes
        try:
            with torch.no_grad():
                ours: Floats = self(to_signed(some, torch.device("cpu"))).numpy()
        except Exception as error:  # of a graph from anywhere, anything
            reason = " ".join(str(error).split())[:200]
            text = f"the encoder of {self.bundle.name} was converted to torch, but does not run there: {reason}"
            raise TrainingError(text, "encoder_not_convertible") from error
        most = (
            float(np.abs(ours - theirs).max() / max(float(theirs.std()), 1e-12)) if ours.shape == theirs.shape else 9e9
        )
        if not most <= MOST_DIFFERENCE:
            raise TrainingError(
                f"converted to torch, the encoder of {self.bundle.name} gives other codes than ONNX Runtime: they "
                f"differ by {most:.2g} of their standard deviation, {MOST_DIFFERENCE} at most is allowed",
                "encoder_not_convertible",
            )
        return most


def resized(x: Tensor, side: int) -> Tensor:
    """Pictures (n, 3, s, s) in [-1, 1] scaled as files are (``retrieval.pictures.decode``), with a gradient."""
    if x.shape[-1] == side:
        return x
    return F.interpolate(x, (side, side), mode="bicubic", antialias=True).clamp(-1, 1)


def _converted(bundle: Model) -> tuple[nn.Module, int]:
    """The network of an encoder, and the position of its codes among its outputs."""
    try:
        import onnx
        import onnx2fx
    except ImportError as error:
        raise MissingExtra(
            f"an encoder becomes a torch network with the package onnx2fx: {pip_line('train')}"
        ) from error
    _know_eight_bits()
    graph = onnx.load_from_string(bundle.encoder_graph())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network: nn.Module = onnx2fx.convert(graph)
    except onnx2fx.UnsupportedOpError as error:
        text = f"the encoder of {bundle.name} cannot be converted to torch: it has the operator {error.op_type}"
        raise TrainingError(text, "encoder_not_convertible", operator=error.op_type) from error
    except Exception as error:  # of a graph from anywhere, anything
        reason = " ".join(str(error).split())[:200]
        text = f"the encoder of {bundle.name} cannot be converted to torch: {reason}"
        raise TrainingError(text, "encoder_not_convertible") from error
    return network, [one.name for one in graph.graph.output].index("code")


def _outputs(given: Any) -> tuple[Tensor, ...]:
    return tuple(given) if isinstance(given, tuple | list) else (given,)


@cache
def _know_eight_bits() -> None:
    """Replace onnx2fx's QuantizeLinear and DequantizeLinear."""
    from onnx2fx import register_op

    def handler(act: Any) -> Any:
        def build(builder: Any, node: Any) -> Any:
            axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
            return builder.call_function(act, args=(*map(builder.get_value, node.input), axis))

        return build

    for since in (10, 13, 19, 21):
        register_op("QuantizeLinear", handler(quantized), since_version=since)
        register_op("DequantizeLinear", handler(dequantized), since_version=since)


def quantized(x: Tensor, scale: Tensor, zero: Tensor, axis: int) -> Tensor:
    """round(x / scale) + zero within the levels of ``zero``, as floats; in the gradient, rounding is left out.

    The straight-through estimator of Bengio et al. (arXiv 1308.3432).
    """
    exact = (x / _along(scale, x, axis) + _along(zero, x, axis)).clamp(*LEVELS[zero.dtype])
    return exact + (exact.round() - exact).detach()


def dequantized(q: Tensor, scale: Tensor, zero: Tensor, axis: int) -> Tensor:
    """(q - zero) scale."""
    return (q.float() - _along(zero, q, axis).float()) * _along(scale, q, axis)


def _along(v: Tensor, x: Tensor, axis: int) -> Tensor:
    """One number, or one for each place of ``axis``, to be combined with ``x``."""
    return v if v.numel() == 1 else v.reshape([-1 if one == axis % x.ndim else 1 for one in range(x.ndim)])
