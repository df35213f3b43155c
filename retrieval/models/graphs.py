"""Graphs of encoders from elsewhere: read with all their weights, and wrapped to take and give what a bundle's do.

Only this module knows the package onnx.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval.errors import MissingExtra, ModelError, pip_line
from retrieval.models.bundle import GRAPH_BYTES
from retrieval.models.description import Layout
from retrieval.models.preparation import AS_FLOAT, Array, Entrance, Recipe, pool_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import ModelProto, NodeProto, ValueInfoProto

PREFIX = "adopted/"  # of all names of the graph, so that none is ours
OLDEST_OPSET, AXES_ARE_INPUT = 9, 18
DTYPES = {1: "float32", 2: "uint8", 10: "float16"}  # of ONNX's types


def _onnx() -> Any:
    try:
        import onnx
        import onnx.compose
        import onnx.external_data_helper
    except ImportError as error:
        raise MissingExtra(f"an encoder is adopted with the package onnx: {pip_line('encoders')}") from error
    return onnx


def read_graph(path: Path) -> ModelProto:
    """The graph in an ONNX file, with its weights in it.

    Raises:
        MissingExtra: the package onnx is not installed.
        ModelError: it cannot be read, is too large or too old, or wants files from elsewhere.
    """
    onnx = _onnx()
    if path.is_file() and path.stat().st_size > GRAPH_BYTES:
        raise ModelError(f"{path} has more than 2 GB, as no ONNX graph of a bundle may; take a smaller or float16 one")
    try:
        model: ModelProto = onnx.load(str(path), load_external_data=False)
        if not model.graph.node:
            raise ValueError("it holds no graph")
        _load_weights(model, path)
    except ModelError:
        raise
    except Exception as error:  # protobuf has its own
        text = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise ModelError(f"{path} cannot be read as an ONNX file: {text}") from error
    versions = {one.version for one in model.opset_import if one.domain in ("", "ai.onnx")}
    if versions and max(versions) < OLDEST_OPSET:
        raise ModelError(f"{path} has opset {max(versions)}, and {OLDEST_OPSET} at least is needed; export it again")
    return model


def _load_weights(model: ModelProto, path: Path) -> None:
    """Weights that lie in files of their own, beside the graph and nowhere else."""
    onnx = _onnx()
    outside = [one for one in _tensors(model) if onnx.external_data_helper.uses_external_data(one)]
    named = {entry.value for one in outside for entry in one.external_data if entry.key == "location"}
    total = model.ByteSize()
    for location in sorted(named):
        file = path.parent / location
        if Path(location).name != location or not file.is_file() or file.is_symlink():
            raise ModelError(f"{path} wants weights from {location!r}, which is no file beside it", code="outside_data")
        total += file.stat().st_size
    if total > GRAPH_BYTES:
        raise ModelError(f"{path} has more than 2 GB with its weights, as no bundle may; take a smaller or float16 one")
    if outside:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))


def _tensors(model: ModelProto) -> Iterator[Any]:
    """All constants, those inside nodes too."""
    yield from model.graph.initializer
    for node in model.graph.node:
        yield from (one.t for one in node.attribute if one.HasField("t"))
        yield from (tensor for one in node.attribute for tensor in one.tensors)


def entrance_of(model: ModelProto, recipe: Recipe) -> Entrance:
    """The one input of a graph, as it says itself, or as the recipe says.

    Raises:
        ModelError: it takes no pictures, or does not say which.
    """
    given = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in given]
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs) or "none"
        raise ModelError(f"an encoder takes one input, pictures, and this graph takes {names}; export that part alone")
    (one,) = inputs
    kind, shape = one.type.tensor_type.elem_type, _shape(one)
    if kind not in DTYPES:
        raise ModelError(f"the input {one.name} is of a type that no pictures have (ONNX's type {kind})")
    if len(shape) != 4:
        raise ModelError(f"the input {one.name} has the shape {_told(shape)}, and pictures have four dimensions")
    layout = recipe.layout or _layout(one.name, shape)
    return Entrance(one.name, DTYPES[kind], layout, _size(one.name, shape, layout, recipe), shape[0])


def _shape(value: ValueInfoProto) -> list[int | None]:
    """The length of each dimension; None if it may be any."""
    dims = value.type.tensor_type.shape.dim
    return [one.dim_value if one.dim_value > 0 else None for one in dims]


def _told(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("?" if one is None else str(one) for one in shape) + ")"


def _layout(name: str, shape: list[int | None]) -> Layout:
    if shape[1] == 3 and shape[3] != 3:
        return "nchw"
    if shape[3] == 3 and shape[1] != 3:
        return "nhwc"
    raise ModelError(f"the input {name} {_told(shape)} does not tell where the colours are", code="no_layout")


def _size(name: str, shape: list[int | None], layout: Layout, recipe: Recipe) -> int:
    high, wide, colours = (shape[2], shape[3], shape[1]) if layout == "nchw" else (shape[1], shape[2], shape[3])
    if colours not in (3, None):
        raise ModelError(f"the input {name} {_told(shape)} takes {colours} channels, and pictures have 3")
    if high != wide and None not in (high, wide):
        raise ModelError(f"the input {name} {_told(shape)} takes no squares")
    fixed = high or wide
    if fixed is None and recipe.size is None:
        raise ModelError(f"the input {name} {_told(shape)} takes pictures of any size", code="no_size")
    if None not in (fixed, recipe.size) and fixed != recipe.size:
        raise ModelError(f"the input {name} takes pictures of {fixed} pixels, not of {recipe.size}")
    return fixed or recipe.size or 0


def wrap(model: ModelProto, entrance: Entrance, output: str, sample: Array, recipe: Recipe, dim: int) -> None:
    """Put a bundle's input before a graph, and its outputs after it, in place.

    ``output`` is the graph's own, ``sample`` what it gave for some pictures, ``dim`` the numbers in a code.
    """
    onnx = _onnx()
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=OLDEST_OPSET)
    model.CopyFrom(onnx.compose.add_prefix(model, PREFIX))
    graph = model.graph
    before, after = _Nodes(graph, opset, "before"), _Nodes(graph, opset, "after")
    _prepare(before, entrance, recipe)
    _conclude(after, PREFIX + output, sample, entrance, recipe, dim)
    weights = [one for one in graph.input if one.name != PREFIX + entrance.name]
    inner = list(graph.node)
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend([*before.made, *inner, *after.made])
    count, size, types, info = (
        entrance.batch or "n",
        entrance.size,
        onnx.TensorProto,
        onnx.helper.make_tensor_value_info,
    )
    graph.input.extend([info("images", types.UINT8, [count, size, size, 3]), *weights])
    graph.output.append(info("code", types.FLOAT, [count, dim]))
    graph.output.extend(info(name, types.FLOAT, [count]) for name in ("realism", "spread"))


class _Nodes:
    """Nodes that are made one after the other, each with one output."""

    def __init__(self, graph: Any, opset: int, where: str) -> None:
        self._graph, self._opset, self._where = graph, opset, where
        self._count = 0
        self.made: list[NodeProto] = []

    def add(self, operator: str, *inputs: str, into: str | None = None, **attributes: Any) -> str:
        name = into or self._new()
        self.made.append(_onnx().helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Any, dtype: str = "float32") -> str:
        name = self._new()
        self._graph.initializer.append(_onnx().numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def mean(self, value: str, axis: int, keepdims: int) -> str:
        if self._opset >= AXES_ARE_INPUT:
            return self.add("ReduceMean", value, self.constant([axis], "int64"), keepdims=keepdims)
        return self.add("ReduceMean", value, axes=[axis], keepdims=keepdims)

    def mean_square(self, value: str) -> str:
        return self.mean(self.add("Mul", value, value), 1, 1)

    def _new(self) -> str:
        self._count += 1
        return f"{self._where}/{self._count}"


def _prepare(nodes: _Nodes, entrance: Entrance, recipe: Recipe) -> None:
    """From ``images`` uint8 (n, s, s, 3) to the graph's own input, as ``preparation.prepared``."""
    types, value = _onnx().TensorProto, "images"
    if entrance.dtype != "uint8":
        factor, shift = AS_FLOAT[recipe.scale]
        std, mean = np.array(recipe.std), np.array(recipe.mean)
        value = nodes.add("Cast", value, to=types.FLOAT)
        value = nodes.add("Mul", value, nodes.constant(factor / std))
        value = nodes.add("Add", value, nodes.constant((shift - mean) / std))
    if entrance.dtype == "float16":
        value = nodes.add("Cast", value, to=types.FLOAT16)
    order = [0, 3, 1, 2] if entrance.is_nchw else [0, 1, 2, 3]
    nodes.add("Transpose", value, into=PREFIX + entrance.name, perm=order)


def _conclude(nodes: _Nodes, output: str, sample: Array, entrance: Entrance, recipe: Recipe, dim: int) -> None:
    """From the graph's own output to code, realism and spread, as ``preparation.raw_codes`` and ``normalised``."""
    value = _vectors(nodes, nodes.add("Cast", output, to=_onnx().TensorProto.FLOAT), sample, entrance, recipe)
    if recipe.projection is not None:
        value = nodes.add("Sub", value, nodes.constant(recipe.projection.mean))
        value = nodes.add("MatMul", value, nodes.constant(recipe.projection.axes))
    elif recipe.dim is not None:
        value = nodes.add("Gather", value, nodes.constant(range(dim), "int64"), axis=1)
    mean = nodes.mean(value, 1, 1)
    centred = nodes.add("Sub", value, mean)
    spread = nodes.add("Sqrt", nodes.mean_square(centred))
    row = nodes.constant([-1], "int64")
    nodes.add("Reshape", nodes.add("Neg", mean), row, into="realism")
    nodes.add("Reshape", spread, row, into="spread")
    if recipe.normalise == "standardize":
        nodes.add("Div", centred, nodes.add("Max", spread, nodes.constant(1e-8)), into="code")
    elif recipe.normalise == "unit":
        norm = nodes.add("Mul", nodes.add("Sqrt", nodes.mean_square(value)), nodes.constant(dim**0.5))
        nodes.add("Div", value, nodes.add("Max", norm, nodes.constant(1e-12)), into="code")
    else:
        nodes.add("Identity", value, into="code")


def _vectors(nodes: _Nodes, value: str, sample: Array, entrance: Entrance, recipe: Recipe) -> str:
    """One vector for each picture, (n, d)."""
    if sample.ndim == 4:
        if entrance.is_nchw:
            value = nodes.add("Transpose", value, perm=[0, 2, 3, 1])
        high, wide, width = (*sample.shape[2:], sample.shape[1]) if entrance.is_nchw else sample.shape[1:]
        value = nodes.add("Reshape", value, nodes.constant([-1, high * wide, width], "int64"))
    if sample.ndim > 2 and pool_of(sample, recipe) == "mean":
        return nodes.mean(value, 1, 0)
    return nodes.add("Gather", value, nodes.constant(0, "int64"), axis=1) if sample.ndim > 2 else value
