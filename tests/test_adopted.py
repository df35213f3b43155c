"""Encoders from elsewhere: graphs that the tests make, exported networks, and what no encoder is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run, write_shapes
from PIL import Image
from sklearn.decomposition import PCA

from retrieval import ModelError, Retriever, add_model, added_models, load_model, remove_model

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra encoders)")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from retrieval.models.model import standardize  # noqa: E402
from retrieval.pictures.decode import framed  # noqa: E402

SIZE, WIDTH, CELLS = 16, 12, 4  # of pictures, of codes, and of the places of a map in each direction
RANGES = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0), "0..255": (0.0, 255.0)}


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENT_DATA", str(tmp_path / "data"))


def weights(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, WIDTH)).astype(np.float32)


def write_encoder(
    path: Path,
    *,
    layout: str = "nchw",
    dtype: int = TensorProto.FLOAT,
    opset: int = 17,
    batch: int | str = "n",
    sides: tuple[Any, Any] = (SIZE, SIZE),
    form: str = "vector",
    more: bool = False,
    seed: int = 0,
) -> None:
    """An encoder that averages the cells of a picture, and multiplies their colours by ``weights``: (n, WIDTH), a map
    (n, WIDTH, 4, 4) in the input's layout, or (n, 16, WIDTH) for ``tokens``."""
    shape = [batch, 3, *sides] if layout == "nchw" else [batch, *sides, 3]
    step = SIZE // CELLS
    nodes = [helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT)]
    if layout == "nhwc":
        nodes.append(helper.make_node("Transpose", ["float"], ["first"], perm=[0, 3, 1, 2]))
    nodes += [
        helper.make_node(
            "AveragePool",
            ["first" if layout == "nhwc" else "float"],
            ["cells"],
            kernel_shape=[step] * 2,
            strides=[step] * 2,
        ),
        helper.make_node("Transpose", ["cells"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["last", "weights"], ["coded"]),
    ]
    size: list[Any] = [batch, WIDTH]
    if form == "vector":
        nodes += [
            helper.make_node("Reshape", ["coded", "flat"], ["places"]),
            helper.make_node("Gather", ["places", "fifth"], ["code"], axis=1),
        ]
    elif form == "tokens":
        nodes.append(helper.make_node("Reshape", ["coded", "flat"], ["code"]))
        size = [batch, CELLS**2, WIDTH]
    elif layout == "nchw":
        nodes.append(helper.make_node("Transpose", ["coded"], ["code"], perm=[0, 3, 1, 2]))
        size = [batch, WIDTH, CELLS, CELLS]
    else:
        nodes.append(helper.make_node("Identity", ["coded"], ["code"]))
        size = [batch, CELLS, CELLS, WIDTH]
    outputs = [helper.make_tensor_value_info("code", TensorProto.FLOAT, size)]
    if more:
        nodes.append(helper.make_node("Neg", ["code"], ["other"]))
        outputs.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, size))
    constants = {
        "weights": weights(seed),
        "flat": np.array([-1, CELLS**2, WIDTH], np.int64),
        "fifth": np.array(5, np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("pixels", dtype, shape)],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def expected(pixels: np.ndarray, form: str, pool: str | None, seed: int = 0) -> np.ndarray:
    """Codes (n, WIDTH) of prepared pictures (n, s, s, 3), in float64, before they are normalised."""
    n, step = len(pixels), SIZE // CELLS
    cells = pixels.reshape(n, CELLS, step, CELLS, step, 3).mean((2, 4)).reshape(n, CELLS**2, 3)
    places = cells @ weights(seed).astype(np.float64)
    if form == "vector":
        return places[:, 5]
    return places.mean(1) if (pool or ("first" if form == "tokens" else "mean")) == "mean" else places[:, 0]


@pytest.mark.parametrize("seed", range(40))
def test_an_adopted_encoder_gives_the_codes_of_its_graph(tmp_path: Path, seed: int) -> None:
    """Whatever its layout, type, batch, opset and output, and whatever preparation and normalisation it wants."""
    rng = np.random.default_rng(seed)

    def draw(*choices: Any) -> Any:
        return choices[rng.integers(len(choices))]

    layout, form, scale = draw("nchw", "nhwc"), draw("vector", "map", "tokens"), draw(*RANGES)
    dtype = draw(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8)
    pool, how = draw(None, "first", "mean"), draw("standardize", "unit", "none")
    dim, sides = draw(None, 7), draw((SIZE, SIZE), ("h", "w"))
    mean, std = tuple(rng.uniform(-0.5, 0.5, 3)), tuple(rng.uniform(0.2, 3, 3))
    fixed = draw("n", 1, 3)
    write_encoder(
        tmp_path / "net.onnx",
        layout=layout,
        dtype=dtype,
        opset=draw(11, 13, 17, 18, 21),
        batch=fixed,
        sides=sides,
        form=form,
    )
    size = {} if isinstance(sides[0], int) else {"size": SIZE}
    added = add_model(tmp_path / "net.onnx", scale=scale, mean=mean, std=std, pool=pool, normalise=how, dim=dim, **size)
    model = load_model("net")
    pictures = rng.integers(0, 256, (7, SIZE, SIZE, 3), np.uint8)
    low, high = RANGES[scale]
    prepared = pictures / 255 * (high - low) + low
    prepared = pictures.astype(np.float64) if dtype == TensorProto.UINT8 else (prepared - mean) / std
    raw = expected(prepared, form, pool)[:, :dim]
    length = np.linalg.norm(raw, axis=1, keepdims=True)
    wanted = {"standardize": standardize(raw), "unit": raw / length, "none": raw}[how]
    tolerance = 0.02 if dtype == TensorProto.FLOAT16 else 1e-3
    seen = model.encode_fully(pictures)
    np.testing.assert_allclose(seen.codes, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())
    np.testing.assert_allclose(seen.realism, -raw.mean(1), rtol=0.02, atol=0.02 * np.abs(raw).max())
    np.testing.assert_allclose(seen.spread, raw.std(1), rtol=0.02, atol=0.02 * np.abs(raw).max())
    assert added.difference < (0.05 if dtype == TensorProto.FLOAT16 else 1e-3) * max(1, np.abs(wanted).max())
    assert model.standardized is (how == "standardize") and model.latent_dim == (dim or WIDTH)


@pytest.mark.parametrize(("normalise", "seed"), [("standardize", 3), ("unit", 4), ("none", 5)])
def test_codes_are_shortened_by_principal_components(tmp_path: Path, latent: Run, normalise: str, seed: int) -> None:
    """The codes are scikit-learn's projection of those of the whole encoder, and what it keeps is counted."""
    rng, dim = np.random.default_rng(seed), int(np.random.default_rng(seed).integers(3, 9))
    write_encoder(tmp_path / "net.onnx", seed=seed)
    (tmp_path / "photos").mkdir()
    for number in range(90):
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(tmp_path / "photos" / f"{number:02}.png")
    (tmp_path / "photos" / "none.png").write_bytes(b"no picture")
    said = latent(
        "models", "add", "net.onnx", "--dim", dim, "--pca", "photos", "--name", "short", "--normalise", normalise
    ).stderr
    paths = [*sorted(str(path) for path in (tmp_path / "photos").iterdir() if path.name != "none.png")]
    whole = add_model(tmp_path / "net.onnx", "whole", normalise="none").model.encode(paths)
    short = load_model("short").encode(paths)
    learnt = [row for row in np.random.default_rng(0).permutation(91) if row < 90]  # as drawn; none.png is the last
    assert short.shape == (90, dim)
    fitted = PCA(dim, svd_solver="full").fit(whole[learnt[::2]].astype(np.float64))

    def as_indexed(codes: np.ndarray) -> np.ndarray:
        if normalise == "standardize":
            return (codes - codes.mean(1, keepdims=True)) / codes.std(1, keepdims=True)
        return codes / np.linalg.norm(codes, axis=1, keepdims=True) if normalise == "unit" else codes

    def nearest(codes: np.ndarray) -> list[set[int]]:
        apart = np.linalg.norm(codes[:, None] - codes[None], axis=2)
        np.fill_diagonal(apart, np.inf)
        return [set(one) for one in apart.argsort(1)[:, :10]]

    axes = fitted.components_.T  # of any sign; here the largest number of each is positive
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), range(dim)])
    projected = as_indexed((whole - fitted.mean_) @ axes)
    assert np.allclose(short, projected, rtol=1e-3, atol=1e-3 * np.abs(projected).max())
    held = whole[learnt[1::2]].astype(np.float64)
    wanted, found = nearest(as_indexed(held)), nearest(as_indexed((held - fitted.mean_) @ axes))
    kept = np.mean([len(one & other) / 10 for one, other in zip(wanted, found, strict=True)])
    assert f"{kept:.3f} stay so" in said, (kept, said)


def test_few_pictures_shorten_no_codes(tmp_path: Path, latent: Run) -> None:
    write_encoder(tmp_path / "net.onnx")
    write_shapes(tmp_path / "photos", 10)
    assert "name more with --pca" in latent("models", "add", "net.onnx", "--dim", 3, "--pca", "photos", code=1).stderr
    assert "with --dim N" in latent("models", "add", "net.onnx", "--pca", "photos", code=1).stderr
    said = latent("models", "add", "net.onnx", "--dim", WIDTH, "--pca", "photos", code=1).stderr
    assert "do not shorten a code" in said
    (tmp_path / "empty").mkdir()
    assert "no pictures" in latent("models", "add", "net.onnx", "--dim", 3, "--pca", "empty", code=2).stderr
    assert added_models() == []


@pytest.mark.parametrize("crop", ["centre", "whole", "pad"])
def test_an_encoder_is_shown_what_it_wants_of_a_picture(tmp_path: Path, crop: str) -> None:
    """From a file, an array and an upload alike; and an index carries it."""
    write_encoder(tmp_path / "net.onnx")
    add_model(tmp_path / "net.onnx", "eye", crop=crop, normalise="none")
    write_shapes(tmp_path / "photos", 6)
    wide = np.zeros((40, 160, 3), np.uint8)
    wide[:, :30, 0], wide[:, 130:, 1] = 255, 200  # only at its ends
    model = load_model("eye")
    frame = {"centre": "square", "whole": "whole", "pad": "thumbnail"}[crop]
    shown = framed(wide, SIZE, frame)  # type: ignore[arg-type]
    assert bool(shown.any()) is (crop != "centre")
    np.testing.assert_allclose(model.encode([wide])[0], expected(shown[None] / 255, "vector", None)[0], atol=1e-4)
    Image.fromarray(wide).save(tmp_path / "photos" / "wide.png")
    with Retriever.build(tmp_path / "photos", tmp_path / "i", model="eye", workers=1) as retriever:
        hit = retriever.query(wide, k=1)[0]
        assert hit.path.endswith("wide.png") and hit.distance == pytest.approx(0, abs=1e-5)


def test_a_downloaded_folder_is_read_with_its_configuration(tmp_path: Path, latent: Run) -> None:
    folder = tmp_path / "some-encoder"
    (folder / "onnx").mkdir(parents=True)
    write_encoder(folder / "onnx" / "model.onnx", sides=("h", "w"))
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
    config: dict[str, Any] = {"size": {"shortest_edge": 18}, "crop_size": {"height": SIZE, "width": SIZE}}
    config |= {"rescale_factor": 1 / 255, "image_mean": mean, "image_std": std}
    config |= {f"do_{act}": True for act in ("resize", "center_crop", "rescale", "normalize")}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    said = latent("models", "add", folder, "--normalise", "unit", "--licence", "CC0").stderr
    assert "as preprocessor_config.json says" in said and "margin of 11%" in said
    pictures = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
    raw = expected((pictures / 255 - mean) / std, "vector", None)
    model = load_model("some-encoder")
    np.testing.assert_allclose(
        model.encode(pictures), raw / np.linalg.norm(raw, axis=1, keepdims=True), rtol=1e-3, atol=1e-5
    )
    assert "CC0" in latent("models", "show", "some-encoder").stdout
    for fault in ({**config, "image_std": [1, 2]}, {**config, "rescale_factor": "x"}, {**config, "size": -3}, []):
        (folder / "preprocessor_config.json").write_text(json.dumps(fault))
        said = latent("models", "add", folder, "--name", "other", code=1).stderr
        assert (
            "preprocessor_config.json cannot be read" in said and not (tmp_path / "data" / "models" / "other").exists()
        )


def test_commands_list_show_and_remove_what_was_added(tmp_path: Path, latent: Run) -> None:
    write_encoder(tmp_path / "net.onnx", more=True)
    add = ("models", "add", tmp_path / "net.onnx", "--output", "other")
    assert "others are code" in latent(*add, "--name", "eye").stderr
    assert added_models() == ["eye"]
    assert "eye" in latent("models").stdout and "eye" in latent("models", "list", "--format", "json").stdout
    shown = json.loads(latent("models", "show", "eye", "--format", "json").stdout)
    assert (shown["name"], shown["latent_dim"], shown["preprocess"]) == ("eye", WIDTH, "centre")
    assert (
        "already" in latent("models", "add", tmp_path / "net.onnx", "--output", "other", "--name", "eye", code=1).stderr
    )
    assert "already" in latent("models", "add", tmp_path / "net.onnx", "--name", "faces-64", code=1).stderr
    write_shapes(tmp_path / "photos", 8)
    latent("index", "build", tmp_path / "photos", "--index", tmp_path / "i", "--model", "eye")
    latent("models", "remove", "eye")
    assert added_models() == [] and "no model 'eye'" in latent("models", "remove", "eye", code=1).stderr
    found = latent("query", next((tmp_path / "photos").iterdir()), "--index", tmp_path / "i", "-k", 2).stdout
    assert found.count(".png") == 2  # by the index's own copy
    said = latent(
        "query", next((tmp_path / "photos").iterdir()), "--index", tmp_path / "i", "--decode", "d", code=1
    ).stderr
    assert "no generator" in said


def _weights_of(values: np.ndarray) -> Callable[[Any], None]:
    return lambda net: net.graph.initializer[0].CopyFrom(numpy_helper.from_array(values.astype(np.float32), "weights"))


def _weights_elsewhere(net: Any) -> None:
    tensor = net.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location="../../etc/passwd")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL


def _dims(net: Any) -> Any:
    return net.graph.input[0].type.tensor_type.shape.dim


SPOILT: dict[str, tuple[str, Callable[[Any], object]]] = {
    "takes pixels, mask": (
        "two inputs",
        lambda net: net.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n", 4])),
    ),
    "four dimensions": ("rank", lambda net: _dims(net).pop()),
    "where the colours are": ("channels", lambda net: setattr(_dims(net)[1], "dim_value", 4)),
    "takes no squares": ("oblong", lambda net: setattr(_dims(net)[3], "dim_value", 2 * SIZE)),
    "of a type that no pictures have": (
        "type",
        lambda net: setattr(net.graph.input[0].type.tensor_type, "elem_type", TensorProto.INT64),
    ),
    "the same code": ("constant", _weights_of(np.zeros((3, WIDTH)))),
    "not finite": ("not a number", _weights_of(np.full((3, WIDTH), np.nan))),
    "opset 7": ("old", lambda net: setattr(net.opset_import[0], "version", 7)),
    "cannot be run on pictures": ("operator", lambda net: setattr(net.graph.node[0], "op_type", "NoSuchOperator")),
    "no file beside it": ("weights elsewhere", _weights_elsewhere),
    "cannot be read as an ONNX file": ("empty", lambda net: net.Clear()),
}


@pytest.mark.parametrize("said", SPOILT)
def test_what_is_no_encoder_is_refused_in_words_and_leaves_nothing(tmp_path: Path, said: str) -> None:
    write_encoder(tmp_path / "net.onnx")
    net = onnx.load(str(tmp_path / "net.onnx"))
    SPOILT[said][1](net)
    (tmp_path / "net.onnx").write_bytes(net.SerializeToString())
    refused(tmp_path, said)


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("three numbers each", {"mean": (0.1,)}),
        ("no std is 0", {"std": (1.0, 0.0, 1.0)}),
        ("takes pictures of 16 pixels, not of 99", {"size": 99}),
        ("no output 'nothing'", {"output": "nothing"}),
        ("2 numbers at least", {"dim": 1}),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(tmp_path: Path, said: str, options: dict[str, Any]) -> None:
    write_encoder(tmp_path / "net.onnx")
    refused(tmp_path, said, **options)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\x08\x99nothing of this kind" * 50)
    refused(tmp_path, "cannot be read as an ONNX file")


def refused(folder: Path, said: str, **options: Any) -> None:
    with pytest.raises(ModelError, match=said):
        add_model(folder / "net.onnx", **options)
    assert added_models() == [] and not [*(folder / "data").glob("models/*")]


def test_weights_beside_the_graph_are_taken_in(tmp_path: Path) -> None:
    write_encoder(tmp_path / "whole.onnx")
    net = onnx.load(str(tmp_path / "whole.onnx"))
    onnx.save_model(net, str(tmp_path / "net.onnx"), save_as_external_data=True, location="net.data", size_threshold=0)
    add_model(tmp_path / "net.onnx")
    (tmp_path / "net.data").unlink()
    pictures = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    np.testing.assert_allclose(
        load_model("net").encode(pictures), standardize(expected(pictures / 255, "vector", None)), atol=1e-3
    )
    remove_model("net")
    with pytest.raises(ModelError, match="which is no file beside it"):
        add_model(tmp_path / "net.onnx")


def test_the_same_encoder_has_the_same_digest(tmp_path: Path) -> None:
    """Two people who add one file can share an index."""
    write_encoder(tmp_path / "net.onnx")
    shutil.copyfile(tmp_path / "net.onnx", tmp_path / "again.onnx")
    one, other = (add_model(tmp_path / f"{name}.onnx", mean=(0.1, 0.2, 0.3)).model for name in ("net", "again"))
    assert one.digest == other.digest
    assert add_model(tmp_path / "net.onnx", "third").model.digest != one.digest


@pytest.mark.parametrize("crop", ["centre", "whole"])
def test_an_evaluation_shows_what_the_encoder_is_shown(tmp_path: Path, latent: Run, crop: str) -> None:
    """Classes that differ at the ends of wide pictures alone, which the central square does not have."""
    write_encoder(tmp_path / "net.onnx", form="map")
    add_model(tmp_path / "net.onnx", "eye", crop=crop)
    rng = np.random.default_rng(3)
    for part in ("gallery", "queries"):
        for kind in range(2):
            (tmp_path / part / f"kind{kind}").mkdir(parents=True)
            for number in range(30):
                wide = rng.integers(0, 40, (40, 160, 3), np.uint8)
                wide[:, [*range(50), *range(110, 160)], kind] = 255
                Image.fromarray(wide).save(tmp_path / part / f"kind{kind}" / f"{number}.png")
    words = ("--gallery", "gallery", "--queries", "queries", "--labels", "folder", "--copies", 0, "-o", "report.json")
    latent("evaluate", "eye", *words, cwd=tmp_path)
    told = json.loads((tmp_path / "report.json").read_text())
    alike = next(row for name, row in told["table"].items() if "code" in name)["label kNN-20"][0]
    assert (alike == 1) is (crop == "whole")
