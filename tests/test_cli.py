"""The real program, by subprocess: words, formats, exit codes, and what lands on which stream."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import Run, write_shapes
from PIL import Image

import cli.main
from cli.main import COMMANDS
from retrieval import load_model

FIELDS = ["rank", "path", "distance", "similarity", "realism", "width", "height"]


@pytest.fixture
def indexed(shape_folder: Path, latent: Run) -> Path:
    """24 pictures in ``photos`` and an index of them in the current folder."""
    latent("index", "build", "photos")
    return shape_folder


def test_help_fits_and_every_command_has_an_example(latent: Run) -> None:
    for words in ([], ["index"], ["query"], ["train"], ["sample"], ["reconstruct"], ["models"], ["demo"]):
        text = latent(*words, "--help").stdout
        assert "Usage: latent" in text
    for verb in ("build", "update", "status", "verify", "remove"):
        assert "Example" in latent("index", verb, "--help").stdout
    assert "Example" in latent("dedup", "find", "--help").stdout
    for word in sorted(set(COMMANDS) - {"index"}):
        assert "Example" in latent(word, "--help").stdout
    assert re.fullmatch(r"latent, version \d+\.\d+\.\d+\n", latent("--version").stdout)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from cli.main import latent\n"
        "latent.main(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'faiss', 'onnxruntime', 'sqlalchemy', 'PIL', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_searching_imports_no_torch(indexed: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom retrieval import Retriever\n"
        "r = Retriever.open()\nr.decode(r.query('photos/shape-0-001.png'))\nr.update()\n"
        "sys.exit('torch' in sys.modules or 'train' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_results_on_stdout_all_else_on_stderr(indexed: Path, latent: Run) -> None:
    done = latent(
        "query", "photos/shape-0-001.png", "-k", 3, "--sheet", "s.png", "--html", "s.html", "--format", "jsonl"
    )
    hits = [json.loads(line) for line in done.stdout.splitlines()]
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert list(hits[0]) == ["query", *FIELDS, "gone"]
    assert "wrote s.png" in done.stderr and "wrote s.html" in done.stderr


def test_formats_agree(indexed: Path, latent: Run, tmp_path: Path) -> None:
    words = ("query", "photos/shape-0-001.png", "-k", 4)
    answer = json.loads(latent(*words, "--format", "json").stdout)
    assert answer["schema"] == 1 and answer["metric"] == "euclidean"
    (one,) = answer["queries"]
    assert one["query"] == "photos/shape-0-001.png" and len(one["hits"]) == 4
    paths = [hit["path"] for hit in one["hits"]]
    assert all((tmp_path / path).is_file() for path in paths)
    assert latent(*words, "--format", "paths").stdout == "".join(f"{path}\n" for path in paths)
    assert latent(*words, "--format", "paths", "-0").stdout == "".join(f"{path}\0" for path in paths)
    rows = list(csv.DictReader(latent(*words, "--format", "csv").stdout.splitlines()))
    assert [row["path"] for row in rows] == paths and list(rows[0]) == ["query", *FIELDS]
    table = latent(*words).stdout.splitlines()
    assert table[0].split() == ["rank", "distance", "similarity", "realism", "size", "path"]
    assert [line.split()[-1] for line in table[1:]] == paths
    cosine = json.loads(latent(*words, "--metric", "cosine", "--format", "json").stdout)
    assert [hit["path"] for hit in cosine["queries"][0]["hits"]] == paths  # standardized codes rank alike
    for hit in one["hits"]:
        assert hit["distance"] == pytest.approx(np.sqrt(2 * 128 * (1 - hit["similarity"])), rel=1e-3)


def test_decode_writes_what_the_generator_paints(indexed: Path, latent: Run, tmp_path: Path) -> None:
    done = latent("query", "photos/shape-0-001.png", "-k", 2, "--decode", "painted", "--format", "jsonl")
    for line in done.stdout.splitlines():
        with Image.open(tmp_path / json.loads(line)["decoded"]) as image:
            assert image.size == (64, 64)
    assert len(list((tmp_path / "painted").iterdir())) == 2


def test_sheet_and_page(indexed: Path, latent: Run, tmp_path: Path) -> None:
    latent(
        "query",
        "photos/shape-0-001.png",
        "photos/inner/shape-1-002.png",
        "-k",
        12,
        "--sheet",
        "s.png",
        "--html",
        "s.html",
    )
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width > 10 * 128 and sheet.height > 4 * 256  # ten a line, two lines a query
        assert len(np.unique(np.asarray(sheet))) > 100
    page = (tmp_path / "s.html").read_text()
    assert page.count("<section>") == 2 and page.count("data:image/jpeg;base64,") == 2 * 13 * 2
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing outside itself


def test_lists_on_stdin(indexed: Path, latent: Run, tmp_path: Path) -> None:
    names = ["photos/shape-0-001.png", "photos/shape-0-002.png"]
    for text, words in (("\n".join(names), []), ("\0".join(names) + "\0", ["-0"])):
        done = latent("query", "-", "-k", 1, "--format", "jsonl", *words, stdin=None, input=text)
        assert [json.loads(line)["query"] for line in done.stdout.splitlines()] == names


def test_a_bad_query_costs_itself(indexed: Path, latent: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("no picture")
    done = latent("query", "bad.jpg", "photos/shape-0-001.png", "nowhere.jpg", "--format", "jsonl", code=1)
    assert {json.loads(line)["query"] for line in done.stdout.splitlines()} == {"photos/shape-0-001.png"}
    assert "Error: bad.jpg: not a picture" in done.stderr
    assert "Error: nowhere.jpg: cannot be read: No such file" in done.stderr


def test_names_that_are_not_text(tmp_path: Path, latent: Run) -> None:
    folder = os.fsencode(tmp_path / "photos")
    os.mkdir(folder)
    names = [b"a\nb.png", b"\xff\xfe.png", "\U0001f600 '\".png".encode()]
    for number, name in enumerate(names):
        with open(os.path.join(folder, name), "wb") as file:
            Image.fromarray(np.full((64, 64, 3), 60 * number, np.uint8)).save(file, "PNG")
    latent("index", "build", "photos")
    done = latent("query", os.fsdecode(b"photos/\xff\xfe.png"), "--format", "paths", "-0")
    assert {os.fsencode(path) for path in done.stdout.split("\0") if path} == {
        b"photos/" + names[0],
        b"photos/" + names[2],
    }
    table = latent("query", os.fsdecode(b"photos/" + names[2])).stdout
    assert len(table.splitlines()) == 3 and "a\\nb.png" in table
    for form in ("json", "jsonl", "csv"):
        latent("query", os.fsdecode(b"photos/\xff\xfe.png"), "--format", form, "--sheet", "s.png", "--html", "s.html")


def test_exit_codes(tmp_path: Path, latent: Run, indexed: Path, tiny_bundle: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert "latent index build" in latent("query", "x.jpg", "--index", elsewhere, code=3).stderr
    assert "photos-64" in latent("index", "build", "photos", "--model", tiny_bundle, code=3).stderr
    latent("index", "build", code=2)
    latent("index", "build", "no-such-folder", code=2)
    latent("query", "photos/shape-0-001.png", "-k", "0", code=2)
    latent("query", "photos/shape-0-001.png", "--metric", "manhattan", code=2)
    latent("nonsense", code=2)
    assert "no model 'x'" in latent("sample", 1, "-o", "s", "--model", "x", code=1).stderr
    assert "not in this index" in latent("index", "remove", "nowhere", code=1).stderr
    (indexed / "bad.jpg").write_text("no picture")
    assert "skipped 1: not a picture" in latent("index", "update").stdout
    (indexed / "worse.jpg").write_text("no picture either")
    latent("index", "update", "--strict", code=1)
    assert "GPU" in latent("query", "photos/shape-0-001.png", "--search-on", "gpu", code=1).stderr
    Image.new("RGB", (9, 9)).save(tmp_path / "new.png")
    assert "CUDA" in latent("query", "new.png", "--device", "cuda", code=1).stderr


def test_status_verify_remove(indexed: Path, latent: Run) -> None:
    (indexed / "bad.jpg").write_text("no picture")
    latent("index", "update")
    facts = json.loads(latent("index", "status", "--skipped", "--format", "json").stdout)
    assert (facts["found"], facts["skipped"], facts["model_name"]) == (24, 1, "photos-64")
    assert facts["skipped_files"] == [{"path": str(indexed / "bad.jpg"), "reason": "not a picture"}]
    text = latent("index", "status", "--skipped").stdout
    assert "photos/bad.jpg\tnot a picture" in text and "generation" in text
    assert "all is well: 24 pictures" in latent("index", "verify").stdout
    (indexed / "shape-0-000.png").unlink()
    assert "is gone since" in latent("index", "verify", code=1).stdout
    assert "removed 1" in latent("index", "update").stdout
    assert "removed 8 files" in latent("index", "remove", "photos/inner").stdout


def test_update_without_a_folder_warns_and_keeps(indexed: Path, latent: Run, tmp_path: Path) -> None:
    indexed.rename(tmp_path / "away")
    done = latent("index", "update")
    assert "is not there; its pictures are kept" in done.stderr
    assert "24 pictures" in done.stdout


def test_sample_reconstruct_models(latent: Run, tmp_path: Path) -> None:
    first = latent("sample", 3, "-o", "a", "--seed", 5).stdout.splitlines()
    latent("sample", 3, "-o", "b", "--seed", 5)
    assert len(first) == 3
    for path in first:
        name = Path(path).name
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    (tmp_path / "bad.png").write_text("x")
    done = latent("reconstruct", *first, "bad.png", "-o", "c", "--sheet", "c.png", code=1)
    assert len(done.stdout.splitlines()) == 3 and "bad.png: not a picture" in done.stderr
    with Image.open(tmp_path / "c.png") as sheet:
        assert sheet.height > 256
    listed = latent("reconstruct", "-", "-o", "d", stdin=None, input="\n".join(first))
    assert len(listed.stdout.splitlines()) == 3
    latent("sample", 12, "-o", "e", "--sheet", "e.png")
    with Image.open(tmp_path / "e.png") as sheet:
        assert sheet.size == (4 * 136 + 8, 3 * (128 + 34 + 16) + 8)
        cells = np.asarray(sheet.convert("L"))[:534, :544].reshape(3, 178, 4, 136)
        assert (cells[:, 8:136, :, 8:].std(axis=(1, 3)) > 5).all()  # no holes
    table = latent("models").stdout
    assert "faces-64" in table
    (facts,) = [m for m in json.loads(latent("models", "--format", "json").stdout)["models"] if m["name"] == "faces-64"]
    assert facts["latent_dim"] == 128 and facts["training_data"]["licence"]


def test_the_shipped_model_reconstructs_its_own_samples(latent: Run, tmp_path: Path) -> None:
    """A generated face, decoded from its own code, is nearer to itself than to any other."""
    paths = latent("sample", 40, "-o", "a").stdout.splitlines()
    latent("reconstruct", *paths, "-o", "b")
    originals = np.stack([np.asarray(Image.open(tmp_path / path), np.float32).ravel() for path in paths])
    painted = np.stack([np.asarray(Image.open(p), np.float32).ravel() for p in sorted((tmp_path / "b").iterdir())])
    distances = np.linalg.norm(originals[:, None] - painted[None], axis=2)
    assert (distances.argmin(1) == np.arange(40)).mean() > 0.9


def test_demo_finds_the_original_and_can_be_run_again(latent: Run, tmp_path: Path) -> None:
    for _ in range(2):
        done = latent("demo", "--small")
        first_hit = next(line for line in done.stdout.splitlines() if line.split()[0] == "1")
        assert first_hit.endswith("photos/face-00042.jpg")
    assert len(list((tmp_path / "latent-demo" / "photos").glob("*.jpg"))) == 60
    with Image.open(tmp_path / "latent-demo" / "hits.png") as sheet:
        assert sheet.size == (9 * 136 + 16, 314)
    assert "Try next:" in done.stderr


def test_ctrl_c_keeps_what_was_committed(tmp_path: Path, tiny_bundle: Path, latent: Run) -> None:
    write_shapes(tmp_path / "photos", 5000, side=32)
    program = str(Path(sys.executable).with_name("latent"))
    words = [program, "index", "build", "photos", "--model", str(tiny_bundle)]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (tmp_path / ".latent" / "model" / "model.json").exists():
        time.sleep(0.01)
    time.sleep(0.4)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, 130), errors
    assert "Traceback" not in errors
    if process.returncode == 130:
        assert "Interrupted" in errors
    assert "5,000 pictures" in latent("index", "build", "photos").stdout


def test_ctrl_c_while_a_library_is_loaded_is_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries in C turn the interrupt into an ImportError of their own."""

    def load() -> None:
        raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr("cli.models.models.callback", lambda *words, **options: load())
    done = CliRunner().invoke(cli.main.latent, ["models"])
    assert done.exit_code == 130 and "Interrupted" in done.output
    monkeypatch.setattr("cli.models.models.callback", lambda *words, **options: import_module("no_such_library"))
    assert isinstance(CliRunner().invoke(cli.main.latent, ["models"]).exception, ImportError)


def test_nobody_reads_on(indexed: Path, tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name("latent"))
    command = f"{program} query photos/shape-0-001.png -k 20 | head -n 1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr and done.stdout.startswith("rank")


def test_a_sheet_that_cannot_be_written(indexed: Path, latent: Run) -> None:
    for words in (["query", "photos/shape-0-001.png", "--sheet"], ["map", "-o"], ["dedup", "find", "--html"]):
        done = latent(*words, "no/such/folder/s.png", code=2)  # before any work
        assert "no/such/folder is not a folder; create it first" in done.stderr and not done.stdout


def test_hits_are_printed_even_where_the_sheet_fails(indexed: Path, latent: Run, tmp_path: Path) -> None:
    words = ("query", "photos/shape-0-001.png", "--format", "json")
    (tmp_path / "full.png").symlink_to("/dev/full")
    done = latent(*words, "--sheet", "full.png", code=1)
    assert "No space left" in done.stderr
    assert len(json.loads(done.stdout)["queries"][0]["hits"]) == 10
    assert "does not end with .png" in latent(*words, "--sheet", "s.jpg", code=2).stderr


def test_a_list_that_ends_with_nul_is_told_from_one_of_lines(indexed: Path, latent: Run) -> None:
    done = latent("query", "-", code=2, stdin=None, input="photos/shape-0-001.png\0photos/shape-0-002.png\0")
    assert "end with NUL; read them with -0" in done.stderr


def test_json_is_an_object_even_without_queries(indexed: Path, latent: Run) -> None:
    done = latent("query", "-", "--format", "json", stdin=None, input="")
    assert json.loads(done.stdout) == {"schema": 1, "metric": "euclidean", "queries": []}


def test_names_beyond_the_terminal_and_beyond_options(tmp_path: Path, latent: Run) -> None:
    (tmp_path / "p").mkdir()
    names = ["-rf.png", "caf\u00e9 \U0001f600.png", "\U0001f600" * 60 + ".png"]
    for number, name in enumerate(names):
        Image.fromarray(np.full((64, 64, 3), 60 * number + 20, np.uint8)).save(tmp_path / "p" / name)
    Image.new("RGB", (64, 64)).save(tmp_path / "q.png")
    latent("index", "build", ".", "--index", "i", cwd=tmp_path / "p")
    for form in ("table", "csv", "json", "jsonl", "paths"):
        latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}
        done = latent("query", "../q.png", "--index", "i", "--format", form, cwd=tmp_path / "p", env=latin)
        assert "-rf.png" in done.stdout and "Traceback" not in done.stderr
    assert "./-rf.png" in done.stdout.splitlines()
    latent("query", "../q.png", "--index", "i", "--decode", "d", cwd=tmp_path / "p")
    assert len(list((tmp_path / "p" / "d").iterdir())) == 3
    latent("reconstruct", names[2], "-o", "r", cwd=tmp_path / "p")


def test_a_picture_from_a_pipe(indexed: Path, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("latent")
    command = f"{program} query <(cat photos/shape-0-001.png) -k 1 --format paths"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "photos/shape-0-001.png\n", done.stderr


def test_a_demo_that_was_killed_while_painting_is_finished(latent: Run, tmp_path: Path) -> None:
    (tmp_path / "latent-demo" / "photos").mkdir(parents=True)
    (tmp_path / "latent-demo" / "photos" / "face-00042.part").write_bytes(b"half")
    assert "face-00042.jpg" in latent("demo", "--small").stdout


def test_training_leaves_foreign_folders_alone(shape_folder: Path, latent: Run, tmp_path: Path) -> None:
    (tmp_path / "run" / "bundle").mkdir(parents=True)
    (tmp_path / "run" / "bundle" / "holiday.jpg").write_text("precious")
    done = latent("train", "photos", "-o", "run", "--steps", 2, "--size", 32, "--width", 8, "--batch", 4, code=1)
    assert "holds something else than a training" in done.stderr
    assert (tmp_path / "run" / "bundle" / "holiday.jpg").read_text() == "precious"


def test_interpolate(latent: Run, tmp_path: Path) -> None:
    a, b = latent("sample", 2, "-o", "a").stdout.splitlines()
    assert latent("interpolate", a, b, "--steps", 6, "-o", "way.png").stdout == "way.png\n"
    with Image.open(tmp_path / "way.png") as strip:
        assert strip.size == (8 * 128 + 32, 144)
    assert "cannot be read" in latent("interpolate", a, "nowhere.jpg", "-o", "way.png", code=1).stderr
    latent("interpolate", a, b, "-o", "way.jpg", code=2)


def test_the_way_begins_and_ends_at_the_reconstructions() -> None:
    model = load_model()
    codes = model.encode(model.sample(2, 3))
    way = model.interpolate(codes[0], codes[1], 5)
    ends = model.decode(codes)
    assert np.abs(way[[0, -1]].astype(int) - ends).max() <= 1
    steps = np.linalg.norm(np.diff(way.astype(float).reshape(5, -1), axis=0), axis=1)
    assert steps.max() < np.linalg.norm((way[0].astype(float) - way[-1]).ravel())  # no jump as long as the way
    with pytest.raises(ValueError, match="two steps"):
        model.interpolate(codes[0], codes[1], 1)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    "words",
    [
        ("train", ".", "-o", "run", "--dry-run", "--cache-budget"),
        ("train", ".", "-o", "run", "--dry-run", "--minutes"),
        ("dedup", "find", "--threshold"),
        ("dedup", "find", "--false-matches"),
        ("query", "a.jpg", "--decode-scale"),
    ],
    ids=lambda words: words[-1],
)
def test_numbers_are_finite(latent: Run, words: tuple[str, ...], number: str) -> None:
    refused = latent(*words, number, code=2).stderr
    assert words[-1] in refused and ("finite" in refused or "range" in refused)


def query_within(mib: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """A query in a process that may use so much address space."""
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({mib} << 20,) * 2)\n"
        "import sys; sys.argv = ['latent', 'query', 'photos/shape-0-001.png']\n"
        "from cli.main import main; main()"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("mib", [100, 200, 300, 450, 600])
def test_too_little_address_space_is_told_and_crashes_nothing(indexed: Path, mib: int) -> None:
    done = query_within(mib, indexed.parent)
    assert done.returncode == 1 and done.stderr.startswith(f"Error: this process may use {mib} MiB of address space")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("mib", [1000, 4000])
def test_enough_address_space_is_enough(indexed: Path, mib: int) -> None:
    done = query_within(mib + 64 * len(os.sched_getaffinity(0)), indexed.parent)
    assert done.returncode == 0, done.stderr
