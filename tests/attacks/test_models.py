"""A bundle from a stranger: no field of its model.json, no file and no graph of it does more than encode pictures."""

from __future__ import annotations

import copy
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from retrieval import LatentError, ModelError, load_model
from retrieval.models.bundle import SHIPPED, shipped_models
from retrieval.models.description import FIELDS
from retrieval.models.sessions import MEMORY_BYTES, runtime
from retrieval.stored import parse_json
from tests.attacks.graphs import DIM, bundle, constant, describe, encoder, external, pictures, value
from tests.conftest import Run, write_shapes

SECRET = np.arange(1000, 1000 + DIM, dtype=np.float32)
ADD = helper.make_node("Add", ["mean", "w"], ["code"])
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, -(2**63), 10**400, 0.5, 1e308, -0.0, float("nan"), float("inf")),
    *("", "x", "../x", "\x1b[31m", "\u202e", "a\nb", "\ud800", "\0", "standardized", "x" * 5000, "__import__('os')"),
    *([], {}, [[]], [{}], [None], [1e400], [[float("nan")]], {"": None}, {"../../.bashrc": "0" * 64}, {"a": {"b": []}}),
]


def whole(graph: onnx.NodeProto, tensors: list[onnx.TensorProto] | None = None, **more: Any) -> bytes:
    return encoder([graph, ADD], tensors or [], **more)


# ---- model.json


def mutated(facts: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Some values of a model.json, or of what is inside it, replaced by odd ones; keys dropped and added."""
    changed = copy.deepcopy(facts)
    for _ in range(rng.integers(1, 4)):
        place: Any = changed
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = keys[rng.integers(len(keys))]
            inner = place[key]
            if isinstance(inner, dict | list) and inner and rng.random() < 0.5:
                place = inner
                continue
            if rng.random() < 0.15:
                del place[key]
            else:
                place[key] = copy.deepcopy(ODD[rng.integers(len(ODD))])
            break
    return changed


def used(folder: Path) -> None:
    """Everything that reads a field of a model's description."""
    model = load_model(folder)
    codes = model.encode(pictures())
    assert codes.shape == (3, model.latent_dim) and np.isfinite(codes).all()
    model.draw_codes(2)
    assert all(isinstance(name, str) for name in model.classes)
    assert isinstance(model.decode_scale, float) and isinstance(model.standardized, bool) and len(model.digest) == 64
    json.dumps(model.facts, allow_nan=False, ensure_ascii=False, indent=2).encode()


def test_a_mutated_description_opens_or_raises_our_error(tmp_path: Path) -> None:
    """800 of them: what is accepted can be used, written into an index, and shown."""
    folder, copied = bundle(tmp_path / "bundle"), tmp_path / "copy"
    facts = json.loads((folder / "model.json").read_text())
    rest = json.loads((SHIPPED / "photos-64" / "model.json").read_text())
    points = np.random.default_rng(0).normal(size=(200, 2))
    rest["learnt"] |= {"centre": points[0].tolist(), "inverse": np.cov(points.T).tolist()}  # for pictures of any size
    extended = {**rest, **facts, "classes": ["a", "b"], "centres": [], "paints_slowly": False, "channels": 3}
    rng, opened = np.random.default_rng(14), 0
    for _ in range(800):
        (folder / "model.json").write_text(json.dumps(mutated(extended, rng)))
        try:
            used(folder)
            copied.mkdir(exist_ok=True)
            load_model(folder).write_to(copied)
            assert sorted(one.name for one in copied.iterdir()) == ["encoder.onnx", "model.json"]
            load_model(copied)
            opened += 1
        except LatentError as error:
            assert str(error)
    assert 40 < opened < 700, opened


def test_damaged_bytes_of_a_description_raise_our_error(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "bundle")
    whole_file, rng = (folder / "model.json").read_bytes(), np.random.default_rng(7)
    for number in range(400):
        data = bytearray(whole_file)
        for place in rng.integers(0, len(data), rng.integers(1, 5)):
            data[place] = rng.integers(256)
        (folder / "model.json").write_bytes(data[: rng.integers(len(data))] if number % 4 == 0 else data)
        try:
            used(folder)
        except LatentError:
            continue


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        json.dumps({"name": [[[[[[[[[[[[[["deep"]]]]]]]]]]]]]]}),
        "1" * 100_000,
        '{"image_size": 1e999}',
        '{"name": "\\ud800"}',
        "NaN",
        "null",
        '"text"',
        "\ufeff{}",
        "",
    ],
)
def test_json_that_breaks_readers(tmp_path: Path, text: str) -> None:
    folder = bundle(tmp_path / "bundle")
    (folder / "model.json").write_text(text)
    with pytest.raises(ModelError, match=r"model\.json"):
        load_model(folder)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("image_size", ["64", 64.0, True, 0, -8, 7, 1025, 10**9, "64); import os; os.system('id')  #", None, [64]]),
        ("latent_dim", ["16", 16.0, False, 0, -1, 65537, 2**70, None]),
        ("normalisation", ["other", "", 1, None, ["standardized"], {}]),
        ("name", ["", 3, None, "a\nb", "\x1b[2J", "\u202egnp.exe", "\u2066x", "x" * 201, ["a"]]),
        ("files", [{}, [], "encoder.onnx", None, {"encoder.onnx": 1}, {"encoder.onnx": "A" * 64}]),
        ("channels", [1, 4, "3", 3.0, True]),
        ("classes", ["abc", [1], ["a", "a"], [f"class {n}" for n in range(DIM)], {"a": 1}, ["x" * 5000]]),
        ("centres", [[1], [[1, 2]], [["1"] * DIM], [[True] * DIM], "1234", [[1e300] * DIM]]),
        ("decode_scale", ["1", True, 1e7, None, [1]]),
        ("painted_size", ["64", 64.0, True, 0, 7, 1025, None]),
        ("encoder", ["x", {"name": 3}, None]),
        ("encoder_difference", ["x", True, None, 1e300]),
        (
            "prior",
            [
                "x",
                {},
                {"mean": [0] * DIM, "axes": [], "rest": 1},
                {"mean": [0] * DIM, "axes": [[0] * DIM], "rest": -1},
                {"mean": [0] * DIM, "axes": [[0] * (DIM + 1)], "rest": 1},
                {"mean": [0], "axes": [[0] * DIM], "rest": 1},
                {"mean": ["0"] * DIM, "axes": [[0] * DIM], "rest": 1},
            ],
        ),
        ("paints_slowly", [1, "no", None]),
        ("metrics", [[], {"a": "b"}, {"a": True}, {"a": None}]),
        ("steps", [-1, 1.5, "7", 2**63]),
        ("training_data", ["x", {"name": 3}, {"name": ["a"]}]),
        ("recipe", ["x", [], 3]),
        ("method", ["\x1b]0;x\x07", "", 3]),
        ("schema", [0, 2, "1", None, [1]]),
    ],
)
def test_every_field_has_a_type_and_a_range(tmp_path: Path, field: str, wrong: list[Any]) -> None:
    folder = bundle(tmp_path / "bundle")
    load_model(folder)
    for one in wrong:
        describe(folder, **{field: one})
        with pytest.raises(ModelError, match=r"model\.json"):
            load_model(folder)


def test_every_field_that_is_written_is_checked() -> None:
    for name in shipped_models():
        facts = json.loads((SHIPPED / name / "model.json").read_text())
        assert facts.keys() <= FIELDS.keys() | {"schema"}


# ---- the files of a bundle


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside", "model.json", "catalog.db", "", ".", "..", "a/b"])
def test_only_the_files_of_the_format_are_named(tmp_path: Path, name: str) -> None:
    """Hole 2: a key of ``files`` was a path that the copy of the model was written to."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    folder = bundle(tmp_path / "a" / "b" / "bundle")
    digest = json.loads((folder / "model.json").read_text())["files"]["encoder.onnx"]
    describe(folder, files={"encoder.onnx": digest, name: digest})
    with pytest.raises(ModelError, match="files"):
        load_model(folder)


def test_a_bundle_of_links_pipes_and_devices_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(encoder())
    for number, (name, plant) in enumerate(
        (name, plant)
        for name in ("encoder.onnx", "model.json")
        for plant in (
            lambda path: path.symlink_to(secret),
            lambda path: path.symlink_to("/dev/zero"),
            os.mkfifo,
            os.mkdir,
        )
    ):
        folder = bundle(tmp_path / f"bundle{number}")
        if name == "model.json":
            secret.write_bytes((folder / name).read_bytes())
        (folder / name).unlink()
        plant(folder / name)  # type: ignore[operator]
        with pytest.raises(ModelError):
            load_model(folder).encode(pictures())
        secret.write_bytes(encoder())


def test_a_description_of_any_size_is_not_read(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "bundle")
    with open(folder / "model.json", "r+b") as file:
        file.truncate(1 << 40)  # a hole: no byte of it is on disk
    began = time.monotonic()
    with pytest.raises(ModelError, match="bytes"):
        load_model(folder)
    assert time.monotonic() - began < 1


# ---- graphs that read files


def link(folder: Path) -> onnx.TensorProto:
    (folder / "link.bin").symlink_to(folder / "secret.bin")
    return external("w", "link.bin")


def in_constant(tensor: onnx.TensorProto) -> bytes:
    return whole(helper.make_node("Constant", [], ["w"], value=tensor))


def in_branch(tensor: onnx.TensorProto) -> bytes:
    tensor.name = "inner"
    branch = helper.make_graph(
        [helper.make_node("Identity", ["inner"], ["chosen"])], "b", [], [value("chosen", 1, [DIM])], [tensor]
    )
    return whole(
        helper.make_node("If", ["yes"], ["w"], then_branch=branch, else_branch=branch), [constant("yes", True)]
    )


def in_function(tensor: onnx.TensorProto) -> bytes:
    body = [helper.make_node("Constant", [], ["out"], value=tensor)]
    function = helper.make_function("own", "Leak", [], ["out"], body, [helper.make_opsetid("", 18)])
    return whole(helper.make_node("Leak", [], ["w"], domain="own"), functions=[function])


def in_sparse(tensor: onnx.TensorProto) -> bytes:
    tensor.name = "w"
    sparse = helper.make_sparse_tensor(tensor, constant("places", np.arange(DIM)), [DIM])
    return encoder([ADD], sparse=[sparse])


READERS: dict[str, Callable[[Path], bytes]] = {
    "beside": lambda folder: encoder([ADD], [external("w", "secret.bin")]),
    "below": lambda folder: encoder([ADD], [external("w", "inner/secret.bin")]),
    "above": lambda folder: encoder([ADD], [external("w", "../secret.bin")]),
    "absolute": lambda folder: encoder([ADD], [external("w", str(folder / "secret.bin"))]),
    "through a link": lambda folder: encoder([ADD], [link(folder)]),
    "out of the null device": lambda folder: encoder([ADD], [external("w", f"../../..{folder}/secret.bin")]),
    "in a constant": lambda folder: in_constant(external("w", "secret.bin")),
    "in a branch": lambda folder: in_branch(external("w", "secret.bin")),
    "in a function": lambda folder: in_function(external("w", "secret.bin")),
    "in a sparse tensor": lambda folder: in_sparse(external("w", "secret.bin")),
}
WORKED = {"beside", "below", "in a constant", "in a branch", "in a function"}


@pytest.mark.parametrize("place", READERS)
def test_a_graph_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Hole 12: external data beside or below the current folder was read, and came back in the codes."""
    (tmp_path / "inner").mkdir()
    for name in ("secret.bin", "inner/secret.bin"):
        SECRET.tofile(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    graph = READERS[place](tmp_path)
    if place in WORKED:  # the attack is real
        options = runtime().SessionOptions()
        options.graph_optimization_level = runtime().GraphOptimizationLevel.ORT_DISABLE_ALL
        session = runtime().InferenceSession(graph, options)
        seen = session.run(["code"], {"images": np.zeros((1, 8, 8, 3), np.uint8)})[0]
        assert np.array_equal(seen[0], SECRET)
    with pytest.raises(ModelError, match=r"encoder\.onnx cannot be loaded"):
        load_model(bundle(tmp_path / "bundle", graph)).encode(pictures())


@pytest.mark.parametrize("tag", ["*/_ORT_MEM_ADDR_/*", "*/_ORT_SOME_IN_MEMORY_TAG_/*"])
def test_a_graph_reads_no_memory(tmp_path: Path, tag: str) -> None:
    """ONNX Runtime notes addresses of its own tensors in the place of a file's name."""
    held = ctypes.create_string_buffer(SECRET.tobytes())
    graph = encoder([ADD], [external("w", tag, offset=ctypes.addressof(held))])
    with pytest.raises(ModelError, match=r"encoder\.onnx cannot be loaded"):
        load_model(bundle(tmp_path / "bundle", graph)).encode(pictures())


def test_a_graph_brings_no_operators_and_no_other_format(tmp_path: Path) -> None:
    """Operators of a library of its own would have to be registered by this program, which registers none."""
    custom = encoder([helper.make_node("Run", ["mean"], ["code"], domain="com.stranger")])
    other = b"\x1c\x00\x00\x00ORTM" + bytes(200)
    for graph in (custom, other, b"", b"\x08\x09", os.urandom(3000)):
        with pytest.raises(ModelError, match=r"encoder\.onnx cannot be loaded"):
            load_model(bundle(tmp_path / "bundle", graph)).encode(pictures())


# ---- graphs that do not end, or ask for too much


def endless() -> bytes:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["w0"], ["w1"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("w0", TensorProto.FLOAT, None)],
        [value("on", TensorProto.BOOL, []), value("w1", TensorProto.FLOAT, None)],
    )
    return encoder([helper.make_node("Loop", ["", "yes", "mean"], ["code"], body=body)], [constant("yes", True)])


@pytest.mark.parametrize("words", [["reconstruct"], ["index", "build"]])
def test_an_endless_graph_ends_with_ctrl_c(tmp_path: Path, words: list[str]) -> None:
    """Hole 17: ONNX Runtime returns to Python only when the graph has ended."""
    folder = bundle(tmp_path / "bundle", endless())
    write_shapes(tmp_path / "photos", 2)
    picture = str(next((tmp_path / "photos").iterdir()))
    rest = [picture, "-o", "out"] if words == ["reconstruct"] else ["photos", "--index", "i.latent"]
    command = [str(Path(sys.executable).with_name("latent")), *words, *rest, "--model", str(folder)]
    program = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(6)
    began = time.monotonic()
    program.send_signal(signal.SIGINT)
    try:
        said = program.communicate(timeout=20)[1]
    finally:
        program.kill()
    assert program.returncode == 130 and "Interrupted" in said and "Traceback" not in said, said
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("name", "graph"),
    [
        ("huge", encoder([helper.make_node("ConstantOfShape", ["s"], ["code"])], [constant("s", [10**9])], shape=None)),
        ("wrong rank", encoder([helper.make_node("Identity", ["grey"], ["code"])], shape=None)),
        ("too wide", encoder([helper.make_node("Concat", ["mean", "mean"], ["code"], axis=1)], shape=None)),
        ("too many rows", encoder([helper.make_node("Concat", ["mean", "mean"], ["code"], axis=0)], shape=None)),
        ("text", encoder([helper.make_node("Cast", ["mean"], ["code"], to=8)], kind=TensorProto.STRING)),
        ("double", encoder([helper.make_node("Cast", ["mean"], ["code"], to=11)], kind=TensorProto.DOUBLE)),
        ("a fixed code", encoder([helper.make_node("Identity", ["c"], ["code"])], [constant("c", SECRET)], shape=None)),
    ],
)
def test_outputs_of_other_shapes_and_types_are_refused(tmp_path: Path, name: str, graph: bytes) -> None:
    model = load_model(bundle(tmp_path / "bundle", graph))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=r"encoder\.onnx"):
        model.encode(pictures())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # kB: (1e9,) was not allocated


def test_outputs_are_written_where_they_are_expected(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Memory is reserved for them; a graph whose output is one of its own tensors leaves nothing of it as it was."""
    fixed = np.random.default_rng(1).random((3, DIM), np.float32)
    graphs = [
        encoder([helper.make_node("Identity", ["mean"], ["unused"])], [constant("code", fixed)]),
        encoder([helper.make_node("Identity", ["c"], ["code"])], [constant("c", fixed)]),
        encoder(
            [helper.make_node("Reshape", ["c", "s"], ["code"])], [constant("c", fixed), constant("s", fixed.shape)]
        ),
    ]
    for graph in graphs:
        model = load_model(bundle(tmp_path / "bundle", graph))
        for _ in range(3):
            assert np.array_equal(model.encode(pictures()), fixed)
        with pytest.raises(ModelError):
            model.encode(pictures(4))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["Log", "Reciprocal", "Sqrt"])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, name: str) -> None:
    nodes = [helper.make_node("Sub", ["mean", "mean"], ["zero"]), helper.make_node("Sub", ["zero", "one"], ["less"])]
    graph = encoder(
        [*nodes, helper.make_node(name, ["less"], ["code"])], [constant("one", np.float32(name != "Reciprocal"))]
    )
    with pytest.raises(ModelError, match="not finite"):
        load_model(bundle(tmp_path / "bundle", graph)).encode(pictures())


def test_a_graph_has_bounded_memory(tmp_path: Path) -> None:
    """Half as much again as the bound, within the graph: refused before it is allocated."""
    shape = constant("s", [MEMORY_BYTES * 3 // 8 // 1024, 1024])
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["room"]),
        helper.make_node("ReduceSum", ["room"], ["sum"], keepdims=0),
        helper.make_node("Add", ["mean", "sum"], ["code"]),
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=r"encoder\.onnx"):
        load_model(bundle(tmp_path / "bundle", encoder(nodes, [shape]))).encode(pictures())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_mutated_graphs_encode_or_raise_our_error(tmp_path: Path) -> None:
    """In a process of their own: a crash of ONNX Runtime would be one of this process."""
    graph, rng = bytearray(encoder([ADD], [constant("w", SECRET)])), np.random.default_rng(3)
    for number in range(150):
        data = bytearray(graph)
        for place in rng.integers(0, len(data), rng.integers(1, 3)):
            data[place] = rng.integers(256)
        bundle(tmp_path / f"{number:03d}", bytes(data))
    code = (
        "import sys\nfrom pathlib import Path\nfrom retrieval import LatentError, load_model\n"
        "from tests.attacks.graphs import pictures\nopened = 0\n"
        "for folder in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    try:\n        load_model(folder).encode(pictures())\n        opened += 1\n"
        "    except LatentError:\n        pass\n"
        "print(opened)\n"
    )
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and 0 < int(done.stdout) < 150, done.stderr


# ---- the machine around


def test_on_one_core_there_is_one_thread_and_nothing_is_said(tmp_path: Path, latent: Run) -> None:
    """Left to itself, ONNX Runtime binds threads to cores of the machine that may not be ours, and prints errors."""
    write_shapes(tmp_path / "photos", 3)
    picture, core = next((tmp_path / "photos").iterdir()), min(os.sched_getaffinity(0))
    mine: dict[str, Any] = {"preexec_fn": lambda: os.sched_setaffinity(0, {core})}
    said = latent("index", "build", "photos", **mine).stderr + latent("query", picture, **mine).stderr
    assert "onnxruntime" not in said.lower() and "error" not in said.lower(), said
    code = "import retrieval.models.sessions as s; print(s._options().intra_op_num_threads)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, **mine)
    assert done.stdout == "1\n"


def test_what_is_parsed_is_what_was_meant() -> None:
    """Readers of JSON that are strict must still read all that this program writes."""
    rng = np.random.default_rng(5)
    for _ in range(300):
        letters = "".join(map(chr, rng.integers(32, 0x2FFF, 8)))
        facts = {letters: [float(rng.normal()), int(rng.integers(2**62)), letters, None, True, {"a": [letters]}]}
        assert parse_json(json.dumps(facts, ensure_ascii=bool(rng.integers(2))).encode()) == facts
