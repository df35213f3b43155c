"""How close `latent index build` comes to the cost of decoding and encoding alone, and how other tools compare.

* limit: cores / (CPU seconds to read and decode a picture at the scale that is needed + to encode it), each measured
  alone on one thread;
* usual loop: Pillow opens and resizes whole pictures, torch encodes them eagerly in float32, one step after the other;
* imagehash, imagededup: perceptual hashes of the same files, where these packages are installed;
* unchanged: a second run over a folder, compared with `find -printf`;
* memory: the largest process of a build over all small files, compared with one over a hundredth of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from beside import (
    PROGRAM,
    SIZES,
    Line,
    alternately,
    arguments_of,
    cpu_seconds,
    latent,
    make_photos,
    make_tiny,
    peak_mb,
    tell,
)
from PIL import Image

from retrieval import load_model
from retrieval.pictures.workers import Task, decode

MODEL = "photos-64"
SHARE = {"0.1 MP": 10.0, "2 MP": 1.0, "12 MP": 0.2}  # of --pictures
USUAL_MOST = 100  # files for the slow baselines


def limit_per_s(paths: list[Path]) -> float:
    """Pictures per second that all cores could decode and encode with no other work."""
    model = load_model(MODEL, "cpu")
    some = paths[:: max(1, len(paths) // 50)]
    decoding = cpu_seconds(lambda: [decode(Task(str(path)), model.image_size) for path in some]) / len(some)
    return (os.cpu_count() or 1) / (decoding + encoding_s())


def encoding_s() -> float:
    """CPU seconds to encode one picture on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(load_model(MODEL).folder / "encoder.onnx"), options)
    squares = np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), np.uint8)
    session.run(None, {"images": squares})
    return cpu_seconds(lambda: [session.run(None, {"images": squares}) for _ in range(5)]) / 5 / len(squares)


def usual_loop(paths: list[Path]) -> Callable[[], None]:
    """Open whole pictures, resize them, and run the same network in torch, one batch after the other."""
    import torch

    from train.method import Method
    from train.methods import new_method
    from train.recipe import preset

    network: Method = new_method(preset("slim-64", width=48, max_width=384)).eval()

    def loop() -> None:
        for start in range(0, len(paths), 64):
            squares = [
                np.asarray(Image.open(path).convert("RGB").resize((64, 64))) for path in paths[start : start + 64]
            ]
            with torch.no_grad():
                network.encode(torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 127.5 - 1)

    return loop


def peers(paths: list[Path]) -> dict[str, Callable[[], object]]:
    """Hash the same files with other tools, where they are installed."""
    sides: dict[str, Callable[[], object]] = {}
    if find_spec("imagehash"):
        import imagehash

        sides["imagehash pHash"] = lambda: [imagehash.phash(Image.open(path)) for path in paths]
    try:
        from imagededup.methods import PHash
    except Exception:  # not installed, or without a matching torchvision
        return sides
    sides["imagededup PHash"] = lambda: [PHash(verbose=False).encode_image(str(path)) for path in paths]
    return sides


def bench_size(scratch: Path, name: str, suffix: str, count: int, rounds: int) -> list[Line]:
    folder, part = scratch / f"{name}{suffix}", scratch / f"part of {name}{suffix}"
    paths = make_photos(folder, count, SIZES[name], suffix)
    part.mkdir()
    for path in paths[: count // 4]:
        os.link(path, part / path.name)
    few = paths[:USUAL_MOST]
    sides = {"usual loop": usual_loop(few), **(peers(few) if suffix == ".jpg" else {})}
    seconds = alternately(rounds, build=_build(folder, scratch), part=_build(part, scratch), **sides)
    steady = (count - count // 4) / (seconds["build"] - seconds["part"])  # both include the start-up time
    limit, ours, kind = limit_per_s(paths), count / seconds["build"], f"{name} {suffix[1:].upper()}"
    lines = [
        Line(f"index build, {kind}, once it runs", f"{steady:,.0f}/s", f"limit {limit:,.0f}/s", steady / limit, 0.9),
        Line(f"the same, all of {count:,} files", f"{ours:,.0f}/s", f"limit {limit:,.0f}/s", ours / limit),
    ]
    for side in sides:
        theirs = len(few) / seconds[side]
        target = {("usual loop", "12 MP JPG"): 8.0, ("imagededup PHash", "12 MP JPG"): 15.0}.get((side, kind))
        lines.append(
            Line(f"once it runs, {kind}", f"{steady:,.0f}/s", f"{side} {theirs:,.0f}/s", steady / theirs, target)
        )
    shutil.rmtree(folder)
    shutil.rmtree(part)
    return lines


def _build(folder: Path, scratch: Path) -> Callable[[], None]:
    index = scratch / "index"

    def build() -> None:
        shutil.rmtree(index, ignore_errors=True)
        latent("index", "build", str(folder), "--index", str(index), "--model", MODEL)

    build()  # loads the files into the page cache
    return build


def bench_encoder(rounds: int) -> list[Line]:
    import torch

    from train.methods import new_method
    from train.recipe import preset

    network = new_method(preset("slim-64", width=48, max_width=384)).eval()
    pixels = torch.zeros(64, 3, 64, 64)

    def eager() -> None:
        with torch.no_grad():
            network.encode(pixels)

    torch.set_num_threads(1)
    eager()
    theirs, ours = cpu_seconds(lambda: [eager() for _ in range(5)], rounds) / 320, encoding_s()
    return [
        Line(
            "encoder, one thread",
            f"{1 / ours:,.0f}/s",
            f"torch, eager, float32 {1 / theirs:,.0f}/s",
            theirs / ours,
            2.0,
        )
    ]


def bench_many(scratch: Path, count: int, rounds: int) -> list[Line]:
    many, few = scratch / "many", scratch / "few"
    make_tiny(many, count)
    make_tiny(few, count // 100)
    index = str(scratch / "of-many")
    words = [PROGRAM, "index", "build", str(many), "--index", index]
    large, small = peak_mb(*words), peak_mb(*words[:3], str(few), "--index", str(scratch / "of-few"))
    codes_mb = count * 0.99 * 512 / 1e6
    find = ["find", str(many), "-printf", "%p %s %T@\\n"]
    seconds = alternately(
        rounds,
        again=lambda: latent("index", "build", str(many), "--index", index),
        find=lambda: subprocess.run(find, check=True, stdout=subprocess.DEVNULL),
        start=lambda: latent("index", "status", "--index", str(scratch / "of-few")),
    )
    again, found = seconds["again"], seconds["find"]
    walk = f"find {found:.2f} s"
    return [
        Line(f"unchanged folder of {count:,}", f"{again:.2f} s", walk, again / found, at_most=2.0),
        Line(
            "the same, less what any command takes",
            f"{again - seconds['start']:.2f} s",
            walk,
            (again - seconds["start"]) / found,
        ),
        Line(
            f"memory, {count:,} files",
            f"{large:,.0f} MB",
            f"{count // 100:,} files {small:,.0f} MB",
            large / small,
            at_most=1.1,
        ),
        Line("the same, less the codes", f"{large - codes_mb:,.0f} MB", f"{small:,.0f} MB", (large - codes_mb) / small),
    ]


def main() -> None:
    arguments = arguments_of(
        __doc__, pictures=(2000, "files of 2 MP"), many=(100_000, "small files"), rounds=(3, "rounds")
    )
    lines = bench_encoder(arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        for name in SIZES:
            count = max(20, int(SHARE[name] * arguments.pictures))
            lines += bench_size(Path(folder), name, ".jpg", count, arguments.rounds)
        for suffix in (".png", ".webp"):
            lines += bench_size(Path(folder), "2 MP", suffix, max(20, arguments.pictures // 5), arguments.rounds)
        lines += bench_many(Path(folder), arguments.many, arguments.rounds)
    tell("ingest", lines, arguments)


if __name__ == "__main__":
    main()
