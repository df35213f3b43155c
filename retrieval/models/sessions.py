"""ONNX Runtime sessions for the graphs of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from index.forks import held
from retrieval.defaults import Device
from retrieval.errors import ModelError


@held()
def open_session(path: Path, graph: bytes, device: Device) -> Any:
    """Open a session for ``graph``, the bytes of the file at ``path``. Any number of threads may run it.

    Raises:
        ModelError: the graph does not run here, or the device is not available.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # worker processes need the cores
    try:
        return onnxruntime.InferenceSession(graph, options, providers=_providers(device))
    except ModelError:
        raise
    except Exception as error:  # ONNX Runtime has a dozen exception types, none of them exported
        raise ModelError(f"{path} cannot be loaded: {error}") from error


def _providers(device: Device) -> list[str]:
    """ONNX Runtime's execution providers for a device, best first."""
    import onnxruntime

    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise ModelError(
            "device cuda: this ONNX Runtime has no CUDA provider; "
            "pip uninstall onnxruntime && pip install onnxruntime-gpu, or run the model on the CPU",
            code="no_cuda",
        )
    cuda = ["CUDAExecutionProvider"] if has_cuda and device != "cpu" else []
    return [*cuda, "CPUExecutionProvider"]
