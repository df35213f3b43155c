"""Hostile pictures and folders: bombs, decoders that are taken over, pipes, links, dates, and every kind of damage."""

from __future__ import annotations

import io
import os
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.facts import Facts
from index.local.sanity import is_sane_facts
from retrieval import PictureRefused, Retriever, TrainingError, compare_pictures, find_images, load_model, read_image
from retrieval.copies.compare import same_pixels
from retrieval.pictures import decode as decoding
from retrieval.pictures import shared
from retrieval.pictures.decoded import decoded_of
from retrieval.pictures.facts import FIXED, MOST_FACTS_BYTES, cleaned, packed_facts, read_facts
from retrieval.pictures.regions import BOX, MOST, is_sane_box
from retrieval.pictures.tasks import DIGEST_BYTES, MOST_REASON, WITH_BOXES, WITH_FACTS, WITH_PIXELS, Answer, Frame
from retrieval.pictures.thumbnail import UNREADABLE, thumbnail
from retrieval.pictures.traits import TRAITS
from retrieval.pictures.wire import ANSWER, FRAMES, WANTS, NoAnswer, packed_answer, read_answer
from retrieval.pictures.workers import Decoded, DecoderPool, Task, cores, decode
from tests.attacks.rigged import install, write_rigged
from tests.conftest import write_shapes
from train.copies import original
from train.sources import find_sources

SIZE_PX = 32
MIB = 1 << 20

linux = pytest.mark.skipif(sys.platform != "linux", reason="this system limits processes in other ways")


@pytest.fixture
def rigged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Worker processes that start in this test have the rigged decoder."""
    folder = install(tmp_path / "rigged")
    monkeypatch.syspath_prepend(folder)
    shared._shared.close()
    yield folder
    shared._shared.close()


def through_workers(paths: list[Path], **settings: float) -> list[Decoded]:
    with DecoderPool(SIZE_PX, workers=1, **settings) as pool:  # type: ignore[arg-type]
        return list(pool.map(Task(str(path)) for path in paths))


def write_picture(path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(path, "PNG")
    return path


# Memory


def write_bomb(path: Path, mode: str = "F", side: int = 11_000) -> Path:
    """A picture of half a megabyte at most that has 484 MB of pixels, below the bound of pixels."""
    Image.new(mode, (side, side)).save(path, "TIFF", compression="tiff_adobe_deflate")
    assert path.stat().st_size < MIB
    return path


PEAK = """
import resource, sys
from retrieval.pictures.workers import DecoderPool, Task
with DecoderPool(32, workers=1, **eval(sys.argv[2])) as pool:
    (decoded,) = pool.map([Task(sys.argv[1])])
print(decoded.reason, decoded.passing, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024, sep="|")
"""


def reason_and_peak(path: Path, settings: str = "{}") -> tuple[str, bool, int]:
    """Why a file was refused, whether that is passing, and the most MiB that a worker process held."""
    done = subprocess.run([sys.executable, "-c", PEAK, path, settings], capture_output=True, text=True, check=True)
    reason, passing, peak = done.stdout.strip().split("|")
    return reason, passing == "True", int(peak)


@linux
def test_a_bomb_is_refused_at_the_limit_of_memory(tmp_path: Path) -> None:
    reason, passing, peak_mib = reason_and_peak(write_bomb(tmp_path / "x.tif"), "dict(memory_bytes=400 << 20)")
    assert (reason, passing) == ("needs more than 0.390625 GiB of memory", False)
    assert peak_mib < 400


@linux
@pytest.mark.parametrize("mode", ["F", "I", "RGBA", "LA", "I;16"])
def test_large_pictures_are_converted_without_copies_in_wide_types(tmp_path: Path, mode: str) -> None:
    """In float64 alone it would be 968 MB more, and each of its steps made another copy."""
    side = 8000
    reason, _, peak_mib = reason_and_peak(write_bomb(tmp_path / "x.tif", mode, side))
    assert reason == "None"
    assert peak_mib < 9 * side**2 / MIB + 350


@linux
def test_a_decoder_that_asks_for_ever_more_gets_it_not(tmp_path: Path, rigged: Path) -> None:
    greedy, good = through_workers(
        [write_rigged(tmp_path, "want memory"), write_picture(tmp_path / "x.png")], memory_bytes=512 * MIB
    )
    assert (greedy.reason, greedy.passing, good.reason) == ("needs more than 0.5 GiB of memory", False, None)


@linux
def test_a_machine_that_is_short_of_memory_is_no_fault_of_the_file(tmp_path: Path) -> None:
    """The user limits the memory of all that runs, to less than a worker's limit."""
    bomb = write_bomb(tmp_path / "x.tif", side=6000)
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))\n{PEAK}"
    command = [sys.executable, "-c", limited, bomb, "dict(memory_bytes=2 << 30)"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("not enough memory to decode it|True")


BAND_MODES = ["1", "L", "P", "LA", "PA", "RGBA", "RGBa", "La", "I", "I;16", "I;16B", "F", "CMYK", "YCbCr", "HSV", "LAB"]


@pytest.mark.parametrize("mode", BAND_MODES)
@pytest.mark.parametrize("seed", range(4))
def test_conversion_band_by_band_changes_no_pixel(mode: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, 2)
    if mode in ("I", "F"):
        scale = float(rng.choice([0.9, 200, 3e4, 1e6]))
        values = rng.uniform(-scale * (seed % 2), scale, (height, width))
        if mode == "F":
            values.ravel()[:: max(1, values.size // 5)] = rng.choice([np.nan, np.inf, -np.inf, scale])
        image = Image.fromarray(values.astype(np.int32 if mode == "I" else np.float32))
    elif mode.startswith("I;16"):
        image = Image.frombytes(mode, (int(width), int(height)), rng.bytes(2 * int(height) * int(width)))
    else:
        rgba = Image.fromarray(rng.integers(0, 256, (height, width, 4), np.uint8), "RGBA")
        image = Image.frombytes(mode, rgba.size, rng.bytes(len(Image.new(mode, rgba.size).tobytes())))
        if mode in ("P", "PA"):
            image.putpalette(rng.bytes(768))
        if mode == "P" and seed % 2:
            image.info["transparency"] = int(rng.integers(256))
    whole = np.asarray(decoding._over("white", decoding._to_8_bit(image)))
    for band_pixels in (1, 7, int(width), 5 * int(width) + 1):
        monkeypatch.setattr(decoding, "BAND_PIXELS", band_pixels)
        np.testing.assert_array_equal(np.asarray(decoding._over("white", decoding._to_8_bit(image))), whole)


# Everything that decodes does so in a worker process


def test_no_decoder_runs_in_the_process_of_the_user(tmp_path: Path, rigged: Path, tiny_bundle: Path) -> None:
    """The decoder that crashes exists in worker processes only: elsewhere the file would be "not a picture"."""
    bad, good = write_rigged(tmp_path, "crash"), write_picture(tmp_path / "x.png")
    model = load_model(tiny_bundle)
    died = "decoder died of SIGSEGV"
    write_shapes(tmp_path / "photos", 4)
    with Retriever.build(tmp_path / "photos", tmp_path / "i", model=model, workers=1) as retriever:
        for read in (lambda: model.encode([good, bad]), lambda: retriever.query(bad), lambda: original(Task(str(bad)))):
            with pytest.raises(PictureRefused, match=died):
                read()
    with pytest.raises(PictureRefused, match=died):
        compare_pictures(good, bad, model)
    assert (thumbnail(bad) == UNREADABLE).all() and not (thumbnail(good) == UNREADABLE).all()
    assert same_pixels(str(good), str(good)) and not same_pixels(str(bad), str(bad))
    assert original(Task(str(good))).size == (50, 40)


def test_a_query_that_never_ends_is_ended(tmp_path: Path, rigged: Path, tiny_bundle: Path) -> None:
    shared._shared._pool = DecoderPool(0, time_limit_s=0.5, chunk=1)
    began = time.monotonic()
    with pytest.raises(PictureRefused, match=r"took longer than 0\.5 s of processor time"):
        load_model(tiny_bundle).encode([write_rigged(tmp_path, "busy for ever")])
    assert time.monotonic() - began < 30


def test_ctrl_c_ends_a_query_whose_decoder_hangs(tmp_path: Path, rigged: Path) -> None:
    code = (
        "import signal, sys, threading, os, time; from retrieval.pictures.thumbnail import thumbnail\n"
        "def stop():\n"
        "    while not os.path.exists(sys.argv[2]): time.sleep(0.01)\n"
        "    time.sleep(1); os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=stop).start(); open(sys.argv[2], 'w').close(); thumbnail(sys.argv[1])\n"
    )
    command = [sys.executable, "-c", code, write_rigged(tmp_path, "busy for ever"), tmp_path / "begun"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(rigged), *sys.path])}
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode != 0 and "KeyboardInterrupt" in done.stderr
    assert time.monotonic() - began < 20  # the limit of the decoder is 30 s


def test_a_forked_child_has_workers_of_its_own(tmp_path: Path) -> None:
    code = (
        "import os, sys; from retrieval.pictures.thumbnail import thumbnail\n"
        "first = thumbnail(sys.argv[1])\n"
        "for _ in range(3):\n"
        "    if not (child := os.fork()):\n"
        "        os._exit(int((thumbnail(sys.argv[1]) != first).any()))\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "assert (thumbnail(sys.argv[1]) == first).all()\n"
    )
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code, write_picture(tmp_path / "x.png")], check=True, timeout=60
    )


# Decoders that were taken over


@pytest.mark.parametrize("deed", ["pickle", "garbage", "flood", "too long", "too short"])
def test_what_a_worker_sends_is_data_and_never_a_program(tmp_path: Path, rigged: Path, deed: str) -> None:
    bad, good = write_rigged(tmp_path, deed), write_picture(tmp_path / "x.png")
    forged, after = through_workers([bad, good])
    assert (forged.pixels, forged.reason, forged.passing) == (None, "decoder gave an answer that is none", False)
    assert after.reason is None
    np.testing.assert_array_equal(after.pixels, decode(Task(str(good)), SIZE_PX).pixels)
    assert not (rigged / "owned").exists()


def read_from(data: bytes) -> Callable[[int], bytearray]:
    source = io.BytesIO(data)

    def read(count: int) -> bytearray:
        assert count <= ANSWER.size + 4 * MOST_REASON + 3 * 200**2 + MOST_FACTS_BYTES, "no more than an answer may have"
        if len(piece := source.read(count)) < count:
            raise EOFError
        return bytearray(piece)

    return read


def drawn_task(rng: np.random.Generator) -> Task:
    frame: Frame = FRAMES[rng.integers(len(FRAMES))]
    want = WANTS[rng.choice(7, p=(0.4, 0.1, 0.1, 0.2, 0.1, 0.05, 0.05))]
    return Task("x", frame=frame, force=bool(rng.integers(2)), want=want)


def length_of(task: Task, side: int) -> int:
    """Bytes that answer a task, beside facts."""
    across, down = frame_px(task, side)
    others = {"samples": DIGEST_BYTES, "traits": TRAITS.size, "facts": 0, "faces": 3 * BOX.size, "tiles": 2 * BOX.size}
    return others.get(task.want, 3 * across * down)


def frame_px(task: Task, side: int) -> tuple[int, int]:
    return (side, 2 * side) if task.frame == "looks" else (side, side)


def drawn_facts(rng: np.random.Generator) -> Facts:
    """Facts of the right types, few of which can be."""
    words = ["", "JPEG", "caf\u00e9", "\x1b[2J", "a\nb\nb", "x" * 3000, "\u202e", "\0"]
    whole = [0, 1, 5, 8, 2**31, -(2**63) + 1, 2**63 - 1, 10**15]
    reals = [0.0, -0.0, 1.5, -91.0, 89.0, 179.0, float("inf"), float("nan"), 1e300]
    drawn: dict[str, object] = {}
    for name, kind in Facts.__annotations__.items():
        said = str(kind)
        values = words if "str" in said else reals if "float" in said else whole if "int" in said else [True, False]
        drawn[name] = values[rng.integers(len(values))] if "None" not in said or rng.integers(4) else None
    return Facts(**drawn)  # type: ignore[arg-type]


def test_facts_that_a_worker_sends_are_what_an_index_may_hold() -> None:
    rng, whole = np.random.default_rng(2), 0
    for _ in range(3000):
        facts = read_facts(packed_facts(drawn_facts(rng)))
        assert is_sane_facts(facts) and cleaned(facts) == facts == read_facts(packed_facts(facts))
        assert len(packed_facts(facts)) <= MOST_FACTS_BYTES
        whole += facts.latitude is not None
        assert all(text is None or text.replace("\n", "").isprintable() for text in (facts.title, facts.keywords))
    assert whole > 30
    data = packed_facts(drawn_facts(rng))
    for wrong in (data[:-1], data + b"x", b"", data[:50]):
        with pytest.raises(ValueError, match=r"length|short"):
            read_facts(wrong)
    for _ in range(3000):  # a worker that was taken over
        with suppress(ValueError):
            assert is_sane_facts(read_facts(rng.bytes(FIXED.size - 14) + bytes(14)))


def test_an_answer_is_of_its_task_or_is_none() -> None:
    """20,000 draws of fields and bytes, most of them near to what is allowed."""
    rng, taken = np.random.default_rng(0), 0
    near = np.array([0, 1, 2, 8, 9, DIGEST_BYTES, TRAITS.size, 192, 193, 3 * 81, 2**16, 2**31, 2**32 - 1])
    for _ in range(20_000):
        task, side = drawn_task(rng), int(rng.choice([8, 9]))
        sizes = [int(size) for size in rng.choice(near, 4)]
        if rng.integers(2):
            sizes = [8, 8, *frame_px(task, side)]
        count = int(rng.choice([*near, 3 * side**2, length_of(task, side)]))
        facts = packed_facts(drawn_facts(rng)) if rng.integers(2) else b""
        of_facts = len(facts) if rng.integers(4) else int(rng.choice(near))
        flags = rng.integers(0, 2, 2)
        head = ANSWER.pack(int(rng.integers(5)), rng.integers(2), rng.bytes(16), *flags, *sizes, count, of_facts)
        if rng.integers(4) == 0:
            head = rng.bytes(ANSWER.size)
        try:
            answer, pixels = read_answer(read_from(head + rng.bytes(count % 1000) + facts + rng.bytes(50)), task, side)
        except (NoAnswer, EOFError):
            continue
        taken += 1
        assert answer.facts is None or (task.want in WITH_FACTS and is_sane_facts(answer.facts))
        if task.want in WITH_PIXELS and task.frame in ("original", "look"):
            assert len(pixels) in (0, 3 * answer.frame_px[0] * answer.frame_px[1])
            assert task.frame == "original" or not len(pixels) or max(answer.frame_px) <= side
        elif task.want in WITH_BOXES and answer.reason is None:
            assert len(pixels) % BOX.size == 0 and len(pixels) <= BOX.size * MOST
            assert all(map(is_sane_box, decoded_of(task, answer, pixels).boxes))
        else:
            assert len(pixels) in (0, length_of(task, side))
        if answer.reason is not None:
            assert answer.reason.isprintable() and 0 < len(answer.reason) <= MOST_REASON and not pixels
        elif not pixels and answer.facts is None and task.want not in WITH_BOXES:
            assert answer.content_hash is not None and not task.force
    assert 500 < taken < 15_000


def test_answers_come_through_as_they_were_sent() -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        task, side = drawn_task(rng), int(rng.integers(1, 60))
        size = (int(rng.integers(1, 9999)), int(rng.integers(1, 9999)))
        pixels, facts = rng.bytes(length_of(task, side)), cleaned(drawn_facts(rng)) if task.want in WITH_FACTS else None
        for sent in (
            Answer(rng.bytes(16), pixels, *size, frame_px(task, side), holds_more=bool(rng.integers(2)), facts=facts),
            Answer(rng.bytes(16), reason="damaged or cut off"),
            Answer(reason="not a picture", passing=bool(rng.integers(2))),
            Answer(rng.bytes(16)),
        ):
            if sent.pixels is None and sent.reason is None and task.force:
                continue
            answer, came = read_answer(read_from(packed_answer(sent)), task, side)
            assert answer._replace(pixels=sent.pixels) == sent
            assert bytes(came) == (sent.pixels or b"")


def test_a_decoder_writes_no_file_and_opens_few(tmp_path: Path, rigged: Path) -> None:
    pytest.importorskip("resource")
    writes, opens = through_workers([write_rigged(tmp_path, deed) for deed in ("write", "open files")])
    assert writes.reason and "too large" in writes.reason.lower() and not (rigged / "owned").read_bytes()
    assert opens.reason and "too many open files" in opens.reason.lower()


def test_a_reason_is_one_short_line_that_steers_no_terminal(tmp_path: Path, rigged: Path) -> None:
    (decoded,) = through_workers([write_rigged(tmp_path, "steer")])
    assert decoded.reason and decoded.reason.isprintable() and len(decoded.reason) <= MOST_REASON
    assert decoded.reason == "damaged, or of a kind that cannot be decoded"  # and no word of the decoder


# Time


def test_time_in_which_a_decoder_is_stopped_does_not_count(tmp_path: Path, rigged: Path) -> None:
    """The process and its workers are stopped, as by a laptop that is closed, for longer than any limit."""
    code = (
        "import sys; from retrieval.pictures.workers import DecoderPool, Task\n"
        "with DecoderPool(32, workers=1, time_limit_s=2.0) as pool:\n"
        "    first = next(pool.map([Task(sys.argv[1])])); print('ready', flush=True)\n"
        "    print(*(one.reason for one in pool.map([Task(sys.argv[2])] * 4)))\n"
    )
    command = [sys.executable, "-c", code, write_picture(tmp_path / "x.png"), write_rigged(tmp_path, "busy")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(rigged), *sys.path])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        time.sleep(0.3)  # in the midst of the first
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(10)  # longer than the limit by the clock on the wall
        os.killpg(process.pid, signal.SIGCONT)
        assert process.stdout.read().split() == ["None"] * 4


def test_a_worker_alone_that_is_stopped_for_ever_costs_its_file_for_now(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "x.png")
    with DecoderPool(SIZE_PX, workers=1, time_limit_s=0.5) as pool:
        assert next(pool.map([Task(str(path))])).reason is None
        (worker,) = pool._alive
        os.kill(worker.process.pid, signal.SIGSTOP)
        stopped, after = list(pool.map([Task(str(path)), Task(str(path))]))
    assert (stopped.reason, stopped.passing, after.reason) == ("decoder waited longer than 2 s", True, None)


# Only regular files


def make_special(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    else:
        path.symlink_to(kind)


SPECIAL = ["pipe", "/dev/zero", "/dev/urandom", "/proc/self/maps", "/proc/kmsg", "/proc/self/mem", "socket"]


@linux
@pytest.mark.parametrize("kind", SPECIAL)
def test_pipes_devices_and_files_of_the_system_are_never_read(
    tmp_path: Path, kind: str, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # addresses of sockets are short
    path = Path("x.jpg")
    make_special(path, kind)
    says = "No such device" if kind == "socket" else "empty file" if kind.startswith("/proc") else "not a regular file"
    began = time.monotonic()
    decoded = decode(Task(str(path)), SIZE_PX)
    assert decoded.reason and (says in decoded.reason or "cannot be read" in decoded.reason)
    with pytest.raises((PictureRefused, OSError)):
        read_image(path)
    with pytest.raises(PictureRefused, match=r"x\.jpg"):
        load_model(tiny_bundle).encode([path])
    assert (thumbnail(path) == UNREADABLE).all()
    with pytest.raises(TrainingError):
        find_sources([path])
    assert time.monotonic() - began < 10


@linux
def test_a_file_that_becomes_a_pipe_between_look_and_open_is_not_waited_for(tmp_path: Path) -> None:
    """It turns from a picture into a pipe and back, as often as it can, while it is read."""
    path, picture, pipe = tmp_path / "x", write_picture(tmp_path / "x.png"), tmp_path / "pipe"
    os.mkfifo(pipe)
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            for target in (picture, pipe):
                (tmp_path / "new").symlink_to(target)
                os.replace(tmp_path / "new", path)

    path.symlink_to(picture)
    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        reasons = {decode(Task(str(path)), SIZE_PX).reason for _ in range(2000)}
    finally:
        ended.set()
        swapping.join()
    assert reasons == {None, "not a regular file"}


def test_members_of_an_archive_end_with_it(tmp_path: Path) -> None:
    """A header may promise more bytes than there are memory addresses."""
    picture, path = write_picture(tmp_path / "x.png").read_bytes(), tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("x.png")
        member.size = len(picture)
        tar.addfile(member, io.BytesIO(picture))
    (task,) = find_sources([path])
    for length in (len(picture), 1 << 40, (1 << 63) - 1):
        assert decode(task._replace(length=length), SIZE_PX).reason is None
    assert decode(task._replace(offset=1 << 40), SIZE_PX).reason == "empty file"


# Links


def found(root: Path, **more: object) -> tuple[set[str], set[str]]:
    outside: list[str] = []
    files = {os.path.relpath(file.path, root) for file in find_images(root, outside=outside.append, **more)}  # type: ignore[arg-type]
    return files, {os.path.relpath(link, root) for link in outside}


@linux
def test_links_lead_nowhere_out_of_the_root(tmp_path: Path, tiny_bundle: Path) -> None:
    root, secret = tmp_path / "photos", tmp_path / "secret"
    write_shapes(root, 3)
    write_shapes(secret, 2, seed=1)
    targets = {"folder": secret, "file.png": secret / "shape-1-000.png", "self": "/proc/self", "up": "..", "all": "/"}
    for name, target in targets.items():
        (root / name).symlink_to(target)
    (root / "round").symlink_to(tmp_path / "photos-of-others")
    (tmp_path / "photos-of-others").symlink_to(secret)
    files, outside = found(root)
    assert len(files) == 3 and outside == {*targets, "round"}
    with Retriever.build(root, tmp_path / "i", model=tiny_bundle, workers=1) as retriever:
        assert retriever.summary and len(retriever) == retriever.summary.added == 3
        assert {os.path.basename(link) for link in retriever.summary.links_outside} == {*targets, "round"}


def test_links_out_of_the_root_are_followed_if_asked_and_nothing_is_lost_if_not(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    root = tmp_path / "photos"
    write_shapes(root, 3)
    write_shapes(tmp_path / "drive", 2, seed=1)
    (root / "drive").symlink_to(tmp_path / "drive")
    (root / "one.png").symlink_to(tmp_path / "drive" / "shape-1-000.png")
    with Retriever.build(root, tmp_path / "i", model=tiny_bundle, workers=1, follow_links=True) as retriever:
        assert len(retriever) == 6
        assert retriever.update(workers=1).removed == 0 and len(retriever) == 6
        (root / "drive").unlink()
        assert retriever.update(workers=1).removed == 2 and len(retriever) == 4


@linux
def test_a_link_to_the_processes_of_the_system_ends_no_build(tmp_path: Path) -> None:
    """Folders there come and go, or are closed, while they are walked."""
    write_shapes(tmp_path / "photos", 1)
    (tmp_path / "photos" / "link").symlink_to("/proc/self/task")
    reported: list[str] = []
    files = find_images(tmp_path / "photos", reported.append, follow_links=True)
    assert next(files).path.endswith(".png")
    for _ in files:
        pass


@pytest.mark.parametrize("seed", range(30))
def test_no_walk_leaves_its_root_and_every_file_inside_is_found(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    folders = [tmp_path / "root", tmp_path / "rooted", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    for number in range(12):
        folders.append(folders[rng.integers(len(folders))] / f"d{number}")
        folders[-1].mkdir()
    files = [folders[rng.integers(len(folders))] / f"f{number}" for number in range(15)]
    for file in files:
        file.touch()
    links: list[Path] = []
    for number in range(12):
        link = folders[rng.integers(len(folders))] / f"l{number}"
        target = [*folders, *files, *links][rng.integers(len(folders) + len(files) + len(links))]
        link.symlink_to(target if rng.integers(2) else os.path.relpath(target, link.parent))
        links.append(link)
    root = tmp_path / "root"
    inside = os.path.realpath(root) + os.sep
    real = {os.path.realpath(root / path) for path in found(root)[0]}
    assert all(path.startswith(inside) for path in real)
    assert {str(file) for file in files if str(file).startswith(inside)} <= real
    for link in found(root)[1]:
        assert not os.path.realpath(root / link).startswith(inside) and os.path.realpath(root / link) != str(root)
    assert found(root, follow_links=True)[0] >= found(root)[0]


# Dates


def test_any_date_is_stored_and_a_file_that_did_not_change_is_not_read_again(tmp_path: Path, tiny_bundle: Path) -> None:
    write_shapes(tmp_path / "photos", 40)
    rng, dated = np.random.default_rng(0), 0
    edges = [-1, 0, 1, 2**63 - 1, 2**63, 2**63 + 10**9, -(2**31) * 10**9, -(2**63), -(2**63) - 1]
    drawn = [int(year) * 31_556_952 * 10**9 + int(rng.integers(10**9)) for year in rng.integers(-200, 470, 31)]
    for path, date in zip(sorted((tmp_path / "photos").iterdir()), edges + drawn, strict=True):
        try:
            os.utime(path, ns=(0, date))
        except OverflowError:
            continue
        dated += path.stat().st_mtime_ns > 2**63 - 1
    assert dated  # this file system holds dates after 2262
    with Retriever.build(tmp_path / "photos", tmp_path / "i", model=tiny_bundle, workers=1) as retriever:
        assert len(retriever) == 40
        summary = retriever.update(workers=1)
        assert (summary.unchanged, summary.encoded, retriever.verify()) == (40, 0, [])


# Damage


def formats_that_are_written() -> Iterator[tuple[str, bytes]]:
    """A small picture in every format that Pillow can write, and FTEX, whose decoder closes the file."""
    Image.init()
    for seed, mode in enumerate(("RGB", "RGBA", "L", "P", "1", "I;16", "F")):
        values = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
        image = Image.fromarray(values).convert("L" if mode in ("I;16", "F") else "RGB").convert(mode)
        for form in sorted(Image.SAVE):
            file = io.BytesIO()
            try:
                image.save(file, form)
            except Exception:  # not of this mode
                continue
            yield f"{form} {mode}", file.getvalue()
    data = np.random.default_rng(0).bytes(3 * 8 * 8)
    yield "FTEX RGB", struct.pack("<4si2i2i2i", b"FTEX", 2, 8, 8, 1, 1, 1, 32) + struct.pack("<i", len(data)) + data


def mutant(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        place, kind = int(rng.integers(len(data))), rng.integers(5)
        if rng.integers(2):
            place = min(place, int(rng.integers(64)))  # headers decide most
        if kind == 0:
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[place : place + 4] = bytes([[0, 255, 127, 128][rng.integers(4)]]) * len(data[place : place + 4])
        elif kind == 2 and len(data) > 40:
            del data[place : place + int(rng.integers(1, 32))]
        elif kind == 3:
            data[place:place] = rng.bytes(int(rng.integers(1, 32)))
        elif len(data) > 80:
            del data[max(40, len(data) - int(rng.integers(1, len(data) // 2))) :]
        if not data:
            data = bytearray(b"\0")
    return bytes(data)


def test_ftex_whose_decoder_closes_the_file(tmp_path: Path) -> None:
    (name, content), *_ = [one for one in formats_that_are_written() if one[0].startswith("FTEX")]
    path = tmp_path / name
    path.write_bytes(content)
    (decoded,) = through_workers([path])
    assert decoded.reason is None and decoded.content_hash is not None


def test_no_damage_of_any_format_ends_a_worker(tmp_path: Path) -> None:
    """2,500 mutants; the first worker process answers for all of them."""
    rng, whole = np.random.default_rng(0), list(formats_that_are_written())
    assert len({name.split()[0] for name, _ in whole}) > 20
    paths = []
    for number in range(2500):
        name, content = whole[number % len(whole)]
        paths.append(tmp_path / f"{number} {name.replace(' ', '-')}")
        paths[-1].write_bytes(content if number < len(whole) else mutant(content, rng))
    with DecoderPool(SIZE_PX, workers=1) as pool:
        results = list(pool.map(Task(str(path)) for path in paths))
        died = [(one.task.path, one.reason) for one in results if "decoder died" in (one.reason or "")]
    assert died == []
    assert all((one.pixels is None) == bool(one.reason) for one in results)
    assert 200 < sum(one.pixels is not None for one in results) < 2400


# Cores


@linux
def test_a_process_that_may_use_one_core_starts_one_worker() -> None:
    code = (
        "import os; from retrieval.pictures.workers import DecoderPool, cores\n"
        "os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])\n"
        "with DecoderPool(32) as pool: print(cores(), pool.workers)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]
    assert cores() == len(os.sched_getaffinity(0))
