"""Feed the program with files that nobody made on purpose: ``python -m tests.campaigns.fuzz``.

Pictures, bundles, catalogs, caches, plans and journals are made, mutated at random with a seed, and opened in a child.
Only our own errors may come out; a child may not die or hang, and no file outside its folder may change. Mutants that
break this are kept.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from pathlib import Path

from retrieval.errors import LatentError
from tests.campaigns.mutate import mutated
from tests.campaigns.targets import TARGETS, Target

BATCH = 50  # mutants in one child: what a child holds on to cannot pile up
LIMIT_S = 30.0
MEMORY_BYTES = 8 << 30


def fuzz(target: Target, work: Path, seconds: float, seed: int, keep: Path) -> tuple[int, list[str]]:
    """Open mutants for so long. Returns their number, and what was found, in words."""
    seeds = target.make(work / target.name)
    place, until, count = mmap.mmap(-1, 8), time.monotonic() + seconds, 0
    found: dict[str, str] = {}  # by kind: one hole lets many mutants through
    while time.monotonic() < until:
        (work / "finding").unlink(missing_ok=True)
        end = _batch(target, work, seeds, seed, count, place)
        (reached,) = struct.unpack("<q", place[:8])
        if end is not None and _kind(end) not in found:
            found[_kind(end)] = f"{target.name} {seed}:{reached}: {end}"
            print(found[_kind(end)], flush=True)
            _keep(target, seeds, seed, reached, keep)
        count = reached + 1
    return count, list(found.values())


def _kind(end: str) -> str:
    """What findings of one kind share: the place in the code, and the kind of error."""
    lines = [line for line in end.splitlines() if line.strip().startswith("File ")]
    return "".join(lines[-2:]) + end.strip().splitlines()[-1].split(":")[0]


def _batch(target: Target, work: Path, seeds: dict[str, bytes], seed: int, first: int, place: mmap.mmap) -> str | None:
    """Open the next mutants in a child. Returns what went wrong with the last one, None if nothing did."""
    place[:8] = struct.pack("<q", first)
    child = os.fork()
    if child == 0:
        try:
            _act(target, work, seeds, seed, first, place)
        finally:
            os._exit(3)
    reached, since = first, time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            if code == 0:
                return None
            return (work / "finding").read_text() if code == 1 else f"the process ended with {code}"
        (now,) = struct.unpack("<q", place[:8])
        if now != reached:
            reached, since = now, time.monotonic()
        if time.monotonic() - since > LIMIT_S:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"it hangs for {LIMIT_S:g} s"
        time.sleep(0.005)


def _act(target: Target, work: Path, seeds: dict[str, bytes], seed: int, first: int, place: mmap.mmap) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1), os.dup2(silent, 2)
    outside = _listing(work)
    for number in range(first, first + BATCH):
        place[:8] = struct.pack("<q", number)
        name, data = mutant(seeds, seed, number)
        folder = work / target.name
        try:
            target.open(folder, name, data)
        except LatentError:
            pass
        except BaseException:
            text = f"{name}: {traceback.format_exc()[-1500:]}"
            (work / "finding").write_bytes(text.encode(errors="backslashreplace"))
            os._exit(1)
        if (now := _listing(work)) != outside:
            (work / "finding").write_text(f"{name}: files outside changed: {sorted(now ^ outside)[:5]}")
            os._exit(1)
    os._exit(0)


def mutant(seeds: dict[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """The name and the bytes of a mutant, which its numbers determine."""
    rng = random.Random(f"{seed} {number}")
    name = rng.choice(sorted(seeds))
    return name, mutated(seeds[name], rng)


def _listing(work: Path) -> set[tuple[str, int, int]]:
    """Files beside the folders of the targets, which no mutant may touch."""
    place = work / "outside"
    return {(str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in sorted(place.rglob("*"))}


def _keep(target: Target, seeds: dict[str, bytes], seed: int, number: int, keep: Path) -> None:
    name, data = mutant(seeds, seed, number)
    keep.mkdir(parents=True, exist_ok=True)
    (keep / f"{target.name}-{seed}-{number}-{Path(name).name}").write_bytes(data)


def main() -> None:
    """Fuzz all targets, print the counts, and exit with 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[one.name for one in TARGETS])
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder for mutants that break it")
    parser.add_argument("--counts", type=Path, help="write the counts as JSON")
    wanted = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="latent-fuzz-"))
    (work / "outside").mkdir()
    (work / "outside" / "precious.txt").write_text("precious")
    counts, findings = {}, []
    for target in TARGETS:
        if wanted.only in (None, target.name):
            counts[target.name], found = fuzz(target, work, wanted.seconds, wanted.seed, wanted.keep)
            findings += found
            print(f"{target.name}: {counts[target.name]:,} mutants, {len(found):,} findings", flush=True)
    shutil.rmtree(work)
    if wanted.counts:
        wanted.counts.write_text(json.dumps({"mutants": counts, "findings": findings}, indent=2))
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
