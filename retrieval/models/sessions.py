"""ONNX Runtime, and sessions for the graphs of a bundle.

A bundle may come from anyone, and a graph is a program. It gets bounded memory, reads no files, ends when the user says
so, and can return nothing but arrays of the expected shapes and types.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from index.forks import held
from retrieval.defaults import Device
from retrieval.errors import LatentError, ModelError
from retrieval.models.interruptible import interruptible

MEMORY_BYTES = 4 << 30  # of all sessions together; 64 pictures of 256 px in the widest preset need 2 GB
NO_FOLDER = "/dev/null/none"  # there is nothing below it, and nothing can be made there
REASON_MOST = 300  # characters of ONNX Runtime's reasons, which quote the graph
TYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}

Shape = tuple[int, ...]
T = TypeVar("T")


@cache
def runtime() -> Any:
    """The module onnxruntime, which nothing else imports: without its telemetry, and with bounded memory.

    Since 1.29 ONNX Runtime asks a host for settings and keeps files below the home folder, unless this variable is set
    before it is imported.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # if somebody else imported it before
    kinds = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    memory = onnxruntime.OrtMemoryInfo("Cpu", kinds[0], 0, kinds[1])
    with contextlib.suppress(RuntimeError):  # somebody else has registered one for this process
        onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg({"max_mem": MEMORY_BYTES}))
    return onnxruntime


class Graph:
    """An opened graph with one input. Any number of threads may run it."""

    def __init__(self, path: Path, graph: bytes, device: Device, threads: int | None = None) -> None:
        """Open ``graph``, the bytes of the file at ``path``, to be run by so many ``threads``, by default one per core.

        Raises:
            ModelError: the graph does not run here, or the device is not available.
        """
        self.path = path
        self._session = _opened(path, graph, device, threads)
        self._types = {one.name: one.type for one in self._session.get_outputs()}

    def run(self, name: str, batch: npt.NDArray[Any], outputs: Mapping[str, tuple[Shape, str]]) -> list[Any]:
        """Feed ``batch`` to the input ``name``. Returns an array for each of ``outputs``, which name shape and dtype.

        Raises:
            ModelError: the graph fails, has other inputs or outputs, or returns numbers that are not finite.
        """
        arrays = {one: np.empty(shape, dtype) for one, (shape, dtype) in outputs.items()}
        self._run(lambda options: self._fill(arrays, name, np.ascontiguousarray(batch), options))
        for one, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ModelError(f"{self.path} cannot be used: its {one} holds numbers that are not finite")
        return list(arrays.values())

    def try_out(self, name: str, batch: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """All outputs that are floats, by name, of a graph of which only its input is known.

        Raises:
            ModelError: the graph fails.
        """
        names = [one for one, kind in self._types.items() if "float" in kind]
        ask = held()(self._session.run)
        values = self._run(lambda options: ask(names, {name: batch}, options)) if names else []
        return dict(zip(names, values, strict=True))

    def _run(self, act: Callable[[Any], T]) -> T:
        """What ``act`` returns, given options by which the user can end it."""
        options = runtime().RunOptions()
        try:
            return interruptible(lambda: act(options), lambda: setattr(options, "terminate", True))
        except LatentError:
            raise
        except Exception as error:  # ONNX Runtime has a dozen exception types, none of them exported
            raise ModelError(f"{self.path} cannot be run: {_reason(error)}") from error

    @held()
    def _fill(self, arrays: Mapping[str, npt.NDArray[Any]], name: str, batch: npt.NDArray[Any], options: Any) -> None:
        """Run into ``arrays``. ONNX Runtime allocates no output then, and refuses to fill one of another shape."""
        if wrong := [one for one, array in arrays.items() if self._types.get(one) != TYPES[array.dtype.name]]:
            raise ValueError(f"it has no output {wrong[0]} of the expected type")
        binding = self._session.io_binding()
        binding.bind_cpu_input(name, batch)
        for one, array in arrays.items():
            binding.bind_output(one, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        self._session.run_with_iobinding(binding, options)


def _opened(path: Path, graph: bytes, device: Device, threads: int | None) -> Any:
    options, providers = _options(threads), _providers(device)
    opening = held()(runtime().InferenceSession)
    try:
        return interruptible(
            # its second try, which prints, is for GPUs only
            lambda: opening(graph, options, providers=providers, enable_fallback=int(len(providers) > 1)),
            lambda: None,
        )
    except LatentError:
        raise
    except Exception as error:
        raise ModelError(f"{path} cannot be loaded: {_reason(error)}") from error


def _options(threads: int | None = None) -> Any:
    options = runtime().SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads or _cores()
    entries = {
        "session.intra_op.allow_spinning": "0",  # worker processes need the cores
        "session.use_env_allocators": "1",  # the bounded one
        "session.load_model_format": "ONNX",
        "session.model_external_initializers_file_folder_path": NO_FOLDER,
    }
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    return options


def _cores() -> int:
    """The cores that this process may use. Left to itself, ONNX Runtime binds threads to any core of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= REASON_MOST else text[:REASON_MOST] + " ..."


def _providers(device: Device) -> list[str]:
    """ONNX Runtime's execution providers for a device, best first."""
    has_cuda = "CUDAExecutionProvider" in runtime().get_available_providers()
    if device == "cuda" and not has_cuda:
        raise ModelError(
            "device cuda: this ONNX Runtime has no CUDA provider; "
            "pip uninstall onnxruntime && pip install onnxruntime-gpu, or run the model on the CPU",
            code="no_cuda",
        )
    cuda = ["CUDAExecutionProvider"] if has_cuda and device != "cpu" else []
    return [*cuda, "CPUExecutionProvider"]
