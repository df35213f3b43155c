"""The README under test: its commands run, its Python runs, its links and its claims exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import write_shapes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# What would take an hour is run in small.
IN_SMALL = {
    "--minutes 60": "--steps 20 --size 32 --width 8 --batch 8 --device cpu",
    "latent serve": "set -m; latent serve --no-open --port 0 > link & until [ -s link ]; do sleep .2; done; "
    "kill -INT $!; wait $!",
    "--steps 2000": "--steps 4 --preset slim-32 --copies 5 --device cpu",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with Pictures; a face.jpg and labelled flowers in the current folder."""
    write_shapes(tmp_path / "Pictures", 16)
    for seed, kind in enumerate(("rose", "tulip")):
        write_shapes(tmp_path / "flowers" / kind, 40, seed=10 + seed)
    shutil.copyfile(tmp_path / "flowers/rose/shape-10-000.png", tmp_path / "flowers/rose/1.jpg")
    program = Path(sys.executable).with_name("latent")
    subprocess.run([program, "sample", "1", "-o", "made"], cwd=tmp_path, check=True, capture_output=True)
    (made,) = (tmp_path / "made").iterdir()
    made.rename(tmp_path / "face.jpg")  # a PNG: content counts, not the suffix
    shutil.copyfile(next((tmp_path / "Pictures").iterdir()), tmp_path / "other.jpg")
    shutil.copyfile(tmp_path / "other.jpg", tmp_path / "Pictures" / "a copy.jpg")  # that dedup finds
    return tmp_path


def test_the_commands_run(home: Path) -> None:
    program_folder = str(Path(sys.executable).parent)
    environment = {**os.environ, "HOME": str(home), "PATH": program_folder + os.pathsep + os.environ["PATH"]}
    environment.pop("LATENT_INDEX", None)
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) >= 14
    for written in lines:
        line = written
        for long, short in IN_SMALL.items():
            line = line.replace(long, short)
        done = subprocess.run(
            ["bash", "-c", line], cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, line


def test_the_python_runs(tmp_path: Path) -> None:
    write_shapes(tmp_path / "photos", 8)
    for name in ("a.jpg", "b.jpg"):
        shutil.copyfile(tmp_path / "photos" / "shape-0-001.png", tmp_path / name)
    (script,) = blocks("python")
    checks = "\nassert codes.shape == (2, 128) and pictures.shape == (2, 64, 64, 3) and len(decoded) == 8\n"
    words = [sys.executable, "-W", "error", "-c", script + checks]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 8


def headings(page: Path) -> set[str]:
    """As links name them: small letters, hyphens for spaces, nothing else."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if not target.startswith("http"):
            place, _, heading = target.partition("#")
            assert page.parent.joinpath(place).exists(), target
            assert not heading or heading in headings(page.parent / place), target


def test_make_targets_exist() -> None:
    listed = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target} ", listed, flags=re.MULTILINE), target


def test_the_line_for_the_small_torch_installs_the_version_of_the_constraints() -> None:
    (version,) = re.findall(r"pip install torch==([\d.]+) --index-url \S+/cpu`", README)
    assert f"\ntorch=={version}\n" in (ROOT / "constraints.txt").read_text(encoding="utf-8")
