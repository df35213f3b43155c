"""Disturb the program at random and see that nothing is lost: ``python -m tests.campaigns.torture``.

Each trial copies a prepared folder, runs a command with one fault in it, and runs the same command again without. Then
the state must be that of an undisturbed run, and at no time may the content of a picture be missing. Faults: SIGKILL
at a random moment, SIGKILL at the n-th call, an error of the n-th write, fsync, rename, link or unlink, a full disk
from the n-th write on, few file handles, and a clock that is years behind. Trials are drawn with a seed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tests.campaigns.scenes import INDEX, Scene, contents, scenes, state

WRITE, SYNC, RENAME, LINK, UNLINK = 1, 2, 4, 8, 16
EVERY = WRITE | SYNC | RENAME | LINK | UNLINK
LIMIT_S = 120.0
LATER_S = 10 * 365 * 86_400


@dataclass(frozen=True)
class Fault:
    """A fault: ``arm`` runs in the child before the command, ``kill_after_s`` is when the parent kills it."""

    name: str
    arm: Callable[[ctypes.CDLL], object]
    kill_after_s: float = LIMIT_S


def draw(rng: random.Random, calls: dict[int, int], seconds: float) -> Fault:
    """A random fault for a command that takes ``seconds`` and makes so many ``calls`` of each kind."""
    kinds = {
        "write": (WRITE, errno.EIO, False),
        "fsync": (SYNC, errno.EIO, False),
        "rename": (RENAME, errno.EIO, False),
        "link": (LINK, errno.EPERM, True),
        "unlink": (UNLINK, errno.EIO, False),
        "full disk": (WRITE, errno.ENOSPC, True),
        "kill at a call": (EVERY, 0, False),
    }
    name = rng.choice([*(one for one, (kind, _, _) in kinds.items() if calls[kind]), "kill", "handles", "clock"])
    if name == "kill":
        return Fault(name, lambda library: None, rng.uniform(0, 1.1 * seconds))
    if name == "handles":
        most = rng.randint(3, 30)
        return Fault(f"{name} {most}", lambda library: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)))
    if name == "clock":
        return Fault(name, lambda library: library.fault_clock_back(LATER_S))
    kind, error, stays = kinds[name]
    nth = rng.randint(1, calls[kind])
    return Fault(f"{name} {nth}", lambda library: library.fault_arm(kind, nth, error, stays))


class Stage:
    """The folder that trials run in, and the program, which is imported once and forked for each run."""

    def __init__(self, work: Path, library: ctypes.CDLL, bundle: str) -> None:
        self.work, self.library, self.bundle = work, library, bundle
        self.folder, self.output = work / "trial", work / "output"

    def run(self, command: list[str], fault: Fault | None = None) -> int:
        """Run ``latent`` in a child. Returns its exit code, or minus the signal that ended it."""
        child = os.fork()
        if child == 0:
            self._act(command, fault)
        killed_at = time.monotonic() + (fault.kill_after_s if fault else LIMIT_S)
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > killed_at:
                _kill(child)
                os.waitpid(child, 0)
                return -signal.SIGKILL if fault and fault.kill_after_s < LIMIT_S else -signal.SIGALRM
            time.sleep(0.002)

    def _act(self, command: list[str], fault: Fault | None) -> None:
        code = 99
        try:
            os.setsid()
            os.chdir(self.folder)
            handle = os.open(self.output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            os.dup2(handle, 1), os.dup2(handle, 2)
            from cli.main import main

            sys.argv = ["latent", *command]
            if fault:
                fault.arm(self.library)
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            self.library.fault_disarm()
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)

    def set(self, scene: Scene, template: Path) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(template, self.folder, symlinks=True)
        if scene.name != "migrate" and (self.folder / INDEX).exists():
            self.update()  # copies have other dates of change
        with contextlib.chdir(self.folder):
            scene.change()

    def update(self) -> int:
        return self.run(["index", "update", "--index", INDEX, "--workers", "1"])

    def prepared(self, scene: Scene) -> Path:
        template = self.work / scene.name.replace(" ", "-")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        with contextlib.chdir(self.folder):
            scene.prepare(self.run, self.bundle)
        os.rename(self.folder, template)
        return template


def _kill(child: int) -> None:
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:  # it leads no group yet
        os.kill(child, signal.SIGKILL)


def measure(stage: Stage, scene: Scene, template: Path) -> tuple[dict[str, object], dict[int, int], float]:
    """The undisturbed run: the state after it, its calls of each kind, and how long it takes."""
    stage.set(scene, template)
    begun = time.monotonic()
    code = stage.run(scene.command, Fault("none", lambda library: library.fault_arm(0, 0, 0, 0)))
    seconds = time.monotonic() - begun
    if code != scene.code:
        raise SystemExit(f"{scene.name}: undisturbed, it exits with {code}:\n{stage.output.read_text()}")
    calls = {kind: int(stage.library.fault_seen(kind)) for kind in (WRITE, SYNC, RENAME, LINK, UNLINK)}
    return state(stage.folder), {**calls, EVERY: sum(calls.values())}, seconds


def trial(stage: Stage, scene: Scene, template: Path, right: dict[str, object], fault: Fault) -> list[str]:
    """Disturb a command, run it again, and return what is wrong, in words."""
    stage.set(scene, template)
    kept = contents(stage.folder)
    disturbed = stage.run(scene.command, fault)
    wrong = [f"it hangs for {LIMIT_S:g} s"] if disturbed == -signal.SIGALRM else []
    said = stage.output.read_text(errors="replace")
    if "Traceback" in said or disturbed == 99:
        wrong.append(f"a traceback: {said[-600:]}")
    if lost := kept - contents(stage.folder):
        wrong.append(f"{len(lost)} contents are lost")
    again = stage.run(scene.command)
    if again not in (0, scene.code):
        wrong.append(f"again, it exits with {again}: {stage.output.read_text(errors='replace')[-400:]}")
    if lost := kept - contents(stage.folder):
        wrong.append(f"{len(lost)} contents are lost in the end")
    now = state(stage.folder)
    wrong += [f"other {part}: {_difference(now[part], right[part])}" for part in right if now[part] != right[part]]
    if scene.name != "migrate" and (stage.update() or stage.run(["index", "verify", "--index", INDEX])):
        wrong.append(f"verify: {stage.output.read_text(errors='replace')[-300:]}")
    return wrong


def _difference(now: object, right: object) -> str:
    items = [set(map(str, one.items() if isinstance(one, dict) else one)) for one in (now, right)]  # type: ignore[attr-defined]
    return f"too much {sorted(items[0] - items[1])[:3]}, missing {sorted(items[1] - items[0])[:3]}"


def torture(stage: Stage, trials: int, seed: int, only: str | None = None) -> tuple[Counter[str], list[str]]:
    """So many trials. Returns their number by scene and kind of fault, and what went wrong."""
    rng, done, wrong = random.Random(seed), Counter[str](), []
    chosen = [scene for scene in scenes(stage.bundle) if only is None or scene.name.startswith(only)]
    ready = {}
    for number in range(trials):
        scene = chosen[number % len(chosen)]
        if scene.name not in ready:
            template = stage.prepared(scene)
            ready[scene.name] = (template, *measure(stage, scene, template))
        template, right, calls, seconds = ready[scene.name]
        fault = draw(rng, calls, seconds)
        found = trial(stage, scene, template, right, fault)
        done[f"{scene.name} | {fault.name.rstrip('0123456789 ')}"] += 1
        for line in found:
            wrong.append(f"{scene.name}, {fault.name} (trial {number}): {line}")
            print(wrong[-1], flush=True)
    return done, wrong


def with_faults(work: Path) -> ctypes.CDLL:
    """The library of faults, compiled and loaded before all others: this process starts anew for that."""
    library = work / "faults.so"
    if "LATENT_TORTURE" not in os.environ:
        source = Path(__file__).parent / "faults.c"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        variables = {
            **os.environ,
            "XDG_DATA_HOME": str(work / "trial"),
            "LD_PRELOAD": str(library),
            "LATENT_TORTURE": str(work),
        }
        os.execve(sys.executable, [sys.executable, "-m", "tests.campaigns.torture", *sys.argv[1:]], variables)
    return ctypes.CDLL(str(library))


def tiny_bundle(folder: Path) -> str:
    """A small untrained model, made by a process of its own: torch has threads, and this one forks."""
    making = (
        "import sys; from pathlib import Path; from tests.conftest import make_bundle; make_bundle(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", making, str(folder)], check=True)
    return str(folder)


def warm() -> None:
    """Import what the commands need, so that a forked child begins at once."""
    for name in ("faiss", "onnxruntime", "send2trash", "cli.dedup", "cli.index", "index.local.store", "retrieval"):
        import_module(name)


def main() -> None:
    """Run a campaign, print the counts, and exit with 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="scenes whose name begins so")
    parser.add_argument("--counts", type=Path, help="write the counts as JSON")
    wanted = parser.parse_args()
    work = Path(os.environ.get("LATENT_TORTURE") or tempfile.mkdtemp(prefix="latent-torture-"))
    library = with_faults(work)
    stage = Stage(work, library, tiny_bundle(work / "bundle"))
    warm()
    done, wrong = torture(stage, wanted.trials, wanted.seed, wanted.only)
    print(f"{sum(done.values()):,} faults, {len(wrong):,} findings")
    if wanted.counts:
        wanted.counts.write_text(json.dumps({"trials": dict(sorted(done.items())), "findings": wrong}, indent=2))
    shutil.rmtree(work, ignore_errors=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
