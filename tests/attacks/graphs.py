"""Bundles as a stranger would make them: any graph, any model.json, with digests that fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from retrieval.models.bundle import seal

SIDE, DIM = 8, 16  # longer tensors than those that ONNX Runtime looks into when it rewrites a graph
FACTS: dict[str, Any] = {"name": "stranger", "image_size": SIDE, "latent_dim": DIM, "normalisation": "none"}


def value(name: str, kind: int, shape: Sequence[object] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name: str, values: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def external(name: str, location: str, length: int = 4 * DIM, offset: int = 0) -> onnx.TensorProto:
    """A float32 (DIM,) whose values are in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[DIM], data_location=TensorProto.EXTERNAL)
    for key, text in (("location", location), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, text
    return tensor


def encoder(
    nodes: Sequence[onnx.NodeProto] = (),
    tensors: Sequence[onnx.TensorProto] = (),
    sparse: Sequence[onnx.SparseTensorProto] = (),
    functions: Sequence[onnx.FunctionProto] = (),
    shape: Sequence[object] | None = ("n", DIM),
    kind: int = TensorProto.FLOAT,
) -> bytes:
    """An encoder: ``mean`` (n, DIM) is the mean grey of each picture, and ``nodes`` make ``code`` of it."""
    first = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "sides"], ["grey"], keepdims=0),
        helper.make_node("Unsqueeze", ["grey", "last"], ["column"]),
        helper.make_node("Concat", ["column"] * DIM, ["mean"], axis=1),
        helper.make_node("Identity", ["grey"], ["realism"]),
        helper.make_node("Identity", ["grey"], ["spread"]),
    ]
    nodes = [*first, *(nodes or [helper.make_node("Identity", ["mean"], ["code"])])]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [value("images", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [value("code", kind, shape), *(value(name, TensorProto.FLOAT, ["n"]) for name in ("realism", "spread"))],
        [constant("sides", [1, 2, 3]), constant("last", [1]), *tensors],
        sparse_initializer=list(sparse),
    )
    domains = {"": 18} | {one.domain: 1 for one in (*functions, *nodes) if one.domain}
    imports = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    model = helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=9)
    return bytes(model.SerializeToString())


def bundle(folder: Path, graph: bytes | None = None, **facts: Any) -> Path:
    """A bundle with ``graph`` as its encoder; ``facts`` are written into its model.json unchecked."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "encoder.onnx").write_bytes(encoder() if graph is None else graph)
    seal(folder, FACTS)
    describe(folder, **facts)
    return folder


def describe(folder: Path, **facts: Any) -> None:
    """Change fields of a bundle's model.json, whatever they hold."""
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def pictures(count: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
